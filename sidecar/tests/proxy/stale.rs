//! The last good answer is given again when every candidate is down: byte for byte, marked as what it is, to the caller that it
//! was for, and in no other case.

use bowsprit_providers::{Answer, Behaviour};
use bowsprit_rig::documents;
use serde_json::{Value, json};

use crate::support::{Bed, Reply, chat, count, failing, message, of_each_api};

/// What a route says that keeps answers.
fn keeps() -> Value {
    json!({"staleIfError": {"maxAge": "1h", "maxBytes": 1 << 20}})
}

async fn bed() -> Bed {
    bed_with(|_, _| {}).await
}

async fn bed_with(change: impl Fn(&str, &mut Value)) -> Bed {
    let bed = Bed::routed(keeps(), |name, spec| {
        // Each asks anew: what an open breaker changes has a test of its own.
        spec["circuitBreaker"] = json!({"failureThreshold": 1000});
        change(name, spec);
    })
    .await;
    bed.claude.always(Answer::new("as good as ever").chunks(3));
    bed
}

fn all_down(bed: &Bed) {
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        failing(provider, 500);
    }
}

async fn ask(bed: &Bed, path: &str, body: &Value) -> Reply {
    bed.post_as(path, body, &[]).await
}

async fn fate(bed: &Bed, fate: &str) -> f64 {
    bed.metric(&format!("bowsprit_kept_answers_total{{fate=\"{fate}\"}}"))
        .await
}

async fn met(bed: &Bed, result: &str) -> f64 {
    bed.metric(&format!(
        "bowsprit_stale_answers_total{{route=\"smart\",result=\"{result}\"}}"
    ))
    .await
}

fn is_stale(reply: &Reply) -> bool {
    reply.status == 200 && !reply.header("x-bowsprit-stale").is_empty()
}

#[tokio::test]
async fn in_each_api_plain_and_streamed_the_caller_gets_the_very_bytes_again() {
    for stream in [false, true] {
        let bed = bed().await;
        let requests = of_each_api(stream);
        let mut good = Vec::new();
        for (path, body) in &requests {
            let reply = ask(&bed, path, body).await;
            assert_eq!(
                (reply.status, reply.provider()),
                (200, "claude"),
                "{path}: {}",
                reply.text
            );
            assert!(reply.text.contains("good"), "{path}: {}", reply.text);
            assert!(!is_stale(&reply) && reply.header("age").is_empty());
            good.push(reply);
        }
        assert_eq!(fate(&bed, "kept").await, 4.0);
        all_down(&bed);
        for ((path, body), first) in requests.iter().zip(&good) {
            let again = ask(&bed, path, body).await;
            assert_eq!((again.status, again.complete), (200, true), "{path}: {}", again.text);
            assert_eq!(again.text, first.text, "{path}");
            assert_eq!(again.header("content-type"), first.header("content-type"), "{path}");
            assert_eq!(again.header("x-bowsprit-stale"), first.header("x-request-id"), "{path}");
            assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
            let age: u64 = again.header("age").parse().unwrap();
            assert!(age < 60, "{age}");
            let status = format!("bowsprit; hit; ttl=-{age}; detail=STALE_IF_ERROR");
            assert_eq!(again.header("cache-status"), status);
            assert_eq!((again.provider(), again.header("x-bowsprit-attempts")), ("claude", "3"));
            assert_eq!(again.header("x-bowsprit-model"), first.header("x-bowsprit-model"));
        }
        assert_eq!((met(&bed, "served").await, met(&bed, "none").await), (4.0, 0.0));
        bed.balanced().await;
    }
}

#[tokio::test]
async fn the_record_says_that_it_failed_and_what_was_given_and_nothing_is_billed_for_it() {
    let bed = bed().await;
    let first = bed.chat_with("smart", false).await;
    let tokens = bed.family("bowsprit_tokens_total").await;
    all_down(&bed);
    assert!(is_stale(&bed.chat_with("smart", false).await));
    let line = bed.access().pop().unwrap();
    assert_eq!(
        (&line["outcome"], &line["code"]),
        (&json!("provider_error"), &json!("EXT_SERVER_ERROR"))
    );
    assert_eq!((&line["status"], &line["attempts"]), (&json!(200), &json!(3)));
    assert_eq!(line["stale_of"], first.header("x-request-id"));
    assert!(line["stale_age_s"].as_u64().unwrap() < 60, "{line}");
    assert_eq!(line["answer_bytes"], json!(first.text.len()));
    assert_eq!(line["cost_usd"], json!(0));
    assert_eq!(
        bed.family("bowsprit_tokens_total").await,
        tokens,
        "no tokens were spent"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn with_every_breaker_open_nobody_is_asked_and_the_answer_comes_at_once() {
    let bed = Bed::routed(keeps(), |_, spec| {
        spec["circuitBreaker"] = json!({"failureThreshold": 1, "openFor": "60s"});
    })
    .await;
    bed.claude.always(Answer::new("as good as ever"));
    let first = bed.chat_with("smart", true).await;
    all_down(&bed);
    assert!(is_stale(&bed.chat_with("smart", true).await));
    let asked = count(&bed.claude) + count(&bed.gemini) + count(&bed.openai);
    let again = bed.chat_with("smart", true).await;
    assert!(is_stale(&again), "{}", again.text);
    assert_eq!(
        (again.text, again.headers["x-bowsprit-attempts"].to_str().unwrap()),
        (first.text, "0")
    );
    assert_eq!(count(&bed.claude) + count(&bed.gemini) + count(&bed.openai), asked);
    assert_eq!(bed.access().pop().unwrap()["code"], "EXT_ALL_UNAVAILABLE");
    bed.balanced().await;
}

#[tokio::test]
async fn another_question_another_caller_and_another_credential_get_the_error() {
    let bed = bed().await;
    let (path, own) = ("/v1/chat/completions", chat("smart", false));
    let key = [("authorization", "Bearer sk-of-the-app")];
    assert_eq!(bed.post_as(path, &own, &key).await.status, 200);
    all_down(&bed);
    let mut other = own.clone();
    other["messages"][0]["content"] = json!("good bye");
    let mut streamed = own.clone();
    streamed["stream"] = json!(true);
    for (body, headers) in [
        (&other, &key[..]),
        (&streamed, &key),
        (&own, &[]),
        (&own, &[("authorization", "Bearer sk-of-another")]),
        (&own, &[("authorization", "Bearer sk-of-the-app"), ("x-tenant", "red")]),
        (
            &own,
            &[("authorization", "Bearer sk-of-the-app"), ("cache-control", "no-store")],
        ),
    ] {
        let reply = bed.post_as(path, body, headers).await;
        assert!(
            reply.status >= 500 && !is_stale(&reply),
            "{body} {headers:?}: {}",
            reply.text
        );
    }
    assert_eq!(met(&bed, "none").await, 6.0);
    let mut written = own.clone();
    written.as_object_mut().unwrap().sort_keys();
    let traced = [
        key[0],
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    assert!(
        is_stale(&bed.post_as(path, &written, &traced).await),
        "the same question, written otherwise"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn what_is_no_outage_is_told_and_not_hidden() {
    for (case, code) in [("mistake", 400), ("key", 401), ("permission", 403), ("limit", 429)] {
        let bed = bed().await;
        assert_eq!(bed.chat_with("smart", false).await.status, 200);
        for provider in [&bed.claude, &bed.gemini, &bed.openai] {
            failing(provider, code);
        }
        let reply = bed.chat_with("smart", false).await;
        assert!(reply.status >= 400 && !is_stale(&reply), "{case}: {}", reply.text);
        // One that may not be asked among those that are down: it might have answered.
        failing(&bed.claude, 500);
        let reply = bed.chat_with("smart", false).await;
        assert_eq!(is_stale(&reply), case == "limit", "{case}: {}", reply.text);
        bed.balanced().await;
    }
}

#[tokio::test]
async fn a_limit_of_the_configuration_is_no_outage() {
    let bed = bed_with(|_, spec| spec["rateLimits"] = json!({"requestsPerMinute": 1, "onLimit": "Fallback"})).await;
    assert_eq!(bed.chat_with("smart", false).await.status, 200);
    all_down(&bed);
    let reply = bed.chat_with("smart", false).await;
    assert!(reply.status >= 400 && !is_stale(&reply), "{}", reply.text);
    bed.balanced().await;
}

#[tokio::test]
async fn what_acts_or_did_not_come_to_its_end_is_not_kept() {
    let bed = bed().await;
    let mut acting = chat("smart", false);
    acting["tools"] = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let path = "/v1/chat/completions";
    assert_eq!(ask(&bed, path, &acting).await.status, 200);
    bed.claude.always(Answer::new("half an ans").finish("max_tokens"));
    for stream in [false, true] {
        assert_eq!(bed.chat_with("smart", stream).await.status, 200);
    }
    bed.claude.always(Answer::new("x".repeat(300 << 10)));
    assert_eq!(bed.chat_with("smart", true).await.status, 200);
    assert_eq!(bed.chat_with("smart", false).await.status, 200);
    assert_eq!((fate(&bed, "kept").await, fate(&bed, "unfit").await), (0.0, 3.0));
    assert_eq!(fate(&bed, "too_large").await, 2.0);
    all_down(&bed);
    for body in [acting, chat("smart", false), chat("smart", true)] {
        assert!(ask(&bed, path, &body).await.status >= 500, "{body}");
    }
    bed.balanced().await;
}

#[tokio::test]
async fn a_stream_that_its_reader_left_early_is_not_kept() {
    let bed = bed().await;
    bed.claude.always(
        Answer::new("one two three four")
            .chunks(4)
            .delay(std::time::Duration::from_millis(200)),
    );
    let mut connection = bed.ask("/v1/chat/completions", &chat("smart", true)).await;
    connection.until("one").await;
    drop(connection);
    bed.balanced().await;
    all_down(&bed);
    assert!(bed.chat_with("smart", true).await.status >= 500);
    assert_eq!(fate(&bed, "kept").await, 0.0);
}

#[tokio::test]
async fn a_route_that_keeps_nothing_gives_nothing_and_has_no_series() {
    let bed = Bed::routed(json!({}), |_, _| {}).await;
    assert_eq!(bed.chat_with("smart", false).await.status, 200);
    all_down(&bed);
    let reply = bed.chat_with("smart", false).await;
    assert!(reply.status >= 500 && reply.header("cache-status").is_empty());
    assert_eq!(bed.health().await.get("keptAnswers"), None);
    let metrics = bed.metrics().await;
    let series = |line: &&str| line.starts_with("bowsprit_kept") || line.starts_with("bowsprit_stale");
    assert_eq!(metrics.lines().find(series), None);
    bed.balanced().await;
}

#[tokio::test]
async fn the_newest_answer_is_the_one_that_is_given_and_the_oldest_go_first() {
    let bed = bed().await;
    let path = "/v1/chat/completions";
    let of = |number: usize| {
        let mut body = chat("smart", false);
        body["messages"][0]["content"] = json!(format!("question {number}"));
        body
    };
    bed.claude.always(Answer::new(format!("old{}", "x".repeat(200 << 10))));
    for number in 0..6 {
        assert_eq!(ask(&bed, path, &of(number)).await.status, 200);
    }
    bed.claude.always(Answer::new("new"));
    assert_eq!(ask(&bed, path, &of(5)).await.status, 200);
    assert!(fate(&bed, "evicted").await >= 1.0);
    assert!(bed.metric(r#"bowsprit_kept_answers_bytes{route="smart"}"#).await <= f64::from(1 << 20));
    all_down(&bed);
    let newest = ask(&bed, path, &of(5)).await;
    assert_eq!((newest.status, newest.content().as_str()), (200, "new"));
    assert!(ask(&bed, path, &of(0)).await.status >= 500, "it had to go");
    bed.balanced().await;
}

#[tokio::test]
async fn an_answer_is_forgotten_by_itself_when_it_is_too_old() {
    let bed = Bed::routed(
        json!({"staleIfError": {"maxAge": "1s", "maxBytes": 1 << 20}}),
        |_, _| {},
    )
    .await;
    assert_eq!(bed.chat_with("smart", false).await.status, 200);
    assert_eq!(bed.metric(r#"bowsprit_kept_answers_held{route="smart"}"#).await, 1.0);
    bed.until("it is forgotten", || async { fate(&bed, "expired").await == 1.0 })
        .await;
    assert_eq!(bed.metric(r#"bowsprit_kept_answers_held{route="smart"}"#).await, 0.0);
    assert_eq!(bed.metric(r#"bowsprit_kept_answers_bytes{route="smart"}"#).await, 0.0);
    all_down(&bed);
    assert!(bed.chat_with("smart", false).await.status >= 500);
}

#[tokio::test]
async fn a_change_of_targets_drops_what_was_kept_and_one_of_times_does_not() {
    let bed = bed().await;
    let good = bed.chat_with("smart", false).await;
    let write = |change: &dyn Fn(&str, &mut Value), route: Value| {
        let mut spec = json!({
            "match": {"models": ["smart"]},
            "targets": [{"provider": "claude"}],
            "fallback": [{"provider": "gemini"}, {"provider": "openai"}],
            "staleIfError": {"maxAge": "1h", "maxBytes": 1 << 20},
        });
        spec.as_object_mut().unwrap().extend(route.as_object().unwrap().clone());
        let documents = bed.documents(&change);
        std::fs::write(bed.config_path(), documents + &documents::route("smart", &spec)).unwrap();
    };
    let loaded = |times: f64| {
        let bed = &bed;
        bed.until("the change is in service", move || async move {
            bed.metric("bowsprit_config_loaded_total").await == times
        })
    };
    all_down(&bed);
    write(&|_, spec| spec["timeouts"] = json!({"total": "20s"}), json!({}));
    loaded(2.0).await;
    let again = bed.chat_with("smart", false).await;
    assert_eq!((is_stale(&again), again.text), (true, good.text));
    write(&|_, _| {}, json!({"fallback": [{"provider": "gemini"}]}));
    loaded(3.0).await;
    assert_eq!(fate(&bed, "dropped").await, 1.0);
    assert!(bed.chat_with("smart", false).await.status >= 500);
    bed.balanced().await;
}

#[tokio::test]
async fn an_answer_that_began_before_a_change_of_targets_is_not_kept_for_the_new_ones() {
    let bed = bed().await;
    bed.claude.always(
        Answer::new("one two three four")
            .chunks(4)
            .delay(std::time::Duration::from_millis(500)),
    );
    let mut connection = bed.ask("/v1/chat/completions", &chat("smart", true)).await;
    connection.until("one").await;
    let spec = json!({
        "match": {"models": ["smart"]},
        "targets": [{"provider": "gemini"}],
        "staleIfError": {"maxAge": "1h", "maxBytes": 1 << 20},
    });
    let documents = bed.documents(&|_, _| {}) + &documents::route("smart", &spec);
    std::fs::write(bed.config_path(), documents).unwrap();
    let bed_now = &bed;
    bed.until("the change is in service", || async move {
        bed_now.metric("bowsprit_config_loaded_total").await == 2.0
    })
    .await;
    connection.until("[DONE]").await;
    bed.until("it is dropped", || async move { fate(bed_now, "dropped").await == 1.0 })
        .await;
    all_down(&bed);
    let reply = bed.chat_with("smart", true).await;
    assert!(reply.status >= 500 && !is_stale(&reply), "{}", reply.text);
    assert_eq!(fate(&bed, "kept").await, 0.0);
    bed.balanced().await;
}

#[tokio::test]
async fn what_is_kept_gives_way_to_bodies() {
    let mut bed = Bed::providers();
    let spec = json!({
        "match": {"models": ["smart"]},
        "targets": [{"provider": "claude"}],
        "staleIfError": {"maxAge": "1h", "maxBytes": 1 << 20},
    });
    let documents = bed.documents(&|_, _| {}) + &documents::route("smart", &spec);
    std::fs::write(bed.config_path(), documents).unwrap();
    // A quarter of it may be kept: 256 KiB.
    bed.start(&["--memory-budget", "1048576"]);
    bed.claude.always(Answer::new("x".repeat(50 << 10)));
    for number in 0..4 {
        let mut body = chat("smart", false);
        body["messages"][0]["content"] = json!(format!("question {number}"));
        assert_eq!(ask(&bed, "/v1/chat/completions", &body).await.status, 200);
    }
    let held = bed.metric(r#"bowsprit_kept_answers_bytes{route="smart"}"#).await;
    let report = bed.health().await["keptAnswers"][0].clone();
    assert_eq!((&report["route"], &report["answers"]), (&json!("smart"), &json!(4)));
    assert_eq!(
        (report["bytes"].as_f64(), &report["maxBytes"]),
        (Some(held), &json!(262_144))
    );
    assert!((150e3..=262_144.0).contains(&held), "{held}");
    assert_eq!(
        bed.metric("bowsprit_held_bytes").await,
        held,
        "they count towards the budget"
    );
    bed.claude.always(Behaviour::status(500));
    // Only where they go is there room for this.
    let large = message("smart", false)
        .to_string()
        .replace("hello", &"y".repeat(900 << 10));
    let reply = ask(&bed, "/v1/messages", &serde_json::from_str(&large).unwrap()).await;
    assert_eq!(reply.status, 500, "{}", reply.text);
    assert_eq!(fate(&bed, "dropped").await, 4.0);
    bed.balanced().await;
}
