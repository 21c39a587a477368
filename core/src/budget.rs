//! The retry budget: one per pod, over all providers, so that an outage is never answered with a storm.
//!
//! Every new request deposits, every retry withdraws. Within any window (10 s by default) the retries allowed are the
//! larger of
//!
//! - `ratio` of the requests of that window (0.2: one retry to five requests), and
//! - `min_per_second` times the window (1/s: ten).
//!
//! What that promises: cut the time into windows, each ending at its last retry; each holds at most `ratio` of its own
//! requests. So with all providers down and every request asking for all of its retries, what goes upstream is at most
//! 1.2 times what the callers sent, as long as they send at least `min_per_second / ratio` (5) requests a second.
//! Below that rate the floor rules: a quiet pod would otherwise have no retry at all just when one matters, and one
//! retry a second is no storm whatever factor of its few requests it is. Set the floor to zero for 1.2 at every rate.
//!
//! A switch to another provider is for the caller of this module to count or not; a repeat at the same one always is.

use crate::clock::Moment;
use crate::window::Window;
use std::time::Duration;

/// How much may be retried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Retries per request, 0 to 1. What is not a number counts as 0.
    pub ratio: f64,
    /// Retries a second that are allowed however few requests there are.
    pub min_per_second: f64,
    /// The time over which both are counted; at least 10 ms.
    pub window: Duration,
}

impl Default for Settings {
    /// 0.2 over 10 s, as Finagle and tower do; the floor is 1/s where they take 10/s, since a fleet has one budget a pod.
    fn default() -> Self {
        Self {
            ratio: 0.2,
            min_per_second: 1.0,
            window: Duration::from_secs(10),
        }
    }
}

const MILLION: u64 = 1_000_000;

/// The budget of one pod.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Retries allowed per million requests: whole numbers, so that 0.2 of 5 is 1 and not 0.9999.
    per_million: u64,
    floor: u64,
    /// Requests and retries.
    window: Window,
}

impl Budget {
    /// A budget that has seen nothing yet: the floor is available at once.
    pub fn new(settings: Settings, now: Moment) -> Self {
        let length = settings.window.max(Duration::from_millis(10));
        let mut window = Window::new(length);
        window.add(0, 0, now);
        Self {
            per_million: whole(settings.ratio.clamp(0.0, 1.0) * MILLION as f64),
            floor: whole(settings.min_per_second.clamp(0.0, 1e6) * length.as_secs_f64()),
            window,
        }
    }

    /// Counts one request of a caller. Call it when the request is sent, not when it is answered.
    pub fn deposit(&mut self, now: Moment) {
        self.window.add(1, 0, now);
    }

    /// Takes one retry if one is left; `false` means do not retry.
    pub fn withdraw(&mut self, now: Moment) -> bool {
        let left = self.remaining(now) > 0;
        if left {
            self.window.add(0, 1, now);
        }
        left
    }

    /// Retries that are left at `now`.
    pub fn remaining(&mut self, now: Moment) -> u64 {
        let (requests, retries) = self.window.sum(now);
        let share = u128::from(requests) * u128::from(self.per_million) / u128::from(MILLION);
        u64::try_from(share)
            .unwrap_or(u64::MAX)
            .max(self.floor)
            .saturating_sub(retries)
    }
}

/// Rounds to the nearest whole number; NaN and what is negative become 0.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, which is what is meant
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    /// A total outage: every request fails and asks for `wanted` retries. Returns (sent upstream, sent by callers).
    fn outage(rate: u64, seconds: u64, wanted: u64, settings: Settings) -> (u64, u64) {
        let mut budget = Budget::new(settings, at(0));
        let (mut upstream, mut callers) = (0, 0);
        for request in 0..rate * seconds {
            let now = at(request * 1_000 / rate);
            budget.deposit(now);
            callers += 1;
            upstream += 1 + (0..wanted).filter(|_| budget.withdraw(now)).count() as u64;
        }
        (upstream, callers)
    }

    #[test]
    fn a_total_outage_is_amplified_by_no_more_than_a_fifth_from_five_requests_a_second_up() {
        for rate in [5, 7, 10, 50, 200, 1_000] {
            let (upstream, callers) = outage(rate, 120, 4, Settings::default());
            // The first window knows few requests, so the floor's ten retries may come early; they are a constant.
            assert!(
                upstream <= callers + callers / 5 + 10,
                "{rate}/s: {upstream} for {callers}"
            );
            let (upstream, callers) = outage(
                rate,
                120,
                4,
                Settings {
                    min_per_second: 0.0,
                    ..Settings::default()
                },
            );
            assert!(
                upstream * 5 <= callers * 6,
                "{rate}/s without a floor: {upstream} for {callers}"
            );
            assert!(
                upstream * 100 >= callers * 119 || rate < 50,
                "{rate}/s: the budget is there to be used: {upstream}"
            );
        }
    }

    #[test]
    fn at_a_low_rate_the_floor_is_a_retry_a_second_and_no_more() {
        let (upstream, callers) = outage(1, 600, 4, Settings::default());
        assert!(
            upstream - callers <= 600 + 10,
            "{} retries in 600 s",
            upstream - callers
        );
        assert!(upstream - callers >= 590);
    }

    #[test]
    fn a_quiet_pod_still_has_its_floor() {
        let mut budget = Budget::new(Settings::default(), at(0));
        assert_eq!((0..100).filter(|_| budget.withdraw(at(3_600_000))).count(), 10);
        assert!(budget.withdraw(at(3_611_000)), "the window passed");
    }

    #[test]
    fn a_fifth_is_exact() {
        let mut budget = Budget::new(
            Settings {
                min_per_second: 0.0,
                ..Settings::default()
            },
            at(0),
        );
        for _ in 0..4 {
            budget.deposit(at(0));
        }
        assert!(!budget.withdraw(at(0)));
        budget.deposit(at(0));
        assert!(budget.withdraw(at(0)));
        assert!(!budget.withdraw(at(0)));
    }

    #[test]
    fn settings_that_make_no_sense_allow_nothing() {
        let settings = Settings {
            ratio: f64::NAN,
            min_per_second: -3.0,
            window: Duration::ZERO,
        };
        let mut budget = Budget::new(settings, at(0));
        budget.deposit(at(0));
        assert!(!budget.withdraw(at(0)));
    }

    proptest! {
        #[test]
        fn no_mix_of_requests_and_retries_beats_the_ratio(steps in prop::collection::vec((0_u64..2_000, 0_u64..20, 0_u64..20), 1..200)) {
            let mut budget = Budget::new(Settings { min_per_second: 0.0, ..Settings::default() }, at(0));
            let (mut now, mut requests, mut retries) = (0, 0, 0);
            for (pause, deposits, wanted) in steps {
                now += pause;
                for _ in 0..deposits {
                    budget.deposit(at(now));
                }
                requests += deposits;
                retries += (0..wanted).filter(|_| budget.withdraw(at(now))).count() as u64;
                prop_assert!(retries * 5 <= requests);
            }
        }
    }
}
