//! What the target would refuse, said so that it takes it; before a request is written, and of every caller alike.
//!
//! Pure respellings go without a word, what says something else than before is listed, and what cannot be mended is
//! refused by its path, so that another candidate is asked.

use super::at::Dropped;
use super::common::{Format, Request};
use super::{Dialect, RequestError, schema};

/// Mends a request for `to`.
///
/// # Errors
/// `VAL_UNSUPPORTED` with the path of what this target does not take.
pub(super) fn mend(request: &mut Request, to: Dialect, dropped: &mut Dropped) -> Result<(), RequestError> {
    tools(request, to, dropped)?;
    format(request, to, dropped)
}

fn tools(request: &mut Request, to: Dialect, dropped: &mut Dropped) -> Result<(), RequestError> {
    let mut kept = Vec::with_capacity(request.tools.len());
    for mut tool in std::mem::take(&mut request.tools) {
        // Only one of them must be told that there are no arguments.
        if tool.schema.is_none() && to != Dialect::AnthropicMessages {
            kept.push(tool);
            continue;
        }
        match schema::for_tool(to, tool.schema.as_ref(), &tool.path, dropped) {
            Ok(schema) => {
                tool.schema = Some(schema);
                kept.push(tool);
            }
            Err(refusal) => dropped.leave_out(refusal)?,
        }
    }
    request.tools = kept;
    Ok(())
}

fn format(request: &mut Request, to: Dialect, dropped: &mut Dropped) -> Result<(), RequestError> {
    let Some(Format::JsonSchema {
        schema, strict, path, ..
    }) = &mut request.format
    else {
        return Ok(());
    };
    // Anything that is JSON: an object comes nearest.
    if schema::says_nothing(schema) && to != Dialect::Gemini {
        dropped.note(path.as_str());
        request.format = Some(Format::JsonObject);
        return Ok(());
    }
    match schema::for_answer(to, schema, strict, path, dropped) {
        Ok(adapted) => *schema = adapted,
        Err(refusal) => {
            dropped.leave_out(refusal)?;
            request.format = None;
        }
    }
    Ok(())
}
