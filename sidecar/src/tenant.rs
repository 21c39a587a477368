//! One namespace in service: its configuration, the states of its providers, and what its requests may add to their load.
//!
//! Whatever is keyed by a provider's name is reached through its tenant, since two namespaces may use one name for two
//! providers. A sidecar has one tenant.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Config, KeySource, Scope};
use bowsprit_core::pauses::Pauses;
use bowsprit_core::stream::pauses::WirePause;
use bowsprit_core::stream::shares::{WireAsk, WireGrant};

use crate::config::Offer;
use crate::config::metrics::ConfigMetrics;
use crate::config::store::Store;
use crate::credentials::{ApiKey, KeyFiles};
use crate::memory::Memory;
use crate::net::client::Connections;
use crate::observe::Sinks;
use crate::store::Stores;
use crate::sync::locked;
use crate::time::Clock;
use allowance::Allowances;
use budgets::{BudgetMetrics, Budgets};
use cache::Cache;
use kept::{KeptAnswers, Purpose};
use limits::{LimitMetrics, Limits};
use provider::{ProviderMetrics, States};
use service::Service;
use shared::SharedAnswers;
use snapshot::{Parts, Snapshot};

pub mod allowance;
pub mod asides;
pub mod asking;
pub mod budgets;
pub mod cache;
pub mod charges;
pub mod kept;
pub mod limits;
pub mod listings;
pub mod provider;
pub mod refill;
pub mod runaway;
pub mod semantic;
pub mod service;
pub mod shared;
pub mod snapshot;
pub mod vectors;

/// A namespace in service.
pub struct Tenant {
    /// The configuration in service; `None` until there is a valid one.
    pub snapshot: ArcSwapOption<Snapshot>,
    /// Judges what is offered, and knows what was applied.
    pub config: Store,
    /// What its requests may add to its providers' load.
    pub allowances: Allowances,
    /// The last good answers of routes that keep them.
    pub kept: Arc<KeptAnswers>,
    /// Answers that are given in place of asking.
    pub cache: Arc<Cache>,
    /// Those of them that other pods have too.
    pub shared: SharedAnswers,
    /// The named limits of its routes and policies.
    pub limits: Arc<Limits>,
    /// The budgets of its policies.
    pub budgets: Arc<Budgets>,
    /// What it has asked lately.
    pub runaways: runaway::Runaways,
    /// The stores that its providers' limits are counted in.
    pub stores: Arc<Stores>,
    /// The keys that services which guard requests are asked with. They outlive a snapshot, as providers' keys do.
    pub service_keys: ArcSwap<HashMap<KeySource, ApiKey>>,
    standing: Mutex<Standing>,
    /// What such services are asked beside streams.
    pub asides: asides::Asides,
    states: States,
    connections: Arc<Connections>,
    sinks: Arc<Sinks>,
    metrics: ProviderMetrics,
}

/// What a snapshot is made of. Locked while one is made: documents and the operator's word on pauses come by tasks of their own.
#[derive(Default)]
struct Standing {
    /// The documents in service, as they are for this pod.
    document: Option<Config>,
    /// The pod's labels by which they were read.
    labels: BTreeMap<String, String>,
    pauses: Pauses,
}

impl Tenant {
    /// A tenant without a configuration yet.
    pub fn new(
        connections: Arc<Connections>,
        (stores, workload): (Arc<Stores>, &str),
        sinks: Arc<Sinks>,
        memory: &Arc<Memory>,
        metrics: ProviderMetrics,
        (limit_metrics, budget_metrics): (LimitMetrics, BudgetMetrics),
        config_metrics: ConfigMetrics,
    ) -> Self {
        Self {
            snapshot: ArcSwapOption::empty(),
            config: Store::new(config_metrics),
            allowances: Allowances::default(),
            // What only saves goes before what stands in for an outage.
            cache: Cache::new(memory, &sinks),
            shared: SharedAnswers::new(Arc::clone(&stores), workload, &sinks),
            kept: KeptAnswers::new(Purpose::Outage, memory, &sinks),
            limits: Limits::new(Arc::clone(&stores), limit_metrics),
            budgets: Budgets::new(budget_metrics),
            runaways: runaway::Runaways::default(),
            service_keys: ArcSwap::default(),
            standing: Mutex::default(),
            asides: asides::Asides::default(),
            states: States::new(Arc::clone(&stores)),
            stores,
            connections,
            sinks,
            metrics,
        }
    }

    /// Takes an offer into service, if the store accepts it at `clock` (Unix seconds). Says whether it did.
    pub fn offer(&self, offer: &Offer, now: Moment, clock: u64) -> bool {
        let Some(document) = self.config.judge(offer, now, clock) else {
            return false;
        };
        let mut standing = locked(&self.standing);
        standing.pauses.served(&document, now);
        self.stand(&mut standing, document, offer, now);
        true
    }

    /// Serves what is in service as it is to be read now: another part of it may concern this pod.
    pub fn offer_again(&self, offer: &Offer, now: Moment) -> bool {
        let Some(document) = self.config.judge_again(offer, now) else {
            return false;
        };
        self.stand(&mut locked(&self.standing), document, offer, now);
        true
    }

    fn stand(&self, standing: &mut Standing, document: Config, offer: &Offer, now: Moment) {
        standing.labels = match offer.documents.as_ref().map(|documents| &documents.scope) {
            Ok(Scope::Cluster { pod_labels }) => pod_labels.clone(),
            _ => BTreeMap::new(),
        };
        standing.document = Some(document);
        self.serve(standing, now);
    }

    /// The operator says that these policies pause, and no others: in force with this, before any document says it.
    pub fn paused(&self, by: &[WirePause], now: Moment) {
        let mut standing = locked(&self.standing);
        if standing.pauses.told(by) {
            let policies = standing.pauses.names().collect::<Vec<_>>().join(", ");
            tracing::info!(policies, "what is paused, by the operator's word");
            self.serve(&standing, now);
        }
    }

    /// The operator's stream has ended: what it said is taken back by nobody there.
    pub fn left(&self, now: Moment) {
        let Standing { document, pauses, .. } = &mut *locked(&self.standing);
        // What is dropped the document in service says too: nothing else is in force.
        pauses.ended(document.as_ref(), now);
    }

    /// Ends what a stream said that ended so long ago that a document that says it too would be here.
    pub fn expire_pauses(&self, now: Moment) {
        let mut standing = locked(&self.standing);
        if standing.pauses.expire(now) {
            tracing::info!("what an operator said of pauses is over: its stream has ended, and no document says it");
            self.serve(&standing, now);
        }
    }

    /// Serves the same configuration over connections that trust what the CA bundles hold now.
    pub fn renew_trust(&self, now: Moment) {
        self.serve(&locked(&self.standing), now);
        let snapshot = self.snapshot.load();
        for upstream in snapshot.iter().flat_map(|snapshot| snapshot.upstreams()) {
            if let Some(problem) = &upstream.problem {
                tracing::warn!(provider = %upstream.provider.name, problem, "CA bundle");
            }
        }
        for service in snapshot.iter().flat_map(|snapshot| snapshot.services.iter()) {
            if let Some(problem) = &service.problem {
                tracing::warn!(guard = &*service.guard.name, problem, "CA bundle of a guard's service");
            }
        }
    }

    /// Takes the keys as their sources hold them now.
    pub fn renew_keys(&self, files: &KeyFiles, now: Moment) {
        let snapshot = self.snapshot.load();
        self.renew_service_keys(files, snapshot.iter().flat_map(|snapshot| snapshot.services.iter()));
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

    fn renew_service_keys<'a>(&self, files: &KeyFiles, services: impl Iterator<Item = &'a Arc<Service>>) {
        let mut keys = HashMap::new();
        for service in services {
            let Some(source) = service.hook().key.as_ref() else {
                continue;
            };
            match files.read(source) {
                Ok(key) => {
                    keys.insert(source.clone(), key);
                }
                Err(problem) => tracing::warn!(guard = &*service.guard.name, problem, "key of a guard's service"),
            }
        }
        self.service_keys.store(Arc::new(keys));
    }

    /// What is to be asked of the operator about limits of the fleet. `anew`: the stream has just been opened.
    pub fn asks(&self, anew: bool, now: Moment) -> Vec<WireAsk> {
        let snapshot = self.snapshot.load();
        let upstreams = snapshot.iter().flat_map(|snapshot| snapshot.upstreams());
        let of_providers = upstreams.flat_map(|upstream| upstream.state.asks(anew, now));
        of_providers.chain(self.limits.asks(anew, now)).collect()
    }

    /// Takes what the operator granted.
    pub fn granted(&self, grants: &[WireGrant], now: Moment) {
        let snapshot = self.snapshot.load();
        for grant in grants {
            if grant.of.object == "limit" {
                self.limits.granted(grant, now);
                continue;
            }
            let mut upstreams = snapshot.iter().flat_map(|snapshot| snapshot.upstreams());
            let of =
                upstreams.find(|upstream| grant.of.object == "provider" && upstream.provider.name == grant.of.name);
            if let Some(upstream) = of {
                upstream.state.granted(grant, now);
            }
        }
    }

    /// Looks after the stores that count limits: whether those that are out are back, and which places are in use. Ends never.
    pub async fn tend_stores(self: Arc<Self>, clock: Clock) {
        loop {
            let mut again: Option<Moment> = None;
            let snapshot = self.snapshot.load_full();
            for upstream in snapshot.iter().flat_map(|snapshot| snapshot.upstreams()) {
                let next = upstream.state.tend_store(&clock).await;
                again = [again, next].into_iter().flatten().min();
            }
            drop(snapshot);
            let next = self.limits.tend_stores(&clock).await;
            again = [again, next].into_iter().flatten().min();
            let news = self.stores.news.notified();
            match again {
                None => news.await,
                Some(again) => {
                    // Either way it is time to look.
                    let _ = tokio::time::timeout_at(clock.instant(again), news).await;
                }
            }
        }
    }

    /// Makes a snapshot of what stands, if anything does.
    fn serve(&self, standing: &Standing, now: Moment) {
        let Some(document) = &standing.document else { return };
        let config = standing.pauses.over(document.clone(), &standing.labels);
        let before = self.snapshot.load();
        let parts = Parts {
            services: before.as_ref().map_or(&[], |before| &before.services),
            states: &self.states,
            connections: &self.connections,
            sinks: &self.sinks,
            metrics: &self.metrics,
        };
        let snapshot = Snapshot::build(config, &parts, now);
        let routes = &snapshot.config.routes;
        self.allowances
            .retain_hedges(|name| routes.iter().any(|route| route.name == name && route.hedge.is_some()));
        self.kept.fit(&snapshot.config);
        self.cache.fit(&snapshot.config);
        self.shared.fit(&snapshot.config);
        self.limits.fit(&snapshot.config, now);
        self.budgets.fit(&snapshot.config);
        self.snapshot.store(Some(Arc::new(snapshot)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bowsprit_core::pauses::LATEST;
    use bowsprit_core::plan::Availability;

    use super::*;
    use crate::config::Documents;
    use crate::metrics::Registry;
    use crate::observe::AccessLog;

    fn tenant(connections: &Arc<Connections>) -> Tenant {
        let registry = &mut Registry::default();
        Tenant::new(
            Arc::clone(connections),
            (
                Stores::new("team-a", Arc::new(KeyFiles::new(None)), Arc::clone(connections), 1),
                "",
            ),
            Arc::new(Sinks::register(registry, AccessLog::in_memory())),
            &Memory::new(1 << 20),
            ProviderMetrics::register(registry),
            (LimitMetrics::register(registry), BudgetMetrics::register(registry)),
            ConfigMetrics::register(registry),
        )
    }

    /// One provider that wants no key and takes one request at a time.
    fn offer(sequence: u64, name: &str) -> Offer {
        Offer {
            source: "folder",
            sequence,
            documents: Ok(Documents {
                text: format!(
                    "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: {name}}}\n\
                     spec: {{provider: OpenAICompatible, endpoint: {{baseUrl: 'https://llm.example/v1'}}, \
                     defaultModel: m, rateLimits: {{concurrentRequests: 1, onLimit: Reject}}}}\n"
                )
                .into(),
                place: "bowsprit.yaml".into(),
                scope: Scope::Standalone,
            }),
        }
    }

    #[test]
    fn two_namespaces_may_use_one_name_for_two_providers() {
        let connections = Arc::new(Connections::new(None, &Arc::default()));
        let (one, two) = (tenant(&connections), tenant(&connections));
        let now = Moment::from_start(Duration::from_secs(1));
        assert!(one.offer(&offer(1, "llm"), now, 1_000) && two.offer(&offer(1, "llm"), now, 1_000));
        let state = |tenant: &Tenant| Arc::clone(&tenant.snapshot.load_full().unwrap().upstreams()[0].state);
        let permit = state(&one).admit("m", 1, now).ok().unwrap();
        assert!(state(&one).admit("m", 1, now).is_err(), "the one place is taken");
        assert!(state(&two).admit("m", 1, now).is_ok(), "the other's is free");
        drop(permit);
    }

    #[test]
    fn a_change_keeps_the_states_of_the_providers_that_stay_and_an_older_offer_changes_nothing() {
        let tenant = tenant(&Arc::new(Connections::new(None, &Arc::default())));
        let now = Moment::from_start(Duration::from_secs(1));
        let served = || tenant.snapshot.load_full().unwrap();
        assert!(tenant.offer(&offer(1, "llm"), now, 1_000));
        let before = served();
        let state = &before.upstreams()[0].state;
        let permit = state.admit("m", 1, now).ok().unwrap();
        assert!(tenant.offer(&offer(2, "llm"), now, 1_000));
        assert!(Arc::ptr_eq(&served().upstreams()[0].state, state));
        assert!(served().upstreams()[0].state.admit("m", 1, now).is_err());
        assert!(!tenant.offer(&offer(1, "other"), now, 1_000));
        assert_eq!(served().upstreams()[0].provider.name, "llm");
        assert_eq!(state.availability("m", 1, now), Availability::Available);
        drop(permit);
    }

    #[test]
    fn a_word_pauses_with_what_is_in_service_and_what_comes_and_the_states_of_providers_stay() {
        let tenant = tenant(&Arc::new(Connections::new(None, &Arc::default())));
        let now = Moment::from_start(Duration::from_secs(1));
        let paused = || {
            let snapshot = tenant.snapshot.load_full();
            let policies = snapshot
                .map(|snapshot| snapshot.config.policies.clone())
                .unwrap_or_default();
            policies.iter().any(|policy| policy.paused.is_some())
        };
        let freeze = [WirePause {
            policy: "freeze".into(),
            paused: true,
            ..WirePause::default()
        }];
        tenant.paused(&freeze, now);
        assert!(tenant.snapshot.load().is_none(), "there is nothing to pause yet");
        assert!(tenant.offer(&offer(1, "llm"), now, 1_000));
        assert!(paused(), "as soon as there is");
        tenant.paused(&[], now);
        assert!(!paused());
        let before = tenant.snapshot.load_full().unwrap();
        tenant.paused(&freeze, now);
        let after = tenant.snapshot.load_full().unwrap();
        assert!(paused() && Arc::ptr_eq(&before.upstreams()[0].state, &after.upstreams()[0].state));
        assert!(tenant.offer(&offer(2, "llm"), now, 1_000));
        tenant.renew_trust(now);
        tenant.left(now);
        assert!(paused(), "nobody has lifted it");
        assert_eq!(
            tenant.config.applied().unwrap().policies,
            0,
            "what is told of documents is of documents"
        );
        tenant.paused(&[], now);
        assert!(!paused());
    }

    #[test]
    fn what_a_lost_stream_said_ends_by_itself_and_no_change_of_labels_brings_it_back() {
        let tenant = tenant(&Arc::new(Connections::new(None, &Arc::default())));
        let lost = Moment::from_start(Duration::from_secs(1));
        let is_paused = || {
            let snapshot = tenant.snapshot.load_full().unwrap();
            snapshot.config.policies.iter().any(|policy| policy.paused.is_some())
        };
        let of = |app: &str| {
            let mut offer = offer(1, "llm");
            let pod_labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
            offer.documents.as_mut().unwrap().scope = Scope::Cluster { pod_labels };
            offer
        };
        let freeze = WirePause {
            policy: "freeze".into(),
            pod_selector: serde_json::from_value(serde_json::json!({"matchLabels": {"app": "shop"}})).unwrap(),
            paused: true,
            ..WirePause::default()
        };
        assert!(tenant.offer(&of("shop"), lost, 1_000));
        tenant.paused(&[freeze], lost);
        tenant.left(lost);
        assert!(!tenant.offer(&of("shop"), lost, 1_000), "it is in service");
        tenant.expire_pauses(lost + LATEST.saturating_sub(Duration::from_secs(1)));
        assert!(is_paused(), "its document may come yet");
        assert!(tenant.offer_again(&of("web"), lost) && !is_paused());
        assert!(tenant.offer_again(&of("shop"), lost) && is_paused());
        let before = tenant.snapshot.load_full().unwrap();
        tenant.expire_pauses(lost + LATEST);
        assert!(!is_paused());
        let after = tenant.snapshot.load_full().unwrap();
        assert!(Arc::ptr_eq(&before.upstreams()[0].state, &after.upstreams()[0].state));
        assert!(tenant.offer_again(&of("web"), lost) && tenant.offer_again(&of("shop"), lost));
        assert!(!is_paused());
    }
}
