//! Spans in OTLP's own bytes: protocol buffers written by hand, for they are written while a request waits. Fields are those of
//! `opentelemetry/proto/trace/v1/trace.proto`, which never change their numbers.

use std::time::Duration;

use bowsprit_core::trace::{SpanId, TraceId};

/// Longest text of an attribute, bytes; names come from callers and may be of any length.
const LONGEST: usize = 256;

/// Lengths and numbers as their bytes stand before a field: its number, and how it is written.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// A number's bytes: seven bits in each, the lowest first, and in all but the last one more.
fn digits(value: u64) -> ([u8; 10], usize) {
    let (mut rest, mut digits, mut count) = (value, [0; 10], 0);
    for digit in &mut digits {
        *digit = (rest & 0x7f) as u8;
        count += 1;
        rest >>= 7;
        if rest == 0 {
            break;
        }
        *digit |= 0x80;
    }
    (digits, count)
}

fn varint(out: &mut Vec<u8>, value: u64) {
    let (digits, count) = digits(value);
    out.extend_from_slice(digits.get(..count).unwrap_or_default());
}

fn tag(out: &mut Vec<u8>, field: u64, kind: u64) {
    varint(out, field << 3 | kind);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    tag(out, field, VARINT);
    varint(out, value);
}

fn fixed(out: &mut Vec<u8>, field: u64, value: u64) {
    tag(out, field, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A text, bytes, or a message that is written already.
pub(super) fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    tag(out, field, BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// An attribute's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Bool(bool),
    Count(u64),
    Number(f64),
}

/// An attribute, as field `field` of the message that `out` is.
pub(super) fn attribute(out: &mut Vec<u8>, field: u64, key: &str, value: Value<'_>) {
    // `KeyValue { key = 1, value = 2 }`, `AnyValue { string = 1, bool = 2, int = 3, double = 4 }`. Both are short: written to
    // where they end up, their lengths put in before them.
    tag(out, field, BYTES);
    let at = out.len();
    bytes(out, 1, key.as_bytes());
    tag(out, 2, BYTES);
    let value_at = out.len();
    match value {
        Value::Text(text) => bytes(
            out,
            1,
            text.get(..text.floor_char_boundary(LONGEST)).unwrap_or("").as_bytes(),
        ),
        Value::Bool(is) => number(out, 2, u64::from(is)),
        Value::Count(count) => number(out, 3, count),
        Value::Number(value) => fixed(out, 4, value.to_bits()),
    }
    lengthen(out, value_at);
    lengthen(out, at);
}

/// Puts the length of what was written from `at` on before it.
fn lengthen(out: &mut Vec<u8>, at: usize) {
    let (digits, count) = digits((out.len() - at) as u64);
    out.extend_from_slice(digits.get(..count).unwrap_or_default());
    if let Some(message) = out.get_mut(at..) {
        message.rotate_right(count);
    }
}

/// Nanoseconds since 1970.
pub(super) fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
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
    tag(out, 5, BYTES);
    let at = out.len();
    let (name, of) = frame.name;
    out.extend_from_slice(name.as_bytes());
    if !of.is_empty() {
        out.push(b' ');
        out.extend_from_slice(of.get(..of.floor_char_boundary(LONGEST)).unwrap_or("").as_bytes());
    }
    lengthen(out, at);
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
pub(super) const ATTRIBUTES: u64 = 9;

/// Something that happened within a span.
pub(super) fn event(out: &mut Vec<u8>, at: Duration, name: &str, attributes: &[(&str, Value<'_>)]) {
    tag(out, 11, BYTES);
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
    tag(out, 15, BYTES);
    let begin = out.len();
    bytes(out, 2, message.as_bytes());
    number(out, 3, 2);
    lengthen(out, begin);
}

/// Appends a span that is written already to those of a scope.
pub(super) fn append(out: &mut Vec<u8>, span: &[u8]) {
    bytes(out, 2, span);
}

/// `ExportTraceServiceRequest` of one resource and one scope. `spans`: as [`append`] has them.
pub(super) fn request(resource: &[(String, String)], version: &str, spans: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(spans.len() + 512);
    tag(&mut out, 1, BYTES); // resource_spans
    let resource_spans = out.len();
    tag(&mut out, 1, BYTES); // resource
    let at = out.len();
    for (key, value) in resource {
        attribute(&mut out, 1, key, Value::Text(value));
    }
    lengthen(&mut out, at);
    tag(&mut out, 2, BYTES); // scope_spans
    let scope_spans = out.len();
    tag(&mut out, 1, BYTES); // scope
    let scope = out.len();
    bytes(&mut out, 1, b"bowsprit");
    bytes(&mut out, 2, version.as_bytes());
    lengthen(&mut out, scope);
    out.extend_from_slice(spans);
    lengthen(&mut out, scope_spans);
    lengthen(&mut out, resource_spans);
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
    fn a_length_takes_as_many_bytes_as_it_needs() {
        for (length, digits) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3)] {
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
