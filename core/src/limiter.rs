//! Rate limits of one owner (a provider, a route): requests and tokens per minute as smooth buckets, and concurrency.
//!
//! - **Smooth.** A bucket refills by the nanosecond and holds a tenth of a minute's worth (at least one), so at most six
//!   seconds' worth come at once, after however long a pause. Over any time `t` it lets through no more than
//!   `rate * t`, plus the bucket, plus what the last request asked for beyond what was left.
//! - **Reserve, then settle.** A request reserves what it may use (its estimate) and settles with what it used: what was
//!   too much flows back, what was too little becomes debt, which those after it wait out.
//! - **Nobody starves.** Whoever comes while anything is left is admitted, however large, and may leave a debt. So a
//!   request larger than the bucket passes, and a stream of small ones cannot outrun a large one for ever, as it could
//!   if a large one had to find the bucket full. Debt is bounded by an hour's worth: a nonsense usage figure cannot
//!   close a provider for good.
//! - **New settings keep the use.** A lowered limit takes hold at once; a raised one refills faster from what there is.
//!
//! All arithmetic is in whole numbers: nothing drifts, however long it runs. Waiting, and its order, is the caller's.

use crate::clock::Moment;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// What is limited; what is `None` is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimiterSettings {
    /// Requests a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens a minute, input and output together.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Requests in flight at once.
    pub concurrent: Option<NonZeroU32>,
}

/// The limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// `requests_per_minute`.
    Requests,
    /// `tokens_per_minute`.
    Tokens,
    /// `concurrent`.
    Concurrency,
}

impl Which {
    /// The log value and metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Concurrency => "concurrency",
        }
    }
}

/// Refused for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// By which limit; by the one that holds longest where several do.
    pub which: Which,
    /// When there is room again if nobody else takes it; `None` where only the end of another request makes room.
    pub retry_in: Option<Duration>,
}

/// Room that was taken. Give it back with [`Limiter::settle`] or [`Limiter::cancel`], once.
#[must_use = "a reservation that is neither settled nor cancelled holds its place for ever"]
#[derive(Debug)]
pub struct Reservation {
    tokens: u64,
    /// The buckets it was taken from: one that was set up since owes it nothing.
    requests_bucket: Option<u64>,
    tokens_bucket: Option<u64>,
}

/// The limits of one owner and what is used of them.
#[derive(Clone, Debug)]
pub struct Limiter {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    concurrent: Option<NonZeroU32>,
    in_flight: u32,
    buckets_made: u64,
}

impl Limiter {
    /// A limiter with full buckets.
    pub fn new(settings: LimiterSettings, now: Moment) -> Self {
        let mut limiter = Self {
            requests: None,
            tokens: None,
            concurrent: None,
            in_flight: 0,
            buckets_made: 0,
        };
        limiter.reconfigure(settings, now);
        limiter
    }

    /// Takes room for one request of `tokens` tokens, or nothing at all.
    pub fn reserve(&mut self, tokens: u64, now: Moment) -> Result<Reservation, Limited> {
        if let Some(limited) = self.limited(now) {
            return Err(limited);
        }
        self.in_flight = self.in_flight.saturating_add(1);
        Ok(Reservation {
            tokens,
            requests_bucket: self.requests.as_mut().map(|bucket| bucket.take(1, now)),
            tokens_bucket: self.tokens.as_mut().map(|bucket| bucket.take(tokens, now)),
        })
    }

    /// Whether [`Self::reserve`] would say yes at `now`; changes nothing. As nobody starves, the size does not matter.
    pub fn would_admit(&self, _tokens: u64, now: Moment) -> bool {
        self.limited(now).is_none()
    }

    /// What holds somebody up who has `ahead` others before them: as [`Self::reserve`] would say after those were let in,
    /// as far as that can be known (how many tokens they want is not looked at). `None`: it is only a matter of turns.
    pub fn held_behind(&self, ahead: usize, now: Moment) -> Option<Limited> {
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        let mut behind = self.clone();
        behind.in_flight = behind.in_flight.saturating_add(ahead);
        if let Some(bucket) = &mut behind.requests {
            bucket.level = bucket.level(now).saturating_sub(i128::from(ahead) * UNIT);
            bucket.at = bucket.at.max(now);
        }
        behind.limited(now)
    }

    fn limited(&self, now: Moment) -> Option<Limited> {
        if self.concurrent.is_some_and(|most| self.in_flight >= most.get()) {
            return Some(Limited {
                which: Which::Concurrency,
                retry_in: None,
            });
        }
        let wait = |bucket: &Option<Bucket>| bucket.as_ref().and_then(|bucket| bucket.wait(now));
        let limited = |which, retry_in| {
            Some(Limited {
                which,
                retry_in: Some(retry_in),
            })
        };
        match (wait(&self.requests), wait(&self.tokens)) {
            (None, None) => None,
            (Some(requests), Some(tokens)) if tokens > requests => limited(Which::Tokens, tokens),
            (Some(requests), _) => limited(Which::Requests, requests),
            (None, Some(tokens)) => limited(Which::Tokens, tokens),
        }
    }

    /// The request has ended and used so many tokens; where nobody knows, what was reserved stands. Returns the tokens
    /// that it was charged.
    #[allow(clippy::needless_pass_by_value)] // giving it back spends it
    pub fn settle(&mut self, reservation: Reservation, used_tokens: Option<u64>, now: Moment) -> u64 {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let (Some(used), Some(bucket)) = (used_tokens, self.tokens.as_mut())
            && reservation.tokens_bucket == Some(bucket.id)
        {
            bucket.correct(reservation.tokens, used, now);
        }
        used_tokens.unwrap_or(reservation.tokens)
    }

    /// The request was never sent: all its room flows back.
    #[allow(clippy::needless_pass_by_value)] // giving it back spends it
    pub fn cancel(&mut self, reservation: Reservation, now: Moment) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let pairs = [
            (self.requests.as_mut(), reservation.requests_bucket, 1),
            (self.tokens.as_mut(), reservation.tokens_bucket, reservation.tokens),
        ];
        for (bucket, of, taken) in pairs {
            if let Some(bucket) = bucket.filter(|bucket| of == Some(bucket.id)) {
                bucket.correct(taken, 0, now);
            }
        }
    }

    /// Takes new limits and keeps what is used: see the module's promise. A limit that is new starts with a full bucket.
    pub fn reconfigure(&mut self, settings: LimiterSettings, now: Moment) {
        let made = &mut self.buckets_made;
        reshape(
            &mut self.requests,
            settings.requests_per_minute.map(NonZeroU64::from),
            made,
            now,
        );
        reshape(&mut self.tokens, settings.tokens_per_minute, made, now);
        self.concurrent = settings.concurrent;
    }

    /// Requests that hold a reservation.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whole requests that could be admitted at once by `requests_per_minute`; negative is debt, `None` is no limit.
    pub fn requests_left(&self, now: Moment) -> Option<i64> {
        self.requests.as_ref().map(|bucket| bucket.units(now))
    }

    /// Whole tokens left in the bucket; negative is debt, `None` is no limit.
    pub fn tokens_left(&self, now: Moment) -> Option<i64> {
        self.tokens.as_ref().map(|bucket| bucket.units(now))
    }
}

fn reshape(bucket: &mut Option<Bucket>, per_minute: Option<NonZeroU64>, made: &mut u64, now: Moment) {
    match (bucket.as_mut(), per_minute) {
        (_, None) => *bucket = None,
        (Some(bucket), Some(per_minute)) => bucket.reshape(per_minute.get(), now),
        (None, Some(per_minute)) => {
            *made += 1;
            *bucket = Some(Bucket::full(*made, per_minute.get(), now));
        }
    }
}

/// One unit (a request, a token) in the bucket's own measure. At `n` per minute, a nanosecond brings `n` of these parts,
/// so that refilling needs no division and loses nothing.
const UNIT: i128 = 60_000_000_000;

/// A minute's worth is split into so many buckets: six seconds each.
const BUCKETS_PER_MINUTE: i128 = 10;

/// Debt is bounded by this many minutes' worth.
const MAX_DEBT_MINUTES: i128 = 60;

#[derive(Clone, Debug)]
struct Bucket {
    id: u64,
    per_minute: i128,
    /// Parts of units there were at `at`; negative is debt.
    level: i128,
    at: Moment,
}

impl Bucket {
    fn full(id: u64, per_minute: u64, now: Moment) -> Self {
        let mut bucket = Self {
            id,
            per_minute: i128::from(per_minute),
            level: 0,
            at: now,
        };
        bucket.level = bucket.capacity();
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
        let floor = -(self.per_minute * UNIT * MAX_DEBT_MINUTES);
        self.level = level.clamp(floor, self.capacity());
        self.at = self.at.max(now);
    }

    /// How long until anything is left; `None` where something is.
    fn wait(&self, now: Moment) -> Option<Duration> {
        let missing = UNIT - self.level(now);
        (missing > 0).then(|| {
            let nanos = (missing + self.per_minute - 1) / self.per_minute;
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        })
    }

    fn take(&mut self, units: u64, now: Moment) -> u64 {
        self.correct(0, units, now);
        self.id
    }

    /// Replaces what was taken by what was used.
    fn correct(&mut self, taken: u64, used: u64, now: Moment) {
        let back = (i128::from(taken) - i128::from(used)) * UNIT;
        self.set(self.level(now).saturating_add(back), now);
    }

    fn reshape(&mut self, per_minute: u64, now: Moment) {
        let level = self.level(now);
        self.per_minute = i128::from(per_minute);
        self.set(level, now);
    }

    fn units(&self, now: Moment) -> i64 {
        i64::try_from(self.level(now).div_euclid(UNIT)).unwrap_or(i64::MAX)
    }
}
