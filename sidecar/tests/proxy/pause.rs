//! The kill switch: a policy that lets nothing pass.

use bowsprit_core::stream::ToSidecar;
use bowsprit_core::stream::pauses::WirePause;
use bowsprit_providers::{Answer, Fault};
use bowsprit_rig::documents;
use bowsprit_rig::operator::ScriptedOperator;
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
    let mut body = chat("claude-sonnet-4-5", false);
    body["Model"] = json!("smart");
    let refused = bed.post_as("/v1/chat/completions", &body, &[]).await;
    assert_eq!(refused.status, 400, "it may be for the paused one: {}", refused.text);
    assert_eq!(bed.claude.requests().len(), asked + 1);
    bed.balanced().await;
}

/// A policy that pauses all pods, or those of `app`, for this reason.
fn told(app: Option<&str>, reason: &str) -> ToSidecar {
    let selector = app.map(|app| serde_json::from_value(json!({"matchLabels": {"app": app}})).unwrap());
    let pause = WirePause {
        policy: "freeze".into(),
        pod_selector: selector,
        paused: true,
        paused_reason: Some(reason.into()),
        ..WirePause::default()
    };
    ToSidecar::Paused { by: vec![pause] }
}

#[tokio::test]
async fn the_operators_word_pauses_before_the_document_does_and_no_document_of_before_lifts_it() {
    let (mut bed, operator) = (Bed::providers(), ScriptedOperator::start().await);
    operator.labels("app=\"shop\"\n");
    let without = bed.documents(&no_change_with_secrets);
    let with = |spec: &Value| without.clone() + &documents::policy("freeze", spec);
    operator.mount(&without, 5);
    let args = operator.args();
    bed.start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let mut held = operator.accept().await;
    held.report(|report| report.sequence == 5).await;
    let status = || async { bed.chat().await.status };

    // Another workload's first, and after it ours: who took the second has taken the first.
    held.say(&told(Some("web"), "not here")).await;
    held.config(&without, 6).await;
    held.report(|report| report.sequence == 6).await;
    assert_ne!(status().await, 403, "it is for other pods");
    held.say(&told(Some("shop"), "an incident")).await;
    bed.until("the word is in force", || async { bed.chat().await.status == 403 })
        .await;
    let refused = bed.chat().await;
    assert_eq!(
        refused.json()["error"]["message"],
        "UsagePolicy freeze has paused this: an incident"
    );
    assert_eq!(bed.access().pop().unwrap()["refused_by"], "pause:freeze");
    assert_eq!(
        bed.health().await["config"]["policies"],
        0,
        "no document has said it yet"
    );

    held.config(&without, 7).await;
    held.report(|report| report.sequence == 7).await;
    assert_eq!(status().await, 403, "it was written before the pause");
    held.config(&with(&json!({"paused": true, "pausedReason": "an incident"})), 8)
        .await;
    held.report(|report| report.sequence == 8).await;
    assert_eq!(status().await, 403);

    // The stream is lost, and the mount has the resume: the document that said the pause answers for it.
    drop(held);
    operator.mount(&with(&json!({"paused": false})), 9);
    bed.until("it is over", || async { bed.chat().await.status != 403 })
        .await;

    // By a stream a resume takes both.
    let mut held = operator.accept().await;
    held.say(&told(None, "another")).await;
    bed.until("it is paused again", || async { bed.chat().await.status == 403 })
        .await;
    held.config(&without, 10).await;
    held.report(|report| report.sequence == 10).await;
    assert_eq!(status().await, 403, "the word stands");
    held.say(&ToSidecar::Paused { by: Vec::new() }).await;
    bed.until("it is over again", || async { bed.chat().await.status != 403 })
        .await;
}

fn no_change_with_secrets(name: &str, spec: &mut Value) {
    spec["credentials"] = json!([{"name": "main", "secretKeyRef": {"name": "llm-keys", "key": name}}]);
}
