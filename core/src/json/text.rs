//! Strings, and what is left of surrogate pairs that were cut in two.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::num::NonZeroU16;
use std::ops::Deref;

/// A string of a JSON document. Two are equal if their characters are.
///
/// Half a surrogate pair stands as U+FFFD. One at the end or the start is remembered, as the other half may stand in the
/// fragment that follows or came before.
#[derive(Clone, Default)]
pub struct Text {
    characters: String,
    low: Option<NonZeroU16>,
    high: Option<NonZeroU16>,
}

/// The first code unit of a pair.
pub(super) fn is_high(unit: u16) -> bool {
    (0xD800..0xDC00).contains(&unit)
}

/// The second code unit of a pair.
pub(super) fn is_low(unit: u16) -> bool {
    (0xDC00..0xE000).contains(&unit)
}

/// The character that two halves make.
pub(super) fn join(high: u16, low: u16) -> char {
    char::decode_utf16([high, low])
        .next()
        .and_then(Result::ok)
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

impl Text {
    /// `low`: the half that the first character stands for; `high`: the half that the last one stands for.
    pub(super) fn with_halves(text: String, low: Option<u16>, high: Option<u16>) -> Self {
        Self {
            characters: text,
            low: low.and_then(NonZeroU16::new),
            high: high.and_then(NonZeroU16::new),
        }
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.characters
    }

    /// Its characters, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.characters
    }

    /// The second half of a pair that the text begins with; its first character is U+FFFD in its place.
    #[must_use]
    pub fn low(&self) -> Option<u16> {
        self.low.map(NonZeroU16::get)
    }

    /// The first half of a pair that the text ends with; its last character is U+FFFD in its place.
    #[must_use]
    pub fn high(&self) -> Option<u16> {
        self.high.map(NonZeroU16::get)
    }

    /// Takes the first half of a pair off the end.
    pub fn take_high(&mut self) -> Option<u16> {
        let high = self.high.take()?;
        self.characters.pop();
        Some(high.get())
    }

    /// Puts what was held back of the text before it in front: the whole character where the text begins with the other
    /// half, U+FFFD where it does not.
    pub fn put_high(&mut self, high: u16) {
        let first = match self.low.take() {
            Some(low) => {
                self.characters.remove(0);
                join(high, low.get())
            }
            None => char::REPLACEMENT_CHARACTER,
        };
        self.characters.insert(0, first);
    }

    /// Appends the text that follows; halves that meet become one character.
    pub fn append(&mut self, mut next: Self) {
        if next.characters.is_empty() {
            return;
        }
        match (next.low, self.characters.is_empty()) {
            (Some(_), false) => {
                if let Some(high) = self.take_high() {
                    next.put_high(high);
                }
            }
            (low, true) => self.low = low,
            (None, false) => {}
        }
        self.characters.push_str(&next.characters);
        self.high = next.high;
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.characters
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.characters
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.characters
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self {
            characters: text,
            low: None,
            high: None,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Cow<'_, str>> for Text {
    fn from(text: Cow<'_, str>) -> Self {
        text.into_owned().into()
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.characters
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.characters == other.characters
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.characters == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.characters == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.characters)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.characters, f)
    }
}
