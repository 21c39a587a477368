//! A request of the app as it was taken in: its facts, and the bytes that they were read from.

use bowsprit_core::call::Call;
use bytes::Bytes;
use http::HeaderMap;

/// An admitted request.
pub(super) struct Inbound {
    /// What is asked.
    pub call: Call,
    /// The headers as they came.
    pub headers: HeaderMap,
    /// The query without keys and without `alt`, if anything is left.
    pub query: Option<String>,
    /// The body as it came.
    pub body: Bytes,
}
