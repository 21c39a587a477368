//! One limit counted apart for each of many keys (callers, models), within bounded memory.
//!
//! Keys are hashes of what callers say, so nothing that they say is kept and none costs more than another. So many keys have a
//! count of their own; then the one that was used longest ago makes room, if it is as good as new, so that whoever comes back
//! finds no more than it left. Where none is, all further keys share one count: names that are made up neither grow memory nor
//! find a full bucket each.

use std::collections::{BTreeMap, HashMap};

use super::limiter::{Limiter, LimiterSettings, Shares, Which};
use crate::clock::Moment;

/// So many keys are counted apart.
pub const MAX_KEYS: usize = 1_000;

/// So many of those that were used longest ago are looked at for one that may go.
const LOOK_AT: usize = 8;

/// Whose count it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Share {
    /// This key's own.
    Own(u64),
    /// That of all keys which found no room.
    Common,
}

/// One limit for each of many keys.
#[derive(Clone, Debug)]
pub struct Keyed {
    settings: LimiterSettings,
    /// What this sidecar has of each key's limit, where others share it.
    shares: Option<Shares>,
    most: usize,
    by_key: HashMap<u64, (u64, Limiter)>,
    /// Keys by when they were used last.
    by_age: BTreeMap<u64, u64>,
    uses: u64,
    common: Limiter,
}

impl Keyed {
    /// For at most `most` keys apart.
    pub fn new(settings: LimiterSettings, most: usize, now: Moment) -> Self {
        Self {
            settings,
            shares: None,
            most,
            by_key: HashMap::new(),
            by_age: BTreeMap::new(),
            uses: 0,
            common: Limiter::new(settings, now),
        }
    }

    /// Which count a key goes by now.
    pub fn share(&mut self, key: u64, now: Moment) -> Share {
        self.uses += 1;
        if let Some((used, _)) = self.by_key.get_mut(&key) {
            self.by_age.remove(used);
            *used = self.uses;
        } else {
            if self.by_key.len() >= self.most && !self.make_room(now) {
                return Share::Common;
            }
            let mut limiter = Limiter::new(LimiterSettings::default(), now);
            self.fit(&mut limiter, now);
            self.by_key.insert(key, (self.uses, limiter));
        }
        self.by_age.insert(self.uses, key);
        Share::Own(key)
    }

    fn make_room(&mut self, now: Moment) -> bool {
        let unused = |key: &u64| self.by_key.get(key).is_none_or(|(_, limiter)| limiter.is_unused(now));
        let oldest = self.by_age.iter().take(LOOK_AT).find(|(_, key)| unused(key));
        let Some((age, key)) = oldest.map(|(age, key)| (*age, *key)) else {
            return false;
        };
        self.by_age.remove(&age);
        self.by_key.remove(&key);
        true
    }

    /// The limiter of a share; `None` where it has gone since.
    pub fn get(&self, share: Share) -> Option<&Limiter> {
        match share {
            Share::Own(key) => self.by_key.get(&key).map(|(_, limiter)| limiter),
            Share::Common => Some(&self.common),
        }
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, share: Share) -> Option<&mut Limiter> {
        match share {
            Share::Own(key) => self.by_key.get_mut(&key).map(|(_, limiter)| limiter),
            Share::Common => Some(&mut self.common),
        }
    }

    /// Takes new limits and keeps what is used. `shares`: what this sidecar has of them, where others share them: as much of every
    /// key's, so that all sidecars together have no more than the limit of any.
    pub fn reconfigure(&mut self, settings: LimiterSettings, shares: Option<Shares>, now: Moment) {
        (self.settings, self.shares) = (settings, shares);
        let limiters = self.by_key.values_mut().map(|(_, limiter)| limiter);
        for limiter in limiters.chain([&mut self.common]) {
            fit(limiter, settings, shares, now);
        }
    }

    fn fit(&self, limiter: &mut Limiter, now: Moment) {
        fit(limiter, self.settings, self.shares, now);
    }

    /// How many keys are counted apart.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no key was ever seen.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// What is left of a limit to the key that has the least.
    pub fn least_left(&self, which: Which, now: Moment) -> Option<i64> {
        let own = self.by_key.values().map(|(_, limiter)| limiter);
        own.chain([&self.common])
            .filter_map(|limiter| limiter.left(which, now))
            .min()
    }

    /// Requests that hold a reservation, of all keys.
    pub fn in_flight(&self) -> u32 {
        let own = self.by_key.values().map(|(_, limiter)| limiter);
        own.chain([&self.common])
            .fold(0, |sum, limiter| sum.saturating_add(limiter.in_flight()))
    }
}

pub(super) fn fit(limiter: &mut Limiter, settings: LimiterSettings, shares: Option<Shares>, now: Moment) {
    match shares {
        Some(shares) => limiter.share(settings, shares, now),
        None => limiter.reconfigure(settings, now),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(seconds))
    }

    fn keyed(most: usize) -> Keyed {
        let settings = LimiterSettings {
            requests_per_minute: NonZeroU32::new(10),
            ..LimiterSettings::default()
        };
        Keyed::new(settings, most, at(0))
    }

    fn ask(keyed: &mut Keyed, key: u64, now: Moment) -> bool {
        let share = keyed.share(key, now);
        let limiter = keyed.get_mut(share).unwrap();
        match limiter.reserve(1, now) {
            Ok(held) => {
                limiter.settle(held, Some(1), now);
                true
            }
            Err(_) => false,
        }
    }

    #[test]
    fn each_key_has_a_count_of_its_own() {
        let mut keyed = keyed(10);
        assert!(ask(&mut keyed, 1, at(0)) && ask(&mut keyed, 2, at(0)));
        assert!(!ask(&mut keyed, 1, at(0)) && !ask(&mut keyed, 2, at(0)));
    }

    #[test]
    fn of_a_limit_that_others_share_each_key_has_this_sidecars_share() {
        let mut keyed = keyed(10);
        let shares = Shares {
            requests_per_minute: 6,
            ..Shares::default()
        };
        keyed.reconfigure(keyed.settings, Some(shares), at(0));
        assert!(ask(&mut keyed, 1, at(0)) && ask(&mut keyed, 2, at(0)), "one unit each");
        assert!(!ask(&mut keyed, 1, at(9)), "one in ten seconds, not in six");
        assert!(ask(&mut keyed, 1, at(10)) && ask(&mut keyed, 2, at(10)));
    }

    #[test]
    fn names_that_are_made_up_share_one_count_and_take_no_memory() {
        let mut keyed = keyed(10);
        let admitted = (0..100_000).filter(|key| ask(&mut keyed, *key, at(0))).count();
        assert_eq!(
            (admitted, keyed.len()),
            (11, 10),
            "ten of their own, and one for all others"
        );
        assert_eq!(keyed.by_age.len(), 10);
    }

    #[test]
    fn who_is_as_good_as_new_makes_room_and_who_is_not_keeps_its_count() {
        let mut keyed = keyed(2);
        assert!(ask(&mut keyed, 1, at(0)) && ask(&mut keyed, 2, at(5)));
        assert!(ask(&mut keyed, 3, at(6)), "the first has a full bucket again");
        assert!(!ask(&mut keyed, 2, at(6)), "the second has not");
        assert_eq!(keyed.share(1, at(6)), Share::Common);
    }
}
