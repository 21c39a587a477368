//! The vectors of a next model, or of a model that its provider has changed, asked for in the background: what is asked next, when again,
//! and when enough is there.
//!
//! Each input is a job. Those that were asked for the most go first, of equally wanted ones the latest. Jobs of one kind (the same
//! parameters) go together in a batch; so many batches are out at once as there are workers. A batch that fails waits and goes again, with
//! exponential steps and jitter, so often and no more. One that the provider finds wrong goes again input by input, so that one bad input
//! costs itself alone. One that a limit or a budget refuses is nobody's fault: all wait, and nothing is counted against it.
//!
//! It is *filled* when every input that was known when it began is there, or not wanted any more; one in ten may have been given up. Where
//! more were, the next model is no model to serve (its name or key is wrong, it does not take these inputs), until they are there after
//! all. What comes later is asked for too, and holds nothing up: who goes on asking for new inputs would never see the end.
//!
//! Time and chance are passed in. Nothing here knows what a job asks for.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::key::Key;
use crate::backoff::{BackoffSettings, Delay};
use crate::clock::Moment;

/// How jobs are worked off.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Batches that are out at once.
    pub workers: usize,
    /// Inputs of one batch.
    pub batch: usize,
    /// Jobs at once; more are not taken.
    pub most: usize,
    /// Times that a job is tried before it is given up.
    pub tries: u32,
    /// How long to wait before the next try, and after a refusal.
    pub backoff: BackoffSettings,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its vectors are here.
    Done,
    /// It failed, and may not the next time. With the provider's hint when to try.
    Failed(Option<Duration>),
    /// The provider finds it wrong.
    Wrong,
    /// There is no room for vectors: nothing more is asked for.
    NoRoom,
    /// A limit or a budget refuses it. With the time until there is room, where that is known.
    Refused(Option<Duration>),
}

/// A batch to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<J> {
    /// The inputs, of which the most wanted is the first.
    pub jobs: Vec<(Key, J)>,
}

/// How many jobs came to what by the end of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Their vectors are here.
    pub done: usize,
    /// They are tried again.
    pub again: usize,
    /// They are not tried any more.
    pub given_up: usize,
    /// They wait for room under a limit or budget.
    pub refused: usize,
}

/// How much a job is wanted: uses, then when it was used last. The greatest goes first; no two are equal.
type Rank = (u32, u64);

#[derive(Clone, Debug)]
struct Job<J> {
    what: J,
    kind: Key,
    rank: Rank,
    tries: u32,
    /// It goes by itself: a batch that it was in was found wrong.
    is_alone: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Later(Moment),
    Out,
}

/// The jobs of one route.
#[derive(Debug)]
pub struct Refill<J> {
    settings: Settings,
    jobs: HashMap<Key, Job<J>>,
    /// Those that may go now, by kind.
    ready: HashMap<Key, BTreeSet<(Rank, Key)>>,
    later: BTreeSet<(Moment, Key)>,
    out: usize,
    turn: u64,
    /// Nothing goes before then: a limit or a budget said so.
    paused: Option<Moment>,
    refusals: u32,
    /// Of what was known when it began: what is not settled yet, and how much it was.
    awaited: HashSet<Key>,
    /// Of the same: what was given up.
    given_up: HashSet<Key>,
    known: usize,
}

/// One in so many inputs may be given up.
const MAY_BE_GIVEN_UP: usize = 10;

impl<J: Clone> Refill<J> {
    /// Begins: these inputs must be settled before it is filled. Which of them are asked for, and how, is told by [`Refill::want`].
    pub fn new(settings: Settings, known: impl IntoIterator<Item = Key>) -> Self {
        let awaited: HashSet<Key> = known.into_iter().collect();
        Self {
            settings,
            jobs: HashMap::new(),
            ready: HashMap::new(),
            later: BTreeSet::new(),
            out: 0,
            turn: 0,
            paused: None,
            refusals: 0,
            known: awaited.len(),
            given_up: HashSet::new(),
            awaited,
        }
    }

    /// Somebody wants this input, which was used so often by now: it becomes a job, or one that is wanted more. `is_alone`: it goes in no
    /// batch with others. `false`: there are too many jobs already.
    pub fn want(&mut self, key: Key, kind: Key, (uses, is_alone): (u32, bool), what: impl FnOnce() -> J) -> bool {
        self.turn += 1;
        let turn = self.turn;
        if let Some(job) = self.jobs.get_mut(&key) {
            let before = job.rank;
            job.rank = (before.0.max(uses), turn);
            let rank = job.rank;
            if job.state == State::Ready
                && let Some(ready) = self.ready.get_mut(&job.kind)
            {
                ready.remove(&(before, key));
                ready.insert((rank, key));
            }
            return true;
        }
        if self.jobs.len() >= self.settings.most {
            return false;
        }
        let job = Job {
            what: what(),
            kind,
            rank: (uses, turn),
            tries: 0,
            is_alone,
            state: State::Ready,
        };
        self.ready.entry(kind).or_default().insert((job.rank, key));
        self.jobs.insert(key, job);
        true
    }

    /// This input need not be asked for any more: its vector is here by another way, or nobody wants it.
    pub fn settled(&mut self, key: &Key) {
        self.awaited.remove(key);
        self.given_up.remove(key);
        // One that is out is settled by its end.
        if self.jobs.get(key).is_some_and(|job| job.state != State::Out) {
            self.remove(key);
        }
    }

    /// The next batch, if any may go now.
    pub fn take(&mut self, now: Moment) -> Option<Batch<J>> {
        self.wake_up(now);
        if self.out >= self.settings.workers || self.paused.is_some() {
            return None;
        }
        let (_, kind) = self
            .ready
            .iter()
            .filter_map(|(kind, ready)| Some((ready.last()?.0, *kind)))
            .max()?;
        let ready = self.ready.get_mut(&kind)?;
        let mut jobs = Vec::new();
        while jobs.len() < self.settings.batch.max(1)
            && let Some((rank, key)) = ready.pop_last()
        {
            let Some(job) = self.jobs.get_mut(&key) else { continue };
            if job.is_alone && !jobs.is_empty() {
                ready.insert((rank, key));
                break;
            }
            job.state = State::Out;
            jobs.push((key, job.what.clone()));
            if job.is_alone {
                break;
            }
        }
        if ready.is_empty() {
            self.ready.remove(&kind);
        }
        self.out += 1;
        Some(Batch { jobs })
    }

    /// A batch that was taken has ended so.
    pub fn ended(&mut self, keys: &[Key], how: Ended, now: Moment, rng: &mut fastrand::Rng) -> Count {
        self.out = self.out.saturating_sub(1);
        let mut count = Count::default();
        if how == Ended::NoRoom {
            count.given_up += self.give_up_all();
        }
        if let Ended::Refused(until) = how {
            let wait = match self.settings.backoff.delay(self.refusals, None, rng) {
                Delay::Wait(wait) => wait,
                Delay::GiveUp => self.settings.backoff.max(),
            };
            self.refusals = self.refusals.saturating_add(1);
            // Never longer than an hour: a budget may be raised before its window ends.
            let until = until.unwrap_or_default().min(LONGEST_PAUSE) + wait;
            self.paused = self.paused.max(Some(now + until));
        } else {
            self.refusals = 0;
        }
        for key in keys {
            let Some(job) = self.jobs.get_mut(key).filter(|job| job.state == State::Out) else {
                continue;
            };
            let is_one_of_many = keys.len() > 1;
            let after = match how {
                Ended::Done => {
                    count.done += 1;
                    None
                }
                Ended::Refused(_) => {
                    count.refused += 1;
                    Some(Duration::ZERO)
                }
                Ended::Wrong if is_one_of_many => {
                    job.is_alone = true;
                    count.again += 1;
                    Some(Duration::ZERO)
                }
                Ended::Wrong | Ended::NoRoom => {
                    count.given_up += 1;
                    None
                }
                Ended::Failed(hint) => {
                    job.tries += 1;
                    let backoff = self.settings.backoff;
                    let hint = hint.map(|hint| hint.min(backoff.max_hint()));
                    match backoff.delay(job.tries - 1, hint, rng) {
                        Delay::Wait(wait) if job.tries < self.settings.tries => {
                            count.again += 1;
                            Some(wait)
                        }
                        _ => {
                            count.given_up += 1;
                            None
                        }
                    }
                }
            };
            match after {
                None => {
                    let was_awaited = self.awaited.remove(key);
                    match how {
                        Ended::Done => {
                            self.given_up.remove(key);
                        }
                        Ended::Failed(_) | Ended::Wrong if was_awaited => {
                            self.given_up.insert(*key);
                        }
                        _ => {}
                    }
                    self.remove(key);
                }
                Some(wait) if wait.is_zero() => {
                    job.state = State::Ready;
                    let (kind, rank) = (job.kind, job.rank);
                    self.ready.entry(kind).or_default().insert((rank, *key));
                }
                Some(wait) => {
                    let at = now + wait;
                    job.state = State::Later(at);
                    self.later.insert((at, *key));
                }
            }
        }
        count
    }

    /// When there is something to take, if nothing else happens before; `None`: not before something does.
    pub fn wake(&self) -> Option<Moment> {
        if self.out >= self.settings.workers || self.jobs.len() == self.being_asked() {
            return None;
        }
        let first = if self.ready.is_empty() {
            self.later.first().map(|(at, _)| *at)?
        } else {
            Moment::ZERO
        };
        Some(first.max(self.paused.unwrap_or_default()))
    }

    /// Jobs that wait for their turn.
    pub fn depth(&self) -> usize {
        self.jobs.len() - self.being_asked()
    }

    /// Batches that are out.
    pub fn workers(&self) -> usize {
        self.out
    }

    /// Of the inputs that were known when it began: how many are settled, and how many there were. What was given up is not.
    pub fn progress(&self) -> (usize, usize) {
        (self.known - self.awaited.len() - self.given_up.len(), self.known)
    }

    /// Of the inputs that were known when it began: how many were given up.
    pub fn given_up(&self) -> usize {
        self.given_up.len()
    }

    /// Nothing is asked for before then.
    pub fn pause(&mut self, until: Moment) {
        self.paused = self.paused.max(Some(until));
    }

    /// Whether this input is asked for, or waits for it.
    pub fn has(&self, key: &Key) -> bool {
        self.jobs.contains_key(key)
    }

    /// Lets go of all jobs but those that are out. Returns how many that were.
    fn give_up_all(&mut self) -> usize {
        let before = self.jobs.len();
        self.jobs.retain(|_, job| job.state == State::Out);
        self.ready.clear();
        self.later.clear();
        self.awaited.clear();
        before - self.jobs.len()
    }

    /// Whether this input is awaited still.
    pub fn is_awaited(&self, key: &Key) -> bool {
        self.awaited.contains(key)
    }

    /// The inputs that are still awaited.
    pub fn awaited(&self) -> impl Iterator<Item = &Key> {
        self.awaited.iter()
    }

    /// Whether all that was known when it began is settled, but for a few that were given up.
    pub fn is_filled(&self) -> bool {
        self.awaited.is_empty() && !self.has_failed()
    }

    /// Whether too many were given up.
    pub fn has_failed(&self) -> bool {
        self.given_up.len().saturating_mul(MAY_BE_GIVEN_UP) > self.known
    }

    fn being_asked(&self) -> usize {
        let ready: usize = self.ready.values().map(BTreeSet::len).sum();
        self.jobs.len() - ready - self.later.len()
    }

    /// What has waited long enough may go.
    fn wake_up(&mut self, now: Moment) {
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
        }
        while let Some((at, key)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, key));
            if let Some(job) = self.jobs.get_mut(&key) {
                job.state = State::Ready;
                self.ready.entry(job.kind).or_default().insert((job.rank, key));
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        let Some(job) = self.jobs.remove(key) else { return };
        match job.state {
            State::Out => {}
            State::Later(at) => {
                self.later.remove(&(at, *key));
            }
            State::Ready => {
                if let Some(ready) = self.ready.get_mut(&job.kind) {
                    ready.remove(&(job.rank, *key));
                    if ready.is_empty() {
                        self.ready.remove(&job.kind);
                    }
                }
            }
        }
    }
}

/// The longest that a limit or a budget holds it up before it is asked again.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests;
