//! What a chat completion request asks for beyond words.

use crate::json::{Error, Pull};

use super::super::features::{Found, named, says};
use super::super::search::{OFF, Plugin};

/// Reads a whole request.
pub(in super::super) fn features(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        named!(found, name, {
            "messages" => at.items(&mut |at| message(at, found))?,
            "tools" => at.items(&mut |at| tool(at, found))?,
            "functions" => found.features.tools |= says(at)?,
            // OpenAI's and Alibaba's.
            "web_search_options" | "enable_search" => searches(says(at)?, found),
            "search_parameters" => search(at, found)?,
            "plugins" => plugins(at, found)?,
            "response_format" => format(at, found)?,
            "reasoning_effort" => found.features.thinking |= says(at)?,
            "modalities" => at.items(&mut |at| {
                match at.text()?.as_deref() {
                    Some("audio") => found.features.audio = true,
                    Some("image") => found.features.images = true,
                    _ => {}
                }
                Ok(())
            })?,
            "audio" => found.features.audio |= says(at)?,
            "store" => found.features.stored_output |= says(at)?,
            "n" => found.choices("n", at)?,
            "temperature" => found.temperature("temperature", at)?,
        });
        Ok(())
    })
}

fn searches(says: bool, found: &mut Found) {
    found.features.web_search |= says;
    found.features.provider_tools |= says;
}

/// xAI's: it searches where no mode is named too.
fn search(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    let mut says = says(&mut at.ahead())?;
    let mut is_off = None;
    at.members(&mut |name, at| {
        named!(found, name, {
            "mode" => {
                let is = at.text()?.as_deref() == Some(OFF);
                is_off = Some(is_off.unwrap_or(true) && is);
            },
        });
        Ok(())
    })?;
    says &= is_off != Some(true);
    searches(says, found);
    Ok(())
}

/// OpenRouter's.
fn plugins(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    if !at.is_array() {
        // Nobody knows what it is.
        let says = says(at)?;
        searches(says, found);
        return Ok(());
    }
    at.items(&mut |at| {
        let says = says(&mut at.ahead())?;
        let (mut ids, mut is_off) = (Vec::new(), None);
        at.members(&mut |name, at| {
            named!(found, name, {
                "id" => ids.push(Plugin::of(at.text()?.as_deref())),
                // One that the account has switched on is switched off so.
                "enabled" => {
                    let is = at.skip()? == "false";
                    is_off = Some(is_off.unwrap_or(true) && is);
                },
            });
            Ok(())
        })?;
        if !says || is_off == Some(true) {
            return Ok(());
        }
        if ids.is_empty() {
            ids.push(Plugin::of(None));
        }
        found.features.provider_tools = true;
        found.features.web_search |= ids.contains(&Plugin::Web);
        found.features.files |= ids.contains(&Plugin::Files);
        Ok(())
    })
}

fn message(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        named!(found, name, {
            "content" => at.items(&mut |at| part(at, found))?,
            // What the model said before, by the name under which its provider keeps it.
            "audio" => found.features.audio |= says(at)?,
        });
        Ok(())
    })
}

/// Members of a part that are looked at.
#[rustfmt::skip]
const PART: [&str; 14] = [
    "type", "file", "image_url", "input_image", "image", "input_audio", "audio_url", "audio", "video_url", "video", "input_video", "input_file",
    "document", "document_url",
];

/// A part is told by its type, and by the member that holds it: servers look at either.
fn part(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        match name {
            "type" => {
                if let Some(kind) = at.text()? {
                    kind_of(&kind, found);
                }
            }
            "file" => {
                found.features.files = true;
                at.members(&mut |name, at| {
                    named!(found, name, {
                        "file_id" => found.features.stored_input |= says(at)?,
                    });
                    Ok(())
                })?;
            }
            _ => {
                kind_of(name, found);
                found.other(name, &PART);
            }
        }
        Ok(())
    })
}

fn kind_of(name: &str, found: &mut Found) {
    match name {
        "image_url" | "input_image" | "image" => found.features.images = true,
        "input_audio" | "audio_url" | "audio" => found.features.audio = true,
        "video_url" | "video" | "input_video" => found.features.video = true,
        "file" | "input_file" | "document" | "document_url" => found.features.files = true,
        _ => {}
    }
}

fn tool(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        named!(found, name, {
            "type" => match at.text()?.as_deref() {
                None => {}
                Some("function" | "custom") => found.features.tools = true,
                Some(kind) => hosted(kind, found),
            },
            "function" | "custom" => found.features.tools = true,
        });
        Ok(())
    })
}

/// A tool of the provider's, by its type.
pub(in super::super) fn hosted(kind: &str, found: &mut Found) {
    let features = &mut found.features;
    features.provider_tools = true;
    features.web_search |= kind.starts_with("web_");
    features.code_execution |= kind.starts_with("code_") || kind.ends_with("shell");
    features.images |= kind.starts_with("image_generation");
}

/// The form of the answer: text, or JSON.
pub(in super::super) fn format(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        named!(found, name, {
            "type" => found.features.structured_output |= at.text()?.is_some_and(|kind| kind != "text"),
        });
        Ok(())
    })
}
