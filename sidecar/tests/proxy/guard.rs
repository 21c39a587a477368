//! What must not leave is masked, or its request refused, before anybody is asked, in every dialect; what is found is told by the
//! guard's name and never by what it was.

use bowsprit_providers::Answer;
use bowsprit_rig::documents;
use serde_json::{Value, json};

use crate::support::{Bed, CARD, chat, contents, message, shows_card};

async fn bed(guards: Value) -> Bed {
    let bed = Bed::routed(json!({ "guards": guards }), |_, _| {}).await;
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        provider.always(Answer::new("hello"));
    }
    bed
}

fn guard(name: &str, action: &str, enforcement: &str) -> Value {
    json!({"name": name, "applyTo": ["Request"], "detect": ["Card", "Email"], "action": action, "enforcement": enforcement})
}

/// A request of each API for the route, with this text in it.
fn asked(text: &str) -> Vec<(String, Value)> {
    let with = |mut body: Value, pointer: &str| {
        *body.pointer_mut(pointer).unwrap() = json!(text);
        body
    };
    vec![
        (
            "/v1/chat/completions".into(),
            with(chat("smart", false), "/messages/0/content"),
        ),
        (
            "/v1/messages".into(),
            with(message("smart", false), "/messages/0/content"),
        ),
        ("/v1/responses".into(), json!({"model": "smart", "input": text})),
        (
            "/v1beta/models/smart:generateContent".into(),
            with(contents(), "/contents/0/parts/0/text"),
        ),
    ]
}

fn sent(bed: &Bed) -> Vec<String> {
    let all = [&bed.claude, &bed.gemini, &bed.openai];
    let requests = all.iter().flat_map(|provider| provider.requests());
    requests
        .map(|seen| String::from_utf8_lossy(&seen.body).into_owned())
        .collect()
}

async fn found(bed: &Bed, guard: &str, decision: &str) -> f64 {
    bed.metric(&format!(
        "bowsprit_guard_findings_total{{guard=\"{guard}\",decision=\"{decision}\"}}"
    ))
    .await
}

#[tokio::test]
async fn what_a_guard_masks_leaves_as_its_mask_in_every_dialect() {
    let bed = bed(json!([guard("pii", "Mask", "Enforce")])).await;
    for (path, body) in asked(&format!("charge {CARD} of ann@example.com")) {
        let reply = bed.post_as(&path, &body, &[]).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
    }
    let sent = sent(&bed);
    assert_eq!(sent.len(), 4);
    for body in sent {
        assert!(body.contains("charge [CARD] of [EMAIL]"), "{body}");
        assert!(!shows_card(&body) && !body.contains("ann@"), "{body}");
    }
    for line in bed.access() {
        assert_eq!(line["guarded_by"], "pii", "{line}");
        assert!(!shows_card(&line.to_string()), "{line}");
    }
    assert_eq!(found(&bed, "pii", "masked").await, 4.0);
    assert!(!bed.metrics().await.contains("1111 1111"));
}

#[tokio::test]
async fn a_body_in_which_nothing_is_found_passes_byte_for_byte() {
    let bed = bed(json!([guard("pii", "Mask", "Enforce")])).await;
    let (_, plain) = asked("charge 4111 1111 1111 1112").remove(0);
    let reply = bed.post_as("/v1/chat/completions", &plain, &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let with = sent(&bed).remove(0);
    let bare = Bed::routed(json!({}), |_, _| {}).await;
    bare.claude.always(Answer::new("hello"));
    bare.post_as("/v1/chat/completions", &plain, &[]).await;
    assert_eq!(with, sent(&bare).remove(0));
    assert_eq!(bed.access()[0]["guarded_by"], Value::Null);
}

#[tokio::test]
async fn what_a_guard_refuses_is_refused_by_its_name_in_every_dialect_and_nobody_is_asked() {
    let bed = bed(json!([guard("no-pii", "Refuse", "Enforce")])).await;
    let told = "the guard no-pii of ModelRoute smart does not let this pass";
    for (path, body) in asked(CARD) {
        let reply = bed.post_as(&path, &body, &[]).await;
        assert_eq!(reply.status, 403, "{path}: {}", reply.text);
        assert!(reply.text.contains(told), "{path}: {}", reply.text);
        assert!(reply.text.contains("BIZ_GUARD_REFUSED"), "{path}: {}", reply.text);
        // With its spaces: an id may well have four ones.
        assert!(!reply.text.contains("1111 1111"), "{path}: {}", reply.text);
    }
    assert!(sent(&bed).is_empty());
    for line in bed.access() {
        assert_eq!(
            (&line["refused_by"], &line["attempts"]),
            (&json!("guard:no-pii"), &json!(0)),
            "{line}"
        );
        assert_eq!(line["guarded_by"], "no-pii", "{line}");
    }
    assert_eq!(found(&bed, "no-pii", "refused").await, 4.0);
}

#[tokio::test]
async fn a_guard_in_shadow_and_one_that_observes_only_count() {
    let bed = bed(json!([
        guard("a", "Refuse", "Shadow"),
        guard("b", "Mask", "Shadow"),
        guard("c", "Observe", "Enforce"),
    ]))
    .await;
    let (path, body) = asked(CARD).remove(0);
    assert_eq!(bed.post_as(&path, &body, &[]).await.status, 200);
    assert!(sent(&bed)[0].contains(CARD));
    for (name, decision) in [("a", "would_refuse"), ("b", "would_mask"), ("c", "observed")] {
        assert_eq!(found(&bed, name, decision).await, 1.0, "{name}");
    }
    assert_eq!(bed.access()[0]["guarded_by"], "a,b,c");
}

#[tokio::test]
async fn the_guards_of_the_namespace_look_into_every_request_and_what_passes_unread_is_refused() {
    let mut bed = Bed::providers();
    let policy = documents::policy("all", &json!({"guards": [guard("pii", "Mask", "Enforce")]}));
    std::fs::write(bed.config_path(), bed.documents(&|_, _| {}) + &policy).unwrap();
    bed.start(&[]);
    bed.claude.always(Answer::new("hello"));
    let mut body = chat("claude-sonnet-4-5", false);
    body["messages"][0]["content"] = json!(CARD);
    let reply = bed.post_as("/v1/chat/completions", &body, &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(sent(&bed)[0].contains("[CARD]"));
    let unread = bed.post_as("/providers/claude/v1/files", &json!({}), &[]).await;
    assert_eq!(unread.status, 403, "{}", unread.text);
    assert!(
        unread
            .text
            .contains("the guard pii of UsagePolicy all cannot look into what passes unread"),
        "{}",
        unread.text
    );
    let empty = bed.get("/providers/claude/v1/files").send().await.unwrap();
    assert_ne!(empty.status(), 403, "it says nothing");
}

#[tokio::test]
async fn inputs_of_embeddings_that_are_tokens_pass_only_where_the_unread_may() {
    let asked = json!({"model": "smart", "input": [[15339, 1917]]});
    for unread in ["Refuse", "Pass"] {
        let mut guard = guard("pii", "Mask", "Enforce");
        guard["unread"] = json!(unread);
        let bed = Bed::routed(json!({ "guards": [guard] }), |_, _| {}).await;
        let reply = bed.post_as("/v1/embeddings", &asked, &[]).await;
        let is_refused = reply.status == 403 && reply.text.contains("cannot look into");
        assert_eq!(
            is_refused,
            unread == "Refuse",
            "{unread}: {} {}",
            reply.status,
            reply.text
        );
        assert!(!is_refused || sent(&bed).is_empty(), "nobody is asked");
        bed.balanced().await;
    }
}

#[tokio::test]
async fn a_cache_knows_a_request_by_what_leaves() {
    let more = json!({"guards": [guard("pii", "Mask", "Enforce")], "cache": {"ttl": "1h", "maxBytes": 1 << 20, "temperature": "Any"}});
    let bed = Bed::routed(more, |_, _| {}).await;
    bed.claude.always(Answer::new("hello"));
    for card in [CARD, "5555 5555 5555 4444"] {
        let (path, body) = asked(card).remove(0);
        let reply = bed.post_as(&path, &body, &[]).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    assert_eq!(sent(&bed).len(), 1, "both ask the same");
}
