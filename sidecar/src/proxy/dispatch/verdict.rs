//! What follows an attempt that failed: again, the next candidate, or the end.

use std::time::Duration;

use bowsprit_core::backoff::Delay;
use bowsprit_core::classify::{Ended, KeyVerdict};
use bowsprit_core::fault::{ErrorKind, TransportFault};
use bowsprit_crds::provider_config::RetryOn;

use super::super::attempt::Failure;
use super::super::id::TraceId;
use super::super::route::clip;
use super::{Candidate, Round};
use crate::telemetry::micros;

/// With another candidate at hand, a throttled provider is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// What follows an attempt that failed.
pub(super) enum Then {
    Again(Duration),
    Next,
    Stop,
}

impl Round<'_> {
    pub(super) fn judge(&self, candidate: &Candidate, failure: &Failure) -> Then {
        let decision = &failure.decision;
        let now = self.story.now();
        let state = &candidate.upstream.state;
        let retry = &candidate.upstream.provider.retry;
        let next = if decision.try_next && !candidate.last {
            Then::Next
        } else {
            Then::Stop
        };
        // Another key is no repetition: the provider judged the key, not the request.
        if decision.key != KeyVerdict::Fine && state.has_other_key(&candidate.tried_keys, now) {
            return Then::Again(Duration::ZERO);
        }
        let attempts = candidate.attempts;
        if !decision.retry_same || attempts >= retry.max_attempts || !retry_on(failure.ended, &retry.on) {
            return next;
        }
        if failure.never_again {
            return next;
        }
        // The caller's SDK repeats by itself, and has waited for it: repeats of repeats are what storms are made of.
        if self.story.caller_retries() > 0 {
            return next;
        }
        // A provider that does not answer anyway is not worth a repeat that another could be sent instead.
        if !candidate.last && !state.is_trusted(&candidate.model) {
            return next;
        }
        let Delay::Wait(wait) = retry
            .backoff
            .delay(attempts - 1, failure.retry_after, &mut fastrand::Rng::new())
        else {
            return next;
        };
        if decision.throttled && !candidate.last && wait > PATIENCE {
            return next;
        }
        if !self.withdraw(candidate) {
            return next;
        }
        Then::Again(wait)
    }

    pub(super) fn log_failure(&self, candidate: &Candidate, failure: &Failure, then: &Then) {
        tracing::info!(
            request_id = self.story.id().as_str(),
            trace_id = self.story.trace.as_ref().map(TraceId::as_str),
            attempt = self.story.attempts(),
            provider = %candidate.upstream.provider.name,
            model = %candidate.model,
            code = failure.code.as_str(),
            duration_us = micros(self.story.attempt_took()),
            detail = clip(&failure.message),
            then = match then {
                Then::Again(_) => "again",
                Then::Next if candidate.last => "give up",
                Then::Next => "next provider",
                Then::Stop => "give up",
            },
            "attempt failed"
        );
    }
}

/// Whether `retry.retryOn` covers this end.
fn retry_on(ended: Ended, on: &[RetryOn]) -> bool {
    let class = match ended {
        Ended::Transport { fault, .. } => match fault {
            TransportFault::NoDescriptors
            | TransportFault::Denied
            | TransportFault::ConnectRefused
            | TransportFault::ConnectTimeout
            | TransportFault::Dns
            | TransportFault::Tls => RetryOn::Connect,
            TransportFault::Reset | TransportFault::Truncated | TransportFault::Protocol => RetryOn::Reset,
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
