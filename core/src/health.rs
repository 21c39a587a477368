//! The health of one provider: what probes say decides whether it is asked, what traffic says decides how gladly.
//!
//! Two things are kept apart on purpose:
//!
//! - **Healthy or not** changes by active probes alone, with thresholds in both directions, so that one lost probe flaps
//!   nothing. Failing traffic is the breaker's ([`crate::breaker`]); it does not mark a provider unhealthy a second time.
//! - **The score**, 0 to 1, ranks candidates that may all be asked. It is the share of good outcomes, recent ones
//!   counting most (half after [`HALF_LIFE`]), starting from and drifting back to 1 as memory fades; lowered by up to a
//!   half where answers have become slow against the provider's own past; and a tenth of that while it is unhealthy.
//!
//! A provider begins healthy, with a score of 1: nothing is known against it.

use crate::clock::Moment;
use std::time::Duration;

/// After this time an outcome counts half.
pub const HALF_LIFE: Duration = Duration::from_secs(30);

/// After this time a latency counts half in what is usual for the provider.
const USUAL_HALF_LIFE: Duration = Duration::from_mins(10);

/// Good outcomes that are assumed before any was seen, so that a single failure is a dent and not a verdict.
const BENEFIT_OF_DOUBT: f64 = 3.0;

/// Slower than its usual by this factor, a provider begins to lose score for it.
const SLOW_FROM: f64 = 2.0;

/// Probes in a row that change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Good probes in a row until an unhealthy provider is healthy; 0 counts as 1.
    pub healthy_threshold: u32,
    /// Bad probes in a row until a healthy provider is unhealthy; 0 counts as 1.
    pub unhealthy_threshold: u32,
}

/// For tests alone: what is in force where nothing is configured, `bowsprit_crds` says.
#[cfg(test)]
impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            healthy_threshold: 2,
            unhealthy_threshold: 3,
        }
    }
}

/// A change that a probe brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Enough good probes.
    BecameHealthy,
    /// Enough bad ones.
    BecameUnhealthy,
}

/// The health of one provider.
#[derive(Clone, Debug)]
pub struct Health {
    settings: HealthSettings,
    healthy: bool,
    /// Probes in a row that speak against the present state.
    against: u32,
    good: Fading,
    bad: Fading,
    recent: Latency,
    usual: Latency,
}

impl Health {
    /// Healthy, with nothing known.
    pub fn new(settings: HealthSettings) -> Self {
        let (good, bad) = (Fading::new(HALF_LIFE), Fading::new(HALF_LIFE));
        let (recent, usual) = (Latency::new(HALF_LIFE), Latency::new(USUAL_HALF_LIFE));
        Self {
            settings,
            healthy: true,
            against: 0,
            good,
            bad,
            recent,
            usual,
        }
    }

    /// Takes new thresholds and keeps what is known.
    pub fn reconfigure(&mut self, settings: HealthSettings) {
        self.settings = settings;
    }

    /// Counts an active probe; it counts in the score as well.
    pub fn on_probe(&mut self, ok: bool, now: Moment) -> Option<Change> {
        self.count(ok, now);
        if ok == self.healthy {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let (needed, change) = if ok {
            (self.settings.healthy_threshold, Change::BecameHealthy)
        } else {
            (self.settings.unhealthy_threshold, Change::BecameUnhealthy)
        };
        if self.against < needed.max(1) {
            return None;
        }
        self.healthy = ok;
        self.against = 0;
        Some(change)
    }

    /// Counts the outcome of a request; `latency` (until the head of the response came) only of good ones.
    pub fn on_outcome(&mut self, ok: bool, latency: Option<Duration>, now: Moment) {
        self.count(ok, now);
        if let Some(latency) = latency.filter(|_| ok) {
            self.recent.add(latency, now);
            self.usual.add(latency, now);
        }
    }

    fn count(&mut self, ok: bool, now: Moment) {
        let side = if ok { &mut self.good } else { &mut self.bad };
        side.add(1.0, now);
    }

    /// Whether probes say that it may be asked.
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// How gladly it should be asked: 0 (never) to 1.
    pub fn score(&self, now: Moment) -> f64 {
        let (good, bad) = (self.good.value(now) + BENEFIT_OF_DOUBT, self.bad.value(now));
        let reach = if self.healthy { 1.0 } else { 0.1 };
        (good / (good + bad) * self.pace(now) * reach).clamp(0.0, 1.0)
    }

    /// 1 at the usual pace, down to a half where recent answers are four times as slow as usual.
    fn pace(&self, now: Moment) -> f64 {
        match (self.recent.mean(now), self.usual.mean(now)) {
            (Some(recent), Some(usual)) if recent > usual * SLOW_FROM => (usual * SLOW_FROM / recent).max(0.5),
            _ => 1.0,
        }
    }
}

/// A sum whose parts fade: each counts half after the half-life.
#[derive(Clone, Copy, Debug)]
struct Fading {
    half_life: Duration,
    sum: f64,
    at: Moment,
}

impl Fading {
    fn new(half_life: Duration) -> Self {
        Self {
            half_life,
            sum: 0.0,
            at: Moment::ZERO,
        }
    }

    fn value(&self, now: Moment) -> f64 {
        // Of a provider that does not fail most sums are nothing, and stay it.
        if self.sum <= 0.0 {
            return 0.0;
        }
        self.sum * (-(now - self.at).as_secs_f64() / self.half_life.as_secs_f64()).exp2()
    }

    fn add(&mut self, part: f64, now: Moment) {
        self.sum = self.value(now) + part;
        self.at = self.at.max(now);
    }
}

/// A mean latency whose parts fade.
#[derive(Clone, Copy, Debug)]
struct Latency {
    seconds: Fading,
    count: Fading,
}

impl Latency {
    fn new(half_life: Duration) -> Self {
        Self {
            seconds: Fading::new(half_life),
            count: Fading::new(half_life),
        }
    }

    fn add(&mut self, latency: Duration, now: Moment) {
        self.seconds.add(latency.as_secs_f64(), now);
        self.count.add(1.0, now);
    }

    /// `None` until there is enough to speak of, and again once it has faded.
    fn mean(&self, now: Moment) -> Option<f64> {
        let count = self.count.value(now);
        (count >= 1.0).then(|| self.seconds.value(now) / count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(secs: u64) -> Moment {
        Moment::from_start(Duration::from_secs(secs))
    }

    fn fresh() -> Health {
        Health::new(HealthSettings::default())
    }

    #[test]
    fn a_provider_begins_healthy_with_a_full_score() {
        assert!(fresh().is_healthy());
        assert!((fresh().score(at(0)) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn thresholds_count_probes_in_a_row_in_both_directions() {
        let mut health = fresh();
        let changes: Vec<_> = [false, false, true, false, false]
            .map(|ok| health.on_probe(ok, at(0)))
            .to_vec();
        assert_eq!(changes, [None; 5], "never three in a row");
        assert_eq!(health.on_probe(false, at(1)), Some(Change::BecameUnhealthy));
        assert!(!health.is_healthy());
        assert_eq!([true, false, true].map(|ok| health.on_probe(ok, at(2))), [None; 3]);
        assert_eq!(health.on_probe(true, at(3)), Some(Change::BecameHealthy));
        assert_eq!(health.on_probe(true, at(4)), None, "reported once");
    }

    #[test]
    fn a_threshold_of_zero_is_one() {
        let mut health = Health::new(HealthSettings {
            healthy_threshold: 0,
            unhealthy_threshold: 0,
        });
        assert_eq!(health.on_probe(false, at(0)), Some(Change::BecameUnhealthy));
        assert_eq!(health.on_probe(true, at(0)), Some(Change::BecameHealthy));
    }

    #[test]
    fn traffic_alone_never_makes_it_unhealthy() {
        let mut health = fresh();
        for _ in 0..1_000 {
            health.on_outcome(false, None, at(0));
        }
        assert!(health.is_healthy());
        assert!(health.score(at(0)) < 0.01);
    }

    #[test]
    fn failures_fade_until_the_score_is_whole_again() {
        let mut health = fresh();
        for _ in 0..20 {
            health.on_outcome(false, None, at(0));
        }
        let scores: Vec<_> = [0, 30, 60, 120, 600].map(|second| health.score(at(second))).to_vec();
        assert!(scores.is_sorted() && scores[0] < 0.2 && scores[4] > 0.99, "{scores:?}");
    }

    #[test]
    fn recent_outcomes_weigh_more_than_old_ones() {
        let (mut recovered, mut fell) = (fresh(), fresh());
        for (second, ok) in [(0, false), (90, true)] {
            for _ in 0..10 {
                recovered.on_outcome(ok, None, at(second));
                fell.on_outcome(!ok, None, at(second));
            }
        }
        assert!(recovered.score(at(90)) > 0.9 && fell.score(at(90)) < 0.4);
    }

    #[test]
    fn a_provider_slower_than_its_own_past_loses_up_to_half() {
        let mut health = fresh();
        for second in 0..300 {
            health.on_outcome(true, Some(Duration::from_millis(200)), at(second));
        }
        assert!((health.score(at(300)) - 1.0).abs() < 1e-9);
        for second in 300..360 {
            health.on_outcome(true, Some(Duration::from_secs(5)), at(second));
        }
        let slow = health.score(at(360));
        assert!((0.5..0.99).contains(&slow), "{slow}");
    }

    #[test]
    fn an_unhealthy_one_ranks_below_any_healthy_one_that_still_answers_now_and_then() {
        let (mut down, mut shaky) = (fresh(), fresh());
        for _ in 0..3 {
            down.on_probe(false, at(0));
        }
        for _ in 0..10 {
            shaky.on_outcome(false, None, at(0));
        }
        assert!(down.score(at(0)) < shaky.score(at(0)));
    }

    proptest! {
        #[test]
        fn the_score_never_leaves_its_range(steps in prop::collection::vec((0_u64..10_000, 0_u8..4, prop::option::of(0_u64..1 << 40)), 1..200)) {
            let (mut health, mut now) = (fresh(), 0);
            for (pause, what, latency) in steps {
                now += pause;
                if what < 2 {
                    health.on_outcome(what == 0, latency.map(Duration::from_millis), at(now));
                } else {
                    health.on_probe(what == 2, at(now));
                }
                prop_assert!((0.0..=1.0).contains(&health.score(at(now))));
            }
        }
    }
}
