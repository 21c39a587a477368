//! Scanning a stream that passes unchanged: cheap, and blind to nothing that matters.
//!
//! Per event, a few substring searches decide whether it can be more than content; only then is it parsed, and then
//! into borrowed structs that skip what is not asked for. A quoted key such as `"usage"` cannot occur inside a JSON
//! string (its quotes would be escaped), so a search never misses a key, and a string value that happens to equal one
//! is told apart by the colon that does not follow.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::de::IgnoredAny;

use super::array::Elements;
use super::error::ErrorView;
use super::error::StreamError;
use super::message::to_bytes;
use super::openai_responses::scan::Large;
use super::sse::{Parser, PieceKind};
use super::usage::Usage;
use super::{Dialect, registry, success};
use crate::json;
use seen::{Passage, Seen};

pub(super) mod finishes;
pub(super) mod seen;

/// What the caller is to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The chunk itself.
    Same,
    /// What was appended to `out`.
    Rewritten,
}

/// Scans a same-dialect stream.
#[derive(Debug)]
pub(super) struct Scan {
    dialect: Dialect,
    hide_usage: bool,
    form: Shape,
    parser: Parser,
    seen: Seen,
    /// The last whole event was cut out, and so is the LF that may still belong to it.
    last_cut: bool,
    /// The oversized event that is passing, of a dialect that ends with one.
    large: Option<Large>,
}

/// How the body is framed; known from its first byte that is not white space.
#[derive(Debug)]
enum Shape {
    Unknown,
    Events,
    /// `Gemini` without `alt=sse`.
    Array(Box<Elements>),
    /// A single JSON object: some servers answer an error with status 200 and no stream. Held up to `PLAIN_LIMIT`.
    Plain(Vec<u8>),
}

/// Bytes that are held of a body that is no stream: far more than any error.
pub(super) const PLAIN_LIMIT: usize = 64 << 10;

impl Scan {
    pub(super) fn new(dialect: Dialect, hide_usage: bool) -> Self {
        Self {
            dialect,
            hide_usage,
            form: Shape::Unknown,
            parser: Parser::new(),
            seen: Seen::default(),
            last_cut: false,
            large: None,
        }
    }

    pub(super) fn content_started(&self) -> bool {
        self.seen.started
    }

    pub(super) fn ended(&self) -> bool {
        match &self.form {
            // An array's last element is not its end: without the bracket the caller has half a JSON text.
            Shape::Array(elements) => self.seen.finishes.whole() && elements.closed(),
            Shape::Unknown | Shape::Events | Shape::Plain(_) => self.seen.ended,
        }
    }

    pub(super) fn whole(&self) -> bool {
        match &self.form {
            Shape::Array(_) => self.ended(),
            Shape::Unknown | Shape::Events | Shape::Plain(_) => self.seen.ended || self.seen.finishes.whole(),
        }
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.seen.usage
    }

    pub(super) fn model(&self) -> Option<&str> {
        self.seen.model.model()
    }

    pub(super) fn chunks(&self) -> u64 {
        self.seen.chunks
    }

    pub(super) fn in_background(&self) -> bool {
        self.seen.in_background
    }

    pub(super) fn push(&mut self, chunk: &Bytes, out: &mut BytesMut) -> Result<Pushed, StreamError> {
        if matches!(self.form, Shape::Unknown) {
            self.form = form_of(self.dialect, chunk);
        }
        match &mut self.form {
            Shape::Unknown | Shape::Events => {}
            Shape::Array(elements) => {
                let (dialect, seen) = (self.dialect, &mut self.seen);
                elements.push(chunk, |element| inspect(dialect, element, seen).map(|_| ()))?;
                return Ok(Pushed::Same);
            }
            Shape::Plain(held) => {
                if held.len() + chunk.len() <= PLAIN_LIMIT {
                    held.extend_from_slice(chunk);
                }
                return Ok(Pushed::Same);
            }
        }
        if self.hide_usage {
            self.push_cutting(chunk, out)
        } else {
            self.push_through(chunk, out)
        }
    }

    fn push_through(&mut self, chunk: &Bytes, out: &mut BytesMut) -> Result<Pushed, StreamError> {
        let mut rest: &[u8] = chunk;
        loop {
            let before = chunk.len() - rest.len();
            let Some(piece) = self.parser.next(&mut rest) else {
                return Ok(Pushed::Same);
            };
            if piece.kind == PieceKind::Oversized && self.dialect == Dialect::OpenAiResponses {
                self.large.get_or_insert_default().take(piece.raw);
                if !self.parser.mid_event()
                    && let Some(large) = self.large.take()
                {
                    large.end(&mut self.seen);
                }
                continue;
            }
            if piece.kind != PieceKind::Whole {
                continue;
            }
            let Some(data) = piece.fields().data else { continue };
            if let Err(error) = inspect(self.dialect, &data, &mut self.seen) {
                // The caller gets what came before the error, and of an error that it already has half of, the rest.
                let after = chunk.len() - rest.len();
                let sent = if piece.carried { after } else { before };
                out.put_slice(chunk.get(..sent).unwrap_or_default());
                return Err(error);
            }
        }
    }

    fn push_cutting(&mut self, chunk: &Bytes, out: &mut BytesMut) -> Result<Pushed, StreamError> {
        let start = out.len();
        let mut whole = !self.parser.mid_event();
        let mut rest: &[u8] = chunk;
        while let Some(piece) = self.parser.next(&mut rest) {
            let cut = match piece.kind {
                PieceKind::Tail => self.last_cut,
                PieceKind::Oversized => false,
                PieceKind::Whole => match piece.fields().data {
                    Some(data) => inspect(self.dialect, &data, &mut self.seen)? == Passage::Cut,
                    None => false,
                },
            };
            self.last_cut = cut;
            if cut {
                whole = false;
            } else {
                out.put_slice(piece.raw);
            }
        }
        whole &= out.len() - start == chunk.len();
        if whole {
            out.truncate(start);
            return Ok(Pushed::Same);
        }
        Ok(Pushed::Rewritten)
    }

    pub(super) fn finish(&mut self, out: &mut BytesMut) -> Result<(), StreamError> {
        match &self.form {
            Shape::Array(elements) => {
                if !self.seen.finishes.whole() || !elements.may_end() {
                    return Err(StreamError::Truncated);
                }
                if !elements.closed() {
                    // The answer is whole; so is the JSON that the caller reads, with this.
                    out.put_slice(b"]");
                }
                return Ok(());
            }
            Shape::Plain(held) => return Err(plain(self.dialect, held)),
            Shape::Unknown | Shape::Events => {}
        }
        let rest = self.parser.rest();
        let mut passage = Passage::Keep;
        if let Some(data) = rest.fields().data {
            // Half an event does not parse: the stream ends too early, whatever came before.
            let half = &*data != b"[DONE]" && json::from_slice::<IgnoredAny>(&data).is_err();
            if half && !self.seen.ended {
                return Err(StreamError::Truncated);
            }
            passage = inspect(self.dialect, &data, &mut self.seen)?;
        }
        if !self.whole() {
            return Err(StreamError::Truncated);
        }
        if self.hide_usage && passage == Passage::Keep {
            out.put_slice(rest.raw);
        }
        Ok(())
    }

    pub(super) fn error_event(&self, caller: Dialect, view: &ErrorView<'_>) -> Bytes {
        if let Shape::Array(elements) = &self.form {
            if elements.mid_element() {
                // Nothing can be said inside half an element; the broken array is the error.
                return Bytes::new();
            }
            let (before, after) = elements.frame();
            let body = to_bytes(&(registry::of(caller).error_body)(view));
            return [before.as_bytes(), &body, after.as_bytes()].concat().into();
        }
        let event = (registry::of(caller).error_event)(view, self.seen.events);
        // The caller has half an event: end it, or ours would become part of it.
        if !self.hide_usage && self.parser.mid_event() {
            [b"\n\n", event.as_ref()].concat().into()
        } else {
            event
        }
    }
}

fn form_of(dialect: Dialect, chunk: &[u8]) -> Shape {
    match chunk.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Shape::Unknown,
        Some(b'[') if dialect == Dialect::Gemini => Shape::Array(Box::default()),
        Some(b'{') => Shape::Plain(Vec::new()),
        Some(_) => Shape::Events,
    }
}

/// What a body that is no stream at all was.
pub(super) fn plain(dialect: Dialect, body: &[u8]) -> StreamError {
    match json::parse(body) {
        Ok(value) => success::error_in(registry::of(dialect).rules, &value).map_or_else(
            || StreamError::Malformed("a JSON object instead of an event stream".to_owned()),
            StreamError::Provider,
        ),
        Err(_) => StreamError::Truncated,
    }
}

fn inspect(dialect: Dialect, data: &[u8], seen: &mut Seen) -> Result<Passage, StreamError> {
    let language = registry::of(dialect);
    seen.model.look(language.rules.reported_model, data);
    (language.scan)(data, seen)
}
