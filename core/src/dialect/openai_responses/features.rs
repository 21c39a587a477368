//! What a Responses request asks for beyond words.

use crate::json::{Error, Pull};

use super::super::features::{Found, named, says};
use super::super::openai_chat::features::{format, hosted};

/// Lists within each other that are looked into: a namespace holds tools, an item's output holds parts.
const LEVELS: u32 = 4;

/// Reads a whole request.
pub(in super::super) fn features(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    let mut stores = true;
    at.members(&mut |name, at| {
        named!(found, name, {
            "input" => items(at, LEVELS, found)?,
            "tools" => tools(at, LEVELS, found)?,
            "text" => at.members(&mut |name, at| {
                named!(found, name, {
                    "format" => format(at, found)?,
                });
                Ok(())
            })?,
            "reasoning" => at.members(&mut |name, at| {
                named!(found, name, {
                    "effort" => found.features.thinking |= says(at)?,
                });
                Ok(())
            })?,
            "previous_response_id" | "conversation" | "prompt" => found.features.stored_input |= says(at)?,
            // Kept unless the caller says otherwise.
            "store" => stores = at.skip()? != "false",
            "background" => found.features.stored_output |= says(at)?,
            "temperature" => found.temperature("temperature", at)?,
        });
        Ok(())
    })?;
    found.features.stored_output |= stores;
    Ok(())
}

/// Items and their parts: each is told by its type and by the members that hold its content.
fn items(at: &mut Pull<'_>, levels: u32, found: &mut Found) -> Result<(), Error> {
    if levels == 0 {
        return Ok(());
    }
    at.items(&mut |at| item(at, levels, found))
}

fn item(at: &mut Pull<'_>, levels: u32, found: &mut Found) -> Result<(), Error> {
    let mut has_kind = false;
    at.members(&mut |name, at| {
        named!(found, name, {
            "type" => {
                if let Some(kind) = at.text()? {
                    has_kind = true;
                    kind_of(&kind, found);
                }
            },
            "role" => has_kind = true,
            "content" => items(at, levels - 1, found)?,
            // Of a function parts; of a computer one screenshot.
            "output" => output(at, levels - 1, found)?,
            "tools" => tools(at, levels - 1, found)?,
            "image_url" => found.features.images |= says(at)?,
            "file_data" | "file_url" => found.features.files |= says(at)?,
            "file_id" => found.features.stored_input |= says(at)?,
        });
        Ok(())
    })?;
    // An item without a type is a reference to one that the provider keeps.
    found.features.stored_input |= !has_kind;
    Ok(())
}

fn output(at: &mut Pull<'_>, levels: u32, found: &mut Found) -> Result<(), Error> {
    if at.is_array() {
        return items(at, levels, found);
    }
    at.members(&mut |name, at| {
        named!(found, name, {
            "type" => {
                if let Some(kind) = at.text()? {
                    kind_of(&kind, found);
                }
            },
            "image_url" => found.features.images |= says(at)?,
        });
        Ok(())
    })
}

fn kind_of(kind: &str, found: &mut Found) {
    let features = &mut found.features;
    match kind {
        "input_image" | "computer_screenshot" | "image_generation_call" => features.images = true,
        "input_audio" => features.audio = true,
        "input_video" => features.video = true,
        "input_file" => features.files = true,
        "item_reference" => features.stored_input = true,
        _ => {}
    }
}

fn tools(at: &mut Pull<'_>, levels: u32, found: &mut Found) -> Result<(), Error> {
    if levels == 0 {
        return Ok(());
    }
    at.items(&mut |at| {
        let (mut kinds, mut is_client) = (Vec::new(), false);
        at.members(&mut |name, at| {
            named!(found, name, {
                "type" => kinds.extend(at.text()?),
                "execution" => is_client |= at.text()?.as_deref() == Some("client"),
                "tools" => tools(at, levels - 1, found)?,
            });
            Ok(())
        })?;
        for kind in kinds {
            match &*kind {
                "function" | "custom" => found.features.tools = true,
                "tool_search" if is_client => found.features.tools = true,
                // What is in it counts.
                "namespace" => {}
                kind => hosted(kind, found),
            }
        }
        Ok(())
    })
}
