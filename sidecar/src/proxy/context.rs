//! The context of one request from its head to its end, and the end itself: exactly once, in metrics and in the access log.
//!
//! A [`RequestContext`] is made with the request and carries its flow, which decides what its end is called. It is
//! settled by whoever ends it. If it is dropped unsettled, the caller has gone (or the code panicked), and it settles
//! itself as such: there is no way out of a request that is not counted.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::Call;
use bowsprit_core::clock::Moment;
use bowsprit_core::config::Route;
use bowsprit_core::cost::{Picodollars, Unpriced};
use bowsprit_core::dialect::Dialect;
use bowsprit_core::fault::Code;
use bowsprit_core::flow::{Cancel, Flow};
use bowsprit_core::plan::{Skipped, Why};
use bowsprit_core::record::path::{Happened, Path, Turn};
use bowsprit_core::record::{Cached, Expense, Outcome, Refuser, RequestRecord, Spent, Stale};
use bowsprit_core::reserve::Bound;
use bowsprit_core::trace::Span;
use http::StatusCode;

use super::cached::Part;
use super::exchange::Of;
use super::ground::Ground;
use super::guarded::Guarded;
use super::pinned::Pinned;
use super::request_id::{RequestId, TraceId};
use super::stopwatch::Stopwatch;
use super::verdict::Verdict;
use crate::caller::Caller;
use crate::drain::Token;
use crate::process::Process;
use crate::tenant::Tenant;
use crate::tenant::charges::Charges;
use crate::tenant::kept::Answer;
use crate::tenant::snapshot::Upstream;

/// One request, from its head to its end.
pub struct RequestContext {
    process: Arc<Process>,
    tenant: Arc<Tenant>,
    /// Who sent it.
    pub caller: Caller,
    id: RequestId,
    dialect: Dialect,
    operation: &'static str,
    /// Decides what follows, and what the end is called.
    pub flow: Flow,
    begun: Moment,
    /// The present or last attempt went out then.
    attempted: Option<Moment>,
    /// The first content was sent on after so long.
    first_token: Option<Duration>,
    /// Bytes of the answer that were sent to the caller.
    bytes: u64,
    caller_retries: u32,
    stopwatch: Stopwatch,
    /// Its trace: the caller's, or one of its own where spans are made.
    pub trace: Option<Arc<TraceId>>,
    /// Its span, where spans are made.
    pub span: Option<Span>,
    /// The model asked for.
    pub asked: Arc<str>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// What its access rules look at; none: it is under no rules.
    pub(super) access: Option<Box<Ground>>,
    /// The route that it was matched by.
    pub route: Option<Arc<Route>>,
    /// What led it from one candidate to the next.
    path: Path,
    /// Who was asked last.
    pub upstream: Option<Arc<Upstream>>,
    /// The model that was asked for there.
    pub model: Option<Arc<str>>,
    /// The tokens of the attempt that answered, or was made last.
    spent: Spent,
    /// What they cost, where that attempt has ended and said so.
    cost: Option<Result<Picodollars, Unpriced>>,
    /// Fields of the request that the answering provider was not told; of these, tools.
    pub left_out: (u32, u32),
    overhead: Option<Duration>,
    /// The kept answer that the caller got, and its age.
    stale: Option<(Arc<Answer>, Duration)>,
    /// What the cache has to do with it, where its route has one.
    pub(super) cache: Option<Box<Part>>,
    /// What it holds under limits and budgets.
    charges: Option<Arc<Charges>>,
    /// It is for one provider, and is read all the same; none: it goes where routes and models say.
    pub(super) pinned: Option<Box<Pinned>>,
    /// A budget leads it to its route, whatever model it asks for.
    pub(super) is_led: bool,
    /// A limit leads it past its route's targets, to the fallback.
    pub(super) is_diverted: bool,
    /// What access rules say of the requests of a batch that it brings; none: nobody looks.
    pub(super) batched: Option<Arc<Verdict>>,
    /// The rule that turned it away.
    refused_by: Option<Box<str>>,
    /// The guards that look into its answer; none: there are none.
    pub(super) guarded: Option<Box<Guarded>>,
    /// The first rule in shadow that would have.
    would_refuse_by: Option<Box<str>>,
    /// The guards that found something, with commas between.
    guarded_by: Option<Box<str>>,
    status: u16,
    settled: bool,
    _in_flight: Token,
}

impl RequestContext {
    /// Counts a request in.
    pub fn begin(
        process: &Arc<Process>,
        tenant: Arc<Tenant>,
        caller: Caller,
        id: RequestId,
        dialect: Dialect,
        operation: &'static str,
    ) -> Box<Self> {
        process.sinks.traffic.begun(dialect);
        let stopwatch = Stopwatch::begin(process.clock);
        Box::new(Self {
            flow: Flow::received(),
            id,
            attempted: None,
            first_token: None,
            bytes: 0,
            caller_retries: 0,
            dialect,
            operation,
            begun: stopwatch.now(),
            stopwatch,
            trace: None,
            span: None,
            asked: Arc::default(),
            stream: false,
            access: None,
            route: None,
            path: Path::default(),
            upstream: None,
            model: None,
            spent: Spent::default(),
            cost: None,
            left_out: (0, 0),
            overhead: None,
            stale: None,
            cache: None,
            charges: None,
            pinned: None,
            is_led: false,
            is_diverted: false,
            batched: None,
            refused_by: None,
            guarded: None,
            would_refuse_by: None,
            guarded_by: None,
            status: 0,
            settled: false,
            _in_flight: process.drain.enter(),
            process: Arc::clone(process),
            tenant,
            caller,
        })
    }

    /// Reads the clock.
    pub fn tick(&mut self) -> Moment {
        self.stopwatch.tick()
    }

    /// The clock as it was read last.
    pub fn now(&self) -> Moment {
        self.stopwatch.now()
    }

    /// A wait since the last reading has ended.
    pub fn waited(&mut self) -> Moment {
        self.stopwatch.waited()
    }

    /// A copy of the stopwatch, for an attempt to go on with.
    pub(super) fn stopwatch(&self) -> Stopwatch {
        self.stopwatch
    }

    /// Goes on with the stopwatch of the attempt that answered or failed last.
    pub(super) fn resume(&mut self, stopwatch: Stopwatch) {
        self.stopwatch = stopwatch;
    }

    /// An attempt goes out to this model.
    pub(super) fn sent(&mut self, upstream: &Arc<Upstream>, model: &Arc<str>) {
        self.attempted = Some(self.now());
        self.answered_by(upstream, model);
    }

    /// This model is the one that counts.
    pub(super) fn answered_by(&mut self, upstream: &Arc<Upstream>, model: &Arc<str>) {
        self.upstream = Some(Arc::clone(upstream));
        self.model = Some(Arc::clone(model));
    }

    /// The attempt that goes out now has cost so much, should nobody wait for its end.
    pub(super) fn may_cost(&mut self, spent: Spent) {
        (self.spent, self.cost) = (spent, None);
    }

    /// The attempt that counts has cost this.
    pub(super) fn cost_was(&mut self, expense: Expense) {
        (self.spent, self.cost) = (expense.spent, Some(expense.cost));
    }

    /// Its id.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// What was asked: `chat_completions`, `messages`, ...
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The caller's dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The namespace that it is served by.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// What it shares with all other requests.
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// The caller's SDK made this request before, so often.
    pub fn retried_before(&mut self, times: u32) {
        self.caller_retries = times;
    }

    /// How often the caller's SDK made this request before.
    pub fn caller_retries(&self) -> u32 {
        self.caller_retries
    }

    /// How long ago the present or last attempt began.
    pub fn attempt_took(&self) -> Duration {
        self.attempted.map_or(Duration::ZERO, |begun| self.now() - begun)
    }

    /// A turn that it has taken now.
    pub fn turn(&mut self, provider: &Arc<str>, what: Happened) {
        self.path.push(Turn {
            after: self.now() - self.begun,
            provider: Arc::clone(provider),
            what,
        });
    }

    /// Whom its plan left out because of how things stand. Who never serves such a request is no news.
    pub(super) fn left_out(&mut self, skipped: &[Skipped]) {
        for skipped in skipped {
            if !matches!(skipped.why, Why::NoModel | Why::NotHere) {
                self.turn(&skipped.provider.as_str().into(), Happened::LeftOut(skipped.why));
            }
        }
    }

    /// It holds more. Before its attempts: nobody else has a part in it yet.
    pub(super) fn hold(&mut self, call: &Call, add: impl FnOnce(&mut Charges)) {
        if let Some(charges) = Arc::get_mut(self.charges.get_or_insert_default()) {
            charges.bound = Bound::of(call);
            add(charges);
        }
    }

    /// What the record of its attempts tells of it.
    pub(super) fn as_of(&self) -> Of {
        Of {
            id: Some(self.id.clone()),
            trace: self.trace.clone(),
            span: self.span.map(|span| Box::new(span.child(fastrand::u64(..)))),
            route: self.route.clone(),
            operation: self.operation,
            is_stream: self.stream,
            charges: self.charges.clone(),
        }
    }

    /// Bytes of the answer that were sent to the caller.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Part of the answer was sent on; `is_content`: a token, a tool call, a refusal.
    pub fn chunk(&mut self, bytes: u64, is_content: bool) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.flow.chunk(is_content);
        if is_content {
            let elapsed = self.now() - self.begun;
            self.first_token.get_or_insert(elapsed);
        }
    }

    /// The answer's head is on its way: our own part is over but for relaying.
    pub fn head_sent(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        let elapsed = self.now() - self.begun;
        self.overhead = Some(elapsed.saturating_sub(self.stopwatch.waits()));
    }

    /// The app sees the first content of a stream.
    pub fn content_shown(&self) {
        if self.stream && self.upstream.is_some() {
            let elapsed = self.now() - self.begun;
            self.process.sinks.traffic.first_token(elapsed, self.span);
        }
    }

    /// A provider's answer is here whole, with so many bytes.
    pub fn completed(mut self: Box<Self>, bytes: u64) {
        self.chunk(bytes, true);
        if self.guarded.is_some() {
            // It was not over before its guards had looked into it.
            self.flow.stream_ended();
        }
        self.settle();
    }

    /// A provider's stream has ended as its API says it must.
    pub fn stream_ended(mut self: Box<Self>) {
        self.flow.stream_ended();
        self.settle();
    }

    /// Answered by ourselves, without any provider.
    pub fn answered_here(mut self: Box<Self>, status: StatusCode, bytes: u64) {
        self.status = status.as_u16();
        self.bytes = bytes;
        self.flow.served();
        self.settle();
    }

    /// Answered from the cache with so many bytes: nobody was asked, and nothing was spent.
    pub(super) fn answered_again(mut self: Box<Self>, bytes: u64) {
        self.bytes = bytes;
        self.spent = Spent::NOTHING;
        let elapsed = self.now() - self.begun;
        self.first_token = Some(elapsed);
        self.flow.served();
        self.settle();
    }

    /// The rule of this name turns it away: told in its record, whatever is answered.
    pub fn turned_away_by(&mut self, kind: Refuser, name: &str) {
        self.refused_by = Some(kind.named(name));
    }

    /// The first rule in shadow that would turn it away: told in its record, and it passes.
    pub(super) fn would_be_turned_away_by(&mut self, kind: Refuser, name: &str) {
        self.would_refuse_by.get_or_insert_with(|| kind.named(name));
    }

    /// The guard of this name has found something: told in its record, once.
    pub(super) fn guarded_by(&mut self, name: &str) {
        let told = self.guarded_by.as_deref().unwrap_or_default();
        if told.split(',').all(|other| other != name) {
            let comma = if told.is_empty() { "" } else { "," };
            self.guarded_by = Some([told, comma, name].concat().into_boxed_str());
        }
    }

    /// Ended with an error of this code, before or in mid-answer.
    pub fn failed(mut self: Box<Self>, code: Code, status: StatusCode) {
        if self.status == 0 {
            self.status = status.as_u16();
        }
        self.fail(code);
    }

    /// Ended with an error of this code, and its caller gets a kept answer of so many bytes in place of it.
    pub fn answered_stale(mut self: Box<Self>, answer: Arc<Answer>, age: Duration, code: Code, bytes: u64) {
        self.bytes = bytes;
        self.stale = Some((answer, age));
        self.fail(code);
    }

    fn fail(&mut self, code: Code) {
        match code {
            Code::SysDraining => self.flow.cancelled(Cancel::Drain),
            code => self.flow.rejected(code),
        }
        self.settle();
    }

    /// What the tokens of its record cost.
    fn cost(&self) -> Result<Picodollars, Unpriced> {
        match (self.cost, &self.upstream, &self.model) {
            (Some(cost), ..) => cost,
            (None, Some(upstream), Some(model)) => upstream.cost(model, &self.spent).map(|cost| cost.total()),
            _ => Ok(Picodollars::ZERO),
        }
    }

    fn settle(&mut self) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let illegal = self.flow.illegal_changes();
        if illegal > 0 {
            tracing::error!(
                request_id = self.id.as_str(),
                trace_id = self.trace.as_deref().map(TraceId::as_str),
                illegal,
                "a change of state outside the table"
            );
        }
        if let Some(verdict) = self.batched.take() {
            if let Some(rule) = verdict.rule() {
                self.turned_away_by(Refuser::Access, rule);
            }
            if let Some(rule) = verdict.would_refuse.get() {
                self.would_be_turned_away_by(Refuser::Access, rule);
            }
        }
        let took = self.now() - self.begun;
        let record = RequestRecord {
            id: self.id.as_str(),
            trace_id: self.trace.as_deref().map_or("", TraceId::as_str),
            route: self.route.as_ref().map_or("", |route| route.name.as_str()),
            dialect: self.dialect,
            operation: self.operation,
            asked_model: &self.asked,
            provider: self
                .upstream
                .as_ref()
                .map_or("", |upstream| upstream.provider.name.as_str()),
            model: self.model.as_deref().unwrap_or(""),
            is_stream: self.stream,
            attempts: self.flow.attempts(),
            hedges: self.flow.hedges(),
            sdk_retries: self.caller_retries,
            fields_left_out: self.left_out.0,
            tools_left_out: self.left_out.1,
            state: self.flow.state(),
            illegal_changes: illegal,
            outcome: self.flow.outcome().unwrap_or(Outcome::OwnError),
            code: self.flow.code(),
            status: self.status,
            took,
            first_token_after: self.first_token.filter(|_| self.stream),
            overhead: self
                .overhead
                .unwrap_or_else(|| took.saturating_sub(self.stopwatch.waits())),
            answer_bytes: self.bytes,
            spent: self.spent,
            path: &self.path,
            stale: self.stale.as_ref().map(|(answer, age)| Stale {
                age: *age,
                request_id: &answer.request_id,
                provider: answer.provider.to_str().unwrap_or(""),
            }),
            cache: self
                .cache
                .as_ref()
                .and_then(|part| part.given.as_ref())
                .map(|(answer, age)| Cached {
                    age: *age,
                    request_id: &answer.request_id,
                    provider: answer.provider.to_str().unwrap_or(""),
                    saved_tokens: answer.spent.0,
                    saved_cost: answer.spent.1,
                }),
            refused_by: self.refused_by.as_deref().unwrap_or(""),
            would_refuse_by: self.would_refuse_by.as_deref().unwrap_or(""),
            guarded_by: self.guarded_by.as_deref().unwrap_or(""),
            span: self.span,
            cost: self.cost(),
        };
        self.process.sinks.request(&record);
        // Its part of them: an attempt that is still out has its own.
        self.charges = None;
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.tick();
        if std::thread::panicking() {
            self.status = 500;
            self.fail(Code::SysInternal);
        } else {
            self.flow.cancelled(Cancel::Caller);
            self.settle();
        }
    }
}
