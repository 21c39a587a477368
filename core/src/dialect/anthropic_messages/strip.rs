//! Thoughts of other providers, taken out of a request that otherwise passes as it came.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use super::super::Translated;
use super::super::envelope::splice;
use super::super::strip::{Fields, Layout, is_wrapped, turns};
use crate::json::{self, Value};

const LAYOUT: Layout = Layout {
    turns: "messages",
    parts: "content",
};

/// The body without foreign thoughts; `None`: it stays as it is.
///
/// `Anthropic` refuses to think with a budget amid a round of tool calls that was begun without thoughts of its own. Where
/// another model began it, thinking is off until the round is over, and listed.
pub(in super::super) fn strip(_: &str, body: &Bytes) -> Option<Translated> {
    let top: Fields<'_> = json::from_slice(body).ok()?;
    let (old, turns) = turns(&top, &LAYOUT, &part_without)?;
    let stripped = splice(body, old, format!("[{}]", turns.join(",")).as_bytes());
    let off = thinking_with_budget(&stripped).filter(|_| amid_unsigned_calls(&turns));
    let (body, dropped) = match off {
        Some(thinking) => (
            splice(&stripped, thinking, br#"{"type":"disabled"}"#),
            vec!["thinking".to_owned()],
        ),
        None => (stripped, Vec::new()),
    };
    Some(Translated {
        body,
        dropped,
        ..Translated::default()
    })
}

/// The setting, where it is one with a budget.
fn thinking_with_budget(body: &Bytes) -> Option<&str> {
    #[derive(Deserialize)]
    struct Thinking<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    let top: Fields<'_> = json::from_slice(body).ok()?;
    let raw = top.get("thinking")?.get();
    let thinking: Thinking<'_> = json::from_str(raw).ok()?;
    (thinking.kind == "enabled").then_some(raw)
}

/// Whether the last turn brings results of calls, and the one before does not begin with a thought.
fn amid_unsigned_calls(turns: &[Cow<'_, str>]) -> bool {
    let first_kind = |turn: &str| {
        let turn = json::parse(turn.as_bytes()).ok()?;
        Some(turn.get("content")?.get(0)?.get("type")?.as_str()?.to_owned())
    };
    let [.., before, last] = turns else { return false };
    first_kind(last).as_deref() == Some("tool_result")
        && !matches!(first_kind(before).as_deref(), Some("thinking" | "redacted_thinking"))
}

fn part_without(part: &str) -> Option<Cow<'_, str>> {
    let untouched = Some(Cow::Borrowed(part));
    let Ok(value) = json::parse(part.as_bytes()) else {
        return untouched;
    };
    let foreign = match value.get("type").and_then(Value::as_str) {
        Some("thinking") => is_wrapped(&value, "signature"),
        Some("redacted_thinking") => is_wrapped(&value, "data"),
        _ => false,
    };
    if foreign { None } else { untouched }
}
