//! Limits of the fleet: the replica that leads lends them out ([`bowsprit_core::share`]), the others pass on what is asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use bowsprit_core::clock::Moment;
use bowsprit_core::config::Limit;
use bowsprit_core::limiter::Which;
use bowsprit_core::share::LEASE;
use bowsprit_core::share::allocator::{Allocator, Totals};
use bowsprit_core::stream::shares::{LimitKey, WireAsk, WireGrant};
use bowsprit_crds::ProviderConfig;
use bowsprit_crds::provider_config::LimitScope;
use kube::ResourceExt as _;
use tokio::sync::Notify;

use crate::fleet::{Fleet, PodId};
use crate::lease::elector::Leadership;
use crate::objects::Store;
use crate::stream::peer::wire::ToLeader;
use crate::sync::locked;
use crate::time::Clock;
use metrics::Metrics;

pub mod metrics;

/// The limits of a namespace that its sidecars share, each with its amount. None before that is known.
pub type Lookup = Arc<dyn Fn(&str) -> Option<Vec<(LimitKey, u64)>> + Send + Sync>;
/// The namespaces in which anything is configured.
pub type Namespaces = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Asks that wait for the link to the leader: some seconds of a large fleet. Beyond it they are lost, and asked again.
const MOST_WAITING: usize = 4_096;

/// Who lends out limits of the fleet. Cheap to clone.
#[derive(Clone)]
pub struct Shares(Arc<Inner>);

struct Inner {
    clock: Clock,
    leadership: Leadership,
    fleet: Fleet,
    limits: Lookup,
    namespaces: Namespaces,
    metrics: Metrics,
    lent: Mutex<Option<Lent>>,
    /// For sidecars that have not just asked, by uid.
    pushed: Mutex<BTreeMap<String, Vec<WireGrant>>>,
    /// For the leader, where that is another.
    waiting: Mutex<VecDeque<ToLeader>>,
    asked: Notify,
}

/// What this replica lends since it leads.
struct Lent {
    epoch: u64,
    began: Moment,
    /// Limits that there were when it began to lead: of these a leader of before may have lent.
    inherited: BTreeSet<(String, LimitKey)>,
    limits: BTreeMap<(String, LimitKey), Allocator<PodId>>,
}

impl Shares {
    /// Lends while `leadership` stands what `limits` says.
    pub fn new(
        clock: Clock,
        leadership: Leadership,
        fleet: Fleet,
        limits: Lookup,
        namespaces: Namespaces,
        metrics: Metrics,
    ) -> Self {
        Self(Arc::new(Inner {
            clock,
            leadership,
            fleet,
            limits,
            namespaces,
            metrics,
            lent: Mutex::default(),
            pushed: Mutex::default(),
            waiting: Mutex::default(),
            asked: Notify::new(),
        }))
    }

    /// A sidecar asks. None where this replica does not lead. What others are to be told then is [`Self::pushed`].
    pub fn ask(&self, namespace: &str, pod: &PodId, asks: &[WireAsk]) -> Option<Vec<WireGrant>> {
        let inner = &*self.0;
        let mut lent = locked(&inner.lent);
        let Ok(epoch) = inner.leadership.epoch() else {
            *lent = None;
            return None;
        };
        let Some(limits) = (inner.limits)(namespace) else {
            return Some(Vec::new());
        };
        let lent = match &mut *lent {
            Some(lent) if lent.epoch == epoch => lent,
            other => other.insert(inner.begin(epoch)),
        };
        let sidecars = inner.fleet.count(namespace);
        let now = inner.clock.now();
        let mut grants = Vec::with_capacity(asks.len());
        for ask in asks {
            let Some((of, whole)) = limits.iter().find(|(of, _)| *of == ask.of) else {
                continue;
            };
            inner.metrics.asked();
            let key = (namespace.to_owned(), of.clone());
            let is_inherited = lent.may_be_lent(&key, now);
            let allocator = lent.limits.entry(key).or_insert_with(|| {
                if is_inherited {
                    Allocator::new(*whole, epoch, now)
                } else {
                    Allocator::of_a_new_limit(*whole, epoch, now)
                }
            });
            allocator.reconfigure(*whole);
            allocator.expect(sidecars);
            if let Some(grant) = allocator.hear(pod, &ask.ask(), now) {
                inner.metrics.granted();
                grants.push(WireGrant::new(of.clone(), &grant));
            }
            inner.push(of, allocator, now);
        }
        Some(grants)
    }

    /// What is to be sent to sidecars that have not just asked, by uid: once.
    pub(crate) fn pushed(&self) -> BTreeMap<String, Vec<WireGrant>> {
        std::mem::take(&mut *locked(&self.0.pushed))
    }

    /// A pod is no more.
    pub fn gone(&self, namespace: &str, pod: &PodId) {
        let mut lent = locked(&self.0.lent);
        let of = lent.iter_mut().flat_map(|lent| &mut lent.limits);
        for (_, allocator) in of.filter(|((of, _), _)| of == namespace) {
            allocator.gone(pod);
        }
    }

    /// For the leader, which is another: sent once, or never.
    pub fn pass_on(&self, namespace: &str, pod: &PodId, asks: Vec<WireAsk>) {
        self.pass(ToLeader::Ask {
            namespace: namespace.to_owned(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            asks,
        });
    }

    /// The same, of anything that is asked.
    pub(crate) fn pass(&self, asked: ToLeader) {
        let mut waiting = locked(&self.0.waiting);
        if waiting.len() >= MOST_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(asked);
        drop(waiting);
        self.0.asked.notify_one();
    }

    /// What waits for the leader.
    pub(crate) fn waiting(&self) -> VecDeque<ToLeader> {
        std::mem::take(&mut *locked(&self.0.waiting))
    }

    /// Returns once something was asked since the last return.
    pub(crate) async fn asked(&self) {
        self.0.asked.notified().await;
    }

    /// What is lent of a namespace's limits; empty where this replica does not lead.
    pub fn totals(&self, namespace: &str) -> Vec<(LimitKey, Totals)> {
        let now = self.0.clock.now();
        let mut lent = locked(&self.0.lent);
        let of = lent.iter_mut().flat_map(|lent| &mut lent.limits);
        let of = of.filter(|((of, _), _)| of == namespace);
        of.map(|((_, key), allocator)| {
            allocator.tick(now);
            (key.clone(), allocator.totals())
        })
        .collect()
    }

    /// Takes back what is over, forgets limits that are no more, and counts. To be called about once a second. What sidecars are to be told
    /// then is [`Self::pushed`].
    pub fn tick(&self) {
        let inner = &*self.0;
        let mut lent = locked(&inner.lent);
        let Ok(epoch) = inner.leadership.epoch() else {
            *lent = None;
            inner.metrics.count(0, &[]);
            return;
        };
        let now = inner.clock.now();
        if (inner.limits)("").is_none() {
            return;
        }
        // Whoever leads begins at once: a minute later it knows what is free.
        let lent = match &mut *lent {
            Some(lent) if lent.epoch == epoch => lent,
            other => other.insert(inner.begin(epoch)),
        };
        let mut known: BTreeMap<String, Vec<(LimitKey, u64)>> = BTreeMap::new();
        lent.limits.retain(|(namespace, key), _| {
            let limits = known
                .entry(namespace.clone())
                .or_insert_with(|| (inner.limits)(namespace).unwrap_or_default());
            limits.iter().any(|(of, _)| of == key)
        });
        let mut totals = Vec::with_capacity(lent.limits.len());
        for ((_, of), allocator) in &mut lent.limits {
            allocator.tick(now);
            inner.push(of, allocator, now);
            totals.push(allocator.totals());
        }
        inner.metrics.count(epoch, &totals);
    }
}

impl Lent {
    /// Whether a leader of before may have lent of this limit. It began before UsagePolicies were known, perhaps: theirs are taken for lent
    /// until nothing of before is good any more.
    fn may_be_lent(&self, key: &(String, LimitKey), now: Moment) -> bool {
        let is_early = now < self.began + LEASE * 2;
        self.inherited.contains(key) || (is_early && key.1.is_of_policy())
    }
}

impl Inner {
    /// Notes what of this limit is to be sent to others than who asks.
    fn push(&self, of: &LimitKey, allocator: &mut Allocator<PodId>, now: Moment) {
        let grants = allocator.push(now);
        if grants.is_empty() {
            return;
        }
        let mut pushed = locked(&self.pushed);
        for (pod, grant) in grants {
            self.metrics.granted();
            pushed
                .entry(pod.uid)
                .or_default()
                .push(WireGrant::new(of.clone(), &grant));
        }
    }

    fn begin(&self, epoch: u64) -> Lent {
        let now = self.clock.now();
        let namespaces = (self.namespaces)().into_iter();
        let limits: Vec<_> = namespaces
            .flat_map(|namespace| {
                let of = (self.limits)(&namespace).unwrap_or_default().into_iter();
                of.map(move |(key, whole)| ((namespace.clone(), key), whole))
            })
            .collect();
        Lent {
            epoch,
            began: now,
            inherited: limits.iter().map(|(key, _)| key.clone()).collect(),
            limits: limits
                .into_iter()
                .map(|(key, whole)| (key, Allocator::new(whole, epoch, now)))
                .collect(),
        }
    }
}

/// The limits that a namespace's sidecars share.
pub fn of_namespace(store: &Store, namespace: &str) -> Vec<(LimitKey, u64)> {
    let mut limits = of_providers(&store.providers(namespace));
    for route in store.routes(namespace) {
        limits.extend(Limit::shared_of_route(&route.name_any(), &route.spec.limits));
    }
    for policy in store.policies(namespace).unwrap_or_default() {
        limits.extend(Limit::shared_of_policy(&policy.name_any(), &policy.spec.limits));
    }
    limits
}

/// The limits of these ProviderConfigs that their sidecars share.
fn of_providers(providers: &[Arc<ProviderConfig>]) -> Vec<(LimitKey, u64)> {
    let mut limits = Vec::new();
    for provider in providers {
        let Some(name) = provider.metadata.name.as_deref() else {
            continue;
        };
        let of = &provider.spec.rate_limits;
        if of.scope != LimitScope::Fleet {
            continue;
        }
        for (which, amount) in [
            (Which::Requests, of.requests_per_minute),
            (Which::Tokens, of.tokens_per_minute),
            (Which::Concurrency, of.concurrent_requests),
        ] {
            if let Some(amount) = amount {
                limits.push((LimitKey::of_provider(name, which), amount.into()));
            }
        }
    }
    limits
}

#[cfg(test)]
mod tests;
