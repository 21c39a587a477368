//! Families about providers.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bowsprit_core::breaker::Transition;
use bowsprit_core::limiter::Which;
use bowsprit_core::share::parts::Seen;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::{Counters, Labels, ModelLabels, OTHER, ProviderLabel, Registry, Seconds, Series, word_labels};

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

word_labels! {
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
    share_lapses: Counters<LimitLabels>,
    not_stored: Counters<ProviderLabel>,
    pub(super) gauges: Gauges,
}

/// What is read at each scrape.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauges {
    pub(super) breaker_state: Family<ModelLabels, Gauge>,
    pub(super) keys_usable: Family<ProviderLabel, Gauge>,
    pub(super) keys_configured: Family<ProviderLabel, Gauge>,
    pub(super) keys_broken: Family<ProviderLabel, Gauge>,
    pub(super) healthy: Family<ProviderLabel, Gauge>,
    pub(super) score: Family<ProviderLabel, Gauge<f64, AtomicU64>>,
    pub(super) in_flight: Family<ProviderLabel, Gauge>,
    headroom: Family<HeadroomLabels, Gauge>,
    share: Family<LimitLabels, Gauge>,
    share_wanted: Family<LimitLabels, Gauge>,
    share_floor: Family<LimitLabels, Gauge>,
    pub(super) store_answers: Family<ProviderLabel, Gauge>,
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
            share_lapses: registry.counters(
                "share_lapses",
                "Times that this sidecar's share of a limit of the fleet was over without a word from the operator",
                &["provider", "limit"],
            ),
            not_stored: registry.counters(
                "store_fallbacks",
                "Requests that went on by this sidecar's share, as the store that counts the limit did not answer",
                &["provider"],
            ),
            gauges,
        }
    }

    /// A share is over.
    pub(crate) fn lapsed(&self, provider: &Arc<str>, which: Which) {
        let (provider, limit) = (Arc::clone(provider), limit_name(which));
        self.share_lapses.get(&LimitLabels { provider, limit }).inc();
    }

    /// A request went on by a share, where a store counts.
    pub(crate) fn not_stored(&self, provider: &Arc<str>) {
        let provider = Arc::clone(provider);
        self.not_stored.get(&ProviderLabel { provider }).inc();
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
        registry.register(
            "share",
            "This sidecar's share of a limit of the fleet: requests or tokens a minute, or requests at once",
            &["provider", "limit"],
            self.share.clone(),
        );
        registry.register(
            "share_wanted",
            "What this sidecar's requests would use of a limit of the fleet if nothing held them up",
            &["provider", "limit"],
            self.share_wanted.clone(),
        );
        registry.register(
            "share_floor",
            "1 while this sidecar has no good share of a limit of the fleet and goes on with its floor, else 0",
            &["provider", "limit"],
            self.share_floor.clone(),
        );
        registry.register(
            "store_answers",
            "1 while the store that counts the provider's limits is asked, 0 while it does not answer and shares stand in for it",
            &["provider"],
            self.store_answers.clone(),
        );
    }

    /// This sidecar's part in a limit of the fleet.
    pub(super) fn part(&self, provider: &Arc<str>, part: &Seen) {
        let label = LimitLabels {
            provider: Arc::clone(provider),
            limit: limit_name(part.which),
        };
        let whole = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        self.share.get_or_create_owned(&label).set(whole(part.share));
        self.share_wanted.get_or_create_owned(&label).set(whole(part.wanted));
        self.share_floor
            .get_or_create_owned(&label)
            .set(i64::from(part.is_without));
    }

    /// What the provider last said is left of its own limit. `of`: `requests` or `tokens`.
    pub(super) fn left(&self, provider: Arc<str>, of: &'static str, left: u64) {
        let gauge = self.headroom.get_or_create_owned(&HeadroomLabels { provider, of });
        gauge.set(i64::try_from(left).unwrap_or(i64::MAX));
    }

    pub(super) fn clear(&self) {
        for gauges in [
            &self.keys_usable,
            &self.keys_configured,
            &self.keys_broken,
            &self.healthy,
            &self.in_flight,
            &self.store_answers,
        ] {
            gauges.clear();
        }
        self.score.clear();
        self.headroom.clear();
        for gauges in [&self.share, &self.share_wanted, &self.share_floor] {
            gauges.clear();
        }
        self.breaker_state.clear();
    }
}

/// The label of a limit.
pub(crate) fn limit_name(which: Which) -> &'static str {
    match which {
        Which::Requests => "requests_per_minute",
        Which::Tokens => "tokens_per_minute",
        Which::Concurrency => "concurrent_requests",
        // Rates of named limits alone.
        Which::Input | Which::Output | Which::Cost => which.as_str(),
    }
}
