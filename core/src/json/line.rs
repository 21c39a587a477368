//! JSON lines written by hand into bytes, member by member: what is written for each request must not cost as much as the
//! request.

use std::io::Write as _;

/// Decimal digits, without the formatting machinery.
pub fn number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20]; // of u64::MAX
    let mut rest = value;
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - length..).unwrap_or_default());
}

/// A member's name as it stands in a line, from the comma to the colon.
#[doc(inline)]
pub use crate::__member as member;

#[doc(hidden)]
#[macro_export]
macro_rules! __member {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// A string in its quotes, at most so many bytes of it, cut between characters.
pub fn text(out: &mut Vec<u8>, value: &str, most: usize) {
    string(out, value.get(..value.floor_char_boundary(most)).unwrap_or(""));
}

/// A string in its quotes.
pub fn string(out: &mut Vec<u8>, value: &str) {
    let is_special =
        |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte == 0x7f);
    out.push(b'"');
    // All are looked at, so that the compiler may look at many at once.
    if value.bytes().fold(0, |any, byte| any | is_special(byte)) != 0 {
        for c in value.chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                c if c < ' ' || c == '\u{7f}' => {
                    let _ = write!(out, "\\u{:04x}", c as u32);
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    } else {
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_serde_reads() {
        for value in ["", "a", "a\"b\\c\nd\u{1f600}\u{0}\u{7f}", "\u{e9}"] {
            let mut out = Vec::new();
            text(&mut out, value, 200);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), value);
        }
        for value in [0, 7, 10, 4_999, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    #[test]
    fn a_cut_text_ends_with_a_whole_character() {
        let mut out = Vec::new();
        text(&mut out, "aé", 2);
        assert_eq!(out, b"\"a\"");
    }
}
