//! Labelled counters whose number is bounded whatever traffic does.
//!
//! Labels only take values from closed lists and from the configuration, but their combinations are many: ten providers
//! that fail in twenty ways are two hundred series. So what is certain to be used is made for good ([`Series::fixed`]),
//! and what happens seldom draws on one pool for the whole process ([`Series::get`]). When the pool is used up, what is
//! new is counted under `other`: sums stay right, and the log has the detail.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::sync::locked;

/// The label value of a model that no ProviderConfig lists, and of what has no series of its own for want of room.
pub const OTHER: &str = "other";

/// A sum of seconds.
pub type Seconds = Counter<f64, AtomicU64>;
/// Labelled counters.
pub type Counters<L> = Series<L, Counter>;

/// The labels of a bounded family.
pub trait Labels: EncodeLabelSet + Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static {
    /// The ProviderConfig among them.
    fn provider(&self) -> Option<&str>;
    /// What is counted instead when there is no room: names and codes become `other`. There must be few of these.
    #[must_use]
    fn folded(&self) -> Self;
}

/// How many more series may be made.
#[derive(Debug, Default)]
pub(super) struct Pool {
    made: AtomicUsize,
    capacity: AtomicUsize,
    folded: Counter,
}

impl Pool {
    /// So many are allowed from now on. Those already made stay.
    pub(super) fn allow(&self, capacity: usize) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    /// How often something was counted under `other` for want of room.
    pub(super) fn folded(&self) -> Counter {
        self.folded.clone()
    }

    fn take(&self) -> bool {
        let capacity = self.capacity.load(Ordering::Relaxed);
        self.made
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |made| {
                (made < capacity).then_some(made + 1)
            })
            .is_ok()
    }

    fn give_back(&self) {
        let _ = self
            .made
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |made| made.checked_sub(1));
    }
}

/// A bounded family.
#[derive(Debug)]
pub struct Series<L, M> {
    family: Family<L, M>,
    /// Each series, and whether it draws on the pool.
    made: Arc<Mutex<HashMap<L, bool>>>,
    pool: Arc<Pool>,
}

impl<L, M> Clone for Series<L, M> {
    fn clone(&self) -> Self {
        Self {
            family: self.family.clone(),
            made: Arc::clone(&self.made),
            pool: Arc::clone(&self.pool),
        }
    }
}

impl<L: Labels, M: Clone + Default> Series<L, M> {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self {
            family: Family::default(),
            made: Arc::default(),
            pool,
        }
    }

    pub(super) fn family(&self) -> Family<L, M> {
        self.family.clone()
    }

    /// A series of its own, outside the pool: for labels that the configuration alone multiplies.
    pub fn fixed(&self, labels: &L) -> M {
        self.make(labels, |_| Some(false))
    }

    /// A series of its own while there is room, else the one that it is folded into.
    pub fn get(&self, labels: &L) -> M {
        if let Some(known) = self.family.get(labels) {
            return known.clone();
        }
        self.make(labels, |pool| pool.take().then_some(true))
    }

    fn make(&self, labels: &L, room: impl FnOnce(&Pool) -> Option<bool>) -> M {
        let mut made = locked(&self.made);
        if !made.contains_key(labels) {
            let Some(pooled) = room(&self.pool) else {
                self.pool.folded.inc();
                let folded = labels.folded();
                made.entry(folded.clone()).or_insert(false);
                return self.family.get_or_create_owned(&folded);
            };
            made.insert(labels.clone(), pooled);
        }
        self.family.get_or_create_owned(labels)
    }

    /// Takes away the series of providers that are not kept.
    pub fn retain(&self, keep: &dyn Fn(&str) -> bool) {
        let mut made = locked(&self.made);
        made.retain(|labels, pooled| {
            let kept = labels.provider().is_none_or(|name| name == OTHER || keep(name));
            if !kept {
                self.family.remove(labels);
                if *pooled {
                    self.pool.give_back();
                }
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ProviderLabel;

    fn of(name: &str) -> ProviderLabel {
        ProviderLabel { provider: name.into() }
    }

    #[test]
    fn what_does_not_fit_is_counted_under_other_and_nothing_is_lost() {
        let pool = Arc::new(Pool::default());
        pool.allow(2);
        let family: Counters<ProviderLabel> = Series::new(Arc::clone(&pool));
        family.fixed(&of("always")).inc();
        for name in ["a", "b", "c", "d", "a"] {
            family.get(&of(name)).inc();
        }
        assert_eq!(family.get(&of("a")).get(), 2);
        assert_eq!(family.get(&of("other")).get(), 2, "c and d");
        assert_eq!(family.get(&of("always")).get(), 1);
        assert_eq!(family.made.lock().unwrap().len(), 4);
        assert_eq!(pool.folded.get(), 2);
    }

    #[test]
    fn a_provider_that_is_configured_no_more_leaves_no_series_and_makes_room() {
        let pool = Arc::new(Pool::default());
        pool.allow(1);
        let family: Counters<ProviderLabel> = Series::new(Arc::clone(&pool));
        for round in 0..100 {
            let name = format!("provider-{round}");
            family.get(&of(&name)).inc();
            assert_eq!(family.get(&of(&name)).get(), 1, "there is room again");
            family.retain(&|_| false);
        }
        assert_eq!(family.made.lock().unwrap().len(), 0);
    }
}
