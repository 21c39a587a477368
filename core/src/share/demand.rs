//! How much a sidecar's requests would use if nothing held them up: what was admitted, refused or waits, smoothed.

use std::time::Duration;

use crate::clock::Moment;

/// Over how long it is smoothed where nothing changes: single requests of a quiet sidecar are no change.
const SLOW: Duration = Duration::from_secs(10);
/// And over how long a change is looked for.
const FAST: Duration = Duration::from_secs(2);
/// What differs by more than so many standard deviations is a change.
const BEYOND_CHANCE: f64 = 2.0;
/// And so is it where none comes while so many were to be expected: chance keeps them all away once in e^4 = 55 times.
const MISSED: f64 = 4.0;
/// Who waits counts as a demand of so many a minute: so as to be served within ten seconds.
const WAITING: u64 = 6;
/// What a request uses is the mean of so many.
const MEAN_OF: f64 = 20.0;
/// From one reading of the counts to the next.
const STEP: Duration = Duration::from_millis(500);

/// The demand on one limit.
#[derive(Clone, Debug)]
pub struct Demand {
    slow: f64,
    fast: f64,
    came: u64,
    requests: u64,
    /// What a request uses, and the mean of how many that is.
    size: f64,
    sized: f64,
    /// How many were to be expected since the last one.
    missed: f64,
    since: Moment,
    /// After a change was seen, until when what came lately counts alone.
    follows_until: Moment,
}

impl Demand {
    /// Nothing has come yet.
    pub fn new(now: Moment) -> Self {
        Self {
            slow: 0.0,
            fast: 0.0,
            came: 0,
            requests: 0,
            size: 1.0,
            sized: 0.0,
            missed: 0.0,
            since: now,
            follows_until: now,
        }
    }

    /// A request came that would use so much.
    pub fn note(&mut self, amount: u64) {
        self.came = self.came.saturating_add(amount);
        self.requests = self.requests.saturating_add(1);
    }

    /// What comes in a minute, by what came lately and how many requests wait now.
    pub fn per_minute(&mut self, waiting: u64, now: Moment) -> u64 {
        let passed = now.saturating_since(self.since);
        if passed >= STEP {
            let seconds = passed.as_secs_f64();
            let came = std::mem::take(&mut self.came) as f64;
            let requests = std::mem::take(&mut self.requests) as f64;
            if requests > 0.0 {
                self.missed = 0.0;
                self.sized = (self.sized + requests).min(MEAN_OF);
                self.size += (came / requests - self.size) * (requests / self.sized).min(1.0);
            } else if self.size > 0.0 {
                self.missed += self.slow / self.size * seconds / 60.0;
            }
            let rate = came * 60.0 / seconds;
            let toward = |before: f64, over: Duration| {
                let kept = (-seconds / over.as_secs_f64()).exp();
                before * kept + rate * (1.0 - kept)
            };
            (self.slow, self.fast) = (toward(self.slow, SLOW), toward(self.fast, FAST));
            // The variance of a Poisson process that is smoothed like this, with requests of one size.
            let variance = self.slow.max(self.fast) * self.size * 60.0 / (2.0 * FAST.as_secs_f64());
            if self.missed > MISSED || (self.fast - self.slow).abs() > BEYOND_CHANCE * variance.sqrt() {
                self.follows_until = now + FAST * 2;
            }
            if now <= self.follows_until {
                self.slow = self.fast;
            }
            self.since = now;
        }
        let waits = waiting.saturating_mul(WAITING) as f64 * self.size;
        rounded(self.slow.max(waits))
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, which is what is meant
fn rounded(value: f64) -> u64 {
    value.ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_within_seconds_and_one_request_is_no_change() {
        let at = |millis: u64| Moment::from_start(Duration::from_millis(millis));
        let mut demand = Demand::new(at(0));
        let mut seen = Vec::new();
        for second in 1..=40 {
            (0..if second <= 20 { 10 } else { 0 }).for_each(|_| demand.note(1));
            seen.push(demand.per_minute(0, at(second * 1_000)));
        }
        assert!(seen[4] > 500 && seen[19] > 550 && seen[19] <= 600, "{seen:?}");
        assert!(seen[24] < 150 && seen[39] < 40, "{seen:?}");
        demand.note(1);
        assert!(demand.per_minute(0, at(41_000)) < 60, "one request");
        assert_eq!(
            demand.per_minute(50, at(41_001)),
            300,
            "what waits is wanted within ten seconds"
        );
    }

    #[test]
    fn who_has_fallen_silent_is_believed_within_seconds_however_few_its_requests_were() {
        let at = |millis: u64| Moment::from_start(Duration::from_millis(millis));
        let mut demand = Demand::new(at(0));
        for half in 1..=60 {
            (0..half % 2).for_each(|_| demand.note(300));
            demand.per_minute(0, at(half * 500));
        }
        let before = demand.per_minute(0, at(30_000));
        assert!(before > 15_000, "60 a minute of 300 each: {before}");
        let silent: Vec<_> = (61..=80).map(|half| demand.per_minute(0, at(half * 500))).collect();
        assert!(silent[19] < 300, "ten seconds later not even one: {silent:?}");
        assert_eq!(
            demand.per_minute(2, at(40_001)),
            2 * 6 * 300,
            "who waits wants what requests take here, within ten seconds"
        );
    }
}
