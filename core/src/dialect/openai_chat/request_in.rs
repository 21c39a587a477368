//! Chat completion requests, read.

use std::collections::HashMap;

use crate::json::{Value, json};

use super::super::RequestError;
use super::super::cursor::Cursor;
use super::super::dropped::{Dropped, Parts};
use super::super::hosted::place;
use super::super::message::WEB_SEARCH;
use super::super::message::{
    CachePoint, FieldNames, Format, Media, MediaSource, Part, Request, Role, Thinking, Thought, ToolCall, ToolResult,
    arguments, assistant_hint, is, media, push_turn,
};
use super::super::message::{Hosted, WebSearch};
use super::super::message::{ToolKind, ToolName};
use super::super::openai_tools::{custom, function_tool, json_schema, tool_choice};
use super::super::tool_names::custom_arguments;

/// Fields that have their place in the common model, or that mean nothing once the proxy has read them.
const KNOWN: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "n",
    "response_format",
    "reasoning_effort",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "user",
    "logprobs",
    "modalities",
    "top_logprobs",
    "audio",
    "web_search_options",
    "safety_identifier",
    // Not OpenAI's, but what vLLM, Ollama and others take.
    "top_k",
];

/// Fields whose loss would change what is asked or what the caller reads, but leave an answer that makes sense.
const WITHOUT: &[(&str, &str)] = &[("audio", "audio output is not supported by the chosen provider")];

/// Fields without which the request would be another one.
const REFUSED: &[(&str, &str)] = &[
    ("functions", "is deprecated and cannot be translated: use tools"),
    (
        "function_call",
        "is deprecated and cannot be translated: use tool_choice",
    ),
];

const FIELDS: FieldNames = FieldNames {
    max_tokens: "max_tokens",
    turns: "messages",
    temperature: "temperature",
    top_p: "top_p",
    top_k: "top_k",
    frequency_penalty: "frequency_penalty",
    presence_penalty: "presence_penalty",
    seed: "seed",
    stop: "stop",
    logprobs: "logprobs",
    choices: "n",
    format: "response_format",
    thinking: "reasoning_effort",
    user: "user",
    parallel_tools: "parallel_tool_calls",
    tool_choice: "tool_choice",
};

/// Reads a chat completion request.
pub(in super::super) fn decode(body: &Value, dropped: &mut Dropped) -> Result<Request, RequestError> {
    let root = Cursor::root(body);
    refuse(&root, dropped)?;
    root.note_unknown(KNOWN, dropped);
    let mut request = Request {
        fields: FIELDS,
        choices: 1,
        ..Request::default()
    };
    messages(&root, &mut request, dropped)?;
    sampling(&root, &mut request)?;
    tools(&root, &mut request, dropped)?;
    request.format = root.get("response_format").map(|at| format(&at)).transpose()?.flatten();
    Ok(request)
}

fn refuse(root: &Cursor<'_>, dropped: &mut Dropped) -> Result<(), RequestError> {
    for (name, problem) in REFUSED {
        if let Some(at) = root.get(name) {
            return Err(at.unsupported(problem));
        }
    }
    for (name, problem) in WITHOUT {
        if let Some(at) = root.get(name) {
            dropped.leave_out(at.unsupported(problem))?;
        }
    }
    if let Some(at) = root.get("modalities").filter(|at| at.value != &json!(["text"])) {
        let refusal = at.unsupported("only [\"text\"] is supported by the chosen provider");
        if at.items()?.any(|item| item.value == "text") {
            dropped.leave_out(refusal)?;
        } else {
            return Err(refusal);
        }
    }
    Ok(())
}

fn sampling(root: &Cursor<'_>, request: &mut Request) -> Result<(), RequestError> {
    let number = |name: &str| root.get(name).map(|at| at.number()).transpose();
    let tokens = |name: &str| root.get(name).map(|at| at.u64()).transpose();
    // As it was reserved for: the larger of the two, as providers ignore one. None is the smallest.
    request.max_tokens = tokens("max_completion_tokens")?.max(tokens("max_tokens")?);
    request.temperature = number("temperature")?;
    request.top_p = number("top_p")?;
    request.top_k = number("top_k")?;
    // Zero is the default of both penalties: nothing is lost with it.
    request.frequency_penalty = number("frequency_penalty")?.filter(|n| !is(n, 0.0));
    request.presence_penalty = number("presence_penalty")?.filter(|n| !is(n, 0.0));
    request.seed = number("seed")?;
    let user = root.get("safety_identifier").or_else(|| root.get("user"));
    request.user = user.map(|at| at.string()).transpose()?;
    let wanted = root.get("logprobs").map(|at| at.bool()).transpose()?;
    let top = root.get("top_logprobs").map(|at| at.u64()).transpose()?;
    request.logprobs = wanted.unwrap_or(false).then(|| top.unwrap_or(0));
    if let Some(at) = root.get("stop") {
        request.stop = if at.value.is_string() {
            vec![at.string()?]
        } else {
            at.strings()?
        };
    }
    if let Some(at) = root.get("n") {
        request.choices = at.u64()?;
        if request.choices == 0 {
            return Err(at.wrong("must be at least 1"));
        }
    }
    if let Some(at) = root.get("reasoning_effort") {
        let effort = at.str()?;
        request.thinking = Some(if effort == "none" {
            Thinking::Off
        } else {
            Thinking::Effort(effort.to_owned())
        });
    }
    Ok(())
}

fn messages(root: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    let list = root.need("messages")?;
    let mut names = HashMap::new();
    for message in list.items()? {
        message.object()?;
        let role = message.need("role")?;
        match role.str()? {
            "system" | "developer" => {
                message.note_unknown(&["role", "content"], dropped);
                // The others have one system prompt, which comes first.
                dropped.note_if(!request.turns.is_empty(), &role.path());
                let (text, point) = system(&message.need("content")?, dropped)?;
                request.system.push(text);
                let place = request.system.len() - 1;
                request.cached_system.extend(point.map(|point| (place, point)));
            }
            "user" => {
                message.note_unknown(&["role", "content"], dropped);
                let parts = content(&message.need("content")?, Role::User, dropped)?;
                push_turn(&mut request.turns, Role::User, parts);
            }
            "assistant" => {
                let parts = assistant(&message, &mut names, dropped)?;
                push_turn(&mut request.turns, Role::Assistant, parts);
            }
            "tool" => {
                message.note_unknown(&["role", "content", "tool_call_id", "name"], dropped);
                let result = tool_result(&message, &names, dropped)?;
                push_turn(&mut request.turns, Role::User, vec![Part::Result(result)]);
            }
            "function" => return Err(role.unsupported("is deprecated and cannot be translated: use role tool")),
            _ => return Err(role.wrong("must be one of system, developer, user, assistant, tool")),
        }
    }
    if request.turns.is_empty() && request.system.is_empty() {
        return Err(list.wrong("must hold at least one message"));
    }
    Ok(())
}

/// The text of a system message, and the cache point at its end; one within it is lost when the parts are joined.
fn system(at: &Cursor<'_>, dropped: &mut Dropped) -> Result<(String, Option<CachePoint>), RequestError> {
    if at.value.is_string() {
        return Ok((at.string()?, None));
    }
    let (mut text, mut point) = (String::new(), None::<CachePoint>);
    for part in at.items()? {
        part.object()?;
        part.note_unknown(&["type", "text", "cache_control"], dropped);
        let kind = part.need("type")?;
        if kind.str()? != "text" {
            return Err(kind.wrong("must be text here"));
        }
        text.push_str(part.need("text")?.str()?);
        if let Some(point) = point.take() {
            dropped.note(point.path);
        }
        point = cache_point(&part);
    }
    Ok((text, point))
}

fn content(at: &Cursor<'_>, role: Role, dropped: &mut Dropped) -> Result<Vec<Part>, RequestError> {
    if at.value.is_string() {
        return Ok(vec![Part::Text(at.string()?)]);
    }
    if !at.value.is_array() {
        return Err(at.wrong("must be a string or an array of parts"));
    }
    let mut parts = Parts::new();
    for part in at.items()? {
        parts.take_some(content_part(&part, role, dropped), dropped)?;
        if let Some(point) = cache_point(&part) {
            parts.take(Ok(Part::CachePoint(point)), dropped)?;
        }
    }
    parts.finish()
}

/// Not `OpenAI`'s, but what its callers send to reach `Claude` through other gateways.
fn cache_point(part: &Cursor<'_>) -> Option<CachePoint> {
    let at = part.get("cache_control").filter(|at| at.value.is_object())?;
    Some(CachePoint {
        control: at.value.clone(),
        path: at.path(),
    })
}

fn content_part(part: &Cursor<'_>, role: Role, dropped: &mut Dropped) -> Result<Option<Part>, RequestError> {
    part.object()?;
    let known = [
        "type",
        "text",
        "image_url",
        "file",
        "refusal",
        "input_audio",
        "cache_control",
    ];
    let kind = part.need("type")?;
    if known.contains(&kind.str()?) {
        part.note_unknown(&known, dropped);
    }
    Ok(Some(match kind.str()? {
        "text" => Part::Text(part.need("text")?.string()?),
        "image_url" => {
            let image = part.need("image_url")?;
            let url = image.need("url")?;
            image.note_unknown(&["url"], dropped);
            Part::Media(media(url.str()?, None, url.path()))
        }
        "file" => Part::Media(file(&part.need("file")?)?),
        "input_audio" => return Err(kind.unsupported("audio is not supported by the chosen provider")),
        "refusal" => Part::Text(part.need("refusal")?.string()?),
        kind_name => {
            let refusal = kind.unsupported("is not a content part this proxy can translate");
            return assistant_hint(part, kind_name, role, refusal, dropped);
        }
    }))
}

fn file(at: &Cursor<'_>) -> Result<Media, RequestError> {
    if let Some(id) = at.get("file_id") {
        return Err(id.unsupported("an uploaded file lives with one provider only: send file_data"));
    }
    let data = at.need("file_data")?;
    let name = at.get("filename").map(|name| name.string()).transpose()?;
    let media = media(data.str()?, name, data.path());
    match media.source {
        MediaSource::Inline(_) => Ok(media),
        MediaSource::Url(_) => Err(data.wrong("must be a data URL with base64")),
    }
}

fn assistant(
    message: &Cursor<'_>,
    names: &mut HashMap<String, ToolName>,
    dropped: &mut Dropped,
) -> Result<Vec<Part>, RequestError> {
    message.note_unknown(
        &[
            "role",
            "content",
            "tool_calls",
            "thinking_blocks",
            "reasoning_content",
            "refusal",
            "annotations",
        ],
        dropped,
    );
    if let Some(call) = message.get("function_call") {
        return Err(call.unsupported("is deprecated and cannot be translated: use tool_calls"));
    }
    let mut parts = thoughts(message)?;
    if let Some(at) = message.get("content") {
        parts.extend(content(&at, Role::Assistant, dropped)?);
    }
    if let Some(at) = message.get("refusal") {
        parts.push(Part::Text(at.string()?));
    }
    let Some(calls) = message.get("tool_calls") else {
        return Ok(parts);
    };
    for call in calls.items()? {
        call.object()?;
        let kind = call.get("type");
        if kind.as_ref().is_some_and(|kind| kind.value == "custom") {
            parts.push(Part::Call(custom_call(&call, names)?));
            continue;
        }
        if let Some(kind) = kind.filter(|kind| kind.value != "function") {
            return Err(kind.unsupported("only calls of function and custom tools can be translated"));
        }
        let function = call.need("function")?;
        let (id, name) = (call.need("id")?.string()?, function.need("name")?.string()?);
        let text = function
            .get("arguments")
            .map(|at| at.str())
            .transpose()?
            .unwrap_or_default();
        let name = ToolName::from(name);
        names.insert(id.clone(), name.clone());
        let signature = super::super::signature::signature_of(call.value);
        parts.push(Part::Call(ToolCall {
            id,
            name,
            input: arguments(text),
            signature,
        }));
    }
    Ok(parts)
}

fn custom_call(call: &Cursor<'_>, names: &mut HashMap<String, ToolName>) -> Result<ToolCall, RequestError> {
    let custom = call.need("custom")?;
    let id = call.need("id")?.string()?;
    let name = ToolName::new(ToolKind::Custom, custom.need("name")?.string()?);
    names.insert(id.clone(), name.clone());
    Ok(ToolCall {
        id,
        name,
        input: custom_arguments(custom.need("input")?.str()?),
        signature: super::super::signature::signature_of(call.value),
    })
}

/// `thinking_blocks` as this proxy gave them out, or the bare `reasoning_content`.
fn thoughts(message: &Cursor<'_>) -> Result<Vec<Part>, RequestError> {
    let Some(blocks) = message.get("thinking_blocks") else {
        let Some(at) = message.get("reasoning_content") else {
            return Ok(Vec::new());
        };
        let thought = Thought {
            text: at.string()?,
            signature: None,
            redacted: false,
            path: at.path(),
        };
        return Ok(vec![Part::Thought(thought)]);
    };
    let mut parts = Vec::new();
    for block in blocks.items()? {
        let redacted = block.get("type").is_some_and(|kind| kind.value == "redacted_thinking");
        let text = block.need(if redacted { "data" } else { "thinking" })?.string()?;
        let signature = block.get("signature").map(|at| at.string()).transpose()?;
        parts.push(Part::Thought(Thought {
            text,
            signature,
            redacted,
            path: block.path(),
        }));
    }
    Ok(parts)
}

fn tool_result(
    message: &Cursor<'_>,
    names: &HashMap<String, ToolName>,
    dropped: &mut Dropped,
) -> Result<ToolResult, RequestError> {
    let id = message.need("tool_call_id")?;
    let Some(name) = names.get(id.str()?) else {
        return Err(id.wrong("must be the id of a tool call in an assistant message before it"));
    };
    let parts = content(&message.need("content")?, Role::User, dropped)?;
    Ok(ToolResult {
        id: id.string()?,
        name: name.clone(),
        parts,
        is_error: false,
        path: message.path(),
    })
}

fn tools(root: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    if let Some(list) = root.get("tools") {
        for tool in list.items()? {
            tool.object()?;
            let kind = tool.need("type")?;
            match kind.str()? {
                "function" => {
                    tool.note_unknown(&["type", "function"], dropped);
                    let function = tool.need("function")?;
                    let known = ["name", "description", "parameters", "strict"];
                    request.tools.push(function_tool(&function, &known, dropped)?);
                }
                "custom" => {
                    tool.note_unknown(&["type", "custom"], dropped);
                    let inner = tool.need("custom")?;
                    inner.note_unknown(&["name", "description", "format"], dropped);
                    request.tools.push(custom(&inner, inner.get("format"), dropped)?);
                }
                name => request.hosted.push(Hosted {
                    name: name.to_owned(),
                    search: None,
                    path: kind.path(),
                }),
            }
        }
    }
    if let Some(options) = root.get("web_search_options") {
        request.hosted.push(Hosted {
            name: WEB_SEARCH.to_owned(),
            search: Some(web_search(&options, dropped)?),
            path: options.path(),
        });
    }
    request.parallel_tools = root.get("parallel_tool_calls").map(|at| at.bool()).transpose()?;
    match root
        .get("tool_choice")
        .map(|at| tool_choice(&at, Some("allowed_tools"), named))
        .transpose()
    {
        Ok(choice) => request.tool_choice = choice,
        Err(refusal) => dropped.leave_out(refusal)?,
    }
    Ok(())
}

fn web_search(options: &Cursor<'_>, dropped: &mut Dropped) -> Result<WebSearch, RequestError> {
    options.object()?;
    options.note_unknown(&["user_location", "search_context_size"], dropped);
    let location = options.get("user_location");
    let told = location.as_ref().and_then(|location| location.get("approximate"));
    Ok(WebSearch {
        place: told.and_then(|told| place(told.value)),
        context_size: options.get("search_context_size").map(|at| at.string()).transpose()?,
        path: options.path(),
        ..WebSearch::default()
    })
}

/// The tool that a choice names.
fn named(at: &Cursor<'_>) -> Result<Vec<ToolName>, RequestError> {
    let (kind, inner) = match at.need("type")?.str()? {
        "function" => (ToolKind::Function, "function"),
        "custom" => (ToolKind::Custom, "custom"),
        other => return Ok(vec![ToolName::new(ToolKind::Hosted, other)]),
    };
    Ok(vec![ToolName::new(kind, at.need(inner)?.need("name")?.string()?)])
}

fn format(at: &Cursor<'_>) -> Result<Option<Format>, RequestError> {
    at.object()?;
    let kind = at.need("type")?;
    match kind.str()? {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::JsonObject)),
        "json_schema" => json_schema(&at.need("json_schema")?).map(Some),
        _ => Err(kind.wrong("must be text, json_object or json_schema")),
    }
}
