//! The kill switch: a policy that lets nothing pass.

use bowsprit_providers::{Answer, Fault};
use bowsprit_rig::documents;
use serde_json::{Value, json};

use crate::support::{Bed, chat, count};

fn no_change(_: &str, _: &mut Value) {}

fn write(bed: &Bed, policy: &Value) {
    let text = bed.documents(&no_change) + &documents::policy("freeze", policy);
    std::fs::write(bed.config_path(), text).unwrap();
}

#[tokio::test]
async fn a_pause_refuses_what_comes_lets_end_what_runs_and_passes_again_when_it_is_over() {
    let bed = Bed::new().await;
    bed.claude
        .script(Answer::new("one two three").fault(Fault::Stall { after: 2 }));
    let mut running = bed
        .post("/v1/chat/completions", &chat("claude-sonnet-4-5", true))
        .send()
        .await
        .unwrap();
    running.chunk().await.unwrap().unwrap();
    write(&bed, &json!({"paused": true, "pausedReason": "an incident, see #ops"}));
    bed.until("the pause is live", || async { bed.chat().await.status == 403 })
        .await;
    assert_eq!(bed.sidecar().in_flight(), 1, "what was under way goes on");
    let asked = [
        ("/v1/chat/completions", chat("claude-sonnet-4-5", false)),
        ("/v1/chat/completions", chat("no-such-model", true)),
        ("/v1/messages", documents::message("claude-sonnet-4-5", false)),
        ("/v1beta/models/gemini-2.5-flash:generateContent", documents::contents()),
        ("/providers/openai/v1/files", json!({})),
    ];
    let before = count(&bed.claude) + count(&bed.gemini) + count(&bed.openai);
    for (path, body) in asked {
        let response = bed.post(path, &body).send().await.unwrap();
        assert_eq!(response.status(), 403, "{path}");
        assert_eq!(response.headers()["x-should-retry"], "false", "{path}");
        let told: Value = response.json().await.unwrap();
        let error = &told["error"];
        assert_eq!(error["bowsprit_code"], "BIZ_PAUSED", "{path}: {told}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("UsagePolicy freeze has paused this: an incident, see #ops"),
            "{path}: {message}"
        );
        let line = bed.access().pop().unwrap();
        assert_eq!(line["refused_by"], "pause:freeze", "{path}");
    }
    let after = count(&bed.claude) + count(&bed.gemini) + count(&bed.openai);
    assert_eq!(after, before, "no provider heard of any of them");
    assert_eq!(bed.health().await["config"]["policies"], 1);

    write(&bed, &json!({"paused": false}));
    bed.until("it is over", || async { bed.chat().await.status == 200 })
        .await;
    drop(running);
    bed.balanced().await;
}
