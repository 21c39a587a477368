//! Chunks of chat completions, and of the older completions.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::json::{self, Raw};
use crate::search::finder;
use serde::Deserialize;

use super::super::error::StreamError;
use super::super::scan::finishes::{has_others, number, says};
use super::super::scan::seen::{Passage, Seen, has};
use super::super::terms::Tier;
use super::super::{Usage, success, usage};
use super::rules::RULES;

finder!(CHOICES, "\"choices\"");
finder!(USAGE, "\"usage\"");
finder!(ERROR, "\"error\"");
finder!(FINISH_REASON, "\"finish_reason\"");
finder!(EMPTY_DELTA, "\"delta\":{}");

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<usage::OpenAi>,
    #[serde(default)]
    service_tier: Tier,
    #[serde(borrow, default)]
    error: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    index: Option<Raw<'a>>,
    #[serde(borrow, default)]
    delta: Option<Fields<'a>>,
    #[serde(borrow, default)]
    message: Option<Fields<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Raw<'a>>,
    /// The older completions' form.
    #[serde(borrow, default)]
    text: Option<Raw<'a>>,
}

/// What a delta says, under whatever names: content as text or in parts, thoughts, a refusal, calls.
#[derive(Deserialize)]
struct Fields<'a>(#[serde(borrow)] BTreeMap<Cow<'a, str>, Raw<'a>>);

impl Fields<'_> {
    fn say(&self) -> bool {
        self.0.iter().any(|(name, value)| {
            let told = value.get().starts_with(['"', '[', '{']);
            told && says(Some(*value)) && !matches!(&**name, "role" | "name" | "id" | "provider_specific_fields")
        })
    }
}

pub(in super::super) fn event(data: &[u8], seen: &mut Seen) -> Result<Passage, StreamError> {
    if data == b"[DONE]" {
        // An end of nothing is no answer.
        return if seen.started {
            seen.ended = true;
            Ok(Passage::Keep)
        } else {
            Err(StreamError::Truncated)
        };
    }
    let telling = || [&USAGE, &ERROR, &FINISH_REASON].into_iter().any(|key| has(key, data));
    if seen.started && CHOICES.find(data).is_some() && !telling() && !has_others(data) {
        if EMPTY_DELTA.find(data).is_none() {
            seen.chunks += 1;
        }
        return Ok(Passage::Keep);
    }
    // What does not parse is passed on: the caller's SDK knows its provider's quirks better.
    let Ok(chunk) = json::from_slice::<Chunk<'_>>(data) else {
        success::no_error(&RULES, data)?;
        return Ok(Passage::Keep);
    };
    if chunk.choices.is_none() || says(chunk.error) {
        success::no_error(&RULES, data)?;
    }
    let choices = chunk.choices.unwrap_or_default();
    let mut content = false;
    for choice in &choices {
        let said = [&choice.delta, &choice.message].into_iter().flatten().any(Fields::say);
        content |= said || says(choice.text);
        let finished = says(choice.finish_reason);
        seen.finishes.see(number(choice.index), finished);
        seen.started |= finished;
    }
    seen.chunks += u64::from(content);
    seen.started |= content;
    let Some(usage) = chunk.usage else {
        return Ok(Passage::Keep);
    };
    seen.usage = Some(Usage::from(usage).under(chunk.service_tier));
    Ok(if choices.is_empty() {
        Passage::Cut
    } else {
        Passage::Keep
    })
}
