//! What a breaker tells the world: state names, causes, transitions. Log line, metric and event all derive from these.

use crate::clock::Moment;
use std::fmt;

/// The three states, without their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateName {
    /// Requests pass.
    Closed,
    /// Requests are refused.
    Open,
    /// A few requests pass as probes.
    HalfOpen,
}

impl StateName {
    /// The log value and metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The kind of a failure, as far as it matters to whoever reads why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trip {
    /// No connection: refused, timed out or the name does not resolve.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The connection broke before the answer was whole.
    Broken,
    /// The provider, or our own patience with it, timed out.
    Timeout,
    /// A server error (5xx).
    ServerError,
    /// Out of capacity (529, 503).
    Overloaded,
    /// An answer that is not what the API promises, a redirect or broken HTTP.
    Malformed,
}

impl Trip {
    /// The log value and metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::ServerError => "server_error",
            Self::Overloaded => "overloaded",
            Self::Malformed => "malformed",
        }
    }
}

/// Why a breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// So many failures in a row, the last of this kind.
    Consecutive {
        /// Failures in a row, the last included.
        failures: u32,
        /// The kind of the last.
        last: Trip,
    },
    /// The share of failed or throttled answers was reached.
    ErrorRate {
        /// Failed or throttled answers in the window.
        failed: u64,
        /// All answers in the window.
        requests: u64,
    },
    /// The open time has passed, a probe is let through.
    OpenForPassed,
    /// A probe failed.
    ProbeFailed(Trip),
    /// A probe was answered with a 429.
    ProbeThrottled,
    /// Enough probes succeeded.
    Recovered,
    /// Closed by hand.
    Reset,
}

impl Cause {
    /// The log value and metric label: one word of a closed list. `Display` says the numbers too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive { .. } => "consecutive_failures",
            Self::ErrorRate { .. } => "error_rate",
            Self::OpenForPassed => "open_for_passed",
            Self::ProbeFailed(_) => "probe_failed",
            Self::ProbeThrottled => "probe_throttled",
            Self::Recovered => "recovered",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consecutive { failures, last } => {
                write!(f, "{failures} failures in a row, the last: {}", last.as_str())
            }
            Self::ErrorRate { failed, requests } => {
                write!(f, "{failed} of {requests} requests failed or were throttled")
            }
            Self::OpenForPassed => f.write_str("openFor has passed, probing"),
            Self::ProbeFailed(trip) => write!(f, "the probe failed: {}", trip.as_str()),
            Self::ProbeThrottled => f.write_str("the probe was throttled"),
            Self::Recovered => f.write_str("the probes succeeded"),
            Self::Reset => f.write_str("reset by hand"),
        }
    }
}

/// One change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: StateName,
    /// The state after; never the same.
    pub to: StateName,
    /// Why.
    pub cause: Cause,
    /// When.
    pub at: Moment,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {}", self.from.as_str(), self.to.as_str(), self.cause)
    }
}
