//! A vector as it is kept: the 32-bit numbers that models give, where these say exactly what the provider wrote, else its text.
//!
//! Providers write such a number in one of a few ways: with the digits that tell it from every other 32-bit number, or those that
//! tell its 64-bit value from every other; small ones with an exponent as Python or as JavaScript writes it. Which way it was is
//! found when it is kept, by writing it again: what comes out otherwise is kept as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::json::Value;

/// A vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vector {
    /// Little-endian 32-bit numbers, written as base64.
    Base64(Box<[u8]>),
    /// The same, written as a list of numbers.
    Numbers(Box<[u8]>, Style),
    /// The list's text, of numbers that are none of that.
    Text(Box<str>),
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    digits: Digits,
    exponent: Exponent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digits {
    /// As many as tell it from other 32-bit numbers.
    Of32,
    /// As many as tell it from other 64-bit numbers.
    Of64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exponent {
    /// Below a ten-thousandth, in two digits: `2.1e-05`; whole numbers as `1.0`.
    Python,
    /// Below a millionth: `2.1e-7`; whole numbers as `1`.
    Script,
    /// Below a hundred-thousandth: `2.1e-6`; whole numbers as `1.0`. As this release's own translation writes.
    Own,
    /// Never; whole numbers as `1`.
    Never,
}

const STYLES: [Style; 8] = {
    const fn style(digits: Digits, exponent: Exponent) -> Style {
        Style { digits, exponent }
    }
    [
        style(Digits::Of64, Exponent::Python),
        style(Digits::Of32, Exponent::Python),
        style(Digits::Of64, Exponent::Script),
        style(Digits::Of32, Exponent::Script),
        style(Digits::Of64, Exponent::Own),
        style(Digits::Of32, Exponent::Own),
        style(Digits::Of64, Exponent::Never),
        style(Digits::Of32, Exponent::Never),
    ]
};

impl Vector {
    /// A vector of an answer: a list of numbers, or base64. `None`: it is neither.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Array(numbers) if !numbers.is_empty() => Self::of_numbers(numbers),
            text => {
                let text = text.as_str()?;
                let bytes = STANDARD.decode(text).ok()?;
                // Of what would be written otherwise, the text itself would be kept: none does so.
                let is_same = !bytes.is_empty() && bytes.len().is_multiple_of(4) && STANDARD.encode(&bytes) == text;
                is_same.then(|| Self::Base64(bytes.into()))
            }
        }
    }

    fn of_numbers(numbers: &[Value]) -> Option<Self> {
        let texts: Option<Vec<&str>> = numbers
            .iter()
            .map(|number| Some(number.as_number()?.as_str()))
            .collect();
        let texts = texts?;
        let mut bytes = Vec::with_capacity(texts.len() * 4);
        for text in &texts {
            bytes.extend_from_slice(&text.parse::<f32>().ok()?.to_le_bytes());
        }
        let mut again = Vec::with_capacity(24);
        let writes = |style: &Style, again: &mut Vec<u8>| {
            texts.iter().zip(floats(&bytes)).all(|(text, number)| {
                again.clear();
                style.write(number, again);
                again.as_slice() == text.as_bytes()
            })
        };
        let style = STYLES.iter().find(|style| writes(style, &mut again));
        Some(match style {
            Some(style) => Self::Numbers(bytes.into(), *style),
            None => Self::Text(format!("[{}]", texts.join(",")).into()),
        })
    }

    /// Writes it as the provider wrote it, but for white space.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Base64(bytes) => {
                out.push(b'"');
                let at = out.len();
                let length = bytes.len().div_ceil(3) * 4;
                out.resize(at + length, 0);
                if let Some(place) = out.get_mut(at..) {
                    // The place is as long as it needs.
                    let _ = STANDARD.encode_slice(bytes, place);
                }
                out.push(b'"');
            }
            Self::Numbers(bytes, style) => {
                out.push(b'[');
                for (place, number) in floats(bytes).enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    style.write(number, out);
                }
                out.push(b']');
            }
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
        }
    }

    /// About how many bytes it is as the provider wrote it, rather too many than too few: only who writes it knows.
    pub fn about_bytes_written(&self) -> usize {
        match self {
            Self::Base64(bytes) => bytes.len().div_ceil(3) * 4 + 2,
            // A number as long as they are seldom, with its comma: `-0.012345678901234567,`.
            Self::Numbers(bytes, style) => {
                let each = match style.digits {
                    Digits::Of32 => 14,
                    Digits::Of64 => 23,
                };
                bytes.len() / 4 * each + 2
            }
            Self::Text(text) => text.len(),
        }
    }

    /// Its numbers. `None`: what it was written as holds one that is none.
    pub fn numbers(&self) -> Option<Vec<f32>> {
        match self {
            Self::Base64(bytes) | Self::Numbers(bytes, _) => Some(floats(bytes).collect()),
            Self::Text(text) => serde_json::from_str(text).ok(),
        }
    }

    /// Bytes that its numbers take.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Base64(bytes) | Self::Numbers(bytes, _) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four))
}

impl Style {
    /// Numbers from here on are written without an exponent in every style, and below a million million none has one.
    const PLAIN: f32 = 1e-4;
    const HUGE: f32 = 1e12;

    fn write(self, number: f32, out: &mut Vec<u8>) {
        let size = number.abs();
        let is_whole = number.fract() == 0.0;
        if (Self::PLAIN..Self::HUGE).contains(&size) && !is_whole {
            // Writing to a vector cannot fail.
            let _ = match self.digits {
                Digits::Of32 => serde_json::to_writer(out, &number),
                Digits::Of64 => serde_json::to_writer(out, &f64::from(number)),
            };
            return;
        }
        out.extend_from_slice(self.seldom(number).as_bytes());
    }

    /// Of those that are seldom: small, huge, whole.
    fn seldom(self, number: f32) -> String {
        let (plain, scientific) = match self.digits {
            Digits::Of32 => (number.to_string(), format!("{number:e}")),
            Digits::Of64 => (f64::from(number).to_string(), format!("{:e}", f64::from(number))),
        };
        let is_small_below = |bound: f32| number != 0.0 && number.abs() < bound;
        let (has_exponent, pads, has_point) = match self.exponent {
            Exponent::Python => (is_small_below(1e-4), true, true),
            Exponent::Script => (is_small_below(1e-6), false, false),
            Exponent::Own => (is_small_below(1e-5), false, true),
            Exponent::Never => (false, false, false),
        };
        match scientific.split_once("e-") {
            Some((digits, power)) if has_exponent && pads => format!("{digits}e-{power:0>2}"),
            Some(_) if has_exponent => scientific,
            _ if has_point && number.fract() == 0.0 => format!("{plain}.0"),
            _ => plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    fn kept(text: &str) -> Vector {
        Vector::of(&parse(text.as_bytes()).unwrap()).unwrap()
    }

    fn written(vector: &Vector) -> String {
        let mut out = Vec::new();
        vector.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_way_to_write_a_32_bit_number_is_kept_as_such_and_written_again() {
        for text in [
            // Python's 64-bit digits of a 32-bit number.
            "[-0.006929283495992422,-0.005336422007530928,-4.547132266452536e-05,1.0]",
            "[0.0023064255,-2.1e-05,0.5,0.0]",
            "[0.0023064255,0.000021,2.1e-7,1]",
            "[-0.006929283495992422,0.00004547132266452536,-1]",
            "[0.0023064255,2.1e-6,1.0]",
            "[0.0023064255,0.0000021]",
        ] {
            let vector = kept(text);
            assert!(matches!(vector, Vector::Numbers(..)), "{text}: {vector:?}");
            assert_eq!(written(&vector), text);
        }
    }

    #[test]
    fn what_is_no_32_bit_number_is_kept_as_its_text() {
        for text in [
            "[0.12345678901234568,0.5]",
            "[1e-3,0.5]",
            "[0.50]",
            "[0.1,0.10000000149011612]",
            "[-0.0,0.5,1]",
            "[1e400]",
        ] {
            let vector = kept(text);
            assert!(matches!(vector, Vector::Text(_)), "{text}: {vector:?}");
            assert_eq!(written(&vector), text);
        }
        assert_eq!(written(&kept("[ 0.5 ,\n 0.25]")), "[0.5,0.25]");
    }

    #[test]
    fn base64_is_kept_as_bytes() {
        let bytes: Vec<u8> = [0.5_f32, -1.25, f32::MIN_POSITIVE]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        let text = format!("\"{}\"", STANDARD.encode(&bytes));
        assert_eq!(kept(&text), Vector::Base64(bytes.into()));
        assert_eq!(written(&kept(&text)), text);
        for none in [
            "\"\"",
            "\"AAA\"",
            "\"AAAAAA==\"x",
            "\"hello!\"",
            "[]",
            "[\"1\"]",
            "7",
            "null",
        ] {
            if let Ok(value) = parse(none.as_bytes()) {
                let found = Vector::of(&value);
                assert!(found.is_none(), "{none}: {found:?}");
            }
        }
    }
}
