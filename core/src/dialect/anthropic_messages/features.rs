//! What a messages request asks for beyond words.

use crate::json::{Error, Pull};

use super::super::features::{Found, named, says};

/// Blocks within each other that are looked into: a tool's result holds blocks, and a document in it may too.
const LEVELS: u32 = 4;

/// Reads a whole request.
pub(in super::super) fn features(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        named!(found, name, {
            "messages" => at.items(&mut |at| {
                at.members(&mut |name, at| {
                    named!(found, name, {
                        "content" => blocks(at, LEVELS, found)?,
                    });
                    Ok(())
                })
            })?,
            "system" => blocks(at, LEVELS, found)?,
            "tools" => at.items(&mut |at| tool(at, found))?,
            "mcp_servers" => found.features.provider_tools |= says(at)?,
            "container" => found.features.stored_input |= says(at)?,
            "thinking" => thinking(at, found)?,
            "output_format" => found.features.structured_output |= says(at)?,
            "output_config" => at.members(&mut |name, at| {
                named!(found, name, {
                    "format" => found.features.structured_output |= says(at)?,
                    "effort" => found.features.thinking |= says(at)?,
                });
                Ok(())
            })?,
            "temperature" => found.temperature("temperature", at)?,
        });
        Ok(())
    })
}

fn thinking(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        named!(found, name, {
            "type" => found.features.thinking |= at.text()?.is_some_and(|kind| kind != "disabled"),
        });
        Ok(())
    })
}

fn blocks(at: &mut Pull<'_>, levels: u32, found: &mut Found) -> Result<(), Error> {
    if levels == 0 {
        return Ok(());
    }
    at.items(&mut |at| {
        at.members(&mut |name, at| {
            named!(found, name, {
                "type" => match at.text()?.as_deref() {
                    Some("image") => found.features.images = true,
                    Some("document") => found.features.files = true,
                    Some("container_upload") => {
                        found.features.files = true;
                        found.features.stored_input = true;
                    }
                    _ => {}
                },
                "content" => blocks(at, levels - 1, found)?,
                "source" => source(at, levels - 1, found)?,
            });
            Ok(())
        })
    })
}

fn source(at: &mut Pull<'_>, levels: u32, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        named!(found, name, {
            "media_type" => {
                if let Some(mime) = at.text()? {
                    found.media(&mime);
                }
            },
            "file_id" => found.features.stored_input |= says(at)?,
            "content" => blocks(at, levels, found)?,
        });
        Ok(())
    })
}

/// A tool without a type is the caller's.
fn tool(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    let mut is_hosted = false;
    at.members(&mut |name, at| {
        named!(found, name, {
            "type" => {
                if let Some(kind) = at.text()?.filter(|kind| kind != "custom") {
                    is_hosted = true;
                    found.features.web_search |= kind.starts_with("web_");
                    found.features.code_execution |= kind.starts_with("code_execution");
                }
            },
            // Only the caller's own have one.
            "input_schema" => found.features.tools = true,
        });
        Ok(())
    })?;
    found.features.provider_tools |= is_hosted;
    found.features.tools |= !is_hosted;
    Ok(())
}
