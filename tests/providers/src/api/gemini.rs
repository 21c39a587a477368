//! Gemini: `generateContent`, `streamGenerateContent`, `countTokens`, embeddings, models.

use serde_json::{Value, json};

use super::{Api, Content, Operation, Rendered, Route, tokens};
use crate::call::{Call, KeyCheck, Refusal, StreamForm, text_of};
use crate::ids::{Ids, embedding};
use crate::script::Answer;
use crate::sse::{Frame, Kind};
use crate::wire::{Head, ResponseHead};

/// The models the list names.
const MODELS: [&str; 4] = [
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-embedding-001",
];

/// Gemini has no word of its own for tool calls.
const FINISH: [&str; 4] = ["STOP", "MAX_TOKENS", "STOP", "SAFETY"];

pub(crate) fn route(head: &Head) -> Route {
    let unknown = Route::new(Api::Gemini, Operation::Unknown);
    let path = head.path().trim_end_matches('/');
    let get = head.method == "GET";
    if get && path.ends_with("/models") {
        return Route::new(Api::Gemini, Operation::Models);
    }
    let Some((_, tail)) = path.rsplit_once("/models/") else {
        return unknown;
    };
    let Some((model, method)) = tail.split_once(':') else {
        return if get {
            Route::new(Api::Gemini, Operation::Model).with_model(tail)
        } else {
            unknown.with_model(tail)
        };
    };
    let operation = match method {
        "generateContent" | "streamGenerateContent" => Operation::Chat,
        "countTokens" => Operation::CountTokens,
        "embedContent" => Operation::Embed,
        "batchEmbedContents" => Operation::BatchEmbed,
        _ => Operation::Unknown,
    };
    let stream = match (method, head.query("alt")) {
        ("streamGenerateContent", Some("sse")) => StreamForm::Sse,
        ("streamGenerateContent", _) => StreamForm::JsonArray,
        _ => StreamForm::None,
    };
    let operation = if head.method == "POST" {
        operation
    } else {
        Operation::Unknown
    };
    Route {
        stream,
        ..Route::new(Api::Gemini, operation).with_model(model)
    }
}

pub(crate) fn headers(head: &mut ResponseHead) {
    head.set("Vary", "Origin, X-Origin, Referer");
    head.set("Server", "scaffolding on HTTPServer2");
    head.set("X-XSS-Protection", "0");
    head.set("X-Frame-Options", "SAMEORIGIN");
    head.set("X-Content-Type-Options", "nosniff");
    head.set("Server-Timing", "gfet4t7; dur=12");
}

pub(crate) fn refusal(call: &Call, head: &Head, key: &KeyCheck<'_>) -> Option<Refusal> {
    let invalid = |message: &str| Some(Refusal::new(400, "", message));
    match key {
        KeyCheck::Missing => {
            return Some(Refusal::new(
                403,
                "",
                "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or \
                 other form of API consumer identity to call this API.",
            ));
        }
        KeyCheck::Unknown(_) => return invalid("API key not valid. Please pass a valid API key."),
        KeyCheck::Fine => {}
    }
    let needs = match call.route.operation {
        Operation::Unknown => {
            let message = format!("The requested URL {} was not found on this server.", head.path());
            return Some(Refusal::new(404, "", message));
        }
        Operation::Model if !MODELS.contains(&call.model.as_str()) => {
            return Some(Refusal::new(
                404,
                "",
                format!("Model is not found: models/{} for api version v1beta", call.model),
            ));
        }
        Operation::Models | Operation::Model => return None,
        Operation::Chat => "contents",
        Operation::Embed => "content",
        Operation::BatchEmbed => "requests",
        _ => return if call.body.is_object() { None } else { Some(not_json()) },
    };
    if !call.body.is_object() {
        return Some(not_json());
    }
    let Some(given) = call.body.get(needs) else {
        let message = match needs {
            "contents" => "* GenerateContentRequest.contents: contents is not specified\n".to_owned(),
            other => format!("* {other}: is required\n"),
        };
        return invalid(&message);
    };
    let roles = given
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.get("role"));
    let wrong = roles
        .into_iter()
        .any(|role| needs == "contents" && role != "user" && role != "model" && role != "function");
    if wrong {
        invalid("Please use a valid role: user, model.")
    } else {
        None
    }
}

fn not_json() -> Refusal {
    Refusal::new(400, "", "Invalid JSON payload received. Expected a value.\n\n^")
}

pub(crate) fn render(call: &Call, answer: &Answer, ids: &mut Ids) -> Rendered {
    match call.route.operation {
        Operation::Models => Rendered::Plain(json!({"models": MODELS.map(model)})),
        Operation::Model => Rendered::Plain(model(&call.model)),
        Operation::CountTokens => {
            let count = answer.usage.input.unwrap_or(call.input_tokens);
            Rendered::Plain(
                json!({"totalTokens": count, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": count}]}),
            )
        }
        Operation::Embed => Rendered::Plain(json!({"embedding": values(&call.body)})),
        Operation::BatchEmbed => {
            let requests = call
                .body
                .get("requests")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            Rendered::Plain(json!({"embeddings": requests.iter().map(values).collect::<Vec<_>>()}))
        }
        _ if call.stream == StreamForm::None => Rendered::Plain(generated(call, answer, ids)),
        _ => Rendered::Stream(stream(call, answer, ids)),
    }
}

fn model(name: &str) -> Value {
    let methods: &[&str] = if name.contains("embedding") {
        &["embedContent", "countTokens"]
    } else {
        &[
            "generateContent",
            "countTokens",
            "createCachedContent",
            "batchGenerateContent",
        ]
    };
    json!({
        "name": format!("models/{name}"),
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": methods,
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
    })
}

fn values(request: &Value) -> Value {
    let text = request.get("content").map(text_of).unwrap_or_default();
    let size = request
        .get("outputDimensionality")
        .and_then(Value::as_u64)
        .and_then(|size| usize::try_from(size).ok());
    json!({"values": embedding(&text, size.unwrap_or(3072).clamp(1, 4096))})
}

/// Gemini counts thoughts beside the candidates, and so does its total.
fn usage(content: &Content, answer: &Answer, output: Option<u64>) -> Value {
    let thoughts = answer.usage.reasoning;
    let mut usage = serde_json::Map::new();
    let mut set = |name: &str, value: Value| usage.insert(name.to_owned(), value);
    set("promptTokenCount", json!(content.input));
    if answer.usage.cached > 0 {
        set("cachedContentTokenCount", json!(answer.usage.cached));
    }
    if let Some(output) = output {
        set("candidatesTokenCount", json!(output.saturating_sub(thoughts)));
    }
    set(
        "totalTokenCount",
        json!(content.input + output.unwrap_or_default().max(thoughts)),
    );
    set(
        "promptTokensDetails",
        json!([{"modality": "TEXT", "tokenCount": content.input}]),
    );
    if thoughts > 0 {
        set("thoughtsTokenCount", json!(thoughts));
    }
    Value::Object(usage)
}

/// One response object: a whole answer, or one piece of a stream.
fn response(call: &Call, parts: &[Value], finish: Option<&str>, usage: &Value, id: &str) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}});
    if let (Some(finish), Some(candidate)) = (finish, candidate.as_object_mut()) {
        candidate.insert("finishReason".to_owned(), json!(finish));
    }
    if let Some(candidate) = candidate.as_object_mut() {
        candidate.insert("index".to_owned(), json!(0));
    }
    json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": call.model, "responseId": id})
}

fn thought(text: &str) -> Value {
    json!({"text": text, "thought": true})
}

fn call_parts(content: &Content) -> impl Iterator<Item = Value> {
    content
        .calls
        .iter()
        .map(|tool| json!({"functionCall": {"name": tool.name, "args": tool.arguments}}))
}

fn generated(call: &Call, answer: &Answer, ids: &mut Ids) -> Value {
    let content = Content::of(call, answer);
    let mut parts: Vec<Value> = answer.thinking.as_deref().map(thought).into_iter().collect();
    if !content.text.is_empty() {
        parts.push(json!({"text": content.text}));
    }
    parts.extend(call_parts(&content));
    let finish = content.finish(answer, FINISH);
    response(
        call,
        &parts,
        Some(finish),
        &usage(&content, answer, Some(content.output)),
        &ids.alphanumeric("", 22),
    )
}

fn stream(call: &Call, answer: &Answer, ids: &mut Ids) -> Vec<Frame> {
    let content = Content::of(call, answer);
    let id = ids.alphanumeric("", 22);
    let mut parts: Vec<Value> = Vec::new();
    if let Some(thinking) = &answer.thinking {
        parts.extend(crate::sse::pieces(thinking, None).iter().map(|piece| thought(piece)));
    }
    parts.extend(content.pieces.iter().map(|piece| json!({"text": piece})));
    parts.extend(call_parts(&content));
    let mut written = 0;
    let mut frames: Vec<Frame> = parts
        .into_iter()
        .map(|part| {
            written += text_of(&part).len();
            let so_far = (tokens(written) + answer.usage.reasoning).min(content.output);
            let usage = usage(&content, answer, Some(so_far));
            Frame::data(Kind::Content, &response(call, &[part], None, &usage, &id))
        })
        .collect();
    let usage = usage(&content, answer, Some(content.output));
    let last = response(
        call,
        &[json!({"text": ""})],
        Some(content.finish(answer, FINISH)),
        &usage,
        &id,
    );
    frames.push(Frame::data(Kind::End, &last));
    frames
}
