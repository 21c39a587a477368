//! An attempt under way: its permit and its key, given back with a verdict when it ends, exactly once.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::breaker::Verdict;
use bowsprit_core::classify::{Decision, Ended, KeyVerdict, classify};
use bowsprit_core::clock::Moment;
use bowsprit_core::dialect::Usage;
use tokio::time::Instant;

use crate::app::App;
use crate::keys::Chosen;
use crate::live::Upstream;
use crate::state::Lease;

/// An attempt under way. Ended once by [`InFlight::finish`]; dropped, the caller has left.
pub struct InFlight {
    app: Arc<App>,
    upstream: Arc<Upstream>,
    model: Arc<str>,
    lease: Option<Lease>,
    key: Option<Chosen>,
    first_byte: Option<Duration>,
    input_tokens: u64,
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
        let label = upstream
            .handles
            .model(model)
            .map_or_else(|| model.into(), |handles| Arc::clone(&handles.model));
        Self {
            app: Arc::clone(app),
            upstream: Arc::clone(upstream),
            model: label,
            lease: Some(lease),
            key,
            first_byte: None,
            input_tokens,
        }
    }

    /// The sidecar's clock, read.
    pub fn now(&self) -> Moment {
        self.app.clock.now()
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
                KeyVerdict::SetAside => state.reject_key(key, now),
                KeyVerdict::Rotate => state.throttle_key(key, hint, now),
            }
        }
        match decision.breaker {
            Verdict::Success => state.outcome(true, self.first_byte, now),
            Verdict::Failure(_) => state.outcome(false, None, now),
            Verdict::Throttled | Verdict::Ignored => {}
        }
        let handles = self.upstream.handles.model(&self.model);
        match decision.code {
            None => {
                if let Some(handles) = handles {
                    handles.answered();
                }
            }
            Some(code) => self
                .app
                .metrics
                .traffic
                .attempt_failed(state.name(), &self.model, code.as_str()),
        }
        if let (Some(usage), Some(handles)) = (usage, handles) {
            handles.count(usage);
        }
        decision
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.abandon(self.input_tokens, self.app.clock.now());
            self.app
                .metrics
                .traffic
                .attempt_failed(self.upstream.state.name(), &self.model, "cancelled");
        }
    }
}
