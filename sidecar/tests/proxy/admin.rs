//! Health and metrics.

use crate::support::{Bed, failing};

#[tokio::test]
async fn the_four_health_endpoints_answer() {
    let bed = Bed::new().await;
    for path in ["/health", "/health/live", "/health/ready", "/health/startup"] {
        let reply = bed.admin(path).await;
        assert_eq!(
            (reply.status, reply.json()["status"].as_str()),
            (200, Some("ok")),
            "{path}"
        );
    }
    let health = bed.health().await;
    assert_eq!(health["providers"].as_array().unwrap().len(), 3);
    assert_eq!(health["config"]["loaded"], true);
    assert_eq!(bed.admin("/nothing").await.status, 404);
    assert_eq!(bed.admin_post("/health").await.status, 405);
}

#[tokio::test]
async fn a_provider_in_trouble_makes_health_degraded_but_stays_ready() {
    let bed =
        Bed::with(|_, spec| spec["circuitBreaker"] = serde_json::json!({"failureThreshold": 1, "openFor": "60s"}))
            .await;
    failing(&bed.claude, 500);
    bed.chat().await;
    assert_eq!(bed.health().await["status"], "degraded");
    assert_eq!(bed.admin("/health/ready").await.status, 200);
}

#[tokio::test]
async fn metrics_are_a_well_formed_exposition_with_bounded_labels() {
    let bed = Bed::new().await;
    for n in 0..30 {
        bed.chat_with(&format!("invented-{n}"), false).await;
    }
    bed.chat().await;
    let reply = bed.admin("/metrics").await;
    assert!(reply.header("content-type").starts_with("application/openmetrics-text"));
    assert!(reply.text.ends_with("# EOF\n"));
    assert!(!reply.text.contains("invented"), "callers cannot make series");
    assert!(reply.text.lines().all(|line| {
        ["# ", "bowsprit_", "gen_ai_client_", "process_"]
            .iter()
            .any(|begin| line.starts_with(begin))
    }));
    assert!(reply.text.lines().count() < 400, "{}", reply.text.lines().count());
}

#[tokio::test]
async fn a_pass_through_models_name_is_no_label() {
    let bed = Bed::with(|name, spec| {
        if name == "openai" {
            spec.as_object_mut().unwrap().remove("models");
        }
    })
    .await;
    for n in 0..100 {
        assert_eq!(bed.chat_with(&format!("ft-{n}"), false).await.provider(), "openai");
    }
    let text = bed.metrics().await;
    assert!(
        text.contains("bowsprit_attempts_total{provider=\"openai\",model=\"other\",code=\"ok\"} 100"),
        "{text}"
    );
    assert!(
        text.matches("bowsprit_breaker_state{provider=\"openai\"").count() <= 64,
        "breakers are bounded"
    );
}

#[tokio::test]
async fn probes_find_a_dead_provider_and_its_return() {
    let bed = Bed::with(|name, spec| {
        if name == "claude" {
            spec["healthCheck"] = serde_json::json!({
                "enabled": true, "interval": "1s", "timeout": "500ms", "unhealthyThreshold": 1, "healthyThreshold": 1,
            });
        }
    })
    .await;
    bed.claude.down().await;
    bed.until("it is found dead", || async {
        bed.provider_health("claude").await["healthy"] == false
    })
    .await;
    let before = bed.metrics().await;
    assert_eq!(
        bed.chat().await.header("x-bowsprit-attempts"),
        "1",
        "an unhealthy provider is passed over: {before}"
    );
    bed.claude.up().await;
    bed.until("it is found alive", || async {
        bed.provider_health("claude").await["healthy"] == true
    })
    .await;
    assert_eq!(bed.chat().await.provider(), "claude");
}
