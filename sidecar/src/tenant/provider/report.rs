//! What `/health` and `/metrics` say about a provider.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bowsprit_core::breaker::{StateName, Transition};
use bowsprit_core::clock::Moment;
use bowsprit_core::limiter::Which;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;

use super::{Machines, ProviderState};
use crate::metrics::{Counters, Labels, ModelLabels, OTHER, ProviderLabel, Registry, Seconds, Series, set};

/// A breaker's transition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TransitionLabels {
    provider: Arc<str>,
    model: Arc<str>,
    to: &'static str,
    cause: &'static str,
}

impl Labels for TransitionLabels {
    fn provider(&self) -> Option<&str> {
        Some(&self.provider)
    }

    fn folded(&self) -> Self {
        Self {
            provider: OTHER.into(),
            model: OTHER.into(),
            to: self.to,
            cause: OTHER,
        }
    }
}

/// A provider and one word from a short list.
macro_rules! labels {
    ($(#[doc = $doc:literal] $name:ident { $word:ident })*) => {$(
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name {
            provider: Arc<str>,
            $word: &'static str,
        }

        impl Labels for $name {
            fn provider(&self) -> Option<&str> {
                Some(&self.provider)
            }

            fn folded(&self) -> Self {
                Self {
                    provider: OTHER.into(),
                    $word: self.$word,
                }
            }
        }
    )*};
}

labels! {
    /// A local limit.
    LimitLabels { limit }
    /// A probe's end.
    ProbeLabels { result }
    /// Why a key is not used for a while.
    KeyLabels { why }
    /// What a provider's own limit counts.
    HeadroomLabels { of }
}

/// Families about providers.
#[derive(Clone, Debug)]
pub struct ProviderMetrics {
    transitions: Counters<TransitionLabels>,
    limited: Counters<LimitLabels>,
    limit_wait: Series<ProviderLabel, Seconds>,
    probes: Counters<ProbeLabels>,
    keys_set_aside: Counters<KeyLabels>,
    gauges: Gauges,
}

/// What is read at each scrape.
#[derive(Clone, Debug, Default)]
struct Gauges {
    breaker_state: Family<ModelLabels, Gauge>,
    keys_usable: Family<ProviderLabel, Gauge>,
    keys_configured: Family<ProviderLabel, Gauge>,
    keys_broken: Family<ProviderLabel, Gauge>,
    healthy: Family<ProviderLabel, Gauge>,
    score: Family<ProviderLabel, Gauge<f64, AtomicU64>>,
    in_flight: Family<ProviderLabel, Gauge>,
    headroom: Family<HeadroomLabels, Gauge>,
}

impl ProviderMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let gauges = Gauges::default();
        gauges.register(registry);
        Self {
            transitions: registry.counters(
                "breaker_transitions",
                "Changes of a circuit breaker, by what it became and why",
                &["provider", "model", "to", "cause"],
            ),
            limited: registry.counters(
                "rate_limited",
                "Requests that met a limit of the ProviderConfig, whether they then waited, went elsewhere or were refused",
                &["provider", "limit"],
            ),
            limit_wait: registry.seconds(
                "limit_wait_seconds",
                "Time that requests waited for room under a limit of the ProviderConfig",
                &["provider"],
            ),
            probes: registry.counters(
                "probes",
                "Active health probes, where the ProviderConfig asks for them",
                &["provider", "result"],
            ),
            keys_set_aside: registry.counters(
                "keys_set_aside",
                "Times that a key was taken out of use for a while because of what the provider said",
                &["provider", "why"],
            ),
            gauges,
        }
    }

    pub(crate) fn transition(&self, provider: &Arc<str>, model: Arc<str>, transition: &Transition) {
        let labels = TransitionLabels {
            provider: Arc::clone(provider),
            model,
            to: transition.to.as_str(),
            cause: transition.cause.as_str(),
        };
        self.transitions.get(&labels).inc();
    }

    pub(crate) fn limited(&self, provider: &Arc<str>, which: Which) {
        let (provider, limit) = (Arc::clone(provider), limit_name(which));
        self.limited.get(&LimitLabels { provider, limit }).inc();
    }

    pub(crate) fn waited(&self, provider: &Arc<str>, waited: Duration) {
        let provider = Arc::clone(provider);
        self.limit_wait
            .get(&ProviderLabel { provider })
            .inc_by(waited.as_secs_f64());
    }

    pub(crate) fn probed(&self, provider: &Arc<str>, ok: bool) {
        let provider = Arc::clone(provider);
        let result = if ok { "ok" } else { "failed" };
        self.probes.get(&ProbeLabels { provider, result }).inc();
    }

    /// `why`: `rejected` or `throttled`.
    pub(crate) fn key_set_aside(&self, provider: &Arc<str>, why: &'static str) {
        let provider = Arc::clone(provider);
        self.keys_set_aside.get(&KeyLabels { provider, why }).inc();
    }

    /// Brings the gauges to what the states say now: called before each scrape.
    pub fn observe<'a>(&self, states: impl Iterator<Item = &'a ProviderState>, now: Moment) {
        self.gauges.clear();
        for state in states {
            self.gauges.observe(state, now);
        }
    }
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "breaker_state",
            "Circuit breaker: 0 closed, 1 half open (one request probes), 2 open (no request goes there)",
            &["provider", "model"],
            self.breaker_state.clone(),
        );
        registry.register(
            "keys_usable",
            "Keys that can be used now; at 0 the provider cannot be asked",
            &["provider"],
            self.keys_usable.clone(),
        );
        registry.register(
            "keys_configured",
            "Keys that the ProviderConfig names",
            &["provider"],
            self.keys_configured.clone(),
        );
        registry.register(
            "keys_broken",
            "Keys whose Secret, variable or file is missing, empty or unusable; /health says which and why",
            &["provider"],
            self.keys_broken.clone(),
        );
        registry.register(
            "provider_healthy",
            "0 while active probes fail and the provider is passed over, else 1",
            &["provider"],
            self.healthy.clone(),
        );
        registry.register(
            "provider_score",
            "How gladly the provider is asked, 0 to 1, from recent successes, speed and probes",
            &["provider"],
            self.score.clone(),
        );
        registry.register(
            "provider_in_flight",
            "Attempts under way",
            &["provider"],
            self.in_flight.clone(),
        );
        registry.register(
            "provider_headroom",
            "What the provider last said is left of its own limit; below what a request needs, it is passed over",
            &["provider", "of"],
            self.headroom.clone(),
        );
    }

    fn clear(&self) {
        for gauges in [
            &self.keys_usable,
            &self.keys_configured,
            &self.keys_broken,
            &self.healthy,
            &self.in_flight,
        ] {
            gauges.clear();
        }
        self.score.clear();
        self.headroom.clear();
        self.breaker_state.clear();
    }

    fn observe(&self, state: &ProviderState, now: Moment) {
        let machines = state.lock();
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
        self.score.get_or_create(&label).set(machines.health.score(now));
        let (requests, tokens) = machines.headroom_left(now);
        for (of, left) in [("requests", requests), ("tokens", tokens)] {
            if let Some(left) = left {
                let provider = Arc::clone(&state.name);
                let gauge = self.headroom.get_or_create_owned(&HeadroomLabels { provider, of });
                gauge.set(i64::try_from(left).unwrap_or(i64::MAX));
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
fn tenths(wait: Duration) -> f64 {
    (wait.as_secs_f64() * 10.0).round() / 10.0
}
