//! Server-sent events: bytes in, events out, whatever the chunks they come in.
//!
//! [`Parser::next`] cuts a byte stream into events as the HTML standard defines them (lines end in LF, CR or CRLF, a
//! blank line ends an event, a BOM may come first, `:` begins a comment) and hands each out with its raw bytes, so that
//! a scanner can pass them on unchanged. An event that lies whole in its chunk is borrowed from it; only an unfinished
//! one is copied, up to [`EVENT_LIMIT`].

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};
use memchr::{memchr, memchr2};

/// Bytes of one event that are held at most. Providers' events are a few hundred bytes; the longest known are whole
/// images and tool arguments of some 100 KiB.
pub const EVENT_LIMIT: usize = 1 << 20;

/// A buffer that grew beyond this is given back once its event is done.
const KEEP_CAPACITY: usize = 16 << 10;

/// What a piece of the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// A whole event, its blank line included.
    Whole,
    /// The LF of a CRLF whose CR ended the event before, in an earlier chunk.
    Tail,
    /// A part of an event larger than [`EVENT_LIMIT`], which is not looked into.
    Oversized,
}

/// A piece of the stream. The raw bytes of all pieces, in order, are the stream.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// What it is.
    pub kind: PieceKind,
    /// As it came.
    pub raw: &'a [u8],
    /// Whether part of it came in an earlier chunk.
    pub carried: bool,
    bom: bool,
}

/// The fields of an event that providers use; `id` and `retry` are not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// `event:`, empty if absent.
    pub name: &'a [u8],
    /// All `data:` lines, joined by LF; `None` if there is none.
    pub data: Option<Cow<'a, [u8]>>,
    /// Whether there was a comment line, as servers send to keep a connection alive.
    pub comment: bool,
}

impl<'a> Piece<'a> {
    /// The fields of a whole event.
    pub fn fields(&self) -> Fields<'a> {
        let raw = if self.bom {
            self.raw.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(self.raw)
        } else {
            self.raw
        };
        let mut fields = Fields::default();
        let mut rest = raw;
        while !rest.is_empty() {
            let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at(end);
            rest = after
                .strip_prefix(b"\r\n")
                .or_else(|| after.get(1..))
                .unwrap_or_default();
            fields.take(line);
        }
        fields
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, line: &'a [u8]) {
        let (name, value) = match memchr(b':', line) {
            Some(0) => {
                self.comment = true;
                return;
            }
            Some(colon) => {
                let (name, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default();
                (name, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, [].as_slice()),
        };
        match name {
            b"data" => match &mut self.data {
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(Cow::Borrowed(value)),
            },
            b"event" => self.name = value,
            _ => {}
        }
    }
}

/// Cuts a stream into events. See the module's documentation.
#[derive(Debug, Default)]
pub struct Parser {
    /// The unfinished event.
    held: Vec<u8>,
    /// `held` was handed out and is to be emptied.
    spent: bool,
    /// At the start of a line: the next line end is a blank line.
    line_start: bool,
    /// The byte before was a CR: an LF now belongs to it.
    after_cr: bool,
    /// An event was handed out or begun: no BOM any more.
    begun: bool,
    oversized: bool,
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new() -> Self {
        Self {
            line_start: true,
            ..Self::default()
        }
    }

    /// The next piece, taken off the front of `chunk`; `None` when `chunk` is used up.
    pub fn next<'p, 'c: 'p>(&'p mut self, chunk: &mut &'c [u8]) -> Option<Piece<'p>> {
        if self.spent {
            self.release();
        }
        if chunk.is_empty() {
            return None;
        }
        if self.after_cr && self.line_start && self.held.is_empty() && !self.oversized && self.begun {
            self.after_cr = false;
            if let Some((b"\n", rest)) = chunk.split_at_checked(1) {
                let raw = chunk.get(..1).unwrap_or_default();
                *chunk = rest;
                return Some(Piece {
                    kind: PieceKind::Tail,
                    raw,
                    carried: true,
                    bom: false,
                });
            }
        }
        let end = self.boundary(chunk);
        let (part, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
        *chunk = rest;
        let carried = !self.held.is_empty() || self.oversized;
        let total = self.held.len() + part.len();
        if self.oversized || total > EVENT_LIMIT {
            return Some(self.pass_oversized(part, end.is_some(), carried));
        }
        if end.is_none() {
            self.held.extend_from_slice(part);
            return None;
        }
        let bom = !self.begun;
        self.begun = true;
        if !carried {
            return Some(Piece {
                kind: PieceKind::Whole,
                raw: part,
                carried,
                bom,
            });
        }
        self.held.extend_from_slice(part);
        self.spent = true;
        Some(Piece {
            kind: PieceKind::Whole,
            raw: &self.held,
            carried,
            bom,
        })
    }

    fn pass_oversized<'p>(&'p mut self, part: &'p [u8], ended: bool, carried: bool) -> Piece<'p> {
        self.oversized = !ended;
        self.begun = true;
        let raw = if self.held.is_empty() {
            part
        } else {
            self.held.extend_from_slice(part);
            self.spent = true;
            &self.held
        };
        Piece {
            kind: PieceKind::Oversized,
            raw,
            carried,
            bom: false,
        }
    }

    fn release(&mut self) {
        self.spent = false;
        if self.held.capacity() > KEEP_CAPACITY {
            self.held = Vec::new();
        } else {
            self.held.clear();
        }
    }

    /// The index after the blank line that ends the current event, if `bytes` holds it.
    fn boundary(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..)?;
            let first = *rest.first()?;
            if self.after_cr {
                self.after_cr = false;
                if first == b'\n' {
                    at += 1;
                    continue;
                }
            }
            let Some(offset) = memchr2(b'\n', b'\r', rest) else {
                self.line_start = false;
                return None;
            };
            let blank = offset == 0 && self.line_start;
            self.after_cr = rest.get(offset) == Some(&b'\r');
            self.line_start = true;
            at += offset + 1;
            if blank {
                if self.after_cr && bytes.get(at) == Some(&b'\n') {
                    self.after_cr = false;
                    at += 1;
                }
                return Some(at);
            }
        }
    }

    /// Whether an event has begun and not ended.
    pub fn mid_event(&self) -> bool {
        self.oversized || (!self.held.is_empty() && !self.spent)
    }

    /// What is left when the stream ends without a last blank line. Readers of streams forgive that.
    pub fn rest(&self) -> Piece<'_> {
        let raw: &[u8] = if self.spent { &[] } else { &self.held };
        Piece {
            kind: PieceKind::Whole,
            raw,
            carried: true,
            bom: !self.begun,
        }
    }
}

/// Appends an SSE event of one line of JSON.
pub(super) fn put_event(out: &mut BytesMut, name: Option<&str>, data: &impl serde::Serialize) {
    if let Some(name) = name {
        out.put_slice(b"event: ");
        out.put_slice(name.as_bytes());
        out.put_slice(b"\n");
    }
    out.put_slice(b"data: ");
    // Writing to memory does not fail, and these types have string keys only.
    let _ = serde_json::to_writer((&mut *out).writer(), data);
    out.put_slice(b"\n\n");
}
