//! Events of `OpenAI` Responses, whose last one repeats the whole answer.

use crate::json::{self, Raw};
use memchr::memmem;
use serde::Deserialize;

use super::super::error::StreamError;
use super::super::scan::seen::{Seen, Text};
use super::super::terms::{Terms, Tier};
use super::super::usage::{self, Usage};
use super::super::{error, success};
use super::background;
use super::rules::RULES;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    response: Option<Raw<'a>>,
    #[serde(borrow, default)]
    item: Option<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

#[derive(Deserialize)]
struct Response {
    usage: Option<usage::Responses>,
    #[serde(default)]
    service_tier: Tier,
}

/// The type of an event that begins as `OpenAI` writes it; one spelled differently is only read the slow way.
fn type_of(data: &[u8]) -> Option<&[u8]> {
    let rest = data.strip_prefix(br#"{"type":""#)?;
    rest.get(..memchr::memchr(b'"', rest)?)
}

pub(in super::super) fn event(data: &[u8], seen: &mut Seen) -> Result<(), StreamError> {
    read(data, seen)?;
    // Not for an error, whose number goes to the event that takes its place.
    seen.events += 1;
    Ok(())
}

fn read(data: &[u8], seen: &mut Seen) -> Result<(), StreamError> {
    if type_of(data).is_some_and(|kind| kind.ends_with(b".delta")) {
        seen.started = true;
        seen.chunks += 1;
        return Ok(());
    }
    let Ok(event) = json::from_slice::<Event<'_>>(data) else {
        return Ok(success::no_error(&RULES, data)?);
    };
    match event.kind.0.as_ref() {
        // Before the model's first word. Parts are empty until their first delta.
        "response.created" | "response.queued" | "response.in_progress" => {
            seen.in_background |= background::is_begun(data);
        }
        "response.content_part.added" | "response.reasoning_summary_part.added" => {}
        "response.output_item.added" => {
            let empty = |item: &Item<'_>| matches!(&*item.kind.0, "message" | "reasoning");
            seen.started |= !event.item.as_ref().is_none_or(empty);
        }
        "response.completed" | "response.incomplete" => {
            seen.usage = usage_of(event.response).or(seen.usage);
            seen.started = true;
            seen.ended = true;
        }
        "response.failed" => {
            seen.usage = usage_of(event.response).or(seen.usage);
            let response = event.response.map_or("null", Raw::get);
            return Err(error::parse(&RULES, 200, response.as_bytes()).into());
        }
        "error" => return Err(error::parse(&RULES, 200, data).into()),
        kind if kind.starts_with("response.") => {
            seen.started = true;
            seen.chunks += u64::from(kind.as_bytes().ends_with(b".delta"));
        }
        // Keep-alives, and what may come.
        _ => {}
    }
    Ok(())
}

fn usage_of(response: Option<Raw<'_>>) -> Option<Usage> {
    let response: Response = json::from_str(response?.get()).ok()?;
    let usage = response.usage.map(Usage::from);
    usage.map(|usage| usage.under(response.service_tier))
}

/// An event too large to be held. The last one may be: it repeats every picture of the answer. Its first bytes say what
/// it is and its last ones the usage.
#[derive(Debug, Default)]
pub(in super::super) struct Large {
    last: bool,
    any: bool,
    tail: Vec<u8>,
}

impl Large {
    /// Bytes in which the type stands, at the start of the event.
    const HEAD: usize = 256;
    /// Bytes in which the usage stands, at the end: what follows it are short fields, and the caller's metadata (16
    /// entries of at most 576 characters).
    const TAIL: usize = 16 << 10;

    /// Takes the next part of it.
    pub(in super::super) fn take(&mut self, raw: &[u8]) {
        if !std::mem::replace(&mut self.any, true) {
            let head = raw.get(..Self::HEAD.min(raw.len())).unwrap_or_default();
            let says = |kind: &[u8]| memmem::find(head, kind).is_some();
            self.last = says(b"\"response.completed\"") || says(b"\"response.incomplete\"");
        }
        self.tail
            .extend_from_slice(raw.get(raw.len().saturating_sub(Self::TAIL)..).unwrap_or_default());
        self.tail.drain(..self.tail.len().saturating_sub(Self::TAIL));
    }

    /// The value under the last occurrence of a key in what is held.
    fn last_member<T: for<'de> Deserialize<'de>>(&self, key: &[u8]) -> Option<T> {
        let at = memmem::rfind(&self.tail, key)?;
        let value = self.tail.get(at + key.len()..)?;
        serde_json::Deserializer::from_slice(value).into_iter().next()?.ok()
    }

    /// It has passed.
    pub(in super::super) fn end(self, seen: &mut Seen) {
        seen.events += 1;
        seen.started = true;
        if !self.last {
            return;
        }
        seen.ended = true;
        let found = self.last_member::<Option<usage::Responses>>(b"\"usage\":").flatten();
        // It stands before the tools, and so perhaps before what is held.
        let tier = self.last_member(b"\"service_tier\":").unwrap_or(Tier(Terms::Other));
        let found = found.map(|usage| Usage::from(usage).under(tier));
        seen.usage = found.or(seen.usage);
    }
}
