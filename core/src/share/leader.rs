//! What one leader lends: each limit's shares, and what it knows of limits that no leader before it can have lent.
//!
//! A new leader takes a limit for lent until nothing of before is good any more. Not so one that it is the first to tell sidecars of:
//!
//! - a sidecar asks only for shares of limits that its config has, and configs are written by who leads, each in the place of one that it
//!   names: nothing was written in between;
//! - so what the first config that this leader replaces does not have was lent by nobody while that config was in service, which was
//!   for longer than a lease: [`SETTLED`].
//!
//! No clock of two machines is compared to the second, nothing depends on how far a watch is behind, and where any of it is in doubt, the
//! limit is not new. A limit that goes is remembered for a while: who has not heard of it may use its share or floor on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::allocator::Allocator;
use super::{LEASE, SKEW};
use crate::clock::Moment;

/// For how long a config must have been in service that nothing of an earlier one is good any more: a [`LEASE`], and by how much the
/// clocks of two operators may differ, which is as much again.
pub const SETTLED: Duration = Duration::from_mins(2);

/// A limit that is no more is remembered for so long, and with it who may use something of it on without having heard: it may come again.
pub const REMEMBERED: Duration = Duration::from_hours(1);

/// The shares that one leader lends. `L` names a limit, `K` a sidecar.
#[derive(Clone, Debug)]
pub struct Leader<L, K> {
    epoch: u64,
    began: Moment,
    /// Limits that there were when it began.
    inherited: BTreeSet<L>,
    /// Of each config that it has written, by name, the limits of what it replaced first; none where they may have been others a lease
    /// before.
    replaced: BTreeMap<String, Option<BTreeSet<L>>>,
    limits: BTreeMap<L, Lent<K>>,
}

#[derive(Clone, Debug)]
struct Lent<K> {
    allocator: Allocator<K>,
    /// No leader before can have lent of it.
    is_new: bool,
    /// Since when there is no such limit any more.
    gone: Option<Moment>,
}

impl<L: Ord + Clone, K: Ord + Clone> Leader<L, K> {
    /// A leader begins at `now` with the number `epoch`, and finds these limits.
    pub fn new(limits: impl IntoIterator<Item = (L, u64)>, epoch: u64, now: Moment) -> Self {
        let lent = |whole| Lent {
            allocator: Allocator::new(whole, epoch, now),
            is_new: false,
            gone: None,
        };
        let limits: BTreeMap<L, Lent<K>> = limits.into_iter().map(|(limit, whole)| (limit, lent(whole))).collect();
        Self {
            epoch,
            began: now,
            inherited: limits.keys().cloned().collect(),
            replaced: BTreeMap::new(),
            limits,
        }
    }

    /// The number of its leadership.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// It wrote the config `name` with these limits, each with its amount. `replaced`: the limits of what was there before; none where
    /// those cannot be told, or that was there for less than [`SETTLED`].
    pub fn wrote(
        &mut self,
        name: &str,
        replaced: Option<impl IntoIterator<Item = L>>,
        written: impl IntoIterator<Item = (L, u64)>,
        now: Moment,
    ) {
        if now >= self.began + LEASE + LEASE / SKEW {
            // Whatever was lent before is over.
            self.replaced.clear();
            return;
        }
        let replaced = replaced.map(|limits| limits.into_iter().collect());
        let Some(replaced) = &*self.replaced.entry(name.to_owned()).or_insert(replaced) else {
            return;
        };
        for (limit, whole) in written {
            if replaced.contains(&limit) || self.inherited.contains(&limit) {
                continue;
            }
            let lent = self.limits.entry(limit).or_insert_with(|| Lent {
                allocator: Allocator::of_a_new_limit(whole, self.epoch, now),
                is_new: true,
                gone: None,
            });
            // A sidecar may have asked before the write was answered.
            lent.allocator.nobody_lent_before();
            lent.is_new = true;
        }
    }

    /// The shares of a limit of which there is so much.
    pub fn of(&mut self, limit: &L, whole: u64) -> &mut Allocator<K> {
        let (epoch, began) = (self.epoch, self.began);
        let lent = self.limits.entry(limit.clone()).or_insert_with(|| Lent {
            allocator: Allocator::new(whole, epoch, began),
            is_new: false,
            gone: None,
        });
        lent.gone = None;
        lent.allocator.reconfigure(whole);
        &mut lent.allocator
    }

    /// The shares that one group of sidecars has of a limit which it has whole: `group` names that count.
    pub fn of_group(&mut self, limit: &L, group: &L, whole: u64) -> &mut Allocator<K> {
        // What is known of the limit is known of all its counts.
        self.of(limit, whole);
        let is_new = self.limits.get(limit).is_some_and(|lent| lent.is_new);
        let allocator = self.of(group, whole);
        if is_new {
            allocator.nobody_lent_before();
        }
        allocator
    }

    /// Whether there is such a count.
    pub fn has(&self, limit: &L) -> bool {
        self.limits.contains_key(limit)
    }

    /// How many counts there are of these.
    pub fn count(&self, is_it: impl Fn(&L) -> bool) -> usize {
        self.limits.keys().filter(|limit| is_it(limit)).count()
    }

    /// Forgets those counts at once.
    pub fn forget(&mut self, which: impl Fn(&L, &Allocator<K>) -> bool) {
        self.limits.retain(|limit, lent| !which(limit, &lent.allocator));
    }

    /// Takes back what is over at `now`, and forgets limits that are no more.
    pub fn tick(&mut self, mut is_there: impl FnMut(&L) -> bool, now: Moment) {
        self.limits.retain(|limit, lent| {
            lent.allocator.tick(now);
            if is_there(limit) {
                lent.gone = None;
                return true;
            }
            now.saturating_since(*lent.gone.get_or_insert(now)) < REMEMBERED
        });
    }

    /// The pod is no more.
    pub fn gone(&mut self, pod: &K, of: impl Fn(&L) -> bool) {
        for (_, lent) in self.limits.iter_mut().filter(|(limit, _)| of(limit)) {
            lent.allocator.gone(pod);
        }
    }

    /// The limits that there are.
    pub fn each(&mut self) -> impl Iterator<Item = (&L, &mut Allocator<K>)> {
        let there = self.limits.iter_mut().filter(|(_, lent)| lent.gone.is_none());
        there.map(|(limit, lent)| (limit, &mut lent.allocator))
    }
}

#[cfg(test)]
mod tests;
