//! How long to wait before a retry: exponential steps with full jitter, and the provider's own hint where it gives one.
//!
//! Without a hint, retry `n` waits a random time between nothing and `min(base * 2^n, max)`: full jitter spreads a herd
//! over the whole step. A hint (`retry-after` and its kin) is a promise of the provider about when it answers again, so
//! the wait is never shorter than it; the jittered step comes on top, since every caller that was turned away heard the
//! same number. A hint beyond `max_hint` means that waiting is no help here: give up on this provider and try another.

use std::time::Duration;

/// Whether waits are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Anything from nothing to the whole step, evenly.
    #[default]
    Full,
    /// The whole step, always: for tests and for callers that spread by themselves.
    None,
}

/// Valid by construction: see [`BackoffSettings::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffSettings {
    base: Duration,
    max: Duration,
    max_hint: Duration,
    jitter: Jitter,
}

/// Why settings are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A first step of nothing never grows.
    #[error("base must be longer than 0s")]
    ZeroBase,
    /// The steps would start above their own ceiling.
    #[error("max must not be shorter than base")]
    MaxBelowBase,
    /// A wait longer than the longest that [`crate::headroom`] reports serves nobody.
    #[error("max must not be longer than 1h")]
    MaxTooLong,
}

/// What to do before the next attempt at the same provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Wait so long, then try again.
    Wait(Duration),
    /// The provider asks for more patience than allowed: try another one.
    GiveUp,
}

/// The longest hint that is obeyed unless said otherwise. A caller that waits longer has usually gone, and a fallback
/// provider is nearly always sooner.
const DEFAULT_MAX_HINT: Duration = Duration::from_secs(30);

/// For tests alone: what is in force where nothing is configured, `bowsprit_crds` says.
#[cfg(test)]
impl Default for BackoffSettings {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            max: Duration::from_secs(8),
            max_hint: DEFAULT_MAX_HINT,
            jitter: Jitter::Full,
        }
    }
}

impl BackoffSettings {
    /// For what nobody waits for: from a second to five minutes, and as patient as a provider asks for, up to an hour.
    pub const BACKGROUND: Self = Self {
        base: Duration::from_secs(1),
        max: Duration::from_mins(5),
        max_hint: Duration::from_hours(1),
        jitter: Jitter::Full,
    };

    /// Checks the three against each other. The longest hint obeyed is 30 s, or `max` where that is longer.
    pub fn new(base: Duration, max: Duration, jitter: Jitter) -> Result<Self, Invalid> {
        if base.is_zero() {
            return Err(Invalid::ZeroBase);
        }
        if max < base {
            return Err(Invalid::MaxBelowBase);
        }
        if max > Duration::from_hours(1) {
            return Err(Invalid::MaxTooLong);
        }
        Ok(Self {
            base,
            max,
            max_hint: DEFAULT_MAX_HINT.max(max),
            jitter,
        })
    }

    /// The same with another longest hint.
    #[must_use]
    pub fn with_max_hint(mut self, max_hint: Duration) -> Self {
        self.max_hint = max_hint;
        self
    }

    /// The first step.
    pub fn base(&self) -> Duration {
        self.base
    }

    /// The longest step.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The longest hint that is obeyed.
    pub fn max_hint(&self) -> Duration {
        self.max_hint
    }

    /// Whether waits are spread.
    pub fn jitter(&self) -> Jitter {
        self.jitter
    }

    /// The wait before retry number `retry` (0 is the first retry).
    pub fn delay(&self, retry: u32, hint: Option<Duration>, rng: &mut fastrand::Rng) -> Delay {
        let hint = hint.unwrap_or_default();
        if hint > self.max_hint {
            return Delay::GiveUp;
        }
        let step = self.step(retry);
        Delay::Wait(match self.jitter {
            Jitter::Full => hint.saturating_add(Duration::from_nanos(rng.u64(0..=nanos(step)))),
            Jitter::None => hint.max(step),
        })
    }

    /// `min(base * 2^retry, max)` without overflow, whatever `retry` is.
    fn step(&self, retry: u32) -> Duration {
        let factor = 1_u32.checked_shl(retry).unwrap_or(u32::MAX);
        self.base
            .checked_mul(factor)
            .map_or(self.max, |step| step.min(self.max))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain() -> BackoffSettings {
        BackoffSettings::new(Duration::from_millis(100), Duration::from_secs(5), Jitter::None).unwrap()
    }

    fn wait(settings: &BackoffSettings, retry: u32, hint: Option<Duration>) -> Duration {
        match settings.delay(retry, hint, &mut fastrand::Rng::with_seed(1)) {
            Delay::Wait(duration) => duration,
            Delay::GiveUp => panic!("gave up on {hint:?}"),
        }
    }

    #[test]
    fn steps_double_up_to_the_ceiling_and_never_overflow() {
        let millis: Vec<_> = (0..8).map(|retry| wait(&plain(), retry, None).as_millis()).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        for retry in [31, 32, 33, 64, u32::MAX] {
            assert_eq!(wait(&plain(), retry, None), Duration::from_secs(5));
        }
    }

    #[test]
    fn full_jitter_uses_the_whole_step_evenly() {
        let settings = BackoffSettings::new(Duration::from_secs(1), Duration::from_secs(1), Jitter::Full).unwrap();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut tenths = [0_u32; 10];
        for _ in 0..10_000 {
            let Delay::Wait(delay) = settings.delay(0, None, &mut rng) else {
                panic!("gave up without a hint")
            };
            tenths[usize::try_from(delay.as_millis() / 100).unwrap().min(9)] += 1;
        }
        assert!(tenths.iter().all(|count| (850..1_150).contains(count)), "{tenths:?}");
    }

    #[test]
    fn a_hint_is_never_undercut_and_a_herd_is_spread_behind_it() {
        let settings = BackoffSettings::default();
        let mut rng = fastrand::Rng::with_seed(7);
        let hint = Duration::from_secs(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let Delay::Wait(delay) = settings.delay(0, Some(hint), &mut rng) else {
                panic!("gave up on 3 s")
            };
            assert!((hint..=hint + settings.base()).contains(&delay));
            seen.insert(delay);
        }
        assert!(seen.len() > 90, "only {} different waits", seen.len());
    }

    #[test]
    fn a_hint_beyond_the_cap_gives_up_on_the_provider() {
        let settings = plain().with_max_hint(Duration::from_secs(10));
        assert_eq!(
            wait(&settings, 0, Some(Duration::from_secs(10))),
            Duration::from_secs(10)
        );
        let beyond = Duration::from_millis(10_001);
        assert_eq!(
            settings.delay(0, Some(beyond), &mut fastrand::Rng::with_seed(1)),
            Delay::GiveUp
        );
    }

    #[test]
    fn settings_that_contradict_themselves_are_refused() {
        let second = Duration::from_secs(1);
        assert_eq!(
            BackoffSettings::new(Duration::ZERO, second, Jitter::Full),
            Err(Invalid::ZeroBase)
        );
        assert_eq!(
            BackoffSettings::new(second * 2, second, Jitter::Full),
            Err(Invalid::MaxBelowBase)
        );
        assert_eq!(
            BackoffSettings::new(second, second * 3_601, Jitter::Full),
            Err(Invalid::MaxTooLong)
        );
    }

    proptest! {
        #[test]
        fn every_wait_lies_between_the_hint_and_the_hint_plus_the_ceiling(
            base in 1_u64..10_000, extra in 0_u64..1_000_000, retry: u32, hint in prop::option::of(0_u64..60_000), seed: u64,
        ) {
            let (base, max) = (Duration::from_millis(base), Duration::from_millis(base + extra));
            let settings = BackoffSettings::new(base, max, Jitter::Full).unwrap();
            let hint = hint.map(Duration::from_millis);
            match settings.delay(retry, hint, &mut fastrand::Rng::with_seed(seed)) {
                Delay::GiveUp => prop_assert!(hint.unwrap() > settings.max_hint()),
                Delay::Wait(wait) => {
                    let floor = hint.unwrap_or_default();
                    prop_assert!(floor <= settings.max_hint() && floor <= wait && wait <= floor + max);
                }
            }
        }
    }
}
