//! Numbers, kept as the text that they were written as.

use std::fmt;

/// A number in the grammar of JSON. Two are equal if they are written alike.
#[derive(Clone)]
pub struct Number(Digits);

/// Up to 22 bytes stand in place, which is every 64-bit integer and nearly every float; a longer text is on the heap.
#[derive(Clone)]
enum Digits {
    Short(u8, [u8; SHORT]),
    Long(Box<str>),
}

const SHORT: usize = 22;

/// The length of the number that `text` begins with.
pub(super) fn number_length(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(from + count)
    };
    let sign = usize::from(text.first() == Some(&b'-'));
    let mut end = match text.get(sign) {
        Some(b'0') => sign + 1,
        _ => digits(sign)?,
    };
    // `01` is no number.
    if text.get(end).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    if text.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let signed = matches!(text.get(end + 1), Some(b'+' | b'-'));
        end = digits(end + 1 + usize::from(signed))?;
    }
    Some(end)
}

impl Number {
    /// A text that is known to be a number.
    pub(super) fn of_text(text: &str) -> Self {
        let mut short = [0; SHORT];
        Self(match (short.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(room), Ok(length)) => {
                room.copy_from_slice(text.as_bytes());
                Digits::Short(length, short)
            }
            _ => Digits::Long(text.into()),
        })
    }

    /// The text, if it is a number in the grammar of JSON and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (number_length(text.as_bytes()) == Some(text.len())).then(|| Self::of_text(text))
    }

    /// None for what JSON cannot say: NaN and the infinities.
    #[must_use]
    pub fn from_f64(value: f64) -> Option<Self> {
        // Written as serde_json writes it: the shortest text that reads as the same float.
        serde_json::Number::from_f64(value).map(|number| Self::of_text(&number.to_string()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Digits::Short(length, bytes) => {
                let bytes = bytes.get(..usize::from(*length)).unwrap_or_default();
                std::str::from_utf8(bytes).unwrap_or_default()
            }
            Digits::Long(text) => text,
        }
    }

    /// The nearest 64-bit float, for comparisons; an infinity where the number is beyond all of them.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        self.as_str().parse().ok()
    }

    /// None unless it is written as an integer of that range.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.as_str().parse().ok()
    }

    /// None unless it is written as an integer of that range.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.as_str().parse().ok()
    }

    /// Whether it is written as an integer of that range.
    #[must_use]
    pub fn is_u64(&self) -> bool {
        self.as_u64().is_some()
    }

    /// Whether it is written as an integer of that range.
    #[must_use]
    pub fn is_i64(&self) -> bool {
        self.as_i64().is_some()
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Number {}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Number({})", self.as_str())
    }
}

macro_rules! from_integers {
    ($($integer:ty)*) => {
        $(impl From<$integer> for Number {
            fn from(value: $integer) -> Self {
                Self::of_text(&value.to_string())
            }
        })*
    };
}

from_integers!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);
