//! Traces as W3C's trace context names them (<https://www.w3.org/TR/trace-context/>): who a request belongs to, and what each
//! span of it is called.

mod context;
mod sampler;
mod span;

pub use context::{Context, Header, SpanId, TraceId};
pub use sampler::Sampler;
pub use span::Span;
