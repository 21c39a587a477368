//! The machines of one provider, under one lock: breakers by model, limits, the wait queue, health, headroom, credentials.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::breaker::{self, Breaker};
use bowsprit_core::budget::Trust;
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{BaseUrl, Provider};
use bowsprit_core::headroom::Headroom;
use bowsprit_core::health::{self, Health};
use bowsprit_core::hedge::Latencies;
use bowsprit_core::limiter::{Limited, Limiter, Which};
use bowsprit_core::queue::WaitQueue;
use bowsprit_core::share::parts::Parts;
use tokio::sync::Notify;

use super::stored::Stored;
use crate::credentials::CredentialPool;
use crate::metrics::OTHER;
use crate::observe::traffic::PASS_THROUGH;
/// So many models have a breaker of their own, and all that the configuration lists; what callers invent beyond shares one.
const MAX_BREAKERS: usize = 64;

/// One model of a provider: whether to ask for it, and whether to count on it.
pub(super) struct ModelState {
    pub(super) name: Arc<str>,
    pub(super) breaker: Breaker,
    pub(super) trust: Trust,
    /// To a stream's first content and to a plain answer; of requests that may be hedged by a percentile of it.
    pub(super) latencies: Option<Box<[Latencies; 2]>>,
}

pub(super) struct Machines {
    pub(super) breaker_settings: breaker::BreakerSettings,
    pub(super) models: Vec<ModelState>,
    pub(super) listed: Vec<String>,
    pub(super) limiter: Limiter,
    /// Where the limits are shared with the namespace's other sidecars.
    pub(super) fleet: Option<Box<Parts>>,
    /// Where a store counts them.
    pub(super) stored: Option<Box<Stored>>,
    pub(super) line: WaitQueue<Arc<Notify>>,
    pub(super) health: Health,
    /// Where there are no keys; else each key has its own.
    pub(super) headroom: Headroom,
    pub(super) keys: CredentialPool,
    /// The address that the keys are meant for.
    pub(super) keys_for: BaseUrl,
    pub(super) probed: bool,
}

impl Machines {
    /// The state of a model: models that are listed, and the first ones that callers bring up, have their own; the rest
    /// share one.
    pub(super) fn model(&mut self, model: &str) -> &mut ModelState {
        let name = self.state_name(model);
        let known = self.models.iter().position(|known| *known.name == *name);
        let at = known.unwrap_or_else(|| {
            self.models.push(ModelState {
                name: name.into(),
                breaker: Breaker::new(self.breaker_settings.clone()),
                trust: Trust::default(),
                latencies: None,
            });
            self.models.len() - 1
        });
        #[allow(clippy::indexing_slicing, reason = "found or pushed just above")]
        &mut self.models[at]
    }

    pub(super) fn state_name<'a>(&self, model: &'a str) -> &'a str {
        let has_own = self.models.iter().any(|known| *known.name == *model);
        if has_own || self.models.len() < MAX_BREAKERS || self.is_listed(model) {
            model
        } else {
            OTHER
        }
    }

    pub(super) fn seen(&self, model: &str) -> Option<&ModelState> {
        let name = self.state_name(model);
        self.models.iter().find(|known| *known.name == *name)
    }

    /// Tells who is first in line that there may be room.
    pub(super) fn call_first(&self) {
        if let Some(first) = self.line.first() {
            first.notify_one();
        }
    }

    /// How long the provider will take no request of `tokens`, by its own word.
    pub(super) fn short_for(&self, tokens: u64, now: Moment) -> Option<Duration> {
        if self.keys.needs_no_key() {
            self.headroom.short_for(tokens, now)
        } else {
            self.keys.short_for(tokens, now)
        }
    }

    /// Requests and tokens that the provider last said are left, over all usable keys that it told of.
    pub(super) fn headroom_left(&self, now: Moment) -> (Option<u64>, Option<u64>) {
        if self.keys.needs_no_key() {
            (self.headroom.requests_left(), self.headroom.tokens_left())
        } else {
            self.keys.headroom_left(now)
        }
    }

    /// What holds somebody up who is not first in line.
    pub(super) fn held_behind(&self, ahead: usize, now: Moment) -> Limited {
        if let Some(held) = self.stored_behind() {
            return held;
        }
        self.limiter.held_behind(ahead, now).unwrap_or(Limited {
            which: Which::Requests,
            retry_in: None,
        })
    }

    pub(super) fn is_listed(&self, model: &str) -> bool {
        model == PASS_THROUGH || self.listed.iter().any(|listed| listed == model)
    }

    /// The metric label of a model: callers must not be able to make series.
    pub(super) fn label(&self, model: &Arc<str>) -> Arc<str> {
        if self.is_listed(model) {
            Arc::clone(model)
        } else {
            OTHER.into()
        }
    }
}

/// The models that the configuration names.
pub(super) fn listed(provider: &Provider) -> Vec<String> {
    let models = provider.models.iter().map(|model| &model.name);
    models.chain(&provider.default_model).cloned().collect()
}

pub(super) fn thresholds(provider: &Provider) -> health::HealthSettings {
    // Nothing is probed without a check; the thresholds say then what they would.
    provider.health_check.map_or_else(
        || {
            let usual = bowsprit_crds::provider_config::HealthCheck::default();
            health::HealthSettings {
                healthy_threshold: usual.healthy_threshold,
                unhealthy_threshold: usual.unhealthy_threshold,
            }
        },
        |check| check.thresholds,
    )
}
