//! Messages requests, read and written.

use std::collections::HashMap;

use serde_json::{Map, Number, Value, json};

use super::super::common::{
    At, Dropped, Format, Media, MediaSource, Part, Request, Role, Spelling, Thinking, Thought, Tool, ToolCall,
    ToolChoice, ToolResult, Turn, as_f64, keep_only, push_turn, safe_id,
};
use super::super::{RequestError, Target};

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
];

const REFUSED: &[(&str, &str)] = &[
    ("container", "containers live with one provider only"),
    ("mcp_servers", "server-side MCP is not supported by the chosen provider"),
];

const SPELLED: Spelling = Spelling {
    temperature: "temperature",
    top_p: "top_p",
    top_k: "top_k",
    frequency_penalty: "",
    presence_penalty: "",
    seed: "",
    choices: "",
    format: "output_config.format",
    thinking: "thinking",
    user: "metadata.user_id",
    parallel_tools: "tool_choice.disable_parallel_tool_use",
};

/// Reads a messages request.
pub(in super::super) fn decode(body: &Value, dropped: &mut Dropped) -> Result<Request, RequestError> {
    let root = At::root(body);
    for (name, problem) in REFUSED {
        if let Some(at) = root.get(name) {
            return Err(at.unsupported(problem));
        }
    }
    root.note_unknown(KNOWN, dropped);
    let mut request = Request {
        spelled: SPELLED,
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

fn system(at: &At<'_>, dropped: &mut Dropped) -> Result<Vec<String>, RequestError> {
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

fn settings(root: &At<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
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
    }
    if let Some(at) = root.get("output_config") {
        at.object()?;
        at.note_unknown(&["format", "effort"], dropped);
        if let Some(effort) = at.get("effort") {
            if request.thinking.is_none() {
                request.spelled.thinking = "output_config.effort";
                request.thinking = Some(Thinking::Effort(effort.string()?));
            } else {
                dropped.note(effort.path());
            }
        }
        if let Some(format) = at.get("format") {
            let kind = format.need("type")?;
            if kind.str()? != "json_schema" {
                return Err(kind.wrong("must be json_schema"));
            }
            let schema = format.need("schema")?;
            schema.object()?;
            let schema = schema.value.clone();
            request.format = Some(Format::JsonSchema {
                name: None,
                schema,
                strict: Some(true),
            });
        }
    }
    Ok(())
}

fn messages(root: &At<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    let list = root.need("messages")?;
    let mut names = HashMap::new();
    for message in list.items()? {
        message.object()?;
        message.note_unknown(&["role", "content"], dropped);
        let role = message.need("role")?;
        let content = message.need("content")?;
        match role.str()? {
            "user" => push_turn(&mut request.turns, Role::User, blocks(&content, &mut names, dropped)?),
            "assistant" => push_turn(
                &mut request.turns,
                Role::Assistant,
                blocks(&content, &mut names, dropped)?,
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

fn blocks(at: &At<'_>, names: &mut HashMap<String, String>, dropped: &mut Dropped) -> Result<Vec<Part>, RequestError> {
    if at.value.is_string() {
        return Ok(vec![Part::Text(at.string()?)]);
    }
    let mut parts = Vec::new();
    for block in at
        .items()
        .map_err(|_| at.wrong("must be a string or an array of content blocks"))?
    {
        block.object()?;
        if let Some(at) = block.get("cache_control") {
            dropped.note(at.path());
        }
        parts.push(self::block(&block, names, dropped)?);
    }
    Ok(parts)
}

fn block(at: &At<'_>, names: &mut HashMap<String, String>, dropped: &mut Dropped) -> Result<Part, RequestError> {
    let kind = at.need("type")?;
    let mut note = |known: &[&str]| {
        let known: Vec<&str> = known.iter().chain(&["type", "cache_control"]).copied().collect();
        at.note_unknown(&known, dropped);
    };
    Ok(match kind.str()? {
        "text" => {
            note(&["text"]);
            Part::Text(at.need("text")?.string()?)
        }
        "image" | "document" => {
            note(&["source", "title"]);
            return source(at, kind.value == "document");
        }
        "tool_use" => {
            note(&["id", "name", "input", "extra_content"]);
            let (id, name) = (at.need("id")?.string()?, at.need("name")?.string()?);
            names.insert(id.clone(), name.clone());
            let input = at.need("input")?;
            input.object()?;
            let signature = super::super::gemini::signature_of(at.value);
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
        "redacted_thinking" => Part::Thought(Thought {
            text: at.need("data")?.string()?,
            signature: None,
            redacted: true,
            path: at.path(),
        }),
        _ => return Err(kind.unsupported("is not a content block that the chosen provider can take")),
    })
}

fn source(at: &At<'_>, document: bool) -> Result<Part, RequestError> {
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
        "file" => return Err(kind.unsupported("an uploaded file lives with one provider only: send it inline")),
        _ => return Err(kind.unsupported("is not a source that the chosen provider can take")),
    })
}

fn tool_result(
    at: &At<'_>,
    names: &mut HashMap<String, String>,
    dropped: &mut Dropped,
) -> Result<ToolResult, RequestError> {
    let id = at.need("tool_use_id")?;
    let Some(name) = names.get(id.str()?).cloned() else {
        return Err(id.wrong("must be the id of a tool_use block in an assistant message before it"));
    };
    let parts = at
        .get("content")
        .map(|content| blocks(&content, names, dropped))
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

fn tools(root: &At<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    if let Some(list) = root.get("tools") {
        for tool in list.items()? {
            tool.object()?;
            if let Some(kind) = tool.get("type").filter(|kind| kind.value != "custom") {
                return Err(kind.unsupported("only tools that the caller runs (type custom) can be translated"));
            }
            tool.note_unknown(&["type", "name", "description", "input_schema"], dropped);
            let schema = tool.need("input_schema")?;
            schema.object()?;
            request.tools.push(Tool {
                name: tool.need("name")?.string()?,
                description: tool.get("description").map(|at| at.string()).transpose()?,
                schema: Some(schema.value.clone()),
            });
        }
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
            names: vec![choice.need("name")?.string()?],
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

/// Writes a messages request.
pub(in super::super) fn encode(
    mut request: Request,
    target: &Target<'_>,
    dropped: &mut Dropped,
) -> Result<Value, RequestError> {
    let spelled = request.spelled;
    if request.choices > 1 {
        return Err(RequestError::unsupported(
            spelled.choices,
            "the chosen provider gives one answer only: set it to 1",
        ));
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
    request.system.retain(|text| !text.is_empty());
    if !request.system.is_empty() {
        body.insert("system".into(), request.system.join("\n\n").into());
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
    sampling(&mut body, &request, dropped);
    if !request.stop.is_empty() {
        body.insert("stop_sequences".into(), std::mem::take(&mut request.stop).into());
    }
    if let Some(user) = request.user.take() {
        body.insert("metadata".into(), json!({ "user_id": user }));
    }
    if let Some(Format::JsonSchema { schema, .. }) = request.format.take() {
        body.insert(
            "output_config".into(),
            json!({ "format": { "type": "json_schema", "schema": schema } }),
        );
    }
    // Which models take effort, a budget or neither is not for a translator to guess, and thinking asks that earlier
    // tool calls carry signed thoughts, which another dialect's history lacks.
    dropped.note_if(
        !matches!(request.thinking, None | Some(Thinking::Off)),
        spelled.thinking,
    );
    tool_fields(&mut body, &mut request);
    if target.stream {
        body.insert("stream".into(), true.into());
    }
    Ok(Value::Object(body))
}

fn sampling(body: &mut Map<String, Value>, request: &Request, dropped: &mut Dropped) {
    let spelled = request.spelled;
    if let Some(temperature) = &request.temperature {
        let high = as_f64(temperature) > 1.0;
        dropped.note_if(high, spelled.temperature);
        body.insert(
            "temperature".into(),
            if high {
                1.into()
            } else {
                Value::Number(temperature.clone())
            },
        );
    }
    // 1 is the default and changes nothing; newer models refuse it beside a temperature.
    if let Some(top_p) = request
        .top_p
        .as_ref()
        .filter(|top_p| (as_f64(top_p) - 1.0).abs() > f64::EPSILON)
    {
        if request.temperature.is_some() {
            dropped.note(spelled.top_p);
        } else {
            body.insert("top_p".into(), Value::Number(top_p.clone()));
        }
    }
    if let Some(top_k) = request.top_k.as_ref().and_then(whole) {
        body.insert("top_k".into(), Value::Number(top_k));
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
    let mut content = Vec::new();
    for part in &turn.parts {
        match part {
            Part::Text(text) if text.is_empty() => {}
            Part::Text(text) => content.push(json!({ "type": "text", "text": text })),
            Part::Media(media) => content.push(media_block(media)?),
            Part::Call(call) => content.push(call_block(call)),
            Part::Result(result) => content.push(result_block(result)?),
            // Only what Anthropic signed comes back as a thought; the rest it would refuse.
            Part::Thought(thought) => match thought_block(thought) {
                Some(block) => content.push(block),
                None => dropped.note(&thought.path),
            },
        }
    }
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
    json!({ "type": "tool_use", "id": safe_id(&call.id), "name": call.name, "input": call.input })
}

pub(super) fn thought_block(thought: &Thought) -> Option<Value> {
    if thought.redacted {
        return Some(json!({ "type": "redacted_thinking", "data": thought.text }));
    }
    let signature = thought.signature.as_ref()?;
    Some(json!({ "type": "thinking", "thinking": thought.text, "signature": signature }))
}

fn result_block(result: &ToolResult) -> Result<Value, RequestError> {
    let mut content = Vec::new();
    for part in &result.parts {
        match part {
            Part::Text(text) if !text.is_empty() => content.push(json!({ "type": "text", "text": text })),
            Part::Media(media) => content.push(media_block(media)?),
            _ => {}
        }
    }
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

fn tool_fields(body: &mut Map<String, Value>, request: &mut Request) {
    let mut choice = match request.tool_choice.take() {
        None => None,
        Some(ToolChoice::Auto) => Some(json!({ "type": "auto" })),
        Some(ToolChoice::None) => Some(json!({ "type": "none" })),
        Some(ToolChoice::Required) => Some(json!({ "type": "any" })),
        Some(ToolChoice::Only { names, required }) => match (names.as_slice(), required) {
            ([name], true) => Some(json!({ "type": "tool", "name": name })),
            _ => {
                keep_only(&mut request.tools, &names);
                Some(json!({ "type": if required { "any" } else { "auto" } }))
            }
        },
    };
    if request.tools.is_empty() {
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
    let tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            let mut value = Map::new();
            value.insert("name".into(), tool.name.as_str().into());
            if let Some(description) = &tool.description {
                value.insert("description".into(), description.as_str().into());
            }
            let none = || json!({ "type": "object", "properties": {} });
            value.insert("input_schema".into(), tool.schema.clone().unwrap_or_else(none));
            Value::Object(value)
        })
        .collect();
    body.insert("tools".into(), tools.into());
    if let Some(choice) = choice {
        body.insert("tool_choice".into(), choice);
    }
}
