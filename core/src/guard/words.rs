//! Words that somebody has listed.

use super::ahead::{Ahead, Found, More, Verdict};

/// A list of words, found whatever their case is, and only whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    words: Vec<Word>,
}

#[derive(Clone, Debug)]
struct Word {
    /// In small letters.
    small: Vec<char>,
    /// Nothing of a word may stand before it, and after it.
    is_whole: (bool, bool),
}

impl Words {
    pub(super) fn new(words: &[String]) -> Self {
        let mut words: Vec<Word> = words.iter().map(|word| Word::new(word)).collect();
        // Of two that begin here, the longer.
        words.sort_by_key(|word| std::cmp::Reverse(word.small.len()));
        Self { words }
    }

    /// Bytes after which each is decided: letters of a text may take four where the same in a list takes one.
    pub(super) fn hold(&self) -> usize {
        let longest = self.words.iter().map(|word| word.small.len()).max();
        longest.map_or(0, |letters| 4 * (letters + 1))
    }

    /// The first bytes of all of them, in each case.
    pub(super) fn first_bytes(&self) -> impl Iterator<Item = u8> {
        let first = self.words.iter().filter_map(|word| word.small.first().copied());
        first.flat_map(|small| {
            // What has another form in capitals may have more than one, so every letter beyond ASCII is looked at.
            let ascii = [small, small.to_ascii_uppercase()].map(|char| u8::try_from(char).unwrap_or_default());
            let is_ascii = small.is_ascii();
            let beyond = (0xC2..=0xF4).filter(move |_| !is_ascii || matches!(small, 'k' | 's' | 'i'));
            ascii.into_iter().filter(move |_| is_ascii).chain(beyond)
        })
    }

    /// The longest of those that begin here.
    pub(super) fn at(&self, ahead: &Ahead<'_>, at: usize, before: Option<char>) -> Verdict {
        for word in &self.words {
            if let Some(found) = word.at(ahead, at, before)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Word {
    fn new(word: &str) -> Self {
        let small: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
        // Writing without spaces has no letters of two cases.
        let is_bounded = |edge: Option<&char>| edge.is_some_and(|edge| edge.is_numeric() || edge.is_lowercase());
        let is_whole = (is_bounded(small.first()), is_bounded(small.last()));
        Self { small, is_whole }
    }

    fn at(&self, ahead: &Ahead<'_>, at: usize, before: Option<char>) -> Verdict {
        if self.is_whole.0 && before.is_some_and(char::is_alphanumeric) {
            return Ok(None);
        }
        let rest = ahead.text().get(at..).unwrap_or_default();
        let mut chars = rest.char_indices();
        let mut small = self.small.iter();
        while small.len() > 0 {
            let Some((_, char)) = chars.next() else {
                return if ahead.is_end() { Ok(None) } else { Err(More) };
            };
            if !char.to_lowercase().all(|char| small.next() == Some(&char)) {
                return Ok(None);
            }
        }
        let end = at + chars.offset();
        match chars.next() {
            None if !ahead.is_end() => Err(More),
            Some((_, next)) if self.is_whole.1 && next.is_alphanumeric() => Ok(None),
            _ => Ok(Some(Found::whole(end))),
        }
    }
}
