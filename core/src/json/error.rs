//! Why a text is no JSON, or not the JSON that was expected.

use std::borrow::Cow;
use std::fmt;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    problem: Cow<'static, str>,
    /// Line and column, from 1 and in bytes; none where the text is not at hand.
    place: Option<(usize, usize)>,
    data: bool,
}

impl Error {
    /// Of the grammar, at byte `at` of `text`.
    pub(super) fn syntax(problem: &'static str, text: &[u8], at: usize) -> Self {
        Self {
            problem: Cow::Borrowed(problem),
            place: Some(place(text, at)),
            data: false,
        }
    }

    /// Of what a struct expects.
    pub(super) fn data(problem: String) -> Self {
        Self {
            problem: Cow::Owned(problem),
            place: None,
            data: true,
        }
    }

    /// Says where, unless that is known.
    pub(super) fn at(mut self, text: &[u8], at: usize) -> Self {
        self.place.get_or_insert_with(|| place(text, at));
        self
    }

    /// Whether the text is JSON, but not of the shape that was asked for.
    #[must_use]
    pub fn is_data(&self) -> bool {
        self.data
    }
}

/// Line and column of the byte at `at`.
fn place(text: &[u8], at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or_default();
    let line = 1 + memchr::memchr_iter(b'\n', before).count();
    let column = before.len() - memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    (line, column + 1)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        match self.place {
            Some((line, column)) => write!(f, " at line {line} column {column}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::data(problem.to_string())
    }
}
