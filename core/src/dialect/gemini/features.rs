//! What a `generateContent` request asks for beyond words; and one for a count of its tokens, which holds such a request.

use crate::json::{Error, Pull};

use super::super::features::{Found, named, says};
use super::super::letters::is_like;

/// Parts within each other that are looked into: a function's response holds parts; a count holds a request.
const LEVELS: u32 = 4;

/// Reads a whole request.
pub(in super::super) fn features(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    request(at, LEVELS, found)
}

fn request(at: &mut Pull<'_>, levels: u32, found: &mut Found) -> Result<(), Error> {
    if levels == 0 {
        return Ok(());
    }
    at.members(&mut |name, at| {
        named!(found, name, {
            "contents" if at.is_array() => at.items(&mut |at| content(at, found))?,
            "contents" | "systemInstruction" | "system_instruction" => content(at, found)?,
            "tools" if at.is_array() => at.items(&mut |at| tool(at, found))?,
            "tools" => tool(at, found)?,
            "generationConfig" | "generation_config" => config(at, found)?,
            "cachedContent" | "cached_content" => found.features.stored_input |= says(at)?,
            "generateContentRequest" | "generate_content_request" => request(at, levels - 1, found)?,
        });
        Ok(())
    })
}

fn content(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        named!(found, name, {
            "parts" => parts(at, LEVELS, found)?,
        });
        Ok(())
    })
}

fn parts(at: &mut Pull<'_>, levels: u32, found: &mut Found) -> Result<(), Error> {
    if levels == 0 {
        return Ok(());
    }
    if at.is_array() {
        return at.items(&mut |at| part(at, levels, found));
    }
    // The API takes one for a list of one.
    part(at, levels, found)
}

fn part(at: &mut Pull<'_>, levels: u32, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        named!(found, name, {
            "inlineData" | "inline_data" => data(at, found)?,
            "fileData" | "file_data" => {
                found.features.stored_input = true;
                data(at, found)?;
            },
            "functionResponse" | "function_response" => at.members(&mut |name, at| {
                named!(found, name, {
                    "parts" => parts(at, levels - 1, found)?,
                });
                Ok(())
            })?,
        });
        Ok(())
    })
}

fn data(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    let mut is_told = false;
    at.members(&mut |name, at| {
        named!(found, name, {
            "mimeType" | "mime_type" => {
                if let Some(mime) = at.text()? {
                    is_told = true;
                    found.media(&mime);
                }
            },
            "fileUri" | "file_uri" => {
                let uri = at.text()?;
                found.features.video |= uri.is_some_and(|uri| uri.contains("youtu"));
            },
        });
        Ok(())
    })?;
    found.features.files |= !is_told;
    Ok(())
}

/// A tool is told by the name of its field.
fn tool(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        if !says(at)? {
            return Ok(());
        }
        let features = &mut found.features;
        match name {
            "functionDeclarations" | "function_declarations" => features.tools = true,
            _ => {
                // In other letters it may be the caller's as well.
                features.tools |= is_like("functionDeclarations", name);
                features.provider_tools = true;
                let bare: String = name.chars().filter(|char| *char != '_').collect();
                let bare = bare.to_ascii_lowercase();
                features.web_search |= bare.contains("search") || bare == "urlcontext";
                features.code_execution |= bare == "codeexecution";
            }
        }
        Ok(())
    })
}

fn config(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        named!(found, name, {
            "temperature" => found.temperature("generationConfig.temperature", at)?,
            "candidateCount" | "candidate_count" => found.choices("generationConfig.candidateCount", at)?,
            "responseMimeType" | "response_mime_type" => {
                let mime = at.text()?;
                found.features.structured_output |= mime.is_some_and(|mime| !mime.is_empty() && mime != "text/plain");
            },
            "responseSchema" | "response_schema" | "responseJsonSchema" | "response_json_schema" => {
                found.features.structured_output |= says(at)?;
            },
            "thinkingConfig" | "thinking_config" => thinking(at, found)?,
            "speechConfig" | "speech_config" => found.features.audio |= says(at)?,
            "imageConfig" | "image_config" => found.features.images |= says(at)?,
            "responseModalities" | "response_modalities" => at.items(&mut |at| {
                let modality = at.text()?.map(|modality| modality.to_ascii_lowercase());
                match modality.as_deref() {
                    Some("image") => found.features.images = true,
                    Some("audio") => found.features.audio = true,
                    Some("video") => found.features.video = true,
                    _ => {}
                }
                Ok(())
            })?,
        });
        Ok(())
    })
}

/// A budget of nothing asks for no thoughts.
fn thinking(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        named!(found, name, {
            "thinkingBudget" | "thinking_budget" => {
                let budget = at.skip()?;
                found.features.thinking |= !matches!(budget, "0" | "null");
            },
            "thinkingLevel" | "thinking_level" | "includeThoughts" | "include_thoughts" => {
                found.features.thinking |= says(at)?;
            },
        });
        Ok(())
    })
}
