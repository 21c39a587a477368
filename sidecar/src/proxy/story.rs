//! How requests end: each exactly once, in metrics and in the access log.
//!
//! A [`Story`] is made with the request and carries its lifecycle machine, which decides what its end is called. It is
//! settled by whoever ends it. If it is dropped unsettled, the caller has gone (or the code panicked), and it settles
//! itself as such: there is no way out of a request that is not counted.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::dialect::{Dialect, Usage};
use bowsprit_core::fault::Code;
use bowsprit_core::lifecycle::{Cancel, Event, Machine, Outcome, State};
use http::StatusCode;

use super::id::{RequestId, TraceId};
use super::pace::Pace;
use crate::app::App;
use crate::drain::Token;
use crate::live::Upstream;
use crate::telemetry::AccessLine;

/// One request, from its head to its end.
pub struct Story {
    app: Arc<App>,
    id: RequestId,
    dialect: Dialect,
    operation: &'static str,
    machine: Machine,
    begun: Moment,
    pace: Pace,
    /// The caller's trace.
    pub trace: Option<TraceId>,
    /// The model asked for.
    pub asked: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Who was asked last.
    pub upstream: Option<Arc<Upstream>>,
    /// The model that was asked for there.
    pub model: Option<Arc<str>>,
    /// What it cost.
    pub usage: Option<Usage>,
    overhead: Option<Duration>,
    status: u16,
    settled: bool,
    _in_flight: Token,
}

impl Story {
    /// Counts a request in.
    pub fn begin(app: &Arc<App>, id: RequestId, dialect: Dialect, operation: &'static str) -> Box<Self> {
        app.metrics.traffic.begun(dialect);
        let pace = Pace::begin(app.clock);
        Box::new(Self {
            machine: Machine::new(id.as_str()),
            id,
            dialect,
            operation,
            begun: pace.now(),
            pace,
            trace: None,
            asked: String::new(),
            stream: false,
            upstream: None,
            model: None,
            usage: None,
            overhead: None,
            status: 0,
            settled: false,
            _in_flight: app.drain.enter(),
            app: Arc::clone(app),
        })
    }

    /// Reads the clock.
    pub fn tick(&mut self) -> Moment {
        self.pace.tick()
    }

    /// The clock as it was read last.
    pub fn now(&self) -> Moment {
        self.pace.now()
    }

    /// A wait since the last reading has ended.
    pub fn waited(&mut self) -> Moment {
        self.pace.waited()
    }

    /// The pace for an attempt to go on with.
    pub(super) fn pace(&self) -> Pace {
        self.pace
    }

    /// Goes on at the pace of the attempt that counts.
    pub(super) fn resume(&mut self, pace: Pace) {
        self.pace = pace;
        if let Some(at) = self.pace.take_opened() {
            self.step(Event::StreamOpened, at);
        }
    }

    /// Its id.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// The caller's dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The sidecar it is told in.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// A second attempt was made beside the first.
    pub fn hedged(&self) -> bool {
        self.machine.context().hedges > 0
    }

    /// The caller's SDK made this request before, so often.
    pub fn retried_before(&mut self, times: u32) {
        self.machine.metadata_mut().caller_retries = times;
    }

    /// How often the caller's SDK made this request before.
    pub fn caller_retries(&self) -> u32 {
        self.machine.context().metadata.caller_retries
    }

    /// Attempts made.
    pub fn attempts(&self) -> u32 {
        self.machine.context().attempts
    }

    /// How long ago the present or last attempt began.
    pub fn attempt_took(&self) -> Duration {
        let begun = self.machine.context().timings.attempted;
        begun.map_or(Duration::ZERO, |begun| self.now() - begun)
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.machine.state()
    }

    /// How many attempts it may take in all.
    pub fn allow_attempts(&mut self, most: u32) {
        self.machine.allow_attempts(most);
    }

    /// Something happened. What the lifecycle does not allow is a bug: it is counted and told, and changes nothing.
    pub fn event(&mut self, event: Event) {
        if self.machine.state() == State::Idle {
            // Told late, when it is known whether a stream is wanted, with the time at which it happened.
            self.step(Event::Received { streaming: self.stream }, self.begun);
        }
        self.step(event, self.now());
    }

    fn step(&mut self, event: Event, now: Moment) {
        if let Err(illegal) = self.machine.on(event, now) {
            self.app.metrics.traffic.illegal_event();
            tracing::error!(request_id = self.id.as_str(), %illegal, "lifecycle");
        }
    }

    /// The answer's head is on its way: our own part is over but for relaying.
    pub fn head_sent(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        let elapsed = self.now() - self.begun;
        let overhead = elapsed.saturating_sub(self.pace.waits());
        self.overhead = Some(overhead);
        self.app.metrics.traffic.overhead(overhead);
        if self.stream && self.upstream.is_some() {
            self.app.metrics.traffic.first_token(elapsed);
        }
    }

    /// Answered in full: `Answered` or `StreamEnded`.
    pub fn completed(mut self: Box<Self>, end: Event) {
        self.event(end);
        self.settle();
    }

    /// Answered by ourselves, without any provider.
    pub fn served(mut self: Box<Self>, status: StatusCode, bytes: u64) {
        self.status = status.as_u16();
        self.event(Event::Dispatched { candidate: 0 });
        self.event(Event::Answered { bytes });
        self.settle();
    }

    /// Ended with an error of this code, before or in mid-answer.
    pub fn failed(mut self: Box<Self>, code: Code, status: StatusCode) {
        if self.status == 0 {
            self.status = status.as_u16();
        }
        self.fail(code);
    }

    fn fail(&mut self, code: Code) {
        let refused = matches!(
            self.machine.state(),
            State::Idle | State::Validating | State::RateLimited
        );
        self.event(match code {
            Code::SysDraining => Event::Cancelled(Cancel::Drain),
            code if refused => Event::Rejected { code },
            code => Event::GaveUp { code },
        });
        self.settle();
    }

    fn settle(&mut self) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let elapsed = self.now() - self.begun;
        let context = self.machine.context();
        let outcome = context.outcome.unwrap_or(Outcome::OwnError);
        let code = context.code.map_or("", Code::as_str);
        let traffic = &self.app.metrics.traffic;
        traffic.left(context.bytes);
        if outcome == Outcome::Ok {
            traffic.answered(elapsed);
        } else {
            traffic.ended(outcome, code);
        }
        if self.app.access.is_on() {
            self.app.access.write(&AccessLine {
                request_id: self.id.as_str(),
                trace_id: self.trace.as_ref().map_or("", TraceId::as_str),
                dialect: self.dialect.as_str(),
                operation: self.operation,
                asked_model: &self.asked,
                provider: self
                    .upstream
                    .as_ref()
                    .map_or("", |upstream| upstream.provider.name.as_str()),
                model: self.model.as_deref().unwrap_or(""),
                stream: self.stream,
                attempts: context.attempts,
                hedged: context.hedges > 0,
                caller_retries: context.metadata.caller_retries,
                outcome: outcome.as_str(),
                code,
                state: self.machine.state().as_str(),
                status: self.status,
                duration: elapsed,
                first_token: context.timings.to_first_token().filter(|_| self.stream),
                overhead: self
                    .overhead
                    .unwrap_or_else(|| elapsed.saturating_sub(self.pace.waits())),
                answer_bytes: context.bytes,
                input_tokens: self.usage.as_ref().map(|usage| usage.input),
                cached_tokens: self
                    .usage
                    .as_ref()
                    .map(|usage| usage.cached)
                    .filter(|cached| *cached > 0),
                output_tokens: self.usage.as_ref().map(|usage| usage.output),
            });
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.tick();
        if std::thread::panicking() {
            self.status = 500;
            self.fail(Code::SysInternal);
        } else {
            self.event(Event::Cancelled(Cancel::Caller));
            self.settle();
        }
    }
}
