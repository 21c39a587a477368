//! How an attempt came about: said by the flow, kept by its record.

/// How an attempt came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttemptKind {
    /// The first of its request.
    First,
    /// Another at the same candidate.
    Retry,
    /// One at a later candidate, after a failure.
    Fallback,
    /// One at a later candidate, while the one before is still out.
    Hedge,
    /// A health probe, which belongs to no request.
    Probe,
}

impl AttemptKind {
    /// The metric label and log value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Retry => "retry",
            Self::Fallback => "fallback",
            Self::Hedge => "hedge",
            Self::Probe => "probe",
        }
    }
}
