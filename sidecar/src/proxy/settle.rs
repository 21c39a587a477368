//! How requests and attempts end: each exactly once, in metrics and in the access log.
//!
//! A [`Story`] is made with the request and carries its lifecycle machine, which decides what its end is called. It is
//! settled by whoever ends it. If it is dropped unsettled, the caller has gone (or the code panicked), and it settles
//! itself as such: there is no way out of a request that is not counted.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::dialect::{Dialect, Usage};
use bowsprit_core::fault::Code;
use bowsprit_core::lifecycle::{Cancel, Event, Machine, Outcome, State};
use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::id::RequestId;
use crate::app::App;
use crate::drain::Token;
use crate::live::Upstream;
use crate::metrics::{ANSWER_SECONDS, FIRST_TOKEN_SECONDS, Histograms, OTHER, OVERHEAD_SECONDS, ProviderLabel};
use crate::telemetry::AccessLine;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    dialect: &'static str,
    provider: Arc<str>,
    outcome: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    provider: Arc<str>,
    model: Arc<str>,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    provider: Arc<str>,
    model: Arc<str>,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DialectLabel {
    dialect: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    provider: Arc<str>,
    code: &'static str,
}

/// Families about traffic.
pub struct Traffic {
    received: [Counter; 3],
    requests: Family<RequestLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    duration: Histograms<ProviderLabel>,
    first_token: Histograms<ProviderLabel>,
    overhead: Histogram,
    tokens: Family<TokenLabels, Counter>,
    retries: Family<CodeLabels, Counter>,
    fallbacks: Family<CodeLabels, Counter>,
    retries_denied: Family<ProviderLabel, Counter>,
    sdk_retries: Counter,
    in_flight: Gauge,
    illegal_events: Counter,
    nobody: Arc<str>,
}

impl Traffic {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let received = Family::<DialectLabel, Counter>::default();
        let new = Self {
            received: Dialect::ALL.map(|dialect| {
                received.get_or_create_owned(&DialectLabel {
                    dialect: dialect.as_str(),
                })
            }),
            requests: Family::default(),
            attempts: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(ANSWER_SECONDS)),
            first_token: Family::new_with_constructor(|| Histogram::new(FIRST_TOKEN_SECONDS)),
            overhead: Histogram::new(OVERHEAD_SECONDS),
            tokens: Family::default(),
            retries: Family::default(),
            fallbacks: Family::default(),
            retries_denied: Family::default(),
            sdk_retries: Counter::default(),
            in_flight: Gauge::default(),
            illegal_events: Counter::default(),
            nobody: "none".into(),
        };
        registry.register(
            "requests_received",
            "Requests taken in, by the caller's dialect",
            received,
        );
        registry.register(
            "requests",
            "Requests ended: the sum over all labels equals the requests received, less those in flight",
            new.requests.clone(),
        );
        registry.register(
            "attempts",
            "Exchanges with providers, by what they ended with",
            new.attempts.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From a request's head to the end of its answer, for answered requests",
            new.duration.clone(),
        );
        registry.register(
            "first_token_seconds",
            "From a streamed request's head to its first content",
            new.first_token.clone(),
        );
        registry.register(
            "overhead_seconds",
            "Time to the answer's head that was not spent waiting for a provider or the caller",
            new.overhead.clone(),
        );
        registry.register("tokens", "Tokens by kind, as providers report them", new.tokens.clone());
        registry.register(
            "retries",
            "Attempts at the same provider again, by what the first ended with",
            new.retries.clone(),
        );
        registry.register(
            "fallbacks",
            "Switches away from a provider, by the reason",
            new.fallbacks.clone(),
        );
        registry.register(
            "retries_denied",
            "Retries not made for want of retry budget",
            new.retries_denied.clone(),
        );
        registry.register(
            "sdk_retries",
            "Requests that a caller's SDK marked as its own retry",
            new.sdk_retries.clone(),
        );
        registry.register(
            "lifecycle_illegal_events",
            "Events that a request's lifecycle refused: each one is a bug",
            new.illegal_events.clone(),
        );
        registry.register("in_flight", "Requests under way", new.in_flight.clone());
        new
    }

    /// The handles of one provider, resolved once per configuration.
    pub fn handles(&self, provider: &str, models: &[&str], default_model: Option<&str>) -> Handles {
        let provider: Arc<str> = provider.into();
        let label = ProviderLabel {
            provider: Arc::clone(&provider),
        };
        let mut names: Vec<&str> = models.to_vec();
        names.extend(default_model.filter(|name| !models.contains(name)));
        names.push(OTHER);
        Handles {
            answered: <[OnceLock<Counter>; 3]>::default(),
            requests: self.requests.clone(),
            duration: self.duration.get_or_create_owned(&label),
            first_token: self.first_token.get_or_create_owned(&label),
            models: names
                .into_iter()
                .map(|model| ModelHandles {
                    provider: Arc::clone(&provider),
                    model: model.into(),
                    ok: OnceLock::new(),
                    attempts: self.attempts.clone(),
                    tokens: <[OnceLock<Counter>; 5]>::default(),
                    token_family: self.tokens.clone(),
                })
                .collect(),
            provider,
        }
    }

    /// Counts an attempt that did not end well.
    pub fn attempt_failed(&self, provider: &Arc<str>, model: &Arc<str>, code: &'static str) {
        let labels = AttemptLabels {
            provider: Arc::clone(provider),
            model: Arc::clone(model),
            code,
        };
        self.attempts.get_or_create(&labels).inc();
    }

    /// Counts a retry at the same provider.
    pub fn retried(&self, provider: &Arc<str>, code: Code) {
        let labels = CodeLabels {
            provider: Arc::clone(provider),
            code: code.as_str(),
        };
        self.retries.get_or_create(&labels).inc();
    }

    /// Counts a retry that the budget did not allow.
    pub fn retry_denied(&self, provider: &Arc<str>) {
        self.retries_denied
            .get_or_create(&ProviderLabel {
                provider: Arc::clone(provider),
            })
            .inc();
    }

    /// Counts a switch away from a provider.
    pub fn fell_back(&self, provider: &Arc<str>, code: &'static str) {
        self.fallbacks
            .get_or_create(&CodeLabels {
                provider: Arc::clone(provider),
                code,
            })
            .inc();
    }

    /// Counts a request that an SDK says is its own retry.
    pub fn sdk_retried(&self) {
        self.sdk_retries.inc();
    }
}

const TOKEN_KINDS: [&str; 5] = ["input", "output", "cached", "cache_write", "reasoning"];

/// Metric handles of one provider, each resolved at its first use: the hot path looks nothing up, and what never happens
/// makes no series.
pub struct Handles {
    provider: Arc<str>,
    answered: [OnceLock<Counter>; 3],
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
    first_token: Histogram,
    models: Vec<ModelHandles>,
}

/// Metric handles of one model of a provider.
pub struct ModelHandles {
    provider: Arc<str>,
    /// The label: the model, or `other`.
    pub model: Arc<str>,
    ok: OnceLock<Counter>,
    attempts: Family<AttemptLabels, Counter>,
    tokens: [OnceLock<Counter>; 5],
    token_family: Family<TokenLabels, Counter>,
}

impl Handles {
    /// The handles of this model; of `other` where the configuration does not name it.
    pub fn model(&self, model: &str) -> Option<&ModelHandles> {
        self.models
            .iter()
            .find(|handles| *handles.model == *model)
            .or(self.models.last())
    }

    fn answered(&self, dialect: Dialect) {
        let Some(slot) = self.answered.get(index(dialect)) else {
            return;
        };
        let counter = slot.get_or_init(|| {
            self.requests.get_or_create_owned(&RequestLabels {
                dialect: dialect.as_str(),
                provider: Arc::clone(&self.provider),
                outcome: Outcome::Ok.as_str(),
                code: "",
            })
        });
        counter.inc();
    }
}

impl ModelHandles {
    /// Counts a good attempt.
    pub fn answered(&self) {
        let counter = self.ok.get_or_init(|| {
            self.attempts.get_or_create_owned(&AttemptLabels {
                provider: Arc::clone(&self.provider),
                model: Arc::clone(&self.model),
                code: "ok",
            })
        });
        counter.inc();
    }

    /// Counts tokens.
    pub fn count(&self, usage: &Usage) {
        let counts = [
            usage.input,
            usage.output,
            usage.cached,
            usage.cache_write,
            usage.reasoning,
        ];
        for ((slot, kind), count) in self.tokens.iter().zip(TOKEN_KINDS).zip(counts) {
            if count > 0 {
                let counter = slot.get_or_init(|| {
                    self.token_family.get_or_create_owned(&TokenLabels {
                        provider: Arc::clone(&self.provider),
                        model: Arc::clone(&self.model),
                        kind,
                    })
                });
                counter.inc_by(count);
            }
        }
    }
}

/// One request, from its head to its end.
pub struct Story {
    app: Arc<App>,
    id: RequestId,
    dialect: Dialect,
    operation: &'static str,
    machine: Machine,
    begun: Moment,
    now: Moment,
    /// Time spent waiting for the caller's body, providers, places and backoffs.
    waited: Duration,
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
        let traffic = &app.metrics.traffic;
        if let Some(received) = traffic.received.get(index(dialect)) {
            received.inc();
        }
        traffic.in_flight.inc();
        let now = app.clock.now();
        Box::new(Self {
            machine: Machine::new(id.as_str()),
            id,
            dialect,
            operation,
            begun: now,
            now,
            waited: Duration::ZERO,
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

    /// Reads the clock: once after each wait, not for each use.
    pub fn tick(&mut self) -> Moment {
        self.now = self.app.clock.now();
        self.now
    }

    /// The clock as it was read last.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// A wait since the last reading has ended.
    pub fn waited(&mut self) -> Moment {
        let before = self.now;
        let now = self.tick();
        self.waited += now - before;
        now
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

    /// Attempts made.
    pub fn attempts(&self) -> u32 {
        self.machine.context().attempts
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
        self.step(event, self.now);
    }

    fn step(&mut self, event: Event, now: Moment) {
        if let Err(illegal) = self.machine.on(event, now) {
            self.app.metrics.traffic.illegal_events.inc();
            tracing::error!(request_id = self.id.as_str(), %illegal, "lifecycle");
        }
    }

    /// The answer's head is on its way: our own part is over but for relaying.
    pub fn head_sent(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        let elapsed = self.now - self.begun;
        let overhead = elapsed.saturating_sub(self.waited);
        self.overhead = Some(overhead);
        self.app.metrics.traffic.overhead.observe(overhead.as_secs_f64());
        if self.stream
            && let Some(upstream) = &self.upstream
        {
            upstream.handles.first_token.observe(elapsed.as_secs_f64());
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
        let elapsed = self.now - self.begun;
        let context = self.machine.context();
        let outcome = context.outcome.unwrap_or(Outcome::OwnError);
        let code = context.code.map_or("", Code::as_str);
        let traffic = &self.app.metrics.traffic;
        traffic.in_flight.dec();
        match &self.upstream {
            Some(upstream) if outcome == Outcome::Ok => {
                upstream.handles.duration.observe(elapsed.as_secs_f64());
                upstream.handles.answered(self.dialect);
            }
            upstream => {
                let provider = upstream
                    .as_ref()
                    .map_or(&traffic.nobody, |upstream| upstream.state.name());
                let labels = RequestLabels {
                    dialect: self.dialect.as_str(),
                    provider: Arc::clone(provider),
                    outcome: outcome.as_str(),
                    code,
                };
                traffic.requests.get_or_create(&labels).inc();
            }
        }
        if self.app.access.is_on() {
            self.app.access.write(&AccessLine {
                request_id: self.id.as_str(),
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
                outcome: outcome.as_str(),
                code,
                state: self.machine.state().as_str(),
                status: self.status,
                duration: elapsed,
                first_token: context.timings.to_first_token().filter(|_| self.stream),
                overhead: self.overhead.unwrap_or_else(|| elapsed.saturating_sub(self.waited)),
                input_tokens: self.usage.as_ref().map(|usage| usage.input),
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

fn index(dialect: Dialect) -> usize {
    match dialect {
        Dialect::OpenAiChat => 0,
        Dialect::AnthropicMessages => 1,
        Dialect::Gemini => 2,
    }
}
