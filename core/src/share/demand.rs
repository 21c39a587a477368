//! How much a sidecar's requests would use if nothing held them up: what was admitted, refused or waits, smoothed.

use std::time::Duration;

use crate::clock::Moment;

/// Over how long it is smoothed where nothing changes: single requests of a quiet sidecar are no change.
const SLOW: Duration = Duration::from_secs(30);
/// And over how long a change is looked for.
const FAST: Duration = Duration::from_secs(2);
/// What differs by more than so many standard deviations is a change.
const BEYOND_CHANCE: f64 = 2.0;
/// What waits counts as a demand of so much a minute for each unit: so as to be served within ten seconds.
const WAITING: u64 = 6;
/// From one reading of the counts to the next.
const STEP: Duration = Duration::from_millis(500);

/// The demand on one limit.
#[derive(Clone, Debug)]
pub struct Demand {
    slow: f64,
    fast: f64,
    came: u64,
    requests: u64,
    /// What a request uses, smoothed.
    size: f64,
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
            since: now,
            follows_until: now,
        }
    }

    /// A request came that would use so much.
    pub fn note(&mut self, amount: u64) {
        self.came = self.came.saturating_add(amount);
        self.requests = self.requests.saturating_add(1);
    }

    /// What comes in a minute, by what came lately and what waits now.
    pub fn per_minute(&mut self, waiting: u64, now: Moment) -> u64 {
        let passed = now.saturating_since(self.since);
        if passed >= STEP {
            let seconds = passed.as_secs_f64();
            let came = std::mem::take(&mut self.came) as f64;
            let requests = std::mem::take(&mut self.requests) as f64;
            if requests > 0.0 {
                self.size += (came / requests - self.size) * (requests / 20.0).min(1.0);
            }
            let rate = came * 60.0 / seconds;
            let toward = |before: f64, over: Duration| {
                let kept = (-seconds / over.as_secs_f64()).exp();
                before * kept + rate * (1.0 - kept)
            };
            (self.slow, self.fast) = (toward(self.slow, SLOW), toward(self.fast, FAST));
            // The variance of a Poisson process that is smoothed like this, with requests of one size.
            let variance = self.slow.max(self.fast) * self.size * 60.0 / (2.0 * FAST.as_secs_f64());
            if (self.fast - self.slow).abs() > BEYOND_CHANCE * variance.sqrt() {
                self.follows_until = now + FAST * 2;
            }
            if now <= self.follows_until {
                self.slow = self.fast;
            }
            self.since = now;
        }
        rounded(self.slow).max(waiting.saturating_mul(WAITING))
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
}
