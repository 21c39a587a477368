//! Whole messages, read and written.

use crate::json::{Value, json};

use super::super::AnswerContext;
use super::super::ids::call_id;
use super::super::message::{Answer, Choice, Part, Thought, ToolCall};
use super::super::signature::{Origin, wrap};
use super::super::usage;

/// Reads a message; `None` if it is none.
pub(in super::super) fn decode(body: &Value, ctx: &AnswerContext) -> Option<Answer> {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut parts = Vec::new();
    for block in body.get("content")?.as_array()? {
        match block.get("type")?.as_str()? {
            "text" => parts.push(Part::Text(text(block, "text")?)),
            "tool_use" => {
                let id = text(block, "id").filter(|id| !id.is_empty());
                parts.push(Part::Call(ToolCall {
                    id: id.unwrap_or_else(|| call_id(&ctx.id, parts.len())),
                    name: text(block, "name").filter(|name| !name.is_empty())?.into(),
                    input: super::input(block.get("input")),
                    signature: None,
                }));
            }
            "thinking" => parts.push(Part::Thought(Thought {
                text: text(block, "thinking")?,
                signature: text(block, "signature").filter(|signature| !signature.is_empty()),
                redacted: false,
                path: String::new(),
            })),
            "redacted_thinking" => parts.push(Part::Thought(Thought {
                text: text(block, "data")?,
                signature: None,
                redacted: true,
                path: String::new(),
            })),
            // What server-side tools did is not part of the answer, and they are never asked for in translation.
            _ => {}
        }
    }
    let told = text(body, "stop_reason").filter(|reason| !reason.is_empty());
    if told.is_none() && parts.is_empty() {
        return None;
    }
    let finish = super::finish_of(told.as_deref().unwrap_or("end_turn"));
    let stop_sequence = text(body, "stop_sequence");
    Some(Answer {
        id: text(body, "id"),
        choices: vec![Choice {
            parts,
            refusal: None,
            finish,
            stop_sequence,
            logprobs: Vec::new(),
        }],
        usage: usage::from_value::<usage::Anthropic>(body.get("usage")),
    })
}

/// A thought of another provider's model. This dialect's callers send it back only with a signature, so it has one
/// whether its provider signed it or not.
fn thought_block(thought: &Thought) -> Value {
    match thought.signature.clone() {
        Some(signature) if thought.text.is_empty() => json!({ "type": "redacted_thinking", "data": signature }),
        signature => json!({
            "type": "thinking",
            "thinking": thought.text,
            "signature": signature.unwrap_or_else(|| wrap(Origin::Unsigned, "")),
        }),
    }
}

/// Writes a message.
pub(in super::super) fn encode(answer: &Answer, ctx: &AnswerContext) -> Value {
    let (mut content, mut thought) = (Vec::new(), false);
    let choice = answer.choices.first();
    for part in choice.map(|choice| choice.parts.as_slice()).unwrap_or_default() {
        match part {
            Part::Text(text) if !text.is_empty() => content.push(json!({ "type": "text", "text": text })),
            Part::Call(call) => {
                let block = super::before_call(call.signature.as_deref(), ctx.show_thoughts && !thought);
                thought |= block.is_some();
                content.extend(block);
                content.push(super::request_out::call_block(call));
            }
            Part::Thought(part) if ctx.show_thoughts => {
                thought = true;
                content.push(thought_block(part));
            }
            _ => {}
        }
    }
    if let Some(refusal) = choice.and_then(|choice| choice.refusal.as_deref()) {
        content.push(json!({ "type": "text", "text": refusal }));
    }
    json!({
        "id": answer.id.as_deref().unwrap_or(&ctx.id),
        "type": "message",
        "role": "assistant",
        "model": ctx.model,
        "content": content,
        "stop_reason": choice.map(|choice| super::stop_reason(choice.finish)),
        "stop_sequence": choice.and_then(|choice| choice.stop_sequence.as_deref()),
        "usage": answer.usage.unwrap_or_default().to_anthropic(),
    })
}
