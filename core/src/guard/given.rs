//! What the caller of a guarded stream has of it, and how an error ends it there.

use bytes::Bytes;

use super::frame::Frame;
use crate::dialect::{Dialect, ErrorView, error_body, error_event_at};

/// What has gone out.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Events with data.
    events: u64,
    /// The last byte that is no white space; none: there is no such byte.
    last: Option<u8>,
}

impl Given {
    /// These bytes go out.
    pub(super) fn went(&mut self, bytes: &[u8]) {
        let last = bytes.iter().rev().find(|byte| !byte.is_ascii_whitespace());
        self.last = last.copied().or(self.last);
    }

    /// So many events with data go out.
    pub(super) fn events(&mut self, count: u64) {
        self.events += count;
    }

    /// An error that ends the stream, framed for where its caller stands: after whole events, or inside a JSON array. Nothing behind an
    /// array's end: it is whole, and would be no JSON with anything more.
    pub(super) fn error_event(&self, frame: &Frame, dialect: Dialect, error: &ErrorView<'_>) -> Bytes {
        if !matches!(frame, Frame::Array(_)) {
            return error_event_at(dialect, error, self.events);
        }
        let before = match self.last {
            Some(b']') => return Bytes::new(),
            None => "[",
            Some(b'}') => ",\r\n",
            // An element is due: behind the array's beginning, or a comma that has gone out already.
            Some(_) => "",
        };
        [before.as_bytes(), &error_body(dialect, error), b"]"].concat().into()
    }
}
