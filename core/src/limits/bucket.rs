//! A smooth bucket: it refills by the nanosecond, holds a tenth of a minute's worth, and may be in debt.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::Moment;

/// One unit (a request, a token, a picodollar) in the bucket's own measure. At `n` per minute, a nanosecond brings `n` of these
/// parts, so that refilling needs no division and loses nothing.
const UNIT: i128 = 60_000_000_000;

/// A minute's worth is split into so many buckets: six seconds each.
const BUCKETS_PER_MINUTE: i128 = 10;

/// Debt is bounded by this many minutes' worth.
const MAX_DEBT_MINUTES: i128 = 60;

/// When to look again for who has no share at all: it may have one by then.
const WITHOUT_SHARE: Duration = Duration::from_secs(1);

/// How a bucket is to refill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) per_minute: u64,
    /// What bounds the debt: the limit that this is a share of, or the limit itself.
    pub(super) whole: u64,
    /// Whether a bucket that is new begins full, or with one unit.
    pub(super) begins_full: bool,
}

/// What is left of one rate.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// Which bucket it is of its owner's: one that was set up later has another.
    pub(super) id: NonZeroU32,
    per_minute: i128,
    /// What bounds the debt, per minute.
    whole: i128,
    /// Parts of units there were at `at`; negative is debt.
    level: i128,
    at: Moment,
}

impl Bucket {
    /// A new one.
    pub(super) fn new(id: NonZeroU32, rate: Rate, now: Moment) -> Self {
        let mut bucket = Self {
            id,
            per_minute: i128::from(rate.per_minute),
            whole: i128::from(rate.whole),
            level: UNIT,
            at: now,
        };
        if rate.begins_full {
            bucket.level = bucket.capacity();
        }
        bucket
    }

    fn capacity(&self) -> i128 {
        (self.per_minute * UNIT / BUCKETS_PER_MINUTE).max(UNIT)
    }

    fn level(&self, now: Moment) -> i128 {
        let nanos = i128::from(u64::try_from((now - self.at).as_nanos()).unwrap_or(u64::MAX));
        self.level
            .saturating_add(nanos.saturating_mul(self.per_minute))
            .min(self.capacity())
    }

    fn set(&mut self, level: i128, now: Moment) {
        let floor = -(self.whole * UNIT * MAX_DEBT_MINUTES);
        self.level = level.clamp(floor, self.capacity());
        self.at = self.at.max(now);
    }

    /// How long until anything is left; `None` where something is.
    pub(super) fn wait(&self, now: Moment) -> Option<Duration> {
        let missing = UNIT - self.level(now);
        (missing > 0).then(|| {
            if self.per_minute == 0 {
                return WITHOUT_SHARE;
            }
            let nanos = (missing + self.per_minute - 1) / self.per_minute;
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        })
    }

    /// As if so many units less were in it, without a bound.
    pub(super) fn lower(&mut self, units: u32, now: Moment) {
        self.level = self.level(now).saturating_sub(i128::from(units) * UNIT);
        self.at = self.at.max(now);
    }

    /// Takes units. Returns the bucket's id.
    pub(super) fn take(&mut self, units: u64, now: Moment) -> NonZeroU32 {
        self.correct(0, units, now);
        self.id
    }

    /// Takes units as far as there are any.
    pub(super) fn drain(&mut self, units: u64, now: Moment) {
        let level = self.level(now);
        let left = (level - i128::from(units) * UNIT).max(level.min(0));
        self.set(left, now);
    }

    /// Replaces what was taken by what was used.
    pub(super) fn correct(&mut self, taken: u64, used: u64, now: Moment) {
        // No request counts for more than the debt may be: what the bound on debt forgave would flow back on top.
        let counted = |units: u64| i128::from(units).min(self.whole * MAX_DEBT_MINUTES);
        let back = (counted(taken) - counted(used)) * UNIT;
        self.set(self.level(now).saturating_add(back), now);
    }

    /// Another rate from now on: see [`super::limiter`] for what is kept.
    pub(super) fn reshape(&mut self, rate: Rate, now: Moment) {
        let level = self.level(now);
        self.per_minute = i128::from(rate.per_minute);
        self.whole = i128::from(rate.whole);
        self.set(level, now);
    }

    /// Whole units left; negative is debt.
    pub(super) fn units(&self, now: Moment) -> i64 {
        i64::try_from(self.level(now).div_euclid(UNIT)).unwrap_or(i64::MAX)
    }

    /// Whether nothing of it is used.
    pub(super) fn is_full(&self, now: Moment) -> bool {
        self.level(now) >= self.capacity()
    }
}
