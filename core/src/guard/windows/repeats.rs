//! What a stream has said, for an API that says it once more in its last events.
//!
//! Responses repeat each text whole when it ends, and all of them at the end. What of a text was given in parts is decided: whole it
//! becomes the same, and nobody is asked about it again, who might decide otherwise then, or not at all.

use crate::dialect::Dialect;

/// Bytes that are kept of a stream: more than a model says in one answer. Of one that says more nothing is kept, and what it says once
/// more is asked about.
const KEPT_MOST: usize = 512 << 10;

/// The texts that came in parts.
#[derive(Debug)]
pub(super) struct Repeats {
    texts: Vec<Kept>,
    bytes: usize,
    keeps: bool,
    /// Whether this API repeats what was masked, if anything was.
    is_masked: bool,
    is_repeated: bool,
}

#[derive(Debug, Default)]
struct Kept {
    came: String,
    /// What was given of it; none: the same.
    went: Option<String>,
}

impl Repeats {
    pub(super) fn new(dialect: Dialect) -> Self {
        let is_repeated = dialect == Dialect::OpenAiResponses;
        Self {
            texts: Vec::new(),
            bytes: 0,
            keeps: is_repeated,
            is_masked: false,
            is_repeated,
        }
    }

    /// A text begins. Returns which it is; none: it is not kept.
    pub(super) fn begin(&mut self) -> Option<usize> {
        let which = self.texts.len();
        self.texts.push(self.keeps.then(Kept::default)?);
        self.grow(size_of::<Kept>());
        Some(which)
    }

    /// This of it has come, and is asked about.
    pub(super) fn came(&mut self, which: usize, part: &str) {
        if let Some(kept) = self.texts.get_mut(which) {
            kept.came.push_str(part);
            self.grow(part.len());
        }
    }

    /// Of the last `came` bytes that came this goes out; none: they themselves.
    pub(super) fn went(&mut self, which: Option<usize>, came: usize, other: Option<&str>) {
        self.is_masked |= other.is_some();
        let Some(kept) = which.and_then(|which| self.texts.get_mut(which)) else {
            return;
        };
        let at = kept.came.len().saturating_sub(came);
        let (before, last) = kept.came.split_at_checked(at).unwrap_or_default();
        if kept.went.is_none() && other.is_none() {
            return;
        }
        let was = kept.went.as_ref().map_or(0, String::len);
        let went = kept.went.get_or_insert_with(|| before.to_owned());
        went.push_str(other.unwrap_or(last));
        // If it is too much, that is seen when more comes: what this window says once more is to be found until it has gone out.
        self.bytes += went.len() - was;
    }

    /// The text that has come just so.
    pub(super) fn find(&self, text: &str) -> Option<usize> {
        self.texts.iter().position(|kept| kept.came == text)
    }

    /// What was given in its place; none: itself.
    pub(super) fn given(&self, which: usize) -> Option<&str> {
        self.texts.get(which)?.went.as_deref()
    }

    /// Whether what this API says once more may be what was masked before.
    pub(super) fn may_tell(&self) -> bool {
        self.is_masked && self.is_repeated
    }

    fn grow(&mut self, by: usize) {
        self.bytes += by;
        if self.bytes > KEPT_MOST {
            self.keeps = false;
            self.texts = Vec::new();
        }
    }
}
