//! A guard that is a service is asked about the texts of a request or an answer and decides; where it does not, its guard says what
//! follows, and nothing waits for it longer than its deadline. What streams is in `windows`.

use bowsprit_providers::Answer;
use bowsprit_rig::peer::{Peer, Record, json as answer};
use serde_json::{Value, json};

use crate::support::{Bed, CARD, chat, count, of_each_api, shows_card};

const KEY: &str = "key-of-dlp-7f3a";

/// A guard that asks the service at this address, with what `more` says of it.
pub(crate) fn guard(url: &str, more: &Value) -> Value {
    let mut guard = json!({
        "name": "dlp",
        "applyTo": ["Request"],
        "webhook": {"url": url, "allowHttp": true, "allowedAddresses": ["Loopback"], "timeout": "5s"},
    });
    for (name, value) in more.as_object().unwrap() {
        if guard["webhook"].get(name).is_some() || ["onFailure", "authSecretRef"].contains(&name.as_str()) {
            guard["webhook"][name] = value.clone();
        } else {
            guard[name] = value.clone();
        }
    }
    guard
}

async fn bed(guards: Value, more: Value) -> Bed {
    let mut spec = json!({ "guards": guards });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let bed = Bed::routed(spec, |_, _| {}).await;
    bed.claude.always(Answer::new("hello"));
    bed
}

pub(crate) async fn found(bed: &Bed, decision: &str) -> f64 {
    let series = format!("bowsprit_guard_findings_total{{guard=\"dlp\",decision=\"{decision}\"}}");
    bed.metric(&series).await
}

/// The questions that a service got, in order, with what was on their connections.
fn asked(service: &Record) -> Vec<Value> {
    let all = String::from_utf8(service.connections().concat()).unwrap();
    let bodies = all.split("\r\n\r\n").skip(1);
    let body = |text: &str| serde_json::from_str(text.split("POST ").next().unwrap()).unwrap();
    bodies.map(body).collect()
}

#[tokio::test]
async fn what_it_decides_is_done_and_in_shadow_counted() {
    for (decides, decision) in [
        (json!({"decision": "pass"}), None),
        (
            json!({"decision": "mask", "texts": ["h[X]o"]}),
            Some(("masked", "would_mask")),
        ),
        (
            json!({"decision": "refuse", "reason": "house rule 7"}),
            Some(("refused", "would_refuse")),
        ),
    ] {
        for enforcement in ["Enforce", "Shadow"] {
            let service = Peer::start().await.answering(answer(&decides.to_string()));
            let guard = guard(
                &format!("{}/check", service.url()),
                &json!({"enforcement": enforcement}),
            );
            let bed = bed(json!([guard]), json!({})).await;
            let reply = bed.post_as("/v1/chat/completions", &chat("smart", false), &[]).await;
            let is_refused = decides["decision"] == "refuse" && enforcement == "Enforce";
            if is_refused {
                assert_eq!((reply.status, count(&bed.claude)), (403, 0), "{}", reply.text);
                assert!(
                    reply.text.contains("does not let this pass: house rule 7"),
                    "{}",
                    reply.text
                );
            } else {
                assert_eq!(reply.status, 200, "{}", reply.text);
                let sent = bed.claude.requests()[0].json().to_string();
                let is_masked = decides["decision"] == "mask" && enforcement == "Enforce";
                assert_eq!(sent.contains("h[X]o"), is_masked, "{sent}");
            }
            let line = &bed.access()[0];
            let by = |is: bool| if is { json!("guard:dlp") } else { Value::Null };
            assert_eq!(line["refused_by"], by(is_refused), "{line}");
            let is_spared = decides["decision"] == "refuse" && !is_refused;
            assert_eq!(line["would_refuse_by"], by(is_spared), "{line}");
            if let Some((did, would)) = decision {
                let decision = if enforcement == "Enforce" { did } else { would };
                assert_eq!(found(&bed, decision).await, 1.0, "{decision}");
                assert_eq!(line["guarded_by"], "dlp");
            }
            let asked = asked(&service);
            assert_eq!(asked.len(), 1);
            assert_eq!(asked[0]["texts"], json!([{"role": "user", "text": "hello"}]));
            assert_eq!(
                (&asked[0]["guard"], &asked[0]["model"], &asked[0]["side"]),
                (&json!("dlp"), &json!("smart"), &json!("Request"))
            );
            let head = String::from_utf8(service.connections().concat()).unwrap();
            assert!(head.starts_with("POST /check HTTP/1.1\r\n"), "{head}");
            assert!(!head.contains("authorization"), "nobody's key is sent there: {head}");
        }
    }
}

#[tokio::test]
async fn it_gets_what_local_guards_have_left_and_answers_before_any_api_is_asked() {
    let service = Peer::start()
        .await
        .answering(answer(r#"{"decision":"mask","texts":["[ALL]"]}"#));
    let local = json!({"name": "cards", "applyTo": ["Request"], "detect": ["Card"]});
    // First in the list, and asked last all the same.
    let bed = bed(json!([guard(&service.url(), &json!({})), local]), json!({})).await;
    for (path, mut body) in of_each_api(false) {
        let text = body.to_string().replace("hello", &format!("hello {CARD}"));
        body = serde_json::from_str(&text).unwrap();
        let reply = bed.post_as(&path, &body, &[]).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
    }
    for question in asked(&service) {
        let text = question["texts"][0]["text"].as_str().unwrap();
        assert!(text.contains("[CARD]") && !shows_card(text), "{question}");
    }
    for seen in bed.claude.requests() {
        assert!(seen.json().to_string().contains("[ALL]"), "{}", seen.json());
    }
    let connections = service.connections().len();
    assert!(connections < 4, "a connection is used again: {connections}");
}

#[tokio::test]
async fn where_it_has_not_decided_its_guard_says_what_follows_and_it_is_told_why() {
    let pad = "x".repeat(3 << 20);
    let wrong = [
        ("answer", answer("{}")),
        ("answer", answer(r#"{"decision":"mask","texts":[]}"#)),
        ("status", "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n".into()),
        (
            "status",
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n".into(),
        ),
        ("unreachable", "no HTTP\r\n\r\n".into()),
        (
            "too_large",
            answer(&format!("{{\"decision\":\"pass\",\"pad\":\"{pad}\"}}")),
        ),
        // More texts than anybody asks about take five times their bytes.
        (
            "answer",
            answer(&format!(
                "{{\"decision\":\"pass\",\"texts\":[null{}]}}",
                ",null".repeat(100_000)
            )),
        ),
        ("answer", answer(&"[".repeat(100_000))),
        (
            "unreachable",
            format!(
                "HTTP/1.1 200 OK\r\nx-pad: {}\r\ncontent-length: 0\r\n\r\n",
                "x".repeat(1 << 20)
            ),
        ),
        ("timeout", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50)),
        // Half of an answer, and then nothing.
        ("timeout", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".into()),
    ];
    for (why, wrong) in wrong {
        for (on_failure, enforcement, status, what) in [
            ("Refuse", "Enforce", 403, "refused"),
            ("Pass", "Enforce", 200, "passed"),
            ("Refuse", "Shadow", 200, "would_refuse"),
        ] {
            let service = Peer::start().await.answering(wrong.clone());
            let timeout = if why == "timeout" { "100ms" } else { "5s" };
            let more = json!({"onFailure": on_failure, "enforcement": enforcement, "timeout": timeout});
            let bed = bed(json!([guard(&service.url(), &more)]), json!({})).await;
            let reply = bed.post_as("/v1/chat/completions", &chat("smart", false), &[]).await;
            assert_eq!(reply.status, status, "{why} {what}: {}", reply.text);
            assert_eq!(found(&bed, &format!("{what}_{why}")).await, 1.0, "{why} {what}");
            assert!(
                status == 200 || reply.text.contains("has not decided"),
                "{}",
                reply.text
            );
        }
    }
}

#[tokio::test]
async fn nothing_waits_longer_than_the_deadline_for_one_that_is_silent_or_not_there() {
    let silent = Peer::start().await;
    let gone = Peer::start().await.url();
    for (url, why) in [(silent.url(), "timeout"), (gone, "unreachable")] {
        let more = json!({"timeout": "50ms", "onFailure": "Pass", "applyTo": ["Request", "Answer"]});
        let bed = bed(json!([guard(&url, &more)]), json!({})).await;
        let reply = bed.post_as("/v1/chat/completions", &chat("smart", false), &[]).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(
            found(&bed, &format!("passed_{why}")).await,
            2.0,
            "a request and its answer"
        );
    }
}

#[tokio::test]
async fn neither_the_sidecar_itself_nor_an_address_that_is_not_allowed_is_asked() {
    // Whoever writes a policy may name any address: its own door would ask again, and again.
    let bed = bed(
        json!([guard("http://127.0.0.1:9", &json!({"onFailure": "Pass"}))]),
        json!({}),
    )
    .await;
    let own = bed.url("/v1/chat/completions");
    let documents = std::fs::read_to_string(bed.config_path()).unwrap();
    std::fs::write(bed.config_path(), documents.replace("http://127.0.0.1:9", &own)).unwrap();
    let version = |health: &Value| health["config"].clone();
    let before = version(&bed.health().await);
    bed.until("the change is in service", || async {
        version(&bed.health().await) != before
    })
    .await;
    let lines = bed.access().len();
    let reply = bed.post_as("/v1/chat/completions", &chat("smart", false), &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(bed.access().len(), lines + 1, "one request, and none of its own");

    let service = Peer::start().await;
    let by_name = service.url().replace("127.0.0.1", "localhost");
    let more = json!({"onFailure": "Pass", "allowedAddresses": ["Public"]});
    let other = self::bed(json!([guard(&by_name, &more)]), json!({})).await;
    let reply = other.post_as("/v1/chat/completions", &chat("smart", false), &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(found(&other, "passed_unreachable").await, 1.0);
}

#[tokio::test]
async fn it_is_asked_with_its_key_which_is_read_anew_and_told_to_nobody() {
    let says = json!({"decision": "refuse", "reason": format!("who asks with {KEY}?")});
    let service = Peer::start().await.answering(answer(&says.to_string()));
    let secret = json!({"authSecretRef": {"name": "dlp", "key": "token"}});
    let mut bed = Bed::providers();
    let secrets = bed.dir.path().join("secrets");
    std::fs::create_dir_all(secrets.join("dlp")).unwrap();
    let spec = json!({
        "match": {"models": ["smart"]}, "targets": [{"provider": "claude"}],
        "guards": [guard(&service.url(), &secret)],
    });
    let documents = bed.documents(&|_, _| {}) + &bowsprit_rig::documents::route("smart", &spec);
    std::fs::write(bed.config_path(), documents).unwrap();
    let folder = secrets.to_str().unwrap().to_owned();
    bed.start(&["--secrets-dir", &folder]);
    let ask = || async { bed.post_as("/v1/chat/completions", &chat("smart", false), &[]).await };
    let reply = ask().await;
    assert!(
        reply.text.contains("the key of its service is not there"),
        "{}",
        reply.text
    );
    assert!(service.connections().is_empty(), "without its key it is not asked");
    assert_eq!(found(&bed, "refused_key").await, 1.0);
    std::fs::write(secrets.join("dlp/token"), format!("{KEY}\n")).unwrap();
    bed.until("the key is read", || async {
        !ask().await.text.contains("the key of its service is not there")
    })
    .await;
    let reply = ask().await;
    assert_eq!(reply.status, 403);
    assert!(
        !reply.text.contains(KEY) && !reply.text.contains("who asks"),
        "{}",
        reply.text
    );
    let seen = String::from_utf8(service.connections().concat()).unwrap();
    assert!(seen.contains(&format!("authorization: Bearer {KEY}\r\n")), "{seen}");
}

#[tokio::test]
async fn a_whole_answer_is_asked_about_and_masked_or_refused_and_paid() {
    for (decides, status) in [
        (json!({"decision": "mask", "texts": ["[NAME] said hi"]}), 200),
        (json!({"decision": "refuse", "reason": "names"}), 403),
    ] {
        let service = Peer::start().await.answering(answer(&decides.to_string()));
        let guard = guard(&service.url(), &json!({"applyTo": ["Answer"]}));
        let bed = bed(json!([guard]), json!({"hedge": {"after": "30ms", "maxPercent": 100}})).await;
        bed.claude.always(Answer::new("Ann said hi"));
        for (path, body) in of_each_api(false) {
            let reply = bed.post_as(&path, &body, &[]).await;
            assert_eq!(reply.status, status, "{path}: {}", reply.text);
            assert!(!reply.text.contains("Ann"), "{path}: {}", reply.text);
            assert_eq!(
                reply.text.contains("[NAME] said hi"),
                status == 200,
                "{path}: {}",
                reply.text
            );
        }
        for question in asked(&service) {
            assert_eq!(question["side"], "Answer");
            let said = &question["texts"][0];
            assert_eq!(said["text"], "Ann said hi");
            assert!(
                said["role"] == "assistant" || said["role"] == "model",
                "as the API has it: {said}"
            );
        }
        for line in bed.access() {
            assert!(line["input_tokens"].as_u64() > Some(0), "the provider was paid: {line}");
            let outcome = if status == 200 { "ok" } else { "client_error" };
            assert_eq!(line["outcome"], outcome, "{line}");
        }
        bed.balanced().await;
    }
}

#[tokio::test]
async fn an_answer_that_passed_because_nobody_decided_is_not_kept() {
    let keeps = json!({"cache": {"ttl": "1h", "maxBytes": 1_048_576}});
    for (says, asked) in [(answer("{}"), 3), (answer(r#"{"decision":"pass"}"#), 1)] {
        let service = Peer::start().await.answering(says);
        let more = json!({"applyTo": ["Answer"], "onFailure": "Pass"});
        let bed = bed(json!([guard(&service.url(), &more)]), keeps.clone()).await;
        for _ in 0..3 {
            let mut body = chat("smart", false);
            body["temperature"] = json!(0);
            let reply = bed.post_as("/v1/chat/completions", &body, &[]).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
        assert_eq!(count(&bed.claude), asked);
    }
}

#[tokio::test]
async fn a_caller_that_goes_while_its_answer_is_asked_about_has_paid_for_it() {
    let silent = Peer::start().await;
    let guard = guard(&silent.url(), &json!({"applyTo": ["Answer"]}));
    let bed = bed(json!([guard]), json!({})).await;
    let caller = bed.ask("/v1/chat/completions", &chat("smart", false)).await;
    let _asked = silent.asked().await;
    drop(caller);
    bed.until("it is told", || async { !bed.access().is_empty() }).await;
    let line = &bed.access()[0];
    assert_eq!(line["outcome"], "cancelled", "{line}");
    assert!(line["input_tokens"].as_u64() > Some(0), "{line}");
    bed.balanced().await;
}
