//! What traffic leaves in the metrics: our own families and OpenTelemetry's, which must agree.

use bowsprit_providers::{Answer, Behaviour};
use serde_json::json;

use crate::support::{Bed, Reply};

#[tokio::test]
async fn opentelemetrys_families_count_what_ours_count() {
    let bed = Bed::new().await;
    for (alias, name, operation) in [
        ("claude-alias", "anthropic", "chat"),
        ("gemini-alias", "gcp.gemini", "generate_content"),
        ("openai-alias", "openai", "chat"),
    ] {
        for stream in [false, true] {
            assert_eq!(bed.chat_with(alias, stream).await.status, 200);
        }
        let of = format!("gen_ai_operation_name=\"{operation}\",gen_ai_provider_name=\"{name}\"");
        let text = bed.metrics().await;
        for series in [
            format!("gen_ai_client_operation_duration_seconds_count{{{of},error_type=\"\"}} 2"),
            format!("gen_ai_client_operation_time_to_first_chunk_seconds_count{{{of}}} 1"),
            format!("gen_ai_client_token_usage_count{{{of},gen_ai_token_type=\"input\"}} 2"),
            format!("gen_ai_client_token_usage_count{{{of},gen_ai_token_type=\"output\"}} 2"),
        ] {
            assert!(text.contains(&series), "{series}: {text}");
        }
    }
    assert_eq!(bed.family("bowsprit_attempts_total").await, 6.0);
    let ours = bed.family("bowsprit_tokens_total").await;
    let cached = sum(&bed, "bowsprit_tokens_total", "kind=\"cached\"").await
        + sum(&bed, "bowsprit_tokens_total", "kind=\"cache_write\"").await
        + sum(&bed, "bowsprit_tokens_total", "kind=\"reasoning\"").await;
    let theirs = bed.family("gen_ai_client_token_usage_sum").await;
    assert!(
        (ours - cached - theirs).abs() < 0.5,
        "{ours} - {cached} of ours, {theirs} of theirs"
    );
    let seconds = bed.family("bowsprit_attempt_seconds_total").await;
    let durations = bed.family("gen_ai_client_operation_duration_seconds_sum").await;
    assert!((seconds - durations).abs() < 1e-6, "{seconds} {durations}");
    assert_eq!(bed.family("bowsprit_request_duration_seconds_count").await, 6.0);
    assert_eq!(bed.family("bowsprit_first_token_seconds_count").await, 3.0);
    bed.balanced().await;
}

async fn sum(bed: &Bed, family: &str, label: &str) -> f64 {
    let text = bed.metrics().await;
    text.lines()
        .filter(|line| line.starts_with(family) && line.contains(label))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[tokio::test]
async fn pauses_between_pieces_of_content_are_counted_once_each() {
    let bed = Bed::new().await;
    let mut answer = Answer::new("one two three four five six");
    answer.delay_ms = 5;
    bed.claude.always(answer);
    let reply = bed.chat_with("claude-alias", true).await;
    let pieces = reply.text.matches("\"content\":\"").count() as f64;
    assert!(pieces >= 6.0, "{}", reply.text);
    let pauses = bed
        .family("gen_ai_client_operation_time_per_output_chunk_seconds_count")
        .await;
    assert!(
        pauses >= 4.0 && pauses < pieces,
        "{pauses} pauses between {pieces} pieces"
    );
    let paused = bed
        .family("gen_ai_client_operation_time_per_output_chunk_seconds_sum")
        .await;
    assert!(paused > 0.0);
}

#[tokio::test]
async fn a_failed_attempt_has_its_duration_apart_and_its_code_with_us() {
    let bed = Bed::new().await;
    bed.claude.always(Behaviour::status(500));
    assert_eq!(bed.chat_with("claude-alias", false).await.provider(), "gemini");
    let text = bed.metrics().await;
    for series in [
        "gen_ai_client_operation_duration_seconds_count{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"anthropic\",error_type=\"_OTHER\"} 1",
        "gen_ai_client_operation_duration_seconds_count{gen_ai_operation_name=\"generate_content\",gen_ai_provider_name=\"gcp.gemini\",error_type=\"\"} 1",
        "bowsprit_attempts_total{provider=\"claude\",model=\"claude-sonnet-4-5\",code=\"EXT_SERVER_ERROR\"} 1",
        "bowsprit_requests_total{outcome=\"ok\",code=\"\"} 1",
    ] {
        assert!(text.contains(series), "{series}: {text}");
    }
    assert_eq!(
        bed.family("gen_ai_client_token_usage_count").await,
        2.0,
        "input and output of the one that answered"
    );
}

#[tokio::test]
async fn embeddings_are_attempts_but_no_conversations() {
    let bed = Bed::new().await;
    let body = json!({"model": "gpt-4.1-mini", "input": "hello"});
    let reply = Reply::of(bed.post("/v1/embeddings", &body).send().await.unwrap()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(bed.family("bowsprit_attempts_total").await, 1.0);
    assert_eq!(bed.family("gen_ai_client_operation_duration_seconds_count").await, 0.0);
    assert_eq!(bed.family("gen_ai_client_token_usage_count").await, 0.0);
}

#[tokio::test]
async fn a_wait_under_an_own_limit_is_counted_with_its_time() {
    let bed = Bed::with(|name, spec| {
        if name == "claude" {
            spec["rateLimits"] = json!({"concurrentRequests": 1, "onLimit": "Wait", "maxWait": "10s"});
        }
    })
    .await;
    let mut answer = Answer::new("one");
    answer.head_delay_ms = 100;
    bed.claude.always(answer);
    let (one, two) = tokio::join!(
        bed.chat_with("claude-alias", false),
        bed.chat_with("claude-alias", false)
    );
    assert_eq!((one.provider(), two.provider()), ("claude", "claude"));
    assert_eq!(
        bed.metric("bowsprit_rate_limited_total{provider=\"claude\",limit=\"concurrent_requests\"}")
            .await,
        1.0
    );
    let waited = bed
        .metric("bowsprit_limit_wait_seconds_total{provider=\"claude\"}")
        .await;
    assert!(waited > 0.05, "{waited}");
}

#[tokio::test]
async fn bodies_and_connections_are_counted() {
    let bed = Bed::new().await;
    let first = bed.chat_with("claude-alias", false).await;
    bed.chat_with("claude-alias", false).await;
    assert_eq!(bed.metric("bowsprit_provider_connections_opened_total").await, 1.0);
    assert_eq!(bed.metric("bowsprit_provider_connections_reused_total").await, 1.0);
    assert!(bed.metric("bowsprit_request_body_bytes_total").await > 50.0);
    assert!(bed.metric("bowsprit_answer_body_bytes_total").await >= first.text.len() as f64);
    assert!(bed.metric("process_resident_memory_bytes").await > 1e6);
    assert!(bed.metric("bowsprit_runtime_busy_seconds_total").await >= 0.0);
}
