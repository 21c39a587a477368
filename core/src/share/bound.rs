//! How much more than `limit * window` may be admitted in any window.

use std::time::Duration;

use super::SKEW;

/// What the bound depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The limit, per minute.
    pub limit: u64,
    /// The window.
    pub window: Duration,
    /// Sidecars that ran at any time in it.
    pub pods: u64,
    /// The most that one request uses: 1 where requests are counted.
    pub largest: u64,
    /// For how long monotonic clocks stood still while the world went on (a virtual machine that was paused), over all pods.
    pub stalled: Duration,
    /// What those sidecars use together, per minute, that are without a good share and that the leader of the moment has granted
    /// nothing yet: who was just started without an operator (`limit / NEWCOMER_DIVISOR` each), and who is cut off since before
    /// it led (its floor).
    pub unheard: u64,
}

/// The most that is admitted in the window beyond `limit * window`: the sum of
///
/// - what lies in buckets at its beginning: each holds a tenth of a minute's worth of its share, and all shares together
///   are no more than the limit; and one unit for each sidecar, as no bucket holds less;
/// - what the last request of each bucket takes beyond what is left in it;
/// - what clocks that run fast let through more, by [`SKEW`];
/// - what a sidecar uses of a share that is over, for as long as its clock stood still;
/// - what those use whom the leader does not know of.
///
/// Requests that use more than was reserved for them come on top, as in one sidecar: by what they were short, times those in flight.
pub fn bound(facts: &Facts) -> u64 {
    let per = |per_minute: u64, time: Duration| {
        let nanos = u128::from(per_minute) * time.as_nanos();
        nanos.div_ceil(60_000_000_000)
    };
    let buckets = u128::from(facts.limit.div_ceil(10)) + u128::from(facts.pods);
    let last = u128::from(facts.pods) * u128::from(facts.largest.saturating_sub(1));
    let fast = per(facts.limit, facts.window).div_ceil(u128::from(SKEW));
    let stood = per(facts.limit, facts.stalled);
    let unheard = per(facts.unheard, facts.window);
    u64::try_from(buckets + last + fast + stood + unheard).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_bound() {
        let facts = Facts {
            limit: 600,
            window: Duration::from_mins(10),
            pods: 3,
            largest: 1,
            ..Facts::default()
        };
        assert_eq!(bound(&facts), 60 + 3 + 60);
        assert_eq!(bound(&Facts { largest: 100, ..facts }), 123 + 3 * 99);
        let stalled = Duration::from_secs(10);
        assert_eq!(bound(&Facts { stalled, ..facts }), 123 + 100);
        assert_eq!(bound(&Facts { unheard: 9, ..facts }), 123 + 90);
    }
}
