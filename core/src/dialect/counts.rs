//! Token counts read without a parser, where they are written as nearly every server writes them: an object of whole numbers and of
//! objects of whole numbers. Reading an answer's usage by serde was a twentieth of a request.
//!
//! What is written in any other way is not read here but left to the parser, which says what is made of it: so this knows
//! neither errors nor rules for what is told twice, has another type, or is null.

use super::token_count::Count;

/// Most digits of a number that is read here: there is no larger count, and it is far from overflowing.
const MOST_DIGITS: usize = 15;

/// What counts are read into.
pub(super) trait Counts: Default {
    /// An object of this name begins. Returns whether one may.
    fn opens(&mut self, name: &[u8]) -> bool;

    /// Where a count of this name goes, of those within the object `within`; that is empty for the outermost.
    fn place(&mut self, within: &[u8], name: &[u8]) -> Place<'_>;
}

/// Where something goes.
pub(super) enum Place<'a> {
    /// To this count.
    Count(&'a mut Option<Count>),
    /// Nowhere, whatever it is.
    Nowhere,
    /// Nowhere, and it should be something else, or stand there once: the parser is to see it.
    Wrong,
}

/// Reads an object that `text` begins with, and says how long it is. `None`: it is to be read by the parser.
pub(super) fn read<T: Counts>(text: &[u8]) -> Option<(T, usize)> {
    let mut told = T::default();
    let mut rest = Rest(text);
    rest.opens()?;
    loop {
        let name = rest.name()?;
        if rest.next()? == b'{' {
            rest.opens()?;
            told.opens(name).then_some(())?;
            loop {
                let inner = rest.name()?;
                let count = rest.number()?;
                put(told.place(name, inner), count)?;
                if rest.closes()? {
                    break;
                }
            }
            rest.takes(b'}')?;
        } else {
            let count = rest.number()?;
            put(told.place(b"", name), count)?;
        }
        if rest.closes()? {
            return Some((told, text.len() - rest.0.len() + 1));
        }
    }
}

fn put(place: Place<'_>, count: u64) -> Option<()> {
    match place {
        Place::Count(empty @ None) => *empty = Some(Count(count)),
        Place::Count(Some(_)) | Place::Wrong => return None,
        Place::Nowhere => {}
    }
    Some(())
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// The next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        loop {
            match self.0 {
                [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] => self.0 = rest,
                [next, ..] => return Some(*next),
                [] => return None,
            }
        }
    }

    fn takes(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())?;
        self.0 = self.0.get(1..)?;
        Some(())
    }

    fn opens(&mut self) -> Option<()> {
        self.takes(b'{')
    }

    /// Whether the object ends here; its brace is left. A comma is taken.
    fn closes(&mut self) -> Option<bool> {
        match self.next()? {
            b'}' => Some(true),
            _ => self.takes(b',').map(|()| false),
        }
    }

    /// A name, with its colon. It is one of plain ASCII.
    fn name(&mut self) -> Option<&'a [u8]> {
        self.takes(b'"')?;
        let length = to_quote(self.0)?;
        let (name, rest) = self.0.split_at_checked(length)?;
        self.0 = rest.get(1..)?;
        self.takes(b':')?;
        Some(name)
    }

    /// A whole number.
    fn number(&mut self) -> Option<u64> {
        self.next()?;
        let (mut number, mut digits) = (0, 0);
        while let [digit @ b'0'..=b'9', rest @ ..] = self.0 {
            number = number * 10 + u64::from(digit - b'0');
            digits += 1;
            self.0 = rest;
            if digits > MOST_DIGITS {
                return None;
            }
        }
        // What follows otherwise belongs to it, and none has a zero before others.
        let is_whole = matches!(self.0, [b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t', ..]);
        let is_one = digits == 1 || (digits > 1 && number >= power_of_ten(digits - 1));
        (is_whole && is_one).then_some(number)
    }
}

fn power_of_ten(exponent: usize) -> u64 {
    u32::try_from(exponent).map_or(u64::MAX, |exponent| 10u64.saturating_pow(exponent))
}

/// Bytes before the next quote, if they are nothing but letters, digits and signs of ASCII. Eight are looked at at once.
fn to_quote(text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let (eights, last) = text.as_chunks::<8>();
    let mut length = 0;
    for eight in eights {
        let bits = u64::from_le_bytes(*eight);
        // The top bit of a byte that is one, and perhaps of those above it.
        let below = |bits: u64, limit: u64| bits.wrapping_sub(ONES * limit) & !bits;
        let equal = |byte: u8| below(bits ^ (ONES * u64::from(byte)), 1);
        let ends = (below(bits, u64::from(b' ')) | equal(b'"') | equal(b'\\') | bits) & TOPS;
        if ends != 0 {
            length += ends.trailing_zeros() as usize / 8;
            return (text.get(length) == Some(&b'"')).then_some(length);
        }
        length += 8;
    }
    let ends = |byte: &u8| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\');
    length += last.iter().position(ends)?;
    (text.get(length) == Some(&b'"')).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::super::usage::{OpenAi, Responses, Usage};
    use super::*;

    /// As it is read here and by the parser; both or neither.
    fn both(text: &str) -> (Option<Usage>, Option<Usage>) {
        let padded = format!("{text}}}");
        let here = read::<OpenAi>(padded.as_bytes());
        if let Some((_, length)) = &here {
            assert_eq!(*length, text.len(), "{text}");
        }
        let parsed: Option<OpenAi> = serde_json::from_str(text).ok();
        (here.map(|(told, _)| told.into()), parsed.map(Into::into))
    }

    #[test]
    fn what_is_read_here_is_what_the_parser_reads() {
        for text in [
            r#"{"prompt_tokens":12,"completion_tokens":345,"total_tokens":357}"#,
            r#"{"prompt_tokens":12,"completion_tokens":345,"total_tokens":357,"prompt_tokens_details":{"cached_tokens":3,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":64,"audio_tokens":0,"accepted_prediction_tokens":0}}"#,
            "{ \"prompt_tokens\" : 12 ,\n\t\"prompt_tokens_details\": { \"cached_tokens\": 0 , \"cache_write_tokens\" : 2 }\r\n}",
            r#"{"prompt_cache_hit_tokens":7,"prompt_tokens":999999999999999,"num_sources_used":0,"x":{"y":1}}"#,
            r#"{"prompt_tokens_details":{"audio_tokens":5},"prompt_tokens":5}"#,
        ] {
            let (here, parsed) = both(text);
            assert!(here.is_some(), "{text}");
            assert_eq!(here, parsed, "{text}");
        }
        let text = r#"{"input_tokens":7,"input_tokens_details":{"cached_tokens":2},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":4},"total_tokens":16}"#;
        let here = read::<Responses>(format!("{text}}}").as_bytes()).map(|(told, _)| Usage::from(told));
        assert_eq!(here, Some(serde_json::from_str::<Responses>(text).unwrap().into()));
        assert!(here.is_some());
    }

    #[test]
    fn what_is_written_in_another_way_is_left_to_the_parser() {
        for text in [
            "{}",
            "null",
            r#"{"prompt_tokens":null}"#,
            r#"{"prompt_tokens":-1}"#,
            r#"{"prompt_tokens":1.0}"#,
            r#"{"prompt_tokens":1e3}"#,
            r#"{"prompt_tokens":01}"#,
            r#"{"prompt_tokens":1000000000000000}"#,
            r#"{"prompt_tokens":"1"}"#,
            r#"{"prompt_tokens":1,}"#,
            r#"{"prompt_tokens":1 2}"#,
            r#"{"prompt_tokens" 1}"#,
            r#"{"prompt_tokens":1,"prompt_tokens":2}"#,
            r#"{"prompt_tokens":{"x":1}}"#,
            r#"{"prompt_tokens_details":1}"#,
            r#"{"prompt_tokens_details":{}}"#,
            r#"{"prompt_tokens_details":{"x":1},"prompt_tokens_details":{"cached_tokens":1}}"#,
            r#"{"prompt_tokens_details":{"cached_tokens":1,"cached_tokens":1}}"#,
            r#"{"prompt_tokens_details":{"cached_tokens":{"x":1}}}"#,
            r#"{"prompt\u005ftokens":1}"#,
            "{\"prompt\u{e9}\":1}",
            "{\"prompt\n\":1}",
            r#"{"service_tier":"default","input_tokens":1}"#,
        ] {
            assert!(both(text).0.is_none(), "{text}");
        }
        for text in [
            r#"{"prompt_tokens":1"#,
            r#"{"prompt_tokens""#,
            r#"{"prompt_to"#,
            "{",
            "",
        ] {
            assert!(read::<OpenAi>(text.as_bytes()).is_none(), "{text}");
        }
    }
}
