//! What must survive a reload: breakers, limits, keys, health, headroom and the retry budget of each provider, by name.
//!
//! The machines are pure and live under one lock per provider. It is held for arithmetic only, never across an await,
//! and with one thread it is never contended. A removed provider's state is kept as long as a request uses it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowsprit_core::breaker;
use bowsprit_core::breaker::{Breaker, Permit, Rejected, StateName, Transition, Verdict};
use bowsprit_core::budget::{self, Budget};
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{BaseUrl, Provider};
use bowsprit_core::headroom::Headroom;
use bowsprit_core::health::{self, Change, Health};
use bowsprit_core::limiter::{Limited, Limiter, Reservation, Which};
use bowsprit_core::plan::{Availability, Why};
use http::HeaderMap;
use tokio::sync::Notify;

use crate::keys::{Chosen, KeyRing, Wanted};
use crate::metrics::OTHER;

mod report;

pub(crate) use report::limit_name;
pub use report::{ModelReport, ProviderMetrics, ProviderReport};

/// What stands for the model where a request passes to a provider unread: its breaker and its label.
pub const PASS_THROUGH: &str = "passthrough";

/// So many models have a breaker of their own, and all that the configuration lists; what callers invent beyond shares one.
const MAX_BREAKERS: usize = 64;

/// All providers' states.
#[derive(Default)]
pub struct States {
    by_name: Mutex<HashMap<String, Arc<ProviderState>>>,
}

impl States {
    /// The state of this provider, made or brought to its new settings.
    pub fn adopt(&self, provider: &Provider, metrics: &ProviderMetrics, now: Moment) -> Arc<ProviderState> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let state = by_name
            .entry(provider.name.clone())
            .or_insert_with(|| Arc::new(ProviderState::new(provider, metrics.clone(), now)));
        state.reconfigure(provider, now);
        Arc::clone(state)
    }

    /// Forgets providers that are configured no more; requests that still use one keep it alive.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.by_name
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|name, _| keep(name));
    }
}

/// One provider's state.
pub struct ProviderState {
    name: Arc<str>,
    machines: Mutex<Machines>,
    /// Told whenever a request gives its place back, for those that wait for concurrency.
    freed: Notify,
    metrics: ProviderMetrics,
}

struct Machines {
    breaker_settings: breaker::Settings,
    breakers: Vec<(Arc<str>, Breaker)>,
    listed: Vec<String>,
    limiter: Limiter,
    health: Health,
    headroom: Headroom,
    keys: KeyRing,
    /// The address that the keys are meant for.
    keys_for: BaseUrl,
    budget: Budget,
    budget_settings: budget::Settings,
    probed: bool,
}

impl Machines {
    /// The breaker of a model and its name: models that are listed, and the first ones that callers bring up, have their
    /// own; the rest share one.
    fn breaker(&mut self, model: &str) -> (Arc<str>, &mut Breaker) {
        let name = self.breaker_name(model);
        let known = self.breakers.iter().position(|(known, _)| **known == *name);
        let at = known.unwrap_or_else(|| {
            self.breakers
                .push((name.into(), Breaker::new(self.breaker_settings.clone())));
            self.breakers.len() - 1
        });
        #[allow(clippy::indexing_slicing, reason = "found or pushed just above")]
        let (name, breaker) = &mut self.breakers[at];
        (Arc::clone(name), breaker)
    }

    fn breaker_name<'a>(&self, model: &'a str) -> &'a str {
        let has_own = self.breakers.iter().any(|(name, _)| **name == *model);
        if has_own || self.breakers.len() < MAX_BREAKERS || self.is_listed(model) {
            model
        } else {
            OTHER
        }
    }

    fn seen(&self, model: &str) -> Option<&Breaker> {
        let name = self.breaker_name(model);
        self.breakers
            .iter()
            .find(|(known, _)| **known == *name)
            .map(|(_, breaker)| breaker)
    }

    fn is_listed(&self, model: &str) -> bool {
        model == PASS_THROUGH || self.listed.iter().any(|listed| listed == model)
    }

    /// The metric label of a model: callers must not be able to make series.
    fn label(&self, model: &Arc<str>) -> Arc<str> {
        if self.is_listed(model) {
            Arc::clone(model)
        } else {
            OTHER.into()
        }
    }
}

/// The models that the configuration names.
fn listed(provider: &Provider) -> Vec<String> {
    let models = provider.models.iter().map(|model| &model.name);
    models.chain(&provider.default_model).cloned().collect()
}

impl ProviderState {
    fn new(provider: &Provider, metrics: ProviderMetrics, now: Moment) -> Self {
        Self {
            name: provider.name.as_str().into(),
            machines: Mutex::new(Machines {
                breaker_settings: provider.breaker.clone(),
                breakers: Vec::new(),
                listed: listed(provider),
                limiter: Limiter::new(provider.limits, now),
                health: Health::new(thresholds(provider)),
                headroom: Headroom::default(),
                keys: KeyRing::default(),
                keys_for: provider.base_url.clone(),
                budget: Budget::new(provider.retry.budget, now),
                budget_settings: provider.retry.budget,
                probed: provider.health_check.is_some(),
            }),
            freed: Notify::new(),
            metrics,
        }
    }

    fn reconfigure(&self, provider: &Provider, now: Moment) {
        let mut machines = self.lock();
        let machines = &mut *machines;
        if machines.breaker_settings != provider.breaker {
            machines.breaker_settings = provider.breaker.clone();
            for (_, breaker) in &mut machines.breakers {
                breaker.reconfigure(provider.breaker.clone());
            }
        }
        machines.listed = listed(provider);
        machines.limiter.reconfigure(provider.limits, now);
        machines.health.reconfigure(thresholds(provider));
        if machines.budget_settings != provider.retry.budget {
            machines.budget = Budget::new(provider.retry.budget, now);
            machines.budget_settings = provider.retry.budget;
        }
        machines.probed = provider.health_check.is_some();
        self.freed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Machines> {
        // A panic while the lock was held leaves a machine in some valid state: they are plain data.
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The provider's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How the plan sees this provider for a request of `tokens`.
    pub fn availability(&self, model: &str, tokens: u64, now: Moment) -> Availability {
        let machines = self.lock();
        if let Some(breaker) = machines.seen(model)
            && !breaker.would_admit(now)
        {
            return Availability::Unavailable {
                why: Why::CircuitOpen,
                retry_in: breaker.retry_in(now),
            };
        }
        if !machines.keys.needs_no_key() && !machines.keys.would_choose(now) {
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
        // Headroom is what the last answer said about its key's account: with several keys it may not be this one's.
        if machines.keys.counts(now).total <= 1
            && let Some(wait) = machines.headroom.short_for(tokens, now)
        {
            return Availability::Unavailable {
                why: Why::NoHeadroom,
                retry_in: Some(wait),
            };
        }
        Availability::Available
    }

    /// Takes a place for one attempt: limits first, then the breaker, so that a probe's permit is not held by a waiter.
    pub fn admit(self: &Arc<Self>, model: &str, tokens: u64, now: Moment) -> Result<Lease, Refused> {
        let mut machines = self.lock();
        if let Some(breaker) = machines.seen(model)
            && !breaker.would_admit(now)
        {
            return Err(Refused::CircuitOpen(breaker.retry_in(now)));
        }
        let reservation = match machines.limiter.reserve(tokens, now) {
            Ok(reservation) => reservation,
            Err(limited) => return Err(Refused::Limited(limited)),
        };
        let (name, breaker) = machines.breaker(model);
        match breaker.admit(now) {
            Ok(permit) => {
                let half_opened = permit.transition();
                drop(machines);
                if let Some(transition) = half_opened {
                    self.tell(&name, &transition);
                }
                Ok(Lease {
                    state: Arc::clone(self),
                    model: name,
                    held: Some((permit, reservation)),
                })
            }
            Err(Rejected { retry_in }) => {
                machines.limiter.cancel(reservation, now);
                Err(Refused::CircuitOpen(Some(retry_in)))
            }
        }
    }

    /// Resolves when a request has given its place back.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Counts a request towards the retry budget.
    pub fn deposit(&self, now: Moment) {
        self.lock().budget.deposit(now);
    }

    /// Whether one more retry may be made.
    pub fn withdraw(&self, now: Moment) -> bool {
        self.lock().budget.withdraw(now)
    }

    /// Chooses a key, `Ok(None)` where the provider needs none. `base_url` is where it will be sent: a request that began
    /// before a reload gave the provider another address must not carry the new key to the old one.
    pub fn choose_key(&self, base_url: &BaseUrl, passed_over: &[String], now: Moment) -> Result<Option<Chosen>, NoKey> {
        let machines = self.lock();
        if machines.keys.needs_no_key() {
            return Ok(None);
        }
        if !machines.keys_for.same_origin(base_url) {
            return Err(NoKey);
        }
        machines
            .keys
            .choose(passed_over, now, &mut fastrand::Rng::new())
            .map(Some)
            .ok_or(NoKey)
    }

    /// Whether another key than those is worth an immediate try.
    pub fn has_other_key(&self, passed_over: &[String], now: Moment) -> bool {
        self.lock().keys.has_other(passed_over, now)
    }

    /// Whether there are several keys.
    pub fn has_several_keys(&self) -> bool {
        self.lock().keys.has_several()
    }

    /// The provider refused a key.
    pub fn reject_key(&self, key: &Chosen, now: Moment) {
        self.lock().keys.reject(key, now);
        self.metrics.key_set_aside(&self.name, "rejected");
        tracing::warn!(provider = %self.name, credential = %key.name, "the provider refused the key; it is set aside");
    }

    /// The provider throttled a key.
    pub fn throttle_key(&self, key: &Chosen, hint: Option<Duration>, now: Moment) {
        self.lock().keys.throttle(key, hint, now);
        self.metrics.key_set_aside(&self.name, "throttled");
    }

    /// The provider took a key.
    pub fn accept_key(&self, key: &Chosen) {
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

    /// Reads the provider's rate-limit headers.
    pub fn observe(&self, headers: &HeaderMap, now: Moment, wall_unix_ms: u64) {
        self.lock().headroom.observe(headers, now, wall_unix_ms);
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
                .breakers
                .iter_mut()
                .filter_map(|(model, b)| Some((Arc::clone(model), b.reset(now)?)))
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

fn thresholds(provider: &Provider) -> health::Settings {
    provider
        .health_check
        .map_or_else(health::Settings::default, |check| check.thresholds)
}

/// No key of a provider is usable.
#[derive(Clone, Copy, Debug)]
pub struct NoKey;

/// Why an attempt may not begin.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    /// The breaker is open for so long.
    CircuitOpen(Option<Duration>),
    /// A local limit is reached.
    Limited(Limited),
}

/// An attempt's place at a provider: a breaker permit and a reservation. Given back on drop as if never used.
pub struct Lease {
    state: Arc<ProviderState>,
    /// The breaker's name.
    model: Arc<str>,
    held: Option<(Permit, Reservation)>,
}

impl Lease {
    /// The attempt ended so. `used_tokens`: what it cost, where known.
    pub fn settle(mut self, verdict: Verdict, used_tokens: Option<u64>, now: Moment) {
        let Some((permit, reservation)) = self.held.take() else {
            return;
        };
        let transition = {
            let mut machines = self.state.lock();
            machines.limiter.settle(reservation, used_tokens, now);
            machines.breaker(&self.model).1.settle(permit, verdict, now)
        };
        self.state.freed.notify_one();
        if let Some(transition) = transition {
            self.state.tell(&self.model, &transition);
        }
    }

    /// The caller left: the breaker learns nothing, the place is free, the tokens that were surely spent stay spent.
    pub fn abandon(mut self, spent_tokens: u64, now: Moment) {
        let Some((permit, reservation)) = self.held.take() else {
            return;
        };
        let mut machines = self.state.lock();
        machines.limiter.settle(reservation, Some(spent_tokens), now);
        machines.breaker(&self.model).1.cancel(permit);
        drop(machines);
        self.state.freed.notify_one();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some((permit, reservation)) = self.held.take() else {
            return;
        };
        let mut machines = self.state.lock();
        // Without a clock at hand: the machines take a moment that is past as "no time has gone by".
        machines.limiter.cancel(reservation, Moment::ZERO);
        machines.breaker(&self.model).1.cancel(permit);
        drop(machines);
        self.state.freed.notify_one();
    }
}
