//! Messages.

use serde_json::{Value, json};

use super::{INPUT_TOKENS, OUTPUT_TOKENS, Script, http_chunk, piece, response, stream_head, text};

const ID: &str = "msg_bench0000000000000001";
const MODEL: &str = "claude-sonnet-4-5";
const ID_HEADER: &str = "request-id";

impl Script {
    /// `Anthropic` messages: the size and text of [`Script::openai`].
    pub fn anthropic(events: usize) -> Self {
        let content = json!([{"type": "text", "text": text()}]);
        let plain = message(&content, &json!("end_turn"), OUTPUT_TOKENS);
        Self {
            plain: response(ID_HEADER, &plain),
            stream_head: stream_head(ID_HEADER),
            events: (0..events).map(|index| http_chunk(&said(index, events))).collect(),
            usage: Vec::new(),
            end: [
                http_chunk(&named(&json!({"type": "message_stop"}))),
                b"0\r\n\r\n".to_vec(),
            ]
            .concat(),
        }
    }
}

/// The events of one write.
fn said(index: usize, of: usize) -> String {
    let mut said = String::new();
    if index == 0 {
        let begun = json!({"type": "message_start", "message": message(&json!([]), &Value::Null, 1)});
        let block = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
        said += &[named(&begun), named(&block), named(&json!({"type": "ping"}))].concat();
    }
    let Some(text) = piece(index, of) else {
        let stopped = json!({
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": usage(OUTPUT_TOKENS),
        });
        return said + &named(&json!({"type": "content_block_stop", "index": 0})) + &named(&stopped);
    };
    said + &named(&json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}))
}

fn named(data: &Value) -> String {
    let name = data["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}

fn message(content: &Value, stop_reason: &Value, output_tokens: u64) -> Value {
    json!({
        "id": ID, "type": "message", "role": "assistant", "model": MODEL, "content": content,
        "stop_reason": stop_reason, "stop_sequence": null, "usage": usage(output_tokens),
    })
}

fn usage(output_tokens: u64) -> Value {
    json!({
        "input_tokens": INPUT_TOKENS, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "output_tokens": output_tokens, "service_tier": "standard",
    })
}
