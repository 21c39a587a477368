//! The writer: compact, with the escapes that serde_json writes.

use std::fmt;

use super::reader::plain_length;
use super::{Number, Value};

/// Room that is made for a document at first: a short request or answer.
const ROOM: usize = 1 << 10;

/// Where text goes.
trait Sink {
    fn put(&mut self, text: &str) -> fmt::Result;
}

impl Sink for Vec<u8> {
    fn put(&mut self, text: &str) -> fmt::Result {
        self.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Sink for fmt::Formatter<'_> {
    fn put(&mut self, text: &str) -> fmt::Result {
        self.write_str(text)
    }
}

impl Value {
    /// Compact, as it is sent.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ROOM);
        // Writing to memory does not fail.
        let _ = value(self, &mut out);
        out
    }
}

/// Compact, as it is sent.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        value(self, f)
    }
}

impl Value {
    /// Compact, and each object's members in the order of their names: the same for any two documents that say the same.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_sorted(&self, out: &mut impl fmt::Write) -> fmt::Result {
        sorted(self, &mut Any(out))
    }
}

/// Whatever takes text.
struct Any<'a, W>(&'a mut W);

impl<W: fmt::Write> Sink for Any<'_, W> {
    fn put(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)
    }
}

fn sorted<S: Sink>(whole: &Value, out: &mut S) -> fmt::Result {
    match whole {
        Value::Array(list) => array(list, out, sorted),
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            object(members, out, sorted)
        }
        plain => value(plain, out),
    }
}

fn value<S: Sink>(whole: &Value, out: &mut S) -> fmt::Result {
    match whole {
        Value::Null => out.put("null"),
        Value::Bool(true) => out.put("true"),
        Value::Bool(false) => out.put("false"),
        Value::Number(number) => out.put(Number::as_str(number)),
        Value::String(text) => string(text, out),
        Value::Array(list) => array(list, out, value),
        Value::Object(map) => object(map.iter(), out, value),
    }
}

/// An array, each element as `write` has it.
fn array<S: Sink>(list: &[Value], out: &mut S, write: impl Fn(&Value, &mut S) -> fmt::Result) -> fmt::Result {
    out.put("[")?;
    for (number, element) in list.iter().enumerate() {
        if number > 0 {
            out.put(",")?;
        }
        write(element, out)?;
    }
    out.put("]")
}

/// An object of these members in this order, each value as `write` has it.
fn object<'v, S: Sink>(
    members: impl IntoIterator<Item = (&'v String, &'v Value)>,
    out: &mut S,
    write: impl Fn(&Value, &mut S) -> fmt::Result,
) -> fmt::Result {
    out.put("{")?;
    for (number, (name, member)) in members.into_iter().enumerate() {
        if number > 0 {
            out.put(",")?;
        }
        string(name, out)?;
        out.put(":")?;
        write(member, out)?;
    }
    out.put("}")
}

/// What stands for a byte that may not stand in a string; empty for all others.
fn escape(byte: u8) -> &'static str {
    const CONTROLS: [&str; 32] = [
        "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\b", "\\t", "\\n",
        "\\u000b", "\\f", "\\r", "\\u000e", "\\u000f", "\\u0010", "\\u0011", "\\u0012", "\\u0013", "\\u0014",
        "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c", "\\u001d", "\\u001e",
        "\\u001f",
    ];
    match byte {
        b'"' => "\\\"",
        b'\\' => "\\\\",
        _ => CONTROLS.get(usize::from(byte)).copied().unwrap_or_default(),
    }
}

/// Where the first byte that needs an escape stands.
fn next_special(bytes: &[u8]) -> Option<usize> {
    let plain = plain_length(bytes);
    (plain < bytes.len()).then_some(plain)
}

fn string(text: &str, out: &mut impl Sink) -> fmt::Result {
    out.put("\"")?;
    let mut rest = text;
    while let Some(at) = next_special(rest.as_bytes()) {
        out.put(rest.get(..at).unwrap_or_default())?;
        out.put(escape(rest.as_bytes().get(at).copied().unwrap_or_default()))?;
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    out.put(rest)?;
    out.put("\"")
}
