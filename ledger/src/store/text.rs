//! How names are kept: exactly, up to a length, in both engines alike.
//!
//! PostgreSQL's text has no NUL. So a NUL is kept as `\0` and a backslash as `\\`, in both engines, and what is read is what was told.
//! What is longer than [`MAX_NAME`] bytes is cut, with a digest of the whole behind it: two long names stay two.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use crate::schema::hex;

/// The longest name that is kept whole, bytes.
pub const MAX_NAME: usize = 512;
/// Of a name that is cut: how much of its digest stands behind it, hex digits.
const DIGEST: usize = 16;

/// As it is kept.
pub fn kept(told: &str) -> String {
    escape(&clipped(told)).into_owned()
}

/// As it was told.
pub fn told(kept: &str) -> String {
    if !kept.contains('\\') {
        return kept.to_owned();
    }
    let mut told = String::with_capacity(kept.len());
    let mut chars = kept.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => told.push(if chars.next() == Some('0') { '\0' } else { '\\' }),
            char => told.push(char),
        }
    }
    told
}

/// Cut to [`MAX_NAME`] bytes where it is longer: its beginning, `…#` and 16 hex digits of its SHA-256.
pub fn clipped(told: &str) -> Cow<'_, str> {
    if told.len() <= MAX_NAME {
        return Cow::Borrowed(told);
    }
    let digest = hex(&Sha256::digest(told.as_bytes()), DIGEST / 2);
    let room = MAX_NAME - "…#".len() - DIGEST;
    let end = told.floor_char_boundary(room);
    Cow::Owned(format!("{}…#{digest}", told.get(..end).unwrap_or_default()))
}

fn escape(told: &str) -> Cow<'_, str> {
    if !told.contains(['\\', '\0']) {
        return Cow::Borrowed(told);
    }
    Cow::Owned(told.replace('\\', "\\\\").replace('\0', "\\0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_told() {
        for name in [
            "",
            "gpt-5",
            "a\0b",
            "\\",
            "\\0",
            "\\\\0\0",
            "'; DROP TABLE x; --",
            "模型 ✨",
            "\u{202e}\u{feff}",
        ] {
            assert!(!kept(name).contains('\0'), "{name:?}");
            assert_eq!(told(&kept(name)), name);
        }
    }

    #[test]
    fn a_long_name_is_cut_at_a_character_and_stays_itself() {
        let long = "é".repeat(32 << 10);
        let (one, two) = (clipped(&long), clipped(&format!("{long}!")).into_owned());
        assert!(one.len() <= MAX_NAME && one.starts_with("éé"), "{}", one.len());
        assert_ne!(one, two);
        let whole = "x".repeat(MAX_NAME);
        assert_eq!(clipped(&whole), whole);
        assert_eq!(told(&kept(&format!("\0{long}"))), clipped(&format!("\0{long}")));
    }
}
