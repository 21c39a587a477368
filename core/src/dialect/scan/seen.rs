//! What was seen of a stream so far.

use memchr::memmem::Finder;
use serde::Deserialize;

use super::super::reported::Reported;
use super::super::usage::{self, Usage};
use super::finishes::Finishes;

#[derive(Debug, Default)]
pub(in crate::dialect) struct Seen {
    pub started: bool,
    /// The provider's own end mark was seen. `Gemini`'s events have none.
    pub ended: bool,
    pub finishes: Finishes,
    pub usage: Option<Usage>,
    pub anthropic: usage::Anthropic,
    pub chunks: u64,
    pub model: Reported,
    /// A Responses answer is made in the background.
    pub in_background: bool,
    /// All events of a Responses stream, which numbers them from 0.
    pub events: u64,
}

/// What to do with an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) enum Passage {
    Keep,
    Cut,
}

/// Whether `data` has the key with a value other than null (or, as `OpenAI` and its compatible servers like to say in
/// every chunk, no value at all).
pub(in crate::dialect) fn has(finder: &Finder<'_>, data: &[u8]) -> bool {
    let mut rest = data;
    while let Some(at) = finder.find(rest) {
        rest = rest.get(at + finder.needle().len()..).unwrap_or_default();
        let mut after = rest.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
        if after.next() == Some(b':') && after.next() != Some(b'n') {
            return true;
        }
    }
    false
}

/// Borrowed where it can be; only its emptiness is asked.
#[derive(Deserialize)]
pub(in crate::dialect) struct Text<'a>(#[serde(borrow)] pub std::borrow::Cow<'a, str>);
