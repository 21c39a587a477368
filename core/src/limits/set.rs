//! Several limits at once, taken all or none, with one fair queue before them.
//!
//! - **All or none, without deadlock.** A request that finds one of its limits reached takes nothing of the others, and whoever
//!   waits holds nothing meanwhile: nobody can wait for somebody who waits.
//! - **Nobody starves.** Who has been held up by a limit stands in line there until it is let in, and nobody who came later takes
//!   from that limit before; but for interactive requests that pass background ones, which each of these lets happen
//!   [`MOST_PASSED`](crate::queue::MOST_PASSED) times. So at each limit that holds up the first of all who wait, room can only
//!   grow; once it has stood at each of them it is next, whatever comes. Then the second is the first.
//! - **Nobody is in the way of those who want something else.** Who waits stands in line only at limits that held it up: a caller
//!   that is beyond its own share does not close the limit that it has in common with others.
//! - **Bounded.** [`MAX_WAITING`] may wait; then it is full.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::keyed::{self, Keyed, MAX_KEYS, Share};
use super::limiter::{Limited, Limiter, LimiterSettings, Need, Reservation, Shares, Which};
use crate::clock::Moment;
use crate::queue::{Class, Standing, Ticket, place_of};

#[cfg(test)]
mod tests;

/// So many may wait.
pub const MAX_WAITING: usize = 1_000;

/// A limit as it is to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name in the set.
    pub name: Arc<str>,
    /// How much.
    pub settings: LimiterSettings,
    /// Whether it is counted apart by key.
    pub is_keyed: bool,
    /// What this sidecar has of it, where others share it.
    pub shares: Option<Shares>,
}

impl Wanted {
    fn fit(&self, limiter: &mut Limiter, now: Moment) {
        keyed::fit(limiter, self.settings, self.shares, now);
    }
}

/// One limit that a request is under.
#[derive(Clone, Debug)]
pub struct Want<'a> {
    /// Its name in the set.
    pub name: &'a str,
    /// The key that it is counted under, where it is counted by key.
    pub key: u64,
    /// Somebody else counts it, and has said that there is room. Whoever stands in line at it here is before others all the same.
    pub is_elsewhere: bool,
}

/// One count of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Slot {
    limit: u64,
    share: Share,
}

/// Room that was taken of several limits. Give it back with [`Set::settle`] or [`Set::cancel`], once.
#[must_use = "what is neither settled nor cancelled holds its place for ever"]
#[derive(Debug)]
pub struct Taken(Vec<(Slot, Reservation)>);

/// A limit that held a request up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which of those that were asked for, counted from 0.
    pub index: usize,
    /// What is reached; `None`: there is room, and others wait for it.
    pub limited: Option<Limited>,
    slot: Slot,
}

/// What is known of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// What is left of each of its rates and places, in whole units; of a limit that is counted by key, to the key that has the
    /// least. Negative is debt.
    pub left: Vec<(Which, i64)>,
    /// Requests under it.
    pub in_flight: u32,
    /// Requests that stand in line at it.
    pub waiting: usize,
    /// Keys that are counted apart, where it is counted by key.
    pub keys: Option<usize>,
}

#[derive(Debug)]
enum Count {
    One(Box<Limiter>),
    Keyed(Box<Keyed>),
}

/// Who asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Somebody who has just come.
    Comes(Class),
    /// Somebody who waits.
    Waits(Ticket),
}

/// One who waits.
#[derive(Debug)]
struct Waiting<T> {
    ticket: Ticket,
    standing: Standing,
    caller: T,
    /// Where it stands in line.
    stands: Vec<Slot>,
}

/// Limits by name, and who waits for them. `T` is how somebody is called.
#[derive(Debug)]
pub struct Set<T> {
    by_name: HashMap<Arc<str>, u64>,
    counts: HashMap<u64, Count>,
    made: u64,
    queue: VecDeque<Waiting<T>>,
    tickets: u64,
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
            counts: HashMap::new(),
            made: 0,
            queue: VecDeque::new(),
            tickets: 0,
        }
    }
}

impl<T> Set<T> {
    /// Takes new limits. Those that stay keep what is used of them; what was taken of one that goes is owed to nobody.
    pub fn reconfigure(&mut self, wanted: &[Wanted], now: Moment) {
        let stays = |name: &Arc<str>| wanted.iter().any(|wanted| wanted.name == *name);
        let counts = &mut self.counts;
        self.by_name.retain(|name, id| {
            let stays = stays(name);
            if !stays {
                counts.remove(id);
            }
            stays
        });
        for wanted in wanted {
            let id = self.by_name.get(&wanted.name).copied();
            match (id.and_then(|id| self.counts.get_mut(&id)), wanted.is_keyed) {
                (Some(Count::One(limiter)), false) => wanted.fit(limiter, now),
                (Some(Count::Keyed(keyed)), true) => keyed.reconfigure(wanted.settings, wanted.shares, now),
                _ => {
                    let count = if wanted.is_keyed {
                        let mut keyed = Keyed::new(wanted.settings, MAX_KEYS, now);
                        keyed.reconfigure(wanted.settings, wanted.shares, now);
                        Count::Keyed(Box::new(keyed))
                    } else {
                        let mut limiter = Limiter::new(LimiterSettings::default(), now);
                        wanted.fit(&mut limiter, now);
                        Count::One(Box::new(limiter))
                    };
                    self.made += 1;
                    self.counts.insert(self.made, count);
                    if let Some(old) = self.by_name.insert(Arc::clone(&wanted.name), self.made) {
                        self.counts.remove(&old);
                    }
                }
            }
        }
    }

    /// This sidecar has another share of a limit now. `call`: told of who is to look again.
    pub fn share(&mut self, name: &str, whole: LimiterSettings, shares: Shares, now: Moment, call: impl FnMut(&T)) {
        let Some(limit) = self.by_name.get(name).copied() else {
            return;
        };
        match self.counts.get_mut(&limit) {
            Some(Count::One(limiter)) => limiter.share(whole, shares, now),
            Some(Count::Keyed(keyed)) => keyed.reconfigure(whole, Some(shares), now),
            None => return,
        }
        let stands = self.queue.iter().flat_map(|waiting| &waiting.stands);
        let changed: BTreeSet<Slot> = stands.filter(|slot| slot.limit == limit).copied().collect();
        self.wake(changed.into_iter().collect(), call);
    }

    /// Requests under a limit, and those that stand in line at it.
    pub fn load(&self, name: &str) -> (u32, usize) {
        let Some(id) = self.by_name.get(name) else {
            return (0, 0);
        };
        let in_flight = match self.counts.get(id) {
            Some(Count::One(limiter)) => limiter.in_flight(),
            Some(Count::Keyed(keyed)) => keyed.in_flight(),
            None => 0,
        };
        (in_flight, self.standing_at(*id))
    }

    fn standing_at(&self, limit: u64) -> usize {
        let stands = |other: &&Waiting<T>| other.stands.iter().any(|slot| slot.limit == limit);
        self.queue.iter().filter(stands).count()
    }

    /// Takes room of each of these limits, or of none. One who waits leaves with [`Self::leave`] on success.
    /// A name that is not in the set limits nothing.
    ///
    /// # Errors
    /// What holds it up.
    pub fn take(&mut self, wants: &[Want<'_>], need: Need, now: Moment, who: Who) -> Result<Taken, Vec<Held>> {
        let slots = self.free(wants, now, who)?;
        if let Who::Comes(_) = who {
            let ahead = self.ahead(who);
            let is_passed = |other: &&mut Waiting<T>| slots.iter().any(|(_, slot)| other.stands.contains(slot));
            for passed in self.queue.iter_mut().skip(ahead).filter(is_passed) {
                passed.standing.pass();
            }
        }
        let take = |(index, slot): (usize, Slot)| {
            let is_elsewhere = wants.get(index).is_some_and(|want| want.is_elsewhere);
            let limiter = self.limiter_mut(slot)?;
            let taken = if is_elsewhere {
                limiter.admitted_elsewhere(need, now)
            } else {
                limiter.take(need, now)
            };
            Some((slot, taken))
        };
        Ok(Taken(slots.into_iter().filter_map(take).collect()))
    }

    /// Whether [`Self::take`] would say yes, without taking: for whoever is to ask elsewhere first.
    ///
    /// # Errors
    /// What holds it up.
    pub fn look(&mut self, wants: &[Want<'_>], now: Moment, who: Who) -> Result<(), Vec<Held>> {
        self.free(wants, now, who).map(drop)
    }

    /// Whether this would be counted with all others that have no count of their own, as so many keys have one already.
    pub fn is_common(&mut self, want: &Want<'_>, now: Moment) -> bool {
        self.slot(want, now).is_some_and(|slot| slot.share == Share::Common)
    }

    /// The counts of these, each with its place among them, where there is room in all.
    ///
    /// # Errors
    /// What holds it up. Who waits stands in line there from now on.
    fn free(&mut self, wants: &[Want<'_>], now: Moment, who: Who) -> Result<Vec<(usize, Slot)>, Vec<Held>> {
        let mut slots = Vec::with_capacity(wants.len());
        for (index, want) in wants.iter().enumerate() {
            if let Some(slot) = self.slot(want, now) {
                slots.push((index, slot));
            }
        }
        let ahead = self.ahead(who);
        let mut held = Vec::new();
        for (index, slot) in slots.iter().copied() {
            let is_elsewhere = wants.get(index).is_some_and(|want| want.is_elsewhere);
            let here = self.limiter(slot).filter(|_| !is_elsewhere);
            let limited = here.and_then(|limiter| limiter.limited(now));
            if limited.is_some() || self.is_stood_at(slot, ahead) {
                held.push(Held { index, limited, slot });
            }
        }
        if held.is_empty() {
            return Ok(slots);
        }
        if let Who::Waits(ticket) = who {
            self.stand(ticket, &held);
        }
        Err(held)
    }

    /// Who counts this limit elsewhere says that it is reached: what holds somebody up who may join the line at it here.
    pub fn held_elsewhere(
        &mut self,
        (index, want): (usize, &Want<'_>),
        limited: Limited,
        now: Moment,
        who: Who,
    ) -> Vec<Held> {
        let Some(slot) = self.slot(want, now) else {
            return Vec::new();
        };
        let held = vec![Held {
            index,
            limited: Some(limited),
            slot,
        }];
        if let Who::Waits(ticket) = who {
            self.stand(ticket, &held);
        }
        held
    }

    fn stand(&mut self, ticket: Ticket, held: &[Held]) {
        if let Some(own) = self.queue.iter_mut().find(|other| other.ticket == ticket) {
            for held in held {
                if !own.stands.contains(&held.slot) {
                    own.stands.push(held.slot);
                }
            }
        }
    }

    /// Joins the line at the limits that held it up, before those that give way to its class; `None`: too many wait already.
    pub fn join(&mut self, held: &[Held], class: Class, caller: T) -> Option<Ticket> {
        if self.queue.len() >= MAX_WAITING {
            return None;
        }
        self.tickets += 1;
        let ticket = Ticket::new(self.tickets);
        let at = self.ahead(Who::Comes(class));
        for passed in self.queue.iter_mut().skip(at) {
            passed.standing.pass();
        }
        let waiting = Waiting {
            ticket,
            standing: Standing::new(class),
            caller,
            stands: held.iter().map(|held| held.slot).collect(),
        };
        self.queue.insert(at, waiting);
        Some(ticket)
    }

    /// Leaves the line, let in or not. `call`: told of each who is to look again.
    pub fn leave(&mut self, ticket: Ticket, call: impl FnMut(&T)) {
        if let Some(at) = self.queue.iter().position(|other| other.ticket == ticket)
            && let Some(gone) = self.queue.remove(at)
        {
            self.wake(gone.stands, call);
        }
    }

    /// The request has ended and used so much.
    pub fn settle(&mut self, taken: Taken, used: Need, now: Moment, call: impl FnMut(&T)) {
        self.give_back(taken, Some(used), now, call);
    }

    /// The request was never sent: all its room flows back.
    pub fn cancel(&mut self, taken: Taken, now: Moment, call: impl FnMut(&T)) {
        self.give_back(taken, None, now, call);
    }

    fn give_back(&mut self, taken: Taken, used: Option<Need>, now: Moment, call: impl FnMut(&T)) {
        let mut changed = Vec::with_capacity(taken.0.len());
        for (slot, reservation) in taken.0 {
            if let Some(limiter) = self.limiter_mut(slot) {
                match used {
                    Some(used) => limiter.settle_as(reservation, used, now),
                    None => limiter.cancel(reservation, now),
                }
                changed.push(slot);
            }
        }
        self.wake(changed, call);
    }

    /// Calls whoever stands first at one of these counts: others would look in vain.
    fn wake(&self, mut changed: Vec<Slot>, mut call: impl FnMut(&T)) {
        for waiting in &self.queue {
            if changed.is_empty() {
                return;
            }
            let before = changed.len();
            changed.retain(|slot| !waiting.stands.contains(slot));
            if changed.len() < before {
                call(&waiting.caller);
            }
        }
    }

    /// Calls everyone: the limits are others now.
    pub fn wake_all(&self, mut call: impl FnMut(&T)) {
        for waiting in &self.queue {
            call(&waiting.caller);
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How a limit stands; `None`: it is not in the set.
    pub fn level(&self, name: &str, now: Moment) -> Option<Level> {
        let id = self.by_name.get(name)?;
        let waiting = self.standing_at(*id);
        let left = |left: &dyn Fn(Which) -> Option<i64>| {
            let left = |which| Some((which, left(which)?));
            Which::ALL.into_iter().filter_map(left).collect()
        };
        Some(match self.counts.get(id)? {
            Count::One(limiter) => Level {
                left: left(&|which| limiter.left(which, now)),
                in_flight: limiter.in_flight(),
                waiting,
                keys: None,
            },
            Count::Keyed(keyed) => Level {
                left: left(&|which| keyed.least_left(which, now)),
                in_flight: keyed.in_flight(),
                waiting,
                keys: Some(keyed.len()),
            },
        })
    }

    fn slot(&mut self, want: &Want<'_>, now: Moment) -> Option<Slot> {
        let limit = *self.by_name.get(want.name)?;
        let share = match self.counts.get_mut(&limit)? {
            Count::One(_) => Share::Common,
            Count::Keyed(keyed) => keyed.share(want.key, now),
        };
        Some(Slot { limit, share })
    }

    /// Behind how many of those who wait somebody stands.
    fn ahead(&self, who: Who) -> usize {
        match who {
            Who::Comes(class) => place_of(class, self.queue.iter().map(|other| other.standing)),
            Who::Waits(ticket) => {
                let at = self.queue.iter().position(|other| other.ticket == ticket);
                at.unwrap_or(self.queue.len())
            }
        }
    }

    /// Whether one of the first `ahead` stands in line there.
    fn is_stood_at(&self, slot: Slot, ahead: usize) -> bool {
        self.queue.iter().take(ahead).any(|other| other.stands.contains(&slot))
    }

    fn limiter(&self, slot: Slot) -> Option<&Limiter> {
        match self.counts.get(&slot.limit)? {
            Count::One(limiter) => Some(limiter),
            Count::Keyed(keyed) => keyed.get(slot.share),
        }
    }

    fn limiter_mut(&mut self, slot: Slot) -> Option<&mut Limiter> {
        match self.counts.get_mut(&slot.limit)? {
            Count::One(limiter) => Some(limiter),
            Count::Keyed(keyed) => keyed.get_mut(slot.share),
        }
    }
}

/// When it is worth looking again at what held somebody up; `None`: only when called.
pub fn look_again(held: &[Held]) -> Option<Duration> {
    held.iter().filter_map(|held| held.limited?.retry_in).max()
}
