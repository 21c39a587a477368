//! JSON lines written by hand into bytes, member by member: what is written for each request must not cost as much as the
//! request.

use std::io::Write as _;

/// The numbers below a hundred, in two digits.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut rest: &mut [[u8; 2]] = &mut pairs;
    let mut number = 0;
    while let [pair, after @ ..] = rest {
        *pair = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
        rest = after;
    }
    pairs
};

/// A number below a hundred in two digits; of a larger one the last two.
#[inline]
pub fn two_digits(number: u64) -> [u8; 2] {
    let at = usize::try_from(number % 100).unwrap_or(0);
    PAIRS.get(at).copied().unwrap_or_default()
}

/// Decimal digits, without the formatting machinery: eight at a time, as bytes of one number that are worked on at once.
pub fn number(out: &mut Vec<u8>, value: u64) {
    let Ok(last) = u32::try_from(value) else {
        return long(out, value);
    };
    if last >= EIGHT_DIGITS {
        return long(out, value);
    }
    let digits = eight_digits(last);
    // A zero has one digit.
    let zeros = (digits | 1 << 56).trailing_zeros() / 8;
    let written = (digits | ASCII_ZEROS) >> (zeros * 8);
    out.extend_from_slice(&written.to_le_bytes());
    out.truncate(out.len() - zeros as usize);
}

/// The first number that has more than eight digits.
const EIGHT_DIGITS: u32 = 100_000_000;
/// Eight zeros, as digits.
const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;

fn long(out: &mut Vec<u8>, value: u64) {
    number(out, value / u64::from(EIGHT_DIGITS));
    let last = u32::try_from(value % u64::from(EIGHT_DIGITS)).unwrap_or(0);
    out.extend_from_slice(&(eight_digits(last) | ASCII_ZEROS).to_le_bytes());
}

/// The digits of a number below [`EIGHT_DIGITS`], the first of them in the lowest byte. It is halved into fours, twos and ones, each time
/// all parts at once; a division by 100 or 10 is a multiplication and a shift, exact for what a part can be.
fn eight_digits(value: u32) -> u64 {
    let fours = u64::from(value / 10_000) | u64::from(value % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (twos - 10 * tens) << 8
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
    if value.len() <= most {
        return string(out, value);
    }
    string(out, value.get(..value.floor_char_boundary(most)).unwrap_or(""));
}

/// A string in its quotes.
pub fn string(out: &mut Vec<u8>, value: &str) {
    if is_plain(value) {
        return plain(out, value);
    }
    out.push(b'"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            c if is_special(c) => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// A string in its quotes that needs no escapes: a word of our own, or one that [`is_plain`].
#[inline]
pub fn plain(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

fn is_special(c: char) -> bool {
    c < ' ' || matches!(c, '"' | '\\' | '\u{7f}')
}

/// Whether a string stands in a line as it is: without quotes, backslashes and control characters. Eight bytes are looked at at once,
/// the last eight of a string that is no multiple of it once more; of a shorter one the first and the last four.
pub fn is_plain(value: &str) -> bool {
    let bytes = value.as_bytes();
    if let Some(last) = bytes.last_chunk::<8>() {
        let (eights, _) = bytes.as_chunks::<8>();
        let found = eights
            .iter()
            .fold(specials(*last), |found, eight| found | specials(*eight));
        return found == 0;
    }
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            specials((u64::from(first) | (u64::from(last) << 32)).to_le_bytes()) == 0
        }
        _ => !bytes.iter().any(|byte| is_special(char::from(*byte))),
    }
}

/// Not zero if one of eight bytes is special. By arithmetic on all at once: the top bit of a byte that is one is set. Which of those
/// above it are as well does not matter.
fn specials(bytes: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let bits = u64::from_le_bytes(bytes);
    let below = |bits: u64, limit: u64| bits.wrapping_sub(ONES * limit) & !bits;
    let equal = |byte: u8| below(bits ^ (ONES * u64::from(byte)), 1);
    (below(bits, u64::from(b' ')) | equal(b'"') | equal(b'\\') | equal(0x7f)) & TOPS
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
        for value in [
            0,
            7,
            9,
            10,
            11,
            99,
            100,
            101,
            4_999,
            10_000,
            12_345,
            999_999,
            9_999_999,
            10_000_000,
            99_999_999,
            100_000_000,
            100_000_001,
            4_294_967_296,
            1_764_300_000_123,
            10_000_000_000_000_000,
            u64::MAX - 9,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    #[test]
    fn every_number_has_its_own_digits() {
        // All of four digits, so every half, and every distance between those of eight.
        for value in (0..10_000).chain((0..EIGHT_DIGITS).step_by(9_973)) {
            for value in [value, EIGHT_DIGITS - 1 - value] {
                let mut out = b",".to_vec();
                number(&mut out, u64::from(value));
                assert_eq!(out, format!(",{value}").into_bytes());
            }
        }
    }

    #[test]
    fn a_string_is_plain_wherever_nothing_in_it_is_special() {
        for length in 0..40 {
            let plain = "a\u{e9}z~ !#[]^".chars().cycle().take(length).collect::<String>();
            assert!(is_plain(&plain), "{plain:?}");
            for special in ['\0', '\n', '\u{1f}', '"', '\\', '\u{7f}'] {
                for at in plain.char_indices().map(|(at, _)| at) {
                    let mut text = plain.clone();
                    text.insert(at, special);
                    assert!(!is_plain(&text), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn a_cut_text_ends_with_a_whole_character() {
        let mut out = Vec::new();
        text(&mut out, "aé", 2);
        assert_eq!(out, b"\"a\"");
    }
}
