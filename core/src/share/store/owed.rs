//! What shares admitted while the store was not asked, as far as the store must be told of it.
//!
//! The store's bucket refills while nobody asks it, and does so from the moment when it was asked last. Told of all that was admitted
//! in ten minutes, it would be in debt for ten minutes; told of what has not flowed back by the share, it would have refilled once
//! for itself and once for those. So a sidecar counts two things, as if its part of the bucket had been empty when the store went:
//! all that was admitted, and what its part lacks. The smaller of the two is never less than what is missing in its part of the
//! store's bucket: once all have told, the store does not believe that there is more than there is.

use std::time::Duration;

use crate::clock::Moment;
use crate::limiter::Shares;

/// What is owed of each rate.
#[derive(Clone, Copy, Debug)]
pub struct Owed {
    requests: Part,
    tokens: Part,
    at: Moment,
}

/// This sidecar's part of the bucket of one rate.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    admitted: f64,
    /// What is in it, below zero where more was admitted than it held.
    level: f64,
}

impl Part {
    fn flow(&mut self, share: u64, minutes: f64) {
        self.level = (self.level + share as f64 * minutes).min(most(share));
    }

    fn add(&mut self, amount: u64) {
        self.admitted += amount as f64;
        self.level -= amount as f64;
    }

    fn owed(&self, share: u64) -> u64 {
        rounded(self.admitted.min(most(share) - self.level))
    }
}

/// What a part holds: as a bucket does, a tenth of a minute's worth and one at the least.
fn most(share: u64) -> f64 {
    (share as f64 / 10.0).max(1.0)
}

impl Owed {
    /// Nothing.
    pub fn new(now: Moment) -> Self {
        Self {
            requests: Part::default(),
            tokens: Part::default(),
            at: now,
        }
    }

    /// A request of so many tokens went on by the `shares`.
    pub fn add(&mut self, tokens: u64, shares: Shares, now: Moment) {
        if self.requests.admitted == 0.0 {
            // The store was asked until now, as far as this sidecar knows: nothing has flowed back since.
            *self = Self::new(now);
        }
        self.flow(shares, now);
        self.requests.add(1);
        self.tokens.add(tokens);
    }

    /// The store is told now: requests and tokens. What was owed begins anew; give it [`Owed::back`] if it was not heard.
    pub fn tell(&mut self, shares: Shares, now: Moment) -> ((u64, u64), Self) {
        self.flow(shares, now);
        let told = (
            self.requests.owed(shares.requests_per_minute),
            self.tokens.owed(shares.tokens_per_minute),
        );
        (told, std::mem::replace(self, Self::new(now)))
    }

    /// What was told was not heard.
    pub fn back(&mut self, before: &Self) {
        for (part, before) in [(&mut self.requests, before.requests), (&mut self.tokens, before.tokens)] {
            part.admitted += before.admitted;
            part.level += before.level;
        }
    }

    fn flow(&mut self, shares: Shares, now: Moment) {
        let minutes = now.saturating_since(self.at).as_secs_f64() / Duration::from_mins(1).as_secs_f64();
        self.requests.flow(shares.requests_per_minute, minutes);
        self.tokens.flow(shares.tokens_per_minute, minutes);
        self.at = self.at.max(now);
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, which is what is meant
fn rounded(value: f64) -> u64 {
    value.ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_start(Duration::from_secs(seconds))
    }

    const SHARES: Shares = Shares {
        requests_per_minute: 60,
        tokens_per_minute: 6_000,
        input_per_minute: 0,
        output_per_minute: 0,
        cost_per_minute: 0,
        concurrent: 0,
    };

    #[test]
    fn after_moments_all_is_owed_and_after_minutes_no_more_than_the_bucket_and_its_debt() {
        let mut owed = Owed::new(at(0));
        owed.add(50, SHARES, at(0));
        owed.add(50, SHARES, at(2));
        assert_eq!(owed.tell(SHARES, at(3)).0, (2, 100), "all of it");
        (3..603).for_each(|second| owed.add(50, SHARES, at(second)));
        assert_eq!(
            owed.tell(SHARES, at(603)).0,
            (6, 0),
            "at the whole rate, and at half of it"
        );
        owed.add(9_000, SHARES, at(604));
        assert_eq!(owed.tell(SHARES, at(605)).0, (1, 9_000));
    }

    #[test]
    fn nothing_is_told_twice_and_what_was_not_heard_is_told_again() {
        let mut owed = Owed::new(at(0));
        owed.add(50, SHARES, at(0));
        let (told, before) = owed.tell(SHARES, at(1));
        assert_eq!(told, (1, 50));
        owed.add(7, SHARES, at(1));
        owed.back(&before);
        assert_eq!(owed.tell(SHARES, at(2)).0, (2, 57));
        assert_eq!(owed.tell(SHARES, at(2)).0, (0, 0));
    }
}
