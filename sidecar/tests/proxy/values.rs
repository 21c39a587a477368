//! Values that other readers of JSON refuse: they are no failure of a provider, whoever asks it.

use bowsprit_providers::{Behaviour, Provider, Raw};
use serde_json::Value;

use crate::support::{Bed, Reply, chat, contents, count, message};

/// Half a surrogate pair, and numbers beyond all 64 bits.
const TEXT: &str = r#""a\ud83d""#;
const INPUT: &str = r#"{"h":"\ude00","n":1e400,"i":123456789012345678901234567890,"z":-0}"#;

fn http(kind: &str, body: &str) -> Behaviour {
    let length = body.len();
    Raw::new(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))
    .into()
}

fn whole(api: &str) -> Behaviour {
    let body = match api {
        "openai" => format!(
            r#"{{"id":"c","object":"chat.completion","model":"m","x":{INPUT},"choices":[{{"index":0,"finish_reason":"stop",
                "message":{{"role":"assistant","content":{TEXT}}}}}],"usage":{{"prompt_tokens":3,"completion_tokens":5}}}}"#
        ),
        "claude" => format!(
            r#"{{"id":"m","type":"message","role":"assistant","model":"m","x":{INPUT},"content":[{{"type":"text","text":{TEXT}}},
                {{"type":"tool_use","id":"i","name":"f","input":{INPUT}}}],"stop_reason":"tool_use",
                "usage":{{"input_tokens":3,"output_tokens":5}}}}"#
        ),
        _ => format!(
            r#"{{"responseId":"r","x":{INPUT},"candidates":[{{"content":{{"role":"model","parts":[{{"text":{TEXT}}},
                {{"functionCall":{{"name":"f","args":{INPUT}}}}}]}},"finishReason":"STOP"}}],
                "usageMetadata":{{"promptTokenCount":3,"candidatesTokenCount":5}}}}"#
        ),
    };
    http("application/json", &body)
}

fn streamed(api: &str) -> Behaviour {
    let events = match api {
        "openai" => vec![
            format!(r#"{{"id":"c","x":{INPUT},"choices":[{{"index":0,"delta":{{"content":{TEXT}}},"finish_reason":null}}]}}"#),
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":"\ude00"},"finish_reason":"stop"}]}"#.to_owned(),
            r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#.to_owned(),
            "[DONE]".to_owned(),
        ],
        "claude" => vec![
            r#"{"type":"message_start","message":{"id":"m","role":"assistant","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}"#.to_owned(),
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#.to_owned(),
            format!(r#"{{"type":"content_block_delta","index":0,"x":{INPUT},"delta":{{"type":"text_delta","text":{TEXT}}}}}"#),
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ude00"}}"#.to_owned(),
            r#"{"type":"content_block_stop","index":0}"#.to_owned(),
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}"#.to_owned(),
            r#"{"type":"message_stop"}"#.to_owned(),
        ],
        _ => vec![
            format!(r#"{{"responseId":"r","x":{INPUT},"candidates":[{{"content":{{"role":"model","parts":[{{"text":{TEXT}}}]}}}}]}}"#),
            r#"{"responseId":"r","candidates":[{"content":{"role":"model","parts":[{"text":"\ude00"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":5}}"#.to_owned(),
        ],
    };
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    http("text/event-stream", &body)
}

async fn ask(bed: &Bed, path: &str, body: &Value) -> Reply {
    let request = bed.post(path, body).header("anthropic-version", "2023-06-01");
    Reply::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn half_a_pair_or_a_huge_number_is_no_failure_of_a_provider() {
    for (api, model) in [
        ("openai", "gpt-4.1-mini"),
        ("claude", "claude-sonnet-4-5"),
        ("gemini", "gemini-2.5-flash"),
    ] {
        for stream in [false, true] {
            let bed = Bed::new().await;
            let provider: &Provider = match api {
                "openai" => &bed.openai,
                "claude" => &bed.claude,
                _ => &bed.gemini,
            };
            provider.always(if stream { streamed(api) } else { whole(api) });
            let method = if stream {
                "streamGenerateContent?alt=sse"
            } else {
                "generateContent"
            };
            let gemini = format!("/v1beta/models/{model}:{method}");
            let mut asked = 0;
            // More of each than a breaker needs to open.
            for _ in 0..4 {
                for (path, body) in [
                    ("/v1/chat/completions", chat(model, stream)),
                    ("/v1/messages", message(model, stream)),
                    (gemini.as_str(), contents()),
                ] {
                    let reply = ask(&bed, path, &body).await;
                    asked += 1;
                    assert_eq!(
                        (reply.status, reply.provider()),
                        (200, api),
                        "{path} {stream}: {}",
                        reply.text
                    );
                    assert!(reply.complete, "{path} {stream}: {}", reply.text);
                    assert!(!reply.text.contains("\"error\""), "{path} {stream}: {}", reply.text);
                }
            }
            bed.balanced().await;
            assert_eq!(count(provider), asked, "each was asked for once");
            let tokens = bed.family("bowsprit_tokens_total").await;
            #[allow(clippy::cast_precision_loss)] // a dozen
            let used = asked as f64 * 8.0;
            assert!((tokens - used).abs() < 0.5, "{api} {stream}: {tokens} of {used}");
            let state = format!("bowsprit_breaker_state{{provider=\"{api}\",model=\"{model}\"}}");
            assert!(bed.metric(&state).await.abs() < 0.5, "{api} {stream}");
        }
    }
}
