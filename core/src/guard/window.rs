//! A text that arrives in pieces, masked as the whole would be.

use super::Detectors;
use super::detectors::{Progress, put};

/// What of a text has come and is not decided.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// What came last: up to six characters that are decided, by which it is known what can begin there, and what is not.
    text: String,
    progress: Progress,
    is_json: bool,
}

/// Decided characters that are kept: by these it is known whether the next begins a word. The longest that matters is an escape.
const KEPT: usize = 6;

impl Window {
    /// Before the first piece. `is_json`: it is the text of a JSON document, as arguments of a call are.
    pub fn new(is_json: bool) -> Self {
        Self {
            is_json,
            ..Self::default()
        }
    }

    /// Bytes that are held back: no more than [`Detectors::hold`].
    pub fn held(&self) -> usize {
        self.text.len() - self.progress.from
    }

    /// What is held back.
    pub(super) fn rest(&self) -> &str {
        self.text.get(self.progress.from..).unwrap_or_default()
    }

    /// Takes the next piece, appends to `out` what of all is decided, and returns how much was found in it.
    pub fn push(&mut self, detectors: &Detectors, piece: &str, out: &mut String) -> u32 {
        self.text.push_str(piece);
        self.go(detectors, false, out)
    }

    /// Nothing follows: appends what was held back.
    pub fn finish(&mut self, detectors: &Detectors, out: &mut String) -> u32 {
        let found = self.go(detectors, true, out);
        *self = Self::new(self.is_json);
        found
    }

    fn go(&mut self, detectors: &Detectors, is_end: bool, out: &mut String) -> u32 {
        let mut found = 0;
        let how = (is_end, self.is_json);
        detectors.go(&mut self.progress, &self.text, how, &mut |piece| {
            found += u32::from(!matches!(piece, super::detectors::Piece::Text(_)));
            put(out, piece);
        });
        let decided = self.text.get(..self.progress.from).unwrap_or_default();
        let kept = decided.char_indices().rev().nth(KEPT - 1).map_or(0, |(at, _)| at);
        self.text.drain(..kept);
        self.progress.forget(kept);
        found
    }
}
