//! Responses requests, read.

use crate::json::Value;

use super::super::RequestError;
use super::super::cursor::Cursor;
use super::super::dropped::Dropped;
use super::super::message::{FieldNames, Format, Request, Thinking};
use super::super::openai_tools::json_schema;
use super::{input, tools};

/// Fields that have their place in the common model or in the answer, or that mean nothing once the proxy has read them.
const KNOWN: &[&str] = &[
    "model",
    "input",
    "instructions",
    "stream",
    "stream_options",
    "max_output_tokens",
    "temperature",
    "top_p",
    "top_logprobs",
    "text",
    "reasoning",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "user",
    "safety_identifier",
    "include",
    "background",
    "store",
    "truncation",
];

/// Fields that name something which `OpenAI` keeps.
const STORED: &[(&str, &str)] = &[
    (
        "previous_response_id",
        "only OpenAI knows its earlier responses: send the whole history in input, or route this model to provider: OpenAI",
    ),
    (
        "conversation",
        "only OpenAI keeps conversations: send the whole history in input, or route this model to provider: OpenAI",
    ),
    (
        "prompt",
        "only OpenAI keeps prompt templates: send the text in instructions and input, or route this model to provider: OpenAI",
    ),
];

const FIELDS: FieldNames = FieldNames {
    max_tokens: "max_output_tokens",
    turns: "input",
    temperature: "temperature",
    top_p: "top_p",
    // This API has none of these.
    top_k: "",
    frequency_penalty: "",
    presence_penalty: "",
    seed: "",
    stop: "",
    logprobs: "top_logprobs",
    choices: "",
    format: "text.format",
    thinking: "reasoning.effort",
    user: "user",
    parallel_tools: "parallel_tool_calls",
    tool_choice: "tool_choice",
};

/// Reads a Responses request.
pub(in super::super) fn decode(body: &Value, dropped: &mut Dropped) -> Result<Request, RequestError> {
    let root = Cursor::root(body);
    refuse(&root, dropped)?;
    root.note_unknown(KNOWN, dropped);
    let mut request = Request {
        fields: FIELDS,
        choices: 1,
        ..Request::default()
    };
    if let Some(at) = root.get("instructions") {
        request.system.push(at.string()?);
    }
    input::decode(&root.need("input")?, &mut request, dropped)?;
    sampling(&root, &mut request, dropped)?;
    tools::decode(&root, &mut request, dropped)?;
    if let Some(text) = root.get("text") {
        text.object()?;
        text.note_unknown(&["format"], dropped);
        request.format = text.get("format").map(|at| format(&at)).transpose()?.flatten();
    }
    Ok(request)
}

fn refuse(root: &Cursor<'_>, dropped: &mut Dropped) -> Result<(), RequestError> {
    for (name, problem) in STORED {
        if let Some(at) = root.get(name) {
            return Err(at.unsupported(problem));
        }
    }
    if let Some(at) = root.get("background")
        && at.bool()?
    {
        dropped.leave_out(at.unsupported(
            "only OpenAI answers in the background: leave it out, or route this model to provider: OpenAI",
        ))?;
    }
    Ok(())
}

fn sampling(root: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    request.max_tokens = root.get("max_output_tokens").map(|at| at.u64()).transpose()?;
    request.temperature = root.get("temperature").map(|at| at.number()).transpose()?;
    request.top_p = root.get("top_p").map(|at| at.number()).transpose()?;
    user(root, request, dropped)?;
    logprobs(root, request, dropped)?;
    if let Some(reasoning) = root.get("reasoning") {
        reasoning.object()?;
        // Thoughts are given as summaries wherever a provider shows them.
        reasoning.note_unknown(&["effort", "summary", "generate_summary"], dropped);
        request.show_thoughts = reasoning
            .get("summary")
            .or_else(|| reasoning.get("generate_summary"))
            .is_some();
        let effort = reasoning.get("effort").map(|at| at.string()).transpose()?;
        request.thinking = effort.map(|effort| match effort.as_str() {
            "none" => Thinking::Off,
            _ => Thinking::Effort(effort),
        });
    }
    // Nothing is stored for the caller, and no history is cut.
    let store = root.get("store").map(|at| at.bool()).transpose()?;
    dropped.note_if(store == Some(true), "store");
    let truncation = root.get("truncation").map(|at| at.str()).transpose()?;
    dropped.note_if(truncation.is_some_and(|way| way != "disabled"), "truncation");
    Ok(())
}

/// Asked for by number, or in `include`, or both.
fn logprobs(root: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    let top = root.get("top_logprobs").map(|at| at.u64()).transpose()?.unwrap_or(0);
    request.logprobs = (top > 0).then_some(top);
    let Some(include) = root.get("include") else {
        return Ok(());
    };
    for item in include.items()? {
        match item.str()? {
            // Always given.
            "reasoning.encrypted_content" => {}
            "message.output_text.logprobs" => {
                if request.logprobs.is_none() {
                    request.fields.logprobs = "include";
                }
                request.logprobs = Some(top);
            }
            _ => dropped.note(item.path()),
        }
    }
    Ok(())
}

/// Two names for the same: the later one is the API's own choice since `user` is deprecated.
fn user(root: &Cursor<'_>, request: &mut Request, dropped: &mut Dropped) -> Result<(), RequestError> {
    let old = root.get("user").map(|at| at.string()).transpose()?;
    let new = root.get("safety_identifier").map(|at| at.string()).transpose()?;
    if new.is_some() {
        request.fields.user = "safety_identifier";
        dropped.note_if(old.is_some() && old != new, "user");
    }
    request.user = new.or(old);
    Ok(())
}

fn format(at: &Cursor<'_>) -> Result<Option<Format>, RequestError> {
    at.object()?;
    let kind = at.need("type")?;
    match kind.str()? {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::JsonObject)),
        "json_schema" => {
            at.need("schema")?;
            json_schema(at).map(Some)
        }
        _ => Err(kind.wrong("must be text, json_object or json_schema")),
    }
}
