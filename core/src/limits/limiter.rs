//! Rate limits of one owner (a provider, a named limit): requests, tokens and money per minute as smooth buckets, and
//! concurrency.
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
//! - **A share is a limit that others have a part of too** ([`Limiter::share`]): it may be nothing at all, its bucket begins
//!   with one unit rather than full, and its debt is bounded by the whole limit's hour, so that a share that shrinks forgives
//!   nothing.
//!
//! All arithmetic is in whole numbers: nothing drifts, however long it runs. Waiting, and its order, is the caller's.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::bucket::{Bucket, Rate};
use crate::clock::Moment;
use crate::cost::Picodollars;

#[cfg(test)]
mod tests;

/// What is limited; what is `None` is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimiterSettings {
    /// Requests a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens a minute, input and output together.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Input tokens a minute.
    pub input_per_minute: Option<NonZeroU64>,
    /// Output tokens a minute.
    pub output_per_minute: Option<NonZeroU64>,
    /// Picodollars a minute.
    pub cost_per_minute: Option<NonZeroU64>,
    /// Requests in flight at once.
    pub concurrent: Option<NonZeroU32>,
}

impl LimiterSettings {
    /// How much is allowed of this limit, in its unit; `None`: it is not limited.
    pub fn amount(&self, which: Which) -> Option<u64> {
        let small = |limit: NonZeroU32| limit.get().into();
        match which {
            Which::Requests => self.requests_per_minute.map(small),
            Which::Tokens => self.tokens_per_minute.map(NonZeroU64::get),
            Which::Input => self.input_per_minute.map(NonZeroU64::get),
            Which::Output => self.output_per_minute.map(NonZeroU64::get),
            Which::Cost => self.cost_per_minute.map(NonZeroU64::get),
            Which::Concurrency => self.concurrent.map(small),
        }
    }

    /// The rates, in the order of [`Which::RATES`].
    fn rates(self) -> [Option<u64>; 5] {
        Which::RATES.map(|which| self.amount(which))
    }
}

/// What one sidecar has now of limits that it shares with others ([`crate::share`]). Only what is limited counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Requests a minute; 0 is none beyond what the bucket holds.
    pub requests_per_minute: u64,
    /// Tokens a minute.
    pub tokens_per_minute: u64,
    /// Input tokens a minute.
    pub input_per_minute: u64,
    /// Output tokens a minute.
    pub output_per_minute: u64,
    /// Picodollars a minute.
    pub cost_per_minute: u64,
    /// Requests in flight at once; 0 is none.
    pub concurrent: u64,
}

impl Shares {
    /// The share of this limit.
    pub fn of(&mut self, which: Which) -> &mut u64 {
        match which {
            Which::Requests => &mut self.requests_per_minute,
            Which::Tokens => &mut self.tokens_per_minute,
            Which::Input => &mut self.input_per_minute,
            Which::Output => &mut self.output_per_minute,
            Which::Cost => &mut self.cost_per_minute,
            Which::Concurrency => &mut self.concurrent,
        }
    }
}

/// The limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    /// `requests_per_minute`.
    Requests,
    /// `tokens_per_minute`.
    Tokens,
    /// `input_per_minute`.
    Input,
    /// `output_per_minute`.
    Output,
    /// `cost_per_minute`.
    Cost,
    /// `concurrent`.
    Concurrency,
}

impl Which {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Requests,
        Self::Tokens,
        Self::Input,
        Self::Output,
        Self::Cost,
        Self::Concurrency,
    ];

    /// Those that are rates, in the order of a limiter's buckets.
    pub const RATES: [Self; 5] = [Self::Requests, Self::Tokens, Self::Input, Self::Output, Self::Cost];

    /// The log value and metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Input => "input_tokens",
            Self::Output => "output_tokens",
            Self::Cost => "cost",
            Self::Concurrency => "concurrency",
        }
    }

    /// The field that sets it.
    pub fn field(self) -> &'static str {
        match self {
            Self::Requests => "requestsPerMinute",
            Self::Tokens => "tokensPerMinute",
            Self::Input => "inputTokensPerMinute",
            Self::Output => "outputTokensPerMinute",
            Self::Cost => "costPerMinute",
            Self::Concurrency => "concurrentRequests",
        }
    }
}

/// What one request may use, or has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Input tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Picodollars.
    pub cost: u64,
}

impl Need {
    /// So many tokens and this much money, which is nothing where it is below zero.
    pub fn new(input: u64, output: u64, cost: Picodollars) -> Self {
        Self {
            input,
            output,
            cost: u64::try_from(cost.get()).unwrap_or(0),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cost: self.cost.saturating_add(other.cost),
        }
    }

    /// Input and output tokens together.
    pub fn tokens(self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// What a request takes of each rate, in the order of [`Which::RATES`].
    pub fn units(self) -> [u64; 5] {
        Which::RATES.map(|which| self.of(which))
    }

    /// What a request takes of this limit, in its unit.
    pub fn of(self, which: Which) -> u64 {
        match which {
            Which::Requests | Which::Concurrency => 1,
            Which::Tokens => self.tokens(),
            Which::Input => self.input,
            Which::Output => self.output,
            Which::Cost => self.cost,
        }
    }
}

/// Tokens whose kind does not matter: they are taken for input.
impl From<u64> for Need {
    fn from(tokens: u64) -> Self {
        Self {
            input: tokens,
            ..Self::default()
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
    need: Need,
    /// The buckets it was taken from: one that was set up since owes it nothing.
    taken_from: [Option<NonZeroU32>; 5],
}

/// The limits of one owner and what is used of them.
#[derive(Clone, Debug)]
pub struct Limiter {
    /// In the order of [`Which::RATES`].
    buckets: [Option<Bucket>; 5],
    concurrent: Option<u32>,
    in_flight: u32,
    buckets_made: NonZeroU32,
}

impl Limiter {
    /// A limiter with full buckets.
    pub fn new(settings: LimiterSettings, now: Moment) -> Self {
        let mut limiter = Self {
            buckets: [const { None }; 5],
            concurrent: None,
            in_flight: 0,
            buckets_made: NonZeroU32::MIN,
        };
        limiter.reconfigure(settings, now);
        limiter
    }

    /// Takes room for one request that may need so much, or nothing at all.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn reserve(&mut self, need: impl Into<Need>, now: Moment) -> Result<Reservation, Limited> {
        if let Some(limited) = self.limited(now) {
            return Err(limited);
        }
        Ok(self.take(need.into(), now))
    }

    /// Takes room whether or not there is any: for whoever has looked.
    pub(super) fn take(&mut self, need: Need, now: Moment) -> Reservation {
        self.in_flight = self.in_flight.saturating_add(1);
        let mut taken_from = [None; 5];
        let wanted = self.buckets.iter_mut().zip(need.units()).zip(&mut taken_from);
        for ((bucket, units), taken) in wanted {
            *taken = bucket.as_mut().map(|bucket| bucket.take(units, now));
        }
        Reservation { need, taken_from }
    }

    /// A request that needs so much was admitted elsewhere, by who counts for all. Its place is taken, its buckets are lowered by
    /// it, but into no debt: what is in them is not there on top of what the other lets through.
    pub fn admitted_elsewhere(&mut self, need: impl Into<Need>, now: Moment) -> Reservation {
        self.in_flight = self.in_flight.saturating_add(1);
        let need = need.into();
        for (bucket, units) in self.buckets.iter_mut().zip(need.units()) {
            if let Some(bucket) = bucket {
                bucket.drain(units, now);
            }
        }
        Reservation {
            need,
            taken_from: [None; 5],
        }
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
        if let [Some(requests), ..] = &mut behind.buckets {
            requests.lower(ahead, now);
        }
        behind.limited(now)
    }

    /// What holds the next request up.
    pub fn limited(&self, now: Moment) -> Option<Limited> {
        if self.concurrent.is_some_and(|most| self.in_flight >= most) {
            return Some(Limited {
                which: Which::Concurrency,
                retry_in: None,
            });
        }
        let mut longest: Option<(Which, Duration)> = None;
        for (which, bucket) in Which::RATES.into_iter().zip(&self.buckets) {
            let wait = bucket.as_ref().and_then(|bucket| bucket.wait(now));
            if let Some(wait) = wait
                && longest.is_none_or(|(_, longest)| wait > longest)
            {
                longest = Some((which, wait));
            }
        }
        longest.map(|(which, wait)| Limited {
            which,
            retry_in: Some(wait),
        })
    }

    /// The request has ended and used so many tokens; where nobody knows, what was reserved stands. Returns the tokens
    /// that it was charged.
    pub fn settle(&mut self, reservation: Reservation, used_tokens: Option<u64>, now: Moment) -> u64 {
        let reserved = reservation.need.tokens();
        match used_tokens {
            Some(used) => self.settle_as(reservation, used.into(), now),
            None => self.in_flight = self.in_flight.saturating_sub(1),
        }
        used_tokens.unwrap_or(reserved)
    }

    /// The request has ended and used so much.
    #[allow(clippy::needless_pass_by_value)] // giving it back spends it
    pub fn settle_as(&mut self, reservation: Reservation, used: Need, now: Moment) {
        self.replace(&reservation, used.units(), now);
    }

    /// The request was never sent: all its room flows back.
    #[allow(clippy::needless_pass_by_value)] // giving it back spends it
    pub fn cancel(&mut self, reservation: Reservation, now: Moment) {
        self.replace(&reservation, [0; 5], now);
    }

    fn replace(&mut self, reservation: &Reservation, used: [u64; 5], now: Moment) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let taken = reservation.taken_from.iter().zip(reservation.need.units());
        for ((bucket, (of, taken)), used) in self.buckets.iter_mut().zip(taken).zip(used) {
            if let Some(bucket) = bucket
                && taken != used
                && *of == Some(bucket.id)
            {
                bucket.correct(taken, used, now);
            }
        }
    }

    /// Takes new limits and keeps what is used: see the module's promise. A limit that is new starts with a full bucket.
    pub fn reconfigure(&mut self, settings: LimiterSettings, now: Moment) {
        let whole = |limit: u64| Rate {
            per_minute: limit,
            whole: limit,
            begins_full: true,
        };
        self.reshape(settings.rates().map(|limit| limit.map(whole)), now);
        self.concurrent = settings.concurrent.map(NonZeroU32::get);
    }

    /// Takes `shares` of the limits `whole`, and keeps what is used.
    pub fn share(&mut self, whole: LimiterSettings, mut shares: Shares, now: Moment) {
        let rates = Which::RATES.map(|which| {
            let limit = whole.amount(which)?;
            Some(Rate {
                per_minute: (*shares.of(which)).min(limit),
                whole: limit,
                begins_full: false,
            })
        });
        self.reshape(rates, now);
        let most = |limit: NonZeroU32| u32::try_from(shares.concurrent).unwrap_or(u32::MAX).min(limit.get());
        self.concurrent = whole.concurrent.map(most);
    }

    fn reshape(&mut self, rates: [Option<Rate>; 5], now: Moment) {
        for (bucket, rate) in self.buckets.iter_mut().zip(rates) {
            match (bucket.as_mut(), rate) {
                (_, None) => *bucket = None,
                (Some(bucket), Some(rate)) => bucket.reshape(rate, now),
                (None, Some(rate)) => {
                    self.buckets_made = self.buckets_made.saturating_add(1);
                    *bucket = Some(Bucket::new(self.buckets_made, rate, now));
                }
            }
        }
    }

    /// Requests that hold a reservation.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How much is left of a limit, in whole units: requests, tokens, picodollars, places. Negative is debt, or a place too many
    /// since the limit was lowered; `None` is no limit.
    pub fn left(&self, which: Which, now: Moment) -> Option<i64> {
        if which == Which::Concurrency {
            return self.concurrent.map(|most| i64::from(most) - i64::from(self.in_flight));
        }
        let mut rates = Which::RATES.into_iter().zip(&self.buckets);
        let (_, bucket) = rates.find(|(rate, _)| *rate == which)?;
        bucket.as_ref().map(|bucket| bucket.units(now))
    }

    /// Whole requests that could be admitted at once by `requests_per_minute`; negative is debt, `None` is no limit.
    pub fn requests_left(&self, now: Moment) -> Option<i64> {
        self.left(Which::Requests, now)
    }

    /// Whole tokens left in the bucket; negative is debt, `None` is no limit.
    pub fn tokens_left(&self, now: Moment) -> Option<i64> {
        self.left(Which::Tokens, now)
    }

    /// Whether nobody holds anything of it and nothing of it is used: it is as good as a new one.
    pub fn is_unused(&self, now: Moment) -> bool {
        self.in_flight == 0 && self.buckets.iter().flatten().all(|bucket| bucket.is_full(now))
    }
}
