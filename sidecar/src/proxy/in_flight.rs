//! An attempt under way: its permit and its key, given back with a verdict when it ends, exactly once.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::breaker::Verdict;
use bowsprit_core::classify::{Decision, Ended, KeyVerdict, classify};
use bowsprit_core::clock::Moment;
use bowsprit_core::dialect::Usage;
use tokio::time::Instant;

use super::traffic::{self, Handles};
use crate::app::App;
use crate::keys::Chosen;
use crate::live::Upstream;
use crate::memory::Memory;
use crate::state::Lease;

/// An attempt under way. Ended once by [`InFlight::finish`]; dropped, the caller has left.
pub struct InFlight {
    app: Arc<App>,
    upstream: Arc<Upstream>,
    model: Arc<str>,
    lease: Option<Lease>,
    key: Option<Chosen>,
    begun: Moment,
    first_byte: Option<Duration>,
    input_tokens: u64,
    conversation: bool,
}

impl InFlight {
    /// Begins.
    pub fn new(
        app: &Arc<App>,
        upstream: &Arc<Upstream>,
        model: &str,
        lease: Lease,
        key: Option<Chosen>,
        input_tokens: u64,
    ) -> Self {
        Self {
            app: Arc::clone(app),
            upstream: Arc::clone(upstream),
            model: upstream.handles.label(model),
            lease: Some(lease),
            key,
            begun: app.clock.now(),
            first_byte: None,
            input_tokens,
            conversation: true,
        }
    }

    /// It is no conversation: its answer is not one of a model's own words.
    pub fn forwarding(mut self, forwarding: bool) -> Self {
        self.conversation = !forwarding;
        self
    }

    /// The sidecar's clock, read.
    pub fn now(&self) -> Moment {
        self.app.clock.now()
    }

    /// The budget for what is held of its answer.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.app.memory
    }

    /// A moment of that clock as the runtime counts time.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.app.clock.instant(moment)
    }

    /// The key it goes with, if the provider wants one.
    pub fn key(&self) -> Option<&Chosen> {
        self.key.as_ref()
    }

    /// The answer's head came after this long.
    pub fn answered_after(&mut self, elapsed: Duration) {
        self.first_byte = Some(elapsed);
    }

    /// The first content of its stream has come.
    pub fn first_chunk(&self, now: Moment) {
        self.upstream.handles.first_chunk(now - self.begun);
    }

    /// The handles to count by.
    pub fn handles(&self) -> &Handles {
        &self.upstream.handles
    }

    /// Judges the end and tells everyone concerned: breaker, limiter, key, health, metrics.
    pub fn finish(mut self, now: Moment, ended: Ended, usage: Option<&Usage>, hint: Option<Duration>) -> Decision {
        let decision = classify(&ended);
        let Some(lease) = self.lease.take() else {
            return decision;
        };
        let state = &self.upstream.state;
        let used = usage.map(|usage| usage.input.saturating_add(usage.output));
        // A refused attempt cost nothing; one that broke off cost what is known, else what was reserved.
        let used = if matches!(ended, Ended::Status { .. }) {
            Some(0)
        } else {
            used
        };
        lease.settle(&decision, used, now);
        if let Some(key) = &self.key {
            match decision.key {
                KeyVerdict::Fine if decision.breaker == Verdict::Success => state.accept_key(key),
                KeyVerdict::Fine => {}
                KeyVerdict::SetAside | KeyVerdict::SetAsideLong => state.reject_key(key, &decision, now),
                KeyVerdict::Rotate => state.throttle_key(key, hint, now),
            }
        }
        match decision.breaker {
            Verdict::Success => state.outcome(true, self.first_byte, now),
            Verdict::Failure(_) => state.outcome(false, None, now),
            Verdict::Throttled | Verdict::Ignored => {}
        }
        self.upstream.handles.ended(&traffic::Ended {
            model: &self.model,
            code: decision.code,
            took: now - self.begun,
            usage,
            conversation: self.conversation,
        });
        decision
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.abandon(self.input_tokens, self.app.clock.now());
            self.upstream.handles.cancelled(&self.model);
        }
    }
}
