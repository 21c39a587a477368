//! What must not come in an answer is masked before the app has it, plain and streamed, in every API and from every provider; a
//! refused answer leaves nothing of it, leads to nobody else and was paid; and no cache gives what was not looked into.

use bowsprit_providers::{Answer, Fault};
use bowsprit_rig::documents;
use serde_json::{Value, json};

use crate::support::{Bed, CARD, Reply, chat, count, of_each_api, shows_card};

const PROVIDERS: [&str; 3] = ["claude", "gemini", "openai"];

fn guard(name: &str, action: &str, enforcement: &str) -> Value {
    json!({"name": name, "applyTo": ["Answer"], "detect": ["Card"], "action": action, "enforcement": enforcement})
}

/// A bed whose route leads to this provider first.
async fn bed(first: &str, more: Value) -> Bed {
    let others: Vec<Value> = PROVIDERS
        .iter()
        .filter(|name| **name != first)
        .map(|name| json!({"provider": name}))
        .collect();
    let mut spec = json!({"targets": [{"provider": first}], "fallback": others});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Bed::routed(spec, |_, _| {}).await
}

fn says(bed: &Bed, answer: &Answer) {
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        provider.always(answer.clone());
    }
}

fn asked(bed: &Bed) -> u64 {
    [&bed.claude, &bed.gemini, &bed.openai].into_iter().map(count).sum()
}

async fn found(bed: &Bed, guard: &str, decision: &str) -> f64 {
    bed.metric(&format!(
        "bowsprit_guard_findings_total{{guard=\"{guard}\",decision=\"{decision}\"}}"
    ))
    .await
}

/// All that a reply says to a person, in order.
pub(crate) fn said(reply: &Reply) -> String {
    let mut all = String::new();
    let events = reply.events();
    let texts = if events.is_empty() {
        vec![reply.text.as_str()]
    } else {
        events
    };
    for event in texts
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
    {
        // Responses say it again at the end.
        if event["type"]
            .as_str()
            .is_none_or(|kind| !kind.starts_with("response.") || kind.ends_with("text.delta"))
        {
            gather(&event, &mut all);
        }
    }
    all
}

fn gather(value: &Value, all: &mut String) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if matches!(name.as_str(), "content" | "text" | "delta") => all.push_str(text),
                    value => gather(value, all),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, all)),
        _ => {}
    }
}

#[tokio::test]
async fn what_a_guard_masks_comes_as_its_mask_from_every_provider_to_every_api() {
    for first in PROVIDERS {
        let bed = bed(first, json!({"guards": [guard("pii", "Mask", "Enforce")]})).await;
        // A piece for each word: the card straddles four.
        says(&bed, &Answer::new(format!("charged {CARD} today")));
        for stream in [false, true] {
            for (path, body) in of_each_api(stream) {
                let reply = bed.post_as(&path, &body, &[]).await;
                let what = format!("{first} {path} {stream}: {}", reply.text);
                assert_eq!(reply.status, 200, "{what}");
                assert!(reply.complete && !shows_card(&reply.text), "{what}");
                assert!(said(&reply).contains("charged [CARD] today"), "{what}");
            }
        }
        assert_eq!(found(&bed, "pii", "masked").await, 8.0);
        for line in bed.access() {
            assert_eq!(
                (&line["guarded_by"], &line["outcome"]),
                (&json!("pii"), &json!("ok")),
                "{line}"
            );
            assert!(line["output_tokens"].as_u64() > Some(0), "{line}");
        }
    }
}

#[tokio::test]
async fn an_answer_in_which_nothing_is_found_comes_whole() {
    let mut answer = Answer::new("the year 2024, and 4111 1111 apples");
    answer.write_bytes = Some(7);
    for first in PROVIDERS {
        let with = bed(first, json!({"guards": [guard("pii", "Mask", "Enforce")]})).await;
        says(&with, &answer);
        for stream in [false, true] {
            for (path, body) in of_each_api(stream) {
                let reply = with.post_as(&path, &body, &[]).await;
                assert_eq!((reply.status, reply.complete), (200, true), "{}", reply.text);
                assert!(
                    said(&reply).contains("the year 2024, and 4111 1111 apples"),
                    "{}",
                    reply.text
                );
            }
        }
        assert_eq!(found(&with, "pii", "masked").await, 0.0);
    }
}

#[tokio::test]
async fn a_refused_answer_leaves_nothing_of_it_leads_to_nobody_else_and_was_paid() {
    let bed = bed("claude", json!({"guards": [guard("no-cards", "Refuse", "Enforce")]})).await;
    says(&bed, &Answer::new(CARD));
    for stream in [false, true] {
        for (path, body) in of_each_api(stream) {
            let reply = bed.post_as(&path, &body, &[]).await;
            let what = format!("{path} {stream}: {}", reply.text);
            assert!(!shows_card(&reply.text), "{what}");
            assert!(reply.text.contains("BIZ_GUARD_REFUSED"), "{what}");
            assert!(reply.text.contains("the guard no-cards of ModelRoute smart"), "{what}");
            assert!(stream || reply.status == 403, "{what}");
        }
    }
    assert_eq!(asked(&bed), 8, "one attempt each");
    assert_eq!(found(&bed, "no-cards", "refused").await, 8.0);
    for line in bed.access() {
        assert_eq!(line["refused_by"], "guard:no-cards", "{line}");
        assert_eq!(line["code"], "BIZ_GUARD_REFUSED", "{line}");
        assert_ne!(line["outcome"], "ok", "{line}");
        let is_paid = line["input_tokens"]
            .as_u64()
            .or(line["estimated_input_tokens"].as_u64())
            > Some(0);
        assert!(is_paid, "the provider was: {line}");
    }
}

#[tokio::test]
async fn a_stream_that_is_refused_in_the_middle_ends_in_an_error_of_the_callers_api() {
    let bed = bed("claude", json!({"guards": [guard("no-cards", "Refuse", "Enforce")]})).await;
    says(&bed, &Answer::new(format!("well then here it is {CARD} and more")));
    for (path, body) in of_each_api(true) {
        let reply = bed.post_as(&path, &body, &[]).await;
        let what = format!("{path}: {}", reply.text);
        assert_eq!(reply.status, 200, "{what}");
        assert!(
            reply.text.contains("then") && reply.text.contains("BIZ_GUARD_REFUSED"),
            "{what}"
        );
        assert!(!shows_card(&reply.text) && !reply.text.contains("and more"), "{what}");
    }
    for line in bed.access() {
        assert_eq!(
            (&line["outcome"], &line["code"]),
            (&json!("cut"), &json!("BIZ_GUARD_REFUSED")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn what_is_held_when_a_stream_breaks_does_not_leave() {
    let after = 4;
    for fault in [
        Fault::TruncatedChunked { after },
        Fault::ErrorEvent {
            after,
            code: 500,
            kind: None,
        },
    ] {
        for first in PROVIDERS {
            let bed = bed(first, json!({"guards": [guard("pii", "Mask", "Enforce")]})).await;
            says(&bed, &Answer::new(format!("so charge {CARD}")).fault(fault.clone()));
            for (path, body) in of_each_api(true) {
                let reply = bed.post_as(&path, &body, &[]).await;
                let what = format!("{first} {path}: {}", reply.text);
                assert!(reply.text.contains("charge"), "what is decided is there: {what}");
                assert!(!shows_card(&reply.text), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_guard_in_shadow_and_one_that_observes_change_nothing() {
    let bed = bed(
        "claude",
        json!({"guards": [guard("a", "Refuse", "Shadow"), guard("b", "Mask", "Shadow"), guard("c", "Observe", "Enforce")]}),
    )
    .await;
    says(&bed, &Answer::new(CARD));
    for stream in [false, true] {
        let reply = bed.chat_with("smart", stream).await;
        assert_eq!((reply.status, reply.content().as_str()), (200, CARD));
    }
    for (name, decision) in [("a", "would_refuse"), ("b", "would_mask"), ("c", "observed")] {
        assert_eq!(found(&bed, name, decision).await, 2.0, "{name}");
    }
    assert_eq!(bed.access()[0]["guarded_by"], "a,b,c");
}

#[tokio::test]
async fn a_cache_gives_what_its_guards_have_let_pass_and_nothing_from_before_them() {
    let cache = json!({"ttl": "1h", "maxBytes": 1 << 20, "temperature": "Any"});
    let keeps = json!({"maxAge": "1h", "maxBytes": 1 << 20});
    let bed = bed("claude", json!({"cache": cache, "staleIfError": keeps})).await;
    says(&bed, &Answer::new(CARD));
    for stream in [false, true] {
        assert!(bed.chat_with("smart", stream).await.content().contains("1111"));
    }
    let policy = documents::policy("all", &json!({"guards": [guard("pii", "Mask", "Enforce")]}));
    let before = std::fs::read_to_string(bed.config_path()).unwrap();
    std::fs::write(bed.config_path(), before + &policy).unwrap();
    for stream in [false, true] {
        bed.until("no answer from before the guard is given", || async {
            bed.chat_with("smart", stream).await.content() == "[CARD]"
        })
        .await;
        let asked = asked(&bed);
        let again = bed.chat_with("smart", stream).await;
        assert_eq!(
            (again.content().as_str(), self::asked(&bed)),
            ("[CARD]", asked),
            "kept as it was given"
        );
        assert!(again.header("x-bowsprit-cache").starts_with("hit"));
    }
}

#[tokio::test]
async fn what_no_guard_can_look_into_is_refused_or_passes_as_the_guard_says() {
    for unread in ["Refuse", "Pass"] {
        let mut guard = guard("pii", "Mask", "Enforce");
        guard["unread"] = json!(unread);
        let bed = bed("openai", json!({"guards": [guard]})).await;
        let mut answer = Answer::new("hello");
        // In a coding that nobody here reads.
        answer.headers = vec![("content-encoding".into(), "br".into())];
        says(&bed, &answer);
        for stream in [false, true] {
            let reply = bed.post_as("/v1/chat/completions", &chat("smart", stream), &[]).await;
            let is_refused = reply.status == 403 && reply.text.contains("cannot look into what passes unread");
            assert_eq!(is_refused, unread == "Refuse", "{} {}", reply.status, reply.text);
        }
    }
}
