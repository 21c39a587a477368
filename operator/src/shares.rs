//! Limits of the fleet: the replica that leads lends them out ([`bowsprit_core::share`]), the others pass on what is asked.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Limit, SharedLimit};
use bowsprit_core::limiter::Which;
use bowsprit_core::share::LEASE;
use bowsprit_core::share::allocator::{Allocator, Totals};
use bowsprit_core::share::leader::Leader;
use bowsprit_core::stream::shares::{LimitKey, WireAsk, WireGrant};
use bowsprit_crds::provider_config::LimitScope;
use bowsprit_crds::{ModelRouteSpec, ProviderConfigSpec, UsagePolicySpec};
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

/// The limits of a namespace that its sidecars share. None before that is known.
pub type Lookup = Arc<dyn Fn(&str) -> Option<Vec<SharedLimit>> + Send + Sync>;
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
    /// The limits that there were when this replica last asked for the Lease; none where it did not know them.
    found: Mutex<Option<Found>>,
    /// Pods that are no more, by uid, and since when: for as long as what they asked may be on its way.
    gone: Mutex<BTreeMap<String, Moment>>,
    /// For sidecars that have not just asked, by uid.
    pushed: Mutex<BTreeMap<String, Vec<WireGrant>>>,
    /// For the leader, where that is another.
    waiting: Mutex<VecDeque<ToLeader>>,
    asked: Notify,
}

/// What this replica lends since it leads: of a namespace's limits.
type Lent = Leader<(String, LimitKey), PodId>;
/// Limits, each with its amount.
type Found = Vec<((String, LimitKey), u64)>;

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
            found: Mutex::default(),
            gone: Mutex::default(),
            pushed: Mutex::default(),
            waiting: Mutex::default(),
            asked: Notify::new(),
        }))
    }

    /// It is about to ask for the Lease: limits that there are now may have been lent by who led before, and what comes from now on is new.
    pub fn before_it_leads(&self) {
        *locked(&self.0.found) = self.0.limits_now();
    }

    /// A sidecar asks. None where this replica does not lead. What others are to be told then is [`Self::pushed`].
    pub fn ask(&self, namespace: &str, pod: &PodId, asks: &[WireAsk]) -> Option<Vec<WireGrant>> {
        let inner = &*self.0;
        // What another replica passes on may come after the pod has gone.
        let is_gone = locked(&inner.gone).contains_key(&pod.uid);
        let mut lent = locked(&inner.lent);
        let Ok(epoch) = inner.leadership.epoch() else {
            *lent = None;
            return None;
        };
        if is_gone {
            return Some(Vec::new());
        }
        let Some(limits) = (inner.limits)(namespace) else {
            return Some(Vec::new());
        };
        let lent = inner.leading(&mut lent, epoch);
        let sidecars = inner.fleet.count(namespace);
        let now = inner.clock.now();
        let mut grants = Vec::with_capacity(asks.len());
        for ask in asks {
            let Some(limit) = limits.iter().find(|limit| limit.is(&ask.of)) else {
                continue;
            };
            inner.metrics.asked();
            let of = |key: &LimitKey| (namespace.to_owned(), key.clone());
            let (whole, count) = (limit.whole, of(&ask.of));
            let allocator = if limit.is_apart {
                lent.of_group(&of(&limit.of), &count, (whole, most_groups(sidecars)), now)
            } else {
                Some(lent.of(&count, whole, now))
            };
            let Some(allocator) = allocator else {
                continue;
            };
            // How many sidecars are of which group is known once all have asked.
            allocator.expect(if limit.is_apart && allocator.has_heard_all(now) {
                0
            } else {
                sidecars
            });
            if let Some(grant) = allocator.hear(pod, &ask.ask(), now) {
                inner.metrics.granted();
                grants.push(WireGrant::new(ask.of.clone(), &grant));
            }
            inner.push(&ask.of, allocator, now);
        }
        Some(grants)
    }

    /// What is to be sent to sidecars that have not just asked, by uid: once.
    pub(crate) fn pushed(&self) -> BTreeMap<String, Vec<WireGrant>> {
        std::mem::take(&mut *locked(&self.0.pushed))
    }

    /// The namespace's config was written, as who leads. `replaced`: the limits of what was there before; none where those cannot be told, or
    /// that was there for less than [`SETTLED`](bowsprit_core::share::leader::SETTLED).
    pub fn wrote(&self, namespace: &str, replaced: Option<&[LimitKey]>, written: &[SharedLimit]) {
        let inner = &*self.0;
        let mut lent = locked(&inner.lent);
        let Ok(epoch) = inner.leadership.epoch() else {
            return;
        };
        if (inner.limits)(namespace).is_none() {
            return;
        }
        let lent = inner.leading(&mut lent, epoch);
        let of_namespace = |key: &LimitKey| (namespace.to_owned(), key.clone());
        let replaced = replaced.map(|limits| limits.iter().map(of_namespace));
        let written = written.iter().map(|limit| (of_namespace(&limit.of), limit.whole));
        lent.wrote(namespace, replaced, written, inner.clock.now());
    }

    /// A pod is no more.
    pub fn gone(&self, namespace: &str, pod: &PodId) {
        let inner = &*self.0;
        locked(&inner.gone).insert(pod.uid.clone(), inner.clock.now());
        if let Some(lent) = &mut *locked(&inner.lent) {
            let first = (namespace.to_owned(), LimitKey::default());
            lent.gone(pod, &first, |(of, _)| of == namespace);
        }
    }

    /// Pods whose uid is none of these are no more.
    pub fn keep_only(&self, uids: &HashSet<String>) {
        if let Some(lent) = &mut *locked(&self.0.lent) {
            lent.keep_only(|pod| uids.contains(&pod.uid));
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
        let of = lent.iter_mut().flat_map(Lent::each);
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
        let now = inner.clock.now();
        locked(&inner.gone).retain(|_, since| now.saturating_since(*since) < LEASE);
        let mut lent = locked(&inner.lent);
        let Ok(epoch) = inner.leadership.epoch() else {
            *lent = None;
            inner.metrics.count(0, &[]);
            return;
        };
        if (inner.limits)("").is_none() {
            return;
        }
        // Whoever leads begins at once: a minute later it knows what is free, and what comes from now on it is the first to tell of.
        let lent = inner.leading(&mut lent, epoch);
        let mut known: BTreeMap<String, Vec<SharedLimit>> = BTreeMap::new();
        let is_there = |(namespace, key): &(String, LimitKey)| {
            let limits = known
                .entry(namespace.clone())
                .or_insert_with(|| (inner.limits)(namespace).unwrap_or_default());
            limits.iter().any(|limit| limit.is(key))
        };
        lent.tick(is_there, now);
        let mut totals = Vec::new();
        for ((namespace, of), allocator) in lent.each() {
            let is_it = |limit: &SharedLimit| limit.of == *of && limit.is_apart;
            // It is lent to groups alone.
            if allocator.is_unused() && known.get(namespace).is_some_and(|limits| limits.iter().any(is_it)) {
                continue;
            }
            inner.push(of, allocator, now);
            totals.push(allocator.totals());
        }
        inner.metrics.count(epoch, &totals);
    }
}

/// So many groups may have a count of a limit each: every sidecar is of one, and those of pods that are gone are kept for a lease.
fn most_groups(sidecars: usize) -> usize {
    sidecars.saturating_mul(2).saturating_add(16)
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

    /// What is lent as the leadership `epoch`, which may begin with this.
    fn leading<'a>(&self, lent: &'a mut Option<Lent>, epoch: u64) -> &'a mut Lent {
        if lent.as_ref().is_some_and(|lent| lent.epoch() != epoch) {
            *lent = None;
        }
        lent.get_or_insert_with(|| self.begin(epoch))
    }

    fn begin(&self, epoch: u64) -> Lent {
        let found = locked(&self.found).take().or_else(|| self.limits_now());
        Lent::new(found.unwrap_or_default(), epoch, self.clock.now())
    }

    /// All limits of now; none where they are not known yet.
    fn limits_now(&self) -> Option<Found> {
        (self.limits)("")?;
        let mut found = Vec::new();
        for namespace in (self.namespaces)() {
            let of = (self.limits)(&namespace).unwrap_or_default().into_iter();
            found.extend(of.map(|limit| ((namespace.clone(), limit.of), limit.whole)));
        }
        Some(found)
    }
}

/// The limits that a namespace's sidecars share, as it is now.
pub fn of_namespace(store: &Store, namespace: &str) -> Vec<SharedLimit> {
    let mut limits = Vec::new();
    for provider in store.providers(namespace) {
        limits.extend(of_provider(&provider.name_any(), &provider.spec));
    }
    for route in store.routes(namespace) {
        limits.extend(of_route(&route.name_any(), &route.spec));
    }
    for policy in store.policies(namespace).unwrap_or_default() {
        limits.extend(of_policy(&policy.name_any(), &policy.spec));
    }
    limits
}

/// The limits of a ModelRoute that sidecars share.
pub(crate) fn of_route(name: &str, spec: &ModelRouteSpec) -> Vec<SharedLimit> {
    Limit::shared_of_route(name, &spec.limits)
}

/// The limits of a UsagePolicy that sidecars share.
pub(crate) fn of_policy(name: &str, spec: &UsagePolicySpec) -> Vec<SharedLimit> {
    Limit::shared_of_policy(name, &spec.limits)
}

/// The limits of a ProviderConfig that sidecars share.
pub(crate) fn of_provider(name: &str, spec: &ProviderConfigSpec) -> Vec<SharedLimit> {
    let of = &spec.rate_limits;
    if of.scope != LimitScope::Fleet {
        return Vec::new();
    }
    [
        (Which::Requests, of.requests_per_minute.map(u64::from)),
        (Which::Tokens, of.tokens_per_minute.map(u64::from)),
        (Which::Concurrency, of.concurrent_requests.map(u64::from)),
    ]
    .into_iter()
    .filter_map(|(which, amount)| {
        Some(SharedLimit {
            of: LimitKey::of_provider(name, which),
            whole: amount?,
            is_apart: false,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests;
