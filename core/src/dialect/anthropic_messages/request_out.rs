//! Messages requests, written.

use crate::json::{Map, Number, Value, json};

use super::super::dropped::{Dropped, Parts};
use super::super::ids::safe_id;
use super::super::message::{
    CachePoint, Format, Media, MediaSource, Part, Request, Role, Thought, ToolCall, ToolChoice, ToolResult, Turn,
    as_f64, is, keep_only,
};
use super::super::signature::unwrap;
use super::super::thinking::claude_samples_itself;
use super::super::{RequestError, Target, hosted};
use super::thinking;

/// Writes a messages request.
pub(in super::super) fn encode(
    mut request: Request,
    target: &Target<'_>,
    dropped: &mut Dropped,
) -> Result<Value, RequestError> {
    let spelled = request.fields;
    if request.choices > 1 {
        dropped.leave_out(RequestError::unsupported(
            spelled.choices,
            "the chosen provider gives one answer only: set it to 1",
        ))?;
    }
    let mut body = Map::new();
    body.insert("model".into(), target.model.into());
    body.insert(
        "max_tokens".into(),
        request.max_tokens.unwrap_or(target.default_max_tokens).into(),
    );
    if let Some(Format::JsonObject) = request.format {
        // There is no such mode: it is asked for in words, and said to the caller.
        dropped.note(spelled.format);
        request
            .system
            .push("Answer with one valid JSON object and nothing else.".to_owned());
    }
    if let Some(system) = system(&request) {
        body.insert("system".into(), system);
    }
    let messages = request
        .turns
        .iter()
        .map(|turn| message(turn, dropped))
        .collect::<Result<Vec<_>, _>>()?;
    body.insert(
        "messages".into(),
        messages.into_iter().flatten().collect::<Vec<_>>().into(),
    );
    let thinks = thinking::put(&mut body, &request, target, dropped);
    sampling(&mut body, &request, target.model, thinks, dropped);
    if request.logprobs.is_some() {
        dropped.leave_out(RequestError::unsupported(
            spelled.logprobs,
            "log probabilities are not supported by the chosen provider",
        ))?;
    }
    // This API refuses those that are white space only.
    if request.stop.iter().any(|stop| stop.trim().is_empty()) {
        dropped.leave_out(RequestError::unsupported(
            spelled.stop,
            "a stop sequence of white space only is not supported by the chosen provider",
        ))?;
        request.stop.retain(|stop| !stop.trim().is_empty());
    }
    if !request.stop.is_empty() {
        body.insert("stop_sequences".into(), std::mem::take(&mut request.stop).into());
    }
    if let Some(user) = request.user.take() {
        body.insert("metadata".into(), json!({ "user_id": user }));
    }
    if let Some(Format::JsonSchema { schema, .. }) = request.format.take() {
        let config = body.entry("output_config").or_insert_with(|| json!({}));
        if let Some(config) = config.as_object_mut() {
            config.insert("format".into(), json!({ "type": "json_schema", "schema": schema }));
        }
    }
    tool_fields(&mut body, &mut request, dropped);
    if target.stream {
        body.insert("stream".into(), true.into());
    }
    Ok(Value::Object(body))
}

/// One text, or blocks where some of it is worth caching.
fn system(request: &Request) -> Option<Value> {
    let texts = request.system.iter().enumerate().filter(|(_, text)| !text.is_empty());
    if request.cached_system.is_empty() {
        let texts: Vec<&str> = texts.map(|(_, text)| text.as_str()).collect();
        return (!texts.is_empty()).then(|| texts.join("\n\n").into());
    }
    let blocks: Vec<Value> = texts
        .map(|(place, text)| {
            let mut block = json!({ "type": "text", "text": text });
            let point = request.cached_system.iter().find(|(marked, _)| *marked == place);
            if let Some((_, point)) = point {
                cache(&mut block, point);
            }
            block
        })
        .collect();
    (!blocks.is_empty()).then(|| blocks.into())
}

fn cache(block: &mut Value, point: &CachePoint) {
    if let Some(block) = block.as_object_mut() {
        block.insert("cache_control".into(), point.control.clone());
    }
}

/// The newest models take none of these, and no model takes them as they are while it thinks.
fn sampling(body: &mut Map, request: &Request, model: &str, thinks: bool, dropped: &mut Dropped) {
    let spelled = request.fields;
    let fixed = claude_samples_itself(model);
    // 1 is the default of both and changes nothing; newer models refuse `top_p` beside a temperature.
    let temperature = request
        .temperature
        .as_ref()
        .filter(|number| !((fixed || thinks) && is(number, 1.0)));
    let top_p = request.top_p.as_ref().filter(|number| !is(number, 1.0));
    if fixed || thinks {
        dropped.note_if(temperature.is_some(), spelled.temperature);
        dropped.note_if(request.top_k.is_some(), spelled.top_k);
    } else {
        if let Some(number) = temperature {
            let high = as_f64(number) > 1.0;
            dropped.note_if(high, spelled.temperature);
            let value = if high { 1.into() } else { Value::Number(number.clone()) };
            body.insert("temperature".into(), value);
        }
        if let Some(top_k) = request.top_k.as_ref().and_then(whole) {
            body.insert("top_k".into(), Value::Number(top_k));
        }
    }
    if let Some(number) = top_p {
        // Thinking goes with 0.95 and more.
        if fixed || temperature.is_some() || (thinks && as_f64(number) < 0.95) {
            dropped.note(spelled.top_p);
        } else {
            body.insert("top_p".into(), Value::Number(number.clone()));
        }
    }
    dropped.note_if(request.frequency_penalty.is_some(), spelled.frequency_penalty);
    dropped.note_if(request.presence_penalty.is_some(), spelled.presence_penalty);
    dropped.note_if(request.seed.is_some(), spelled.seed);
}

/// `Gemini` writes `topK` as a float; here it is an integer.
fn whole(number: &Number) -> Option<Number> {
    if number.is_u64() || number.is_i64() {
        return Some(number.clone());
    }
    let float = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9e15)?;
    #[allow(clippy::cast_possible_truncation)] // whole and small, by the line above
    Some(Number::from(float as i64))
}

fn message(turn: &Turn, dropped: &mut Dropped) -> Result<Option<Value>, RequestError> {
    let mut content = Parts::new();
    for part in &turn.parts {
        match part {
            Part::Text(text) if text.is_empty() => {}
            Part::Text(text) => content.take(Ok(json!({ "type": "text", "text": text })), dropped)?,
            Part::Media(media) => content.take(media_block(media), dropped)?,
            Part::Call(call) => content.take(Ok(call_block(call)), dropped)?,
            Part::Result(result) => {
                let block = result_block(result, dropped)?;
                content.take(Ok(block), dropped)?;
            }
            // A thought takes no cache point, and at the start there is nothing to cache.
            Part::CachePoint(point) => match content.last_mut() {
                Some(block) if block.get("type").is_some_and(|kind| kind != "thinking") => cache(block, point),
                _ => dropped.note(&point.path),
            },
            // Only what Anthropic signed comes back as a thought; the rest it would refuse.
            Part::Thought(thought) => match thought_block(thought) {
                Some(block) => content.take(Ok(block), dropped)?,
                None => dropped.note_if(!thought.text.is_empty(), &thought.path),
            },
        }
    }
    let mut content = content.finish()?;
    if content.is_empty() {
        return Ok(None);
    }
    // Results must come first in their message.
    content.sort_by_key(|block| block.get("type").is_none_or(|kind| kind != "tool_result"));
    let role = if turn.role == Role::User { "user" } else { "assistant" };
    Ok(Some(json!({ "role": role, "content": content })))
}

/// A tool call as it stands in messages, in requests and answers alike.
pub(super) fn call_block(call: &ToolCall) -> Value {
    json!({ "type": "tool_use", "id": safe_id(&call.id), "name": call.name.name, "input": call.input })
}

pub(super) fn thought_block(thought: &Thought) -> Option<Value> {
    if thought.redacted {
        return Some(json!({ "type": "redacted_thinking", "data": thought.text }));
    }
    let signature = thought
        .signature
        .as_ref()
        .filter(|signature| unwrap(signature).is_none())?;
    Some(json!({ "type": "thinking", "thinking": thought.text, "signature": signature }))
}

fn result_block(result: &ToolResult, dropped: &mut Dropped) -> Result<Value, RequestError> {
    let mut content = Parts::new();
    for part in &result.parts {
        match part {
            Part::Text(text) if !text.is_empty() => {
                content.take(Ok(json!({ "type": "text", "text": text })), dropped)?;
            }
            Part::Media(media) => content.take(media_block(media), dropped)?,
            _ => {}
        }
    }
    let content = content.finish()?;
    let mut block = Map::new();
    block.insert("type".into(), "tool_result".into());
    block.insert("tool_use_id".into(), safe_id(&result.id).into());
    if !content.is_empty() {
        block.insert("content".into(), content.into());
    }
    if result.is_error {
        block.insert("is_error".into(), true.into());
    }
    Ok(Value::Object(block))
}

fn media_block(media: &Media) -> Result<Value, RequestError> {
    let mime = media.mime.as_deref();
    let kind = match mime {
        Some("application/pdf") => "document",
        None => "image",
        Some(mime) if mime.starts_with("image/") => "image",
        Some(mime) => {
            let problem = format!("{mime} is not supported by the chosen provider");
            return Err(RequestError::unsupported(&media.path, problem));
        }
    };
    let source = match &media.source {
        MediaSource::Inline(data) => json!({ "type": "base64", "media_type": mime.unwrap_or_default(), "data": data }),
        MediaSource::Url(url) if url.starts_with("http://") || url.starts_with("https://") => {
            json!({ "type": "url", "url": url })
        }
        MediaSource::Url(_) => {
            return Err(RequestError::unsupported(
                &media.path,
                "only http(s) URLs are supported by the chosen provider",
            ));
        }
    };
    Ok(json!({ "type": kind, "source": source }))
}

fn tool_fields(body: &mut Map, request: &mut Request, dropped: &mut Dropped) {
    let mut choice = match request.tool_choice.take() {
        None => None,
        Some(ToolChoice::Auto) => Some(json!({ "type": "auto" })),
        Some(ToolChoice::None) => Some(json!({ "type": "none" })),
        Some(ToolChoice::Required) => Some(json!({ "type": "any" })),
        Some(ToolChoice::Only { names, required }) => {
            if let ([name], true) = (names.as_slice(), required) {
                Some(json!({ "type": "tool", "name": name.name }))
            } else {
                keep_only(&mut request.tools, &names);
                Some(json!({ "type": if required { "any" } else { "auto" } }))
            }
        }
    };
    if request.tools.is_empty() && request.search.is_none() {
        return;
    }
    if request.parallel_tools == Some(false) {
        let choice = choice.get_or_insert_with(|| json!({ "type": "auto" }));
        if let Some(object) = choice
            .as_object_mut()
            .filter(|object| object.get("type").is_some_and(|t| t != "none"))
        {
            object.insert("disable_parallel_tool_use".into(), true.into());
        }
    }
    let mut tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            let mut value = Map::new();
            value.insert("name".into(), tool.name.name.as_str().into());
            if let Some(description) = &tool.description {
                value.insert("description".into(), description.as_str().into());
            }
            if let Some(schema) = &tool.schema {
                value.insert("input_schema".into(), schema.clone());
            }
            Value::Object(value)
        })
        .collect();
    tools.extend(
        request
            .search
            .as_ref()
            .map(|search| hosted::for_anthropic(search, dropped)),
    );
    body.insert("tools".into(), tools.into());
    if let Some(choice) = choice {
        body.insert("tool_choice".into(), choice);
    }
}
