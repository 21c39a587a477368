//! Several keys of one provider, and keys that change.

use std::collections::BTreeSet;

use bowsprit_providers::{Answer, Behaviour, Fault, When};
use serde_json::{Value, json};

use crate::support::{Bed, Reply, chat, contents, count, message};

fn two_keys(bed_dir: &std::path::Path) -> impl Fn(&str, &mut Value) + use<> {
    let dir = bed_dir.to_path_buf();
    move |name, spec| {
        if name == "claude" {
            spec["credentials"] = json!([
                {"name": "first", "file": dir.join("first.key")},
                {"name": "second", "file": dir.join("second.key")},
            ]);
        }
    }
}

fn bed_with_two_keys() -> Bed {
    let mut bed = Bed::providers();
    for name in ["first", "second"] {
        std::fs::write(bed.dir.path().join(format!("{name}.key")), format!("sk-{name}-key")).unwrap();
    }
    bed.write_config(&two_keys(bed.dir.path()));
    bed.start(&[]);
    bed
}

#[tokio::test]
async fn several_keys_share_the_work() {
    let bed = bed_with_two_keys();
    for _ in 0..40 {
        assert_eq!(bed.chat().await.status, 200);
    }
    let used: BTreeSet<_> = bed
        .claude
        .requests()
        .iter()
        .filter_map(|request| request.key.clone())
        .collect();
    assert_eq!(used.len(), 2, "{used:?}");
}

#[tokio::test]
async fn attempts_are_as_many_as_allowed_however_few_keys_there_are() {
    let mut bed = Bed::providers();
    for name in ["first", "second"] {
        std::fs::write(bed.dir.path().join(format!("{name}.key")), format!("sk-{name}-key")).unwrap();
    }
    let keys = two_keys(bed.dir.path());
    bed.write_config(&|name: &str, spec: &mut Value| {
        keys(name, spec);
        spec["retry"] = json!({"maxAttempts": 4, "backoff": {"base": "1ms", "max": "2ms"}});
    });
    bed.start(&[]);
    bed.claude.always(Behaviour::status(503));
    bed.gemini.always(Behaviour::status(503));
    bed.openai.always(Behaviour::status(503));
    bed.chat().await;
    assert_eq!(count(&bed.claude), 4);
    let used: Vec<_> = bed
        .claude
        .requests()
        .iter()
        .filter_map(|request| request.key.clone())
        .collect();
    assert_eq!(
        used[..2].iter().collect::<BTreeSet<_>>().len(),
        2,
        "an untried key first: {used:?}"
    );
    let retries = bed
        .metric(r#"bowsprit_retries_total{provider="claude",code="EXT_OVERLOADED"}"#)
        .await;
    assert!((retries - 3.0).abs() < 0.5, "{retries} retries counted");
    bed.balanced().await;
}

#[tokio::test]
async fn a_refused_key_is_set_aside_and_the_other_one_answers_the_same_request() {
    let bed = bed_with_two_keys();
    bed.claude
        .always_when(When::key("sk-first-key"), Behaviour::status(401));
    for _ in 0..20 {
        let reply = bed.chat().await;
        assert_eq!((reply.status, reply.provider()), (200, "claude"), "{}", reply.text);
    }
    let refused = bed
        .claude
        .requests()
        .iter()
        .filter(|request| request.key.as_deref() == Some("sk-first-key"))
        .count();
    assert_eq!(refused, 1, "once refused, not asked again");
    let health = bed.provider_health("claude").await;
    assert_eq!(
        (health["keysUsable"].as_u64(), health["keysConfigured"].as_u64()),
        (Some(1), Some(2))
    );
    assert!(health["keyProblems"][0].as_str().unwrap().starts_with("first: "));
    bed.balanced().await;
}

/// What providers say of an account that cannot pay, or is closed.
fn closed_accounts() -> [(u16, &'static str, &'static str); 4] {
    [
        (
            400,
            "Your credit balance is too low to access the Anthropic API.",
            "its account cannot pay",
        ),
        (402, "Insufficient Balance", "its account cannot pay"),
        (
            429,
            "Your team has used all available credits.",
            "its account cannot pay",
        ),
        (400, "This organization has been disabled.", "its account is closed"),
    ]
}

#[tokio::test]
async fn a_closed_account_rests_its_key_for_long_and_the_second_key_answers() {
    for (status, message, why) in closed_accounts() {
        let bed = bed_with_two_keys();
        let closed = Behaviour::status(status).message(message);
        bed.claude.always_when(When::key("sk-first-key"), closed);
        for _ in 0..20 {
            let reply = bed.chat().await;
            assert_eq!((reply.status, reply.provider()), (200, "claude"), "{}", reply.text);
        }
        let of_first = |request: &&bowsprit_providers::Recorded| request.key.as_deref() == Some("sk-first-key");
        let asked = bed.claude.requests().iter().filter(of_first).count();
        assert_eq!(asked, 1, "{message}: not asked again");
        let health = bed.provider_health("claude").await;
        let problem = health["keyProblems"][0].as_str().unwrap().to_owned();
        assert!(problem.starts_with("first: ") && problem.contains(why), "{problem}");
        assert_eq!(health["keysUsable"], 1);
        bed.balanced().await;
    }
}

#[tokio::test]
async fn an_account_that_cannot_pay_opens_no_breaker_and_the_next_candidate_answers() {
    let bed = Bed::with(|_, spec| spec["circuitBreaker"] = json!({"failureThreshold": 1})).await;
    bed.claude
        .always(Behaviour::status(400).message("Your credit balance is too low to access the Anthropic API."));
    for _ in 0..5 {
        assert_eq!(bed.chat().await.provider(), "gemini");
    }
    assert_eq!(count(&bed.claude), 1, "the key rests");
    assert_eq!(bed.metric("bowsprit_breaker_state{provider=\"claude\"}").await, 0.0);
    bed.balanced().await;
}

#[tokio::test]
async fn an_empty_account_told_inside_a_stream_sends_it_to_the_next_candidate() {
    let bed = Bed::new().await;
    let error = Fault::ErrorEvent {
        after: 0,
        code: 402,
        kind: Some("billing_error".into()),
    };
    bed.claude.always(Answer::new("never read").fault(error));
    let reply = bed.chat_with("claude-sonnet-4-5", true).await;
    assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
    assert_eq!(bed.provider_health("claude").await["keysUsable"], 0);
    bed.balanced().await;
}

#[tokio::test]
async fn while_an_account_is_empty_each_api_says_so_in_its_own_words() {
    let bed = Bed::with(|name, spec| {
        if name != "openai" {
            *spec = Value::Null;
        }
    })
    .await;
    bed.openai
        .always(Behaviour::status(429).kind("insufficient_quota").message("No credits."));
    let asked = [
        ("/v1/chat/completions", chat("gpt-4.1-mini", false)),
        ("/v1/chat/completions", chat("gpt-4.1-mini", true)),
        ("/v1/messages", message("gpt-4.1-mini", false)),
        ("/v1beta/models/gpt-4.1-mini:generateContent", contents()),
        (
            "/v1/responses",
            json!({"model": "gpt-4.1-mini", "input": "Hello", "store": false}),
        ),
    ];
    let said = [
        (429, "code", "insufficient_quota"),
        (429, "code", "insufficient_quota"),
        (402, "type", "billing_error"),
        (400, "status", "FAILED_PRECONDITION"),
        (429, "code", "insufficient_quota"),
    ];
    for (turn, ((path, body), (status, field, word))) in asked.into_iter().zip(said).enumerate() {
        let reply = Reply::of(bed.post(path, &body).send().await.unwrap()).await;
        let error = &reply.json()["error"];
        assert_eq!((reply.status, &error[field]), (status, &json!(word)), "{path}: {error}");
        assert_eq!(reply.header("x-should-retry"), "false", "{path}: no retry mends it");
        // The first is the provider's own answer, as it came.
        let ours = if turn == 0 { Value::Null } else { json!("AUTH_BILLING") };
        assert_eq!(error["bowsprit_code"], ours, "{path}");
    }
    assert_eq!(count(&bed.openai), 1, "the key rests");
    bed.balanced().await;
}

#[tokio::test]
async fn a_throttled_key_makes_room_for_another_at_once() {
    let bed = bed_with_two_keys();
    bed.claude
        .always_when(When::key("sk-first-key"), Behaviour::status(429));
    for _ in 0..10 {
        let reply = bed.chat().await;
        assert_eq!((reply.status, reply.provider()), (200, "claude"), "{}", reply.text);
    }
    assert!(count(&bed.claude) <= 11);
    bed.balanced().await;
}

/// An answer that says its key has no request left for so many seconds.
fn used_up(seconds: &str) -> Answer {
    Answer::new("the last one")
        .header("anthropic-ratelimit-requests-limit", "1")
        .header("anthropic-ratelimit-requests-remaining", "0")
        .header("anthropic-ratelimit-requests-reset", seconds)
}

#[tokio::test]
async fn a_key_without_headroom_is_spared_before_it_is_throttled() {
    let bed = bed_with_two_keys();
    bed.claude.always_when(When::key("sk-first-key"), used_up("600"));
    for _ in 0..30 {
        assert_eq!(bed.chat().await.provider(), "claude");
    }
    let of_first = |request: &&bowsprit_providers::Recorded| request.key.as_deref() == Some("sk-first-key");
    let used = bed.claude.requests().iter().filter(of_first).count();
    assert_eq!(used, 1, "it said itself that it was the last one");
    assert_eq!(bed.provider_health("claude").await["keysUsable"], 2, "it is not broken");
    bed.balanced().await;
}

#[tokio::test]
async fn a_provider_all_of_whose_keys_are_without_headroom_is_passed_over() {
    let bed = bed_with_two_keys();
    bed.claude.always(used_up("600"));
    for _ in 0..2 {
        assert_eq!(bed.chat().await.provider(), "claude");
    }
    for _ in 0..5 {
        assert_eq!(bed.chat().await.provider(), "gemini", "no 429 was needed to know");
    }
    assert_eq!(count(&bed.claude), 2);
    bed.balanced().await;
}

#[tokio::test]
async fn a_provider_without_another_beside_it_is_waited_for_until_it_has_room_again() {
    let bed = Bed::with(|name, spec| {
        if name == "claude" {
            spec["rateLimits"] = json!({"onLimit": "Wait", "maxWait": "20s"});
        } else {
            *spec = Value::Null;
        }
    })
    .await;
    bed.claude.script(used_up("0.4"));
    for _ in 0..2 {
        assert_eq!(bed.chat().await.status, 200);
    }
    let requests = bed.claude.requests();
    let apart = requests[1].at.saturating_sub(requests[0].at);
    assert!(apart >= std::time::Duration::from_millis(350), "{apart:?} apart");
    bed.balanced().await;
}

#[tokio::test]
async fn a_key_is_rotated_without_a_restart() {
    let bed = Bed::new().await;
    assert_eq!(bed.chat().await.provider(), "claude");
    std::fs::write(bed.dir.path().join("claude.key"), "sk-rotated").unwrap();
    bed.until("the new key is used", || async {
        bed.chat().await;
        bed.claude.requests().last().unwrap().key.as_deref() == Some("sk-rotated")
    })
    .await;
}

#[tokio::test]
async fn an_emptied_secret_keeps_the_old_key_and_raises_an_alarm() {
    let bed = Bed::new().await;
    std::fs::write(bed.dir.path().join("claude.key"), "").unwrap();
    bed.until("it is noticed", || async {
        bed.metric("bowsprit_keys_broken{provider=\"claude\"}").await == 1.0
    })
    .await;
    assert_eq!(bed.chat().await.provider(), "claude", "the old key still works");
    std::fs::remove_file(bed.dir.path().join("claude.key")).unwrap();
    bed.until("it is said", || async {
        let health = bed.provider_health("claude").await;
        health["keyProblems"][0]
            .as_str()
            .is_some_and(|why| why.contains("last good value"))
    })
    .await;
    assert_eq!(bed.chat().await.provider(), "claude");
}

#[tokio::test]
async fn a_provider_without_its_key_is_left_out_and_the_reason_is_shown() {
    let bed = Bed::with(|name, spec| {
        if name == "claude" {
            spec["credentials"] = json!([{"name": "main", "env": "BOWSPRIT_TEST_NOT_SET"}]);
        }
    })
    .await;
    assert_eq!(bed.chat().await.provider(), "gemini");
    assert_eq!(count(&bed.claude), 0);
    let health = bed.provider_health("claude").await;
    assert_eq!(health["status"], "no usable key");
    assert!(
        health["keyProblems"][0]
            .as_str()
            .unwrap()
            .contains("BOWSPRIT_TEST_NOT_SET")
    );
}

#[tokio::test]
async fn with_no_key_at_all_the_caller_is_told_so() {
    let bed = Bed::with(|_, spec| spec["credentials"] = json!([{"name": "main", "file": "/nowhere/key"}])).await;
    let reply = bed.chat().await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (503, Some("AUTH_KEY_MISSING")),
        "{}",
        reply.text
    );
    bed.balanced().await;
}

fn callers_keys(name: &str, spec: &mut Value) {
    if name != "claude" {
        spec.as_object_mut().unwrap().remove("credentials");
        spec["forwardCallerKey"] = json!(true);
    }
}

#[tokio::test]
async fn a_callers_own_key_goes_on_where_the_config_says_so_and_speaks_his_api() {
    let bed = Bed::with(callers_keys).await;
    let asked = bed
        .post("/v1/chat/completions", &chat("gpt-4.1-mini", false))
        .header("authorization", "Bearer sk-of-the-app");
    let reply = Reply::of(asked.send().await.unwrap()).await;
    assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
    assert_eq!(bed.openai.requests()[0].key.as_deref(), Some("sk-of-the-app"));
    let files = bed
        .get("/providers/openai/v1/files")
        .header("authorization", "Bearer sk-of-the-app");
    Reply::of(files.send().await.unwrap()).await;
    assert_eq!(bed.openai.requests()[1].key.as_deref(), Some("sk-of-the-app"));
    bed.balanced().await;
}

#[tokio::test]
async fn a_callers_key_never_reaches_another_vendor_or_a_provider_that_has_its_own() {
    let bed = Bed::with(callers_keys).await;
    // An OpenAI caller: to Claude, which has a key of its own, and from there to Gemini, which would take a Gemini caller's.
    bed.claude.always(Behaviour::status(500));
    let asked = bed
        .post("/v1/chat/completions", &chat("claude-sonnet-4-5", false))
        .header("authorization", "Bearer sk-of-the-app");
    Reply::of(asked.send().await.unwrap()).await;
    for (provider, name) in [(&bed.claude, "claude"), (&bed.gemini, "gemini")] {
        for request in provider.requests() {
            assert_ne!(request.key.as_deref(), Some("sk-of-the-app"), "{name}");
        }
    }
    assert_eq!(count(&bed.gemini), 1, "it was asked, and without any key");
    bed.balanced().await;
}
