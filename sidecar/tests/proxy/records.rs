//! What is told of each attempt: how it came about, what it cost, and that nothing it cost is left out.

use bowsprit_providers::{Answer, Behaviour, Fault};
use serde_json::{Value, json};

use crate::support::{Bed, count, failing, saw};

/// A field of each attempt's line, in order.
fn each(bed: &Bed, field: &str) -> Vec<Value> {
    bed.sidecar()
        .attempts()
        .iter()
        .map(|line| line[field].clone())
        .collect()
}

#[tokio::test]
async fn attempts_are_told_as_what_they_were_made_as() {
    let bed =
        Bed::with(|_, spec| spec["retry"] = json!({"maxAttempts": 2, "backoff": {"base": "1ms", "max": "2ms"}})).await;
    failing(&bed.claude, 503);
    let reply = bed.chat().await;
    assert_eq!((reply.provider(), reply.header("x-bowsprit-attempts")), ("gemini", "3"));
    assert_eq!(each(&bed, "kind"), ["first", "retry", "fallback"]);
    assert_eq!(each(&bed, "number"), [1, 2, 3]);
    assert_eq!(each(&bed, "ended"), ["failed", "failed", "answered"]);
    assert_eq!(each(&bed, "charged_tokens")[..2], [0, 0], "a refusal is free");
    let request = bed.access().pop().unwrap();
    assert_eq!(
        (&request["attempts"], &request["provider"]),
        (&json!(3), &json!("gemini"))
    );
    bed.balanced().await;
}

#[tokio::test]
async fn another_model_of_a_provider_is_a_switch_and_told_as_one() {
    let route = json!({
        "targets": [{"provider": "claude", "model": "claude-sonnet-4-5"}],
        "fallback": [{"provider": "claude", "model": "claude-haiku-4-5"}],
    });
    let bed = Bed::routed(route, |name, spec| {
        if name == "claude" {
            spec["models"] = json!([{"name": "claude-sonnet-4-5"}, {"name": "claude-haiku-4-5"}]);
        }
    })
    .await;
    bed.claude.script(Behaviour::status(503));
    let reply = bed.chat_with("smart", false).await;
    assert_eq!((reply.status, reply.provider()), (200, "claude"), "{}", reply.text);
    assert_eq!(reply.header("x-bowsprit-model"), "claude-haiku-4-5");
    assert_eq!(each(&bed, "kind"), ["first", "fallback"]);
    assert_eq!(each(&bed, "model"), ["claude-sonnet-4-5", "claude-haiku-4-5"]);
    assert_eq!(bed.family("bowsprit_fallbacks_total").await, 1.0);
    assert_eq!(bed.family("bowsprit_retries_total").await, 0.0);
    bed.balanced().await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_translated_costs_what_it_cost() {
    for (usage, field) in [
        (r#","usage":{"input_tokens":70,"output_tokens":8}"#, "input_tokens"),
        ("", "estimated_input_tokens"),
    ] {
        let bed = Bed::new().await;
        let body = format!(r#"{{"type":"message","content":"not a list of blocks"{usage}}}"#);
        let answer = Behaviour::status(200)
            .header("content-type", "application/json")
            .body(body);
        bed.claude.always(answer);
        assert_eq!(bed.chat().await.provider(), "gemini");
        let attempts = bed.attempts();
        let line = &attempts[0];
        assert_eq!(
            (&line["provider"], &line["code"]),
            (&json!("claude"), &json!("EXT_MALFORMED"))
        );
        assert!(line[field].as_u64() > Some(0), "{line}");
        assert!(line["charged_tokens"].as_u64() > Some(0), "{line}");
        bed.balanced().await;
    }
}

#[tokio::test]
async fn a_lost_race_costs_what_its_loser_told_or_an_estimate() {
    let hedged = json!({"hedge": {"after": "30ms", "maxPercent": 100}});
    for (stream, answer, field) in [
        (
            true,
            Behaviour::from(Answer::new("one two").fault(Fault::Stall { after: 0 })),
            "input_tokens",
        ),
        (false, Behaviour::hang(), "estimated_input_tokens"),
    ] {
        let bed = Bed::routed(hedged.clone(), |_, _| {}).await;
        bed.claude.always(answer);
        let reply = bed.chat_with("smart", stream).await;
        assert_eq!(reply.provider(), "gemini", "{}", reply.text);
        saw(&bed.claude, |seen| seen.cancelled.len() == 1).await;
        bed.balanced().await;
        let attempts = bed.attempts();
        let lost = attempts.iter().find(|line| line["provider"] == "claude").unwrap();
        assert_eq!(lost["ended"], "cancelled");
        assert!(lost[field].as_u64() > Some(0), "{lost}");
    }
}

#[tokio::test]
async fn what_asks_no_provider_is_no_attempt() {
    let bed = Bed::new().await;
    assert_eq!(bed.get("/v1/models").send().await.unwrap().status(), 200);
    assert_eq!(bed.access()[0]["attempts"], 0);
    assert_eq!((bed.attempts().len(), count(&bed.claude)), (0, 0));
    bed.balanced().await;
}

#[tokio::test]
async fn what_passes_unread_is_one_attempt_of_no_model() {
    let bed = Bed::new().await;
    let asked = bed.post("/providers/claude/v1/messages/batches", &json!({}));
    let reply = asked.send().await.unwrap();
    assert!(reply.headers().get("x-bowsprit-model").is_none(), "{reply:?}");
    assert_eq!(reply.headers()["x-bowsprit-attempts"], "1");
    bed.balanced().await;
    assert_eq!(bed.access()[0]["attempts"], 1);
    assert!(bed.access()[0].get("model").is_none(), "{:?}", bed.access());
    assert_eq!(each(&bed, "model"), [Value::Null]);
    assert_eq!(each(&bed, "credential"), ["main"], "whose account it was is told");
}
