//! The retry budget: one per pod, over all providers, so that an outage is never answered with a storm.
//!
//! One window (10 s) counts the callers' requests and, beside them, what is sent for them beyond what they need. That may
//! be at any moment, for each provider by its own [`BudgetSettings`], the larger of
//!
//! - `ratio` of the requests of that window (0.2: one to five requests), and
//! - `min_per_second` times the window (1/s: ten).
//!
//! What costs and what does not (`docs/adr/0010`):
//!
//! - A repeat at the same provider costs one, and so does a switch to a provider that is not answering either
//!   ([`Trust`]). Without room it is not made. Where a switch can be made, a provider that is not answering is not asked
//!   again at all: such repeats would use up what the switches need.
//! - A switch to a provider that answers costs nothing: one provider's outage must not stop requests from going where
//!   they are served. (Nor does a hedge, which has an allowance of its own.)
//! - An SDK's own retry costs one and is always taken in ([`Budget::spend`]): it is no new request, but a repeat that
//!   was made before us, and leaves the less for ours.
//!
//! What that promises: cut the time into windows, each ending at its last withdrawal; each holds at most `ratio` of its
//! own requests. So with all providers down and every request asking for all it may, what goes upstream is at most 1.2
//! times what the callers sent, as long as they send at least `min_per_second / ratio` (5) requests a second, and but for
//! the five switches by which each provider loses its trust. Below that rate the floor rules: a quiet pod would
//! otherwise have no retry at all just when one matters, and one retry a second is no storm whatever factor of its few
//! requests it is. Set the floor to zero for 1.2 at every rate.

use crate::clock::Moment;
use crate::window::Window;
use std::time::Duration;

/// The time over which requests and what is sent beyond them are counted.
pub const WINDOW: Duration = Duration::from_secs(10);

/// How much may be sent beyond the requests, for the sake of one provider.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetSettings {
    /// Extra attempts per request, 0 to 1. What is not a number counts as 0.
    pub ratio: f64,
    /// Extra attempts a second that are allowed however few requests there are.
    pub min_per_second: f64,
}

/// For tests alone: what is in force where nothing is configured, `bowsprit_crds` says.
#[cfg(test)]
impl Default for BudgetSettings {
    fn default() -> Self {
        Self {
            ratio: 0.2,
            min_per_second: 1.0,
        }
    }
}

const MILLION: u64 = 1_000_000;

impl BudgetSettings {
    /// Extra attempts that so many requests allow in one window. In whole numbers, so that 0.2 of 5 is 1 and not 0.9999.
    fn allowed(&self, requests: u64) -> u64 {
        let per_million = whole(self.ratio.clamp(0.0, 1.0) * MILLION as f64);
        let share = u128::from(requests) * u128::from(per_million) / u128::from(MILLION);
        let floor = whole(self.min_per_second.clamp(0.0, 1e6) * WINDOW.as_secs_f64());
        u64::try_from(share).unwrap_or(u64::MAX).max(floor)
    }
}

/// The budget of one pod.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Requests and extra attempts.
    window: Window,
}

impl Default for Budget {
    /// A budget that has seen nothing yet: the floor is available at once.
    fn default() -> Self {
        Self {
            window: Window::new(WINDOW),
        }
    }
}

impl Budget {
    /// Counts one request of a caller. Call it when the request is sent, not when it is answered.
    pub fn deposit(&mut self, now: Moment) {
        self.window.add(1, 0, now);
    }

    /// Takes one extra attempt if there is room; `false` means do not send it.
    pub fn withdraw(&mut self, settings: &BudgetSettings, now: Moment) -> bool {
        let left = self.remaining(settings, now) > 0;
        if left {
            self.spend(now);
        }
        left
    }

    /// Notes an extra attempt that is made whether there is room or not.
    pub fn spend(&mut self, now: Moment) {
        self.window.add(0, 1, now);
    }

    /// Extra attempts that are left at `now`.
    pub fn remaining(&mut self, settings: &BudgetSettings, now: Moment) -> u64 {
        let (requests, extra) = self.window.sum(now);
        settings.allowed(requests).saturating_sub(extra)
    }
}

/// Rounds to the nearest whole number; NaN and what is negative become 0.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, which is what is meant
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Whether a provider and model answers: what decides whether a switch to it costs anything.
///
/// A failure costs ten points, an answer earns one, of a hundred; above fifty it is trusted (gRPC's retry throttling has
/// the same measure). So five failures in a row take the trust of the best, and one failure to ten answers is the most
/// that can go on for long: below that a switch is nearly always worth it, above it the budget holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust(u8);

const FULL_TRUST: u8 = 100;
const TRUSTED_ABOVE: u8 = 50;
const COST_OF_FAILURE: u8 = 10;

impl Default for Trust {
    /// Nothing is known against it.
    fn default() -> Self {
        Self(FULL_TRUST)
    }
}

impl Trust {
    /// It answered.
    pub fn answered(&mut self) {
        self.0 = (self.0 + 1).min(FULL_TRUST);
    }

    /// It did not, whatever the reason: what that costs is the attempt.
    pub fn failed(&mut self) {
        self.0 = self.0.saturating_sub(COST_OF_FAILURE);
    }

    /// Whether a switch to it is likely to be answered.
    pub fn is_given(self) -> bool {
        self.0 > TRUSTED_ABOVE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    const NO_FLOOR: BudgetSettings = BudgetSettings {
        ratio: 0.2,
        min_per_second: 0.0,
    };

    /// A total outage: every request fails and asks for `wanted` retries. Returns (sent upstream, sent by callers).
    fn outage(rate: u64, seconds: u64, wanted: u64, settings: BudgetSettings) -> (u64, u64) {
        let mut budget = Budget::default();
        let (mut upstream, mut callers) = (0, 0);
        for request in 0..rate * seconds {
            let now = at(request * 1_000 / rate);
            budget.deposit(now);
            callers += 1;
            upstream += 1 + (0..wanted).filter(|_| budget.withdraw(&settings, now)).count() as u64;
        }
        (upstream, callers)
    }

    #[test]
    fn a_total_outage_is_amplified_by_no_more_than_a_fifth_from_five_requests_a_second_up() {
        for rate in [5, 7, 10, 50, 200, 1_000] {
            let (upstream, callers) = outage(rate, 120, 4, BudgetSettings::default());
            // The first window knows few requests, so the floor's ten retries may come early; they are a constant.
            assert!(
                upstream <= callers + callers / 5 + 10,
                "{rate}/s: {upstream} for {callers}"
            );
            let (upstream, callers) = outage(rate, 120, 4, NO_FLOOR);
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
        let (upstream, callers) = outage(1, 600, 4, BudgetSettings::default());
        assert!(
            upstream - callers <= 600 + 10,
            "{} retries in 600 s",
            upstream - callers
        );
        assert!(upstream - callers >= 590);
    }

    #[test]
    fn a_quiet_pod_still_has_its_floor() {
        let (mut budget, settings) = (Budget::default(), BudgetSettings::default());
        assert_eq!(
            (0..100).filter(|_| budget.withdraw(&settings, at(3_600_000))).count(),
            10
        );
        assert!(budget.withdraw(&settings, at(3_611_000)), "the window passed");
    }

    #[test]
    fn a_fifth_is_exact() {
        let mut budget = Budget::default();
        for _ in 0..4 {
            budget.deposit(at(0));
        }
        assert!(!budget.withdraw(&NO_FLOOR, at(0)));
        budget.deposit(at(0));
        assert!(budget.withdraw(&NO_FLOOR, at(0)));
        assert!(!budget.withdraw(&NO_FLOOR, at(0)));
    }

    #[test]
    fn providers_share_one_budget_each_within_its_own_share() {
        let mut budget = Budget::default();
        let half = BudgetSettings {
            ratio: 0.5,
            min_per_second: 0.0,
        };
        for _ in 0..10 {
            budget.deposit(at(0));
        }
        assert_eq!((0..10).filter(|_| budget.withdraw(&NO_FLOOR, at(0))).count(), 2);
        assert_eq!(
            (0..10).filter(|_| budget.withdraw(&half, at(0))).count(),
            3,
            "five in all"
        );
        assert!(!budget.withdraw(&NO_FLOOR, at(0)));
    }

    #[test]
    fn a_repeat_that_was_made_before_us_leaves_the_less_for_ours() {
        let mut budget = Budget::default();
        for _ in 0..10 {
            budget.deposit(at(0));
        }
        for _ in 0..50 {
            budget.spend(at(0));
        }
        assert!(!budget.withdraw(&NO_FLOOR, at(0)));
        assert!(
            !budget.withdraw(&BudgetSettings::default(), at(0)),
            "not even the floor"
        );
        assert!(
            budget.withdraw(&BudgetSettings::default(), at(10_000)),
            "the window passed"
        );
    }

    #[test]
    fn settings_that_make_no_sense_allow_nothing() {
        let settings = BudgetSettings {
            ratio: f64::NAN,
            min_per_second: -3.0,
        };
        let mut budget = Budget::default();
        budget.deposit(at(0));
        assert!(!budget.withdraw(&settings, at(0)));
    }

    #[test]
    fn trust_is_lost_quickly_and_earned_slowly() {
        let mut trust = Trust::default();
        (0..4).for_each(|_| trust.failed());
        assert!(trust.is_given(), "a good name survives a few failures");
        trust.failed();
        assert!(!trust.is_given());
        trust.answered();
        assert!(trust.is_given());
        (0..1_000).for_each(|_| trust.failed());
        (0..50).for_each(|_| trust.answered());
        assert!(!trust.is_given());
        trust.answered();
        assert!(trust.is_given(), "and no past is held against it for ever");
    }

    /// Requests, 50 a second, go through a chain of three providers that fail so much of what they are sent; a repeat at
    /// the same one is asked for too. Returns (sent upstream, sent by callers, answered).
    fn chain(percents: [u32; 3], seed: u64) -> (u64, u64, u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut budget, mut trust) = (Budget::default(), [Trust::default(); 3]);
        let (mut upstream, mut answered) = (0, 0);
        let callers = 20_000;
        for request in 0..callers {
            let now = at(request * 20);
            budget.deposit(now);
            'request: for (place, (trust, percent)) in trust.iter_mut().zip(percents).enumerate() {
                if place > 0 && !trust.is_given() && !budget.withdraw(&NO_FLOOR, now) {
                    continue;
                }
                for attempt in 0..2 {
                    let elsewhere = place < 2 && !trust.is_given();
                    if attempt > 0 && (elsewhere || !budget.withdraw(&NO_FLOOR, now)) {
                        break;
                    }
                    upstream += 1;
                    if rng.u32(0..100) >= percent {
                        trust.answered();
                        answered += 1;
                        break 'request;
                    }
                    trust.failed();
                }
            }
        }
        (upstream, callers, answered)
    }

    #[test]
    fn no_failure_rate_of_all_is_amplified_beyond_a_fifth_over_a_whole_chain() {
        for percent in [0, 1, 5, 8, 9, 10, 12, 15, 20, 30, 50, 70, 90, 99, 100] {
            let (upstream, callers, answered) = chain([percent; 3], u64::from(percent));
            // Beyond the share: the switches by which two providers lose their trust.
            assert!(
                upstream * 5 <= callers * 6 + 10 * 5,
                "{percent} %: {upstream} for {callers}"
            );
            let alone = callers * u64::from(100 - percent) / 100;
            assert!(
                answered * 101 >= alone * 100,
                "{percent} %: {answered} of {callers} answered"
            );
        }
    }

    #[test]
    fn while_another_provider_answers_nobody_is_turned_away_for_the_budgets_sake() {
        for percents in [[100, 0, 0], [50, 0, 0], [100, 5, 5], [50, 5, 5]] {
            let (_, callers, answered) = chain(percents, 7);
            assert!(
                answered * 1_000 >= callers * 997,
                "{percents:?}: {answered} of {callers}"
            );
        }
        // One that is down is not waited for before the next: two switches, each free as far as it is answered.
        let (_, callers, answered) = chain([100, 100, 0], 7);
        assert!(answered * 1_000 >= callers * 999, "{answered} of {callers}");
    }

    proptest! {
        #[test]
        fn no_mix_of_requests_and_retries_beats_the_ratio(steps in prop::collection::vec((0_u64..2_000, 0_u64..20, 0_u64..20), 1..200)) {
            let mut budget = Budget::default();
            let (mut now, mut requests, mut retries) = (0, 0, 0);
            for (pause, deposits, wanted) in steps {
                now += pause;
                for _ in 0..deposits {
                    budget.deposit(at(now));
                }
                requests += deposits;
                retries += (0..wanted).filter(|_| budget.withdraw(&NO_FLOOR, at(now))).count() as u64;
                prop_assert!(retries * 5 <= requests);
            }
        }
    }
}
