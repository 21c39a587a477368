//! What a flow says: what is next, what was passed over, and how it ends.

use std::time::Duration;

use crate::clock::Moment;
use crate::fault::Code;
use crate::hedge;
use crate::limiter::Limited;
use crate::record::kind::AttemptKind;

/// Why a candidate of the plan was not asked, or not asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Its API cannot carry the request.
    Unsupported,
    /// Its breaker is open.
    CircuitOpen,
    /// A limit of its `rateLimits` is reached.
    Limited(Limited),
    /// No credential is usable.
    NoCredential,
    /// It does not answer lately, and the retry budget does not pay for trying it.
    RetryBudget,
}

impl SkipReason {
    /// The log value, record field and what callers read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::CircuitOpen => "circuit_open",
            Self::Limited(_) => Code::RateLocalLimit.as_str(),
            Self::NoCredential => "no_key",
            Self::RetryBudget => "retry_budget",
        }
    }
}

/// A candidate that was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Its place in the plan.
    pub candidate: usize,
    /// Why.
    pub reason: SkipReason,
    /// When it may be worth asking again, where known.
    pub retry_in: Option<Duration>,
}

/// What the shell does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait, at most so long, then ask again.
    Wait {
        /// Whose place or backoff is waited for.
        candidate: usize,
        /// What for.
        reason: WaitReason,
        /// At most this long.
        most: Duration,
    },
    /// Send an attempt with what [`super::Pool::acquire`] took for this candidate, and ask again.
    Attempt {
        /// Whom.
        candidate: usize,
        /// How it came about.
        kind: AttemptKind,
        /// Its number in the request, from 1.
        number: u32,
    },
    /// Ask who counts this candidate's limits for a place, within its deadline, and ask again. Attempts that are out go on.
    Ask {
        /// Whose.
        candidate: usize,
    },
    /// Wait for what is out; at `until`, ask again.
    Await {
        /// When a hedge is due.
        until: Option<Moment>,
    },
    /// Nothing more is sent.
    Respond(End),
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitReason {
    /// Room under `rateLimits`, in the provider's queue.
    Limit,
    /// The provider's own limit, which it has announced.
    Headroom,
    /// The time before a retry.
    Backoff,
}

impl WaitReason {
    /// The record field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Headroom => "headroom",
            Self::Backoff => "backoff",
        }
    }
}

/// What the caller is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// This candidate's answer.
    Answered {
        /// Whose.
        candidate: usize,
    },
    /// This candidate's failure.
    Failed {
        /// Whose.
        candidate: usize,
    },
    /// A limit of a candidate with `onLimit: Reject`.
    Limited {
        /// Whose.
        candidate: usize,
        /// Which.
        limited: Limited,
    },
    /// The request is wrong, by what this candidate's API says.
    Invalid {
        /// Whose.
        candidate: usize,
    },
    /// Nobody's API can carry the request.
    Unsupported,
    /// Nobody could be asked; see [`super::Flow::skips`] and the plan.
    Nobody,
}

/// Who ended a request from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cancel {
    /// The caller left.
    Caller,
    /// The sidecar is shutting down.
    Drain,
    /// There is no memory for its body or answer.
    Memory,
}

/// What a request brings to its flow beside the plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Retries that the caller's SDK made before this request (`x-stainless-retry-count`).
    pub sdk_retries: u32,
    /// The route hedges and the operation may be hedged.
    pub hedge: Option<hedge::HedgeSettings>,
}
