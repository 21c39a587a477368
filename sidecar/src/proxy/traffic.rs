//! What traffic looks like to Prometheus: the families about requests and attempts, and their handles, resolved once per
//! configuration so that the hot path looks nothing up.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bowsprit_core::dialect::{Dialect, Usage};
use bowsprit_core::fault::Code;
use bowsprit_core::lifecycle::Outcome;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::{ANSWER_SECONDS, FIRST_TOKEN_SECONDS, Histograms, OTHER, OVERHEAD_SECONDS, ProviderLabel};

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
    received: [Counter; Dialect::ALL.len()],
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
            answered: Default::default(),
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

    /// Counts a request in.
    pub fn begun(&self, dialect: Dialect) {
        if let Some(received) = self.received.get(index(dialect)) {
            received.inc();
        }
        self.in_flight.inc();
    }

    /// Counts a request out that ended otherwise than well, at whom it ended (`None`: at nobody).
    pub fn ended(&self, dialect: Dialect, provider: Option<&Arc<str>>, outcome: Outcome, code: &'static str) {
        let labels = RequestLabels {
            dialect: dialect.as_str(),
            provider: Arc::clone(provider.unwrap_or(&self.nobody)),
            outcome: outcome.as_str(),
            code,
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// Observes our own part of a request.
    pub fn overhead(&self, overhead: Duration) {
        self.overhead.observe(overhead.as_secs_f64());
    }

    /// Counts an event that a lifecycle refused.
    pub fn illegal_event(&self) {
        self.illegal_events.inc();
    }

    /// A request has left.
    pub fn left(&self) {
        self.in_flight.dec();
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
    answered: [OnceLock<Counter>; Dialect::ALL.len()],
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

    /// Observes the time to the first content of a streamed answer.
    pub fn first_token(&self, elapsed: Duration) {
        self.first_token.observe(elapsed.as_secs_f64());
    }

    /// Counts a request that was answered in full.
    pub fn answered(&self, dialect: Dialect, elapsed: Duration) {
        self.duration.observe(elapsed.as_secs_f64());
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

fn index(dialect: Dialect) -> usize {
    match dialect {
        Dialect::OpenAiChat => 0,
        Dialect::AnthropicMessages => 1,
        Dialect::Gemini => 2,
        Dialect::OpenAiResponses => 3,
    }
}
