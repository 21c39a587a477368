//! Each part of an attempt has its time.

use bowsprit_providers::{Answer, Behaviour, Fault};
use serde_json::{Value, json};

use crate::support::Bed;

fn alone(timeouts: Value) -> impl Fn(&str, &mut Value) {
    move |name, spec| {
        if name == "claude" {
            spec["timeouts"] = timeouts.clone();
        } else {
            *spec = Value::Null;
        }
    }
}

async fn code_of(bed: &Bed, stream: bool) -> String {
    let reply = bed.chat_with("claude-sonnet-4-5", stream).await;
    assert_eq!(reply.status, 504, "{}", reply.text);
    let code = reply.json()["error"]["bowsprit_code"].as_str().unwrap().to_owned();
    assert!(
        reply.text.contains("timeouts."),
        "the message names the setting: {}",
        reply.text
    );
    bed.balanced().await;
    code
}

#[tokio::test]
async fn a_first_token_that_does_not_come() {
    let bed = Bed::with(alone(
        json!({"connect": "2s", "firstToken": "80ms", "idle": "5s", "total": "10s"}),
    ))
    .await;
    bed.claude.always(Behaviour::hang());
    assert_eq!(code_of(&bed, true).await, "EXT_FIRST_TOKEN_TIMEOUT");
    bed.claude.reset();
    bed.claude
        .always(Answer::new("one two").fault(Fault::Stall { after: 0 }));
    assert_eq!(
        code_of(&bed, true).await,
        "EXT_FIRST_TOKEN_TIMEOUT",
        "start-up events are no token"
    );
}

#[tokio::test]
async fn an_answer_that_takes_too_long() {
    let bed = Bed::with(alone(
        json!({"connect": "50ms", "firstToken": "80ms", "idle": "80ms", "total": "120ms"}),
    ))
    .await;
    bed.claude.always(Behaviour::hang());
    assert_eq!(code_of(&bed, false).await, "EXT_TOTAL_TIMEOUT");
}

#[tokio::test]
async fn an_answer_that_stalls_in_its_body() {
    let bed = Bed::with(alone(
        json!({"connect": "2s", "firstToken": "5s", "idle": "80ms", "total": "10s"}),
    ))
    .await;
    bed.claude
        .always(Answer::new("one two three").fault(Fault::Stall { after: 1 }));
    assert_eq!(code_of(&bed, false).await, "EXT_IDLE_TIMEOUT");
}

#[tokio::test]
async fn a_slow_head_is_no_reason_to_give_up_a_plain_answer() {
    let bed = Bed::with(alone(
        json!({"connect": "2s", "firstToken": "50ms", "idle": "50ms", "total": "10s"}),
    ))
    .await;
    bed.claude
        .always(Answer::new("late").head_delay(std::time::Duration::from_millis(150)));
    assert_eq!(bed.chat().await.status, 200);
}
