//! What `/health` and `/metrics` say about a provider.

use std::sync::Arc;

use bowsprit_core::breaker::{StateName, Transition};
use bowsprit_core::clock::Moment;
use bowsprit_core::limiter::Which;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Serialize;

use super::ProviderState;
use crate::metrics::{ModelLabels, ProviderLabel, set};

/// A breaker's transition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TransitionLabels {
    provider: Arc<str>,
    model: Arc<str>,
    to: &'static str,
    cause: &'static str,
}

/// A local limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LimitLabels {
    provider: Arc<str>,
    limit: &'static str,
}

/// Families about providers.
#[derive(Clone, Debug, Default)]
pub struct ProviderMetrics {
    breaker_state: Family<ModelLabels, Gauge>,
    transitions: Family<TransitionLabels, Counter>,
    limited: Family<LimitLabels, Counter>,
    keys_usable: Family<ProviderLabel, Gauge>,
    keys_configured: Family<ProviderLabel, Gauge>,
    keys_broken: Family<ProviderLabel, Gauge>,
    healthy: Family<ProviderLabel, Gauge>,
    in_flight: Family<ProviderLabel, Gauge>,
}

impl ProviderMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register(
            "breaker_state",
            "Circuit breaker: 0 closed, 1 half open, 2 open",
            new.breaker_state.clone(),
        );
        registry.register(
            "breaker_transitions",
            "Changes of a circuit breaker",
            new.transitions.clone(),
        );
        registry.register(
            "rate_limited",
            "Requests that met a limit of the ProviderConfig",
            new.limited.clone(),
        );
        registry.register("keys_usable", "Keys that can be used now", new.keys_usable.clone());
        registry.register(
            "keys_configured",
            "Keys that the ProviderConfig names",
            new.keys_configured.clone(),
        );
        registry.register(
            "keys_broken",
            "Keys whose Secret, variable or file is missing, empty or unusable",
            new.keys_broken.clone(),
        );
        registry.register("provider_healthy", "1 unless active probes fail", new.healthy.clone());
        registry.register("provider_in_flight", "Attempts under way", new.in_flight.clone());
        new
    }

    pub(super) fn transition(&self, provider: &Arc<str>, model: Arc<str>, transition: &Transition) {
        let labels = TransitionLabels {
            provider: Arc::clone(provider),
            model,
            to: transition.to.as_str(),
            cause: transition.cause.as_str(),
        };
        self.transitions.get_or_create(&labels).inc();
    }

    pub(super) fn limited(&self, provider: &Arc<str>, which: Which) {
        let limit = limit_name(which);
        self.limited
            .get_or_create(&LimitLabels {
                provider: Arc::clone(provider),
                limit,
            })
            .inc();
    }

    /// Brings the gauges to what the states say now: called before each scrape.
    pub fn observe<'a>(&self, states: impl Iterator<Item = &'a ProviderState>, now: Moment) {
        for gauges in [
            &self.keys_usable,
            &self.keys_configured,
            &self.keys_broken,
            &self.healthy,
            &self.in_flight,
        ] {
            gauges.clear();
        }
        self.breaker_state.clear();
        for state in states {
            let machines = state.lock();
            let label = ProviderLabel {
                provider: Arc::clone(&state.name),
            };
            let counts = machines.keys.counts(now);
            set(&self.keys_usable.get_or_create(&label), counts.usable);
            set(&self.keys_configured.get_or_create(&label), counts.total);
            set(&self.keys_broken.get_or_create(&label), machines.keys.broken());
            set(
                &self.healthy.get_or_create(&label),
                usize::from(machines.health.is_healthy()),
            );
            self.in_flight
                .get_or_create(&label)
                .set(i64::from(machines.limiter.in_flight()));
            for model in &machines.models {
                let labels = ModelLabels {
                    provider: Arc::clone(&state.name),
                    model: machines.label(&model.name),
                };
                let level = match model.breaker.state(now) {
                    StateName::Closed => 0,
                    StateName::HalfOpen => 1,
                    StateName::Open => 2,
                };
                // Several may share the label: the worst of them shows.
                let gauge = self.breaker_state.get_or_create_owned(&labels);
                gauge.set(gauge.get().max(level));
            }
        }
    }
}

/// The label of a limit.
pub(crate) fn limit_name(which: Which) -> &'static str {
    match which {
        Which::Requests => "requests_per_minute",
        Which::Tokens => "tokens_per_minute",
        Which::Concurrency => "concurrent_requests",
    }
}

/// A provider at `/health`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderReport {
    /// Its name.
    pub name: String,
    /// `ok`, or why requests would not go there now.
    pub status: String,
    /// Whether active probes (where on) succeed.
    pub healthy: bool,
    /// Passive health, 0 to 1.
    pub score: f64,
    /// Keys usable now.
    pub keys_usable: usize,
    /// Keys configured.
    pub keys_configured: usize,
    /// What is wrong with keys: credential name and reason, never a value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_problems: Vec<String>,
    /// Attempts under way.
    pub in_flight: u32,
    /// Requests left in the local bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_left: Option<i64>,
    /// Tokens left in the local bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_left: Option<i64>,
    /// A breaker per model that was asked for.
    pub models: Vec<ModelReport>,
}

/// A model of a provider at `/health`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelReport {
    /// The model.
    pub model: String,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// Failures in a row.
    pub failures: u32,
    /// Seconds until the next probe is let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_seconds: Option<f64>,
}

impl ProviderState {
    /// This provider for `/health`.
    pub fn report(&self, now: Moment) -> ProviderReport {
        let machines = self.lock();
        let counts = machines.keys.counts(now);
        let models: Vec<ModelReport> = machines
            .models
            .iter()
            .map(|model| ModelReport {
                model: model.name.to_string(),
                breaker: model.breaker.state(now).as_str(),
                failures: model.breaker.failures(),
                retry_in_seconds: model
                    .breaker
                    .retry_in(now)
                    .map(|wait| (wait.as_secs_f64() * 10.0).round() / 10.0),
            })
            .collect();
        let status = if counts.total > 0 && counts.usable == 0 {
            "no usable key"
        } else if machines.probed && !machines.health.is_healthy() {
            "probes fail"
        } else if models.iter().any(|model| model.breaker != "closed") {
            "breaker open"
        } else {
            "ok"
        };
        ProviderReport {
            name: self.name.to_string(),
            status: status.to_owned(),
            healthy: machines.health.is_healthy(),
            score: (machines.health.score(now) * 1000.0).round() / 1000.0,
            keys_usable: counts.usable,
            keys_configured: counts.total,
            key_problems: machines
                .keys
                .problems(now)
                .map(|(name, why)| format!("{name}: {why}"))
                .collect(),
            in_flight: machines.limiter.in_flight(),
            requests_left: machines.limiter.requests_left(now),
            tokens_left: machines.limiter.tokens_left(now),
            models,
        }
    }
}
