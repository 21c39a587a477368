//! What `/health` and `/metrics` say about a provider.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::breaker::StateName;
use bowsprit_core::clock::Moment;
use serde::Serialize;

use super::ProviderState;
use super::machines::Machines;
use super::metrics::{Gauges, ProviderMetrics};
use crate::metrics::{ModelLabels, ProviderLabel, set};

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
    /// What the provider last said of its own limit, where it says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headroom: Option<HeadroomReport>,
    /// A breaker per model that was asked for.
    pub models: Vec<ModelReport>,
}

/// A provider's own limit at `/health`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadroomReport {
    /// Requests left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Tokens left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Seconds until it takes a request again, if it takes none now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_in_seconds: Option<f64>,
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

impl ProviderMetrics {
    /// Brings the gauges to what the states say now: called before each scrape.
    pub fn observe<'a>(&self, states: impl Iterator<Item = &'a ProviderState>, now: Moment) {
        self.gauges.clear();
        for state in states {
            self.gauges.observe(state, now);
        }
    }
}

impl Gauges {
    fn observe(&self, state: &ProviderState, now: Moment) {
        let mut machines = state.lock();
        for part in machines.parts(now) {
            self.part(&state.name, &part);
        }
        let label = ProviderLabel {
            provider: Arc::clone(&state.name),
        };
        let counts = machines.keys.counts(now);
        for (gauges, count) in [
            (&self.keys_usable, counts.usable),
            (&self.keys_configured, counts.total),
            (&self.keys_broken, machines.keys.broken()),
            (&self.healthy, usize::from(machines.health.is_healthy())),
            (&self.in_flight, machines.limiter.in_flight() as usize),
        ] {
            set(&gauges.get_or_create(&label), count);
        }
        if let Some(stored) = &machines.stored {
            set(
                &self.store_answers.get_or_create(&label),
                usize::from(stored.standing.is_in()),
            );
        }
        self.score.get_or_create(&label).set(machines.health.score(now));
        let (requests, tokens) = machines.headroom_left(now);
        for (of, left) in [("requests", requests), ("tokens", tokens)] {
            if let Some(left) = left {
                let provider = Arc::clone(&state.name);
                self.left(provider, of, left);
            }
        }
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

impl ProviderState {
    /// This provider for `/health`.
    pub fn report(&self, now: Moment) -> ProviderReport {
        let machines = self.lock();
        let counts = machines.keys.counts(now);
        let headroom = headroom(&machines, now);
        let models: Vec<ModelReport> = machines
            .models
            .iter()
            .map(|model| ModelReport {
                model: model.name.to_string(),
                breaker: model.breaker.state(now).as_str(),
                failures: model.breaker.failures(),
                retry_in_seconds: model.breaker.retry_in(now).map(tenths),
            })
            .collect();
        let status = if counts.total > 0 && counts.usable == 0 {
            "no usable key"
        } else if machines.probed && !machines.health.is_healthy() {
            "probes fail"
        } else if models.iter().any(|model| model.breaker != "closed") {
            "breaker open"
        } else if headroom.as_ref().is_some_and(|left| left.back_in_seconds.is_some()) {
            "no headroom"
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
            headroom,
            models,
        }
    }
}

fn headroom(machines: &Machines, now: Moment) -> Option<HeadroomReport> {
    let (requests, tokens) = machines.headroom_left(now);
    let report = HeadroomReport {
        requests,
        tokens,
        back_in_seconds: machines.short_for(1, now).map(tenths),
    };
    let told = report.requests.is_some() || report.tokens.is_some() || report.back_in_seconds.is_some();
    told.then_some(report)
}

/// Seconds, to a tenth.
pub(crate) fn tenths(wait: Duration) -> f64 {
    (wait.as_secs_f64() * 10.0).round() / 10.0
}
