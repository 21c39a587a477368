//! Local limits: reject, wait or go elsewhere.

use bowsprit_providers::Behaviour;
use serde_json::{Value, json};

use crate::support::{Bed, chat, count, saw};

fn claude_limits(limits: Value) -> impl Fn(&str, &mut Value) {
    move |name, spec| {
        if name == "claude" {
            spec["rateLimits"] = limits.clone();
        }
    }
}

#[tokio::test]
async fn beyond_a_limit_the_next_provider_answers() {
    let bed = Bed::with(claude_limits(json!({"requestsPerMinute": 10}))).await;
    assert_eq!(bed.chat().await.provider(), "claude");
    assert_eq!(bed.chat().await.provider(), "gemini");
    assert_eq!(count(&bed.claude), 1);
    let limited = bed
        .metric("bowsprit_rate_limited_total{provider=\"claude\",limit=\"requests_per_minute\"}")
        .await;
    assert_eq!(limited, 1.0);
    bed.balanced().await;
}

#[tokio::test]
async fn beyond_a_limit_the_caller_is_told_when_to_come_back() {
    let bed = Bed::with(claude_limits(json!({"requestsPerMinute": 10, "onLimit": "Reject"}))).await;
    assert_eq!(bed.chat().await.status, 200);
    let reply = bed.chat().await;
    assert_eq!(
        (reply.status, reply.json()["error"]["code"].as_str()),
        (429, Some("RATE_LOCAL_LIMIT"))
    );
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    assert_eq!(reply.header("x-should-retry"), "true");
    assert_eq!(count(&bed.gemini), 0);
    assert!(
        bed.metrics()
            .await
            .contains("outcome=\"shed\",code=\"RATE_LOCAL_LIMIT\"} 1")
    );
    bed.balanced().await;
}

#[tokio::test]
async fn a_request_waits_for_its_turn() {
    let bed = Bed::with(claude_limits(
        json!({"requestsPerMinute": 600, "onLimit": "Wait", "maxWait": "10s"}),
    ))
    .await;
    // A tenth of a minute's worth at once, the rest at ten a second.
    let replies = futures::future::join_all((0..65).map(|_| bed.chat())).await;
    assert!(
        replies
            .iter()
            .all(|reply| reply.status == 200 && reply.provider() == "claude")
    );
    assert!(bed.family("bowsprit_rate_limited_total").await > 0.0);
    bed.balanced().await;
}

#[tokio::test]
async fn a_request_that_would_wait_too_long_goes_elsewhere() {
    let bed = Bed::with(claude_limits(
        json!({"requestsPerMinute": 1, "onLimit": "Wait", "maxWait": "50ms"}),
    ))
    .await;
    assert_eq!(bed.chat().await.provider(), "claude");
    assert_eq!(bed.chat().await.provider(), "gemini");
    bed.balanced().await;
}

#[tokio::test]
async fn a_place_that_is_given_back_goes_to_who_waits_for_it() {
    let bed = Bed::with(claude_limits(
        json!({"concurrentRequests": 1, "onLimit": "Wait", "maxWait": "20s"}),
    ))
    .await;
    bed.claude.script(Behaviour::hang());
    let first = bed
        .post("/v1/chat/completions", &chat("claude-sonnet-4-5", false))
        .send();
    let first = tokio::spawn(first);
    saw(&bed.claude, |seen| seen.counts.requests == 1).await;
    let second = tokio::spawn(
        bed.post("/v1/chat/completions", &chat("claude-sonnet-4-5", false))
            .send(),
    );
    bed.until("the second waits", || async {
        bed.family("bowsprit_rate_limited_total").await == 1.0
    })
    .await;
    assert_eq!(count(&bed.claude), 1, "one at a time");
    first.abort();
    let second = second.await.unwrap().unwrap();
    assert_eq!(second.status(), 200);
    assert_eq!(second.headers()["x-bowsprit-provider"], "claude");
    bed.balanced().await;
}

#[tokio::test]
async fn tokens_are_reserved_before_and_settled_after() {
    // A small answer's estimate (about a thousand) empties the bucket; settling by the real use fills it again.
    let bed = Bed::with(claude_limits(json!({"tokensPerMinute": 12000, "onLimit": "Reject"}))).await;
    for _ in 0..8 {
        assert_eq!(
            bed.chat().await.status,
            200,
            "what was reserved and not used comes back"
        );
    }
    let left = bed.provider_health("claude").await["tokensLeft"].as_i64().unwrap();
    assert!(left > 500 && left <= 1200, "{left}");
    bed.balanced().await;
}

#[tokio::test]
async fn too_many_requests_at_once_are_shed() {
    let bed = Bed::build(|_, _| {}, &["--max-in-flight", "2"]).await;
    bed.claude.always(Behaviour::hang());
    let hung: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn(
                bed.post("/v1/chat/completions", &chat("claude-sonnet-4-5", false))
                    .send(),
            )
        })
        .collect();
    saw(&bed.claude, |seen| seen.counts.requests == 2).await;
    let reply = bed.chat().await;
    assert_eq!(
        (reply.status, reply.json()["error"]["code"].as_str()),
        (503, Some("SYS_OVERLOADED")),
        "{}",
        reply.text
    );
    assert_eq!(reply.header("retry-after"), "1");
    hung.iter().for_each(tokio::task::JoinHandle::abort);
    bed.balanced().await;
}
