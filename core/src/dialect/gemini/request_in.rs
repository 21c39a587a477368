//! `generateContent` requests, read. Field names are read in camel and in snake case, as the API does.

use std::collections::VecDeque;

use crate::json::{Value, json};

use super::super::cursor::Cursor;
use super::super::dropped::{Dropped, Parts};
use super::super::message::ToolName;
use super::super::message::WEB_SEARCH;
use super::super::message::{
    FieldNames, Format, Media, MediaSource, Part, Request, Role, Thinking, Thought, Tool, ToolCall, ToolChoice,
    ToolResult, is, push_turn,
};
use super::super::message::{Hosted, WebSearch};
use super::super::signature::{Origin, unwrap};
use super::super::{RequestError, schema};
use super::schema::to_json_schema;

const FIELDS: FieldNames = FieldNames {
    max_tokens: "generationConfig.maxOutputTokens",
    turns: "contents",
    temperature: "generationConfig.temperature",
    top_p: "generationConfig.topP",
    top_k: "generationConfig.topK",
    frequency_penalty: "generationConfig.frequencyPenalty",
    presence_penalty: "generationConfig.presencePenalty",
    seed: "generationConfig.seed",
    stop: "generationConfig.stopSequences",
    logprobs: "generationConfig.responseLogprobs",
    choices: "generationConfig.candidateCount",
    format: "generationConfig.responseMimeType",
    thinking: "generationConfig.thinkingConfig",
    user: "",
    parallel_tools: "",
    tool_choice: "toolConfig.functionCallingConfig",
};

/// The field in either spelling.
fn pick<'s>(at: &'s Cursor<'_>, camel: &'static str, snake: &'static str) -> Option<Cursor<'s>> {
    at.get(camel).or_else(|| at.get(snake))
}

/// Reads a `generateContent` request.
pub(in super::super) fn decode(body: &Value, dropped: &mut Dropped) -> Result<Request, RequestError> {
    let root = Cursor::root(body);
    root.note_unknown(
        &[
            "model",
            "contents",
            "systemInstruction",
            "system_instruction",
            "generationConfig",
            "generation_config",
            "tools",
            "toolConfig",
            "tool_config",
        ],
        dropped,
    );
    if let Some(at) = pick(&root, "cachedContent", "cached_content") {
        return Err(at.unsupported("cached contents live with one provider only"));
    }
    let mut request = Request {
        fields: FIELDS,
        choices: 1,
        ..Request::default()
    };
    if let Some(at) = pick(&root, "systemInstruction", "system_instruction") {
        request.system = system(&at)?;
    }
    contents(&root, &mut request, dropped)?;
    if let Some(config) = pick(&root, "generationConfig", "generation_config") {
        config.object()?;
        generation_config(&config, &mut request, dropped)?;
    }
    tools(&root, &mut request, dropped)?;
    Ok(request)
}

fn system(at: &Cursor<'_>) -> Result<Vec<String>, RequestError> {
    if at.value.is_string() {
        return Ok(vec![at.string()?]);
    }
    at.object()?;
    at.need("parts")?
        .items()?
        .map(|part| part.need("text")?.string())
        .collect()
}

/// Calls and their results, matched by id where there is one and else by name and order.
#[derive(Default)]
struct Calls {
    made: usize,
    open: VecDeque<(String, String)>,
}

impl Calls {
    fn call(&mut self, id: Option<String>, name: &str) -> String {
        self.made += 1;
        let id = id.unwrap_or_else(|| format!("call_{}", self.made));
        self.open.push_back((id.clone(), name.to_owned()));
        id
    }

    fn answer(&mut self, id: Option<&str>, name: &str) -> Option<String> {
        let at = self
            .open
            .iter()
            .position(|open| id.map_or(open.1 == name, |id| open.0 == id))?;
        self.open.remove(at).map(|open| open.0)
    }
}

fn contents(root: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    let list = root.need("contents")?;
    let mut calls = Calls::default();
    for content in list.items()? {
        content.object()?;
        content.note_unknown(&["role", "parts"], dropped);
        let role = match content.get("role") {
            None => Role::User,
            Some(role) => match role.str()? {
                "user" | "function" | "tool" => Role::User,
                "model" => Role::Assistant,
                _ => return Err(role.wrong("must be user or model")),
            },
        };
        let mut parts = Parts::new();
        for item in content.need("parts")?.items()? {
            item.object()?;
            parts.take_some(part(&item, role, &mut calls, dropped), dropped)?;
        }
        push_turn(&mut request.turns, role, parts.finish()?);
    }
    if request.turns.is_empty() {
        return Err(list.wrong("must hold at least one content with parts"));
    }
    request.turns.iter_mut().for_each(|turn| join_thoughts(&mut turn.parts));
    Ok(())
}

/// What the provider's own tools did on the way to an answer that stands in the history itself.
const DONE_HERE: &[(&str, &str)] = &[
    ("executableCode", "executable_code"),
    ("codeExecutionResult", "code_execution_result"),
    ("toolCall", "tool_call"),
    ("toolResponse", "tool_response"),
];

fn part(at: &Cursor<'_>, role: Role, calls: &mut Calls, dropped: &mut Dropped) -> Result<Option<Part>, RequestError> {
    if role == Role::Assistant && DONE_HERE.iter().any(|(camel, snake)| pick(at, camel, snake).is_some()) {
        let refusal = at.unsupported("tells what the provider's own tools did");
        return dropped.leave_out_hint(refusal).map(|()| None);
    }
    at.note_unknown(
        &[
            "text",
            "thought",
            "thoughtSignature",
            "thought_signature",
            "inlineData",
            "inline_data",
            "fileData",
            "file_data",
            "functionCall",
            "function_call",
            "functionResponse",
            "function_response",
        ],
        dropped,
    );
    let signature = pick(at, "thoughtSignature", "thought_signature")
        .map(|at| at.string())
        .transpose()?;
    if let Some(text) = at.get("text") {
        let text = text.string()?;
        if at
            .get("thought")
            .is_some_and(|thought| thought.value == &Value::Bool(true))
        {
            return Ok(Some(Part::Thought(thought(text, signature.as_deref(), at.path()))));
        }
        return Ok(Some(Part::Text(text)));
    }
    if let Some(data) = pick(at, "inlineData", "inline_data") {
        return Ok(Some(Part::Media(inline_data(&data)?)));
    }
    if let Some(file) = pick(at, "fileData", "file_data") {
        return file_data(&file).map(Some);
    }
    if let Some(call) = pick(at, "functionCall", "function_call") {
        let name = call.need("name")?.string()?;
        let id = call.get("id").map(|id| id.string()).transpose()?;
        let input = match call.get("args") {
            Some(args) => Value::Object(args.object()?.clone()),
            None => json!({}),
        };
        return Ok(Some(Part::Call(ToolCall {
            id: calls.call(id, &name),
            name: name.into(),
            input,
            signature: signature.filter(|signature| unwrap(signature).is_none()),
        })));
    }
    if let Some(response) = pick(at, "functionResponse", "function_response") {
        return function_response(&response, calls, dropped).map(Some);
    }
    if let Some(signature) = signature {
        // Where the API puts a signature that stands alone.
        return Ok(Some(Part::Thought(thought(String::new(), Some(&signature), at.path()))));
    }
    Err(at.unsupported("is not a part that the chosen provider can take"))
}

fn inline_data(at: &Cursor<'_>) -> Result<Media, RequestError> {
    let mime = pick(at, "mimeType", "mime_type").map(|at| at.string()).transpose()?;
    let mime = mime.ok_or_else(|| RequestError::field(at.child("mimeType"), "is required"))?;
    Ok(Media {
        mime: Some(mime),
        source: MediaSource::Inline(at.need("data")?.string()?),
        name: None,
        path: at.path(),
    })
}

/// A thought that another provider's model had, as it wants it back. A signature that is not wrapped is Gemini's, and no
/// other provider would take it.
fn thought(text: String, signature: Option<&str>, path: String) -> Thought {
    let (text, signature, redacted) = match signature.and_then(unwrap) {
        Some((Origin::Redacted, data)) => (data, None, true),
        Some((Origin::Anthropic, signature)) => (text, Some(signature), false),
        _ => (text, None, false),
    };
    Thought {
        text,
        signature,
        redacted,
        path,
    }
}

/// Joins the pieces of a streamed thought, whose signature came last and alone.
fn join_thoughts(parts: &mut Vec<Part>) {
    parts.dedup_by(|next, first| match (first, next) {
        (Part::Thought(first), Part::Thought(next))
            if first.signature.is_none() && !first.redacted && !next.redacted =>
        {
            first.text.push_str(&next.text);
            first.signature = next.signature.take();
            true
        }
        _ => false,
    });
}

fn file_data(file: &Cursor<'_>) -> Result<Part, RequestError> {
    let uri =
        pick(file, "fileUri", "file_uri").ok_or_else(|| RequestError::field(file.child("fileUri"), "is required"))?;
    let text = uri.string()?;
    if !text.starts_with("https://") && !text.starts_with("http://")
        || text.starts_with("https://generativelanguage.googleapis.com/")
    {
        return Err(uri.unsupported("an uploaded file lives with one provider only: send it inline"));
    }
    let mime = pick(file, "mimeType", "mime_type").map(|at| at.string()).transpose()?;
    Ok(Part::Media(Media {
        mime,
        source: MediaSource::Url(text),
        name: None,
        path: file.path(),
    }))
}

fn function_response(at: &Cursor<'_>, calls: &mut Calls, dropped: &mut Dropped) -> Result<Part, RequestError> {
    at.note_unknown(&["id", "name", "response", "parts"], dropped);
    let name = at.need("name")?;
    let given = at.get("id").map(|id| id.string()).transpose()?;
    let Some(id) = calls.answer(given.as_deref(), name.str()?) else {
        return Err(name.wrong("must answer a functionCall of a content before it"));
    };
    let response = at.need("response")?;
    let object = response.object()?;
    // `output` and `error` are the keys the API documents; alone they are the result itself.
    let (value, is_error) = match (object.len(), object.get("output"), object.get("error")) {
        (1, Some(output), _) => (output, false),
        (1, _, Some(error)) => (error, true),
        _ => (response.value, false),
    };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut parts = vec![Part::Text(text)];
    if let Some(files) = at.get("parts") {
        for file in files.items()? {
            let Some(data) = pick(&file, "inlineData", "inline_data") else {
                return Err(file.unsupported("only inlineData can be translated here"));
            };
            parts.push(Part::Media(inline_data(&data)?));
        }
    }
    Ok(Part::Result(ToolResult {
        id,
        name: name.string()?.into(),
        parts,
        is_error,
        path: at.path(),
    }))
}

const CONFIG_KNOWN: &[&str] = &[
    "maxOutputTokens",
    "max_output_tokens",
    "temperature",
    "topP",
    "top_p",
    "topK",
    "top_k",
    "frequencyPenalty",
    "frequency_penalty",
    "presencePenalty",
    "presence_penalty",
    "seed",
    "stopSequences",
    "stop_sequences",
    "candidateCount",
    "candidate_count",
    "responseMimeType",
    "response_mime_type",
    "responseSchema",
    "response_schema",
    "responseJsonSchema",
    "response_json_schema",
    "thinkingConfig",
    "thinking_config",
    "responseModalities",
    "response_modalities",
    "responseLogprobs",
    "response_logprobs",
    "logprobs",
];

fn generation_config(at: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    at.note_unknown(CONFIG_KNOWN, dropped);
    if let Some(modalities) = pick(at, "responseModalities", "response_modalities") {
        let names = modalities.strings()?;
        let is_text = |name: &String| name.eq_ignore_ascii_case("text");
        if !names.iter().all(is_text) {
            let refusal = modalities.unsupported("only text is supported by the chosen provider");
            if names.iter().any(is_text) {
                dropped.leave_out(refusal)?;
            } else {
                return Err(refusal);
            }
        }
    }
    let wanted = pick(at, "responseLogprobs", "response_logprobs")
        .map(|at| at.bool())
        .transpose()?;
    let others = at.get("logprobs").map(|at| at.u64()).transpose()?;
    request.logprobs = wanted.unwrap_or(false).then(|| others.unwrap_or(0));
    request.max_tokens = pick(at, "maxOutputTokens", "max_output_tokens")
        .map(|at| at.u64())
        .transpose()?;
    request.temperature = at.get("temperature").map(|at| at.number()).transpose()?;
    request.top_p = pick(at, "topP", "top_p").map(|at| at.number()).transpose()?;
    request.top_k = pick(at, "topK", "top_k").map(|at| at.number()).transpose()?;
    // Zero is the default of both penalties: nothing is lost with it.
    request.frequency_penalty = pick(at, "frequencyPenalty", "frequency_penalty")
        .map(|at| at.number())
        .transpose()?
        .filter(|number| !is(number, 0.0));
    request.presence_penalty = pick(at, "presencePenalty", "presence_penalty")
        .map(|at| at.number())
        .transpose()?
        .filter(|number| !is(number, 0.0));
    request.seed = at.get("seed").map(|at| at.number()).transpose()?;
    if let Some(stop) = pick(at, "stopSequences", "stop_sequences") {
        request.stop = stop.strings()?;
    }
    if let Some(count) = pick(at, "candidateCount", "candidate_count") {
        request.choices = count.u64()?.max(1);
    }
    request.format = format(at)?;
    if let Some(config) = pick(at, "thinkingConfig", "thinking_config") {
        config.object()?;
        let budget = pick(&config, "thinkingBudget", "thinking_budget")
            .map(|at| at.number())
            .transpose()?;
        let level = pick(&config, "thinkingLevel", "thinking_level")
            .map(|at| at.str())
            .transpose()?;
        request.show_thoughts = pick(&config, "includeThoughts", "include_thoughts")
            .map(|at| at.bool())
            .transpose()?
            .unwrap_or(false);
        request.thinking = match (level, budget.and_then(|budget| budget.as_i64())) {
            (Some(level), _) => Some(Thinking::Effort(level.to_ascii_lowercase())),
            (None, Some(0)) => Some(Thinking::Off),
            (None, Some(budget)) => Some(u64::try_from(budget).map_or(Thinking::Adaptive, Thinking::Budget)),
            // Thoughts can be read only where there are any, and Gemini's models think unasked.
            (None, None) => request.show_thoughts.then_some(Thinking::Adaptive),
        };
    }
    Ok(())
}

fn format(at: &Cursor<'_>) -> Result<Option<Format>, RequestError> {
    let json_schema = pick(at, "responseJsonSchema", "response_json_schema");
    let own_schema = pick(at, "responseSchema", "response_schema");
    let mime = pick(at, "responseMimeType", "response_mime_type");
    match mime.as_ref().map(Cursor::str).transpose()? {
        None | Some("text/plain" | "") => return Ok(None),
        Some("application/json") => {}
        Some(_) => {
            let problem = "must be text/plain or application/json for the chosen provider";
            return Err(mime.map_or_else(|| at.unsupported(problem), |mime| mime.unsupported(problem)));
        }
    }
    let (schema, path) = match (json_schema, own_schema) {
        (Some(at), _) => (schema::read(Some(at))?, at.path()),
        (None, Some(at)) => (schema::read(Some(at))?.as_ref().map(to_json_schema), at.path()),
        (None, None) => return Ok(Some(Format::JsonObject)),
    };
    let Some(schema) = schema else {
        return Ok(Some(Format::JsonObject));
    };
    // Not strict: the other dialects ask more of a strict schema than Gemini does of any.
    Ok(Some(Format::JsonSchema {
        name: None,
        schema,
        strict: None,
        path,
    }))
}

fn tools(root: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    if let Some(list) = root.get("tools") {
        for tool in list.items()? {
            for name in tool.object()?.keys() {
                let Some(at) = tool.get(name).filter(|_| !is_declarations(name)) else {
                    continue;
                };
                request.hosted.push(hosted(name, &at, dropped)?);
            }
            let Some(list) = pick(&tool, "functionDeclarations", "function_declarations") else {
                continue;
            };
            for function in list.items()? {
                request.tools.push(declaration(&function, dropped)?);
            }
        }
    }
    let Some(config) = pick(root, "toolConfig", "tool_config") else {
        return Ok(());
    };
    config.note_unknown(&["functionCallingConfig", "function_calling_config"], dropped);
    let Some(calling) = pick(&config, "functionCallingConfig", "function_calling_config") else {
        return Ok(());
    };
    let known = ["mode", "allowedFunctionNames", "allowed_function_names"];
    calling.note_unknown(&known, dropped);
    let names = pick(&calling, "allowedFunctionNames", "allowed_function_names")
        .map(|at| at.strings())
        .transpose()?
        .map(|names| names.into_iter().map(ToolName::from).collect::<Vec<_>>());
    let Some(mode) = calling.get("mode") else { return Ok(()) };
    request.tool_choice = Some(match (mode.str()?.to_ascii_uppercase().as_str(), names) {
        ("AUTO" | "VALIDATED" | "MODE_UNSPECIFIED", None) => ToolChoice::Auto,
        ("AUTO" | "VALIDATED" | "MODE_UNSPECIFIED", Some(names)) => ToolChoice::Only { names, required: false },
        ("ANY", Some(names)) if !names.is_empty() => ToolChoice::Only { names, required: true },
        ("ANY", _) => ToolChoice::Required,
        ("NONE", _) => ToolChoice::None,
        _ => return Err(mode.wrong("must be AUTO, ANY, NONE or VALIDATED")),
    });
    Ok(())
}

fn is_declarations(name: &str) -> bool {
    matches!(name, "functionDeclarations" | "function_declarations")
}

/// A tool that the API runs itself, by the name of its field.
fn hosted(name: &str, at: &Cursor<'_>, dropped: &mut Dropped) -> Result<Hosted, RequestError> {
    let path = at.path();
    let searches = matches!(
        name,
        "googleSearch" | "google_search" | "googleSearchRetrieval" | "google_search_retrieval"
    );
    let search = if searches {
        at.note_unknown(&["excludeDomains", "exclude_domains"], dropped);
        let blocked = pick(at, "excludeDomains", "exclude_domains");
        Some(WebSearch {
            blocked_domains: blocked.map(|at| at.strings()).transpose()?,
            path: path.clone(),
            ..WebSearch::default()
        })
    } else {
        None
    };
    let name = if searches { WEB_SEARCH } else { name }.to_owned();
    Ok(Hosted { name, search, path })
}

fn declaration(at: &Cursor<'_>, dropped: &mut Dropped) -> Result<Tool, RequestError> {
    at.object()?;
    at.note_unknown(
        &[
            "name",
            "description",
            "parameters",
            "parametersJsonSchema",
            "parameters_json_schema",
        ],
        dropped,
    );
    let json_schema = pick(at, "parametersJsonSchema", "parameters_json_schema");
    let (schema, path) = match json_schema {
        Some(json_schema) => (schema::read(Some(json_schema))?, json_schema.path()),
        None => (
            schema::read(at.get("parameters"))?.as_ref().map(to_json_schema),
            at.child("parameters"),
        ),
    };
    Ok(Tool {
        name: at.need("name")?.string()?.into(),
        description: at.get("description").map(|at| at.string()).transpose()?,
        schema,
        path,
    })
}
