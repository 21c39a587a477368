//! What a dialect has to say for itself: one row, which its folder fills and `registry` finds.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::dropped::Dropped;
use super::error::{ErrorView, StreamError};
use super::event::Event;
use super::features::Found;
use super::message::{Answer, Request};
use super::rules::Rules;
use super::scan::seen::{Passage, Seen};
use super::{AnswerContext, Echo, RequestError, Target, Translated, Usage};
use crate::fault::ErrorKind;
use crate::json::{Error, Pull, Value};

/// Reads the events of a provider's stream.
pub(super) trait Decode: fmt::Debug + Send + Sync {
    /// Appends what one event says. What was sound before an error has been appended too.
    fn event(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<(), StreamError>;
}

/// Writes the events of a caller's stream.
pub(super) trait Encode: fmt::Debug + Send + Sync {
    /// Appends what the caller gets of one event.
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), StreamError>;

    /// The end of a stream that broke here.
    fn error_event(&self, error: &ErrorView<'_>) -> Bytes;
}

/// How a token count is asked for and answered.
pub(super) struct Counting {
    /// Reads a caller's request for a count.
    pub read: fn(&Value, &mut Dropped) -> Result<Request, RequestError>,
    /// Writes the request that a provider is asked to count.
    pub write: fn(Request, &Target<'_>, &mut Dropped) -> Result<Value, RequestError>,
    /// The field of an answer that holds the number.
    pub field: &'static str,
    /// An answer of so many tokens.
    pub answer: fn(u64) -> Value,
}

/// A dialect.
pub(super) struct Language {
    /// What its API takes, and its words.
    pub rules: &'static Rules,
    /// Our error, as a body.
    pub error_body: fn(&ErrorView<'_>) -> Value,
    /// Our error, as the event of this number that ends a stream.
    pub error_event: fn(&ErrorView<'_>, u64) -> Bytes,
    /// Whether a whole answer says why it ended, at a glance.
    pub tells_end: fn(&[u8]) -> bool,
    /// Whether a whole answer, which is known to be an object that is no error, says anything.
    pub answers: fn(&Value) -> bool,
    /// The usage of a whole answer, which is known to begin as an object.
    pub usage: fn(&[u8]) -> Option<Usage>,
    /// What an answer repeats of its request.
    pub echo: fn(&[u8]) -> Echo,
    /// What a request asks for beyond words.
    pub features: fn(&mut Pull<'_>, &mut Found) -> Result<(), Error>,
    /// Reads a caller's request.
    pub read_request: fn(&Value, &mut Dropped) -> Result<Request, RequestError>,
    /// Writes a provider's request.
    pub write_request: fn(Request, &Target<'_>, &mut Dropped) -> Result<Value, RequestError>,
    /// Reads a provider's whole answer, which is known to be an object that is no error.
    pub read_answer: fn(&Value, &AnswerContext) -> Result<Answer, ErrorKind>,
    /// Writes a caller's whole answer.
    pub write_answer: fn(&Answer, &AnswerContext) -> Bytes,
    /// A reader of a provider's stream, at its start.
    pub decoder: fn(&AnswerContext) -> Box<dyn Decode>,
    /// A writer of a caller's stream, at its start.
    pub encoder: fn(AnswerContext) -> Box<dyn Encode>,
    /// Looks at an event that passes unchanged.
    pub scan: fn(&[u8], &mut Seen) -> Result<Passage, StreamError>,
    /// Takes out of a body that otherwise passes what only another provider understands, for a model; `None`: the body stays
    /// as it is. Asked only about bodies that hold a wrapped signature.
    pub strip: fn(&str, &Bytes) -> Option<Translated>,
    /// Names another model in a body that otherwise passes.
    pub rename_model: fn(&Bytes, &str) -> Bytes,
    /// How a caller is told of a model, by its name and that of who serves it.
    pub model: fn(&str, &str) -> Value,
    /// How a caller is told of all models, each as `model` has it, with the names of the first and the last.
    pub models: fn(Vec<Value>, Option<&str>, Option<&str>) -> Value,
    /// Token counts; none: the dialect has none.
    pub counting: Option<Counting>,
}
