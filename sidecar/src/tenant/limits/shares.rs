//! Named limits that all sidecars of the namespace share (`scope: Fleet`): this one's parts in each, asked for, granted, and brought
//! to the counts.

use std::collections::HashMap;
use std::sync::Arc;

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Borrowers, Limit};
use bowsprit_core::limits::limiter::{Need, Shares};
use bowsprit_core::limits::set::Set;
use bowsprit_core::share::parts::{Load, Parts, Seen};
use bowsprit_core::stream::shares::{LimitKey, WireAsk, WireGrant};
use tokio::sync::Notify;

/// What the pod is, where limits are lent to pods apart by that.
#[derive(Clone, Debug, Default)]
pub struct Borrower {
    /// Its name: whose workload or service account nobody knows borrows alone.
    pub pod: String,
    /// What it runs for, such as `Deployment/checkout`.
    pub workload: Option<String>,
    /// The service account that it runs as.
    pub service_account: Option<String>,
}

impl Borrower {
    /// Of which group it borrows this limit; empty where all have it together.
    fn group(&self, limit: &Limit) -> &str {
        let known = match limit.borrowers {
            Borrowers::All => return "",
            Borrowers::Workload => &self.workload,
            Borrowers::ServiceAccount => &self.service_account,
        };
        known.as_ref().unwrap_or(&self.pod)
    }
}

/// By the limit's full name. Its lock is taken before that of the set.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) borrower: Borrower,
    limits: HashMap<Arc<str>, Borrowed>,
}

struct Borrowed {
    parts: Parts,
    group: String,
}

impl Shared {
    /// Takes the limits of a configuration, and keeps what is held of those that stay.
    pub(super) fn reconfigure(&mut self, all: &[Arc<Limit>], now: Moment) {
        let Self { borrower, limits } = self;
        // What was lent to a group is not lent to another.
        let is_kept = |name: &Arc<str>, of: &Borrowed| {
            let is_it = |limit: &&Arc<Limit>| limit.is_shared && limit.full_name == *name;
            all.iter()
                .find(is_it)
                .is_some_and(|limit| borrower.group(limit) == of.group)
        };
        limits.retain(|name, of| is_kept(name, of));
        for limit in all.iter().filter(|limit| limit.is_shared) {
            let Borrowed { parts, .. } = limits.entry(Arc::clone(&limit.full_name)).or_insert_with(|| Borrowed {
                parts: Parts::new(fastrand::u32(..), now),
                group: borrower.group(limit).to_owned(),
            });
            parts.reconfigure(limit.settings, now);
            parts.fit(now);
        }
    }

    /// What this sidecar has of a limit; `None` where it is its own.
    pub(super) fn of(&self, limit: &Limit) -> Option<Shares> {
        self.limits.get(&limit.full_name).map(|of| of.parts.shares())
    }

    /// Each part in a limit.
    pub(super) fn seen(&mut self, name: &str, set: &Set<Arc<Notify>>, now: Moment) -> Vec<Seen> {
        let of = self.limits.get_mut(name);
        of.map_or_else(Vec::new, |of| of.parts.seen(load(set, name), now))
    }

    /// A request that may use so much came, to be admitted under these or not: what is asked for goes by it.
    pub(super) fn came<'a>(&mut self, names: impl Iterator<Item = &'a Arc<str>>, need: Need, set: &Set<Arc<Notify>>) {
        for name in names {
            if let Some(of) = self.limits.get_mut(name) {
                of.parts.came(need, load(set, name));
            }
        }
    }

    /// Brings the counts of these to the shares, where one is over.
    pub(super) fn fit<'a>(
        &mut self,
        names: impl Iterator<Item = &'a Arc<str>>,
        set: &mut Set<Arc<Notify>>,
        now: Moment,
    ) {
        for name in names {
            if let Some(of) = self.limits.get_mut(name) {
                fit(name, &mut of.parts, set, now);
            }
        }
    }

    /// What is to be asked of the operator now. `anew`: the stream has just been opened.
    pub(super) fn asks(&mut self, anew: bool, set: &mut Set<Arc<Notify>>, now: Moment) -> Vec<WireAsk> {
        let mut asks = Vec::new();
        for (name, Borrowed { parts, group }) in &mut self.limits {
            fit(name, parts, set, now);
            let asked = parts.asks(anew, load(set, name), now).into_iter();
            asks.extend(asked.map(|(which, ask)| WireAsk::new(LimitKey::of_limit(name, which).apart(group), &ask)));
        }
        asks
    }

    /// The operator has granted a share of one of them.
    pub(super) fn granted(&mut self, grant: &WireGrant, set: &mut Set<Arc<Notify>>, now: Moment) {
        let name = grant.of.name.as_str();
        let Some(Borrowed { parts, .. }) = self.limits.get_mut(name) else {
            return;
        };
        if parts.granted(&grant.of.limit, &grant.grant(), now) {
            fit(name, parts, set, now);
        }
    }
}

fn fit(name: &str, parts: &mut Parts, set: &mut Set<Arc<Notify>>, now: Moment) {
    let Some(over) = parts.fit(now) else {
        return;
    };
    set.share(name, parts.whole(), parts.shares(), now, |next| next.notify_one());
    for which in over {
        tracing::warn!(
            limit = name,
            of = which.field(),
            "no word from the operator: the share of this limit is over, what is left is the floor"
        );
    }
}

fn load(set: &Set<Arc<Notify>>, name: &str) -> Load {
    let (in_flight, waiting) = set.load(name);
    Load {
        in_flight: in_flight.into(),
        waiting: waiting as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bowsprit_core::config::{Config, Scope, load};
    use bowsprit_core::cost::Picodollars;
    use bowsprit_core::limits::limiter::Which;
    use bowsprit_core::limits::set::Who;
    use bowsprit_core::queue::Class;
    use bowsprit_core::share::allocator::Allocator;

    use super::*;
    use crate::credentials::KeyFiles;
    use crate::metrics::Registry;
    use crate::net::client::Connections;
    use crate::store::Stores;
    use crate::tenant::limits::{Guard, LimitMetrics, Limits, Said, Under};
    use crate::time::Clock;

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    fn config(limits: &str) -> Config {
        let text = format!(
            "apiVersion: bowsprit.dev/v1alpha1\nkind: UsagePolicy\nmetadata: {{name: all}}\nspec: {{limits: [{limits}]}}\n"
        );
        let scope = Scope::Cluster {
            pod_labels: std::collections::BTreeMap::new(),
        };
        load(&text, &scope).unwrap()
    }

    fn unlimited() -> Arc<Limits> {
        let connections = Arc::new(Connections::new(None, &Arc::default()));
        let stores = Stores::new("", Arc::new(KeyFiles::new(None)), connections, 0);
        Limits::new(stores, LimitMetrics::register(&mut Registry::default()))
    }

    /// A sidecar with these limits, and a request that is under all of them.
    fn sidecar(limits: &str) -> (Arc<Limits>, Vec<Under>) {
        let sidecar = unlimited();
        let config = config(limits);
        sidecar.fit(&config, at(0));
        let under = config.limits().map(Under::whole).collect();
        (sidecar, under)
    }

    /// Lends to all of them, until nobody asks for more than was lent.
    fn lend(leader: &mut Allocator<usize>, sidecars: &[&Arc<Limits>], which: Which, now: Moment) {
        for (pod, sidecar) in sidecars.iter().enumerate() {
            for ask in sidecar.asks(true, now) {
                if ask.of == LimitKey::of_limit("policy/all/a", which) {
                    let grant = leader.hear(&pod, &ask.ask(), now).unwrap();
                    sidecar.granted(&WireGrant::new(ask.of, &grant), now);
                }
            }
        }
    }

    fn places(sidecar: &Arc<Limits>, under: &[Under], clock: Clock) -> Vec<Guard> {
        let ask = || {
            sidecar.came(under, Need::new(10, 0, Picodollars::default()));
            sidecar
                .take(
                    under,
                    Need::new(10, 0, Picodollars::default()),
                    clock,
                    Who::Comes(Class::Interactive),
                    Said::default(),
                )
                .ok()
        };
        std::iter::from_fn(ask).take(100).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn two_sidecars_have_the_places_of_a_named_limit_together() {
        let clock = Clock::start();
        let limit = "{name: a, concurrentRequests: 6, scope: Fleet, per: Namespace}";
        let ((one, under), (two, _)) = (sidecar(limit), sidecar(limit));
        assert!(places(&one, &under, clock).is_empty(), "nothing is lent yet");
        let mut leader = Allocator::of_a_new_limit(6, 1, clock.now());
        leader.expect(2);
        let mut held = Vec::new();
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(1)).await;
            lend(&mut leader, &[&one, &two], Which::Concurrency, clock.now());
            held.extend(
                [places(&one, &under, clock), places(&two, &under, clock)]
                    .into_iter()
                    .flatten(),
            );
        }
        assert_eq!(held.len(), 6, "all of the limit, and no more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_pod_is_says_of_which_count_it_borrows_and_who_does_not_know_borrows_alone() {
        let clock = Clock::start();
        let pod = |workload: Option<&str>| Borrower {
            pod: "shop-1".into(),
            workload: workload.map(Into::into),
            service_account: Some("robot".into()),
        };
        for (per, borrower, group) in [
            ("Workload", pod(Some("Deployment/shop")), "Deployment/shop"),
            ("Workload", pod(None), "shop-1"),
            ("ServiceAccount", pod(None), "robot"),
            ("Namespace", pod(Some("Deployment/shop")), ""),
        ] {
            let limit = format!("{{name: a, requestsPerMinute: 600, scope: Fleet, per: {per}}}");
            let sidecar = unlimited();
            sidecar.belong_to(borrower);
            sidecar.fit(&config(&limit), clock.now());
            let asks = sidecar.asks(true, clock.now());
            assert_eq!(asks[0].of.apart, group, "{per}");
            // A grant is brought to the limit by its name.
            let mut leader = Allocator::of_a_new_limit(600, 1, clock.now());
            let grant = leader.hear(&0, &asks[0].ask(), clock.now()).unwrap();
            sidecar.granted(&WireGrant::new(asks[0].of.clone(), &grant), clock.now());
            assert!(!sidecar.report(clock.now())[0].is_without_share, "{per}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_held_up_by_its_own_limit_takes_nothing_of_what_is_shared_and_a_share_that_is_over_falls_to_the_floor()
     {
        let clock = Clock::start();
        let both = "{name: a, requestsPerMinute: 600, scope: Fleet}, {name: b, concurrentRequests: 1}";
        let (one, under) = sidecar(both);
        let mut leader = Allocator::of_a_new_limit(600, 1, clock.now());
        leader.expect(10);
        lend(&mut leader, &[&one], Which::Requests, clock.now());
        let held = places(&one, &under, clock);
        assert_eq!(held.len(), 1, "the other limit has one place");
        let left = |limits: &Limits| {
            limits
                .report(clock.now())
                .iter()
                .map(|it| it.left.clone())
                .next()
                .unwrap()
        };
        let before = left(&one);
        assert!(places(&one, &under, clock).is_empty());
        assert_eq!(left(&one), before, "all or none");
        let of_a = |report: &[super::super::LimitReport]| report[0].shares.clone();
        assert!(!one.report(clock.now())[0].is_without_share);
        tokio::time::advance(Duration::from_secs(61)).await;
        drop(held);
        assert_eq!(places(&one, &under, clock).len(), 1);
        let report = one.report(clock.now());
        assert!(report[0].is_without_share, "{:?}", of_a(&report));
        assert!(
            of_a(&report)["requestsPerMinute"] <= 60,
            "a tenth of the limit: {:?}",
            of_a(&report)
        );
    }
}
