//! Spans in OTLP's own bytes: protocol buffers written by hand, for they are written while a request waits. Fields are those of
//! `opentelemetry/proto/trace/v1/trace.proto`, which never change their numbers.

use std::time::Duration;

use bowsprit_core::trace::{SpanId, TraceId};

/// Longest text of an attribute, bytes; names come from callers and may be of any length.
const LONGEST: usize = 256;

/// How a field is written, as it stands in the lower bits of its tag.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;

/// The byte before a field: its number, which is below 16 in all messages here, and how it is written.
const fn tag(field: u8, kind: u8) -> u8 {
    field << 3 | kind
}

/// How many bytes a number takes: seven bits in each.
fn width(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// A number's bytes: seven bits in each, the lowest first, and in all but the last one more.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(tag(field, VARINT));
    varint(out, value);
}

fn fixed(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(tag(field, FIXED64));
    out.extend_from_slice(&value.to_le_bytes());
}

/// Begins a text, bytes or a message of this length.
#[inline]
fn begin_bytes(out: &mut Vec<u8>, field: u8, length: usize) {
    match u8::try_from(length) {
        Ok(short @ ..=0x7f) => out.extend_from_slice(&[tag(field, BYTES), short]),
        _ => begin_long(out, field, length),
    }
}

#[cold]
fn begin_long(out: &mut Vec<u8>, field: u8, length: usize) {
    out.push(tag(field, BYTES));
    varint(out, length as u64);
}

/// A text, bytes, or a message that is written already.
pub(super) fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    begin_bytes(out, field, value.len());
    out.extend_from_slice(value);
}

/// How many bytes such a field takes.
fn bytes_width(length: usize) -> usize {
    1 + width(length as u64) + length
}

/// An attribute's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Bool(bool),
    Count(u64),
    Number(f64),
}

/// At most [`LONGEST`] bytes of a text.
fn clipped(text: &str) -> &[u8] {
    if text.len() <= LONGEST {
        return text.as_bytes();
    }
    text.get(..text.floor_char_boundary(LONGEST)).unwrap_or("").as_bytes()
}

/// An attribute, as field `field` of the message that `out` is.
///
/// `KeyValue { key = 1, value = 2 }`, `AnyValue { string = 1, bool = 2, int = 3, double = 4 }`: their lengths stand before them, and
/// are known before they are written.
pub(super) fn attribute(out: &mut Vec<u8>, field: u8, key: &str, value: Value<'_>) {
    let length = match value {
        Value::Text(text) => bytes_width(clipped(text).len()),
        Value::Bool(_) => 2,
        Value::Count(count) => 1 + width(count),
        Value::Number(_) => 9,
    };
    let whole = bytes_width(key.len()) + bytes_width(length);
    if let (Ok(whole @ ..=0x7f), Ok(key_length), Ok(length)) =
        (u8::try_from(whole), u8::try_from(key.len()), u8::try_from(length))
    {
        // Nearly every one: each length is one byte.
        out.extend_from_slice(&[tag(field, BYTES), whole, tag(1, BYTES), key_length]);
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(&[tag(2, BYTES), length]);
    } else {
        begin_bytes(out, field, whole);
        bytes(out, 1, key.as_bytes());
        begin_bytes(out, 2, length);
    }
    match value {
        Value::Text(text) => bytes(out, 1, clipped(text)),
        Value::Bool(is) => number(out, 2, u64::from(is)),
        Value::Count(count) => number(out, 3, count),
        Value::Number(value) => fixed(out, 4, value.to_bits()),
    }
}

/// The name of a span's attribute with all that stands around it. Its lengths and the value's first byte are put in when it is written:
/// that is bytes of one known number, and no call for each part.
#[derive(Clone, Copy)]
pub(super) struct Key<const N: usize> {
    name: &'static str,
    around: [u8; N],
}

/// Bytes around a name.
pub(super) const AROUND: usize = 8;

/// A [`Key`], made when this is compiled.
macro_rules! key {
    ($name:literal) => {
        &const {
            $crate::observe::spans::protobuf::Key::<{ $name.len() + $crate::observe::spans::protobuf::AROUND }>::new(
                $name,
            )
        }
    };
}
pub(super) use key;

impl<const N: usize> Key<N> {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a const cannot fall back, and no name is that long"
    )]
    pub(super) const fn new(name: &'static str) -> Self {
        let mut around = [0; N];
        if let Some((before, rest)) = around.split_first_chunk_mut::<4>()
            && let Some((place, after)) = rest.split_at_mut_checked(name.len())
        {
            *before = [tag(ATTRIBUTES, BYTES), 0, tag(1, BYTES), name.len() as u8];
            place.copy_from_slice(name.as_bytes());
            if let [value, ..] = after {
                *value = tag(2, BYTES);
            }
        }
        Self { name, around }
    }

    /// Writes it before a value of `length` bytes, which begins with these two. Returns whether it did: whether each length is one byte.
    #[allow(clippy::cast_possible_truncation, reason = "asked before: both are at most 0x7f")]
    #[inline]
    fn put(&self, out: &mut Vec<u8>, length: usize, begins: [u8; 2]) -> bool {
        let whole = N - 4 + length;
        let is_short = whole <= 0x7f;
        if is_short {
            let mut around = self.around;
            if let [_, of_all, .., of_value, kind, first] = around.as_mut_slice() {
                (*of_all, *of_value) = (whole as u8, length as u8);
                [*kind, *first] = begins;
            }
            out.extend_from_slice(&around);
        }
        is_short
    }

    /// A text.
    #[allow(clippy::cast_possible_truncation, reason = "asked before: it is at most 0x7f")]
    #[inline]
    pub(super) fn text(&self, out: &mut Vec<u8>, text: &str) {
        if text.len() <= 0x7f && self.put(out, 2 + text.len(), [tag(1, BYTES), text.len() as u8]) {
            out.extend_from_slice(text.as_bytes());
        } else {
            attribute(out, ATTRIBUTES, self.name, Value::Text(text));
        }
    }

    /// A number of something.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "its lowest seven bits are what is written"
    )]
    #[inline]
    pub(super) fn count(&self, out: &mut Vec<u8>, count: u64) {
        let more = if count < 0x80 { 0 } else { 0x80 };
        if !self.put(out, 1 + width(count), [tag(3, VARINT), count as u8 & 0x7f | more]) {
            attribute(out, ATTRIBUTES, self.name, Value::Count(count));
        } else if more > 0 {
            varint(out, count >> 7);
        }
    }

    /// Any number.
    #[inline]
    pub(super) fn number(&self, out: &mut Vec<u8>, number: f64) {
        let [first, rest @ ..] = number.to_bits().to_le_bytes();
        if self.put(out, 9, [tag(4, FIXED64), first]) {
            out.extend_from_slice(&rest);
        } else {
            attribute(out, ATTRIBUTES, self.name, Value::Number(number));
        }
    }
}

/// Puts the length of what was written from `at` on before it. What it moves is short, or seldom written.
fn lengthen(out: &mut Vec<u8>, at: usize) {
    let length = out.len().saturating_sub(at);
    let before = out.len();
    varint(out, length as u64);
    let count = out.len() - before;
    if let Some(message) = out.get_mut(at..) {
        message.rotate_right(count);
    }
}

/// Nanoseconds since 1970.
pub(super) fn nanos(at: Duration) -> u64 {
    at.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(at.subsec_nanos()))
}

/// What a span is in its trace's tree.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Server,
    Client,
}

/// A span's frame.
pub(super) struct Frame<'a> {
    pub trace: TraceId,
    pub id: SpanId,
    pub parent: Option<SpanId>,
    /// `name` and, where it is not empty, what it was asked of.
    pub name: (&'a str, &'a str),
    pub kind: Kind,
    /// Since 1970.
    pub from: Duration,
    pub to: Duration,
}

/// Begins a span: everything of it but its attributes, events and status.
pub(super) fn begin(out: &mut Vec<u8>, frame: &Frame<'_>) {
    bytes(out, 1, &frame.trace.bytes());
    bytes(out, 2, &frame.id.bytes());
    if let Some(parent) = frame.parent {
        bytes(out, 4, &parent.bytes());
    }
    let (name, of) = (frame.name.0.as_bytes(), clipped(frame.name.1));
    let space: &[u8] = if of.is_empty() { b"" } else { b" " };
    begin_bytes(out, 5, name.len() + space.len() + of.len());
    for part in [name, space, of] {
        out.extend_from_slice(part);
    }
    number(
        out,
        6,
        match frame.kind {
            Kind::Server => 2,
            Kind::Client => 3,
        },
    );
    fixed(out, 7, nanos(frame.from));
    fixed(out, 8, nanos(frame.to));
}

/// The field of a span's attributes.
pub(super) const ATTRIBUTES: u8 = 9;

/// Something that happened within a span.
pub(super) fn event(out: &mut Vec<u8>, at: Duration, name: &str, attributes: &[(&str, Value<'_>)]) {
    out.push(tag(11, BYTES));
    let begin = out.len();
    fixed(out, 1, nanos(at));
    bytes(out, 2, name.as_bytes());
    for (key, value) in attributes.iter().filter(|(_, value)| *value != Value::Text("")) {
        attribute(out, 3, key, *value);
    }
    lengthen(out, begin);
}

/// That it went wrong, and how.
pub(super) fn error(out: &mut Vec<u8>, message: &str) {
    out.push(tag(15, BYTES));
    let begin = out.len();
    bytes(out, 2, message.as_bytes());
    number(out, 3, 2);
    lengthen(out, begin);
}

/// Appends a span, which `write` writes, to those of a scope.
#[allow(
    clippy::cast_possible_truncation,
    reason = "asked before: fourteen bits, written in two halves"
)]
pub(super) fn append(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    // Two bytes are the length of nearly every one.
    out.extend_from_slice(&[tag(2, BYTES), 0, 0]);
    let begin = out.len();
    write(out);
    let length = out.len() - begin;
    if let (0x80..0x4000, Some(place)) = (length, out.get_mut(begin - 2..begin)) {
        place.copy_from_slice(&[length as u8 | 0x80, (length >> 7) as u8]);
    } else {
        let span = out.split_off(begin);
        out.truncate(begin - 3);
        bytes(out, 2, &span);
    }
}

/// What stands before the spans of an `ExportTraceServiceRequest`: one resource and one scope. `spans`: how many bytes they are, as
/// [`append`] has them.
pub(super) fn request(resource: &[(String, String)], version: &str, spans: usize) -> Vec<u8> {
    let mut attributes = Vec::new();
    for (key, value) in resource {
        attribute(&mut attributes, 1, key, Value::Text(value));
    }
    let mut scope = Vec::new();
    bytes(&mut scope, 1, b"bowsprit");
    bytes(&mut scope, 2, version.as_bytes());
    let scope_spans = bytes_width(scope.len()) + spans;
    let resource_spans = bytes_width(attributes.len()) + bytes_width(scope_spans);
    let mut out = Vec::with_capacity(bytes_width(resource_spans) - spans);
    begin_bytes(&mut out, 1, resource_spans);
    bytes(&mut out, 1, &attributes);
    begin_bytes(&mut out, 2, scope_spans);
    bytes(&mut out, 1, &scope);
    out
}

/// How many spans an `ExportTraceServiceResponse` says were left out: `partial_success { rejected_spans }`.
pub(super) fn rejected(answer: &[u8]) -> usize {
    // Its first field's first field; whatever else it says, nothing was left out.
    let Some((&0x0a, rest)) = answer.split_first() else {
        return 0;
    };
    let Some((_, partial)) = read_varint(rest) else {
        return 0;
    };
    match partial.split_first() {
        Some((&0x08, count)) => read_varint(count).map_or(0, |(count, _)| usize::try_from(count).unwrap_or(usize::MAX)),
        _ => 0,
    }
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_protocol_buffers() {
        let mut out = Vec::new();
        attribute(&mut out, 9, "k", Value::Text("v"));
        attribute(&mut out, 9, "n", Value::Count(300));
        attribute(&mut out, 9, "b", Value::Bool(true));
        attribute(&mut out, 9, "d", Value::Number(0.5));
        let expected: [&[u8]; 4] = [
            b"\x4a\x08\x0a\x01k\x12\x03\x0a\x01v",
            b"\x4a\x08\x0a\x01n\x12\x03\x18\xac\x02",
            b"\x4a\x07\x0a\x01b\x12\x02\x10\x01",
            b"\x4a\x0e\x0a\x01d\x12\x09\x21\0\0\0\0\0\0\xe0\x3f",
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn an_attribute_of_a_known_name_is_the_same_bytes() {
        const NAME: &str = "gen_ai.usage.output_tokens";
        const LONG: &str = "a.name.that.is.so.long.that.its.own.length.takes.two.bytes.with.what.stands.around.it.and.no.value.is.short.enough.to.fit.beside.it";
        const KEY: Key<{ LONG.len() + AROUND }> = Key::new(LONG);
        let mut seen = Vec::new();
        let mut expect = Vec::new();
        for length in [0, 1, 80, 90, 91, 92, 93, 94, 95, 126, 127, 128, 256, 257, 40_000] {
            let text = "e\u{e9}".repeat(length).chars().take(length).collect::<String>();
            key!("gen_ai.usage.output_tokens").text(&mut seen, &text);
            attribute(&mut expect, ATTRIBUTES, NAME, Value::Text(&text));
        }
        for count in [0, 1, 127, 128, 300, 16_383, 16_384, u64::MAX] {
            key!("gen_ai.usage.output_tokens").count(&mut seen, count);
            attribute(&mut expect, ATTRIBUTES, NAME, Value::Count(count));
        }
        for number in [0.0, 0.5, -1e300] {
            key!("gen_ai.usage.output_tokens").number(&mut seen, number);
            attribute(&mut expect, ATTRIBUTES, NAME, Value::Number(number));
        }
        KEY.text(&mut seen, "v");
        KEY.count(&mut seen, 300);
        KEY.number(&mut seen, 0.5);
        for value in [Value::Text("v"), Value::Count(300), Value::Number(0.5)] {
            attribute(&mut expect, ATTRIBUTES, LONG, value);
        }
        assert_eq!(seen, expect);
    }

    #[test]
    fn spans_stand_one_after_the_other_behind_their_lengths() {
        let mut scope = vec![7];
        let mut expect = vec![7];
        for length in [0, 1, 127, 128, 300, 16_383, 16_384, 70_000] {
            append(&mut scope, |out| out.resize(out.len() + length, 9));
            bytes(&mut expect, 2, &vec![9; length]);
        }
        assert_eq!(scope, expect);
    }

    #[test]
    fn a_length_takes_as_many_bytes_as_it_needs() {
        for (value, bytes) in [
            (0, 1),
            (127, 1),
            (128, 2),
            (16_384, 3),
            (u64::MAX >> 1, 9),
            (u64::MAX, 10),
        ] {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!((out.len(), width(value)), (bytes, bytes), "{value}");
        }
        for (length, digits) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3)] {
            let mut out = Vec::new();
            begin_bytes(&mut out, 9, length);
            assert_eq!(out.len(), 1 + digits);
            let mut out = vec![7];
            out.resize(1 + length, 9);
            lengthen(&mut out, 1);
            let (told, rest) = read_varint(&out[1..]).unwrap();
            assert_eq!(
                (told, rest.len(), out.len()),
                (length as u64, length, 1 + digits + length)
            );
        }
    }

    #[test]
    fn a_text_of_a_callers_is_clipped_between_characters() {
        let mut out = Vec::new();
        attribute(&mut out, 9, "k", Value::Text(&"\u{e9}".repeat(40_000)));
        assert_eq!(out.len(), LONGEST + 12);
        assert!(std::str::from_utf8(&out[out.len() - LONGEST..]).is_ok());
    }

    #[test]
    fn what_a_collector_left_out_is_read() {
        assert_eq!(rejected(b""), 0);
        assert_eq!(rejected(b"\x0a\x00"), 0);
        assert_eq!(rejected(b"\x0a\x03\x08\xac\x02"), 300);
        assert_eq!(rejected(b"\x0a\x05\x12\x03why"), 0);
        assert_eq!(rejected(b"not protobuf"), 0);
    }
}
