//! When to ship next. Chance spreads a fleet.

use std::time::Duration;

use crate::observe::ledger::Sent;

/// The longest wait between two batches that were taken: half as long at least.
const EVERY: Duration = Duration::from_secs(4);
/// The longest first wait after a failure.
const FIRST: Duration = Duration::from_secs(2);
/// The longest wait after many.
const MOST: Duration = Duration::from_mins(1);
/// The longest wait where the service does not accept who sends, or what: that is not mended by sending.
const DENIED: Duration = Duration::from_mins(3);

/// Failures since the last batch that was taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    failed: u32,
}

/// How long to wait where all is well. `chance`: from 0 to 1.
pub(super) fn idle(chance: f64) -> Duration {
    EVERY / 2 + (EVERY / 2).mul_f64(chance.clamp(0.0, 1.0))
}

impl Pace {
    /// How long to wait after a failure: anything up to a bound that doubles, never nothing.
    pub(super) fn failed(&mut self, sent: Sent, chance: f64) -> Duration {
        let most = match sent {
            Sent::Denied | Sent::Refused => DENIED,
            _ => MOST,
        };
        let longest = FIRST.saturating_mul(1 << self.failed.min(10)).min(most);
        self.failed = self.failed.saturating_add(1);
        longest.mul_f64(chance.clamp(0.05, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_chance_takes_any_part_of_them() {
        let mut pace = Pace::default();
        let longest: Vec<u64> = (0..7).map(|_| pace.failed(Sent::Unreachable, 1.0).as_secs()).collect();
        assert_eq!(longest, [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pace.failed(Sent::Unreachable, 0.0), Duration::from_secs(3));
        let mut pace = Pace { failed: u32::MAX };
        assert_eq!(pace.failed(Sent::Denied, 9.0), DENIED);
        assert_eq!((idle(0.0), idle(1.0)), (EVERY / 2, EVERY));
    }
}
