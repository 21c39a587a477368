//! When a provider fails, the next one answers, and the app does not notice.

use std::time::Duration;

use bowsprit_providers::{Answer, Behaviour, Fault, Point, Step};
use serde_json::{Value, json};

use crate::support::{Bed, Reply, chat, count, failing, message};

#[tokio::test]
async fn a_failing_provider_is_answered_for_by_the_next() {
    for code in [500, 502, 503, 529, 429, 401, 402, 403, 404, 408] {
        let bed = Bed::new().await;
        failing(&bed.claude, code);
        let reply = bed.chat().await;
        assert_eq!(
            (reply.status, reply.provider()),
            (200, "gemini"),
            "{code}: {}",
            reply.text
        );
        assert_eq!(
            reply.json()["model"],
            "claude-sonnet-4-5",
            "the caller sees the model it asked for"
        );
        assert_eq!(reply.header("x-bowsprit-attempts"), "2");
        let streamed = bed.chat_with("claude-sonnet-4-5", true).await;
        assert_eq!((streamed.status, streamed.provider()), (200, "gemini"), "{code}");
        assert_eq!(streamed.events().last(), Some(&"[DONE]"));
        bed.balanced().await;
    }
}

#[tokio::test]
async fn a_success_without_an_answer_is_answered_for_by_the_next() {
    let nothing = [
        "",
        "{}",
        "[]",
        "null",
        "\"ok\"",
        "<!DOCTYPE html><html><body>Sign in</body></html>",
        "{\"content\":[]}",
        "{\"content\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":0}}",
        "{\"detail\":\"it broke\"}",
        "{\"message\":\"no capacity\",\"code\":503}",
        "{\"object\":\"error\",\"message\":\"slow down\",\"code\":429}",
        "{\"error\":\"it broke\"}",
    ];
    for body in nothing {
        let bed = Bed::new().await;
        for kind in ["application/json", "text/event-stream"] {
            let answer = Behaviour::status(200).header("content-type", kind).body(body);
            bed.claude.always(answer);
            let stream = kind == "text/event-stream";
            let same = bed
                .post("/v1/messages", &message("claude-sonnet-4-5", stream))
                .header("anthropic-version", "2023-06-01");
            let other = bed.post("/v1/chat/completions", &chat("claude-sonnet-4-5", stream));
            for asked in [same, other] {
                let reply = Reply::of(asked.send().await.unwrap()).await;
                assert_eq!(
                    (reply.status, reply.provider()),
                    (200, "gemini"),
                    "{body} as {kind}: {}",
                    reply.text
                );
            }
        }
        bed.balanced().await;
    }
}

#[tokio::test]
async fn an_empty_answer_that_says_why_is_the_answer() {
    let bed = Bed::new().await;
    let empty = json!({"id": "m", "type": "message", "role": "assistant", "content": [], "stop_reason": "max_tokens",
        "usage": {"input_tokens": 3, "output_tokens": 9}});
    bed.claude.always(Behaviour::status(200).body(empty.to_string()));
    let same = bed.post("/v1/messages", &message("claude-sonnet-4-5", false));
    let reply = Reply::of(same.header("anthropic-version", "2023-06-01").send().await.unwrap()).await;
    assert_eq!((reply.provider(), reply.json()), ("claude", empty));
    let reply = bed.chat().await;
    assert_eq!(reply.provider(), "claude", "{}", reply.text);
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn the_whole_chain_is_gone_through_in_order() {
    let bed = Bed::new().await;
    failing(&bed.claude, 500);
    failing(&bed.gemini, 500);
    let reply = bed.chat().await;
    assert_eq!((reply.status, reply.provider()), (200, "openai"));
    assert_eq!(
        bed.metric("bowsprit_fallbacks_total{provider=\"claude\",code=\"EXT_SERVER_ERROR\"}")
            .await,
        1.0
    );
    assert_eq!(
        bed.metric("bowsprit_fallbacks_total{provider=\"gemini\",code=\"EXT_SERVER_ERROR\"}")
            .await,
        1.0
    );
}

#[tokio::test]
async fn whatever_the_network_does_to_one_provider_the_next_one_answers() {
    let faults: [(&str, Behaviour); 8] = [
        ("reset before the head", Behaviour::reset(Point::BeforeHead)),
        ("reset after the head", Behaviour::reset(Point::AfterHead)),
        (
            "body shorter than promised",
            Answer::new("one two").fault(Fault::EarlyFin { after: 1 }).into(),
        ),
        ("html from a proxy", Behaviour::Html502),
        ("error in a 200", Behaviour::ErrorIn200),
        ("empty 200", Behaviour::Empty200),
        ("not HTTP", Behaviour::Garbage),
        ("redirect", Behaviour::Redirect("http://127.0.0.1:1/stolen".into())),
    ];
    for (what, fault) in faults {
        let bed = Bed::new().await;
        bed.claude.always(fault);
        let reply = bed.chat().await;
        assert_eq!(
            (reply.status, reply.provider()),
            (200, "gemini"),
            "{what}: {}",
            reply.text
        );
        bed.balanced().await;
    }
}

#[tokio::test]
async fn a_provider_that_is_down_or_hangs_is_left_for_the_next() {
    let bed = Bed::with(|_, spec| {
        spec["timeouts"] = json!({"connect": "2s", "firstToken": "150ms", "idle": "150ms", "total": "200ms"});
    })
    .await;
    bed.claude.down().await;
    assert_eq!(bed.chat().await.provider(), "gemini");
    bed.claude.up().await;
    bed.claude.always(Behaviour::hang());
    for stream in [false, true] {
        let reply = bed.chat_with("claude-sonnet-4-5", stream).await;
        assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
    }
    let timeouts = bed
        .metric(
            "bowsprit_attempts_total{provider=\"claude\",model=\"claude-sonnet-4-5\",code=\"EXT_FIRST_TOKEN_TIMEOUT\"}",
        )
        .await;
    assert_eq!(timeouts, 1.0);
    bed.balanced().await;
}

#[tokio::test]
async fn the_callers_own_mistake_is_told_at_once_and_tried_nowhere_else() {
    let bed = Bed::new().await;
    failing(&bed.claude, 400);
    let reply = bed.chat().await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert_eq!(reply.json()["error"]["bowsprit_code"], "VAL_PROVIDER_REFUSED");
    assert_eq!(reply.header("x-should-retry"), "false");
    assert_eq!((count(&bed.gemini), count(&bed.openai)), (0, 0));
    bed.balanced().await;
}

#[tokio::test]
async fn when_all_fail_the_caller_gets_an_error_of_its_own_dialect() {
    let bed = Bed::new().await;
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        failing(provider, 503);
    }
    let reply = bed.chat().await;
    // OpenAI was asked last and speaks the caller's dialect: its own word is passed on.
    assert_eq!(reply.status, 503);
    assert!(reply.json()["error"]["message"].is_string(), "{}", reply.text);
    assert_eq!(reply.header("x-should-retry"), "true");
    bed.balanced().await;
}

#[tokio::test]
async fn what_a_provider_says_itself_of_retries_is_passed_on() {
    let bed = Bed::new().await;
    for provider in [&bed.claude, &bed.gemini] {
        failing(provider, 503);
    }
    bed.openai
        .script(Step::new(Behaviour::status(503).header("x-should-retry", "false")).times(9));
    let reply = bed.chat().await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("x-should-retry"), "false");
    bed.balanced().await;
}

#[tokio::test]
async fn retries_wait_their_backoff_and_stay_at_the_provider() {
    let bed = Bed::with(|_, spec| {
        spec["retry"] = json!({"maxAttempts": 3, "backoff": {"base": "1ms", "max": "2ms"}});
    })
    .await;
    bed.claude.script(Behaviour::status(500));
    bed.claude.script(Behaviour::status(529));
    let reply = bed.chat().await;
    assert_eq!(
        (reply.status, reply.provider(), reply.header("x-bowsprit-attempts")),
        (200, "claude", "3")
    );
    assert_eq!(count(&bed.claude), 3);
    assert_eq!(bed.family("bowsprit_retries_total").await, 2.0);
    bed.balanced().await;
}

#[tokio::test]
async fn a_provider_that_asks_not_to_be_asked_again_is_not() {
    let bed = Bed::with(|_, spec| {
        spec["retry"] = json!({"maxAttempts": 3, "backoff": {"base": "1ms", "max": "2ms"}});
    })
    .await;
    bed.claude
        .script(Behaviour::status(500).header("x-should-retry", "false"));
    assert_eq!(bed.chat().await.provider(), "gemini", "another may do better");
    assert_eq!(count(&bed.claude), 1);
    bed.balanced().await;
}

#[tokio::test]
async fn retry_on_names_what_is_worth_another_attempt() {
    let bed = Bed::with(|_, spec| {
        spec["retry"] = json!({"maxAttempts": 3, "retryOn": ["Connect"], "backoff": {"base": "1ms", "max": "1ms"}});
    })
    .await;
    failing(&bed.claude, 500);
    assert_eq!(bed.chat().await.provider(), "gemini");
    assert_eq!(count(&bed.claude), 1);
}

/// A provider without anybody beside it.
fn alone(retry: Value) -> impl Fn(&str, &mut Value) {
    move |name, spec| {
        if name == "claude" {
            spec["retry"] = retry.clone();
        } else {
            *spec = Value::Null;
        }
    }
}

#[tokio::test]
async fn work_that_may_have_been_done_is_not_bought_twice_unless_asked_for() {
    let quick = json!({"base": "1ms", "max": "1ms"});
    let faults = [Behaviour::reset(Point::BeforeHead), Behaviour::status(504).into()];
    for fault in faults {
        let bed = Bed::with(alone(json!({"maxAttempts": 3, "backoff": quick}))).await;
        bed.claude.always(fault.clone());
        let reply = bed.chat().await;
        assert!(reply.status >= 500, "{}", reply.text);
        assert_eq!(reply.header("x-should-retry"), "true", "the caller may know better");
        assert_eq!(count(&bed.claude), 1, "{fault:?}");
        let bed = Bed::with(alone(
            json!({"maxAttempts": 3, "backoff": quick, "retryOn": ["Reset", "Timeout"]}),
        ))
        .await;
        bed.claude.script(fault.clone());
        assert_eq!(bed.chat().await.status, 200, "{fault:?}");
        assert_eq!(count(&bed.claude), 2);
        bed.balanced().await;
    }
}

#[tokio::test]
async fn an_idempotency_key_is_the_same_on_every_attempt() {
    let bed = Bed::with(|_, spec| {
        spec["retry"] = json!({"maxAttempts": 3, "backoff": {"base": "1ms", "max": "1ms"}});
    })
    .await;
    bed.openai.script(Behaviour::status(500));
    bed.openai.script(Behaviour::status(503));
    let request = bed.post("/v1/chat/completions", &crate::support::chat("gpt-4.1-mini", false));
    let reply = request.header("idempotency-key", "once-only").send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let keys: Vec<_> = bed
        .openai
        .requests()
        .iter()
        .map(|request| request.header("idempotency-key").map(str::to_owned))
        .collect();
    assert_eq!(keys, vec![Some("once-only".to_owned()); 3]);
}

#[tokio::test]
async fn a_total_outage_is_not_answered_with_a_storm() {
    let bed = Bed::with(|_, spec| {
        spec["retry"] = json!({
            "maxAttempts": 5,
            "backoff": {"base": "1ms", "max": "1ms"},
            "budget": {"percent": 20, "minPerSecond": 0},
        });
        // Without the breakers' help: with it, nobody would be asked after the fifth failure.
        spec["circuitBreaker"] = json!({"failureThreshold": 1000});
    })
    .await;
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        failing(provider, 500);
    }
    let requests = 200;
    for _ in 0..requests {
        assert!(bed.chat().await.status >= 500);
    }
    let sent = count(&bed.claude) + count(&bed.gemini) + count(&bed.openai);
    // Ten: the five switches to each of two providers by which they lose their trust.
    assert!(
        (requests..=requests * 6 / 5 + 10).contains(&sent),
        "{sent} sent for {requests}"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn with_its_breakers_a_total_outage_sends_less_than_was_asked_for() {
    let bed =
        Bed::with(|_, spec| spec["retry"] = json!({"maxAttempts": 5, "backoff": {"base": "1ms", "max": "1ms"}})).await;
    for provider in [&bed.claude, &bed.gemini, &bed.openai] {
        failing(provider, 503);
    }
    for _ in 0..100 {
        assert!(bed.chat().await.status >= 500);
    }
    let sent = count(&bed.claude) + count(&bed.gemini) + count(&bed.openai);
    assert!(
        sent <= 15,
        "five failures open each of three breakers; {sent} were sent"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn one_providers_outage_turns_nobody_away_for_the_budgets_sake() {
    let bed = Bed::with(|_, spec| {
        spec["retry"] = json!({"maxAttempts": 3, "backoff": {"base": "1ms", "max": "1ms"}, "budget": {"percent": 0, "minPerSecond": 0}});
        spec["circuitBreaker"] = json!({"failureThreshold": 1000});
    })
    .await;
    failing(&bed.claude, 500);
    for _ in 0..100 {
        let reply = bed.chat().await;
        assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
    }
    assert_eq!((count(&bed.claude), count(&bed.gemini)), (100, 100));
    bed.balanced().await;
}

#[tokio::test]
async fn an_sdks_own_retry_is_not_repeated_at_the_provider_but_may_go_to_the_next() {
    let bed = Bed::with(|_, spec| {
        spec["retry"] = json!({"maxAttempts": 3, "backoff": {"base": "1ms", "max": "1ms"}});
    })
    .await;
    failing(&bed.claude, 500);
    let body = crate::support::chat("claude-sonnet-4-5", false);
    let request = bed
        .post("/v1/chat/completions", &body)
        .header("x-stainless-retry-count", "2");
    let reply = crate::support::Reply::of(request.send().await.unwrap()).await;
    assert_eq!((reply.status, reply.provider()), (200, "gemini"), "{}", reply.text);
    assert_eq!(count(&bed.claude), 1, "the SDK repeats by itself");
    assert_eq!(bed.family("bowsprit_sdk_retries_total").await, 1.0);
    assert!(bed.sidecar().log().contains("\"caller_retries\":2"));
    bed.balanced().await;
}

#[tokio::test]
async fn an_sdks_own_retries_use_up_what_ours_would_need() {
    let bed = Bed::with(alone(json!({
        "maxAttempts": 2,
        "backoff": {"base": "1ms", "max": "1ms"},
        "budget": {"percent": 50, "minPerSecond": 0},
    })))
    .await;
    let body = crate::support::chat("claude-sonnet-4-5", false);
    for _ in 0..4 {
        assert_eq!(bed.chat().await.status, 200);
    }
    for _ in 0..3 {
        let request = bed
            .post("/v1/chat/completions", &body)
            .header("x-stainless-retry-count", "1");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    bed.claude.script(Behaviour::status(500));
    assert_eq!(
        bed.chat().await.status,
        502,
        "five requests allow two repeats; three were made"
    );
    assert_eq!(bed.family("bowsprit_retries_denied_total").await, 1.0);
    bed.balanced().await;
}

#[tokio::test]
async fn a_provider_that_throttles_its_only_key_is_passed_over_until_it_said_it_would_answer() {
    let bed = Bed::new().await;
    bed.claude
        .script(Behaviour::status(429).retry_after(Duration::from_mins(1)));
    for _ in 0..5 {
        assert_eq!(bed.chat().await.provider(), "gemini");
    }
    assert_eq!(count(&bed.claude), 1, "it said when");
    // Nobody else: then it is asked all the same, as the last resort.
    bed.gemini.down().await;
    bed.openai.down().await;
    for _ in 0..6 {
        bed.chat().await;
    }
    assert_eq!(bed.chat().await.provider(), "claude");
    bed.balanced().await;
}

#[tokio::test]
async fn a_providers_wish_for_patience_is_obeyed_only_where_nobody_else_can_answer() {
    let bed =
        Bed::with(|_, spec| spec["retry"] = json!({"maxAttempts": 2, "backoff": {"base": "1ms", "max": "1ms"}})).await;
    bed.claude
        .script(Behaviour::status(429).retry_after(Duration::from_secs(20)));
    let reply = bed.chat().await;
    assert_eq!((reply.provider(), count(&bed.claude)), ("gemini", 1));
}

#[tokio::test]
async fn retries_stay_within_a_fifth_of_the_requests() {
    let bed = Bed::with(|name, spec| {
        if name != "claude" {
            *spec = Value::Null;
            return;
        }
        spec["retry"] = json!({
            "maxAttempts": 5,
            "backoff": {"base": "1ms", "max": "1ms"},
            "budget": {"percent": 20, "minPerSecond": 0},
        });
        spec["circuitBreaker"] = json!({"failureThreshold": 1000});
    })
    .await;
    failing(&bed.claude, 500);
    for _ in 0..50 {
        assert_eq!(bed.chat().await.status, 502);
    }
    let sent = count(&bed.claude);
    assert!((50..=60).contains(&sent), "{sent} requests for 50");
    assert!(bed.family("bowsprit_retries_denied_total").await > 0.0);
    bed.balanced().await;
}

#[tokio::test]
async fn a_named_chain_is_followed_instead_of_the_priorities() {
    let bed = Bed::with(|name, spec| {
        if name == "claude" {
            spec["fallbackProviders"] = json!(["openai"]);
        }
    })
    .await;
    failing(&bed.claude, 500);
    assert_eq!(bed.chat().await.provider(), "openai");
    assert_eq!(count(&bed.gemini), 0);
}
