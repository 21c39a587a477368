//! One namespace in service: its configuration, the states of its providers, and what its requests may add to their load.
//!
//! Whatever is keyed by a provider's name is reached through its tenant, since two namespaces may use one name for two
//! providers. A sidecar has one tenant.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bowsprit_core::clock::Moment;
use bowsprit_core::config::Config;

use crate::config::Offer;
use crate::config::store::{ConfigMetrics, Store};
use crate::credentials::KeyFiles;
use crate::net::client::Connections;
use crate::observe::Sinks;
use allowance::Allowances;
use provider::{ProviderMetrics, States};
use snapshot::{Parts, Snapshot};

pub mod allowance;
pub mod listings;
pub mod provider;
pub mod snapshot;

/// A namespace in service.
pub struct Tenant {
    /// The configuration in service; `None` until there is a valid one.
    pub snapshot: ArcSwapOption<Snapshot>,
    /// Judges what is offered, and knows what was applied.
    pub config: Store,
    /// What its requests may add to its providers' load.
    pub allowances: Allowances,
    states: States,
    connections: Arc<Connections>,
    sinks: Arc<Sinks>,
    metrics: ProviderMetrics,
}

impl Tenant {
    /// A tenant without a configuration yet.
    pub fn new(
        connections: Arc<Connections>,
        sinks: Arc<Sinks>,
        metrics: ProviderMetrics,
        config_metrics: ConfigMetrics,
    ) -> Self {
        Self {
            snapshot: ArcSwapOption::empty(),
            config: Store::new(config_metrics),
            allowances: Allowances::default(),
            states: States::default(),
            connections,
            sinks,
            metrics,
        }
    }

    /// Takes an offer into service, if the store accepts it. Says whether it did.
    pub fn offer(&self, offer: Offer, now: Moment) -> bool {
        let Some(config) = self.config.judge(offer, now) else {
            return false;
        };
        self.serve(config, now);
        true
    }

    /// Serves the same configuration over connections that trust what the CA bundles hold now.
    pub fn renew_trust(&self, now: Moment) {
        if let Some(snapshot) = self.snapshot.load_full() {
            self.serve(snapshot.config.clone(), now);
        }
    }

    /// Takes the keys as their sources hold them now.
    pub fn renew_keys(&self, files: &KeyFiles, now: Moment) {
        let snapshot = self.snapshot.load();
        let upstreams = snapshot.as_ref().map_or(&[][..], |snapshot| snapshot.upstreams());
        for upstream in upstreams {
            let provider = &upstream.provider;
            let problems = upstream
                .state
                .update_keys(&provider.base_url, files.read_all(provider), now);
            for (credential, problem) in problems {
                tracing::warn!(provider = %provider.name, credential, problem, "key");
            }
        }
    }

    fn serve(&self, config: Config, now: Moment) {
        let parts = Parts {
            states: &self.states,
            connections: &self.connections,
            sinks: &self.sinks,
            metrics: &self.metrics,
        };
        let snapshot = Snapshot::build(config, &parts, now);
        let routes = &snapshot.config.routes;
        self.allowances
            .retain_hedges(|name| routes.iter().any(|route| route.name == name && route.hedge.is_some()));
        self.snapshot.store(Some(Arc::new(snapshot)));
    }
}
