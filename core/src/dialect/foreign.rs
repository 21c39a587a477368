//! Thoughts that one provider signed, carried through a caller that speaks another dialect, and back.
//!
//! Providers want their own thoughts back, with the signature as they gave it, and refuse those of others. A caller keeps
//! what its dialect has a place for: `Anthropic`'s `thinking` and `redacted_thinking` blocks, `Gemini`'s
//! `thoughtSignature`. So a foreign signature travels there as base64 of `bowsprit-v1:ORIGIN:SIGNATURE`. When the
//! conversation goes on, the one whose it is gets it back bare, another dialect's provider never sees it, and
//! [`without_foreign_thoughts`] takes it out where caller and provider speak the same dialect and the body would
//! otherwise pass untouched.
//!
//! In the common model `Anthropic`'s signatures stand bare, all others marked.

use std::borrow::Cow;

use crate::json::{self, Raw, Value, json};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;

use super::envelope::splice;
use super::gemini;
use super::{Dialect, Translated};

/// Twelve bytes, so that their base64 is the same whatever follows.
const MARK: &str = "bowsprit-v1:";
/// The base64 of [`MARK`]: what to look for in a body.
const MARKED: &[u8] = b"Ym93c3ByaXQtdjE6";

/// SDKs that hold signatures as bytes write them again with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whose signature it is, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody's: the thought was not signed.
    Unsigned,
    /// `Gemini`'s, of a text or thought.
    Gemini,
    /// `Gemini`'s, of the tool call that follows.
    GeminiCall,
    /// `Anthropic`'s, of a thought.
    Anthropic,
    /// `Anthropic`'s redacted thought itself.
    Redacted,
}

impl Origin {
    const ALL: [Self; 5] = [
        Self::Unsigned,
        Self::Gemini,
        Self::GeminiCall,
        Self::Anthropic,
        Self::Redacted,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Gemini => "gemini",
            Self::GeminiCall => "gemini-call",
            Self::Anthropic => "anthropic",
            Self::Redacted => "anthropic-redacted",
        }
    }
}

/// The signature as it travels through a caller of another dialect.
pub(super) fn mark(origin: Origin, signature: &str) -> String {
    BASE64.encode(format!("{MARK}{}:{signature}", origin.as_str()))
}

/// Whose a signature is and how it was given; `None` if it does not bear our mark.
pub(super) fn unmark(text: &str) -> Option<(Origin, String)> {
    if !text.as_bytes().starts_with(MARKED) {
        return None;
    }
    // Python's SDK for Gemini writes the URL-safe letters.
    let text: Cow<'_, str> = if text.contains(['-', '_']) {
        text.replace('-', "+").replace('_', "/").into()
    } else {
        text.into()
    };
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    let rest = std::str::from_utf8(&bytes).ok()?.strip_prefix(MARK)?;
    let (origin, signature) = rest.split_once(':')?;
    let origin = Origin::ALL.into_iter().find(|known| known.as_str() == origin)?;
    Some((origin, signature.to_owned()))
}

/// The signature that `Gemini` gave, of a common thought.
pub(super) fn gemini_signature(signature: Option<&str>) -> Option<String> {
    match unmark(signature?)? {
        (Origin::Gemini, signature) => Some(signature),
        _ => None,
    }
}

/// The body without thoughts that are not `dialect`'s own, as its provider would refuse them. Calls of other providers'
/// models get what `Gemini`'s third generation wants in place of a signature. All else stays byte for byte, and a body
/// without our mark is only searched once.
///
/// `Anthropic` refuses to think with a budget amid a round of tool calls that was begun without thoughts of its own. Where
/// another model began it, thinking is off until the round is over, and listed.
pub fn without_foreign_thoughts(dialect: Dialect, model: &str, body: &Bytes) -> Translated {
    let as_it_is = |body: Bytes| Translated {
        body,
        ..Translated::default()
    };
    let (list, items) = match dialect {
        Dialect::AnthropicMessages => ("messages", "content"),
        Dialect::Gemini => ("contents", "parts"),
        Dialect::OpenAiChat | Dialect::OpenAiResponses => return as_it_is(body.clone()),
    };
    if memmem::find(body, MARKED).is_none() {
        return as_it_is(body.clone());
    }
    let Some((old, turns)) = clean(dialect, model, body, list, items) else {
        return as_it_is(body.clone());
    };
    let cleaned = splice(body, old, format!("[{}]", turns.join(",")).as_bytes());
    match thinking_with_budget(&cleaned) {
        Some(thinking) if dialect == Dialect::AnthropicMessages && amid_unsigned_calls(&turns) => Translated {
            body: splice(&cleaned, thinking, br#"{"type":"disabled"}"#),
            dropped: vec!["thinking".to_owned()],
            ..Translated::default()
        },
        _ => as_it_is(cleaned),
    }
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

type Fields<'a> = std::collections::HashMap<Cow<'a, str>, Raw<'a>>;

/// The list of turns as it stands in the body, and the turns that shall stand there.
fn clean<'a>(
    dialect: Dialect,
    model: &str,
    body: &'a Bytes,
    list: &str,
    items: &str,
) -> Option<(&'a str, Vec<Cow<'a, str>>)> {
    let top: Fields<'a> = json::from_slice(body).ok()?;
    // Gemini's count of tokens has the whole request one level down.
    let nested: Option<Fields<'a>> = top
        .get("generateContentRequest")
        .and_then(|raw| json::from_str(raw.get()).ok());
    let turns: Raw<'a> = nested.as_ref().unwrap_or(&top).get(list).copied()?;
    let mut kept: Vec<Cow<'a, str>> = Vec::new();
    for turn in json::from_str::<Vec<Raw<'a>>>(turns.get()).ok()? {
        kept.extend(clean_turn(dialect, model, turn.get(), items));
    }
    Some((turns.get(), kept))
}

/// The turn, or nothing if only foreign thoughts were in it.
fn clean_turn<'a>(dialect: Dialect, model: &str, turn: &'a str, items: &str) -> Option<Cow<'a, str>> {
    let untouched = Some(Cow::Borrowed(turn));
    if memmem::find(turn.as_bytes(), MARKED).is_none() {
        return untouched;
    }
    let Ok(fields) = json::from_str::<Fields<'a>>(turn) else {
        return untouched;
    };
    let Some(content) = fields.get(items).map(|raw| raw.get()) else {
        return untouched;
    };
    let Ok(parts) = json::from_str::<Vec<Raw<'a>>>(content) else {
        return untouched;
    };
    let mut kept: Vec<Cow<'a, str>> = Vec::with_capacity(parts.len());
    for part in parts {
        kept.extend(clean_part(dialect, model, part.get()));
    }
    if kept.is_empty() {
        return None;
    }
    let at = (content.as_ptr() as usize).checked_sub(turn.as_ptr() as usize)?;
    let (before, after) = (turn.get(..at)?, turn.get(at + content.len()..)?);
    Some(format!("{before}[{}]{after}", kept.join(",")).into())
}

fn clean_part<'a>(dialect: Dialect, model: &str, part: &'a str) -> Option<Cow<'a, str>> {
    let untouched = Some(Cow::Borrowed(part));
    if memmem::find(part.as_bytes(), MARKED).is_none() {
        return untouched;
    }
    let Ok(mut value) = json::parse(part.as_bytes()) else {
        return untouched;
    };
    let marked = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|text| unmark(text).is_some())
    };
    if dialect == Dialect::AnthropicMessages {
        let foreign = match value.get("type").and_then(Value::as_str) {
            Some("thinking") => marked("signature"),
            Some("redacted_thinking") => marked("data"),
            _ => false,
        };
        return if foreign { None } else { untouched };
    }
    let Some(name) = ["thoughtSignature", "thought_signature"]
        .into_iter()
        .find(|name| marked(name))
    else {
        return untouched;
    };
    let object = value.as_object_mut()?;
    if object.get("thought") == Some(&json!(true)) {
        return None;
    }
    // The first of a step is the one that is marked.
    object.remove(name);
    if gemini::signed(model) {
        object.insert("thoughtSignature".to_owned(), gemini::NO_SIGNATURE.into());
    }
    Some(value.to_string().into())
}
