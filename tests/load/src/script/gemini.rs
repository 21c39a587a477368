//! `generateContent` and `streamGenerateContent`.

use serde_json::{Value, json};

use super::{INPUT_TOKENS, OUTPUT_TOKENS, Script, event, piece, response, stream_head, text};

const ID: &str = "bench00000000000000001";
const MODEL: &str = "gemini-2.5-flash";
const ID_HEADER: &str = "x-request-id";

impl Script {
    /// `Gemini`: the size and text of [`Script::openai`].
    pub fn gemini(events: usize) -> Self {
        Self {
            plain: response(ID_HEADER, &answer(&text(), true)),
            stream_head: stream_head(ID_HEADER),
            events: (0..events)
                .map(|index| {
                    let text = piece(index, events);
                    event(&answer(text.as_deref().unwrap_or_default(), text.is_none()).to_string())
                })
                .collect(),
            usage: Vec::new(),
            // No end mark: the last event has a finish reason.
            end: b"0\r\n\r\n".to_vec(),
        }
    }
}

/// An answer or a piece of one; each says how many tokens there are so far.
fn answer(text: &str, last: bool) -> Value {
    let content = json!({"parts": [{"text": text}], "role": "model"});
    let (candidate, usage) = if last {
        let all = INPUT_TOKENS + OUTPUT_TOKENS;
        (
            json!({"content": content, "finishReason": "STOP", "index": 0}),
            json!({"promptTokenCount": INPUT_TOKENS, "candidatesTokenCount": OUTPUT_TOKENS, "totalTokenCount": all}),
        )
    } else {
        (
            json!({"content": content, "index": 0}),
            json!({"promptTokenCount": INPUT_TOKENS, "totalTokenCount": INPUT_TOKENS}),
        )
    };
    json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": MODEL, "responseId": ID})
}
