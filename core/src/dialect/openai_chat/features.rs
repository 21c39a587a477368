//! What a chat completion request asks for beyond words.

use crate::json::{Error, Pull};

use super::super::features::{Found, named, says};

/// Reads a whole request.
pub(in super::super) fn features(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        named!(found, name, {
            "messages" => at.items(&mut |at| message(at, found))?,
            "tools" => at.items(&mut |at| tool(at, found))?,
            "functions" => found.features.tools |= says(at)?,
            // OpenAI's, OpenRouter's, xAI's and Alibaba's.
            "web_search_options" | "plugins" | "search_parameters" | "enable_search" => {
                let says = says(at)?;
                found.features.web_search |= says;
                found.features.provider_tools |= says;
            },
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
