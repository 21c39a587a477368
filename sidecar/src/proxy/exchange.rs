//! One exchange with a provider, from its permit and credential to its record.
//!
//! Every request that leaves for a provider is one: a conversation's, an embedding's or a count's attempt, an endpoint that
//! passes unread, a health probe. It is sent, signed, by [`Exchange::send`], and ends in one way only, [`Exchange::end`],
//! which judges the end and tells everyone concerned: breaker, limiter, credential, health, and the sinks of the record.
//! Dropped, it ends as one whose answer nobody wanted any more, with what it has cost until then.
//!
//! A probe belongs to no request: its verdict is [`crate::probe`]'s, and it is not counted among the attempts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bowsprit_core::breaker::Verdict;
use bowsprit_core::call::Operation;
use bowsprit_core::classify::{Decision, Ended, KeyVerdict, classify};
use bowsprit_core::clock::Moment;
use bowsprit_core::config::Route;
use bowsprit_core::dialect::Usage;
use bowsprit_core::record::{AttemptKind, AttemptOutcome, AttemptRecord, Called, Estimate, Expense, Spent};
use bowsprit_core::reserve::{Bound, Most};
use bowsprit_core::trace::Span;
use http::HeaderValue;
use tokio::time::Instant;

use super::request_id::{RequestId, TraceId};
use crate::credentials::{Forwarded, Keys, Selected};
use crate::memory::Memory;
use crate::observe::traffic::Handles;
use crate::process::Process;
use crate::tenant::charges::Charges;
use crate::tenant::provider::Permit;
use crate::tenant::snapshot::Upstream;

mod send;

pub(crate) use send::Received;

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
    /// Its permit; a probe needs none.
    pub permit: Option<Permit>,
    /// The credential it goes with, if the provider wants one.
    pub credential: Option<Selected>,
    /// The caller's own keys, where they go on.
    pub forwarded: Option<Box<Forwarded>>,
    /// What is asked.
    pub operation: Operation,
    /// Input tokens, estimated from the request's bytes.
    pub input_tokens: u64,
    /// The request that it is made for; a probe is made for none.
    pub of: Of,
}

/// The request that an exchange is made for, as its record names it. Cheap to make: nothing of it is copied.
#[derive(Clone, Debug, Default)]
pub struct Of {
    /// Its id.
    pub id: Option<RequestId>,
    /// Its trace.
    pub trace: Option<Arc<TraceId>>,
    /// The exchange's own span, where spans are made. Boxed: where none are it takes no room.
    pub span: Option<Box<Span>>,
    /// The route that it was matched by.
    pub route: Option<Arc<Route>>,
    /// What was asked, as metrics and logs name it.
    pub operation: &'static str,
    /// Whether a stream was asked for.
    pub is_stream: bool,
    /// What the request holds under limits and budgets, which the exchange's use is charged to.
    pub charges: Option<Arc<Charges>>,
}

/// How an exchange ended, and what it cost.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// What follows from it.
    pub decision: Decision,
    /// What it cost.
    pub expense: Expense,
}

/// An exchange under way.
pub struct Exchange {
    process: Arc<Process>,
    upstream: Arc<Upstream>,
    model: Arc<str>,
    permit: Option<Permit>,
    keys: Keys,
    number: u32,
    kind: AttemptKind,
    operation: Operation,
    began: Moment,
    status: Option<u16>,
    head_after: Option<Duration>,
    first_content_after: Option<Duration>,
    /// The provider's own id of it.
    provider_id: Option<HeaderValue>,
    of: Of,
    estimate: Estimate,
    told: Option<Usage>,
    /// The provider goes on with the answer.
    goes_on: bool,
    /// A connection has the request, or had it.
    is_sent: AtomicBool,
    is_closed: bool,
}

impl Exchange {
    /// Begins now.
    pub fn begin(process: &Arc<Process>, begin: Begin<'_>) -> Self {
        Self {
            process: Arc::clone(process),
            upstream: Arc::clone(begin.upstream),
            model: Arc::clone(begin.model),
            permit: begin.permit,
            keys: Keys {
                selected: begin.credential,
                forwarded: begin.forwarded,
            },
            number: begin.number,
            kind: begin.kind,
            operation: begin.operation,
            began: process.clock.now(),
            status: None,
            head_after: None,
            first_content_after: None,
            provider_id: None,
            of: begin.of,
            estimate: Estimate {
                input: begin.input_tokens,
                output: 0,
            },
            told: None,
            goes_on: false,
            is_sent: AtomicBool::new(false),
            is_closed: false,
        }
    }

    /// The sidecar's clock, read.
    pub fn now(&self) -> Moment {
        self.process.clock.now()
    }

    /// The budget for what is held of its answer.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.process.memory
    }

    /// The largest body that is sent on as it arrives, bytes.
    pub fn max_upload(&self) -> u64 {
        self.process.limits.max_upload as u64
    }

    /// A moment of that clock as the runtime counts time.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.process.clock.instant(moment)
    }

    /// Whether a text of the provider's quotes the key that it was sent.
    pub fn is_key_in(&self, text: &[u8]) -> bool {
        self.keys.are_told_in(text)
    }

    /// A message of the provider's, or a word on why it is withheld: it quotes the key.
    pub fn without_key(&self, message: String) -> String {
        self.keys.without(message)
    }

    /// The first content of its stream has come.
    pub fn first_chunk(&mut self, now: Moment) {
        let after = now - self.began;
        self.first_content_after = Some(after);
        self.upstream.handles.first_chunk(after);
    }

    /// What the provider is told of the trace, where spans are made; else it is told what the caller said.
    pub fn traceparent(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.of.span.as_ref()?.context().header().as_bytes()).ok()
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

    /// The provider goes on with the answer in the background, whoever reads it: its end tells how much it wrote, and is not read here.
    pub fn goes_on(&mut self) {
        self.goes_on = true;
    }

    /// What it costs if it ends so once it is out.
    pub fn spent(&self, ended: Ended) -> Spent {
        // Every provider counts tokens for nothing.
        if self.operation == Operation::Count {
            return Spent::NOTHING;
        }
        let is_generation = self.operation == Operation::Generate;
        Spent::of(&ended, self.told, is_generation.then_some(self.estimate))
    }

    /// Ends it. `hint`: when the provider wants to be asked again.
    pub fn end(mut self, now: Moment, ended: Ended, hint: Option<Duration>) -> End {
        self.close(now, ended, hint, None)
    }

    /// Ends it with an answer of this model, as the provider says; or with part of one.
    pub fn end_answer(mut self, now: Moment, ended: Ended, reported_model: Option<&str>) -> End {
        self.close(now, ended, None, reported_model)
    }

    /// Whether a failure is one of the models and of the key. Of an endpoint that passes unread it is neither: a key that may
    /// not list an organization's users is a good key.
    fn judges(&self) -> bool {
        self.operation != Operation::PassThrough
    }

    fn close(&mut self, now: Moment, ended: Ended, hint: Option<Duration>, reported_model: Option<&str>) -> End {
        let mut decision = classify(&ended);
        if !self.judges() {
            decision.key = KeyVerdict::Fine;
            // A body that has begun to flow is gone, and so is the request.
            (decision.retry_same, decision.try_next) = (false, false);
        }
        let is_sent = self.is_sent.load(Ordering::Relaxed);
        // Before a connection has it, nothing is spent. Records of one that nobody waits for estimate its input all the same: its request
        // has said so when it began, and hears no more of it.
        let spent = if is_sent || ended == Ended::CallerGone {
            self.spent(ended)
        } else {
            Spent::NOTHING
        };
        let used = if is_sent { spent } else { Spent::NOTHING };
        // The request's record has it from here: a model's price is looked up once.
        let cost = self.upstream.cost(&self.model, &spent);
        let expense = Expense {
            spent,
            cost: cost.map(|cost| cost.total()),
        };
        let end = End { decision, expense };
        if std::mem::replace(&mut self.is_closed, true) || self.kind == AttemptKind::Probe {
            return end;
        }
        if let Some(charges) = self.of.charges.take() {
            let goes_on = self.goes_on && used.reported.is_none() && !used.is_nothing;
            let is_open = goes_on || used.is_output_open(&ended, self.of.is_stream);
            let open = is_open.then(|| self.most(charges.bound));
            charges.attempt(&used, expense.cost, open);
        }
        let charged = self.permit.take().map_or(0, |permit| match ended {
            Ended::CallerGone => permit.abandon(spent.total().unwrap_or(0), now),
            _ => permit.settle(&decision, spent.total(), now),
        });
        self.judge(decision, hint, now);
        let (of, id) = (&self.of, &self.provider_id);
        let record = AttemptRecord {
            request_id: of.id.as_ref().map_or("", RequestId::as_str),
            trace_id: of.trace.as_deref().map_or("", TraceId::as_str),
            route: of.route.as_ref().map_or("", |route| route.name.as_str()),
            operation: of.operation,
            number: self.number,
            kind: self.kind,
            provider: &self.upstream.provider.name,
            model: &self.model,
            reported_model: reported_model.unwrap_or(""),
            provider_request_id: id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or(""),
            credential: self.keys.selected.as_ref().map(|credential| &*credential.name),
            is_generation: self.operation == Operation::Generate,
            is_stream: self.of.is_stream && self.operation == Operation::Generate,
            status: self.status,
            outcome: match ended {
                Ended::Answered => AttemptOutcome::Answered,
                Ended::CallerGone => AttemptOutcome::Cancelled,
                _ => AttemptOutcome::Failed,
            },
            code: decision.code,
            took: now - self.began,
            head_after: self.head_after,
            first_content_after: self.first_content_after,
            spent,
            cost,
            span: self.of.span.as_deref().copied(),
            called: self.called(),
        };
        self.process.sinks.attempt(&self.upstream.handles, &record, charged);
        end
    }

    /// What it may have come to, at the price of its own model.
    fn most(&self, bound: Bound) -> Most {
        let (upstream, model) = (&self.upstream, &self.model);
        let longest = upstream.provider.longest_answer(model);
        bound.most(longest, |spent| upstream.cost(model, spent).map(|cost| cost.total()))
    }

    fn called(&self) -> Called<'_> {
        let provider = &self.upstream.provider;
        Called {
            system: provider.platform.genai_name,
            operation: match self.operation {
                Operation::Generate => provider.platform.genai_operation,
                Operation::Embed(_) => "embeddings",
                Operation::Count | Operation::PassThrough => self.of.operation,
            },
            host: provider.base_url.host(),
            port: provider.base_url.port(),
        }
    }

    /// Tells the credential and the provider's health how it ended.
    fn judge(&self, decision: Decision, hint: Option<Duration>, now: Moment) {
        let state = &self.upstream.state;
        if let Some(key) = self.keys.selected.as_ref().filter(|_| self.judges()) {
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
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_closed {
            let now = self.process.clock.now();
            self.close(now, Ended::CallerGone, None, None);
        }
    }
}
