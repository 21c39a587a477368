//! What a messages request asks for beyond words.

use crate::json::{Error, Pull};

use super::super::features::{Found, says};

/// Blocks within each other that are looked into: a tool's result holds blocks, and a document in it may too.
const LEVELS: u32 = 4;

/// Reads a whole request.
pub(in super::super) fn features(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        match name {
            "messages" => at.items(&mut |at| {
                at.members(&mut |name, at| match name {
                    "content" => blocks(at, LEVELS, found),
                    _ => Ok(()),
                })
            })?,
            "system" => blocks(at, LEVELS, found)?,
            "tools" => at.items(&mut |at| tool(at, found))?,
            "mcp_servers" => found.features.provider_tools |= says(at)?,
            "container" => found.features.stored_input |= says(at)?,
            "thinking" => thinking(at, found)?,
            "output_format" => found.features.structured_output |= says(at)?,
            "output_config" => at.members(&mut |name, at| {
                match name {
                    "format" => found.features.structured_output |= says(at)?,
                    "effort" => found.features.thinking |= says(at)?,
                    _ => {}
                }
                Ok(())
            })?,
            "temperature" => found.temperature("temperature", at)?,
            _ => {}
        }
        Ok(())
    })
}

fn thinking(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        if name == "type" {
            found.features.thinking |= at.text()?.is_some_and(|kind| kind != "disabled");
        }
        Ok(())
    })
}

fn blocks(at: &mut Pull<'_>, levels: u32, found: &mut Found) -> Result<(), Error> {
    if levels == 0 {
        return Ok(());
    }
    at.items(&mut |at| {
        at.members(&mut |name, at| {
            match name {
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
                _ => {}
            }
            Ok(())
        })
    })
}

fn source(at: &mut Pull<'_>, levels: u32, found: &mut Found) -> Result<(), Error> {
    at.members(&mut |name, at| {
        match name {
            "media_type" => {
                if let Some(mime) = at.text()? {
                    found.media(&mime);
                }
            }
            "file_id" => found.features.stored_input |= says(at)?,
            "content" => blocks(at, levels, found)?,
            _ => {}
        }
        Ok(())
    })
}

/// A tool without a type is the caller's.
fn tool(at: &mut Pull<'_>, found: &mut Found) -> Result<(), Error> {
    let mut is_hosted = false;
    at.members(&mut |name, at| {
        if name == "type"
            && let Some(kind) = at.text()?.filter(|kind| kind != "custom")
        {
            is_hosted = true;
            found.features.web_search |= kind.starts_with("web_");
            found.features.code_execution |= kind.starts_with("code_execution");
        }
        // Only the caller's own have one.
        found.features.tools |= name == "input_schema";
        Ok(())
    })?;
    found.features.provider_tools |= is_hosted;
    found.features.tools |= !is_hosted;
    Ok(())
}
