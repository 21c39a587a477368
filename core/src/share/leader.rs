//! What one leader lends: each limit's shares, and what it knows of limits that no leader before it can have lent.
//!
//! A new leader takes a limit for lent until nothing of before is good any more. Not so one that it is the first to tell sidecars of:
//!
//! - a sidecar asks only for shares of limits that its config has, and configs are written by who leads, each in the place of one that it
//!   names: nothing was written in between;
//! - so what the first config that this leader replaces does not have was lent by nobody while that config was in service, which was
//!   for longer than a lease: [`SETTLED`].
//!
//! No clock of two machines is compared to the second, and where any of it is in doubt, the limit is not new. A limit that goes is
//! remembered for a while: who has not heard of it may use its share or floor on.
//!
//! A limit may be lent to groups of sidecars apart, each of which has it whole. What is known of the limit holds for each of its counts; one that
//! turns from the one to the other is taken for lent until what was lent before is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::allocator::Allocator;
use super::over;
use crate::clock::Moment;

/// For how long a config must have been in service that nothing of an earlier one is good any more: a [`LEASE`](super::LEASE), and by how much the
/// clocks of two operators may differ, which is as much again.
pub const SETTLED: Duration = Duration::from_mins(2);

/// A limit that is no more is remembered for so long, and with it who may use something of it on without having heard: it may come again.
pub const REMEMBERED: Duration = Duration::from_hours(1);

/// The shares that one leader lends. `L` names a limit, `K` a sidecar.
#[derive(Clone, Debug)]
pub struct Leader<L, K> {
    epoch: u64,
    began: Moment,
    /// Limits that there were before anybody could know that it leads.
    inherited: BTreeSet<L>,
    /// Of each config that it has written, by name, the limits of what it replaced first; none where they may have been others a lease
    /// before.
    replaced: BTreeMap<String, Option<BTreeSet<L>>>,
    limits: BTreeMap<L, Lent<L, K>>,
    /// Of each limit that is lent to groups apart, how many of these have a count; nearly, between two ticks.
    groups: BTreeMap<L, usize>,
}

#[derive(Clone, Debug)]
struct Lent<L, K> {
    allocator: Allocator<K>,
    /// The limit of which this is the count of a group.
    group_of: Option<L>,
    /// No leader before can have lent of it.
    is_new: bool,
    /// It is lent to groups.
    is_apart: bool,
    /// When it was, from one that all had together; of a group's count, which of these it heeds.
    turned: Option<Moment>,
    /// Since when there is no such limit any more.
    gone: Option<Moment>,
}

impl<L, K> Lent<L, K> {
    fn new(allocator: Allocator<K>) -> Self {
        Self {
            allocator,
            group_of: None,
            is_new: false,
            is_apart: false,
            turned: None,
            gone: None,
        }
    }
}

impl<L: Ord + Clone, K: Ord + Clone> Leader<L, K> {
    /// A leader begins at `now` with the number `epoch`, and found these limits before it asked to lead.
    pub fn new(limits: impl IntoIterator<Item = (L, u64)>, epoch: u64, now: Moment) -> Self {
        let lent = |whole| Lent::new(Allocator::new(whole, epoch, now));
        let limits: BTreeMap<L, Lent<L, K>> = limits.into_iter().map(|(limit, whole)| (limit, lent(whole))).collect();
        Self {
            epoch,
            began: now,
            inherited: limits.keys().cloned().collect(),
            replaced: BTreeMap::new(),
            limits,
            groups: BTreeMap::new(),
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
        if now >= over(self.began) {
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
            let epoch = self.epoch;
            let lent = self.limits.entry(limit);
            let lent = lent.or_insert_with(|| Lent::new(Allocator::of_a_new_limit(whole, epoch, now)));
            // A sidecar may have asked before the write was answered.
            lent.allocator.nobody_lent_before();
            lent.is_new = true;
        }
    }

    /// The shares of a limit of which there is so much, that all sidecars have together.
    pub fn of(&mut self, limit: &L, whole: u64, now: Moment) -> &mut Allocator<K> {
        let has_groups = self.groups.contains_key(limit);
        let lent = self.there(limit, whole);
        if std::mem::take(&mut lent.is_apart) && has_groups {
            // It was lent to groups until now, and what they were lent is good for as long as it is.
            lent.allocator.somebody_lent_besides(now);
        }
        &mut lent.allocator
    }

    /// The shares that one group of sidecars has of a limit which it has whole: `group` names that count, and may be the limit's own. None: there
    /// are `most` of them already.
    pub fn of_group(
        &mut self,
        limit: &L,
        group: &L,
        (whole, most): (u64, usize),
        now: Moment,
    ) -> Option<&mut Allocator<K>> {
        // What is known of the limit is known of all its counts.
        let lent = self.there(limit, whole);
        if !std::mem::replace(&mut lent.is_apart, true) && lent.allocator.pods().next().is_some() {
            lent.turned = Some(now);
        }
        let (is_new, turned) = (lent.is_new, lent.turned);
        let turned = turned.filter(|turned| now < over(*turned));
        if group == limit {
            return Some(&mut self.there(limit, whole).allocator);
        }
        let is_known = self.limits.contains_key(group);
        if !is_known {
            let groups = self.groups.entry(limit.clone()).or_insert(0);
            if *groups >= most {
                return None;
            }
            *groups += 1;
        }
        let lent = self.there(group, whole);
        lent.group_of = Some(limit.clone());
        match turned {
            // All had it together until then, and may hold what they were lent.
            Some(at) if lent.turned != turned => {
                lent.turned = turned;
                lent.allocator.somebody_lent_besides(at);
            }
            None if is_new => lent.allocator.nobody_lent_before(),
            _ => {}
        }
        Some(&mut lent.allocator)
    }

    fn there(&mut self, limit: &L, whole: u64) -> &mut Lent<L, K> {
        let (epoch, began) = (self.epoch, self.began);
        let lent = self.limits.entry(limit.clone());
        let lent = lent.or_insert_with(|| Lent::new(Allocator::new(whole, epoch, began)));
        lent.gone = None;
        lent.allocator.reconfigure(whole);
        lent
    }

    /// Takes back what is over at `now`, and forgets limits that are no more, and groups of which no sidecar is left.
    pub fn tick(&mut self, mut is_there: impl FnMut(&L) -> bool, now: Moment) {
        self.groups.clear();
        let groups = &mut self.groups;
        self.limits.retain(|limit, lent| {
            lent.allocator.tick(now);
            if lent.group_of.is_some() && lent.allocator.is_unused() {
                return false;
            }
            if is_there(limit) {
                lent.gone = None;
            } else if now.saturating_since(*lent.gone.get_or_insert(now)) >= REMEMBERED {
                return false;
            }
            if let Some(of) = &lent.group_of {
                *groups.entry(of.clone()).or_insert(0) += 1;
            }
            true
        });
    }

    /// The pod is no more, which had to do with limits from `first` on, for as long as they are `of` those.
    pub fn gone(&mut self, pod: &K, first: &L, of: impl Fn(&L) -> bool) {
        for (_, lent) in self
            .limits
            .range_mut::<L, _>(first..)
            .take_while(|(limit, _)| of(limit))
        {
            lent.allocator.gone(pod);
        }
    }

    /// Pods that are none of these are no more.
    pub fn keep_only(&mut self, is_there: impl Fn(&K) -> bool) {
        for lent in self.limits.values_mut() {
            let gone: Vec<K> = lent.allocator.pods().filter(|pod| !is_there(pod)).cloned().collect();
            for pod in gone {
                lent.allocator.gone(&pod);
            }
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
