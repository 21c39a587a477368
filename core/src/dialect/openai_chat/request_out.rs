//! Chat completion requests, written.

use crate::json::{Map, Value, json};

use super::super::dropped::{Dropped, Parts};
use super::super::message::{
    Format, MediaSource, Part, Request, Role, Tool, ToolCall, ToolChoice, Turn, at_most, is, json_text, keep_only,
    text_of,
};
use super::super::thinking::{self, Level};
use super::super::{RequestError, Target, hosted};

/// Stop sequences that this API takes.
const MAX_STOP: usize = 4;

/// Writes a chat completion request.
pub(in super::super) fn encode(
    mut request: Request,
    target: &Target<'_>,
    dropped: &mut Dropped,
) -> Result<Value, RequestError> {
    if !target.allowed_tools {
        spell_out(&mut request);
    }
    let effort = effort(&request, target.model, dropped);
    let samples_itself = thinking::openai_samples_itself(target.model, effort);
    let mut body = Map::new();
    body.insert("model".into(), target.model.into());
    let mut messages = Vec::new();
    request.system.retain(|text| !text.is_empty());
    if !request.system.is_empty() {
        messages.push(json!({ "role": "system", "content": request.system.join("\n\n") }));
    }
    for turn in &request.turns {
        match turn.role {
            Role::User => user_messages(turn, &mut messages, dropped)?,
            Role::Assistant => messages.extend(assistant_message(turn, dropped)?),
        }
    }
    body.insert("messages".into(), messages.into());
    if let Some(limit) = request.max_tokens {
        body.insert(
            if thinking::counts_completion_tokens(target.model) {
                "max_completion_tokens"
            } else {
                "max_tokens"
            }
            .into(),
            limit.into(),
        );
    }
    let spelled = request.fields;
    // What stands for "as ever": thinking models refuse any other value.
    let numbers = [
        ("temperature", request.temperature, spelled.temperature, 1.0),
        ("top_p", request.top_p, spelled.top_p, 1.0),
        (
            "frequency_penalty",
            request.frequency_penalty,
            spelled.frequency_penalty,
            0.0,
        ),
        (
            "presence_penalty",
            request.presence_penalty,
            spelled.presence_penalty,
            0.0,
        ),
    ];
    for (name, number, spelled, usual) in numbers {
        let Some(number) = number else { continue };
        if samples_itself {
            dropped.note_if(!is(&number, usual), spelled);
        } else {
            body.insert(name.into(), Value::Number(number));
        }
    }
    if let Some(seed) = request.seed {
        body.insert("seed".into(), Value::Number(seed));
    }
    dropped.note_if(request.top_k.is_some(), request.fields.top_k);
    if !request.stop.is_empty() && thinking::stops_itself(target.model) {
        let problem = "the chosen model takes no stop sequences";
        dropped.leave_out(RequestError::unsupported(spelled.stop, problem))?;
        request.stop.clear();
    }
    let stop = at_most(MAX_STOP, request.stop, spelled.stop, dropped)?;
    if !stop.is_empty() {
        body.insert("stop".into(), stop.into());
    }
    match request.logprobs {
        Some(_) if samples_itself => dropped.leave_out(RequestError::unsupported(
            spelled.logprobs,
            "the chosen model gives no log probabilities while it thinks",
        ))?,
        Some(others) => {
            body.insert("logprobs".into(), true.into());
            if others > 0 {
                body.insert("top_logprobs".into(), others.into());
            }
        }
        None => {}
    }
    if request.choices > 1 {
        body.insert("n".into(), request.choices.into());
    }
    if let Some(user) = request.user {
        body.insert("user".into(), user.into());
    }
    if let Some(effort) = effort {
        body.insert("reasoning_effort".into(), effort.as_str().into());
    }
    if let Some(format) = request.format {
        body.insert("response_format".into(), format_value(format));
    }
    if let Some(search) = &request.search {
        body.insert("web_search_options".into(), hosted::for_openai(search, dropped));
    }
    if !request.tools.is_empty() {
        body.insert(
            "tools".into(),
            request.tools.iter().map(tool_value).collect::<Vec<_>>().into(),
        );
        if thinking::o_series(target.model) {
            dropped.note_if(request.parallel_tools == Some(false), spelled.parallel_tools);
        } else if let Some(parallel) = request.parallel_tools {
            body.insert("parallel_tool_calls".into(), parallel.into());
        }
        if let Some(choice) = request.tool_choice {
            body.insert("tool_choice".into(), choice_value(choice));
        }
    }
    if target.stream {
        // Whether usage is asked for is the provider's configuration: see `with_usage_option`.
        body.insert("stream".into(), true.into());
    }
    Ok(Value::Object(body))
}

fn effort(request: &Request, model: &str, dropped: &mut Dropped) -> Option<Level> {
    let thinking = request.thinking.as_ref()?;
    let told = thinking::for_openai(thinking, model);
    dropped.note_if(told.is_none_or(|(_, exact)| !exact), request.fields.thinking);
    told.and_then(|(effort, _)| effort)
}

/// Tool results become messages of their own and come first; the rest of the turn follows as the user's message.
fn user_messages(turn: &Turn, messages: &mut Vec<Value>, dropped: &mut Dropped) -> Result<(), RequestError> {
    let mut rest = Parts::new();
    for part in &turn.parts {
        match part {
            Part::Result(result) => {
                dropped.note_if(result.is_error, &format!("{}.is_error", result.path));
                messages.push(json!({
                    "role": "tool", "tool_call_id": result.id, "content": text_of(&result.parts),
                }));
                // A tool message holds text only: pictures follow in the user's message.
                for media in result.parts.iter().filter(|part| matches!(part, Part::Media(_))) {
                    dropped.note(&result.path);
                    rest.take(content_part(media), dropped)?;
                }
            }
            Part::Thought(thought) => dropped.note_if(!thought.text.is_empty(), &thought.path),
            Part::CachePoint(point) => dropped.note(&point.path),
            Part::Call(_) => {}
            Part::Text(_) | Part::Media(_) => rest.take(content_part(part), dropped)?,
        }
    }
    let rest = rest.finish()?;
    if !rest.is_empty() {
        messages.push(json!({ "role": "user", "content": simplest(rest) }));
    }
    Ok(())
}

/// Servers that know only string content are many: a lone text is said that way.
fn simplest(mut parts: Vec<Value>) -> Value {
    match parts.as_mut_slice() {
        [only] if only.get("type").is_some_and(|kind| kind == "text") => {
            only.get_mut("text").map(Value::take).unwrap_or_default()
        }
        _ => Value::Array(parts),
    }
}

fn content_part(part: &Part) -> Result<Value, RequestError> {
    let media = match part {
        Part::Media(media) => media,
        Part::Text(text) => return Ok(json!({ "type": "text", "text": text })),
        _ => return Ok(Value::Null),
    };
    let mime = media.mime.as_deref().unwrap_or("image/jpeg");
    match &media.source {
        MediaSource::Inline(data) if mime.starts_with("image/") => {
            Ok(json!({ "type": "image_url", "image_url": { "url": format!("data:{mime};base64,{data}") } }))
        }
        MediaSource::Url(url) if mime.starts_with("image/") => {
            Ok(json!({ "type": "image_url", "image_url": { "url": url } }))
        }
        MediaSource::Inline(data) if mime == "application/pdf" => Ok(json!({ "type": "file", "file": {
            "filename": media.name.as_deref().unwrap_or("document.pdf"),
            "file_data": format!("data:{mime};base64,{data}"),
        }})),
        MediaSource::Inline(_) => Err(RequestError::unsupported(
            &media.path,
            format!("{mime} is not supported by the chosen provider"),
        )),
        MediaSource::Url(_) => Err(RequestError::unsupported(
            &media.path,
            format!("{mime} by URL is not supported by the chosen provider: send it inline"),
        )),
    }
}

fn assistant_message(turn: &Turn, dropped: &mut Dropped) -> Result<Option<Value>, RequestError> {
    let (mut text, mut calls) = (String::new(), Vec::new());
    for part in &turn.parts {
        match part {
            Part::Text(piece) => text.push_str(piece),
            Part::CachePoint(point) => dropped.note(&point.path),
            Part::Call(call) => calls.push(call_value(call)),
            Part::Thought(thought) => dropped.note_if(!thought.text.is_empty(), &thought.path),
            Part::Media(media) => {
                dropped.leave_out(RequestError::unsupported(
                    &media.path,
                    "media in an assistant message is not supported by the chosen provider",
                ))?;
            }
            Part::Result(result) => {
                return Err(RequestError::field(
                    &result.path,
                    "a tool result belongs into a user message",
                ));
            }
        }
    }
    if text.is_empty() && calls.is_empty() {
        return Ok(None);
    }
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    message.insert(
        "content".into(),
        if text.is_empty() { Value::Null } else { text.into() },
    );
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    Ok(Some(Value::Object(message)))
}

/// A tool call as it stands in messages, in requests and answers alike.
pub(super) fn call_value(call: &ToolCall) -> Value {
    let name = &call.name.name;
    if call.name.is_custom() {
        let input = call.input.as_str().unwrap_or_default();
        return json!({ "id": call.id, "type": "custom", "custom": { "name": name, "input": input } });
    }
    json!({
        "id": call.id,
        "type": "function",
        "function": { "name": name, "arguments": json_text(&call.input) },
    })
}

fn tool_value(tool: &Tool) -> Value {
    let mut function = Map::new();
    function.insert("name".into(), tool.name.name.as_str().into());
    if let Some(description) = &tool.description {
        function.insert("description".into(), description.as_str().into());
    }
    if let Some(schema) = &tool.schema {
        function.insert("parameters".into(), schema.clone());
    }
    json!({ "type": "function", "function": function })
}

/// A choice among some of the tools in words that every server knows: the tools that may be called, and whether one must
/// be. One that must be called has a spelling of its own, as old as tools are.
fn spell_out(request: &mut Request) {
    let Some(ToolChoice::Only { names, required }) = &request.tool_choice else {
        return;
    };
    if *required && names.len() == 1 {
        return;
    }
    keep_only(&mut request.tools, names);
    request.tool_choice = Some(if *required {
        ToolChoice::Required
    } else {
        ToolChoice::Auto
    });
}

fn choice_value(choice: ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Only { names, required } => {
            if let ([name], true) = (names.as_slice(), required) {
                json!({ "type": "function", "function": { "name": name.name } })
            } else {
                let tools: Vec<Value> = names
                    .iter()
                    .map(|name| json!({ "type": "function", "function": { "name": name.name } }))
                    .collect();
                let mode = if required { "required" } else { "auto" };
                json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": tools } })
            }
        }
    }
}

fn format_value(format: Format) -> Value {
    match format {
        Format::JsonObject => json!({ "type": "json_object" }),
        Format::JsonSchema {
            name, schema, strict, ..
        } => json!({
            "type": "json_schema",
            "json_schema": { "name": name.as_deref().unwrap_or("answer"), "schema": schema, "strict": strict },
        }),
    }
}
