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

#[tokio::test]
async fn a_paused_provider_is_passed_over_and_the_refusal_names_it_where_nobody_is_left() {
    let bed = Bed::new().await;
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        provider.always(Answer::new("hello"));
    }
    assert_eq!(bed.chat().await.status, 200);
    let asked = bed.claude.requests().len();
    write(
        &bed,
        &json!({"pausedProviders": [{"name": "claude", "reason": "it leaks"}]}),
    );
    bed.until("another answers", || async {
        bed.chat().await.headers["x-bowsprit-provider"] != "claude"
    })
    .await;
    let after = bed.claude.requests().len();
    assert_eq!(bed.chat().await.status, 200, "who is left answers");
    assert_eq!(bed.claude.requests().len(), after, "and the paused one hears nothing");
    assert!(after >= asked);
    // What only that one could answer is refused by its name.
    let own = bed.get("/providers/claude/v1/files").send().await.unwrap();
    assert_eq!(own.status(), 403);
    let all = ["claude", "gemini", "openai"].map(|name| json!({"name": name, "reason": "it leaks"}));
    write(&bed, &json!({ "pausedProviders": all }));
    bed.until("all are paused", || async { bed.chat().await.status == 403 })
        .await;
    let refused = bed.chat().await;
    let error = &refused.json()["error"];
    assert_eq!(error["bowsprit_code"], "BIZ_PAUSED", "{}", refused.text);
    assert_eq!(
        error["message"],
        "UsagePolicy freeze has paused ProviderConfig claude: it leaks"
    );
    assert_eq!(bed.access().pop().unwrap()["refused_by"], "pause:freeze");
    write(&bed, &json!({}));
    bed.until("it is over", || async { bed.chat().await.status == 200 })
        .await;
    bed.balanced().await;
}

#[tokio::test]
async fn a_paused_route_refuses_by_its_name_and_the_others_go_on() {
    let bed = Bed::routed(json!({}), |_, _| {}).await;
    bed.claude.always(Answer::new("hello"));
    assert_eq!(bed.chat_with("smart", false).await.status, 200);
    let text = std::fs::read_to_string(bed.config_path()).unwrap();
    let policy = documents::policy("freeze", &json!({"pausedRoutes": [{"name": "smart"}]}));
    std::fs::write(bed.config_path(), text + &policy).unwrap();
    bed.until("the route is paused", || async {
        bed.chat_with("smart", false).await.status == 403
    })
    .await;
    let asked = bed.claude.requests().len();
    let refused = bed.chat_with("smart", true).await;
    assert_eq!(
        refused.json()["error"]["message"],
        "UsagePolicy freeze has paused ModelRoute smart: no reason is given"
    );
    assert_eq!(bed.claude.requests().len(), asked, "nobody was asked");
    assert_eq!(bed.access().pop().unwrap()["refused_by"], "pause:freeze");
    assert_eq!(bed.chat().await.status, 200, "what asks for a model of its own goes on");
    bed.balanced().await;
}
