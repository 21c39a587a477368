//! What must survive a reload of a provider: its breakers, limits, keys, health and headroom.
//!
//! The machines are pure and live under one lock per provider. It is held for arithmetic only, never across an await,
//! and with one thread it is never contended. A removed provider's state is kept as long as a request uses it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bowsprit_core::breaker::{StateName, Transition};
use bowsprit_core::classify::Decision;
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{BaseUrl, Provider};
use bowsprit_core::fault::Code;
use bowsprit_core::headroom::Headroom;
use bowsprit_core::health::{Change, Health};
use bowsprit_core::hedge;
use bowsprit_core::limiter::{Limiter, LimiterSettings, Which};
use bowsprit_core::plan::{Availability, Why};
use bowsprit_core::queue::WaitQueue;
use http::HeaderMap;

use crate::credentials::{CredentialPool, Selected, Wanted};
use crate::store::Stores;
use crate::sync::locked;
use machines::{Machines, listed, thresholds};

mod counting;
mod machines;
mod metrics;
mod permit;
mod report;
mod shares;
mod stored;
mod waiter;

pub use metrics::ProviderMetrics;
pub(crate) use metrics::limit_name;
pub use permit::{Permit, Refused};
pub(super) use report::tenths;
pub use report::{ModelReport, ProviderReport};
pub use stored::Asked;
pub use waiter::Waiter;

/// The states of a tenant's providers, by name.
#[derive(Default)]
pub struct States {
    by_name: Mutex<HashMap<String, Arc<ProviderState>>>,
    stores: Option<Arc<Stores>>,
}

impl States {
    /// No states yet. What providers have counted in a store is counted in these.
    pub fn new(stores: Arc<Stores>) -> Self {
        Self {
            by_name: Mutex::default(),
            stores: Some(stores),
        }
    }

    /// The state of this provider, made or brought to its new settings.
    pub fn adopt(&self, provider: &Provider, metrics: &ProviderMetrics, now: Moment) -> Arc<ProviderState> {
        let mut by_name = locked(&self.by_name);
        let state = by_name
            .entry(provider.name.clone())
            .or_insert_with(|| Arc::new(ProviderState::new(provider, metrics.clone(), now)));
        state.reconfigure(provider, self.stores.as_deref(), now);
        Arc::clone(state)
    }

    /// Forgets providers that are configured no more; requests that still use one keep it alive.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        locked(&self.by_name).retain(|name, _| keep(name));
    }
}

/// One provider's state.
pub struct ProviderState {
    name: Arc<str>,
    machines: Mutex<Machines>,
    metrics: ProviderMetrics,
}

impl ProviderState {
    fn new(provider: &Provider, metrics: ProviderMetrics, now: Moment) -> Self {
        Self {
            name: provider.name.as_str().into(),
            machines: Mutex::new(Machines {
                breaker_settings: provider.breaker.clone(),
                models: Vec::new(),
                listed: listed(provider),
                limiter: Limiter::new(LimiterSettings::default(), now),
                fleet: None,
                stored: None,
                line: WaitQueue::default(),
                health: Health::new(thresholds(provider)),
                headroom: Headroom::default(),
                keys: CredentialPool::default(),
                keys_for: provider.base_url.clone(),
                probed: provider.health_check.is_some(),
            }),
            metrics,
        }
    }

    fn reconfigure(&self, provider: &Provider, stores: Option<&Stores>, now: Moment) {
        let mut machines = self.lock();
        let machines = &mut *machines;
        if machines.breaker_settings != provider.breaker {
            machines.breaker_settings = provider.breaker.clone();
            for model in &mut machines.models {
                model.breaker.reconfigure(provider.breaker.clone());
            }
        }
        machines.listed = listed(provider);
        machines.limit(provider.limits, provider.shares_limits, now);
        let before = machines.stored.as_ref().map(|stored| &stored.limit);
        let counted = stores.and_then(|stores| stores.limit(provider, before));
        machines.count_in(counted, now);
        machines.health.reconfigure(thresholds(provider));
        machines.probed = provider.health_check.is_some();
        machines.call_first();
    }

    fn lock(&self) -> MutexGuard<'_, Machines> {
        locked(&self.machines)
    }

    /// The provider's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How the plan sees this provider for a request of `tokens`.
    pub fn availability(&self, model: &str, tokens: u64, now: Moment) -> Availability {
        let machines = self.lock();
        if let Some(seen) = machines.seen(model)
            && !seen.breaker.would_admit(now)
        {
            return Availability::Unavailable {
                why: Why::CircuitOpen,
                retry_in: seen.breaker.retry_in(now),
            };
        }
        if !machines.keys.needs_no_key() && !machines.keys.would_select(now) {
            return Availability::Unavailable {
                why: Why::NoKey,
                retry_in: None,
            };
        }
        if machines.probed && !machines.health.is_healthy() {
            return Availability::Unavailable {
                why: Why::Unhealthy,
                retry_in: None,
            };
        }
        if let Some(wait) = machines.short_for(tokens, now) {
            return Availability::Unavailable {
                why: Why::NoHeadroom,
                retry_in: Some(wait),
            };
        }
        Availability::Available
    }

    /// Whether a switch to this model here is likely to be answered.
    pub fn is_trusted(&self, model: &str) -> bool {
        let machines = self.lock();
        machines.seen(model).is_none_or(|seen| seen.trust.is_given())
    }

    /// How long to wait for this model's answer before another is asked too; `None` where that is not known yet.
    pub fn hedge_delay(
        &self,
        model: &str,
        stream: bool,
        settings: &hedge::HedgeSettings,
        now: Moment,
    ) -> Option<Duration> {
        if settings.percentile.is_none() {
            return settings.after;
        }
        let machines = self.lock();
        let [plain, streamed] = match machines.seen(model).and_then(|seen| seen.latencies.as_deref()) {
            Some([plain, streamed]) => [Some(plain), Some(streamed)],
            None => [None, None],
        };
        settings.delay(if stream { streamed } else { plain }, now)
    }

    /// An attempt that may be hedged has shown its first content, or was given up, after so long.
    pub fn took(&self, model: &str, stream: bool, took: Duration, now: Moment) {
        let mut machines = self.lock();
        let [plain, streamed] = &mut **machines.model(model).latencies.get_or_insert_default();
        (if stream { streamed } else { plain }).add(took, now);
    }

    /// Chooses a key, `Ok(None)` where the provider needs none. `base_url` is where it will be sent: a request that began
    /// before a reload gave the provider another address must not carry the new key to the old one.
    pub fn choose_key(
        &self,
        base_url: &BaseUrl,
        passed_over: &[Arc<str>],
        now: Moment,
    ) -> Result<Option<Selected>, NoKey> {
        let machines = self.lock();
        if machines.keys.needs_no_key() {
            return Ok(None);
        }
        if !machines.keys_for.same_origin(base_url) {
            return Err(NoKey);
        }
        machines
            .keys
            .select(passed_over, now, &mut fastrand::Rng::new())
            .map(Some)
            .ok_or(NoKey)
    }

    /// Whether another key than those is worth an immediate try.
    pub fn has_other_key(&self, passed_over: &[Arc<str>], now: Moment) -> bool {
        self.lock().keys.has_other(passed_over, now)
    }

    /// Whether there are several keys.
    pub fn has_several_keys(&self) -> bool {
        self.lock().keys.has_several()
    }

    /// The provider refused a key, or its account.
    pub fn reject_key(&self, key: &Selected, decision: &Decision, now: Moment) {
        let code = decision.code.unwrap_or(Code::AuthKeyRejected);
        let rest = decision.key.rest().unwrap_or_default();
        self.lock().keys.reject(key, code, rest, now);
        self.metrics.key_set_aside(&self.name, "rejected");
        tracing::warn!(
            provider = %self.name,
            credential = %key.name,
            code = code.as_str(),
            rest_s = rest.as_secs(),
            "the provider refused the key; it is set aside"
        );
    }

    /// Why no key can be used, where all of them rest because their accounts cannot pay or are closed.
    pub fn closed(&self, now: Moment) -> Option<Code> {
        self.lock().keys.closed(now)
    }

    /// The provider throttled a key.
    pub fn throttle_key(&self, key: &Selected, hint: Option<Duration>, now: Moment) {
        self.lock().keys.throttle(key, hint, now);
        self.metrics.key_set_aside(&self.name, "throttled");
    }

    /// The provider took a key.
    pub fn accept_key(&self, key: &Selected) {
        self.lock().keys.accept(key);
    }

    /// Takes the keys as the files hold them now, for the address that they are meant for. Returns what is wrong with
    /// them.
    pub fn update_keys(&self, base_url: &BaseUrl, wanted: Vec<Wanted>, now: Moment) -> Vec<(String, String)> {
        let mut machines = self.lock();
        machines.keys.update(wanted);
        machines.keys_for = base_url.clone();
        machines
            .keys
            .problems(now)
            .map(|(name, why)| (name.to_owned(), why))
            .collect()
    }

    /// Reads the provider's rate-limit headers, which are about the account of the key that was used. Returns whether what they say is
    /// to be told on.
    pub fn observe(&self, key: Option<&Selected>, headers: &HeaderMap, now: Moment, wall_unix_ms: u64) -> bool {
        let mut machines = self.lock();
        match key {
            Some(key) => machines.keys.observe(key, headers, now, wall_unix_ms),
            None => machines.headroom.observe(headers, now, wall_unix_ms),
        }
    }

    /// How long the provider will take no request of `tokens`, by its own word.
    pub fn short_for(&self, tokens: u64, now: Moment) -> Option<Duration> {
        self.lock().short_for(tokens, now)
    }

    /// How gladly it should be asked: 0 to 1.
    pub fn score(&self, now: Moment) -> f64 {
        self.lock().health.score(now)
    }

    /// An attempt's part in the passive health score.
    pub fn outcome(&self, ok: bool, latency: Option<Duration>, now: Moment) {
        self.lock().health.on_outcome(ok, latency, now);
    }

    /// A probe's result.
    pub fn probed(&self, ok: bool, now: Moment) {
        let change = self.lock().health.on_probe(ok, now);
        self.metrics.probed(&self.name, ok);
        match change {
            Some(Change::BecameHealthy) => tracing::info!(provider = %self.name, "probes succeed again: healthy"),
            Some(Change::BecameUnhealthy) => tracing::warn!(provider = %self.name, "probes fail: unhealthy, skipped"),
            None => {}
        }
    }

    /// Closes all breakers by hand. Returns how many were not closed.
    pub fn reset_breakers(&self, now: Moment) -> usize {
        let changed: Vec<_> = {
            let mut machines = self.lock();
            machines
                .models
                .iter_mut()
                .filter_map(|model| Some((Arc::clone(&model.name), model.breaker.reset(now)?)))
                .collect()
        };
        for (model, transition) in &changed {
            self.tell(model, transition);
        }
        changed.len()
    }

    fn tell(&self, model: &Arc<str>, transition: &Transition) {
        let label = self.lock().label(model);
        self.metrics.transition(&self.name, label, transition);
        let model = &**model;
        let (from, to) = (transition.from.as_str(), transition.to.as_str());
        let cause = transition.cause;
        if transition.to == StateName::Closed {
            tracing::info!(provider = %self.name, model, from, to, %cause, "breaker");
        } else {
            tracing::warn!(provider = %self.name, model, from, to, %cause, "breaker");
        }
    }

    /// Counts a request that met a local limit.
    pub fn count_limited(&self, which: Which) {
        self.metrics.limited(&self.name, which);
    }

    /// Adds to the time that requests waited for room under a local limit.
    pub fn count_wait(&self, waited: Duration) {
        self.metrics.waited(&self.name, waited);
    }
}

/// No key of a provider is usable.
#[derive(Clone, Copy, Debug)]
pub struct NoKey;
