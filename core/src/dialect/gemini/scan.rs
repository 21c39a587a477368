//! Chunks of `generateContent`, as events or as elements of an array.

use crate::json::{self, Raw};
use crate::search::finder;
use serde::Deserialize;

use super::super::error::StreamError;
use super::super::scan::finishes::{has_others, number, says};
use super::super::scan::seen::{Passage, Seen, has};
use super::super::{success, usage};
use super::rules::RULES;

finder!(CANDIDATES, "\"candidates\"");
finder!(ERROR, "\"error\"");
finder!(USAGE_METADATA, "\"usageMetadata\"");
finder!(FINISH_REASON, "\"finishReason\"");
finder!(PROMPT_FEEDBACK, "\"promptFeedback\"");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow, default)]
    candidates: Option<Vec<Candidate<'a>>>,
    usage_metadata: Option<usage::Gemini>,
    #[serde(borrow, default)]
    prompt_feedback: Option<Feedback<'a>>,
    #[serde(borrow, default)]
    error: Option<Raw<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow, default)]
    index: Option<Raw<'a>>,
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Option<Vec<Raw<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback<'a> {
    #[serde(borrow, default)]
    block_reason: Option<Raw<'a>>,
}

pub(in super::super) fn event(data: &[u8], seen: &mut Seen) -> Result<Passage, StreamError> {
    let telling = || {
        [&USAGE_METADATA, &FINISH_REASON, &PROMPT_FEEDBACK, &ERROR]
            .into_iter()
            .any(|key| has(key, data))
    };
    if seen.started && CANDIDATES.find(data).is_some() && !telling() && !has_others(data) {
        seen.chunks += 1;
        return Ok(Passage::Keep);
    }
    let Ok(chunk) = json::from_slice::<Chunk<'_>>(data) else {
        success::no_error(&RULES, data)?;
        return Ok(Passage::Keep);
    };
    if chunk.candidates.is_none() || says(chunk.error) {
        success::no_error(&RULES, data)?;
    }
    let mut content = false;
    for candidate in chunk.candidates.iter().flatten() {
        let parts = candidate.content.as_ref().and_then(|content| content.parts.as_deref());
        let said =
            |part: &Raw<'_>| !part.get().starts_with(r#"{"text":"""#) && !part.get().starts_with(r#"{"text": """#);
        content |= parts.unwrap_or_default().iter().any(said);
        let finished = says(candidate.finish_reason);
        seen.finishes.see(number(candidate.index), finished);
        seen.started |= finished;
    }
    if says(chunk.prompt_feedback.and_then(|feedback| feedback.block_reason)) {
        seen.finishes.see(0, true);
        seen.started = true;
    }
    seen.chunks += u64::from(content);
    seen.started |= content;
    if let Some(usage) = chunk.usage_metadata {
        seen.usage = Some(usage.into());
    }
    Ok(Passage::Keep)
}
