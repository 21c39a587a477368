//! What is told of a request and of each of its attempts. Metrics, access log and everything later are made of these two
//! structs and of nothing else, so they cannot disagree. No prompt, answer or key is in them.

/// How a request ended, once and for all. The counters of these add up to the requests received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Answered in full.
    Ok,
    /// The caller's mistake.
    ClientError,
    /// The providers failed, or took too long.
    ProviderError,
    /// Our own fault, or our configuration's.
    OwnError,
    /// Turned away by a limit, overload or shutdown.
    Shed,
    /// The caller left first.
    Cancelled,
    /// The answer had begun and did not reach its end.
    Cut,
}

impl Outcome {
    /// All seven.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::ClientError,
        Self::ProviderError,
        Self::OwnError,
        Self::Shed,
        Self::Cancelled,
        Self::Cut,
    ];

    /// The metric label and log value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::ProviderError => "provider_error",
            Self::OwnError => "own_error",
            Self::Shed => "shed",
            Self::Cancelled => "cancelled",
            Self::Cut => "cut",
        }
    }
}

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
