//! Chat completions.

use serde_json::{Value, json};

use super::{INPUT_TOKENS, OUTPUT_TOKENS, Script, event, piece, response, stream_head, text};

/// Seconds since 1970 that every answer claims; fixed, so that answers can be compared.
pub(super) const CREATED: u64 = 1_760_000_000;
pub(super) const MODEL: &str = "gpt-4o-mini";
const ID: &str = "chatcmpl-bench000000000000000000001";

impl Script {
    /// `OpenAI` chat completions: about 1 KB with usage, or `events` content events and `[DONE]`.
    pub fn openai(events: usize) -> Self {
        let completion = json!({
            "id": ID, "object": "chat.completion", "created": CREATED, "model": MODEL,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": text(), "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": usage(),
            "service_tier": "default",
            "system_fingerprint": "fp_bench",
        });
        Self {
            plain: response("x-request-id", &completion),
            stream_head: stream_head("x-request-id"),
            events: (0..events)
                .map(|index| event(&chunk(&[choice(index, events)], &Value::Null).to_string()))
                .collect(),
            usage: event(&chunk(&[], &usage()).to_string()),
            end: [event("[DONE]"), b"0\r\n\r\n".to_vec()].concat(),
        }
    }
}

fn usage() -> Value {
    json!({
        "prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    })
}

fn choice(index: usize, of: usize) -> Value {
    let text = piece(index, of);
    let finish = if text.is_none() { json!("stop") } else { Value::Null };
    let delta = match text {
        Some(text) if index == 0 => json!({"role": "assistant", "content": text, "refusal": null}),
        Some(text) => json!({"content": text}),
        None => json!({}),
    };
    json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish})
}

fn chunk(choices: &[Value], usage: &Value) -> Value {
    let mut chunk = json!({
        "id": ID, "object": "chat.completion.chunk", "created": CREATED, "model": MODEL,
        "service_tier": "default", "system_fingerprint": "fp_bench", "choices": choices,
    });
    if let (Some(fields), false) = (chunk.as_object_mut(), usage.is_null()) {
        fields.insert("usage".to_owned(), usage.clone());
    }
    chunk
}
