//! When to try again. Chance spreads a fleet that lost its operator in one moment over the seconds after it.

use std::time::Duration;

use super::state::{Ended, Why};

/// The shortest wait.
const LEAST: Duration = Duration::from_millis(500);
/// The longest first wait: ten thousand sidecars that come back within it are two thousand handshakes a second.
const FIRST: Duration = Duration::from_secs(5);
/// The longest wait: a fleet whose operators were away for a minute is whole again a quarter of a minute after they are back. While
/// they are away it is one lookup of their name in eight seconds for each sidecar.
const MOST: Duration = Duration::from_secs(15);
/// The longest time that an operator is left alone because it asks for it.
const ASKED_MOST: Duration = Duration::from_mins(1);
/// The longest first and last wait where the operator does not accept who asks: that is not mended by asking.
const DENIED: (Duration, Duration) = (Duration::from_secs(20), Duration::from_mins(3));

/// Attempts since the operator was heard last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    failed: u32,
}

impl Pace {
    /// How long to wait after an end: no less than the operator asked for. `chance`: from 0 to 1.
    pub(super) fn after(&mut self, ended: &Ended, chance: f64) -> Duration {
        let (first, most) = match ended.why {
            // The moment was chance's already.
            Why::Moved => return Duration::ZERO,
            Why::Denied => DENIED,
            _ => (FIRST, MOST),
        };
        let longest = first.saturating_mul(1 << self.failed.min(10)).min(most);
        self.failed = self.failed.saturating_add(1);
        let own = LEAST + longest.saturating_sub(LEAST).mul_f64(chance.clamp(0.0, 1.0));
        own.max(ended.not_before.unwrap_or_default().min(ASKED_MOST))
    }
}

/// When to leave an operator that is about to end and wants everybody gone `within_ms` milliseconds.
pub(super) fn leave_after(within_ms: u64, chance: f64) -> Duration {
    Duration::from_millis(within_ms)
        .min(MOST)
        .mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(why: Why) -> Ended {
        Ended::new(why, "")
    }

    #[test]
    fn an_operator_that_asks_for_time_gets_it_within_reason_and_is_asked_ever_more_seldom() {
        let asked = |seconds: u64| Ended {
            not_before: Some(Duration::from_secs(seconds)),
            ..ended(Why::Refused)
        };
        let mut pace = Pace::default();
        assert_eq!(pace.after(&asked(3), 0.0), Duration::from_secs(3));
        assert_eq!(
            pace.after(&asked(3), 1.0),
            Duration::from_secs(10),
            "its own wait is longer"
        );
        assert_eq!(pace.after(&asked(u64::MAX), 0.0), ASKED_MOST);
    }

    #[test]
    fn waits_grow_to_their_bound_and_are_spread_between_it_and_nearly_nothing() {
        let mut pace = Pace::default();
        let longest: Vec<u64> = (0..5)
            .map(|_| pace.after(&ended(Why::Unreachable), 1.0).as_secs())
            .collect();
        assert_eq!(longest, [5, 10, 15, 15, 15]);
        assert_eq!(pace.after(&ended(Why::Closed), 0.0), LEAST);
        assert_eq!(pace.after(&ended(Why::Closed), 0.5), Duration::from_millis(7_750));
        let mut pace = Pace { failed: u32::MAX };
        assert_eq!(pace.after(&ended(Why::Closed), 7.0), MOST, "whatever comes");
    }

    #[test]
    fn who_is_denied_asks_seldom_and_who_was_sent_away_at_once() {
        let mut pace = Pace::default();
        let longest: Vec<u64> = (0..5).map(|_| pace.after(&ended(Why::Denied), 1.0).as_secs()).collect();
        assert_eq!(longest, [20, 40, 80, 160, 180]);
        assert_eq!(pace.after(&ended(Why::Moved), 1.0), Duration::ZERO);
    }

    #[test]
    fn an_operator_that_ends_is_left_at_some_moment_of_its_window() {
        assert_eq!(leave_after(5_000, 0.0), Duration::ZERO);
        assert_eq!(leave_after(5_000, 0.5), Duration::from_millis(2_500));
        assert_eq!(leave_after(u64::MAX, 1.0), MOST);
    }
}
