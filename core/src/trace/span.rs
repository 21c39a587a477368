//! Spans of ours: whose children they are, and whether they are kept.

use super::{Context, Sampler, SpanId, TraceId};

/// A span of ours, from its begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// Whose child it is; none where the trace begins with it.
    pub parent: Option<SpanId>,
    /// Whether it is kept.
    pub is_sampled: bool,
}

impl Span {
    /// A request's: a child of what its caller says, or the first of a new trace.
    pub fn begin(caller: Option<Context>, sampler: Sampler, random: &mut fastrand::Rng) -> Self {
        let trace = caller.map_or_else(|| TraceId::new(random.u128(..)), |caller| caller.trace);
        Self {
            trace,
            id: SpanId::new(random.u64(..)),
            parent: caller.map(|caller| caller.span),
            is_sampled: sampler.keeps(trace, caller),
        }
    }

    /// A child of it.
    #[must_use]
    pub fn child(self, random: u64) -> Self {
        Self {
            id: SpanId::new(random),
            parent: Some(self.id),
            ..self
        }
    }

    /// What whom it calls is told.
    pub fn context(self) -> Context {
        Context {
            trace: self.trace,
            span: self.id,
            is_sampled: self.is_sampled,
        }
    }
}
