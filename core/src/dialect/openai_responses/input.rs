//! The conversation in a Responses request: a text, or items.

use std::collections::HashMap;

use super::super::RequestError;
use super::super::cursor::Cursor;
use super::super::dropped::{Dropped, Parts};
use super::super::message::{
    Media, MediaSource, Part, Request, Role, Thought, ToolCall, ToolResult, arguments, assistant_hint, media,
    mime_of_url, push_turn,
};
use super::super::message::{ToolKind, ToolName};
use super::super::tool_names::custom_arguments;
use super::carried::Carried;
use super::tools;

/// What is remembered of the items before.
#[derive(Default)]
struct Known {
    /// The tools that were called, by call.
    names: HashMap<String, ToolName>,
    /// Signatures that a provider wants on a call, by call.
    signatures: HashMap<String, String>,
}

/// Reads `input`.
pub(super) fn decode(input: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    if input.value.is_string() {
        push_turn(&mut request.turns, Role::User, vec![Part::Text(input.string()?)]);
        return Ok(());
    }
    if !input.value.is_array() {
        return Err(input.wrong("must be a string or an array of items"));
    }
    let mut known = Known::default();
    for item in input.items()? {
        decode_item(&item, request, &mut known, dropped)?;
    }
    if request.turns.is_empty() && request.system.is_empty() {
        return Err(input.wrong("must hold at least one message"));
    }
    Ok(())
}

fn decode_item(
    item: &Cursor<'_>,
    request: &mut Request,
    known: &mut Known,
    dropped: &mut Dropped,
) -> Result<(), RequestError> {
    item.object()?;
    let kind = item.get("type").map(|at| at.str()).transpose()?;
    match kind {
        Some("message") => message(item, request, dropped),
        None if item.get("role").is_some() => message(item, request, dropped),
        Some("function_call") => {
            let call = function_call(item, known, dropped)?;
            push_turn(&mut request.turns, Role::Assistant, vec![Part::Call(call)]);
            Ok(())
        }
        Some("custom_tool_call") => {
            let call = custom_call(item, known, dropped)?;
            push_turn(&mut request.turns, Role::Assistant, vec![Part::Call(call)]);
            Ok(())
        }
        Some("function_call_output" | "custom_tool_call_output") => {
            let result = function_output(item, known, dropped)?;
            push_turn(&mut request.turns, Role::User, vec![Part::Result(result)]);
            Ok(())
        }
        // Only where the caller ran it; then it has an id, and its result is an item of its own.
        Some("tool_search_call") if item.get("call_id").is_some_and(|at| !at.value.is_null()) => {
            let call = search_call(item, known, dropped)?;
            push_turn(&mut request.turns, Role::Assistant, vec![Part::Call(call)]);
            Ok(())
        }
        Some("tool_search_output") if searched(item, known) => {
            let result = search_output(item, dropped)?;
            push_turn(&mut request.turns, Role::User, vec![Part::Result(result)]);
            tools::add(&item.need("tools")?, request, dropped)
        }
        Some("reasoning") => {
            let thought = reasoning(item, known, dropped)?;
            push_turn(&mut request.turns, Role::Assistant, thought.into_iter().collect());
            Ok(())
        }
        Some("item_reference") | None => Err(item.unsupported(
            "refers to an item that only OpenAI keeps: send the item itself, or route this model to provider: OpenAI",
        )),
        // Tools that were found on the way are tools like the others.
        Some(kind @ ("tool_search_output" | "additional_tools")) => {
            if kind == "additional_tools" {
                item.note_unknown(&["type", "id", "role", "tools"], dropped);
            } else {
                dropped.note(item.path());
            }
            match item.get("tools") {
                Some(list) => tools::add(&list, request, dropped),
                None => Ok(()),
            }
        }
        Some(kind) => {
            let informs = INFORMS.contains(&kind) || !HOLDS.iter().any(|name| item.get(name).is_some());
            let refusal = item.need("type")?.unsupported(
                "is not an item that can be translated: only messages, calls of functions and custom tools, their outputs \
                 and reasoning can",
            );
            if informs {
                dropped.leave_out_hint(refusal)
            } else {
                dropped.leave_out(refusal)
            }
        }
    }
}

/// What a hosted tool did on the way to an answer that stands in the history itself.
const INFORMS: &[&str] = &[
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "mcp_list_tools",
    "mcp_call",
    "tool_search_call",
];

/// Fields by which an item of a kind that nobody here knows is part of the conversation: a call that waits for its result,
/// the result, or something that was said.
const HOLDS: &[&str] = &[
    "call_id",
    "approval_request_id",
    "role",
    "content",
    "encrypted_content",
    "input",
    "output",
    "result",
    "text",
    "arguments",
];

fn message(item: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    item.note_unknown(&["type", "role", "content", "id", "status"], dropped);
    let role = item.need("role")?;
    let content = item.need("content")?;
    match role.str()? {
        "system" | "developer" => {
            // The others have one system prompt, which comes first.
            dropped.note_if(!request.turns.is_empty(), &role.path());
            request.system.push(only_text(&content)?);
        }
        "user" => push_turn(&mut request.turns, Role::User, parts(&content, Role::User, dropped)?),
        "assistant" => push_turn(
            &mut request.turns,
            Role::Assistant,
            parts(&content, Role::Assistant, dropped)?,
        ),
        _ => return Err(role.wrong("must be one of user, assistant, system, developer")),
    }
    Ok(())
}

fn only_text(at: &Cursor<'_>) -> Result<String, RequestError> {
    if at.value.is_string() {
        return at.string();
    }
    let mut text = String::new();
    for part in at.items()? {
        part.object()?;
        let kind = part.need("type")?;
        if !matches!(kind.str()?, "input_text" | "text") {
            return Err(kind.wrong("must be input_text here"));
        }
        text.push_str(part.need("text")?.str()?);
    }
    Ok(text)
}

/// A string or a list of content parts, of a message or of a function's output.
fn parts(at: &Cursor<'_>, role: Role, dropped: &mut Dropped) -> Result<Vec<Part>, RequestError> {
    if at.value.is_string() {
        return Ok(vec![Part::Text(at.string()?)]);
    }
    if !at.value.is_array() {
        return Err(at.wrong("must be a string or an array of parts"));
    }
    let mut parts = Parts::new();
    for part in at.items()? {
        parts.take_some(content_part(&part, role, dropped), dropped)?;
    }
    parts.finish()
}

fn content_part(part: &Cursor<'_>, role: Role, dropped: &mut Dropped) -> Result<Option<Part>, RequestError> {
    part.object()?;
    let kind = part.need("type")?;
    Ok(Some(match kind.str()? {
        "input_text" | "output_text" | "text" => {
            // What an answer says about its text is nothing that a model reads.
            part.note_unknown(&["type", "text", "annotations", "logprobs"], dropped);
            Part::Text(part.need("text")?.string()?)
        }
        "refusal" => Part::Text(part.need("refusal")?.string()?),
        "input_image" => Part::Media(image(part, dropped)?),
        "input_file" => Part::Media(file(part, dropped)?),
        "input_audio" => return Err(kind.unsupported("audio is not supported by the chosen provider")),
        kind_name => {
            let refusal = kind.unsupported("is not a content part this proxy can translate");
            return assistant_hint(part, kind_name, role, refusal, dropped);
        }
    }))
}

fn no_upload(part: &Cursor<'_>) -> Result<(), RequestError> {
    match part.get("file_id") {
        Some(id) => Err(id.unsupported("an uploaded file lives with one provider only: send it inline or by URL")),
        None => Ok(()),
    }
}

fn image(part: &Cursor<'_>, dropped: &mut Dropped) -> Result<Media, RequestError> {
    no_upload(part)?;
    part.note_unknown(&["type", "image_url", "detail"], dropped);
    if let Some(detail) = part.get("detail").filter(|at| at.value != "auto") {
        dropped.note(detail.path());
    }
    let url = part.need("image_url")?;
    Ok(media(url.str()?, None, url.path()))
}

fn file(part: &Cursor<'_>, dropped: &mut Dropped) -> Result<Media, RequestError> {
    no_upload(part)?;
    part.note_unknown(&["type", "filename", "file_data", "file_url"], dropped);
    let name = part.get("filename").map(|at| at.string()).transpose()?;
    if let Some(url) = part.get("file_url") {
        let mime = mime_of_url(url.str()?).unwrap_or("application/pdf");
        return Ok(Media {
            mime: Some(mime.to_owned()),
            source: MediaSource::Url(url.string()?),
            name,
            path: url.path(),
        });
    }
    let data = part.need("file_data")?;
    let media = media(data.str()?, name, data.path());
    match media.source {
        MediaSource::Inline(_) => Ok(media),
        MediaSource::Url(_) => Err(data.wrong("must be a data URL with base64")),
    }
}

fn called(item: &Cursor<'_>, kind: ToolKind) -> Result<ToolName, RequestError> {
    let namespace = item.get("namespace").map(|at| at.string()).transpose()?;
    Ok(ToolName::new(kind, item.need("name")?.string()?).within(namespace))
}

fn custom_call(item: &Cursor<'_>, known: &mut Known, dropped: &mut Dropped) -> Result<ToolCall, RequestError> {
    item.note_unknown(
        &["type", "id", "status", "call_id", "namespace", "name", "input"],
        dropped,
    );
    let (id, name) = (item.need("call_id")?.string()?, called(item, ToolKind::Custom)?);
    known.names.insert(id.clone(), name.clone());
    Ok(ToolCall {
        signature: known.signatures.remove(&id),
        input: custom_arguments(item.need("input")?.str()?),
        id,
        name,
    })
}

fn function_call(item: &Cursor<'_>, known: &mut Known, dropped: &mut Dropped) -> Result<ToolCall, RequestError> {
    item.note_unknown(
        &["type", "id", "status", "call_id", "namespace", "name", "arguments"],
        dropped,
    );
    let (id, name) = (item.need("call_id")?.string()?, called(item, ToolKind::Function)?);
    let text = item.need("arguments")?;
    known.names.insert(id.clone(), name.clone());
    Ok(ToolCall {
        signature: known.signatures.remove(&id),
        input: arguments(text.str()?),
        id,
        name,
    })
}

fn search_call(item: &Cursor<'_>, known: &mut Known, dropped: &mut Dropped) -> Result<ToolCall, RequestError> {
    let fields = ["type", "id", "status", "call_id", "execution", "arguments"];
    item.note_unknown(&fields, dropped);
    let (id, name) = (item.need("call_id")?.string()?, tools::search_name());
    let said = item.need("arguments")?;
    known.names.insert(id.clone(), name.clone());
    Ok(ToolCall {
        signature: known.signatures.remove(&id),
        input: said.value.as_str().map_or_else(|| said.value.clone(), arguments),
        id,
        name,
    })
}

/// Whether this is the result of a search that the caller ran.
fn searched(item: &Cursor<'_>, known: &Known) -> bool {
    let id = item.get("call_id").and_then(|at| at.value.as_str());
    id.and_then(|id| known.names.get(id)).is_some_and(ToolName::is_search)
}

fn search_output(item: &Cursor<'_>, dropped: &mut Dropped) -> Result<ToolResult, RequestError> {
    item.note_unknown(&["type", "id", "status", "call_id", "execution", "tools"], dropped);
    Ok(ToolResult {
        id: item.need("call_id")?.string()?,
        name: tools::search_name(),
        parts: vec![Part::Text(tools::found(&item.need("tools")?)?)],
        is_error: false,
        path: item.path(),
    })
}

fn function_output(item: &Cursor<'_>, known: &Known, dropped: &mut Dropped) -> Result<ToolResult, RequestError> {
    item.note_unknown(
        &["type", "id", "status", "call_id", "namespace", "name", "output"],
        dropped,
    );
    let id = item.need("call_id")?;
    let Some(name) = known.names.get(id.str()?) else {
        return Err(id.wrong("must be the call_id of a function_call or custom_tool_call before it"));
    };
    Ok(ToolResult {
        id: id.string()?,
        name: name.clone(),
        parts: parts(&item.need("output")?, Role::User, dropped)?,
        is_error: false,
        path: item.path(),
    })
}

/// A thought as this proxy gave it out, or anybody else's, which no target takes.
fn reasoning(item: &Cursor<'_>, known: &mut Known, dropped: &mut Dropped) -> Result<Option<Part>, RequestError> {
    let mut text = String::new();
    for list in ["summary", "content"] {
        let Some(list) = item.get(list) else { continue };
        for part in list.items()? {
            part.object()?;
            text.push_str(part.need("text")?.str()?);
        }
    }
    let sealed = item.get("encrypted_content").map(|at| at.str()).transpose()?;
    let Some(carried) = sealed.and_then(Carried::open) else {
        dropped.note(item.path());
        return Ok(None);
    };
    let thought = |text, signature, redacted| {
        Some(Part::Thought(Thought {
            text,
            signature,
            redacted,
            path: item.path(),
        }))
    };
    Ok(match carried {
        Carried {
            redacted: Some(data), ..
        } => thought(data, None, true),
        Carried {
            signature: Some(signature),
            call: Some(call),
            ..
        } => {
            known.signatures.insert(call, signature);
            if text.is_empty() {
                None
            } else {
                thought(text, None, false)
            }
        }
        Carried { signature, .. } => thought(text, signature, false),
    })
}
