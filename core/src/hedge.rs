//! Hedging: asking a second target when the first one is slow, and never more often than was said.
//!
//! Three pure parts, each the caller's to put under a lock:
//!
//! - [`HedgeSettings`] say how long the first target is waited for: a fixed time, or as long as a percentage of that target's
//!   own recent answers took ([`Latencies`]); with both, the fixed time stands in until enough answers were seen.
//! - [`Latencies`] remembers what recent answers took. A loser of the race, cancelled, counts with what it *had* taken:
//!   that is more than the wait, so it keeps its rank. Were it left out, only quick answers would be remembered and the
//!   wait would sink with each hedge.
//! - [`Allowance`] is what `maxPercent` promises: from the start on, at no moment more than that share of the requests
//!   was sent twice. What is saved up in quiet times is bounded, so a provider that turns slow meets a handful of hedges
//!   and then the share, not a storm.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;

#[cfg(test)]
mod tests;

/// When a second target is asked, and how often at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgeSettings {
    /// How long the first target is waited for.
    pub after: Option<Duration>,
    /// Or: as long as this percentage of its recent answers took; 1 to 99.
    pub percentile: Option<u32>,
    /// Requests per hundred that may be sent twice.
    pub max_percent: u32,
}

impl HedgeSettings {
    /// How long to wait before the second target is asked. `None`: nothing is known yet, do not hedge.
    pub fn delay(&self, seen: Option<&Latencies>, now: Moment) -> Option<Duration> {
        self.percentile
            .and_then(|percent| seen?.percentile(percent, now))
            .or(self.after)
    }
}

/// Answers that are remembered per target. Enough for two to speak beyond the 99th percentile.
const KEPT: usize = 256;
/// What is older says nothing about now.
const MEMORY: Duration = Duration::from_mins(10);
/// Fewer answers than this show no percentile.
const MIN_SAMPLES: usize = 20;

/// How long a target's recent answers took to show their first content.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    samples: VecDeque<(Moment, Duration)>,
}

impl Latencies {
    /// An answer showed its first content after this long; or it was given up after this long.
    pub fn add(&mut self, took: Duration, now: Moment) {
        while self.samples.len() >= KEPT || self.samples.front().is_some_and(|(at, _)| now - *at > MEMORY) {
            self.samples.pop_front();
        }
        self.samples.push_back((now, took));
    }

    /// The time within which `percent` of a hundred recent answers came (nearest rank); `None` under the number of
    /// answers that can show it: 20, or 100 for the 99th.
    pub fn percentile(&self, percent: u32, now: Moment) -> Option<Duration> {
        let percent = percent.clamp(1, 99) as usize;
        let mut recent = [Duration::ZERO; KEPT];
        let mut count = 0;
        let fresh = self.samples.iter().filter(|(at, _)| now - *at <= MEMORY);
        for (slot, (_, took)) in recent.iter_mut().zip(fresh) {
            *slot = *took;
            count += 1;
        }
        let recent = recent.get_mut(..count)?;
        if recent.len() < MIN_SAMPLES.max(100 / (100 - percent)) {
            return None;
        }
        let rank = (recent.len() * percent).div_ceil(100).max(1) - 1;
        Some(*recent.select_nth_unstable(rank).1)
    }
}

/// One hedge, in the measure in which a request brings `max_percent`.
const HEDGE: u32 = 100;
/// Hedges that quiet times may save up.
const SAVED: u32 = 10;

/// How many hedges a route may still send.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    saved: u32,
}

impl Allowance {
    /// Counts a request of the route.
    pub fn deposit(&mut self, settings: &HedgeSettings) {
        self.saved = (self.saved + settings.max_percent.min(HEDGE)).min(SAVED * HEDGE);
    }

    /// Takes one hedge, if one is left.
    pub fn withdraw(&mut self) -> bool {
        let left = self.saved.checked_sub(HEDGE);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}
