//! A request of the app as it was taken in: its facts, and the bytes that they were read from.

use bowsprit_core::call::Call;
use bytes::Bytes;
use http::{HeaderMap, Method};

/// An admitted request.
pub(super) struct Inbound {
    /// What is asked.
    pub call: Call,
    /// The method as it came.
    pub method: Method,
    /// The path below a provider's own address, for what passes unread; else empty.
    pub path_below: String,
    /// The headers as they came.
    pub headers: HeaderMap,
    /// The query without keys, if anything is left; where it is read, also without `alt`.
    pub query: Option<String>,
    /// The body as it came; empty where it passes unread.
    pub body: Bytes,
}
