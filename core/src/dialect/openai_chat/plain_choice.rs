//! `allowed_tools`, spelled out in a request that otherwise passes as it came, for servers that do not know it.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;

use super::super::envelope::splice;
use crate::json::{self, Raw, Value, json};
use crate::search::finder;

finder!(KEY, "\"allowed_tools\"");

/// The body with a choice among tools in words that every server knows: one function that must be called is named, else
/// only the allowed tools are offered, with `auto` or `required`. All other bytes stay as they are, as does the whole body
/// where the choice is not one that `OpenAI` would take: the server says what is wrong with it.
pub fn without_allowed_tools(body: &Bytes) -> Bytes {
    if KEY.find(body).is_none() {
        return body.clone();
    }
    spelled_out(body).unwrap_or_else(|| body.clone())
}

fn spelled_out(body: &Bytes) -> Option<Bytes> {
    let top: HashMap<Cow<'_, str>, Raw<'_>> = json::from_slice(body).ok()?;
    let old = top.get("tool_choice")?.get();
    let choice = json::parse(old.as_bytes()).ok()?;
    if choice.get("type")?.as_str()? != "allowed_tools" {
        return None;
    }
    let choice = choice.get("allowed_tools")?;
    let mode = choice.get("mode")?.as_str()?;
    let allowed = choice.get("tools")?.as_array()?;
    if let ([one], "required") = (allowed.as_slice(), mode) {
        return Some(splice(body, old, one.to_string().as_bytes()));
    }
    let tools = top.get("tools")?.get();
    let mut kept = Vec::new();
    for tool in json::from_str::<Vec<Raw<'_>>>(tools).ok()? {
        let name = name_of(&json::parse(tool.get().as_bytes()).ok()?);
        if allowed.iter().any(|allowed| name_of(allowed) == name) {
            kept.push(tool.get());
        }
    }
    let kept = format!("[{}]", kept.join(","));
    let mode = json!(mode).to_string();
    // Both stand in the same body: what lies around and between them stays.
    let place = |text: &str| (text.as_ptr() as usize).checked_sub(body.as_ptr() as usize);
    let mut changes = [(place(old)?, old.len(), mode), (place(tools)?, tools.len(), kept)];
    changes.sort_unstable();
    let mut out = Vec::with_capacity(body.len());
    let mut from = 0;
    for (at, length, text) in &changes {
        out.extend_from_slice(body.get(from..*at)?);
        out.extend_from_slice(text.as_bytes());
        from = at + length;
    }
    out.extend_from_slice(body.get(from..)?);
    Some(out.into())
}

/// What tells a tool from others: its type and the name within the field of that type.
fn name_of(tool: &Value) -> Option<(String, String)> {
    let kind = tool.get("type")?.as_str()?;
    let name = tool.get(kind)?.get("name")?.as_str()?;
    Some((kind.to_owned(), name.to_owned()))
}
