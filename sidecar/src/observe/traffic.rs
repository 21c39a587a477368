//! What traffic looks like to Prometheus: the families about requests and attempts, and their handles, resolved once per
//! configuration so that the hot path looks nothing up.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bowsprit_core::config::Provider;
use bowsprit_core::dialect::Dialect;
use bowsprit_core::fault::Code;
use bowsprit_core::flow::SkipReason;
use bowsprit_core::flow::moves::{Move, MoveRecord};
use bowsprit_core::flow::retry::{Next, Why};
use bowsprit_core::record::{Outcome, RequestRecord};
use bowsprit_core::trace::Span;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::genai::GenAi;
use crate::metrics::{
    ANSWER_SECONDS, Counters, Dollars, FIRST_TOKEN_SECONDS, Latency, OTHER, OVERHEAD_SECONDS, ProviderLabel, Registry,
    Seconds, Series,
};
use handles::{EstimatedHandles, ModelHandles, UnpricedHandles};
use labels::{
    AttemptLabels, CodeLabels, DialectLabel, EstimatedLabels, LeftOutLabels, RequestLabels, TokenLabels, UnpricedLabels,
};

mod handles;
mod labels;

pub use handles::{COST_KINDS, Handles, PASS_THROUGH, TOKEN_KINDS};

/// What of a request may be left out.
pub const LEFT_OUT: [&str; 2] = ["tool", "field"];

/// Families about traffic.
pub struct Traffic {
    received: [Counter; Dialect::ALL.len()],
    requests: Counters<RequestLabels>,
    answered: Counter,
    duration: Latency,
    first_token: Latency,
    overhead: Histogram,
    request_bytes: Counter,
    answer_bytes: Counter,
    in_flight: Gauge,
    sdk_retries: Counter,
    illegal_events: Counter,
    attempts: Counters<AttemptLabels>,
    attempt_seconds: Series<ProviderLabel, Seconds>,
    tokens: Counters<TokenLabels>,
    estimated_tokens: Counters<EstimatedLabels>,
    cost: Series<TokenLabels, Dollars>,
    cost_unknown: Counters<UnpricedLabels>,
    retries: Counters<CodeLabels>,
    fallbacks: Counters<CodeLabels>,
    retries_denied: Counters<ProviderLabel>,
    left_out: Counters<LeftOutLabels>,
}

impl Traffic {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let received = Family::<DialectLabel, Counter>::default();
        registry.register(
            "requests_received",
            "Requests taken in, by the caller's dialect",
            &["dialect"],
            received.clone(),
        );
        let requests: Counters<RequestLabels> = registry.counters(
            "requests",
            "Requests ended, each once, by how and with which code; all together they are the requests received less those in flight",
            &["outcome", "code"],
        );
        let new = Self {
            received: Dialect::ALL.map(|dialect| {
                received.get_or_create_owned(&DialectLabel {
                    dialect: dialect.as_str(),
                })
            }),
            answered: requests.fixed(&RequestLabels {
                outcome: Outcome::Ok.as_str(),
                code: "",
            }),
            requests,
            duration: Latency::new(&ANSWER_SECONDS),
            first_token: Latency::new(&FIRST_TOKEN_SECONDS),
            overhead: Histogram::new(OVERHEAD_SECONDS),
            request_bytes: Counter::default(),
            answer_bytes: Counter::default(),
            in_flight: Gauge::default(),
            sdk_retries: Counter::default(),
            illegal_events: Counter::default(),
            attempts: registry.counters(
                "attempts",
                "Exchanges with providers, by what they ended with: a code, ok, or cancelled where the caller left; several may serve one request",
                &["provider", "model", "code"],
            ),
            attempt_seconds: registry.seconds(
                "attempt_seconds",
                "Time spent in exchanges with a provider; divided by the attempts it is their mean duration",
                &["provider"],
            ),
            tokens: registry.counters(
                "tokens",
                "Tokens as providers report them, those of answers that broke off or were left included; cached and cache_write are parts of input, reasoning is part of output",
                &["provider", "model", "kind"],
            ),
            estimated_tokens: registry.counters(
                "estimated_tokens",
                "Tokens that were spent beyond what providers reported: of answers that broke off or were left, and of servers that report none; what limits are settled with is both together",
                &["provider", "kind"],
            ),
            cost: registry.dollars(
                "cost_usd",
                "US dollars that attempts cost, by the ProviderConfig's own prices or the release's table of list prices: kind reported of the tokens that providers told, estimated of those beyond; attempts of unknown cost are in bowsprit_cost_unknown_attempts_total",
                &["provider", "model", "kind"],
            ),
            cost_unknown: registry.counters(
                "cost_unknown_attempts",
                "Attempts that cost nobody knows how much, by what is not known: the tokens, the model's price, or the terms (a service tier, a region, sound) that they were billed by",
                &["provider", "why"],
            ),
            retries: registry.counters(
                "retries",
                "Attempts at the same provider again, by what the one before ended with",
                &["provider", "code"],
            ),
            fallbacks: registry.counters(
                "fallbacks",
                "Switches of a request away from a provider to its next candidate, by what was wrong with it; whom a request's plan left out from the start, as one whose circuit is open, is no switch and is told in the request's path",
                &["provider", "code"],
            ),
            retries_denied: registry.counters(
                "retries_denied",
                "Retries not made for want of retry budget: the provider fails so much that retrying would only add load",
                &["provider"],
            ),
            left_out: registry.counters(
                "left_out",
                "Tools that a provider cannot run and fields that it has no word for, left out of requests that it answered; x-bowsprit-warning names each",
                &["provider", "what"],
            ),
        };
        new.register_single(registry);
        new
    }

    fn register_single(&self, registry: &mut Registry) {
        registry.register(
            "request_duration_seconds",
            "From a request's head to the end of its answer as the app sees it, for requests answered in full",
            &[],
            self.duration.metric(),
        );
        registry.register(
            "first_token_seconds",
            "From a streamed request's head to its first content as the app sees it, retries and switches included",
            &[],
            self.first_token.metric(),
        );
        registry.register(
            "overhead_seconds",
            "Time to the answer's head that was spent neither waiting for a provider nor for the caller: what the sidecar itself adds",
            &[],
            self.overhead.clone(),
        );
        registry.register(
            "request_body_bytes",
            "Bytes of request bodies taken in",
            &[],
            self.request_bytes.clone(),
        );
        registry.register(
            "answer_body_bytes",
            "Bytes of providers' answers sent on to the app, streams included",
            &[],
            self.answer_bytes.clone(),
        );
        registry.register(
            "in_flight",
            "Requests under way, open streams included",
            &[],
            self.in_flight.clone(),
        );
        registry.register(
            "sdk_retries",
            "Requests that the app's SDK marked as its own retry: these come on top of the sidecar's",
            &[],
            self.sdk_retries.clone(),
        );
        registry.register(
            "lifecycle_illegal_events",
            "Events that a request's lifecycle refused: each one is a bug of Bowsprit's; please report it",
            &[],
            self.illegal_events.clone(),
        );
    }

    /// The handles of one provider, resolved once per configuration.
    pub fn handles(&self, provider: &Provider, genai: &GenAi) -> Handles {
        let name: Arc<str> = provider.name.as_str().into();
        let models = provider.models.iter().map(|model| model.name.as_str());
        let mut names: Vec<&str> = models.collect();
        names.extend(provider.default_model.as_deref().filter(|name| !names.contains(name)));
        names.extend([PASS_THROUGH, OTHER]);
        Handles {
            seconds: self.attempt_seconds.fixed(&ProviderLabel {
                provider: Arc::clone(&name),
            }),
            estimated: EstimatedHandles {
                provider: Arc::clone(&name),
                family: self.estimated_tokens.clone(),
                made: Default::default(),
            },
            unpriced: UnpricedHandles {
                provider: Arc::clone(&name),
                family: self.cost_unknown.clone(),
                made: Default::default(),
            },
            genai: genai.handles(provider.kind),
            models: names
                .into_iter()
                .map(|model| ModelHandles {
                    provider: Arc::clone(&name),
                    model: model.into(),
                    ok: OnceLock::new(),
                    attempts: self.attempts.clone(),
                    tokens: Default::default(),
                    token_family: self.tokens.clone(),
                    cost: Default::default(),
                    cost_family: self.cost.clone(),
                })
                .collect(),
        }
    }

    /// Counts a request in.
    pub fn begun(&self, dialect: Dialect) {
        let index = Dialect::ALL.iter().position(|known| *known == dialect);
        if let Some(received) = index.and_then(|index| self.received.get(index)) {
            received.inc();
        }
        self.in_flight.inc();
    }

    /// Counts the body of a request that was taken in.
    pub fn taken(&self, bytes: usize) {
        self.request_bytes.inc_by(bytes as u64);
    }

    /// Counts a request out.
    pub fn request(&self, record: &RequestRecord<'_>) {
        self.in_flight.dec();
        self.answer_bytes.inc_by(record.answer_bytes);
        if record.outcome == Outcome::Ok {
            self.answered.inc();
            self.duration.observe(record.took, record.span);
        } else {
            self.requests
                .get(&RequestLabels {
                    outcome: record.outcome.as_str(),
                    code: record.code.map_or("", Code::as_str),
                })
                .inc();
        }
        // A provider's answer went to the app, or began to.
        if record.attempts > 0 && (1..400).contains(&record.status) {
            self.overhead.observe(record.overhead.as_secs_f64());
        }
        if record.fields_left_out > 0 {
            self.left_out(record);
        }
        if record.sdk_retries > 0 {
            self.sdk_retries.inc();
        }
        if record.illegal_changes > 0 {
            self.illegal_events.inc_by(u64::from(record.illegal_changes));
        }
    }

    /// Observes the time to the first content of a streamed answer, as it is shown: a stream may go on for minutes.
    pub fn first_token(&self, elapsed: Duration, span: Option<Span>) {
        self.first_token.observe(elapsed, span);
    }

    /// Counts what a candidate did not answer, and what followed.
    pub fn moved(&self, record: &MoveRecord<'_>) {
        match record.what {
            Move::Failed { code, followed } => {
                if let Some((_, Why::BudgetSpent)) = followed {
                    self.retry_denied(record.provider);
                }
                if let Some((Next::Onward, _)) = followed {
                    self.fell_back(record.provider, code.as_str());
                }
            }
            Move::Retried { after } => {
                self.retries
                    .get(&CodeLabels::new(record.provider, after.as_str()))
                    .inc();
            }
            Move::PassedOver { reason, is_last } => {
                if reason == SkipReason::RetryBudget {
                    self.retry_denied(record.provider);
                }
                if !is_last && reason != SkipReason::Unsupported {
                    self.fell_back(record.provider, reason.as_str());
                }
            }
        }
    }

    fn retry_denied(&self, provider: &str) {
        let provider = provider.into();
        self.retries_denied.get(&ProviderLabel { provider }).inc();
    }

    fn fell_back(&self, provider: &str, code: &'static str) {
        self.fallbacks.get(&CodeLabels::new(provider, code)).inc();
    }

    /// Counts what a provider was not told of a request that it answered.
    fn left_out(&self, record: &RequestRecord<'_>) {
        let tools = u64::from(record.tools_left_out);
        let fields = u64::from(record.fields_left_out).saturating_sub(tools);
        for (what, count) in LEFT_OUT.into_iter().zip([tools, fields]) {
            if count > 0 {
                let provider = record.provider.into();
                self.left_out.get(&LeftOutLabels { provider, what }).inc_by(count);
            }
        }
    }
}
