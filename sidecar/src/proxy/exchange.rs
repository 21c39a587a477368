//! One exchange with a provider while it lasts: its place, its credential and its record, closed together, exactly once.
//!
//! An exchange ends in one way only, [`Exchange::end`], which judges the end and tells everyone concerned: breaker,
//! limiter, credential, health, and the sinks of the record. Dropped, it ends as one whose answer nobody wanted any more,
//! with what it has cost until then.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::breaker::Verdict;
use bowsprit_core::classify::{Decision, Ended, KeyVerdict, classify};
use bowsprit_core::clock::Moment;
use bowsprit_core::dialect::Usage;
use bowsprit_core::record::{AttemptKind, AttemptOutcome, AttemptRecord, Estimate, Spent};
use tokio::time::Instant;

use crate::app::App;
use crate::credentials::Selected;
use crate::memory::Memory;
use crate::observe::traffic::Handles;
use crate::tenant::provider::Permit;
use crate::tenant::snapshot::Upstream;

/// What an exchange begins with.
pub struct Begin<'a> {
    /// Its number in the request, from 1.
    pub number: u32,
    /// How it came about.
    pub kind: AttemptKind,
    /// Whom it is with.
    pub upstream: &'a Arc<Upstream>,
    /// The model asked for.
    pub model: &'a Arc<str>,
    /// Its place.
    pub permit: Permit,
    /// The credential it goes with, if the provider wants one.
    pub key: Option<Selected>,
    /// Whether a model is asked for words.
    pub is_generation: bool,
    /// Input tokens, estimated from the request's bytes.
    pub input_tokens: u64,
}

/// How an exchange ended, and what it cost.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// What follows from it.
    pub decision: Decision,
    /// What it cost.
    pub spent: Spent,
}

/// A quarter of the bytes: what stands for tokens where nobody counted them.
pub(super) fn tokens_of(bytes: usize) -> u64 {
    (bytes / 4) as u64
}

/// An exchange under way.
pub struct Exchange {
    app: Arc<App>,
    upstream: Arc<Upstream>,
    model: Arc<str>,
    permit: Option<Permit>,
    key: Option<Selected>,
    number: u32,
    kind: AttemptKind,
    is_generation: bool,
    began: Moment,
    status: Option<u16>,
    head_after: Option<Duration>,
    estimate: Estimate,
    told: Option<Usage>,
}

impl Exchange {
    /// Begins now.
    pub fn begin(app: &Arc<App>, begin: Begin<'_>) -> Self {
        Self {
            app: Arc::clone(app),
            upstream: Arc::clone(begin.upstream),
            model: Arc::clone(begin.model),
            permit: Some(begin.permit),
            key: begin.key,
            number: begin.number,
            kind: begin.kind,
            is_generation: begin.is_generation,
            began: app.clock.now(),
            status: None,
            head_after: None,
            estimate: Estimate {
                input: begin.input_tokens,
                output: 0,
            },
            told: None,
        }
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

    /// The credential it goes with, if the provider wants one.
    pub fn key(&self) -> Option<&Selected> {
        self.key.as_ref()
    }

    /// The answer's head came, with this status, so long after the begin.
    pub fn head_came(&mut self, status: u16, after: Duration) {
        self.status = Some(status);
        self.head_after = Some(after);
    }

    /// The first content of its stream has come.
    pub fn first_chunk(&self, now: Moment) {
        self.upstream.handles.first_chunk(now - self.began);
    }

    /// The handles to count by.
    pub fn handles(&self) -> &Handles {
        &self.upstream.handles
    }

    /// What is known of its tokens until now: what the provider told, and how much output was seen, in tokens.
    pub fn saw(&mut self, told: Option<Usage>, output: u64) {
        self.told = told.or(self.told);
        self.estimate.output = self.estimate.output.max(output);
    }

    /// Ends it. `hint`: when the provider wants to be asked again.
    pub fn end(mut self, now: Moment, ended: Ended, hint: Option<Duration>) -> End {
        self.close(now, ended, hint)
    }

    fn close(&mut self, now: Moment, ended: Ended, hint: Option<Duration>) -> End {
        let decision = classify(&ended);
        let spent = Spent::of(&ended, self.told, self.is_generation.then_some(self.estimate));
        let end = End { decision, spent };
        let Some(permit) = self.permit.take() else {
            return end;
        };
        let state = &self.upstream.state;
        let is_cancelled = matches!(ended, Ended::CallerGone);
        let charged = if is_cancelled {
            permit.abandon(spent.total().unwrap_or(0), now)
        } else {
            permit.settle(&decision, spent.total(), now)
        };
        if let Some(key) = &self.key {
            match decision.key {
                KeyVerdict::Fine if decision.breaker == Verdict::Success => state.accept_key(key),
                KeyVerdict::Fine => {}
                KeyVerdict::SetAside | KeyVerdict::SetAsideLong => state.reject_key(key, &decision, now),
                KeyVerdict::Rotate => state.throttle_key(key, hint, now),
            }
        }
        match decision.breaker {
            Verdict::Success => state.outcome(true, self.head_after, now),
            Verdict::Failure(_) => state.outcome(false, None, now),
            Verdict::Throttled | Verdict::Ignored => {}
        }
        let record = AttemptRecord {
            number: self.number,
            kind: self.kind,
            provider: &self.upstream.provider.name,
            model: &self.model,
            credential: self.key.as_ref().map(|key| key.name.as_str()),
            is_generation: self.is_generation,
            status: self.status,
            outcome: match ended {
                Ended::Answered => AttemptOutcome::Answered,
                Ended::CallerGone => AttemptOutcome::Cancelled,
                _ => AttemptOutcome::Failed,
            },
            code: decision.code,
            took: now - self.began,
            head_after: self.head_after,
            spent,
        };
        self.app.sinks.attempt(&self.upstream.handles, &record, charged);
        end
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.permit.is_some() {
            let now = self.app.clock.now();
            self.close(now, Ended::CallerGone, None);
        }
    }
}
