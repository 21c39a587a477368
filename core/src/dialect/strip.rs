//! Taking thoughts that other providers signed out of a body that otherwise passes byte for byte.

use std::borrow::Cow;
use std::collections::HashMap;

use super::signature::{WRAPPED, unwrap};
use crate::json::{self, Raw, Value};
use crate::search::finder;

finder!(FIND_WRAPPED, WRAPPED);

/// Where a dialect's requests have their content: the list of turns, and the list of parts in each.
pub(super) struct Layout {
    /// The field that holds the turns.
    pub turns: &'static str,
    /// The field of a turn that holds its parts.
    pub parts: &'static str,
}

pub(super) type Fields<'a> = HashMap<Cow<'a, str>, Raw<'a>>;

/// Whether a text holds a wrapped signature at all: one search, for nearly every body the only one.
pub(super) fn holds_wrapped(text: &[u8]) -> bool {
    FIND_WRAPPED.find(text).is_some()
}

/// Whether a field of a part is a wrapped signature.
pub(super) fn is_wrapped(part: &Value, field: &str) -> bool {
    let text = part.get(field).and_then(Value::as_str);
    text.is_some_and(|text| unwrap(text).is_some())
}

/// The list of turns as it stands in `top` (a request's fields), and the turns that shall stand there. `part` says what
/// becomes of a part that holds a wrapped signature; none: it goes. So does a turn that has nothing else.
pub(super) fn turns<'a>(
    top: &Fields<'a>,
    layout: &Layout,
    part: &dyn Fn(&'a str) -> Option<Cow<'a, str>>,
) -> Option<(&'a str, Vec<Cow<'a, str>>)> {
    let list: Raw<'a> = top.get(layout.turns).copied()?;
    let mut kept: Vec<Cow<'a, str>> = Vec::new();
    for turn in json::from_str::<Vec<Raw<'a>>>(list.get()).ok()? {
        kept.extend(turn_without(turn.get(), layout.parts, part));
    }
    Some((list.get(), kept))
}

/// The turn, or nothing if nothing is left of it.
fn turn_without<'a>(
    turn: &'a str,
    parts: &str,
    part: &dyn Fn(&'a str) -> Option<Cow<'a, str>>,
) -> Option<Cow<'a, str>> {
    let untouched = Some(Cow::Borrowed(turn));
    if !holds_wrapped(turn.as_bytes()) {
        return untouched;
    }
    let Ok(fields) = json::from_str::<Fields<'a>>(turn) else {
        return untouched;
    };
    let Some(content) = fields.get(parts).map(|raw| raw.get()) else {
        return untouched;
    };
    let Ok(items) = json::from_str::<Vec<Raw<'a>>>(content) else {
        return untouched;
    };
    let mut kept: Vec<Cow<'a, str>> = Vec::with_capacity(items.len());
    for item in items {
        let text = item.get();
        if holds_wrapped(text.as_bytes()) {
            kept.extend(part(text));
        } else {
            kept.push(text.into());
        }
    }
    if kept.is_empty() {
        return None;
    }
    let at = (content.as_ptr() as usize).checked_sub(turn.as_ptr() as usize)?;
    let (before, after) = (turn.get(..at)?, turn.get(at + content.len()..)?);
    Some(format!("{before}[{}]{after}", kept.join(",")).into())
}
