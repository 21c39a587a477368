//! What chat completions and Responses say alike: function tools, custom tools, the choice of tools, a schema for the
//! answer.

use super::cursor::Cursor;
use super::dropped::Dropped;
use super::message::{Format, Tool, ToolChoice, ToolKind, ToolName};
use super::tool_names::{custom_description, custom_schema};
use super::{RequestError, schema};

/// What a function tool says of itself: in chat completions inside `function`, in Responses in the tool.
pub(super) fn function_tool(
    function: &Cursor<'_>,
    known: &[&str],
    dropped: &mut Dropped,
) -> Result<Tool, RequestError> {
    let strict = function.get("strict").map(|at| at.bool()).transpose()?.unwrap_or(false);
    dropped.note_if(strict, &function.child("strict"));
    function.note_unknown(known, dropped);
    Ok(Tool {
        name: function.need("name")?.string()?.into(),
        description: function.get("description").map(|at| at.string()).transpose()?,
        schema: schema::read(function.get("parameters"))?,
        path: function.child("parameters"),
    })
}

/// Reads a `tool_choice`. `nested`: the field that holds a list of allowed tools, where it is not in the choice itself.
/// `named`: the tools that one entry means.
pub(super) fn tool_choice(
    at: &Cursor<'_>,
    nested: Option<&str>,
    named: impl Fn(&Cursor<'_>) -> Result<Vec<ToolName>, RequestError>,
) -> Result<ToolChoice, RequestError> {
    const WRONG: &str = "must be none, auto, required or an object that names a tool";
    match at.value.as_str() {
        Some("auto") => return Ok(ToolChoice::Auto),
        Some("none") => return Ok(ToolChoice::None),
        Some("required") => return Ok(ToolChoice::Required),
        Some(_) => return Err(at.wrong(WRONG)),
        None => {}
    }
    at.object().map_err(|_| at.wrong(WRONG))?;
    if at.need("type")?.str()? == "allowed_tools" {
        let allowed = match nested {
            Some(field) => at.need(field)?,
            None => *at,
        };
        let mut names = Vec::new();
        for tool in allowed.need("tools")?.items()? {
            tool.object()?;
            names.extend(named(&tool)?);
        }
        let required = allowed.need("mode")?.str()? == "required";
        return Ok(ToolChoice::Only { names, required });
    }
    Ok(ToolChoice::Only {
        names: named(at)?,
        required: true,
    })
}

/// A tool that takes free text, as the function that stands for it. `format`: in chat completions it is nested differently.
/// A grammar is told to the model and held by nobody, so it is listed as approximated.
pub(super) fn custom(
    tool: &Cursor<'_>,
    format: Option<Cursor<'_>>,
    dropped: &mut Dropped,
) -> Result<Tool, RequestError> {
    let description = tool.get("description").map(|at| at.string()).transpose()?;
    let mut told = custom_description(description.as_deref(), None);
    if let Some(format) = format
        && format.need("type")?.str()? == "grammar"
    {
        dropped.note(format.path());
        let nested = format.get("grammar");
        let grammar = nested.as_ref().unwrap_or(&format);
        let (syntax, definition) = (grammar.need("syntax")?, grammar.need("definition")?);
        told = custom_description(description.as_deref(), Some((syntax.str()?, definition.str()?)));
    }
    Ok(Tool {
        name: ToolName::new(ToolKind::Custom, tool.need("name")?.string()?),
        description: Some(told),
        schema: Some(custom_schema()),
        path: tool.path(),
    })
}

/// A schema for the answer: in chat completions inside `json_schema`, in Responses in the format itself.
pub(super) fn json_schema(at: &Cursor<'_>) -> Result<Format, RequestError> {
    let name = at.get("name").map(|at| at.string()).transpose()?;
    let strict = at.get("strict").map(|at| at.bool()).transpose()?;
    Ok(match schema::read(at.get("schema"))? {
        Some(schema) => Format::JsonSchema {
            name,
            schema,
            strict,
            path: at.child("schema"),
        },
        None => Format::JsonObject,
    })
}
