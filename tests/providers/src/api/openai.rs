//! OpenAI: chat completions, embeddings, models. Responses have a file of their own.

use base64::Engine as _;
use serde_json::{Value, json};

use super::{Api, Content, Operation, Rendered, Route, argument_pieces, logprobs, tokens};
use crate::call::{Call, KeyCheck, Refusal, StreamForm};
use crate::ids::{Ids, embedding};
use crate::script::Answer;
use crate::sse::{Frame, Kind};
use crate::wire::{Head, ResponseHead};

/// The models the list names; others are answered all the same, as a scripted provider has none.
const MODELS: [&str; 6] = [
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "text-embedding-3-large",
    "text-embedding-3-small",
];

/// `stop`, `length`, `tool_calls`, `content_filter`.
const FINISH: [&str; 4] = ["stop", "length", "tool_calls", "content_filter"];

pub(crate) fn route(head: &Head) -> Route {
    let path = head.path().trim_end_matches('/');
    let operation = match (head.method.as_str(), path) {
        ("POST", path) if path.ends_with("/chat/completions") => Operation::Chat,
        ("POST", path) if path.ends_with("/responses") => Operation::Responses,
        ("POST", path) if path.ends_with("/responses/input_tokens") => Operation::CountTokens,
        ("POST", path) if path.ends_with("/embeddings") => Operation::Embed,
        ("GET", path) if path.ends_with("/models") => Operation::Models,
        ("GET", path) => {
            let model = path.rsplit_once("/models/").map(|(_, model)| model);
            return model.map_or(Route::new(Api::OpenAi, Operation::Unknown), |model| {
                Route::new(Api::OpenAi, Operation::Model).with_model(model)
            });
        }
        _ => Operation::Unknown,
    };
    Route::new(Api::OpenAi, operation)
}

pub(crate) fn headers(head: &mut ResponseHead, request_id: &str) {
    head.set("openai-organization", "org-scripted");
    head.set("openai-processing-ms", "12");
    head.set("openai-project", "proj_scripted");
    head.set("openai-version", "2020-10-01");
    head.set("x-ratelimit-limit-requests", "10000");
    head.set("x-ratelimit-limit-tokens", "2000000");
    head.set("x-ratelimit-remaining-requests", "9999");
    head.set("x-ratelimit-remaining-tokens", "1999980");
    head.set("x-ratelimit-reset-requests", "6ms");
    head.set("x-ratelimit-reset-tokens", "0s");
    head.set("x-request-id", request_id);
}

pub(crate) fn refusal(call: &Call, head: &Head, key: &KeyCheck<'_>) -> Option<Refusal> {
    let invalid = |message: &str| Some(Refusal::new(400, "", message));
    match key {
        KeyCheck::Missing => {
            return Some(Refusal::new(
                401,
                "",
                "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer \
                 auth (i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key from \
                 https://platform.openai.com/account/api-keys.",
            ));
        }
        KeyCheck::Unknown(key) => {
            let tail: String = key.chars().skip(key.chars().count().saturating_sub(4)).collect();
            let message = format!(
                "Incorrect API key provided: ***{tail}. You can find your API key at \
                 https://platform.openai.com/account/api-keys."
            );
            return Some(Refusal::new(401, "invalid_api_key", message));
        }
        KeyCheck::Fine => {}
    }
    let needs = match call.route.operation {
        Operation::Unknown => {
            return Some(Refusal::new(
                404,
                "",
                format!("Invalid URL ({} {})", head.method, head.path()),
            ));
        }
        Operation::Model if !MODELS.contains(&call.model.as_str()) => {
            let message = format!("The model '{}' does not exist", call.model);
            return Some(Refusal::new(404, "model_not_found", message));
        }
        Operation::Models | Operation::Model => return None,
        Operation::Chat => "messages",
        _ => "input",
    };
    if !call.body.is_object() {
        return invalid(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library \
             correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
        );
    }
    if call.model.is_empty() {
        return invalid("you must provide a model parameter");
    }
    match call.body.get(needs) {
        None => Some(Refusal::new(
            400,
            "missing_required_parameter",
            format!("Missing required parameter: '{needs}'."),
        )),
        Some(input) if call.route.operation == Operation::Responses && input.as_array().is_some_and(Vec::is_empty) => {
            Some(Refusal::new(
                400,
                "missing_required_parameter",
                "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided.",
            ))
        }
        Some(messages) if needs == "messages" && messages.as_array().is_none_or(Vec::is_empty) => Some(Refusal::new(
            400,
            "empty_array",
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        )),
        Some(_) => None,
    }
}

pub(crate) fn render(call: &Call, answer: &Answer, ids: &mut Ids) -> Rendered {
    match call.route.operation {
        Operation::Models => Rendered::Plain(json!({"object": "list", "data": MODELS.map(|name| model(name, ids))})),
        Operation::Model => Rendered::Plain(model(&call.model, ids)),
        Operation::Embed => Rendered::Plain(embeddings(call, answer)),
        Operation::CountTokens => {
            let count = answer.usage.input.unwrap_or(call.input_tokens);
            Rendered::Plain(json!({"object": "response.input_tokens", "input_tokens": count}))
        }
        _ if call.stream == StreamForm::None => Rendered::Plain(completion(call, answer, ids)),
        _ => Rendered::Stream(stream(call, answer, ids)),
    }
}

fn model(name: &str, ids: &Ids) -> Value {
    json!({"id": name, "object": "model", "created": ids.created(), "owned_by": "system"})
}

fn choices(call: &Call) -> u64 {
    call.body.get("n").and_then(Value::as_u64).unwrap_or(1).clamp(1, 128)
}

/// How many alternatives `logprobs` shall have; `None`: none are asked for.
fn top_logprobs(call: &Call) -> Option<u64> {
    let asked = call.body.get("logprobs") == Some(&Value::Bool(true));
    asked.then(|| call.body.get("top_logprobs").and_then(Value::as_u64).unwrap_or(0))
}

/// The `logprobs` of a choice whose pieces of text begin at the place `from`.
fn logprobs_of(top: Option<u64>, pieces: &[String], from: usize) -> Value {
    top.map_or(
        Value::Null,
        |top| json!({"content": logprobs::openai(pieces, from, top), "refusal": null}),
    )
}

fn usage(content: &Content, answer: &Answer, choices: u64) -> Value {
    let output = content.output * choices;
    json!({
        "prompt_tokens": content.input,
        "completion_tokens": output,
        "total_tokens": content.input + output,
        "prompt_tokens_details": {"cached_tokens": answer.usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

fn completion(call: &Call, answer: &Answer, ids: &mut Ids) -> Value {
    let content = Content::of(call, answer);
    let finish = content.finish(answer, FINISH).to_owned();
    let count = choices(call);
    let choice = |index: u64, ids: &mut Ids| {
        let text = if content.text.is_empty() && !content.calls.is_empty() {
            Value::Null
        } else {
            json!(content.text)
        };
        let mut message = json!({"role": "assistant", "content": text, "refusal": null, "annotations": []});
        if !content.calls.is_empty() {
            let calls: Vec<Value> = content
                .calls
                .iter()
                .map(|tool| {
                    json!({
                        "id": ids.alphanumeric("call_", 24),
                        "type": "function",
                        "function": {"name": tool.name, "arguments": tool.arguments.to_string()},
                    })
                })
                .collect();
            if let Some(message) = message.as_object_mut() {
                message.insert("tool_calls".to_owned(), Value::Array(calls));
            }
        }
        let logprobs = logprobs_of(top_logprobs(call), &content.pieces, 0);
        json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish})
    };
    json!({
        "id": ids.alphanumeric("chatcmpl-", 29),
        "object": "chat.completion",
        "created": ids.created(),
        "model": call.model,
        "choices": (0..count).map(|index| choice(index, ids)).collect::<Vec<_>>(),
        "usage": usage(&content, answer, count),
        "service_tier": "default",
        "system_fingerprint": ids.hex("fp_", 10),
    })
}

/// Writes the chunks of one streamed completion: all share id, time, model and fingerprint.
struct Chunks {
    frames: Vec<Frame>,
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    /// Whether the caller asked for usage: then every chunk has the field, null but in the last.
    usage: bool,
}

impl Chunks {
    fn push(&mut self, kind: Kind, index: u64, delta: &Value, finish: Option<&str>) {
        self.push_choice(kind, index, delta, finish, &Value::Null);
    }

    fn push_choice(&mut self, kind: Kind, index: u64, delta: &Value, finish: Option<&str>, logprobs: &Value) {
        let choices = json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]);
        self.push_choices(kind, &choices, &Value::Null);
    }

    fn push_choices(&mut self, kind: Kind, choices: &Value, usage: &Value) {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        });
        if let (true, Some(chunk)) = (self.usage, chunk.as_object_mut()) {
            chunk.insert("usage".to_owned(), usage.clone());
        }
        self.frames.push(Frame::data(kind, &chunk));
    }
}

fn stream(call: &Call, answer: &Answer, ids: &mut Ids) -> Vec<Frame> {
    let content = Content::of(call, answer);
    let count = choices(call);
    let mut chunks = Chunks {
        frames: Vec::new(),
        id: ids.alphanumeric("chatcmpl-", 29),
        created: ids.created(),
        model: call.model.clone(),
        fingerprint: ids.hex("fp_", 10),
        usage: call.body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true)),
    };
    for index in 0..count {
        let text = if content.pieces.is_empty() {
            Value::Null
        } else {
            json!("")
        };
        chunks.push(
            Kind::Start,
            index,
            &json!({"role": "assistant", "content": text, "refusal": null}),
            None,
        );
    }
    let top = top_logprobs(call);
    for (place, piece) in content.pieces.iter().enumerate() {
        let logprobs = logprobs_of(top, std::slice::from_ref(piece), place);
        for index in 0..count {
            chunks.push_choice(Kind::Content, index, &json!({"content": piece}), None, &logprobs);
        }
    }
    for index in 0..count {
        for (place, tool) in content.calls.iter().enumerate() {
            let id = ids.alphanumeric("call_", 24);
            let call = json!({"index": place, "id": id, "type": "function",
                "function": {"name": tool.name, "arguments": ""}});
            chunks.push(Kind::Content, index, &json!({"tool_calls": [call]}), None);
            for piece in argument_pieces(&tool.arguments) {
                let call = json!({"index": place, "function": {"arguments": piece}});
                chunks.push(Kind::Content, index, &json!({"tool_calls": [call]}), None);
            }
        }
        chunks.push(Kind::Finish, index, &json!({}), Some(content.finish(answer, FINISH)));
    }
    if chunks.usage {
        chunks.push_choices(Kind::Finish, &json!([]), &usage(&content, answer, count));
    }
    chunks.frames.push(Frame {
        kind: Kind::End,
        event: None,
        data: "[DONE]".to_owned(),
    });
    chunks.frames
}

fn embeddings(call: &Call, answer: &Answer) -> Value {
    let inputs = match call.body.get("input") {
        Some(Value::Array(inputs)) if inputs.iter().any(|input| !input.is_number()) => inputs.clone(),
        Some(input) => vec![input.clone()],
        None => Vec::new(),
    };
    let dimensions = call
        .body
        .get("dimensions")
        .and_then(Value::as_u64)
        .and_then(|size| usize::try_from(size).ok());
    let usual = if call.model.ends_with("-large") { 3072 } else { 1536 };
    let dimensions = dimensions.unwrap_or(usual).clamp(1, 4096);
    let packed = call
        .body
        .get("encoding_format")
        .is_some_and(|format| format == "base64");
    let texts: Vec<String> = inputs
        .iter()
        .map(|input| input.as_str().map_or_else(|| input.to_string(), str::to_owned))
        .collect();
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = match &answer.version {
                Some(version) => embedding(&format!("{text} {version}"), dimensions),
                None => embedding(text, dimensions),
            };
            let bytes = || vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
            let vector = if packed {
                json!(base64::engine::general_purpose::STANDARD.encode(bytes()))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": vector})
        })
        .collect();
    let input = answer
        .usage
        .input
        .unwrap_or_else(|| texts.iter().map(|text| tokens(text.len())).sum());
    json!({"object": "list", "data": data, "model": answer.version.as_ref().unwrap_or(&call.model),
        "usage": {"prompt_tokens": input, "total_tokens": input}})
}
