//! What crosses the sidecar and what does not.

use crate::support::{Bed, CANARIES, Reply, chat, message};

#[tokio::test]
async fn a_callers_credentials_end_at_the_sidecar() {
    let bed = Bed::new().await;
    for model in ["claude-sonnet-4-5", "gemini-2.5-flash", "gpt-4.1-mini"] {
        let request = bed
            .post("/v1/chat/completions?key=client-secret", &chat(model, false))
            .header("authorization", "Bearer client-secret")
            .header("x-api-key", "client-secret")
            .header("x-goog-api-key", "client-secret")
            .header("api-key", "client-secret")
            .header("cookie", "session=client-secret")
            .header("openai-organization", "org-of-the-caller");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let all = [bed.claude.requests(), bed.gemini.requests(), bed.openai.requests()];
    for (requests, canary) in all.iter().zip(CANARIES) {
        let request = &requests[0];
        assert!(
            !String::from_utf8_lossy(&request.raw_head).contains("client-secret"),
            "{request:?}"
        );
        assert!(request.header("openai-organization").is_none());
        assert_eq!(request.key.as_deref(), Some(canary), "the provider's own key is there");
        assert_eq!(
            request
                .headers
                .iter()
                .filter(|(_, value)| value.contains(canary))
                .count(),
            1
        );
    }
}

#[tokio::test]
async fn hop_by_hop_headers_end_at_the_sidecar_in_both_directions() {
    let bed = Bed::new().await;
    bed.openai.always(
        bowsprit_providers::Answer::new("hi")
            .header("keep-alive", "timeout=5")
            .header("set-cookie", "__cf_bm=1")
            .header("alt-svc", "h3=\":443\"")
            .header("x-kept", "yes"),
    );
    let request = bed
        .post("/v1/chat/completions", &chat("gpt-4.1-mini", false))
        .header("connection", "keep-alive, x-private")
        .header("x-private", "1")
        .header("te", "trailers")
        .header("proxy-authorization", "Basic x")
        .header("x-stainless-retry-count", "1")
        .header("user-agent", "OpenAI/Python 1.0");
    let reply = Reply::of(request.send().await.unwrap()).await;
    let seen = &bed.openai.requests()[0];
    for gone in [
        "x-private",
        "te",
        "proxy-authorization",
        "connection",
        "accept-encoding",
    ] {
        assert!(seen.header(gone).is_none(), "{gone}");
    }
    assert_eq!(seen.header("x-stainless-retry-count"), Some("1"));
    assert_eq!(seen.header("user-agent"), Some("OpenAI/Python 1.0"));
    for gone in ["keep-alive", "set-cookie", "alt-svc"] {
        assert_eq!(reply.header(gone), "", "{gone}");
    }
    assert_eq!(reply.header("x-kept"), "yes");
    assert!(
        !reply.header("x-ratelimit-remaining-requests").is_empty(),
        "rate-limit headers reach the caller"
    );
    assert_eq!(bed.metric("bowsprit_sdk_retries_total").await, 1.0);
}

#[tokio::test]
async fn anthropics_own_headers_pass_on_its_dialect_and_have_defaults_on_others() {
    let bed = Bed::new().await;
    let own = bed
        .post("/v1/messages?beta=true", &message("claude-sonnet-4-5", false))
        .header("anthropic-version", "2023-01-01")
        .header("anthropic-beta", "context-1m");
    assert_eq!(own.send().await.unwrap().status(), 200);
    let seen = bed.claude.requests().remove(0);
    assert_eq!(seen.header("anthropic-version"), Some("2023-01-01"));
    assert_eq!(seen.header("anthropic-beta"), Some("context-1m"));
    assert_eq!(seen.path, "/v1/messages?beta=true");
    bed.chat().await;
    let seen = bed.claude.requests().remove(1);
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
}

#[tokio::test]
async fn headers_of_the_configuration_are_added() {
    let bed = Bed::with(|name, spec| {
        spec["endpoint"]["headers"] = serde_json::json!({"X-Team": "shop"});
        if name == "openai" {
            spec["endpoint"]["organization"] = "org-1".into();
            spec["endpoint"]["project"] = "proj-1".into();
        }
    })
    .await;
    bed.chat_with("gpt-4.1-mini", false).await;
    let seen = &bed.openai.requests()[0];
    assert_eq!(seen.header("x-team"), Some("shop"));
    assert_eq!(seen.header("openai-organization"), Some("org-1"));
    assert_eq!(seen.header("openai-project"), Some("proj-1"));
}

#[tokio::test]
async fn a_request_id_is_taken_made_sent_on_and_returned() {
    let bed = Bed::new().await;
    let request = bed
        .post("/v1/chat/completions", &chat("gpt-4.1-mini", false))
        .header("x-request-id", "mine-1");
    let reply = Reply::of(request.send().await.unwrap()).await;
    assert_eq!(reply.header("x-request-id"), "mine-1");
    assert!(
        !reply.header("x-bowsprit-provider-request-id").is_empty(),
        "the provider's own is kept beside it"
    );
    assert_eq!(bed.openai.requests()[0].header("x-request-id"), Some("mine-1"));
    let made = bed.chat().await;
    assert_eq!(made.header("x-request-id").len(), 32);
    let bad = Reply::of(
        bed.get("/nowhere")
            .header("x-request-id", "two words")
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(bad.header("x-request-id").len(), 32, "an unfit id is replaced");
    assert!(bed.sidecar().log().contains("\"request_id\":\"mine-1\""));
}

#[tokio::test]
async fn a_trace_goes_on_to_the_provider_and_its_id_into_the_log() {
    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let bed = Bed::new().await;
    let traceparent = format!("00-{ID}-00f067aa0ba902b7-01");
    // Claude is asked in a foreign dialect and fails; Gemini answers.
    bed.claude.always(bowsprit_providers::Behaviour::status(500));
    let request = bed
        .post("/v1/chat/completions", &chat("claude-sonnet-4-5", false))
        .header("x-request-id", "traced-1")
        .header("traceparent", &traceparent)
        .header("tracestate", "vendor=1");
    let reply = Reply::of(request.send().await.unwrap()).await;
    assert_eq!(reply.provider(), "gemini");
    for provider in [&bed.claude, &bed.gemini] {
        let seen = &provider.requests()[0];
        assert_eq!(seen.header("traceparent"), Some(traceparent.as_str()));
        assert_eq!(seen.header("tracestate"), Some("vendor=1"));
    }
    let access = bed.sidecar().log();
    for line in access.lines().filter(|line| line.contains("traced-1")) {
        assert!(line.contains(ID), "every line of a request has its trace: {line}");
    }
    let line = bed.access().pop().unwrap();
    assert_eq!(
        (&line["request_id"], &line["trace_id"]),
        (&"traced-1".into(), &ID.into())
    );
    assert_eq!(line["attempts"], 2);
    assert!(line["answer_bytes"].as_u64().unwrap() > 10, "{line}");
    // The attempt that failed has a line of its own with the same ids.
    let logs = crate::support::logs();
    let failed = logs
        .lines()
        .find(|line| line.contains("traced-1") && line.contains("attempt failed"))
        .unwrap();
    for field in [ID, "EXT_SERVER_ERROR", "duration_us", "claude", "next provider"] {
        assert!(failed.contains(field), "{field}: {failed}");
    }
    bed.chat().await;
    let last = bed.access().pop().unwrap();
    assert!(last.get("trace_id").is_none(), "none came");
}

#[tokio::test]
async fn an_answer_that_is_compressed_unasked_is_decoded() {
    let bed = Bed::new().await;
    let mut answer = bowsprit_providers::Answer::new("one two three");
    answer.gzip = true;
    bed.openai.always(answer.clone());
    bed.claude.always(answer);
    for stream in [false, true] {
        for (model, provider) in [("gpt-4.1-mini", "openai"), ("claude-sonnet-4-5", "claude")] {
            let reply = bed.chat_with(model, stream).await;
            assert_eq!((reply.status, reply.provider()), (200, provider), "{}", reply.text);
            assert_eq!(reply.header("content-encoding"), "");
            assert_eq!(reply.content(), "one two three");
            let told = bed.attempts().pop().unwrap();
            assert!(told["output_tokens"].as_u64() > Some(0), "what it cost is read: {told}");
        }
    }
    bed.balanced().await;
}

#[tokio::test]
async fn a_coding_that_cannot_be_undone_passes_on_its_own_dialect_and_is_never_translated() {
    let bed = Bed::new().await;
    let answer = || bowsprit_providers::Answer::new("one").header("content-encoding", "br");
    bed.openai.always(answer());
    bed.claude.always(answer());
    let reply = bed.chat_with("gpt-4.1-mini", false).await;
    assert_eq!((reply.provider(), reply.header("content-encoding")), ("openai", "br"));
    assert_eq!(bed.chat().await.provider(), "gemini");
    bed.balanced().await;
}
