//! Messages requests, read.

use std::collections::HashMap;

use crate::json::Value;

use super::super::cursor::Cursor;
use super::super::dropped::{Dropped, Parts};
use super::super::hosted::place;
use super::super::message::ToolName;
use super::super::message::WEB_SEARCH;
use super::super::message::{
    FieldNames, Format, Media, MediaSource, Part, Request, Role, Thinking, Thought, Tool, ToolCall, ToolChoice,
    ToolResult, push_turn,
};
use super::super::message::{Hosted, WebSearch};
use super::super::signature::{Origin, unwrap};
use super::super::{RequestError, schema};

const KNOWN: &[&str] = &[
    "model",
    "messages",
    "system",
    "stream",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "metadata",
    "container",
    "mcp_servers",
];

const FIELDS: FieldNames = FieldNames {
    max_tokens: "max_tokens",
    turns: "messages",
    temperature: "temperature",
    top_p: "top_p",
    top_k: "top_k",
    frequency_penalty: "",
    presence_penalty: "",
    seed: "",
    stop: "stop_sequences",
    logprobs: "",
    choices: "",
    format: "output_config.format",
    thinking: "thinking",
    user: "metadata.user_id",
    parallel_tools: "tool_choice.disable_parallel_tool_use",
    tool_choice: "tool_choice",
};

/// Reads a messages request.
pub(in super::super) fn decode(body: &Value, dropped: &mut Dropped) -> Result<Request, RequestError> {
    let root = Cursor::root(body);
    if let Some(at) = root.get("container") {
        // Where code ran, and may run again, at the caller's provider.
        dropped.leave_out_hint(at.unsupported("containers live with one provider only"))?;
    }
    root.note_unknown(KNOWN, dropped);
    let mut request = Request {
        fields: FIELDS,
        choices: 1,
        ..Request::default()
    };
    if let Some(at) = root.get("system") {
        request.system = system(&at, dropped)?;
    }
    messages(&root, &mut request, dropped)?;
    settings(&root, &mut request, dropped)?;
    tools(&root, &mut request, dropped)?;
    Ok(request)
}

fn system(at: &Cursor<'_>, dropped: &mut Dropped) -> Result<Vec<String>, RequestError> {
    if at.value.is_string() {
        return Ok(vec![at.string()?]);
    }
    let mut texts = Vec::new();
    for block in at
        .items()
        .map_err(|_| at.wrong("must be a string or an array of text blocks"))?
    {
        block.object()?;
        block.note_unknown(&["type", "text"], dropped);
        texts.push(block.need("text")?.string()?);
    }
    Ok(texts)
}

fn settings(root: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    let number = |name: &str| root.get(name).map(|at| at.number()).transpose();
    request.max_tokens = root.get("max_tokens").map(|at| at.u64()).transpose()?;
    request.temperature = number("temperature")?;
    request.top_p = number("top_p")?;
    request.top_k = number("top_k")?;
    if let Some(at) = root.get("stop_sequences") {
        request.stop = at.strings()?;
    }
    if let Some(at) = root.get("metadata") {
        at.object()?;
        at.note_unknown(&["user_id"], dropped);
        request.user = at.get("user_id").map(|at| at.string()).transpose()?;
    }
    if let Some(at) = root.get("thinking") {
        at.object()?;
        let kind = at.need("type")?;
        request.thinking = Some(match kind.str()? {
            "enabled" => Thinking::Budget(at.need("budget_tokens")?.u64()?),
            "adaptive" => Thinking::Adaptive,
            "disabled" => Thinking::Off,
            _ => return Err(kind.wrong("must be enabled, adaptive or disabled")),
        });
        let hidden = at.get("display").is_some_and(|display| display.value == "omitted");
        request.show_thoughts = !hidden && !matches!(request.thinking, Some(Thinking::Off));
    }
    if let Some(at) = root.get("output_config") {
        at.object()?;
        at.note_unknown(&["format", "effort"], dropped);
        if let Some(effort) = at.get("effort") {
            match request.thinking {
                // Left to the model, within this.
                None | Some(Thinking::Adaptive) => {
                    request.fields.thinking = "output_config.effort";
                    request.thinking = Some(Thinking::Effort(effort.string()?));
                }
                Some(_) => dropped.note(effort.path()),
            }
        }
        if let Some(format) = at.get("format") {
            let kind = format.need("type")?;
            if kind.str()? != "json_schema" {
                return Err(kind.wrong("must be json_schema"));
            }
            request.format = schema::read(Some(format.need("schema")?))?.map(|schema| Format::JsonSchema {
                name: None,
                schema,
                strict: Some(true),
                path: format.child("schema"),
            });
        }
    }
    Ok(())
}

fn messages(root: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    let list = root.need("messages")?;
    let mut names = HashMap::new();
    for message in list.items()? {
        message.object()?;
        message.note_unknown(&["role", "content"], dropped);
        let role = message.need("role")?;
        let content = message.need("content")?;
        match role.str()? {
            "user" => push_turn(
                &mut request.turns,
                Role::User,
                blocks(&content, Role::User, &mut names, dropped)?,
            ),
            "assistant" => push_turn(
                &mut request.turns,
                Role::Assistant,
                blocks(&content, Role::Assistant, &mut names, dropped)?,
            ),
            "system" => {
                dropped.note_if(!request.turns.is_empty(), &role.path());
                request.system.extend(system(&content, dropped)?);
            }
            _ => return Err(role.wrong("must be user or assistant")),
        }
    }
    if request.turns.is_empty() {
        return Err(list.wrong("must hold at least one user message"));
    }
    Ok(())
}

fn blocks(
    at: &Cursor<'_>,
    role: Role,
    names: &mut HashMap<String, ToolName>,
    dropped: &mut Dropped,
) -> Result<Vec<Part>, RequestError> {
    if at.value.is_string() {
        return Ok(vec![Part::Text(at.string()?)]);
    }
    let mut parts = Parts::new();
    for block in at
        .items()
        .map_err(|_| at.wrong("must be a string or an array of content blocks"))?
    {
        block.object()?;
        if let Some(at) = block.get("cache_control") {
            dropped.note(at.path());
        }
        let mut part = self::block(&block, role, names, dropped);
        if let Ok(Some(Part::Call(call))) = &mut part
            && let Some(signature) = call_signature(parts.last())
        {
            call.signature = Some(signature);
            parts.pop();
        }
        // A call without its result would be refused by every provider.
        let result = block.get("type").is_some_and(|kind| kind.value == "tool_result");
        parts.take_some(if result { Ok(part?) } else { part }, dropped)?;
    }
    parts.finish()
}

/// `Gemini`'s signature of the call that follows, which this proxy gave out as a thought of its own.
fn call_signature(before: Option<&Part>) -> Option<String> {
    let Some(Part::Thought(thought)) = before else {
        return None;
    };
    match unwrap(thought.signature.as_deref()?)? {
        (Origin::GeminiCall, signature) => Some(signature),
        _ => None,
    }
}

fn block(
    at: &Cursor<'_>,
    role: Role,
    names: &mut HashMap<String, ToolName>,
    dropped: &mut Dropped,
) -> Result<Option<Part>, RequestError> {
    let kind = at.need("type")?;
    let mut note = |known: &[&str]| {
        let known: Vec<&str> = known.iter().chain(&["type", "cache_control"]).copied().collect();
        at.note_unknown(&known, dropped);
    };
    Ok(Some(match kind.str()? {
        "text" => {
            // Where a text was found is nothing that another model reads.
            note(&["text"]);
            Part::Text(at.need("text")?.string()?)
        }
        "image" | "document" => {
            note(&["source", "title"]);
            return source(at, kind.value == "document").map(Some);
        }
        "tool_use" => {
            note(&["id", "name", "input", "extra_content"]);
            let (id, name) = (at.need("id")?.string()?, ToolName::from(at.need("name")?.string()?));
            names.insert(id.clone(), name.clone());
            let input = at.need("input")?;
            input.object()?;
            let signature = super::super::signature::signature_of(at.value);
            Part::Call(ToolCall {
                id,
                name,
                input: input.value.clone(),
                signature,
            })
        }
        "tool_result" => {
            note(&["tool_use_id", "content", "is_error"]);
            Part::Result(tool_result(at, names, dropped)?)
        }
        "thinking" => Part::Thought(Thought {
            text: at.need("thinking")?.string()?,
            signature: at.get("signature").map(|at| at.string()).transpose()?,
            redacted: false,
            path: at.path(),
        }),
        "redacted_thinking" => {
            let data = at.need("data")?.string()?;
            let wrapped = unwrap(&data).is_some();
            let (text, signature) = if wrapped {
                (String::new(), Some(data))
            } else {
                (data, None)
            };
            Part::Thought(Thought {
                text,
                signature,
                redacted: !wrapped,
                path: at.path(),
            })
        }
        "search_result" => {
            note(&["source", "title", "content"]);
            Part::Text(found(at)?)
        }
        // What was said before, in short: a text, or nothing where that failed.
        "compaction" => {
            note(&["content"]);
            let Some(summary) = at.get("content") else {
                return Ok(None);
            };
            Part::Text(summary.string()?)
        }
        kind_name => {
            let refusal = kind.unsupported("is not a content block that the chosen provider can take");
            if informs(at, kind_name, role) {
                dropped.leave_out_hint(refusal)?;
                return Ok(None);
            }
            return Err(refusal);
        }
    }))
}

/// What a server's tool did on the way to an answer that stands in the same turn, or a block that nobody here knows and that
/// is neither a call, nor a result, nor a text.
fn informs(at: &Cursor<'_>, kind: &str, role: Role) -> bool {
    let server = matches!(kind, "server_tool_use" | "mcp_tool_use") || kind.ends_with("_tool_result");
    let unknown = !["input", "text", "source", "tool_use_id"]
        .iter()
        .any(|name| at.get(name).is_some());
    kind == "tool_reference" || (role == Role::Assistant && (server || unknown))
}

/// What the caller's own search found, as a text that says where.
fn found(at: &Cursor<'_>) -> Result<String, RequestError> {
    let mut text = String::new();
    for name in ["title", "source"] {
        if let Some(line) = at.get(name) {
            text.push_str(line.str()?);
            text.push('\n');
        }
    }
    for block in at.need("content")?.items()? {
        text.push_str(block.need("text")?.str()?);
    }
    Ok(text)
}

fn source(at: &Cursor<'_>, document: bool) -> Result<Part, RequestError> {
    let source = at.need("source")?;
    let kind = source.need("type")?;
    let name = at.get("title").map(|at| at.string()).transpose()?;
    let path = source.path();
    Ok(match kind.str()? {
        "base64" => Part::Media(Media {
            mime: Some(source.need("media_type")?.string()?),
            source: MediaSource::Inline(source.need("data")?.string()?),
            name,
            path,
        }),
        "url" => Part::Media(Media {
            mime: document.then(|| "application/pdf".to_owned()),
            source: MediaSource::Url(source.need("url")?.string()?),
            name,
            path,
        }),
        "text" => Part::Text(source.need("data")?.string()?),
        "content" => Part::Text(only_text(&source.need("content")?)?),
        "file" => return Err(kind.unsupported("an uploaded file lives with one provider only: send it inline")),
        _ => return Err(kind.unsupported("is not a source that the chosen provider can take")),
    })
}

/// The text of a document that the caller cut into blocks.
fn only_text(at: &Cursor<'_>) -> Result<String, RequestError> {
    if at.value.is_string() {
        return at.string();
    }
    let mut text = String::new();
    for block in at.items()? {
        let kind = block.need("type")?;
        if kind.str()? != "text" {
            return Err(kind.unsupported("is not a block of a document that can be translated: only text can"));
        }
        text.push_str(block.need("text")?.str()?);
    }
    Ok(text)
}

fn tool_result(
    at: &Cursor<'_>,
    names: &mut HashMap<String, ToolName>,
    dropped: &mut Dropped,
) -> Result<ToolResult, RequestError> {
    let id = at.need("tool_use_id")?;
    let Some(name) = names.get(id.str()?).cloned() else {
        return Err(id.wrong("must be the id of a tool_use block in an assistant message before it"));
    };
    let parts = at
        .get("content")
        .map(|content| blocks(&content, Role::User, names, dropped))
        .transpose()?
        .unwrap_or_default();
    if !parts.iter().all(|part| matches!(part, Part::Text(_) | Part::Media(_))) {
        return Err(RequestError::unsupported(
            at.child("content"),
            "only text and media can be translated here",
        ));
    }
    let is_error = at.get("is_error").map(|at| at.bool()).transpose()?.unwrap_or(false);
    Ok(ToolResult {
        id: id.string()?,
        name,
        parts,
        is_error,
        path: at.path(),
    })
}

fn tools(root: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    if let Some(list) = root.get("tools") {
        for tool in list.items()? {
            tool.object()?;
            if let Some(kind) = tool.get("type").filter(|kind| kind.value != "custom") {
                request.hosted.push(hosted(&tool, &kind, dropped)?);
                continue;
            }
            tool.note_unknown(&["type", "name", "description", "input_schema"], dropped);
            request.tools.push(Tool {
                name: tool.need("name")?.string()?.into(),
                description: tool.get("description").map(|at| at.string()).transpose()?,
                schema: schema::read(tool.get("input_schema"))?,
                path: tool.child("input_schema"),
            });
        }
    }
    if let Some(at) = root.get("mcp_servers") {
        request.hosted.push(Hosted {
            name: "mcp_servers".to_owned(),
            search: None,
            path: at.path(),
        });
    }
    let Some(choice) = root.get("tool_choice") else {
        return Ok(());
    };
    choice.object()?;
    let kind = choice.need("type")?;
    request.tool_choice = Some(match kind.str()? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Only {
            names: vec![choice.need("name")?.string()?.into()],
            required: true,
        },
        _ => return Err(kind.wrong("must be auto, any, tool or none")),
    });
    let single = choice
        .get("disable_parallel_tool_use")
        .map(|at| at.bool())
        .transpose()?;
    request.parallel_tools = single.map(|single| !single);
    Ok(())
}

/// A tool that the server runs, or that only `Claude` knows by its type.
fn hosted(tool: &Cursor<'_>, kind: &Cursor<'_>, dropped: &mut Dropped) -> Result<Hosted, RequestError> {
    let (name, path) = (tool.get("name").map(|at| at.string()).transpose()?, kind.path());
    if !kind.str()?.starts_with("web_search_") {
        let name = name.unwrap_or_else(|| kind.value.as_str().unwrap_or_default().to_owned());
        return Ok(Hosted {
            name,
            search: None,
            path,
        });
    }
    let known = [
        "type",
        "name",
        "allowed_domains",
        "blocked_domains",
        "max_uses",
        "user_location",
    ];
    tool.note_unknown(&known, dropped);
    let domains = |name: &str| tool.get(name).map(|at| at.strings()).transpose();
    Ok(Hosted {
        name: WEB_SEARCH.to_owned(),
        search: Some(WebSearch {
            allowed_domains: domains("allowed_domains")?,
            blocked_domains: domains("blocked_domains")?,
            max_uses: tool.get("max_uses").map(|at| at.u64()).transpose()?,
            place: tool.get("user_location").and_then(|at| place(at.value)),
            path: tool.path(),
            ..WebSearch::default()
        }),
        path,
    })
}
