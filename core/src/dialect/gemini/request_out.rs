//! `generateContent` requests, written.

use crate::json::{self, Map, Number, Value, json};

use super::super::dropped::{Dropped, Parts};
use super::super::message::{
    Format, Media, MediaSource, Part, Request, Role, Thinking, ToolCall, ToolChoice, ToolResult, Turn, at_most,
    keep_only, mime_of_url, text_of,
};
use super::super::signature::gemini_signature;
use super::super::thinking::for_gemini;
use super::super::{RequestError, Target, hosted};

/// Stop sequences that this API takes.
const MAX_STOP: usize = 5;

/// Writes a `generateContent` request.
pub(in super::super) fn encode(
    mut request: Request,
    target: &Target<'_>,
    dropped: &mut Dropped,
) -> Result<Value, RequestError> {
    let mut body = Map::new();
    request.system.retain(|text| !text.is_empty());
    if !request.system.is_empty() {
        let parts: Vec<Value> = request.system.iter().map(|text| json!({ "text": text })).collect();
        body.insert("systemInstruction".into(), json!({ "parts": parts }));
    }
    for (_, point) in &request.cached_system {
        dropped.note(&point.path);
    }
    let mut contents = Vec::new();
    for turn in &request.turns {
        contents.extend(content(turn, super::signed(target.model), dropped)?);
    }
    body.insert("contents".into(), contents.into());
    tool_fields(&mut body, &mut request, dropped);
    dropped.note_if(request.user.is_some(), request.fields.user);
    let config = config(request, target.model, dropped)?;
    if !config.is_empty() {
        body.insert("generationConfig".into(), Value::Object(config));
    }
    if !target.safety.is_empty() {
        let settings: Vec<Value> = target
            .safety
            .iter()
            .map(|(category, threshold)| json!({ "category": category, "threshold": threshold }))
            .collect();
        body.insert("safetySettings".into(), settings.into());
    }
    Ok(Value::Object(body))
}

fn content(turn: &Turn, signed: bool, dropped: &mut Dropped) -> Result<Option<Value>, RequestError> {
    let mut parts = Parts::new();
    let mut first_call = true;
    for part in &turn.parts {
        match part {
            Part::Text(text) if text.is_empty() => {}
            Part::Text(text) => parts.take(Ok(json!({ "text": text })), dropped)?,
            Part::Media(media) => parts.take(media_part(media), dropped)?,
            Part::Thought(thought) => match gemini_signature(thought.signature.as_deref()) {
                // An empty text is where the API itself puts a signature that stands alone.
                Some(signature) => parts.take(Ok(json!({ "text": "", "thoughtSignature": signature })), dropped)?,
                None => dropped.note_if(!thought.text.is_empty(), &thought.path),
            },
            Part::CachePoint(point) => dropped.note(&point.path),
            Part::Call(call) => {
                let marker = (signed && first_call).then_some(super::NO_SIGNATURE);
                first_call = false;
                parts.take(Ok(call_part(call, call.signature.as_deref().or(marker))), dropped)?;
            }
            Part::Result(result) => {
                parts.take(Ok(response_part(result)), dropped)?;
                // The result itself is an object: pictures stand beside it.
                for media in &result.parts {
                    if let Part::Media(media) = media {
                        dropped.note(&result.path);
                        parts.take(media_part(media), dropped)?;
                    }
                }
            }
        }
    }
    let parts = parts.finish()?;
    let role = if turn.role == Role::User { "user" } else { "model" };
    Ok((!parts.is_empty()).then(|| json!({ "role": role, "parts": parts })))
}

fn media_part(media: &Media) -> Result<Value, RequestError> {
    match &media.source {
        MediaSource::Inline(data) => {
            let mime = media.mime.as_deref().unwrap_or("image/jpeg");
            Ok(json!({ "inlineData": { "mimeType": mime, "data": data } }))
        }
        MediaSource::Url(url) if url.starts_with("http://") || url.starts_with("https://") => {
            let mime = media
                .mime
                .as_deref()
                .or_else(|| mime_of_url(url))
                .unwrap_or("image/jpeg");
            Ok(json!({ "fileData": { "mimeType": mime, "fileUri": url } }))
        }
        MediaSource::Url(_) => Err(RequestError::unsupported(
            &media.path,
            "only http(s) URLs are supported by the chosen provider",
        )),
    }
}

/// A tool call as it stands in contents, in requests and answers alike.
pub(super) fn call_part(call: &ToolCall, signature: Option<&str>) -> Value {
    let mut part = json!({ "functionCall": { "id": call.id, "name": call.name.name, "args": call.input } });
    if let (Some(signature), Some(object)) = (signature, part.as_object_mut()) {
        object.insert("thoughtSignature".to_owned(), signature.into());
    }
    part
}

/// A result that is an object goes as one, unless the API would read something into it: `$ref` names a file that came
/// along, and `output` and `error` beside other keys are all that would be read.
fn response_part(result: &ToolResult) -> Value {
    let text = text_of(&result.parts);
    let parsed = json::parse(text.as_bytes())
        .ok()
        .filter(|value| !holds_reference(value));
    let response = match parsed {
        _ if result.is_error => json!({ "error": text }),
        Some(Value::Object(object)) if !object.contains_key("output") && !object.contains_key("error") => {
            Value::Object(object)
        }
        Some(value) if !value.is_string() => json!({ "output": value }),
        _ => json!({ "output": text }),
    };
    json!({ "functionResponse": { "id": result.id, "name": result.name.name, "response": response } })
}

fn holds_reference(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.contains_key("$ref") || object.values().any(holds_reference),
        Value::Array(items) => items.iter().any(holds_reference),
        _ => false,
    }
}

fn tool_fields(body: &mut Map, request: &mut Request, dropped: &mut Dropped) {
    let calling = match request.tool_choice.take() {
        None => None,
        Some(ToolChoice::Auto) => Some(json!({ "mode": "AUTO" })),
        Some(ToolChoice::None) => Some(json!({ "mode": "NONE" })),
        Some(ToolChoice::Required) => Some(json!({ "mode": "ANY" })),
        Some(ToolChoice::Only { names, required: true }) => {
            let names: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
            Some(json!({ "mode": "ANY", "allowedFunctionNames": names }))
        }
        Some(ToolChoice::Only { names, required: false }) => {
            keep_only(&mut request.tools, &names);
            Some(json!({ "mode": "AUTO" }))
        }
    };
    if let Some(search) = &request.search {
        // Never beside functions: [`hosted::settle`] sees to that.
        body.insert("tools".into(), json!([hosted::for_gemini(search, dropped)]));
    }
    if request.tools.is_empty() {
        return;
    }
    dropped.note_if(request.parallel_tools == Some(false), request.fields.parallel_tools);
    let declarations: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            let mut value = Map::new();
            value.insert("name".into(), tool.name.name.as_str().into());
            if let Some(description) = &tool.description {
                value.insert("description".into(), description.as_str().into());
            }
            if let Some(schema) = &tool.schema {
                value.insert("parametersJsonSchema".into(), schema.clone());
            }
            Value::Object(value)
        })
        .collect();
    body.insert("tools".into(), json!([{ "functionDeclarations": declarations }]));
    if let Some(calling) = calling {
        body.insert("toolConfig".into(), json!({ "functionCallingConfig": calling }));
    }
}

fn config(mut request: Request, model: &str, dropped: &mut Dropped) -> Result<Map, RequestError> {
    let mut config = Map::new();
    if let Some(limit) = request.max_tokens {
        config.insert("maxOutputTokens".into(), limit.into());
    }
    let numbers = [
        ("temperature", request.temperature),
        ("topP", request.top_p),
        ("topK", request.top_k),
        ("frequencyPenalty", request.frequency_penalty),
        ("presencePenalty", request.presence_penalty),
        ("seed", seed(request.seed.take(), request.fields.seed, dropped)),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            config.insert(name.into(), Value::Number(number));
        }
    }
    let stop = at_most(MAX_STOP, request.stop, request.fields.stop, dropped)?;
    if !stop.is_empty() {
        config.insert("stopSequences".into(), stop.into());
    }
    if let Some(others) = request.logprobs {
        config.insert("responseLogprobs".into(), true.into());
        if others > 0 {
            config.insert("logprobs".into(), others.into());
        }
    }
    if request.choices > 1 {
        config.insert("candidateCount".into(), request.choices.into());
    }
    if let Some(format) = request.format {
        config.insert("responseMimeType".into(), "application/json".into());
        if let Format::JsonSchema { schema, .. } = format {
            config.insert("responseJsonSchema".into(), schema);
        }
    }
    if let Some(thinking) = request.thinking {
        match for_gemini(&thinking, model, request.show_thoughts) {
            Some((value, exact)) => {
                dropped.note_if(!exact, request.fields.thinking);
                if value.as_object().is_some_and(|value| !value.is_empty()) {
                    config.insert("thinkingConfig".into(), value);
                }
            }
            None => dropped.note(request.fields.thinking),
        }
    } else if request.show_thoughts && for_gemini(&Thinking::Adaptive, model, true).is_some() {
        // As much as it thinks by itself, but visibly.
        config.insert("thinkingConfig".into(), json!({ "includeThoughts": true }));
    }
    Ok(config)
}

/// Within this API's 32 bits: a longer seed is cut, which still gives the same answer to the same seed.
fn seed(seed: Option<Number>, spelled: &str, dropped: &mut Dropped) -> Option<Number> {
    let seed = seed?;
    let Some(whole) = seed.as_i64().filter(|whole| i32::try_from(*whole).is_err()) else {
        return Some(seed);
    };
    dropped.note(spelled);
    Some(Number::from(whole & i64::from(i32::MAX)))
}
