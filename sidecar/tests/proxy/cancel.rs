//! The app goes away: the provider's work stops, and nothing is left held.

use bowsprit_providers::{Answer, Behaviour, Fault, Phase, Raw};

use crate::support::{Bed, chat, count, message, saw};

/// One request in all, and it ended as cancelled, once.
async fn one_cancelled(bed: &Bed) {
    bed.balanced().await;
    let metrics = bed.metrics().await;
    assert!(metrics.contains("outcome=\"cancelled\",code=\"\"} 1"), "{metrics}");
    assert_eq!(bed.family("bowsprit_requests_total").await, 1.0);
}

/// A chat of the app's that can be given up.
fn ask(bed: &Bed, model: &str, stream: bool) -> tokio::task::JoinHandle<Result<reqwest::Response, reqwest::Error>> {
    tokio::spawn(bed.post("/v1/chat/completions", &chat(model, stream)).send())
}

#[tokio::test]
async fn leaving_during_a_backoff_sends_nothing_more() {
    let bed = Bed::with(|_, spec| {
        spec["retry"] =
            serde_json::json!({"maxAttempts": 3, "backoff": {"base": "20s", "max": "20s", "jitter": "None"}});
    })
    .await;
    bed.claude.always(Behaviour::status(500));
    let asking = ask(&bed, "claude-sonnet-4-5", false);
    bed.until("its attempt has failed, and it waits to try again", || async {
        bed.family("bowsprit_attempts_total").await == 1.0
    })
    .await;
    asking.abort();
    one_cancelled(&bed).await;
    assert_eq!(count(&bed.claude), 1);
    let retries = bed.family("bowsprit_retries_total").await;
    assert!(retries == 0.0, "what was not sent is not counted: {retries}");
}

#[tokio::test]
async fn leaving_while_waiting_for_a_place_leaves_the_line() {
    let bed = Bed::with(|name, spec| {
        if name == "claude" {
            spec["rateLimits"] = serde_json::json!({"concurrentRequests": 1, "onLimit": "Wait", "maxWait": "20s"});
        }
    })
    .await;
    bed.claude.script(Behaviour::hang());
    let first = ask(&bed, "claude-sonnet-4-5", false);
    saw(&bed.claude, |seen| seen.counts.requests == 1).await;
    let second = ask(&bed, "claude-sonnet-4-5", false);
    bed.until("the second waits", || async {
        bed.family("bowsprit_rate_limited_total").await == 1.0
    })
    .await;
    second.abort();
    bed.until("it has left", || async {
        bed.family("bowsprit_in_flight").await == 1.0
    })
    .await;
    first.abort();
    // Nobody is called who is not there, and the place is free.
    assert_eq!(bed.chat().await.provider(), "claude");
    bed.balanced().await;
    assert_eq!(count(&bed.claude), 2, "the second was never sent");
    let metrics = bed.metrics().await;
    assert!(metrics.contains("outcome=\"cancelled\",code=\"\"} 2"), "{metrics}");
}

#[tokio::test]
async fn leaving_while_two_attempts_are_out_cancels_both() {
    for stream in [false, true] {
        let hedge = serde_json::json!({"hedge": {"after": "10ms", "maxPercent": 100}});
        let bed = Bed::routed(hedge, |_, _| {}).await;
        bed.claude.always(Behaviour::hang());
        bed.gemini.always(Behaviour::hang());
        let asking = ask(&bed, "smart", stream);
        saw(&bed.gemini, |seen| seen.counts.requests == 1).await;
        asking.abort();
        for provider in [&bed.claude, &bed.gemini] {
            saw(provider, |seen| seen.cancelled.len() == 1).await;
            assert_eq!(provider.cancelled()[0].phase, Phase::BeforeHead);
        }
        one_cancelled(&bed).await;
        assert_eq!(bed.family("bowsprit_attempts_total").await, 2.0);
        let hedges = "bowsprit_hedges_total{provider=\"gemini\",outcome=\"cancelled\"}";
        assert_eq!(bed.metric(hedges).await, 1.0);
        for name in ["claude", "gemini"] {
            assert_eq!(bed.provider_health(name).await["models"][0]["failures"], 0);
        }
    }
}

#[tokio::test]
async fn leaving_while_a_stream_is_held_for_its_first_content_cancels_the_provider() {
    let bed = Bed::new().await;
    bed.openai
        .always(Answer::new("one two").fault(Fault::Stall { after: 0 }));
    let asking = ask(&bed, "gpt-4.1-mini", true);
    saw(&bed.openai, |seen| seen.counts.requests == 1).await;
    asking.abort();
    saw(&bed.openai, |seen| seen.cancelled.len() == 1).await;
    one_cancelled(&bed).await;
}

#[tokio::test]
async fn leaving_a_gemini_array_before_its_closing_bracket_is_leaving() {
    let bed = Bed::new().await;
    // Everything is there but the bracket: the last element says why it stopped, and the answer is half a JSON text.
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let array = "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}]},\"finishReason\":\"STOP\"}]}";
    let raw = format!("{head}{:x}\r\n{array}\r\n", array.len());
    let mut raw = Raw::new(raw);
    raw.after = bowsprit_providers::After::Keep;
    bed.gemini.always(raw);
    let path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
    let mut response = bed.post(path, &crate::support::contents()).send().await.unwrap();
    assert!(response.chunk().await.unwrap().unwrap().ends_with(b"]}"));
    drop(response);
    saw(&bed.gemini, |seen| seen.open_connections == 0).await;
    one_cancelled(&bed).await;
}

#[tokio::test]
async fn leaving_before_the_head_cancels_the_provider() {
    let bed = Bed::new().await;
    bed.claude.always(Behaviour::hang());
    for stream in [false, true] {
        bed.claude.reset();
        bed.claude.always(Behaviour::hang());
        let asking = tokio::spawn(
            bed.post("/v1/chat/completions", &chat("claude-sonnet-4-5", stream))
                .send(),
        );
        saw(&bed.claude, |seen| seen.counts.requests == 1).await;
        asking.abort();
        saw(&bed.claude, |seen| seen.cancelled.len() == 1).await;
        assert_eq!(bed.claude.cancelled()[0].phase, Phase::BeforeHead);
        bed.balanced().await;
    }
    assert!(
        bed.metrics().await.contains("outcome=\"cancelled\",code=\"\"} 2"),
        "{}",
        bed.metrics().await
    );
    assert_eq!(
        bed.metric("bowsprit_attempts_total{provider=\"claude\",model=\"claude-sonnet-4-5\",code=\"cancelled\"}")
            .await,
        2.0
    );
    assert_eq!(
        bed.provider_health("claude").await["models"][0]["failures"],
        0,
        "the provider is not to blame"
    );
}

#[tokio::test]
async fn leaving_in_mid_stream_cancels_the_provider() {
    for model in ["claude-sonnet-4-5", "gpt-4.1-mini"] {
        let bed = Bed::new().await;
        let provider = if model.starts_with("claude") {
            &bed.claude
        } else {
            &bed.openai
        };
        provider.always(Answer::new("one two three").fault(Fault::Stall { after: 2 }));
        let mut response = bed
            .post("/v1/chat/completions", &chat(model, true))
            .send()
            .await
            .unwrap();
        response.chunk().await.unwrap().unwrap();
        drop(response);
        saw(provider, |seen| seen.cancelled.len() == 1).await;
        assert_eq!(provider.cancelled()[0].phase, Phase::Body);
        bed.balanced().await;
    }
}

#[tokio::test]
async fn leaving_in_mid_body_asks_nobody() {
    let bed = Bed::new().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";
    let caller = bed.send(format!("{head}{{\"model\":")).await;
    bed.until("the request was taken in", || async { bed.sidecar().in_flight() == 1 })
        .await;
    drop(caller);
    bed.balanced().await;
    assert_eq!(bed.family("bowsprit_attempts_total").await, 0.0);
}

#[tokio::test]
async fn a_caller_that_closes_after_the_end_mark_was_answered() {
    let bed = Bed::new().await;
    let mut answer = Answer::new("one two");
    answer.after = bowsprit_providers::After::Keep;
    bed.openai.always(answer);
    let mut response = bed
        .post("/v1/chat/completions", &chat("gpt-4.1-mini", true))
        .send()
        .await
        .unwrap();
    let mut text = String::new();
    while !text.contains("[DONE]") {
        text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
    }
    drop(response);
    bed.balanced().await;
    assert!(
        !bed.metrics().await.contains("outcome=\"cancelled\""),
        "{}",
        bed.metrics().await
    );
}

/// Claude's stream of this question, left after its first words.
async fn left_after_some_words(bed: &Bed) {
    let asked = bed
        .post("/v1/messages", &message("claude-sonnet-4-5", true))
        .header("anthropic-version", "2023-06-01");
    let mut response = asked.send().await.unwrap();
    let mut text = String::new();
    while !text.contains("content_block_delta") {
        let chunk = response.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
}

#[tokio::test]
async fn who_leaves_a_stream_has_spent_what_was_used() {
    let bed = Bed::with(|name, spec| {
        if name == "claude" {
            spec["rateLimits"] = serde_json::json!({"tokensPerMinute": 1_000_000});
        }
    })
    .await;
    bed.claude.script(Behaviour::stall_after(3));
    left_after_some_words(&bed).await;
    one_cancelled(&bed).await;
    let tokens =
        |kind: &str| format!(r#"bowsprit_tokens_total{{provider="claude",model="claude-sonnet-4-5",kind="{kind}"}}"#);
    let reported = bed.metric(&tokens("input")).await;
    assert!(reported > 0.0, "the stream's start told its input");
    let estimated = bed.family("bowsprit_estimated_tokens_total").await;
    let output = bed.metric(&tokens("output")).await;
    assert!(output + estimated > 0.0, "words were seen");
    let attempt = bed.attempts().pop().unwrap();
    assert_eq!(attempt["ended"], "cancelled");
    assert!(attempt["charged_tokens"].as_f64() > Some(reported), "{attempt}");
    bed.balanced().await;
}
