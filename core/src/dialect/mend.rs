//! What the target would refuse, said so that it takes it; before a request is written, and of every caller alike.
//!
//! Pure respellings go without a word, what says something else than before is listed, and what cannot be mended is
//! refused by its path, so that another candidate is asked.

mod blank;
mod history;
mod settings;

use super::dropped::{Dropped, Parts};
use super::ids::safe_id;
use super::message::{Format, Part, Request, Role, Tool};
use super::rules::Rules;
use super::{RequestError, Target, media, schema};

pub(super) use history::answered;

/// Mends a request for `to`.
///
/// # Errors
/// `VAL_UNSUPPORTED` with the path of what this target does not take.
pub(super) fn mend(
    request: &mut Request,
    to: &Rules,
    target: &Target<'_>,
    dropped: &mut Dropped,
) -> Result<(), RequestError> {
    settings::mend(request, to, dropped)?;
    history::mend(request, to)?;
    for turn in &mut request.turns {
        turn.parts = judged(std::mem::take(&mut turn.parts), turn.role, to, dropped)?;
    }
    blank::mend(request, to, target, dropped)?;
    tools(request, to, dropped)?;
    format(request, to, dropped)
}

/// The parts with their media as the target takes them.
fn judged(parts: Vec<Part>, role: Role, to: &Rules, dropped: &mut Dropped) -> Result<Vec<Part>, RequestError> {
    let mut kept = Parts::new();
    for part in parts {
        let part = match part {
            Part::Media(media) if role == Role::Assistant && !to.assistant_media => {
                let problem = "media in an assistant message is not supported by the chosen provider";
                Err(RequestError::unsupported(&media.path, problem))
            }
            Part::Media(media) => media::judged(media, to),
            Part::Result(mut result) => {
                result.parts = judged(result.parts, role, to, dropped)?;
                Ok(Part::Result(result))
            }
            part => Ok(part),
        };
        kept.take(part, dropped)?;
    }
    kept.finish()
}

fn tools(request: &mut Request, to: &Rules, dropped: &mut Dropped) -> Result<(), RequestError> {
    let mut kept: Vec<Tool> = Vec::with_capacity(request.tools.len());
    for mut tool in std::mem::take(&mut request.tools) {
        // Lists that are put together from several places say some twice; the first is kept.
        if !to.repeats_tools && kept.iter().any(|kept| kept.name == tool.name) {
            dropped.note(&tool.path);
            continue;
        }
        // Only one of them must be told that there are no arguments.
        if tool.schema.is_none() && !to.tools_need_schema {
            kept.push(tool);
            continue;
        }
        match schema::for_tool(to.schema, tool.schema.as_ref(), &tool.path, dropped) {
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

/// Letters of a format's name that `OpenAI` takes.
const MAX_NAME: usize = 64;

fn format(request: &mut Request, to: &Rules, dropped: &mut Dropped) -> Result<(), RequestError> {
    let Some(Format::JsonSchema {
        name,
        schema,
        strict,
        path,
    }) = &mut request.format
    else {
        return Ok(());
    };
    // Anything that is JSON: an object comes nearest.
    if schema::says_nothing(schema) && !to.takes_any_schema {
        dropped.note(path.as_str());
        request.format = Some(Format::JsonObject);
        return Ok(());
    }
    *name = name.take().map(|name| safe_id(&name).chars().take(MAX_NAME).collect());
    match schema::for_answer(to.schema, schema, strict, path, dropped) {
        Ok(adapted) => *schema = adapted,
        Err(refusal) => {
            dropped.leave_out(refusal)?;
            request.format = None;
        }
    }
    Ok(())
}
