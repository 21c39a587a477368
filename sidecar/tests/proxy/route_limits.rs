//! Named limits of a route: taken before anybody is asked, all or none, held once, and settled by what was used.

use bowsprit_providers::Behaviour;
use bowsprit_rig::documents;
use serde_json::{Value, json};

use crate::support::{Bed, Reply, chat, count, failing, saw};

async fn limited(limits: Value) -> Bed {
    Bed::routed(json!({"limits": limits}), |_, _| {}).await
}

fn request(bed: &Bed, team: &str) -> reqwest::RequestBuilder {
    bed.post("/v1/chat/completions", &chat("smart", false))
        .header("x-team", team)
}

async fn ask(bed: &Bed, team: &str) -> Reply {
    Reply::of(request(bed, team).send().await.unwrap()).await
}

async fn level(bed: &Bed, name: &str) -> Value {
    let health = bed.health().await;
    let limits = health["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["name"] == name).unwrap().clone()
}

async fn met(bed: &Bed, limit: &str, result: &str) -> f64 {
    bed.metric(&format!(
        "bowsprit_limit_requests_total{{limit_name=\"smart/{limit}\",met=\"{result}\"}}"
    ))
    .await
}

#[tokio::test]
async fn who_is_refused_is_told_by_which_limit_and_when_to_come_back() {
    let bed = limited(json!([{"name": "calls", "requestsPerMinute": 10}])).await;
    assert_eq!(ask(&bed, "a").await.status, 200);
    let reply = ask(&bed, "a").await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (429, Some("RATE_LOCAL_LIMIT"))
    );
    assert_eq!(reply.header("x-bowsprit-limit"), "calls");
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    let text = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(text.contains("the limit calls (requestsPerMinute)"), "{text}");
    assert_eq!(bed.access().last().unwrap()["refused_by"], "limit:calls");
    assert_eq!(
        (count(&bed.claude), count(&bed.gemini)),
        (1, 0),
        "nobody else is asked in its place"
    );
    assert_eq!(
        (
            met(&bed, "calls", "admitted").await,
            met(&bed, "calls", "refused").await
        ),
        (1.0, 1.0)
    );
    bed.balanced().await;
}

#[tokio::test]
async fn no_number_of_requests_at_once_passes_a_limit() {
    let bed = limited(json!([{"name": "places", "concurrentRequests": 3}])).await;
    bed.claude.always(Behaviour::hang());
    let all: Vec<_> = (0..40).map(|_| tokio::spawn(request(&bed, "a").send())).collect();
    bed.until("all others are refused", || async {
        met(&bed, "places", "refused").await == 37.0
    })
    .await;
    assert_eq!(count(&bed.claude), 3);
    assert_eq!(level(&bed, "smart/places").await["inFlight"], 3);
    // Those that are let in lose patience: their places are free again.
    all.iter().for_each(tokio::task::JoinHandle::abort);
    bed.until("the places are free", || async {
        level(&bed, "smart/places").await["left"]["concurrentRequests"] == 3
    })
    .await;
    bed.balanced().await;
}

#[tokio::test]
async fn a_limit_that_is_reached_takes_nothing_of_the_others() {
    let bed = limited(json!([
        {"name": "wide", "requestsPerMinute": 1000},
        {"name": "narrow", "requestsPerMinute": 1},
    ]))
    .await;
    assert_eq!(ask(&bed, "a").await.status, 200);
    let before = level(&bed, "smart/wide").await["left"]["requestsPerMinute"].clone();
    for _ in 0..5 {
        assert_eq!(ask(&bed, "a").await.header("x-bowsprit-limit"), "narrow");
    }
    let after = level(&bed, "smart/wide").await["left"]["requestsPerMinute"].clone();
    assert!(after.as_i64() >= before.as_i64(), "{before} {after}");
    bed.balanced().await;
}

#[tokio::test]
async fn each_caller_has_its_own_and_who_says_nothing_is_one_too() {
    let bed = limited(json!([
        {"name": "team", "requestsPerMinute": 1, "per": "Caller", "caller": {"header": "X-Team"}},
    ]))
    .await;
    for team in ["a", "b"] {
        assert_eq!(ask(&bed, team).await.status, 200);
        assert_eq!(ask(&bed, team).await.status, 429);
    }
    for status in [200, 429] {
        assert_eq!(bed.chat_with("smart", false).await.status, status);
    }
    assert_eq!(level(&bed, "smart/team").await["keys"], 3);
    bed.balanced().await;
}

#[tokio::test]
async fn beyond_a_limit_that_diverts_the_fallback_answers() {
    let bed = limited(json!([{"name": "calls", "requestsPerMinute": 1, "onLimit": "Fallback"}])).await;
    assert_eq!(ask(&bed, "a").await.provider(), "claude");
    assert_eq!(ask(&bed, "a").await.provider(), "gemini");
    assert_eq!(count(&bed.claude), 1);
    assert_eq!(met(&bed, "calls", "diverted").await, 1.0);
    bed.balanced().await;
}

#[tokio::test]
async fn who_waits_gets_the_place_that_is_given_back_and_who_waits_too_long_is_refused() {
    let bed = limited(json!([
        {"name": "places", "concurrentRequests": 1, "onLimit": "Wait", "maxWait": "20s"},
        {"name": "calls", "requestsPerMinute": 20, "onLimit": "Wait", "maxWait": "50ms"},
    ]))
    .await;
    bed.claude.script(Behaviour::hang());
    let first = tokio::spawn(request(&bed, "a").send());
    saw(&bed.claude, |seen| seen.counts.requests == 1).await;
    let second = tokio::spawn(request(&bed, "a").send());
    bed.until("the second waits", || async {
        bed.family("bowsprit_limits_waiting").await == 1.0
    })
    .await;
    assert_eq!(count(&bed.claude), 1);
    assert_eq!(level(&bed, "smart/places").await["waiting"], 1);
    first.abort();
    assert_eq!(second.await.unwrap().unwrap().status(), 200);
    // Two of them were there at once, and the next comes in three seconds.
    let reply = ask(&bed, "a").await;
    assert_eq!((reply.status, reply.header("x-bowsprit-limit")), (429, "calls"));
    assert_eq!(bed.family("bowsprit_limits_waiting").await, 0.0);
    bed.balanced().await;
}

#[tokio::test]
async fn tokens_are_settled_by_what_all_attempts_used() {
    let bed = limited(json!([
        {"name": "tokens", "tokensPerMinute": 1_000_000, "outputTokensPerMinute": 1_000_000},
    ]))
    .await;
    // The first fails, the second answers; its usage is what the scripted provider tells.
    failing(&bed.claude, 500);
    let reply = ask(&bed, "a").await;
    assert_eq!(reply.provider(), "gemini");
    let tokens = |of: &'static str| {
        let bed = &bed;
        async move {
            bed.metric(&format!(
                "bowsprit_limit_tokens_total{{limit_name=\"smart/tokens\",counted=\"{of}\"}}"
            ))
            .await
        }
    };
    let (reserved, used) = (tokens("reserved").await, tokens("used").await);
    assert!(reserved > 1_000.0, "a thousand of output are assumed: {reserved}");
    let usage = reply.json()["usage"]["total_tokens"].as_f64().unwrap();
    assert_eq!(used, usage);
    bed.balanced().await;
}

#[tokio::test]
async fn a_stream_that_is_left_is_settled_with_what_was_seen() {
    let bed = limited(json!([{"name": "tokens", "tokensPerMinute": 1_000_000, "concurrentRequests": 9}])).await;
    bed.claude.always(Behaviour::stall_after(2));
    let body = chat("smart", true);
    let mut reply = bed.post("/v1/chat/completions", &body).send().await.unwrap();
    assert!(reply.chunk().await.unwrap().is_some());
    drop(reply);
    bed.until("it is settled", || async {
        level(&bed, "smart/tokens").await["left"]["concurrentRequests"] == 9
    })
    .await;
    let used = bed
        .metric("bowsprit_limit_tokens_total{limit_name=\"smart/tokens\",counted=\"used\"}")
        .await;
    assert!((1.0..900.0).contains(&used), "{used}");
    bed.balanced().await;
}

#[tokio::test]
async fn a_changed_configuration_keeps_what_is_used() {
    let bed = limited(json!([{"name": "calls", "requestsPerMinute": 1}])).await;
    assert_eq!(ask(&bed, "a").await.status, 200);
    let route = |rate: u32| {
        let spec = json!({
            "match": {"models": ["smart"]},
            "targets": [{"provider": "gemini"}],
            "limits": [{"name": "calls", "requestsPerMinute": rate}],
        });
        bed.documents(&|_, _| {}) + &documents::route("smart", &spec)
    };
    std::fs::write(bed.config_path(), route(2)).unwrap();
    bed.until("the change is live", || async {
        bed.metric("bowsprit_config_loaded_total").await == 2.0
    })
    .await;
    assert_eq!(ask(&bed, "a").await.status, 429, "a raised limit gives no burst");
    bed.balanced().await;
}

#[tokio::test]
async fn beyond_one_providers_part_of_a_limit_the_next_provider_answers() {
    let limit = json!([{"name": "each", "requestsPerMinute": 1, "per": "Provider", "onLimit": "Fallback"}]);
    let bed = limited(limit).await;
    for provider in ["claude", "gemini", "openai"] {
        assert_eq!(ask(&bed, "a").await.provider(), provider);
    }
    let reply = ask(&bed, "a").await;
    assert_eq!((reply.status, reply.header("x-bowsprit-limit")), (429, "each"));
    assert_eq!(bed.access().last().unwrap()["refused_by"], "limit:each");
    assert_eq!(level(&bed, "smart/each").await["keys"], 3);
    assert_eq!(met(&bed, "each", "admitted").await, 3.0);
    bed.balanced().await;
}

#[tokio::test]
async fn who_fails_over_takes_of_the_next_providers_limit_and_is_refused_there() {
    let limit = json!([{"name": "each", "requestsPerMinute": 1, "per": "Provider"}]);
    let bed = limited(limit).await;
    failing(&bed.claude, 500);
    assert_eq!(ask(&bed, "a").await.provider(), "gemini");
    assert_eq!(level(&bed, "smart/each").await["keys"], 2);
    let reply = ask(&bed, "a").await;
    assert_eq!((reply.status, reply.header("x-bowsprit-limit")), (429, "each"));
    assert_eq!(count(&bed.openai), 0, "who is rejected is not asked for elsewhere");
    bed.balanced().await;
}

#[tokio::test]
async fn a_retry_at_the_same_provider_takes_nothing_more_but_its_tokens() {
    let limit =
        json!([{"name": "each", "requestsPerMinute": 10, "outputTokensPerMinute": 1_000_000, "per": "Provider"}]);
    let bed = Bed::routed(json!({"limits": limit}), |_, spec| {
        spec["retry"] = json!({"maxAttempts": 3, "backoff": {"base": "1ms", "max": "2ms"}});
    })
    .await;
    bed.claude.script(Behaviour::status(500));
    let reply = ask(&bed, "a").await;
    assert_eq!(reply.provider(), "claude");
    assert_eq!(count(&bed.claude), 2, "it was tried again");
    assert_eq!(met(&bed, "each", "admitted").await, 1.0);
    let used = bed
        .metric("bowsprit_limit_tokens_total{limit_name=\"smart/each\",counted=\"used\"}")
        .await;
    assert_eq!(used, reply.json()["usage"]["total_tokens"].as_f64().unwrap());
    bed.balanced().await;
}

#[tokio::test]
async fn who_waits_for_a_providers_part_gets_the_place_that_is_given_back() {
    let limit =
        json!([{"name": "each", "concurrentRequests": 1, "per": "Provider", "onLimit": "Wait", "maxWait": "20s"}]);
    let bed = limited(limit).await;
    bed.claude.script(Behaviour::hang());
    let first = tokio::spawn(request(&bed, "a").send());
    saw(&bed.claude, |seen| seen.counts.requests == 1).await;
    let second = tokio::spawn(request(&bed, "a").send());
    bed.until("the second waits", || async {
        bed.family("bowsprit_limits_waiting").await == 1.0
    })
    .await;
    assert_eq!((count(&bed.claude), count(&bed.gemini)), (1, 0));
    first.abort();
    let second = Reply::of(second.await.unwrap().unwrap()).await;
    assert_eq!((second.status, second.provider()), (200, "claude"));
    assert_eq!(met(&bed, "each", "waited").await, 1.0);
    assert_eq!(level(&bed, "smart/each").await["inFlight"], 0);
    bed.balanced().await;
}

#[tokio::test]
async fn who_waits_in_vain_for_one_providers_part_goes_to_the_next() {
    let limit =
        json!([{"name": "each", "requestsPerMinute": 1, "per": "Provider", "onLimit": "Wait", "maxWait": "50ms"}]);
    let bed = limited(limit).await;
    assert_eq!(ask(&bed, "a").await.provider(), "claude");
    assert_eq!(ask(&bed, "a").await.provider(), "gemini");
    bed.balanced().await;
}
