//! Gemini: `generateContent`, `streamGenerateContent`, `countTokens`, embeddings, models.

use serde_json::{Value, json};

use super::{Api, Content, Operation, Rendered, Route, logprobs, tokens};
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
        return invalid("Please use a valid role: user, model.");
    }
    let no_parts = |item: &Value| item.get("parts").and_then(Value::as_array).is_none_or(Vec::is_empty);
    let mut contents = given.as_array().into_iter().flatten();
    let place = contents.position(no_parts).filter(|_| needs == "contents")?;
    invalid(&format!(
        "* GenerateContentRequest.contents[{place}].parts: contents.parts must not be empty.\n"
    ))
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

/// A value of `generationConfig`.
fn config<'a>(call: &'a Call, name: &str) -> Option<&'a Value> {
    call.body.get("generationConfig")?.get(name)
}

/// How many candidates are asked for.
fn count(call: &Call) -> u64 {
    let asked = config(call, "candidateCount").and_then(Value::as_u64);
    asked.unwrap_or(1).clamp(1, 8)
}

/// The `logprobsResult` of pieces that begin at the place `from`, if it is asked for.
fn logprobs_of(call: &Call, pieces: &[String], from: usize) -> Option<Value> {
    config(call, "responseLogprobs").filter(|asked| **asked == Value::Bool(true))?;
    let top = config(call, "logprobs").and_then(Value::as_u64).unwrap_or(0);
    Some(logprobs::gemini(pieces, from, top))
}

/// One response object: a whole answer, or one piece of a stream.
struct Response<'a> {
    parts: Vec<Value>,
    finish: Option<&'a str>,
    logprobs: Option<Value>,
}

impl Response<'_> {
    fn write(&self, call: &Call, usage: &Value, id: &str) -> Value {
        let candidate = |index: u64| {
            let mut candidate = json!({"content": {"parts": self.parts, "role": "model"}});
            if let Some(fields) = candidate.as_object_mut() {
                fields.extend(self.finish.map(|finish| ("finishReason".to_owned(), json!(finish))));
                fields.extend(
                    self.logprobs
                        .clone()
                        .map(|result| ("logprobsResult".to_owned(), result)),
                );
                fields.insert("index".to_owned(), json!(index));
            }
            candidate
        };
        let candidates: Vec<Value> = (0..count(call)).map(candidate).collect();
        json!({"candidates": candidates, "usageMetadata": usage, "modelVersion": call.model, "responseId": id})
    }
}

fn thought(text: &str) -> Value {
    json!({"text": text, "thought": true})
}

/// Signs a part: of parallel calls Gemini signs the first, else the end of the text.
fn sign(part: Option<&mut Value>, answer: &Answer) {
    if let (Some(fields), Some(signature)) = (part.and_then(Value::as_object_mut), &answer.signature) {
        fields.insert("thoughtSignature".to_owned(), json!(signature));
    }
}

fn call_parts(content: &Content, answer: &Answer) -> Vec<Value> {
    let part = |tool: &super::Tool| json!({"functionCall": {"name": tool.name, "args": tool.arguments}});
    let mut parts: Vec<Value> = content.calls.iter().map(part).collect();
    sign(parts.first_mut(), answer);
    parts
}

fn generated(call: &Call, answer: &Answer, ids: &mut Ids) -> Value {
    let content = Content::of(call, answer);
    let mut parts: Vec<Value> = answer.thinking.as_deref().map(thought).into_iter().collect();
    if !content.text.is_empty() {
        parts.push(json!({"text": content.text}));
    }
    if content.calls.is_empty() {
        sign(parts.last_mut(), answer);
    }
    parts.extend(call_parts(&content, answer));
    let response = Response {
        parts,
        finish: Some(content.finish(answer, FINISH)),
        logprobs: logprobs_of(call, &content.pieces, 0),
    };
    response.write(
        call,
        &usage(&content, answer, Some(content.output)),
        &ids.alphanumeric("", 22),
    )
}

fn stream(call: &Call, answer: &Answer, ids: &mut Ids) -> Vec<Frame> {
    let content = Content::of(call, answer);
    let id = ids.alphanumeric("", 22);
    let mut parts: Vec<(Value, Option<Value>)> = Vec::new();
    if let Some(thinking) = &answer.thinking {
        parts.extend(
            crate::sse::pieces(thinking, None)
                .iter()
                .map(|piece| (thought(piece), None)),
        );
    }
    parts.extend(content.pieces.iter().enumerate().map(|(place, piece)| {
        let logprobs = logprobs_of(call, std::slice::from_ref(piece), place);
        (json!({"text": piece}), logprobs)
    }));
    parts.extend(call_parts(&content, answer).into_iter().map(|part| (part, None)));
    let mut written = 0;
    let mut frames: Vec<Frame> = parts
        .into_iter()
        .map(|(part, logprobs)| {
            written += text_of(&part).len();
            let so_far = (tokens(written) + answer.usage.reasoning).min(content.output);
            let usage = usage(&content, answer, Some(so_far));
            let piece = Response {
                parts: vec![part],
                finish: None,
                logprobs,
            };
            Frame::data(Kind::Content, &piece.write(call, &usage, &id))
        })
        .collect();
    let usage = usage(&content, answer, Some(content.output));
    let mut end = json!({"text": ""});
    if content.calls.is_empty() {
        sign(Some(&mut end), answer);
    }
    let last = Response {
        parts: vec![end],
        finish: Some(content.finish(answer, FINISH)),
        logprobs: None,
    };
    frames.push(Frame::data(Kind::End, &last.write(call, &usage, &id)));
    frames
}
