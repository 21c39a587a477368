//! After an attempt failed: again, the next candidate, or stop. Every condition stands here, in the order in which it
//! counts, and each decision names the condition that made it.

use std::time::Duration;

use crate::backoff::Delay;
use crate::classify::{Decision, Ended, KeyVerdict};
use crate::config::Retry;
use crate::fault::{ErrorKind, TransportFault};
use bowsprit_crds::provider_config::RetryOn;

/// With another candidate at hand, a throttled provider is not waited for longer than this: a caller would rather have
/// another model's answer now.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// A failed attempt, as the decision sees it.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// How it ended.
    pub ended: Ended,
    /// What the table says follows from that.
    pub decision: Decision,
    /// The provider's hint when to come back.
    pub retry_after: Option<Duration>,
    /// The provider asks not to be asked again (`x-should-retry: false`).
    pub retry_forbidden: bool,
}

/// How things stand at the candidate that failed.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The provider's settings.
    pub retry: &'a Retry,
    /// Attempts that this request has made at this candidate.
    pub attempts: u32,
    /// There is no later candidate.
    pub is_last: bool,
    /// The candidate has answered lately ([`crate::budget::Trust`]).
    pub is_trusted: bool,
    /// Another credential of the provider has not been judged in this request and is usable now.
    pub other_credential: bool,
    /// Retries that the caller's SDK made before this request.
    pub sdk_retries: u32,
    /// The pod's retry budget has room.
    pub budget_left: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another credential at the same candidate, at once. It is no repetition: the provider judged the key, not the request.
    OtherCredential,
    /// The same candidate after this wait, paid from the retry budget.
    Again(Duration),
    /// The next candidate.
    Onward,
    /// Nothing: the failure is the answer.
    Stop,
}

impl Next {
    /// The record field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OtherCredential => "other_credential",
            Self::Again(_) => "again",
            Self::Onward => "onward",
            Self::Stop => "stop",
        }
    }
}

/// Why no attempt at the same candidate follows; or that one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Another attempt at the same candidate may succeed.
    MayPass,
    /// The provider judged the credential.
    CredentialJudged,
    /// The same request would fail again (`classify`).
    WouldFailAgain,
    /// `retry.maxAttempts` are made.
    AttemptsUsed,
    /// `retry.retryOn` does not cover this end.
    NotCovered,
    /// The provider forbids it (`x-should-retry: false`).
    ProviderForbids,
    /// The caller's SDK repeats by itself: repeats of repeats are what storms are made of.
    SdkRepeats,
    /// The provider does not answer anyway, and another could be asked.
    NotTrusted,
    /// The provider asks for more patience than `backoff` allows.
    HintTooLong,
    /// Another candidate is at hand sooner than the throttled one is back.
    OtherIsSooner,
    /// The pod's retry budget is spent.
    BudgetSpent,
}

impl Why {
    /// The log value and record field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MayPass => "may_pass",
            Self::CredentialJudged => "credential_judged",
            Self::WouldFailAgain => "would_fail_again",
            Self::AttemptsUsed => "attempts_used",
            Self::NotCovered => "not_covered_by_retry_on",
            Self::ProviderForbids => "provider_forbids",
            Self::SdkRepeats => "sdk_repeats",
            Self::NotTrusted => "not_trusted",
            Self::HintTooLong => "hint_too_long",
            Self::OtherIsSooner => "other_is_sooner",
            Self::BudgetSpent => "budget_spent",
        }
    }
}

/// Decides what follows a failed attempt. The budget is only looked at: it is withdrawn from when the attempt goes out.
pub fn decide(failed: &Failed, standing: &Standing<'_>, rng: &mut fastrand::Rng) -> (Next, Why) {
    let Failed {
        ended,
        decision,
        retry_after,
        retry_forbidden,
    } = failed;
    let elsewhere = if decision.try_next && !standing.is_last {
        Next::Onward
    } else {
        Next::Stop
    };
    if decision.key != KeyVerdict::Fine && standing.other_credential {
        return (Next::OtherCredential, Why::CredentialJudged);
    }
    if !decision.retry_same {
        return (elsewhere, Why::WouldFailAgain);
    }
    if standing.attempts >= standing.retry.max_attempts {
        return (elsewhere, Why::AttemptsUsed);
    }
    if !is_covered(*ended, &standing.retry.on) {
        return (elsewhere, Why::NotCovered);
    }
    if *retry_forbidden {
        return (elsewhere, Why::ProviderForbids);
    }
    if standing.sdk_retries > 0 {
        return (elsewhere, Why::SdkRepeats);
    }
    if !standing.is_last && !standing.is_trusted {
        return (elsewhere, Why::NotTrusted);
    }
    let Delay::Wait(wait) = standing
        .retry
        .backoff
        .delay(standing.attempts.saturating_sub(1), *retry_after, rng)
    else {
        return (elsewhere, Why::HintTooLong);
    };
    if decision.throttled && !standing.is_last && wait > PATIENCE {
        return (elsewhere, Why::OtherIsSooner);
    }
    if !standing.budget_left {
        return (elsewhere, Why::BudgetSpent);
    }
    (Next::Again(wait), Why::MayPass)
}

/// Whether `retry.retryOn` covers this end.
fn is_covered(ended: Ended, on: &[RetryOn]) -> bool {
    let class = match ended {
        Ended::Transport { fault, .. } => match fault {
            TransportFault::NoDescriptors
            | TransportFault::Denied
            | TransportFault::ConnectRefused
            | TransportFault::ConnectTimeout
            | TransportFault::Dns
            | TransportFault::Tls => RetryOn::Connect,
            TransportFault::Reset | TransportFault::Truncated | TransportFault::Protocol => RetryOn::Reset,
            TransportFault::Coding => RetryOn::ServerError,
            TransportFault::FirstTokenTimeout | TransportFault::IdleTimeout | TransportFault::TotalTimeout => {
                RetryOn::Timeout
            }
        },
        Ended::Status { kind, .. } | Ended::InStream { kind, .. } => match kind {
            ErrorKind::RateLimited => RetryOn::RateLimited,
            ErrorKind::Overloaded => RetryOn::Overloaded,
            ErrorKind::Timeout => RetryOn::Timeout,
            _ => RetryOn::ServerError,
        },
        Ended::Answered | Ended::CallerGone => return false,
    };
    on.contains(&class)
}
