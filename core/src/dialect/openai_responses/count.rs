//! A request as `OpenAI`'s `/responses/input_tokens` counts it.

use crate::json::{Map, Value, json};

use super::super::dropped::{Dropped, Parts};
use super::super::language::Counting;
use super::super::message::{Media, MediaSource, Part, Request, Role, Tool, ToolChoice, Turn, json_text, text_of};
use super::super::{RequestError, Target};
use super::request_in;

pub(super) const COUNTING: Counting = Counting {
    read: request_in::decode,
    write: |request, target, dropped| encode(&request, target, dropped),
    field: "input_tokens",
    answer: |tokens| json!({ "object": "response.input_tokens", "input_tokens": tokens }),
};

fn encode(request: &Request, target: &Target<'_>, dropped: &mut Dropped) -> Result<Value, RequestError> {
    let mut body = Map::new();
    body.insert("model".into(), target.model.into());
    let instructions = request.system.join("\n\n");
    if !instructions.is_empty() {
        body.insert("instructions".into(), instructions.into());
    }
    let mut input = Vec::new();
    for turn in &request.turns {
        items(turn, &mut input, dropped)?;
    }
    body.insert("input".into(), input.into());
    if !request.tools.is_empty() {
        body.insert(
            "tools".into(),
            request.tools.iter().map(tool).collect::<Vec<_>>().into(),
        );
        match &request.tool_choice {
            Some(ToolChoice::None) => drop(body.insert("tool_choice".into(), "none".into())),
            Some(ToolChoice::Required) => drop(body.insert("tool_choice".into(), "required".into())),
            // Naming one adds no token that could be told from choosing freely.
            _ => {}
        }
    }
    Ok(Value::Object(body))
}

fn tool(tool: &Tool) -> Value {
    let none = || json!({ "type": "object", "properties": {} });
    json!({
        "type": "function",
        "name": tool.name.name,
        "description": tool.description,
        "parameters": tool.schema.clone().unwrap_or_else(none),
        "strict": false,
    })
}

/// A turn's messages, calls and results, in their order.
fn items(turn: &Turn, input: &mut Vec<Value>, dropped: &mut Dropped) -> Result<(), RequestError> {
    let (role, text_kind) = match turn.role {
        Role::User => ("user", "input_text"),
        Role::Assistant => ("assistant", "output_text"),
    };
    let mut content = Parts::new();
    for part in &turn.parts {
        match part {
            Part::Text(text) => content.take(Ok(json!({ "type": text_kind, "text": text })), dropped)?,
            Part::Media(media) => content.take(media_part(media), dropped)?,
            Part::CachePoint(_) => {}
            Part::Thought(thought) => dropped.note_if(!thought.text.is_empty(), &thought.path),
            Part::Call(call) => input.push(json!({
                "type": "function_call",
                "call_id": call.id,
                "name": call.name.name,
                "arguments": json_text(&call.input),
            })),
            Part::Result(result) => {
                input.push(json!({
                    "type": "function_call_output",
                    "call_id": result.id,
                    "output": text_of(&result.parts),
                }));
                for part in &result.parts {
                    if let Part::Media(media) = part {
                        content.take(media_part(media), dropped)?;
                    }
                }
            }
        }
    }
    let content = content.finish()?;
    if !content.is_empty() {
        input.push(json!({ "type": "message", "role": role, "content": content }));
    }
    Ok(())
}

fn media_part(media: &Media) -> Result<Value, RequestError> {
    let mime = media.mime.as_deref().unwrap_or("image/jpeg");
    let is_image = mime.starts_with("image/");
    match &media.source {
        MediaSource::Inline(data) if is_image => {
            Ok(json!({ "type": "input_image", "image_url": format!("data:{mime};base64,{data}"), "detail": "auto" }))
        }
        MediaSource::Url(url) if is_image => Ok(json!({ "type": "input_image", "image_url": url, "detail": "auto" })),
        MediaSource::Inline(data) if mime == "application/pdf" => Ok(json!({
            "type": "input_file",
            "filename": media.name.as_deref().unwrap_or("document.pdf"),
            "file_data": format!("data:{mime};base64,{data}"),
        })),
        MediaSource::Url(url) if mime == "application/pdf" => Ok(json!({ "type": "input_file", "file_url": url })),
        _ => Err(RequestError::unsupported(
            &media.path,
            format!("{mime} cannot be counted by the chosen provider"),
        )),
    }
}
