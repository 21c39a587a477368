//! Thoughts of other providers, taken out of a request that otherwise passes as it came.

use std::borrow::Cow;

use bytes::Bytes;

use super::super::Translated;
use super::super::envelope::splice;
use super::super::strip::{Fields, Layout, is_wrapped, turns};
use super::{NO_SIGNATURE, signed};
use crate::json::{self, json};

const LAYOUT: Layout = Layout {
    turns: "contents",
    parts: "parts",
};

/// The body without foreign thoughts; `None`: it stays as it is. Calls of other providers' models get what the third
/// generation wants in place of a signature.
pub(in super::super) fn strip(model: &str, body: &Bytes) -> Option<Translated> {
    let top: Fields<'_> = json::from_slice(body).ok()?;
    // A count of tokens has the whole request one level down.
    let nested: Option<Fields<'_>> = top
        .get("generateContentRequest")
        .and_then(|raw| json::from_str(raw.get()).ok());
    let (old, turns) = turns(nested.as_ref().unwrap_or(&top), &LAYOUT, &|part| {
        part_without(model, part)
    })?;
    Some(Translated {
        body: splice(body, old, format!("[{}]", turns.join(",")).as_bytes()),
        ..Translated::default()
    })
}

fn part_without<'a>(model: &str, part: &'a str) -> Option<Cow<'a, str>> {
    let untouched = Some(Cow::Borrowed(part));
    let Ok(mut value) = json::parse(part.as_bytes()) else {
        return untouched;
    };
    let Some(name) = ["thoughtSignature", "thought_signature"]
        .into_iter()
        .find(|name| is_wrapped(&value, name))
    else {
        return untouched;
    };
    let object = value.as_object_mut()?;
    if object.get("thought") == Some(&json!(true)) {
        return None;
    }
    // The first of a step is the one that is wrapped.
    object.remove(name);
    if signed(model) {
        object.insert("thoughtSignature".to_owned(), NO_SIGNATURE.into());
    }
    Some(value.to_string().into())
}
