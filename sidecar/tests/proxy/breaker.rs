//! The breaker opens at exactly its threshold, keeps requests away while open and lets probes through after.

use bowsprit_rig::metrics::sum;
use serde_json::{Value, json};

use crate::support::{Bed, count, failing};

fn only_claude(name: &str, spec: &mut Value) {
    if name != "claude" {
        *spec = Value::Null;
        return;
    }
    spec["circuitBreaker"] = json!({"failureThreshold": 4, "openFor": "100ms"});
}

#[tokio::test]
async fn it_opens_at_exactly_its_threshold_and_then_sends_nothing() {
    let bed = Bed::with(|name, spec| {
        only_claude(name, spec);
        if name == "claude" {
            spec["circuitBreaker"] = json!({"failureThreshold": 4, "openFor": "60s"});
        }
    })
    .await;
    failing(&bed.claude, 500);
    for asked in 1..=10 {
        let reply = bed.chat().await;
        if asked <= 4 {
            assert_eq!(reply.status, 502, "{}", reply.text);
        } else {
            assert_eq!(reply.status, 503, "{}", reply.text);
            assert_eq!(reply.json()["error"]["bowsprit_code"], "EXT_ALL_UNAVAILABLE");
            let wait: u64 = reply.header("retry-after").parse().unwrap();
            assert!((1..=60).contains(&wait));
        }
    }
    assert_eq!(count(&bed.claude), 4);
    let health = bed.provider_health("claude").await;
    assert_eq!(
        (health["status"].as_str(), health["models"][0]["breaker"].as_str()),
        (Some("breaker open"), Some("open"))
    );
    assert_eq!(
        bed.metric("bowsprit_breaker_state{provider=\"claude\",model=\"claude-sonnet-4-5\"}")
            .await,
        2.0
    );
    bed.balanced().await;
}

#[tokio::test]
async fn while_it_is_open_the_next_provider_answers_without_delay() {
    let bed = Bed::with(|_, spec| spec["circuitBreaker"] = json!({"failureThreshold": 2, "openFor": "60s"})).await;
    failing(&bed.claude, 500);
    for _ in 0..6 {
        assert_eq!(bed.chat().await.provider(), "gemini");
    }
    assert_eq!(count(&bed.claude), 2);
    assert_eq!(
        bed.chat().await.header("x-bowsprit-attempts"),
        "1",
        "no attempt is spent on an open breaker"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn after_its_time_one_probe_closes_it() {
    let bed = Bed::with(only_claude).await;
    failing(&bed.claude, 500);
    for _ in 0..4 {
        bed.chat().await;
    }
    bed.claude.reset();
    bed.until("a probe is let through", || async { bed.chat().await.status == 200 })
        .await;
    assert_eq!(bed.provider_health("claude").await["models"][0]["breaker"], "closed");
    for to in ["open", "half_open", "closed"] {
        assert_eq!(transitions(&bed, to).await, 1.0, "{to}");
    }
    bed.balanced().await;
}

/// How often Claude's breaker changed to this state.
async fn transitions(bed: &Bed, to: &str) -> f64 {
    let labels = ["provider=\"claude\"", &format!("to=\"{to}\"")];
    sum(&bed.metrics().await, "bowsprit_breaker_transitions_total", &labels)
}

#[tokio::test]
async fn a_failed_probe_opens_it_again() {
    let bed = Bed::with(only_claude).await;
    failing(&bed.claude, 500);
    for _ in 0..4 {
        bed.chat().await;
    }
    bed.until("a probe is let through", || async {
        bed.chat().await;
        count(&bed.claude) >= 5
    })
    .await;
    let opened = transitions(&bed, "open").await;
    assert_eq!((opened, transitions(&bed, "closed").await), (2.0, 0.0));
}

#[tokio::test]
async fn a_throttled_provider_does_not_open_it_but_bad_requests_do_not_either() {
    let bed = Bed::with(only_claude).await;
    for code in [429, 400, 401] {
        failing(&bed.claude, code);
        for _ in 0..6 {
            bed.chat().await;
        }
        assert_eq!(
            bed.provider_health("claude").await["models"][0]["breaker"],
            "closed",
            "{code}"
        );
    }
}

#[tokio::test]
async fn it_is_reset_by_hand_from_inside_the_pod() {
    let bed = Bed::with(|_, spec| spec["circuitBreaker"] = json!({"failureThreshold": 1, "openFor": "60s"})).await;
    failing(&bed.claude, 500);
    bed.chat().await;
    bed.claude.reset();
    assert_eq!(bed.chat().await.provider(), "gemini");
    let reply = bed.admin_post("/circuits/reset?provider=claude").await;
    assert_eq!((reply.status, reply.json()["closed"].as_u64()), (200, Some(1)));
    assert_eq!(bed.chat().await.provider(), "claude");
    assert_eq!(bed.admin_post("/circuits/reset?provider=nobody").await.status, 404);
    assert_eq!(bed.admin("/circuits/reset").await.status, 405);
}

#[tokio::test]
async fn a_caller_that_invents_models_makes_no_series_and_takes_no_breaker_from_a_listed_one() {
    let models = |listed: Value| {
        move |name: &str, spec: &mut Value| {
            if name != "openai" {
                *spec = Value::Null;
                return;
            }
            spec["circuitBreaker"] = json!({"failureThreshold": 1, "openFor": "60s"});
            spec["models"] = listed.clone();
            spec["defaultModel"] = Value::Null;
        }
    };
    let bed = Bed::with(models(json!([]))).await;
    failing(&bed.openai, 500);
    for number in 0..64 {
        bed.chat_with(&format!("invented-{number}"), false).await;
    }
    // One more shares a breaker with all that follow; a model that is listed since has its own, which is closed.
    bed.chat_with("invented-65", false).await;
    assert_eq!(count(&bed.openai), 65, "each has a breaker that was closed");
    let before = bed.health().await["config"]["revision"].clone();
    bed.write_config(&models(json!([{"name": "listed"}])));
    bed.until("the reload", || async {
        bed.health().await["config"]["revision"] != before
    })
    .await;
    let asked = count(&bed.openai);
    bed.chat_with("listed", false).await;
    assert_eq!(count(&bed.openai), asked + 1, "its breaker is closed");
    let metrics = bed.metrics().await;
    assert!(!metrics.contains("invented"), "{metrics}");
    assert_eq!(
        bed.metric("bowsprit_breaker_state{provider=\"openai\",model=\"other\"}")
            .await,
        2.0,
        "{metrics}"
    );
}
