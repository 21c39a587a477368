//! When a replica sends its streams to others: its watch of UsagePolicies fails, and what it last said of pauses stands for as long as a
//! stream does. Whether others are better off nobody outside can tell, so each says to the rest, over the links to the leader, whether it
//! would take streams. A replica that hears of no such one keeps those that it has: a sidecar is better off with an old word than with none.
//!
//! Decides by what it was told and the time passed in, and counts nothing: who goes when is chance's, in `session`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;

use crate::objects::doubt::Doubt;
use crate::sync::locked;

/// From one word of a replica to the leader, which answers it, to the next.
pub(super) const WORD_EVERY: Duration = Duration::from_secs(5);
/// So long a word holds: a replica that is gone, or a link that is dead, takes nobody.
const STANDS: Duration = Duration::from_secs(30);

/// A replica takes the streams of another while it is not almost full: those that found no room would be sent to and fro.
pub(super) fn has_room(free: usize, most: usize) -> bool {
    free >= (most / 10).max(1)
}

/// Whether this replica keeps its streams.
#[derive(Debug)]
pub(super) struct Withdrawal {
    /// For so long it has to be worse off than another.
    after: Duration,
    state: Mutex<State>,
    /// Whether streams are sent away, and none let in.
    is_on: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    watch: Doubt,
    /// Who says that it would take streams; the leader's word is of all others than this replica.
    takers: HashMap<Who, Word>,
}

/// Who says it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// Whom this replica follows.
    Leader,
    /// A pod that follows this one.
    Follower(String),
}

/// A word that was said again and again.
#[derive(Clone, Copy, Debug)]
struct Word {
    since: Instant,
    last: Instant,
}

impl Word {
    fn holds(&self, now: Instant) -> bool {
        now < self.last + STANDS
    }
}

impl Withdrawal {
    /// Once another has been better off for `after`.
    pub(super) fn new(after: Duration, now: Instant) -> Self {
        Self {
            after,
            state: Mutex::new(State {
                watch: Doubt::new(now),
                takers: HashMap::new(),
            }),
            is_on: watch::Sender::new(false),
        }
    }

    /// What the watch tells.
    pub(super) fn note<K>(&self, told: &watcher::Result<Event<K>>, now: Instant) {
        self.lock().watch.note(told, now);
    }

    /// Another replica says whether it would take streams.
    pub(super) fn heard(&self, who: Who, takes: bool, now: Instant) {
        let mut state = self.lock();
        state.takers.retain(|_, word| word.holds(now));
        if takes {
            let word = state.takers.entry(who).or_insert(Word { since: now, last: now });
            word.last = now;
        } else {
            state.takers.remove(&who);
        }
    }

    /// Whether what this replica says of pauses is what the cluster has.
    pub(super) fn works(&self, now: Instant) -> bool {
        self.lock().watch.is_over(now)
    }

    /// Whether any of those that follow this replica would take streams, but for this one.
    pub(super) fn follower_takes(&self, but: &str, now: Instant) -> bool {
        let state = self.lock();
        let mut takers = state.takers.iter();
        takers.any(|(who, word)| matches!(who, Who::Follower(uid) if uid != but) && word.holds(now))
    }

    /// Decides anew.
    pub(super) fn look(&self, now: Instant) {
        let is_due = self.lock().is_due(self.after, now);
        if !self
            .is_on
            .send_if_modified(|is_on| std::mem::replace(is_on, is_due) != is_due)
        {
            return;
        }
        if is_due {
            tracing::warn!(
                "the watch of UsagePolicies fails here and not at another replica: sidecars are sent there, so that they hear of pauses and resumes; \
                 look for what this replica's requests to the apiserver meet"
            );
        } else {
            tracing::info!(
                "sidecars are let in again: the watch of UsagePolicies works, or no other replica is better off"
            );
        }
    }

    /// Whether streams are sent away now.
    pub(super) fn is_on(&self) -> bool {
        *self.is_on.borrow()
    }

    /// The same, as it changes.
    pub(super) fn follow(&self) -> watch::Receiver<bool> {
        self.is_on.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl State {
    /// Whether this watch has failed, and another replica taken streams, both without a break for `after`.
    fn is_due(&self, after: Duration, now: Instant) -> bool {
        let taken = self
            .takers
            .values()
            .filter(|word| word.holds(now))
            .map(|word| word.since);
        let both = self.watch.since(now).zip(taken.min());
        both.is_some_and(|(fails, taken)| now >= fails.max(taken) + after)
    }
}

#[cfg(test)]
mod tests;
