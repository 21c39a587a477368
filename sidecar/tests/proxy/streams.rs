//! A stream once begun: never switched, never ended as if it were whole.

use std::time::Duration;

use bowsprit_providers::{Answer, Behaviour, Fault, Point};
use serde_json::{Value, json};

use crate::support::{Bed, Reply, chat, contents, count, message, saw};

#[tokio::test]
async fn a_cut_stream_ends_with_an_error_and_never_as_a_success() {
    let cuts = [
        Fault::Reset {
            at: Point::AfterChunks(2),
        },
        Fault::Reset { at: Point::MidChunk(2) },
        Fault::TruncatedChunked { after: 2 },
        Fault::EarlyFin { after: 2 },
        Fault::NoFinish,
        Fault::ErrorEvent {
            after: 2,
            code: 529,
            kind: None,
        },
    ];
    for cut in cuts {
        for (model, provider) in [
            ("claude-sonnet-4-5", "claude"),
            ("gemini-2.5-flash", "gemini"),
            ("gpt-4.1-mini", "openai"),
        ] {
            let bed = Bed::new().await;
            let answer = Answer::new("one two three four five").fault(cut.clone());
            for scripted in [&bed.claude, &bed.gemini, &bed.openai] {
                scripted.always(answer.clone());
            }
            let reply = bed.chat_with(model, true).await;
            assert_eq!((reply.status, reply.provider()), (200, provider), "{cut:?}");
            assert!(
                reply.complete,
                "the dialect has words for it, so the connection ends properly: {cut:?}"
            );
            assert!(!reply.text.contains("[DONE]"), "{cut:?} {model}: {}", reply.text);
            let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
            assert!(last["error"]["code"].is_string(), "{cut:?} {model}: {}", reply.text);
            assert!(reply.text.contains("one"), "what was sound arrives: {}", reply.text);
            assert_eq!(
                count(&bed.claude) + count(&bed.gemini) + count(&bed.openai),
                1,
                "nothing is tried again"
            );
            bed.balanced().await;
            let cut_requests = bed
                .metrics()
                .await
                .lines()
                .filter(|line| line.contains("outcome=\"cut\""))
                .count();
            assert_eq!(cut_requests, 1, "{cut:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_with_its_finish_reason_is_whole_without_an_end_mark() {
    let bed = Bed::new().await;
    for provider in [&bed.openai, &bed.claude] {
        provider.always(Answer::new("one two three").fault(Fault::NoEndMarker));
    }
    let anthropic = |model: &str| {
        bed.post("/v1/messages", &message(model, true))
            .header("anthropic-version", "2023-06-01")
    };
    for (model, provider) in [("gpt-4.1-mini", "openai"), ("claude-sonnet-4-5", "claude")] {
        for (asked, same) in [
            (
                bed.post("/v1/chat/completions", &chat(model, true)),
                provider == "openai",
            ),
            (anthropic(model), provider == "claude"),
        ] {
            let reply = Reply::of(asked.send().await.unwrap()).await;
            assert_eq!((reply.status, reply.provider()), (200, provider), "{}", reply.text);
            assert!(reply.complete && !reply.text.contains("\"error\""), "{}", reply.text);
            let marked = reply.text.contains("[DONE]") || reply.text.contains("message_stop");
            assert_eq!(
                marked, !same,
                "bytes pass as they came, and a translation is whole: {}",
                reply.text
            );
            assert!(reply.text.contains("three"), "{}", reply.text);
        }
    }
    bed.balanced().await;
    let ok = bed.metric("bowsprit_requests_total{outcome=\"ok\",code=\"\"}").await;
    assert!((ok - 4.0).abs() < 0.5, "{}", bed.metrics().await);
    for provider in ["openai", "claude"] {
        assert_eq!(
            bed.provider_health(provider).await["models"][0]["failures"],
            0,
            "{provider}: no failure for the breaker"
        );
    }
}

#[tokio::test]
async fn anthropic_and_gemini_callers_hear_of_a_cut_in_their_own_words() {
    let bed = Bed::new().await;
    bed.claude.always(Answer::new("one two three").fault(Fault::Reset {
        at: Point::AfterChunks(2),
    }));
    let claude = bed
        .post("/v1/messages", &message("claude-sonnet-4-5", true))
        .header("anthropic-version", "2023-06-01");
    let reply = Reply::of(claude.send().await.unwrap()).await;
    assert!(reply.text.contains("event: error"), "{}", reply.text);
    assert!(!reply.text.contains("message_stop"));
    bed.gemini
        .always(Answer::new("one two three").fault(Fault::TruncatedChunked { after: 1 }));
    let gemini = bed.post(
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        &contents(),
    );
    let reply = Reply::of(gemini.send().await.unwrap()).await;
    let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
    assert!(last["error"]["status"].is_string(), "{}", reply.text);
    bed.balanced().await;
}

#[tokio::test]
async fn an_error_inside_a_200_before_any_content_still_fails_over() {
    for fault in [
        Fault::ErrorEvent {
            after: 0,
            code: 529,
            kind: None,
        },
        Fault::Reset {
            at: Point::AfterChunks(0),
        },
        Fault::TruncatedChunked { after: 0 },
    ] {
        let bed = Bed::new().await;
        bed.claude.always(Answer::new("never seen").fault(fault.clone()));
        for stream in [chat("claude-sonnet-4-5", true)] {
            let reply = Reply::of(bed.post("/v1/chat/completions", &stream).send().await.unwrap()).await;
            assert_eq!(
                (reply.status, reply.provider()),
                (200, "gemini"),
                "{fault:?}: {}",
                reply.text
            );
            assert_eq!(reply.events().last(), Some(&"[DONE]"));
            assert!(!reply.text.contains("never seen"));
        }
        let own = bed
            .post("/v1/messages", &message("claude-sonnet-4-5", true))
            .header("anthropic-version", "2023-06-01");
        let reply = Reply::of(own.send().await.unwrap()).await;
        assert_eq!(reply.provider(), "gemini", "{fault:?}");
        assert_eq!(
            reply.text.matches("message_start").count() / 2,
            1,
            "start-up events of the first are not seen"
        );
        bed.balanced().await;
    }
}

#[tokio::test]
async fn chunks_are_passed_on_as_they_come() {
    let bed = Bed::new().await;
    // The provider stalls after two pieces: what came before must have arrived nevertheless.
    bed.openai
        .always(Answer::new("one two three four").fault(Fault::Stall { after: 2 }));
    let mut response = bed
        .post("/v1/chat/completions", &chat("gpt-4.1-mini", true))
        .send()
        .await
        .unwrap();
    let mut text = String::new();
    while !text.contains("two") {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(!text.contains("three"));
    drop(response);
    bed.balanced().await;
}

#[tokio::test]
async fn a_stream_cut_at_every_byte_reads_the_same() {
    let bed = Bed::new().await;
    for (model, provider) in [
        ("claude-sonnet-4-5", &bed.claude),
        ("gemini-2.5-flash", &bed.gemini),
        ("gpt-4.1-mini", &bed.openai),
    ] {
        let mut answer = Answer::new("naïve Grüße 🚀 end");
        provider.script(answer.clone());
        let whole = bed.chat_with(model, true).await.content();
        answer.write_bytes = Some(1);
        provider.script(answer);
        let split = bed.chat_with(model, true).await;
        assert_eq!(split.content(), whole, "{}", split.text);
        assert_eq!(whole, "naïve Grüße 🚀 end");
        assert_eq!(split.events().last(), Some(&"[DONE]"));
    }
    bed.balanced().await;
}

#[tokio::test]
async fn a_stream_that_falls_silent_ends_with_an_error_after_the_idle_time() {
    let bed = Bed::with(|_, spec| {
        spec["timeouts"] = json!({"connect": "2s", "firstToken": "5s", "idle": "100ms", "total": "20s"});
    })
    .await;
    bed.claude
        .always(Answer::new("one two three").fault(Fault::Stall { after: 2 }));
    let reply = bed.chat_with("claude-sonnet-4-5", true).await;
    let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["bowsprit_code"], "EXT_IDLE_TIMEOUT", "{}", reply.text);
    assert_eq!(
        bed.provider_health("claude").await["models"][0]["failures"],
        1,
        "the breaker hears of it"
    );
    bed.balanced().await;
}

#[tokio::test]
async fn tool_calls_cross_the_dialects() {
    let bed = Bed::new().await;
    bed.claude
        .always(Answer::default().tool_call("weather", json!({"city": "Oslo"})));
    let mut body = chat("claude-sonnet-4-5", false);
    body["tools"] = json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
    let reply = Reply::of(bed.post("/v1/chat/completions", &body).send().await.unwrap()).await;
    let call = &reply.json()["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "weather", "{}", reply.text);
    assert_eq!(
        serde_json::from_str::<Value>(call["function"]["arguments"].as_str().unwrap()).unwrap()["city"],
        "Oslo"
    );
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "tool_calls");
}

/// OpenAI first, then Claude, for a route that does not hold streams.
fn unheld() -> Value {
    json!({
        "targets": [{"provider": "openai"}],
        "fallback": [{"provider": "claude"}],
        "midStreamFailover": "None",
    })
}

#[tokio::test]
async fn a_route_without_failover_sends_the_first_bytes_at_once() {
    let bed = Bed::routed(unheld(), |_, _| {}).await;
    for provider in [&bed.openai, &bed.claude] {
        provider.always(Answer::new("one two").fault(Fault::Stall { after: 0 }));
    }
    let request = || bed.post("/v1/chat/completions", &chat("smart", true)).send();
    let mut response = request().await.unwrap();
    let first = response.chunk().await.unwrap().unwrap();
    assert!(
        first.starts_with(b"data: "),
        "what comes before any content is not held"
    );
    drop(response);
    saw(&bed.openai, |seen| seen.cancelled.len() == 1).await;
    // The next candidate is still there for one that fails before its head.
    bed.openai.always(Behaviour::status(500));
    let mut response = request().await.unwrap();
    assert_eq!(response.headers()["x-bowsprit-provider"], "claude");
    assert!(
        response.chunk().await.unwrap().is_some(),
        "translated, and not held either"
    );
    drop(response);
    bed.balanced().await;
}

#[tokio::test]
async fn a_route_without_failover_ends_with_the_error_that_came_before_any_content() {
    let error = Fault::ErrorEvent {
        after: 0,
        code: 500,
        kind: None,
    };
    for fault in [
        error,
        Fault::TruncatedChunked { after: 0 },
        Fault::Reset {
            at: Point::AfterChunks(0),
        },
    ] {
        let bed = Bed::routed(unheld(), |_, _| {}).await;
        bed.openai.always(Answer::new("one two").fault(fault.clone()));
        let reply = bed.chat_with("smart", true).await;
        assert_eq!((reply.status, reply.provider()), (200, "openai"), "{fault:?}");
        assert!(
            reply.text.contains("\"error\"") && !reply.text.contains("[DONE]"),
            "{}",
            reply.text
        );
        assert_eq!(count(&bed.claude), 0, "{fault:?}");
        bed.balanced().await;
        let failures = &bed.provider_health("openai").await["models"][0]["failures"];
        assert_eq!(failures, 1, "{fault:?}");
        let held = Bed::routed(json!({"targets": [{"provider": "openai"}]}), |_, _| {}).await;
        held.openai.always(Answer::new("one two").fault(fault));
        assert_ne!(
            held.chat_with("smart", true).await.provider(),
            "openai",
            "that is what holding is for"
        );
    }
}

#[tokio::test]
async fn a_stream_that_is_not_held_must_show_content_in_time_all_the_same() {
    let bed = Bed::routed(unheld(), |_, spec| {
        spec["timeouts"] = json!({"connect": "2s", "firstToken": "150ms", "idle": "20s", "total": "30s"});
    })
    .await;
    bed.openai
        .always(Answer::new("one two").fault(Fault::Stall { after: 0 }));
    let reply = bed.chat_with("smart", true).await;
    assert!(reply.text.contains("timeouts.firstToken"), "{}", reply.text);
    bed.openai
        .always(Answer::new("one two").delay(Duration::from_millis(300)));
    let reply = bed.chat_with("smart", true).await;
    assert_eq!(
        reply.content(),
        "one two",
        "the first content ends that limit: {}",
        reply.text
    );
    bed.balanced().await;
}
