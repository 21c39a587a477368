//! Values by key, with a bound in bytes and an age. What was not kept or used for the longest goes first; what is too old goes,
//! however often it is used.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::key::Key;
use crate::clock::Moment;

/// What an entry takes beside its value: itself, its places in both indexes with their slack, and the allocations of a value.
pub const OVERHEAD: usize = 512;

struct Entry<V> {
    value: V,
    /// With [`OVERHEAD`].
    bytes: usize,
    at: Moment,
    /// How old it was then.
    before: Duration,
    /// Its place in the order of use.
    used: u64,
    /// Its place in the order of age.
    kept: Born,
}

/// When it was new, in microseconds of the clock, before whose beginning that may lie; and its turn.
type Born = (i64, u64);

impl<V> Entry<V> {
    fn age(&self, now: Moment) -> Duration {
        (now - self.at).saturating_add(self.before)
    }
}

/// Values by key, bounded.
pub struct Lru<V> {
    most: usize,
    used: usize,
    turn: u64,
    entries: HashMap<Key, Entry<V>>,
    /// The least recently used first.
    order: BTreeMap<u64, Key>,
    /// The oldest first.
    ages: BTreeMap<Born, Key>,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is kept; so many others had to go for it.
    Yes {
        /// Others that had to go.
        evicted: usize,
    },
    /// It alone is more than may be kept.
    TooLarge,
}

impl<V> Lru<V> {
    /// Nothing yet, and at most so many bytes.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            used: 0,
            turn: 0,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            ages: BTreeMap::new(),
        }
    }

    /// Bytes that are taken, overhead included. Never more than the bound.
    pub fn bytes(&self) -> usize {
        self.used
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps a value of so many bytes, in place of one that it has of this key.
    pub fn keep(&mut self, key: Key, value: V, bytes: usize, now: Moment) -> Kept {
        self.keep_aged(key, value, bytes, (now, Duration::ZERO))
    }

    /// The same of a value that is so old `now`.
    pub fn keep_aged(&mut self, key: Key, value: V, bytes: usize, (now, before): (Moment, Duration)) -> Kept {
        self.remove(&key);
        let bytes = bytes.saturating_add(OVERHEAD);
        if bytes > self.most {
            return Kept::TooLarge;
        }
        let evicted = self.shrink(self.most - bytes);
        self.turn += 1;
        self.used += bytes;
        self.order.insert(self.turn, key);
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let born = (micros(now.since_start()).saturating_sub(micros(before)), self.turn);
        self.ages.insert(born, key);
        self.entries.insert(
            key,
            Entry {
                value,
                bytes,
                at: now,
                before,
                used: self.turn,
                kept: born,
            },
        );
        Kept::Yes { evicted }
    }

    /// The value of this key and its age, unless it is older than that.
    pub fn get(&self, key: &Key, now: Moment, oldest: Duration) -> Option<(&V, Duration)> {
        let entry = self.entries.get(key)?;
        let age = entry.age(now);
        (age <= oldest).then_some((&entry.value, age))
    }

    /// The same, and it counts as used: others go before it.
    pub fn take_up(&mut self, key: &Key, now: Moment, oldest: Duration) -> Option<(&V, Duration)> {
        let entry = self.entries.get_mut(key)?;
        let age = entry.age(now);
        if age > oldest {
            return None;
        }
        self.turn += 1;
        self.order.remove(&entry.used);
        entry.used = self.turn;
        self.order.insert(self.turn, *key);
        Some((&entry.value, age))
    }

    /// All of them, the least recently used first.
    pub fn in_order(&self) -> impl Iterator<Item = (&Key, &V)> {
        let of = |key| Some((key, &self.entries.get(key)?.value));
        self.order.values().filter_map(of)
    }

    /// Whether there is a value of this key, however old.
    pub fn has(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    /// Lets go of what is `true` for; returns how many.
    pub fn forget(&mut self, mut is_gone: impl FnMut(&Key, &V) -> bool) -> usize {
        let gone: Vec<Key> = self
            .entries
            .iter()
            .filter(|(key, entry)| is_gone(key, &entry.value))
            .map(|(key, _)| *key)
            .collect();
        for key in &gone {
            self.remove(key);
        }
        gone.len()
    }

    /// Lets go of what is older than that; returns how many.
    pub fn expire(&mut self, now: Moment, oldest: Duration) -> usize {
        let before = self.len();
        while let Some((_, key)) = self.ages.first_key_value() {
            let key = *key;
            if self.entries.get(&key).is_some_and(|entry| entry.age(now) <= oldest) {
                break;
            }
            self.remove(&key);
        }
        before - self.len()
    }

    /// Has another bound from now on; returns how many had to go for it.
    pub fn rebound(&mut self, most: usize) -> usize {
        self.most = most;
        self.shrink(most)
    }

    /// Lets go of the least recently used until no more than so many bytes are taken.
    fn shrink(&mut self, most: usize) -> usize {
        let before = self.len();
        while self.used > most
            && let Some((_, key)) = self.order.first_key_value()
        {
            let key = *key;
            self.remove(&key);
        }
        before - self.len()
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.used -= entry.bytes;
            self.order.remove(&entry.used);
            self.ages.remove(&entry.kept);
        }
    }
}
