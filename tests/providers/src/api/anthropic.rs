//! Anthropic: messages, token counting, models; batches are in [`super::anthropic_batches`].

use serde_json::{Value, json};

use super::{Api, Content, Operation, Rendered, Route, anthropic_batches, argument_pieces};
use crate::call::{Call, KeyCheck, Refusal, StreamForm};
use crate::ids::Ids;
use crate::script::Answer;
use crate::sse::{Frame, Kind};
use crate::wire::{Head, ResponseHead};

/// The models the list names, newest first, with their display names.
const MODELS: [(&str, &str); 3] = [
    ("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5"),
    ("claude-haiku-4-5-20251001", "Claude Haiku 4.5"),
    ("claude-opus-4-1-20250805", "Claude Opus 4.1"),
];

const FINISH: [&str; 4] = ["end_turn", "max_tokens", "tool_use", "refusal"];

pub(crate) fn route(head: &Head) -> Route {
    let path = head.path().trim_end_matches('/');
    if let Some(route) = anthropic_batches::route(&head.method, path) {
        return route;
    }
    let operation = match (head.method.as_str(), path) {
        ("POST", path) if path.ends_with("/messages/count_tokens") => Operation::CountTokens,
        ("POST", path) if path.ends_with("/messages") => Operation::Chat,
        ("GET", path) if path.ends_with("/models") => Operation::Models,
        ("GET", path) => {
            let model = path.rsplit_once("/models/").map(|(_, model)| model);
            return model.map_or(Route::new(Api::Anthropic, Operation::Unknown), |model| {
                Route::new(Api::Anthropic, Operation::Model).with_model(model)
            });
        }
        _ => Operation::Unknown,
    };
    Route::new(Api::Anthropic, operation)
}

pub(crate) fn headers(head: &mut ResponseHead, request_id: &str) {
    let reset = crate::dates::rfc3339(crate::dates::now() + 60);
    for (what, limit, remaining) in [
        ("requests", "4000", "3999"),
        ("tokens", "2400000", "2399000"),
        ("input-tokens", "2000000", "1999000"),
        ("output-tokens", "400000", "400000"),
    ] {
        head.set(&format!("anthropic-ratelimit-{what}-limit"), limit);
        head.set(&format!("anthropic-ratelimit-{what}-remaining"), remaining);
        head.set(&format!("anthropic-ratelimit-{what}-reset"), reset.as_str());
    }
    head.set("request-id", request_id);
    head.set("anthropic-organization-id", "00000000-0000-4000-8000-000000000000");
}

pub(crate) fn refusal(call: &Call, head: &Head, key: &KeyCheck<'_>) -> Option<Refusal> {
    let invalid = |message: &str| Some(Refusal::new(400, "", message));
    match key {
        KeyCheck::Missing => return Some(Refusal::new(401, "", "x-api-key header is required")),
        KeyCheck::Unknown(_) => return Some(Refusal::new(401, "", "invalid x-api-key")),
        KeyCheck::Fine => {}
    }
    match call.route.operation {
        Operation::Unknown => return Some(Refusal::new(404, "", "Not Found")),
        Operation::Model if !MODELS.iter().any(|(id, _)| *id == call.model) => {
            return Some(Refusal::new(404, "", format!("model: {}", call.model)));
        }
        _ if head.header("anthropic-version").is_none() => return invalid("anthropic-version: header is required"),
        Operation::Models | Operation::Model | Operation::Batch | Operation::BatchResults => return None,
        _ => {}
    }
    if !call.body.is_object() {
        return invalid("The request body is not valid JSON: expected value: line 1 column 1 (char 0)");
    }
    if call.route.operation == Operation::BatchCreate {
        let is_empty = anthropic_batches::requests(call).is_empty();
        return is_empty.then(|| Refusal::new(400, "", "requests: Field required"));
    }
    if call.model.is_empty() {
        return invalid("model: Field required");
    }
    if call.route.operation == Operation::Chat && call.body.get("max_tokens").and_then(Value::as_u64).is_none() {
        return invalid("max_tokens: Field required");
    }
    let Some(messages) = call.body.get("messages").and_then(Value::as_array) else {
        return invalid("messages: Field required");
    };
    if messages.is_empty() {
        return invalid("messages: at least one message is required");
    }
    // System messages between the turns are a beta, which a caller names.
    let betas = head.header("anthropic-beta").unwrap_or_default();
    let between = ["mid-conversation-", "per-turn-control-"]
        .iter()
        .any(|beta| betas.contains(beta));
    let wrong = |message: &Value| {
        message.get("role").is_none_or(|role| {
            let known = role == "user" || role == "assistant" || (between && role == "system");
            !known
        })
    };
    let place = messages.iter().position(wrong)?;
    invalid(&format!(
        "messages.{place}.role: Input should be 'user' or 'assistant'. Use the top-level `system` parameter for system prompts."
    ))
}

pub(crate) fn render(call: &Call, answer: &Answer, ids: &mut Ids) -> Rendered {
    match call.route.operation {
        Operation::Models => {
            let data: Vec<Value> = MODELS.iter().map(|(id, _)| model(id)).collect();
            let [(first, _), .., (last, _)] = MODELS;
            Rendered::Plain(json!({"data": data, "has_more": false, "first_id": first, "last_id": last}))
        }
        Operation::Model => Rendered::Plain(model(&call.model)),
        Operation::CountTokens => {
            Rendered::Plain(json!({"input_tokens": answer.usage.input.unwrap_or(call.input_tokens)}))
        }
        _ if call.stream == StreamForm::None => Rendered::Plain(message(call, answer, ids)),
        _ => Rendered::Stream(stream(call, answer, ids)),
    }
}

fn model(id: &str) -> Value {
    let name = MODELS
        .iter()
        .find(|(known, _)| *known == id)
        .map_or(id, |(_, name)| name);
    json!({"type": "model", "id": id, "display_name": name, "created_at": "2025-09-29T00:00:00Z"})
}

/// Anthropic's input leaves out what came from or went to the cache.
fn usage(content: &Content, answer: &Answer, output: u64) -> Value {
    let tokens = &answer.usage;
    json!({
        "input_tokens": content.input.saturating_sub(tokens.cached + tokens.cache_write),
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": tokens.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
    })
}

/// A thinking block's signature: opaque, and to be sent back as it came.
fn signature(answer: &Answer, ids: &mut Ids) -> String {
    let made_up = || ids.alphanumeric("EqQBCgIYAhIM", 120) + "==";
    answer.signature.clone().unwrap_or_else(made_up)
}

pub(crate) fn message(call: &Call, answer: &Answer, ids: &mut Ids) -> Value {
    let content = Content::of(call, answer);
    let id = ids.base58("msg_01", 22);
    let mut blocks = Vec::new();
    if let Some(thinking) = &answer.thinking {
        blocks.push(json!({"type": "thinking", "thinking": thinking, "signature": signature(answer, ids)}));
    }
    if !content.text.is_empty() {
        blocks.push(json!({"type": "text", "text": content.text}));
    }
    for tool in &content.calls {
        let id = ids.base58("toolu_01", 22);
        blocks.push(json!({"type": "tool_use", "id": id, "name": tool.name, "input": tool.arguments}));
    }
    json!({
        "model": call.model,
        "id": id,
        "type": "message",
        "role": "assistant",
        "content": blocks,
        "stop_reason": content.finish(answer, FINISH),
        "stop_sequence": null,
        "usage": usage(&content, answer, content.output),
    })
}

/// Writes the events of one streamed message: its blocks are numbered in order.
struct Events {
    frames: Vec<Frame>,
    block: u32,
}

impl Events {
    fn push(&mut self, kind: Kind, event: &'static str, data: &Value) {
        self.frames.push(Frame::event(kind, event, data));
    }

    fn start(&mut self, kind: Kind, block: &Value) {
        let data = json!({"type": "content_block_start", "index": self.block, "content_block": block});
        self.push(kind, "content_block_start", &data);
        if self.block == 0 {
            self.push(Kind::Start, "ping", &json!({"type": "ping"}));
        }
    }

    fn delta(&mut self, delta: &Value) {
        let data = json!({"type": "content_block_delta", "index": self.block, "delta": delta});
        self.push(Kind::Content, "content_block_delta", &data);
    }

    fn stop(&mut self) {
        self.push(
            Kind::Finish,
            "content_block_stop",
            &json!({"type": "content_block_stop", "index": self.block}),
        );
        self.block += 1;
    }
}

fn stream(call: &Call, answer: &Answer, ids: &mut Ids) -> Vec<Frame> {
    let content = Content::of(call, answer);
    let mut events = Events {
        frames: Vec::new(),
        block: 0,
    };
    let message = json!({
        "model": call.model,
        "id": ids.base58("msg_01", 22),
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": usage(&content, answer, 1),
    });
    events.push(
        Kind::Start,
        "message_start",
        &json!({"type": "message_start", "message": message}),
    );
    if let Some(thinking) = &answer.thinking {
        events.start(
            Kind::Start,
            &json!({"type": "thinking", "thinking": "", "signature": ""}),
        );
        for piece in crate::sse::pieces(thinking, None) {
            events.delta(&json!({"type": "thinking_delta", "thinking": piece}));
        }
        events.delta(&json!({"type": "signature_delta", "signature": signature(answer, ids)}));
        events.stop();
    }
    if !content.pieces.is_empty() {
        events.start(Kind::Start, &json!({"type": "text", "text": ""}));
        for piece in &content.pieces {
            events.delta(&json!({"type": "text_delta", "text": piece}));
        }
        events.stop();
    }
    for tool in &content.calls {
        let id = ids.base58("toolu_01", 22);
        events.start(
            Kind::Content,
            &json!({"type": "tool_use", "id": id, "name": tool.name, "input": {}}),
        );
        events.delta(&json!({"type": "input_json_delta", "partial_json": ""}));
        for piece in argument_pieces(&tool.arguments) {
            events.delta(&json!({"type": "input_json_delta", "partial_json": piece}));
        }
        events.stop();
    }
    let whole = usage(&content, answer, content.output);
    let pick = |name: &str| whole.get(name).cloned().unwrap_or_default();
    let names = [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
    ];
    let usage: serde_json::Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), pick(name))).collect();
    let delta = json!({"stop_reason": content.finish(answer, FINISH), "stop_sequence": null});
    events.push(
        Kind::Finish,
        "message_delta",
        &json!({"type": "message_delta", "delta": delta, "usage": usage}),
    );
    events.push(Kind::End, "message_stop", &json!({"type": "message_stop"}));
    events.frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_leaves_out_the_cache() {
        let answer = Answer {
            usage: crate::Tokens {
                input: Some(100),
                output: Some(7),
                cached: 60,
                cache_write: 30,
                reasoning: 0,
            },
            ..Answer::new("x")
        };
        let call = Call::read(Route::new(Api::Anthropic, Operation::Chat), b"{}");
        let content = Content::of(&call, &answer);
        let usage = usage(&content, &answer, content.output);
        assert_eq!(
            (usage["input_tokens"].as_u64(), usage["output_tokens"].as_u64()),
            (Some(10), Some(7))
        );
    }
}
