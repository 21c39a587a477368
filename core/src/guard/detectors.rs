//! What one guard looks for, and how a text is gone over.

use bowsprit_crds::guards::Kind;

use super::ahead::{Ahead, Eat, Found, More, Verdict};
use super::words::Words;
use super::{email, numbers, secrets};

/// What one guard looks for.
#[derive(Clone, Debug)]
pub struct Detectors {
    kinds: Vec<Kind>,
    words: Words,
    /// What can begin with a byte: a bit for each kind in its place, and [`WORDS`].
    begins: [u8; 256],
    hold: usize,
}

/// How far a text has been gone over, and what of it goes on into the next piece.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Everything before this is decided.
    pub from: usize,
    eat: Eat,
    /// Of the text of a JSON document: whether a string is open.
    in_string: bool,
    /// Of such a text: the end of the last escape, which is no letter of a word.
    escaped_to: usize,
}

/// A piece of what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// As it came.
    Text(&'a str),
    /// In place of what was found.
    Mask(&'static str),
    /// The same outside of any string of a JSON document, which would break it.
    Bare(&'static str),
}

impl Progress {
    /// Forgets so many bytes at the front.
    pub(super) fn forget(&mut self, bytes: usize) {
        self.from -= bytes;
        self.escaped_to = self.escaped_to.saturating_sub(bytes);
    }
}

impl Detectors {
    /// For these kinds, and these words.
    pub fn new(kinds: &[Kind], words: &[String]) -> Self {
        // In the order in which they are asked about a place: what is surest first.
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        let words = Words::new(words);
        let mut begins = [0; 256];
        for (byte, place) in (0..=u8::MAX).zip(&mut begins) {
            let kinds = kinds.iter().enumerate();
            let that_begin = kinds.filter(|(_, kind)| begins_with(**kind, byte));
            *place = that_begin.fold(0, |bits, (index, _)| bits | 1 << index);
        }
        for byte in words.first_bytes() {
            if let Some(place) = begins.get_mut(usize::from(byte)) {
                *place |= WORDS;
            }
        }
        let hold = kinds.iter().map(|kind| hold(*kind)).max().unwrap_or_default();
        let hold = hold.max(words.hold());
        Self {
            kinds,
            words,
            begins,
            hold,
        }
    }

    /// The most that a stream holds back for it, bytes.
    pub fn hold(&self) -> usize {
        self.hold
    }

    /// A whole text with what is found in it masked, and how much that was; none: nothing is found. `is_json`: it is the text of
    /// a JSON document, whose escapes are to stay whole.
    pub fn mask(&self, text: &str, is_json: bool) -> Option<(String, u32)> {
        let mut progress = Progress::default();
        let (mut masked, mut found, mut at) = (String::new(), 0, 0);
        self.go(&mut progress, text, (true, is_json), &mut |piece| match piece {
            // Nothing is copied until something is found.
            Piece::Text(piece) if found == 0 => at += piece.len(),
            Piece::Text(piece) => masked.push_str(piece),
            Piece::Mask(_) | Piece::Bare(_) => {
                if found == 0 {
                    masked.push_str(text.get(..at).unwrap_or_default());
                }
                found += 1;
                put(&mut masked, piece);
            }
        });
        (found > 0).then_some((masked, found))
    }

    /// Goes over a text as far as it can be decided. `is_end`: nothing follows; `is_json`: as of [`Self::mask`].
    pub(super) fn go<'a>(
        &self,
        progress: &mut Progress,
        text: &'a str,
        (is_end, is_json): (bool, bool),
        out: &mut dyn FnMut(Piece<'a>),
    ) {
        let ahead = Ahead::new(text, is_end);
        let bytes = text.as_bytes();
        let mut at = progress.eat.end(bytes, progress.from);
        let mut said = at;
        while let Some(byte) = bytes.get(at) {
            if is_json && *byte == b'\\' {
                let length = if bytes.get(at + 1) == Some(&b'u') { 6 } else { 2 };
                if at + length > bytes.len() && !is_end {
                    break;
                }
                at = (at + length).min(bytes.len());
                while !text.is_char_boundary(at) {
                    at += 1;
                }
                progress.escaped_to = at;
                continue;
            }
            progress.in_string ^= is_json && *byte == b'"';
            let begins = self.begins.get(usize::from(*byte)).copied().unwrap_or_default();
            if begins == 0 {
                at += 1;
                continue;
            }
            // What an escape stands for is no letter of the word after it.
            let is_fresh = at == progress.escaped_to || is_after_escape(bytes, at);
            let last = at.checked_sub(1).and_then(|last| bytes.get(last)).filter(|_| !is_fresh);
            if byte.is_ascii_alphanumeric() && last.is_some_and(u8::is_ascii_alphanumeric) {
                at += 1;
                continue;
            }
            let before = last.and_then(|_| text.get(..at)?.chars().next_back());
            match self.at(&ahead, (at, begins), before) {
                Ok(None) => at += 1,
                Ok(Some((mask, found))) => {
                    out(Piece::Text(text.get(said..at).unwrap_or_default()));
                    let is_bare = is_json && !progress.in_string;
                    out(if is_bare { Piece::Bare(mask) } else { Piece::Mask(mask) });
                    progress.eat = found.eat;
                    at = progress.eat.end(bytes, found.end);
                    said = at;
                }
                Err(More) => break,
            }
        }
        out(Piece::Text(text.get(said..at).unwrap_or_default()));
        progress.from = at;
    }

    /// What begins there.
    fn at(
        &self,
        ahead: &Ahead<'_>,
        (at, begins): (usize, u8),
        before: Option<char>,
    ) -> Result<Option<(&'static str, Found)>, More> {
        let mut left = begins & !WORDS;
        while let Some(kind) = self.kinds.get(left.trailing_zeros() as usize) {
            left &= left - 1;
            if let Some(found) = look(*kind, ahead, at, before)? {
                return Ok(Some((mask(*kind), found)));
            }
        }
        let found = if begins & WORDS == 0 {
            None
        } else {
            self.words.at(ahead, at, before)?
        };
        Ok(found.map(|found| (WORD, found)))
    }
}

/// The bit of listed words, behind those of the seven kinds.
const WORDS: u8 = 1 << 7;

/// The mask of a listed word.
const WORD: &str = "[REDACTED]";

/// Whether what reads as an escape ends there: a text that holds a JSON document is not read as one, and `\n` is no letter of the
/// word after it.
fn is_after_escape(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(..at).unwrap_or_default();
    match before {
        [.., b'\\', b'b' | b'f' | b'n' | b'r' | b't'] => true,
        [.., b'\\', b'u', a, b, c, d] => [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit),
        _ => false,
    }
}

/// Appends a piece.
pub(super) fn put(out: &mut String, piece: Piece<'_>) {
    match piece {
        Piece::Text(text) | Piece::Mask(text) => out.push_str(text),
        Piece::Bare(mask) => {
            out.push('"');
            out.push_str(mask);
            out.push('"');
        }
    }
}

/// What stands in place of one.
fn mask(kind: Kind) -> &'static str {
    match kind {
        Kind::PrivateKey => "[PRIVATE_KEY]",
        Kind::Jwt => "[JWT]",
        Kind::Key => "[KEY]",
        Kind::Email => "[EMAIL]",
        Kind::Iban => "[IBAN]",
        Kind::Card => "[CARD]",
        Kind::Phone => "[PHONE]",
    }
}

fn begins_with(kind: Kind, byte: u8) -> bool {
    match kind {
        Kind::PrivateKey => byte == b'-',
        Kind::Jwt => byte == b'e',
        Kind::Key => secrets::begins_key(byte),
        Kind::Email => email::is_local(byte),
        Kind::Iban => byte.is_ascii_alphabetic(),
        Kind::Card => byte.is_ascii_digit(),
        Kind::Phone => byte == b'+',
    }
}

fn hold(kind: Kind) -> usize {
    match kind {
        Kind::PrivateKey => secrets::PRIVATE_KEY_HOLD,
        Kind::Jwt => secrets::JWT_HOLD,
        Kind::Key => secrets::KEY_HOLD,
        Kind::Email => email::HOLD,
        Kind::Iban => numbers::IBAN_HOLD,
        Kind::Card => numbers::CARD_HOLD,
        Kind::Phone => numbers::PHONE_HOLD,
    }
}

/// Looks for one kind at a place with whose byte one may begin: not in the middle of a word or a number.
fn look(kind: Kind, ahead: &Ahead<'_>, at: usize, before: Option<char>) -> Verdict {
    let is_inside = match kind {
        Kind::Email => before.is_some_and(|char| u8::try_from(char).is_ok_and(email::is_local)),
        Kind::PrivateKey => before == Some('-'),
        Kind::Phone => before.is_some_and(|char| char.is_ascii_alphanumeric() || char == '+'),
        _ => before.is_some_and(|char| char.is_ascii_alphanumeric()),
    };
    if is_inside {
        return Ok(None);
    }
    match kind {
        Kind::PrivateKey => secrets::private_key(ahead, at),
        Kind::Jwt => secrets::jwt(ahead, at),
        Kind::Key => secrets::key(ahead, at),
        Kind::Email => email::email(ahead, at),
        Kind::Iban => numbers::iban(ahead, at),
        Kind::Card if before == Some('.') && is_fraction(ahead, at) => Ok(None),
        Kind::Card => numbers::card(ahead, at),
        Kind::Phone => numbers::phone(ahead, at),
    }
}

/// Whether these are the places of a decimal below one, which are no card: `0.4111111111111111`. Any other number before a point may be one
/// of a list, as in `1.4111111111111111`; what has a scheme and its check digit is taken for a card there.
fn is_fraction(ahead: &Ahead<'_>, at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|point| ahead.text().as_bytes().get(..point));
    match before.unwrap_or_default() {
        [.., before, b'0'] => !before.is_ascii_alphanumeric() && *before != b'.',
        before => before == b"0",
    }
}
