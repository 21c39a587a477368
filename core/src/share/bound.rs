//! How much more than `limit * window` may be admitted in any window.

use std::time::Duration;

use super::SKEW;
use super::store::standing::LAST_LOOK;

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
    /// nothing yet since the limit is there: who was just started without an operator (`limit / NEWCOMER_DIVISOR` each), and who is cut
    /// off since before it led (its floor).
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

/// The same where a store counts the limit ([`super::store`]), and shares stand in for it while it does not answer. Beside
/// [`bound`]:
///
/// - the store's bucket, a tenth of a minute's worth and one at the least, and what its last request takes beyond what is left;
/// - for each of the `returns` of a store that had been gone: its bucket again, which has refilled and is not yet told what
///   shares admitted, and what they admit until the last sidecar has looked, all of the limit for no longer than
///   [`LAST_LOOK`];
/// - what those admit who are `apart`: the shares a minute, together, of sidecars that the store does not answer while it answers
///   others, to whom it lets all of the limit through.
///
/// Where the store answers everybody, only its bucket and last request count.
pub fn with_store(facts: &Facts, returns: u64, apart: u64) -> u64 {
    let per = |per_minute: u64, time: Duration| {
        let nanos = u128::from(per_minute) * time.as_nanos();
        u64::try_from(nanos.div_ceil(60_000_000_000)).unwrap_or(u64::MAX)
    };
    let bucket = facts.limit.div_ceil(10).max(1);
    let back = returns.saturating_mul(bucket.saturating_add(per(facts.limit, LAST_LOOK)));
    let once = bucket.saturating_add(facts.largest.saturating_sub(1));
    [once, back, per(apart, facts.window)]
        .into_iter()
        .fold(bound(facts), u64::saturating_add)
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
        assert_eq!(with_store(&facts, 0, 0), 123 + 60);
        assert_eq!(with_store(&facts, 2, 0), 123 + 60 + 2 * (60 + 100));
        assert_eq!(
            with_store(&Facts { largest: 100, ..facts }, 0, 30),
            123 + 3 * 99 + 60 + 99 + 300
        );
    }
}
