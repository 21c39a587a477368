//! A collector's end of OTLP: what came in, read from its bytes. It knows protocol buffers on its own, so that it cannot be wrong
//! in the way that the writer is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::peer::Record;

/// A span as it came in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Hex.
    pub trace: String,
    /// Hex.
    pub id: String,
    /// Hex; empty for the first of a trace.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// 2: a server's, 3: a client's.
    pub kind: u64,
    /// Nanoseconds since 1970: its begin and its end.
    pub times: (u64, u64),
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Names of what happened within it, in order.
    pub events: Vec<String>,
    /// What went wrong.
    pub error: Option<String>,
}

/// Everything that exports brought.
#[derive(Clone, Debug, Default)]
pub struct Exports {
    /// The heads of the requests.
    pub heads: Vec<String>,
    /// What is said of the process, as of the last.
    pub resource: BTreeMap<String, String>,
    /// The spans.
    pub spans: Vec<Span>,
}

impl Exports {
    /// What a peer has seen, as far as it is whole.
    pub fn of(record: &Record) -> Self {
        let mut all = Self::default();
        for bytes in record.connections() {
            let mut rest = &bytes[..];
            while let Some(at) = memchr::memmem::find(rest, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&rest[..at]).into_owned();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.map_or(0, |length| length.parse().unwrap());
                let body = &rest[at + 4..];
                if body.len() < length {
                    break;
                }
                all.take(&body[..length]);
                all.heads.push(head);
                rest = &body[length..];
            }
        }
        all
    }

    fn take(&mut self, body: &[u8]) {
        for resource_spans in messages(body, 1) {
            for resource in messages(resource_spans, 1) {
                self.resource = attributes(resource, 1);
            }
            for scope_spans in messages(resource_spans, 2) {
                self.spans.extend(messages(scope_spans, 2).into_iter().map(span));
            }
        }
    }

    /// The only span of this name.
    pub fn one(&self, name: &str) -> &Span {
        let found: Vec<&Span> = self.spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name} in {:#?}", self.spans);
        found[0]
    }
}

fn span(bytes: &[u8]) -> Span {
    let mut span = Span {
        attributes: attributes(bytes, 9),
        ..Span::default()
    };
    for (field, value) in fields(bytes) {
        match (field, value) {
            (1, Value::Bytes(id)) => span.trace = hex(id),
            (2, Value::Bytes(id)) => span.id = hex(id),
            (4, Value::Bytes(id)) => span.parent = hex(id),
            (5, Value::Bytes(name)) => span.name = text(name),
            (6, Value::Number(kind)) => span.kind = kind,
            (7, Value::Number(at)) => span.times.0 = at,
            (8, Value::Number(at)) => span.times.1 = at,
            (9, Value::Bytes(_)) => {}
            (11, Value::Bytes(event)) => span.events.extend(messages(event, 2).into_iter().map(text)),
            (15, Value::Bytes(status)) => {
                assert!(fields(status).contains(&(3, Value::Number(2))), "an error");
                span.error = messages(status, 2).first().map(|message| text(message));
            }
            (field, value) => panic!("a span has no field {field}: {value:?}"),
        }
    }
    span
}

fn attributes(bytes: &[u8], field: u64) -> BTreeMap<String, String> {
    let read = |bytes: &[u8]| {
        let key = text(messages(bytes, 1)[0]);
        let value = match fields(messages(bytes, 2)[0])[..] {
            [(1, Value::Bytes(bytes))] => text(bytes),
            [(2, Value::Number(is))] => (is == 1).to_string(),
            [(3, Value::Number(count))] => count.to_string(),
            [(4, Value::Number(bits))] => f64::from_bits(bits).to_string(),
            ref other => panic!("{key}: {other:?}"),
        };
        (key, value)
    };
    let all: Vec<_> = messages(bytes, field).into_iter().map(read).collect();
    let count = all.len();
    let map: BTreeMap<_, _> = all.into_iter().collect();
    assert_eq!(map.len(), count, "no attribute twice");
    map
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn messages(bytes: &[u8], field: u64) -> Vec<&[u8]> {
    let of = |(number, value)| match value {
        Value::Bytes(bytes) if number == field => Some(bytes),
        _ => None,
    };
    fields(bytes).into_iter().filter_map(of).collect()
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Value<'_>)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut bytes)),
            1 => Value::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                Value::Bytes(take(&mut bytes, length))
            }
            kind => panic!("no field is of kind {kind}"),
        };
        all.push((tag >> 3, value));
    }
    all
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number without an end")
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
