//! The leader's part: who has how much of one limit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{ASKS_A_SECOND, Ask, Grant, LEASE, RENEW, over, pace};
use crate::clock::Moment;

/// From one plan to the next.
const PLAN_EVERY: Duration = Duration::from_millis(500);
/// More than is wanted is lent out, so that demand may grow by this part of it before the next ask: a quarter.
const GROWTH: u64 = 4;
/// And by this part where more is wanted than there is: what one may grow into, another goes without.
const GROWTH_WHERE_SHORT: u64 = 32;
/// Part of the limit that those who want nothing share all the same, so that their next request need not wait for a grant: a
/// hundredth.
const SPARE: u64 = 100;

/// Who has not asked for so long beyond its pace may be cut off: nothing is pushed to it.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// From one look for whom there is something to push to the next, for each sidecar: it looks at all of them.
const LOOK_FOR_EACH: Duration = Duration::from_micros(20);
/// What differs from what was told last by no more than this part of it, or of an even share, is not worth a message: a thirty-second.
const WORTH_TELLING: u64 = 32;

/// One sidecar, as the leader knows it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The most that it may use, as far as this leader knows.
    counted: u64,
    /// Until when its share may be good; then it is counted with its floor.
    until: Moment,
    is_over: bool,
    /// Its pod is no more.
    is_gone: bool,
    floor: u64,
    want: u64,
    target: u64,
    /// What it was told last: in answer to which ask, when that was heard, and which share and floor.
    told: Option<Told>,
}

/// The answer to a sidecar's latest ask.
#[derive(Clone, Copy, Debug)]
struct Told {
    number: u64,
    heard: Moment,
    share: u64,
    floor: u64,
}

/// What a limit's shares come to, for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The limit.
    pub whole: u64,
    /// Lent out, floors of those who are silent with it.
    pub lent: u64,
    /// May still be held of what a leader of before has lent.
    pub unknown: u64,
    /// What all of them want.
    pub wanted: u64,
    /// Sidecars that are counted.
    pub pods: u64,
    /// Of these, those whose share is over without a word: they are on their floor.
    pub silent: u64,
}

/// One limit and its sidecars, `K` by name.
#[derive(Clone, Debug)]
pub struct Allocator<K> {
    whole: u64,
    epoch: u64,
    /// When all that a leader of before has lent is over.
    known_from: Moment,
    /// When a sidecar asked first.
    asked_first: Option<Moment>,
    unknown: u64,
    pods: BTreeMap<K, Entry>,
    /// In the order in which shares are over.
    ends: BTreeSet<(Moment, K)>,
    /// The sum of what is counted.
    counted: u64,
    /// Sidecars that there are by another count.
    expected: u64,
    plan: Plan,
    pushes: Pushes,
}

/// What bounds grants that nobody has just asked for.
#[derive(Clone, Copy, Debug)]
struct Pushes {
    /// When it was looked last for whom there is something.
    looked: Moment,
    /// How many may be sent.
    left: u64,
}

impl Pushes {
    /// Whether it is time to look at so many sidecars, which earns what may be sent: no more a second than asks come.
    fn are_due(&mut self, pods: usize, now: Moment) -> bool {
        let passed = now.saturating_since(self.looked);
        if passed < LOOK_FOR_EACH.saturating_mul(u32::try_from(pods).unwrap_or(u32::MAX)) {
            return false;
        }
        let earned = passed.as_millis().saturating_mul(ASKS_A_SECOND.into()) / 1_000;
        let earned = u64::try_from(earned).unwrap_or(u64::MAX).max(1);
        self.left = self.left.saturating_add(earned).min(ASKS_A_SECOND / 4);
        self.looked = now;
        true
    }

    fn may_send(&mut self) -> bool {
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// Who should have how much.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    at: Option<Moment>,
    /// What there was to plan.
    free: u64,
    /// What nobody is planned more than who wants more.
    level: u64,
    /// More is wanted than there is.
    is_short: bool,
}

impl<K: Ord + Clone> Allocator<K> {
    /// A leader begins at `now` with the number `epoch`, and knows of nobody.
    pub fn new(whole: u64, epoch: u64, now: Moment) -> Self {
        Self {
            whole,
            epoch,
            known_from: over(now),
            asked_first: None,
            unknown: whole,
            pods: BTreeMap::new(),
            ends: BTreeSet::new(),
            counted: 0,
            expected: 0,
            plan: Plan::default(),
            pushes: Pushes { looked: now, left: 0 },
        }
    }

    /// The limit that this leader is the first to know of: nobody can hold anything of it.
    pub fn of_a_new_limit(whole: u64, epoch: u64, now: Moment) -> Self {
        Self {
            unknown: 0,
            ..Self::new(whole, epoch, now)
        }
    }

    /// It turns out that no leader before can have lent of it: only what this one has lent is held.
    pub fn nobody_lent_before(&mut self) {
        if self.unknown > 0 {
            self.unknown = 0;
            self.plan.at = None;
        }
    }

    /// It turns out at `now` that somebody may hold something of it for as long as a share is good, by another count.
    pub fn somebody_lent_besides(&mut self, now: Moment) {
        self.unknown = self.whole;
        self.known_from = over(now);
        self.plan.at = None;
    }

    /// Whether at `now` all have asked who may hold something of it: nothing of before is out, and a lease has passed since the first of
    /// those asked who share it now.
    pub fn has_heard_all(&self, now: Moment) -> bool {
        now >= self.known_from && self.asked_first.is_some_and(|first| now >= over(first))
    }

    /// Whether nobody has to do with it, and nothing of a leader before is out.
    pub fn is_unused(&self) -> bool {
        self.pods.is_empty() && self.unknown == 0
    }

    /// The limit is another now. Where it is lower, shares shrink as they are renewed.
    pub fn reconfigure(&mut self, whole: u64) {
        if self.whole != whole {
            // What a leader of before has lent was of the limit as it was, and sidecars scale it down themselves.
            self.unknown = self.unknown.min(whole);
            self.whole = whole;
            self.plan.at = None;
        }
    }

    /// So many sidecars are known to hold a stream: floors and spare parts are made for so many at the least.
    pub fn expect(&mut self, pods: usize) {
        self.expected = pods as u64;
    }

    /// A sidecar asks. The answer is to be sent to it, in this order with other answers. None: it goes on without a share, for the
    /// time in which this leader does not know yet what is free.
    pub fn hear(&mut self, pod: &K, ask: &Ask, now: Moment) -> Option<Grant> {
        self.tick(now);
        self.asked_first.get_or_insert(now);
        let before = self.pods.get(pod).copied();
        let mut held = ask.held.min(self.whole);
        // An ask that a later one has overtaken: what was granted upon that may be held. The next one says.
        if let Some(before) = before
            && before.told.is_some_and(|told| told.number > ask.number)
        {
            held = held.max(before.counted);
        }
        // What the leader of before counted: what it has lent, and what its own sidecars use without.
        let is_known = ask.is_lent || ask.epoch.saturating_add(1) == self.epoch;
        let was_counted = if is_known { ask.uses.min(held) } else { 0 };
        if before.is_none() && !is_known && self.unknown > 0 && held > 0 {
            return None;
        }
        match before {
            Some(before) => {
                self.counted = self.counted.saturating_sub(before.counted);
                self.ends.remove(&(before.until, pod.clone()));
            }
            None => self.unknown = self.unknown.saturating_sub(was_counted),
        }
        self.counted = self.counted.saturating_add(held);
        let mut entry = Entry {
            counted: held,
            until: now + LEASE,
            is_over: false,
            is_gone: false,
            floor: ask.floor,
            want: ask.want,
            target: before.map_or(0, |before| before.target),
            told: None,
        };
        self.pods.insert(pod.clone(), entry);
        self.plan_if_due(now);
        let need = self.needs()(ask.want);
        let taken = self.counted.saturating_add(self.unknown);
        let others = taken.saturating_sub(held);
        let target = match before {
            Some(_) => self.pods.get(pod).map_or(0, |entry| entry.target),
            // Not planned for yet: it goes on with what it has.
            None => need.min(self.plan.level.max(held)),
        };
        // What it uses by a grant of this leader's it may keep until the plan says otherwise; what it has from before may not
        // have been kept back for it, and then the others come first. Nobody rises to its floor before they have come down.
        let is_its_own = ask.epoch == self.epoch && before.is_some();
        let keeps = if is_its_own { ask.uses.min(held) } else { 0 };
        let share = target.min(self.whole.saturating_sub(others).max(keeps));
        entry.counted = held.max(share);
        entry.floor = ask.floor.max(self.whole / self.count());
        entry.target = target;
        self.counted = self.counted.saturating_add(entry.counted - held);
        let floor = self.whole / self.count();
        entry.told = Some(Told {
            number: ask.number,
            heard: now,
            share,
            floor,
        });
        self.ends.insert((entry.until, pod.clone()));
        self.pods.insert(pod.clone(), entry);
        let is_short = self.plan.is_short || share < need;
        let again = if is_short { Duration::ZERO } else { RENEW };
        Some(self.grant(ask.number, share, floor, again))
    }

    /// A grant that answers the ask of this number; the next ask comes after `again`, if that is more than the pace.
    fn grant(&self, number: u64, share: u64, floor: u64, again: Duration) -> Grant {
        let pace = pace(self.pods.len());
        Grant {
            number,
            epoch: self.epoch,
            whole: self.whole,
            share,
            floor,
            lease: LEASE,
            again: again.max(pace),
            pace,
        }
    }

    /// Grants for sidecars that have not just asked: what is free goes to those who have less than is planned for them, and where more is wanted
    /// than there is, who has more is told to come down. To be called after [`Self::hear`] and [`Self::tick`].
    ///
    /// Such a grant answers the sidecar's latest ask once more. So it is taken only while that is the latest, it is good no longer than the
    /// first answer, and the most that was granted upon an ask is counted until the next one says what is held.
    pub fn push(&mut self, now: Moment) -> Vec<(K, Grant)> {
        if !self.pushes.are_due(self.pods.len(), now) {
            return Vec::new();
        }
        self.plan_if_due(now);
        let heard_within = HEARD_WITHIN + pace(self.pods.len());
        let least = self.whole / self.count();
        let worth = |told: u64| told.max(least) / WORTH_TELLING;
        let differing = self.pods.iter().filter_map(|(pod, entry)| {
            let told = entry
                .told
                .filter(|told| now.saturating_since(told.heard) < heard_within)?;
            let differs = entry.target.abs_diff(told.share);
            let is_there = !entry.is_over && !entry.is_gone;
            let matters = self.plan.is_short || entry.target > told.share;
            (is_there && matters && differs > worth(told.share)).then(|| (differs, pod.clone(), told))
        });
        let mut differing: Vec<_> = differing.collect();
        // Where there is most to gain comes first.
        differing.sort_by_key(|(differs, ..)| Reverse(*differs));
        let mut grants = Vec::new();
        for (_, pod, told) in differing {
            let taken = self.counted.saturating_add(self.unknown);
            let Some(entry) = self.pods.get_mut(&pod) else {
                continue;
            };
            // As upon an ask: what it was told it may keep, and it rises only where others leave room.
            let room = self.whole.saturating_sub(taken.saturating_sub(entry.counted));
            let share = entry.target.min(room.max(told.share));
            if share.abs_diff(told.share) <= worth(told.share) {
                continue;
            }
            if !self.pushes.may_send() {
                break;
            }
            self.counted = self.counted.saturating_add(share.saturating_sub(entry.counted));
            entry.counted = entry.counted.max(share);
            entry.told = Some(Told { share, ..told });
            // The limit may have been lowered since it was told.
            grants.push((
                pod,
                self.grant(told.number, share, told.floor.min(least), Duration::ZERO),
            ));
        }
        grants
    }

    /// The pod is no more: what it holds is free once its share is over, and nothing is kept back for it then.
    pub fn gone(&mut self, pod: &K) {
        let Some(entry) = self.pods.get_mut(pod) else {
            return;
        };
        entry.is_gone = true;
        if entry.is_over {
            self.counted = self.counted.saturating_sub(entry.counted);
            self.pods.remove(pod);
        }
    }

    /// The sidecars that this leader counts.
    pub fn pods(&self) -> impl Iterator<Item = &K> {
        self.pods.keys()
    }

    /// What its shares come to.
    pub fn totals(&self) -> Totals {
        let entries = || self.pods.values();
        Totals {
            whole: self.whole,
            lent: self.counted,
            unknown: self.unknown,
            wanted: entries()
                .filter(|entry| !entry.is_over)
                .map(|entry| entry.want)
                .fold(0, u64::saturating_add),
            pods: self.pods.len() as u64,
            silent: entries().filter(|entry| entry.is_over).count() as u64,
        }
    }

    /// Takes back what is over at `now`. To be called now and then where nobody asks.
    pub fn tick(&mut self, now: Moment) {
        if now >= self.known_from {
            self.unknown = 0;
        }
        while let Some((until, pod)) = self.ends.first().cloned() {
            if until > now {
                break;
            }
            self.ends.remove(&(until, pod.clone()));
            let Some(entry) = self.pods.get_mut(&pod) else {
                continue;
            };
            self.counted = self.counted.saturating_sub(entry.counted);
            if entry.is_gone {
                self.pods.remove(&pod);
                continue;
            }
            entry.is_over = true;
            entry.counted = entry.floor;
            entry.target = 0;
            self.counted = self.counted.saturating_add(entry.floor);
        }
    }

    /// What is to be lent to who wants so much, where there is enough.
    fn needs(&self) -> impl Fn(u64) -> u64 + use<K> {
        let growth = if self.plan.is_short { GROWTH_WHERE_SHORT } else { GROWTH };
        let spare = self.whole / SPARE / self.count();
        let whole = self.whole;
        move |want| want.saturating_add(want / growth).max(spare).min(whole)
    }

    /// Sidecars that have to do with it, as far as known.
    fn count(&self) -> u64 {
        self.expected.max(self.pods.len() as u64).max(1)
    }

    /// More may be held than there is: the floors of those who have just fallen silent came on top.
    fn has_too_much_out(&self) -> bool {
        self.counted.saturating_add(self.unknown) > self.whole
    }

    fn plan_if_due(&mut self, now: Moment) {
        let is_due = self.plan.at.is_none_or(|at| now.saturating_since(at) >= PLAN_EVERY);
        if !is_due {
            return;
        }
        let silent = self.pods.values().filter(|entry| entry.is_over);
        let silent: u64 = silent.map(|entry| entry.counted).fold(0, u64::saturating_add);
        let free = self.whole.saturating_sub(self.unknown).saturating_sub(silent);
        // While more is counted than there is, everybody comes down to one and the same plan: were it another for each,
        // they might not come down together.
        let stands = self.has_too_much_out() && self.plan.at.is_some() && free >= self.plan.free;
        if stands {
            return;
        }
        let asking = || self.pods.values().filter(|entry| !entry.is_over);
        let wanted = asking()
            .map(|entry| entry.want.min(self.whole))
            .fold(0, u64::saturating_add);
        let is_short = wanted > free;
        self.plan.is_short = is_short;
        let asking = || self.pods.values().filter(|entry| !entry.is_over);
        let need_of = self.needs();
        let mut needs: Vec<u64> = Vec::with_capacity(self.pods.len());
        needs.extend(asking().map(|entry| need_of(entry.want)));
        let (level, mut left) = water(&mut needs, free);
        self.plan.at = Some(now);
        self.plan.free = free;
        self.plan.level = level.min(self.whole);
        for entry in self.pods.values_mut().filter(|entry| !entry.is_over) {
            let need = need_of(entry.want);
            entry.target = need.min(level);
            // What division leaves over goes to the first ones, a unit each.
            if need > level && left > 0 {
                left -= 1;
                entry.target += 1;
            }
        }
    }
}

/// The level up to which each need can be met out of `free`, and what is left over then.
fn water(needs: &mut [u64], free: u64) -> (u64, u64) {
    needs.sort_unstable();
    let mut left = free;
    let mut others = needs.len() as u64;
    for need in needs.iter() {
        let level = left / others.max(1);
        if *need > level {
            return (level, left - level * others);
        }
        left -= need;
        others -= 1;
    }
    (u64::MAX, left)
}

#[cfg(test)]
mod tests;
