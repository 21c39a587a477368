//! Which choices of a stream have been seen, and which of them have a finish reason.

use std::sync::LazyLock;

use crate::json::Raw;
use memchr::memmem::Finder;

/// A bit for each choice; one beyond the last shares its bit.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Finishes {
    open: u128,
    told: u128,
}

impl Finishes {
    pub(in crate::dialect) fn see(&mut self, choice: u32, finished: bool) {
        let bit = 1 << choice.min(u128::BITS - 1);
        self.open |= bit;
        if finished {
            self.told |= bit;
        }
    }

    /// Whether the stream may end here: there is a finish reason, and one for each choice that was seen.
    pub(in crate::dialect) fn whole(&self) -> bool {
        self.told != 0 && self.open == self.told
    }
}

/// Whether a field says anything.
pub(in crate::dialect) fn says(value: Option<Raw<'_>>) -> bool {
    !matches!(value.map_or("null", Raw::get), "null" | "\"\"" | "[]" | "{}" | "false")
}

/// A choice's number, however it is written; 0 where there is none.
pub(in crate::dialect) fn number(value: Option<Raw<'_>>) -> u32 {
    let text = value.map_or("0", Raw::get).trim_matches('"');
    text.parse().unwrap_or_default()
}

/// Whether there is an `index` other than 0 in a chunk: of a second choice, or of a second call, which is read the slow
/// way too.
pub(in crate::dialect) fn has_others(data: &[u8]) -> bool {
    static INDEX: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"index\""));
    let mut rest = data;
    while let Some(at) = INDEX.find(rest) {
        rest = rest.get(at + INDEX.needle().len()..).unwrap_or_default();
        let value = rest
            .iter()
            .find(|byte| !matches!(byte, b':' | b'"' | b' ' | b'\t' | b'\n' | b'\r'));
        if value.is_some_and(|digit| (b'1'..=b'9').contains(digit)) {
            return true;
        }
    }
    false
}
