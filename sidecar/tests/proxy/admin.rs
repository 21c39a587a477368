//! Health and metrics.

use bowsprit_providers::Answer;

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

/// The kubelet gives up after a second by default. The quickest of a few counts: a busy machine may delay any one of them.
#[tokio::test]
async fn each_of_them_answers_within_100_ms() {
    let bed = Bed::new().await;
    bed.chat().await;
    for path in ["/health", "/health/live", "/health/ready", "/health/startup"] {
        let mut quickest = std::time::Duration::MAX;
        for _ in 0..20 {
            let begun = std::time::Instant::now();
            bed.admin(path).await;
            quickest = quickest.min(begun.elapsed());
        }
        println!("{path}: {quickest:?}");
        assert!(quickest < std::time::Duration::from_millis(100), "{path}: {quickest:?}");
    }
}

#[tokio::test]
async fn health_tells_each_component() {
    let bed = Bed::with(|name, spec| {
        if name == "openai" {
            spec["rateLimits"] = serde_json::json!({"requestsPerMinute": 60, "tokensPerMinute": 100_000});
        }
    })
    .await;
    assert_eq!(bed.chat_with("openai-alias", false).await.provider(), "openai");
    let openai = bed.provider_health("openai").await;
    assert_eq!(openai["status"], "ok", "{openai}");
    assert_eq!(openai["headroom"]["requests"], 9_999, "{openai}");
    assert_eq!(openai["headroom"]["tokens"], 1_999_980, "{openai}");
    assert!(openai["requestsLeft"].as_i64().unwrap() > 0, "{openai}");
    assert!(openai["retriesLeft"].is_u64(), "{openai}");
    assert_eq!(openai["models"][0]["breaker"], "closed", "{openai}");
    assert_eq!(openai["keysUsable"], 1, "{openai}");
    let health = bed.health().await;
    assert_eq!(health["appConnections"], 1, "{health}");
    assert_eq!(health["idleProviderConnections"], 1, "{health}");
    let ready = bed.admin("/health/ready").await.json();
    assert_eq!(
        ready["components"]["config"]["revision"], health["config"]["revision"],
        "{ready}"
    );
    let text = bed.metrics().await;
    for series in [
        "bowsprit_provider_headroom{provider=\"openai\",of=\"requests\"} 9999",
        "bowsprit_provider_connections_opened_total 1",
        "bowsprit_provider_connections_idle 1",
        "bowsprit_provider_score{provider=\"openai\"} 1.0",
    ] {
        assert!(text.contains(series), "{series}: {text}");
    }
}

#[tokio::test]
async fn a_provider_whose_own_limit_is_used_up_says_so_at_health() {
    let bed = Bed::new().await;
    let mut answer = Answer::new("one");
    answer.headers = vec![
        ("x-ratelimit-remaining-requests".into(), "0".into()),
        ("x-ratelimit-limit-requests".into(), String::new()),
        ("x-ratelimit-reset-requests".into(), "30s".into()),
    ];
    bed.openai.always(answer);
    assert_eq!(bed.chat_with("openai-alias", false).await.provider(), "openai");
    let openai = bed.provider_health("openai").await;
    assert_eq!(openai["status"], "no headroom", "{openai}");
    let back = openai["headroom"]["backInSeconds"].as_f64().unwrap();
    assert!((5.0..=30.0).contains(&back), "{openai}");
    assert_eq!(bed.health().await["status"], "degraded");
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
