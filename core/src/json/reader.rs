//! The reader: RFC 8259 and nothing else.
//!
//! Two ways go over a text: [`Reader::value`] makes a tree, by recursion that [`DEPTH`] bounds; [`Reader::skip`] only
//! checks the grammar, without recursion and so at any depth, for values that pass unread.

use std::borrow::Cow;

use super::number::number_length;
use super::text::{is_high, is_low, join};
use super::{Error, Map, Number, Text, Value};

/// Arrays and objects within each other that are read; one more is refused. It is what serde_json takes, far beyond any
/// honest request, and bounds the stack that reading, writing and dropping a value need.
pub const DEPTH: u32 = 127;

/// The bytes of a string that end or break it: a quote, a backslash, a control character.
fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < b' '
}

/// Bytes before the first special one. The first sixteen are looked at by eights, in the bits of a number: most names and many values
/// are shorter. What is longer is searched by vector instructions, in two passes.
pub(super) fn plain_length(text: &[u8]) -> usize {
    let (eights, last) = text.as_chunks::<8>();
    let mut length = 0;
    for eight in eights.iter().take(2) {
        match first_special(*eight) {
            8 => length += 8,
            at => return length + at,
        }
    }
    if eights.len() < 2 {
        return length + last.iter().position(|byte| is_special(*byte)).unwrap_or(last.len());
    }
    let rest = text.get(length..).unwrap_or_default();
    let quoted = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    let plain = rest.get(..quoted).unwrap_or_default();
    if plain.iter().fold(0, |any, byte| any | u8::from(*byte < b' ')) == 0 {
        return length + quoted;
    }
    length + plain.iter().position(|byte| *byte < b' ').unwrap_or(quoted)
}

/// Where among eight bytes the first special one is; 8 if there is none. By arithmetic on all at once: a byte's top bit is set where
/// it is one, and above that also where it is none, which does not matter for the first.
fn first_special(bytes: [u8; 8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let bits = u64::from_le_bytes(bytes);
    let below = |bits: u64, limit: u64| bits.wrapping_sub(ONES * limit) & !bits & TOPS;
    let equal = |byte: u8| below(bits ^ (ONES * u64::from(byte)), 1);
    let found = below(bits, u64::from(b' ')) | equal(b'"') | equal(b'\\');
    found.trailing_zeros() as usize / 8
}

/// Reads a document.
///
/// # Errors
/// What is wrong with it and where; among it bytes that are not UTF-8.
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader::new(text)?;
    let value = reader.value(DEPTH)?;
    reader.end()?;
    Ok(value)
}

/// The arrays and objects that a place is in, by what closes them: a bit each, in a list where they are many.
#[derive(Default)]
struct Open {
    /// Of the innermost ones; 1: an object. The lowest bit is the innermost.
    bits: u64,
    count: u32,
    /// Those around them, 64 each.
    outer: Vec<u64>,
}

impl Open {
    fn push(&mut self, close: u8) {
        if self.count == u64::BITS {
            self.outer.push(std::mem::take(&mut self.bits));
            self.count = 0;
        }
        self.bits = self.bits << 1 | u64::from(close == b'}');
        self.count += 1;
    }

    fn last(&self) -> Option<u8> {
        (self.count > 0).then_some(if self.bits & 1 == 1 { b'}' } else { b']' })
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.count = self.count.saturating_sub(1);
        if self.count == 0
            && let Some(outer) = self.outer.pop()
        {
            (self.bits, self.count) = (outer, u64::BITS);
        }
    }
}

/// A place in a text.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// A string as it was read: borrowed where it has no escapes.
pub(super) struct Read<'a> {
    pub text: Cow<'a, str>,
    low: Option<u16>,
    high: Option<u16>,
}

impl Read<'_> {
    pub(super) fn into_text(self) -> Text {
        Text::with_halves(self.text.into_owned(), self.low, self.high)
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8]) -> Result<Self, Error> {
        match std::str::from_utf8(text) {
            Ok(text) => Ok(Self::of(text)),
            Err(error) => Err(Error::syntax("invalid UTF-8", text, error.valid_up_to())),
        }
    }

    pub(super) fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The error, at the place where this stands.
    pub(super) fn error(&self, problem: &'static str) -> Error {
        Error::syntax(problem, self.text.as_bytes(), self.at)
    }

    /// An error of what was expected, with the place where this stands.
    pub(super) fn place(&self, error: Error) -> Error {
        error.at(self.text.as_bytes(), self.at)
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The next byte that is not white space, which is not taken; none at the end.
    pub(super) fn look(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// How many bytes have been read.
    pub(super) fn place_in_text(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self) {
        self.at += 1;
    }

    /// Takes this byte, if it is the next.
    pub(super) fn takes(&mut self, byte: u8) -> bool {
        let next = self.look() == Some(byte);
        self.at += usize::from(next);
        next
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        match self.look() {
            None => Ok(()),
            Some(_) => Err(self.error("trailing characters")),
        }
    }

    /// A colon, between a name and its value.
    pub(super) fn colon(&mut self) -> Result<(), Error> {
        if self.takes(b':') {
            Ok(())
        } else {
            Err(self.expected("expected `:`", "EOF while parsing an object"))
        }
    }

    /// `problem`, or `ended` if there is nothing more.
    pub(super) fn expected(&self, problem: &'static str, ended: &'static str) -> Error {
        self.error(if self.rest().is_empty() { ended } else { problem })
    }

    /// `true`, `false` or `null`.
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), Error> {
        if self.rest().starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.expected("expected a value", "EOF while parsing a value"))
    }

    /// A number's text.
    pub(super) fn number(&mut self) -> Result<&'a str, Error> {
        let length = number_length(self.rest()).ok_or_else(|| self.error("invalid number"))?;
        let number = self.text.get(self.at..self.at + length).unwrap_or_default();
        self.at += length;
        Ok(number)
    }

    /// Up to the next quote or backslash, which is not taken.
    fn plain(&mut self) -> Result<(&'a str, u8), Error> {
        let rest = self.rest();
        let length = plain_length(rest);
        let plain = self.text.get(self.at..self.at + length).unwrap_or_default();
        self.at += length;
        match rest.get(length) {
            Some(&next) if next < b' ' => Err(self.error("control character in a string")),
            Some(&next) => Ok((plain, next)),
            None => Err(self.error("EOF while parsing a string")),
        }
    }

    /// A string, whose opening quote is next.
    pub(super) fn string(&mut self) -> Result<Read<'a>, Error> {
        if !self.takes(b'"') {
            return Err(self.expected("expected a string", "EOF while parsing a value"));
        }
        let (plain, next) = self.plain()?;
        if next == b'"' {
            self.take();
            return Ok(Read {
                text: Cow::Borrowed(plain),
                low: None,
                high: None,
            });
        }
        let mut text = String::with_capacity(plain.len() + 16);
        text.push_str(plain);
        let mut low = None;
        loop {
            // A backslash is next.
            self.take();
            let first = text.is_empty();
            let mut high = self.escape(&mut text)?;
            if high.is_some_and(is_low) {
                low = if first { high } else { low };
                high = None;
            }
            let (plain, next) = self.plain()?;
            if !plain.is_empty() {
                text.push_str(plain);
                high = None;
            }
            if next == b'"' {
                self.take();
                return Ok(Read {
                    text: Cow::Owned(text),
                    low,
                    high,
                });
            }
        }
    }

    /// What follows a backslash, as one character. Returns the half that it stands for, if it is half a pair.
    fn escape(&mut self, text: &mut String) -> Result<Option<u16>, Error> {
        let byte = self.rest().first().copied();
        let byte = byte.ok_or_else(|| self.error("EOF while parsing a string"))?;
        self.take();
        text.push(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(text),
            _ => {
                self.at -= 1;
                return Err(self.error("invalid escape"));
            }
        });
        Ok(None)
    }

    fn unicode(&mut self, text: &mut String) -> Result<Option<u16>, Error> {
        let unit = self.hex()?;
        if let Some(character) = char::from_u32(u32::from(unit)) {
            text.push(character);
            return Ok(None);
        }
        if is_high(unit) && self.rest().starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let next = self.hex()?;
            if is_low(next) {
                text.push(join(unit, next));
                return Ok(None);
            }
            self.at = before;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        Ok(Some(unit))
    }

    fn hex(&mut self) -> Result<u16, Error> {
        let digits = self.rest().get(..4);
        let digits = digits.ok_or_else(|| self.error("EOF while parsing a string"))?;
        let mut unit = 0;
        for digit in digits {
            let value = char::from(*digit).to_digit(16);
            let value = value.ok_or_else(|| self.error("invalid escape"))?;
            unit = unit << 4 | u16::try_from(value).unwrap_or_default();
        }
        self.at += 4;
        Ok(unit)
    }

    /// The next value. `depth`: how many arrays and objects may still be opened.
    pub(super) fn value(&mut self, depth: u32) -> Result<Value, Error> {
        match self.look() {
            Some(b'"') => Ok(Value::String(self.string()?.into_text())),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => Ok(Value::Number(Number::of_text(self.number()?))),
            Some(b't') => self.word("true").map(|()| Value::Bool(true)),
            Some(b'f') => self.word("false").map(|()| Value::Bool(false)),
            Some(b'n') => self.word("null").map(|()| Value::Null),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("EOF while parsing a value")),
        }
    }

    /// One level deeper.
    pub(super) fn deeper(&self, depth: u32) -> Result<u32, Error> {
        depth.checked_sub(1).ok_or_else(|| self.error("nested too deeply"))
    }

    fn array(&mut self, depth: u32) -> Result<Value, Error> {
        let depth = self.deeper(depth)?;
        self.take();
        let mut list = Vec::new();
        if self.takes(b']') {
            return Ok(Value::Array(list));
        }
        loop {
            list.push(self.value(depth)?);
            if self.takes(b']') {
                return Ok(Value::Array(list));
            }
            self.comma(b']')?;
        }
    }

    fn object(&mut self, depth: u32) -> Result<Value, Error> {
        let depth = self.deeper(depth)?;
        self.take();
        let mut map = Map::new();
        if self.takes(b'}') {
            return Ok(Value::Object(map));
        }
        loop {
            let name = self.name()?.text.into_owned();
            self.colon()?;
            let value = self.value(depth)?;
            map.insert(name, value);
            if self.takes(b'}') {
                return Ok(Value::Object(map));
            }
            self.comma(b'}')?;
        }
    }

    /// A comma with something behind it; `close` is what would end the array or object.
    pub(super) fn comma(&mut self, close: u8) -> Result<(), Error> {
        if self.takes(b',') && self.look() != Some(close) {
            return Ok(());
        }
        Err(self.no_comma(close))
    }

    /// What is wrong where none was, or nothing behind it.
    #[cold]
    fn no_comma(&self, close: u8) -> Error {
        if self.rest().first() == Some(&close) {
            return self.error("trailing comma");
        }
        match close {
            b']' => self.expected("expected `,` or `]`", "EOF while parsing an array"),
            _ => self.expected("expected `,` or `}`", "EOF while parsing an object"),
        }
    }

    /// The name of a member.
    pub(super) fn name(&mut self) -> Result<Read<'a>, Error> {
        if self.look() == Some(b'"') {
            self.string()
        } else {
            Err(self.expected("a name must be a string", "EOF while parsing an object"))
        }
    }

    /// Passes a value and returns its text.
    pub(super) fn skip(&mut self) -> Result<&'a str, Error> {
        self.look();
        let start = self.at;
        let mut open = Open::default();
        loop {
            // A value begins.
            match self.look() {
                Some(b'"') => self.skip_string()?,
                Some(b'-' | b'0'..=b'9') => drop(self.number()?),
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                Some(bracket @ (b'{' | b'[')) => {
                    self.take();
                    let close = if bracket == b'{' { b'}' } else { b']' };
                    if !self.takes(close) {
                        open.push(close);
                        self.skip_name(close)?;
                        continue;
                    }
                }
                Some(_) => return Err(self.error("expected a value")),
                None => return Err(self.error("EOF while parsing a value")),
            }
            // It has ended, and so may those that it was in.
            loop {
                let Some(close) = open.last() else {
                    return Ok(self.text.get(start..self.at).unwrap_or_default());
                };
                if self.takes(close) {
                    open.pop();
                } else {
                    self.comma(close)?;
                    self.skip_name(close)?;
                    break;
                }
            }
        }
    }

    fn skip_name(&mut self, close: u8) -> Result<(), Error> {
        if close == b']' {
            return Ok(());
        }
        if self.look() != Some(b'"') {
            return Err(self.expected("a name must be a string", "EOF while parsing an object"));
        }
        self.skip_string()?;
        self.colon()
    }

    fn skip_string(&mut self) -> Result<(), Error> {
        self.take();
        loop {
            let rest = self.rest();
            let length = plain_length(rest);
            self.at += length;
            match rest.get(length) {
                Some(b'"') => {
                    self.take();
                    return Ok(());
                }
                Some(b'\\') => self.take(),
                Some(_) => return Err(self.error("control character in a string")),
                None => return Err(self.error("EOF while parsing a string")),
            }
            match self.rest().first() {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.take(),
                Some(b'u') => {
                    self.take();
                    self.hex()?;
                }
                Some(_) => return Err(self.error("invalid escape")),
                None => return Err(self.error("EOF while parsing a string")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_closes_in_the_other_order_at_any_depth() {
        for depth in [1, 63, 64, 65, 128, 129, 1000] {
            let opened: Vec<bool> = (0..depth).map(|at| at * 7 % 3 == 0).collect();
            let open: String = opened
                .iter()
                .map(|object| if *object { "{\"a\":" } else { "[" })
                .collect();
            let close: String = opened
                .iter()
                .rev()
                .map(|object| if *object { '}' } else { ']' })
                .collect();
            let text = format!("{open}1{close}");
            assert_eq!(Reader::of(&text).skip().unwrap(), text, "{depth}");
            let wrong = text.replacen(if close.starts_with(']') { ']' } else { '}' }, ")", 1);
            assert!(Reader::of(&wrong).skip().is_err(), "{depth}");
        }
    }

    #[test]
    fn the_first_special_byte_is_found_wherever_it_is_and_no_other_is_taken_for_one() {
        for length in 0..70 {
            for byte in 0..=255u8 {
                let mut text = vec![0xC3; length];
                text.extend([byte, b' ', b'"', 0xFF, 0x1F, b'\\', b'x', b'y', b'z']);
                let first = text.iter().position(|byte| is_special(*byte)).unwrap();
                assert_eq!(plain_length(&text), first, "{length} {byte}");
                assert_eq!(plain_length(&text[..first]), first, "the end, {length} {byte}");
            }
        }
    }
}
