//! A bug in one request costs that request and nothing else; one in a part that must run ends the process. Needs the feature `failpoints`: `make unit` runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::float_cmp,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::unused_async,
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub
)]

#[path = "proxy/support.rs"]
mod support;

use std::process::Command;

use bowsprit_rig::program::Program;
use serde_json::json;
use support::{Bed, Reply, chat, message};

async fn with_failpoint(bed: &Bed, point: &str, stream: bool) -> Reply {
    let asked = bed
        .post("/v1/chat/completions", &chat("claude-sonnet-4-5", stream))
        .header("x-bowsprit-failpoint", point);
    Reply::of(asked.send().await.unwrap()).await
}

#[tokio::test]
async fn a_panic_answers_500_in_the_callers_dialect_and_is_counted() {
    let bed = Bed::new().await;
    for (at, point) in ["panic-in-admit", "panic-in-attempt"].into_iter().enumerate() {
        let reply = with_failpoint(&bed, point, false).await;
        assert_eq!(
            (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
            (500, Some("SYS_INTERNAL")),
            "{point}"
        );
        let internal = bed.metrics().await;
        let counted: f64 = internal
            .lines()
            .filter(|line| line.starts_with("bowsprit_requests_total") && line.contains("SYS_INTERNAL"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum();
        assert_eq!(counted, (at + 1) as f64, "{internal}");
    }
    let own = bed
        .post("/v1/messages", &message("claude-sonnet-4-5", false))
        .header("x-bowsprit-failpoint", "panic-in-attempt");
    let reply = Reply::of(own.send().await.unwrap()).await;
    assert_eq!((reply.status, &reply.json()["type"]), (500, &json!("error")));
    assert_eq!(bed.chat().await.status, 200, "the process lives");
    bed.balanced().await;
}

#[tokio::test]
async fn a_panic_in_mid_stream_is_never_presented_as_complete() {
    let bed = Bed::new().await;
    let reply = with_failpoint(&bed, "panic-in-stream", true).await;
    assert_eq!(reply.status, 200);
    assert!(!reply.complete, "half an answer came to a proper end: {}", reply.text);
    assert!(!reply.text.contains("[DONE]"));
    assert_eq!(bed.chat_with("claude-sonnet-4-5", true).await.status, 200);
    bed.balanced().await;
}

#[tokio::test]
async fn permits_survive_a_panic_and_locks_are_not_poisoned() {
    let bed = Bed::with(|_, spec| {
        spec["rateLimits"] = json!({"concurrentRequests": 1, "onLimit": "Reject"});
        spec["circuitBreaker"] = json!({"failureThreshold": 2});
    })
    .await;
    for point in ["panic-in-attempt", "panic-in-stream", "panic-in-attempt"] {
        with_failpoint(&bed, point, point == "panic-in-stream").await;
        bed.until("the one place is free again", || async {
            bed.provider_health("claude").await["inFlight"] == 0
        })
        .await;
    }
    let reply = bed.chat().await;
    assert_eq!(
        (reply.status, reply.provider()),
        (200, "claude"),
        "neither limit nor breaker took notice"
    );
    assert_eq!(bed.health().await["status"], "ok");
    bed.balanced().await;
}

/// The quickstart's configuration with a mark that makes whoever loads it panic.
fn poisoned() -> String {
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart.yaml");
    let documents = std::fs::read_to_string(quickstart).unwrap();
    format!("# x-bowsprit-failpoint: panic-in-load\n{documents}")
}

#[tokio::test]
async fn a_panic_in_the_loader_ends_the_process_which_names_the_part() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("bowsprit.yaml");
    std::fs::write(&config, poisoned().split_once('\n').unwrap().1).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowsprit-sidecar"));
    command.arg("--config").arg(&config).env_clear();
    let program = Program::start(command, &dir.path().join("output"), "(no key)").await;
    assert_eq!(program.admin("/health/ready").await.status, 200);
    std::fs::write(&config, poisoned()).unwrap();
    assert_eq!(program.exit().await.code(), Some(70), "{}", program.output());
    let told = program.output();
    assert!(told.contains("its part \"configuration\" panicked"), "{told}");
}

#[tokio::test]
async fn health_is_never_ok_over_a_dead_part() {
    let bed = Bed::new().await;
    assert_eq!(bed.health().await["status"], "ok");
    let healthy = std::fs::read_to_string(bed.config_path()).unwrap();
    std::fs::write(
        bed.config_path(),
        format!("{}{healthy}", poisoned().split_inclusive('\n').next().unwrap()),
    )
    .unwrap();
    bed.until("the loader has died", || async {
        bed.health().await["status"] == "failed"
    })
    .await;
    assert_eq!(bed.health().await["failedPart"], "configuration");
    for path in ["/health/live", "/health/ready", "/health/startup"] {
        let reply = bed.admin(path).await;
        assert_eq!(reply.status, 503, "{path}");
        assert!(reply.text.contains("configuration"), "{path}: {}", reply.text);
    }
    assert_eq!(bed.chat().await.status, 200, "what runs may end");
    bed.balanced().await;
}

#[tokio::test]
async fn a_panic_with_a_key_in_hand_tells_it_to_nobody() {
    let canary = bowsprit_rig::canary::Canary::new("panic", fastrand::u64(..));
    let bed = Bed::with(|name, spec| {
        if name == "openai" {
            spec.as_object_mut().unwrap().remove("credentials");
            spec["forwardCallerKey"] = json!(true);
        }
    })
    .await;
    let mut texts = Vec::new();
    for (point, stream) in [
        ("panic-in-admit", false),
        ("panic-in-attempt", false),
        ("panic-in-stream", true),
    ] {
        let asked = bed
            .post("/v1/chat/completions", &chat("gpt-4.1-mini", stream))
            .header("authorization", format!("Bearer {}", canary.key()))
            .header("x-bowsprit-failpoint", point);
        texts.push(format!("{:?}", Reply::of(asked.send().await.unwrap()).await));
    }
    texts.extend([bed.metrics().await, support::logs()]);
    assert!(texts.concat().contains("SYS_INTERNAL"), "nothing panicked");
    for text in texts {
        assert_eq!(canary.find(&text), None);
    }
    bed.balanced().await;
}
