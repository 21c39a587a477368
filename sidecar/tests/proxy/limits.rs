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
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
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
        json!({"requestsPerMinute": 60, "onLimit": "Wait", "maxWait": "20s"}),
    ))
    .await;
    // A tenth of a minute's worth at once, the rest at one a second: slower than any machine asks.
    let replies = futures::future::join_all((0..8).map(|_| bed.chat())).await;
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

/// Sends requests one after the other, each as soon as the one before it waits, and returns them under way.
async fn queue_up(bed: &Bed, count: usize) -> Vec<tokio::task::JoinHandle<Result<reqwest::Response, reqwest::Error>>> {
    let mut waiting = Vec::new();
    for number in 1..=count {
        let request = bed
            .post("/v1/chat/completions", &chat("claude-sonnet-4-5", false))
            .header("x-request-id", format!("waiting-{number}"));
        waiting.push(tokio::spawn(request.send()));
        let waits = || async { bed.family("bowsprit_rate_limited_total").await == number as f64 };
        bed.until("it waits", waits).await;
    }
    waiting
}

fn order(bed: &Bed) -> Vec<String> {
    let requests = bed.claude.requests();
    let ids = requests.iter().filter_map(|request| request.header("x-request-id"));
    ids.filter(|id| id.starts_with("waiting-")).map(str::to_owned).collect()
}

#[tokio::test]
async fn who_came_first_is_served_first_and_nobody_starves() {
    let bed = Bed::with(claude_limits(
        json!({"concurrentRequests": 1, "onLimit": "Wait", "maxWait": "20s"}),
    ))
    .await;
    bed.claude.script(Behaviour::hang());
    let first = tokio::spawn(
        bed.post("/v1/chat/completions", &chat("claude-sonnet-4-5", false))
            .send(),
    );
    saw(&bed.claude, |seen| seen.counts.requests == 1).await;
    let waiting = queue_up(&bed, 8).await;
    // Two of them lose patience, one of them the next in line.
    waiting[0].abort();
    waiting[4].abort();
    bed.until("they have left", || async {
        bed.family("bowsprit_in_flight").await == 7.0
    })
    .await;
    first.abort();
    for (number, waiting) in (1..).zip(waiting).filter(|(number, _)| ![1, 5].contains(number)) {
        let reply = waiting.await.unwrap().unwrap();
        assert_eq!(reply.headers()["x-bowsprit-provider"], "claude", "number {number}");
    }
    assert_eq!(
        order(&bed),
        [2, 3, 4, 6, 7, 8].map(|number| format!("waiting-{number}"))
    );
    bed.balanced().await;
}

#[tokio::test]
async fn a_place_is_not_lost_on_who_must_wait_for_tokens() {
    // Both limits at once: a place is free at once, tokens come with time. Whoever is called for the place and cannot
    // use it must not swallow the call.
    let bed = Bed::with(claude_limits(json!({
        "concurrentRequests": 1, "tokensPerMinute": 60000, "onLimit": "Wait", "maxWait": "20s",
    })))
    .await;
    bed.claude.script(Behaviour::hang());
    let first = tokio::spawn(
        bed.post("/v1/chat/completions", &json!({"model": "claude-sonnet-4-5", "max_tokens": 6300, "messages": [{"role": "user", "content": "hello"}]}))
            .send(),
    );
    saw(&bed.claude, |seen| seen.counts.requests == 1).await;
    let waiting = queue_up(&bed, 5).await;
    first.abort();
    for waiting in waiting {
        assert_eq!(
            waiting.await.unwrap().unwrap().headers()["x-bowsprit-provider"],
            "claude"
        );
    }
    assert_eq!(order(&bed), [1, 2, 3, 4, 5].map(|number| format!("waiting-{number}")));
    bed.balanced().await;
}

#[tokio::test]
async fn nobody_is_let_in_before_those_who_wait() {
    let bed = Bed::with(claude_limits(
        json!({"requestsPerMinute": 60, "onLimit": "Wait", "maxWait": "1500ms"}),
    ))
    .await;
    for _ in 0..6 {
        assert_eq!(bed.chat().await.provider(), "claude");
    }
    let waiting = queue_up(&bed, 1).await;
    // The second in line would have to wait two seconds, which is more than it may: it goes elsewhere at once.
    assert_eq!(bed.chat().await.provider(), "gemini");
    for waiting in waiting {
        assert_eq!(
            waiting.await.unwrap().unwrap().headers()["x-bowsprit-provider"],
            "claude"
        );
    }
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
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (503, Some("SYS_OVERLOADED")),
        "{}",
        reply.text
    );
    assert_eq!(reply.header("retry-after"), "1");
    hung.iter().for_each(tokio::task::JoinHandle::abort);
    bed.balanced().await;
}
