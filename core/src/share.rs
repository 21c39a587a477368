//! One limit for many sidecars, without a store: the operator that leads lends out shares of it, each for a while.
//!
//! - A sidecar *asks* ([`Ask`]): what it holds, and what it wants by its demand. The [`allocator::Allocator`] answers with a
//!   [`Grant`]: a share until it expires, and the floor that is used without one. A [`holder::Holder`] keeps what was granted.
//! - **At no moment do shares and floors together exceed the limit**, whichever messages are lost, whoever dies. A grant answers
//!   one ask and is taken only while that ask is the sidecar's latest, so an ask settles what its sidecar may hold: what the
//!   ask says, or what is granted upon it. The sidecar counts the lease from when it *asked*, the allocator from when it
//!   *granted*: however long a message takes, the share is over here before it is lent out again there.
//! - A new leader lends out nothing that its predecessor may have lent: at first all of the limit is taken to be *unknown*; what
//!   a sidecar says that it holds is known from then on; what nobody spoke of for one [`LEASE`] is over, and is free. A limit that it is
//!   the first to tell sidecars of is free at once ([`leader`]).
//! - Without the operator a sidecar goes on with its share until it expires, then with no more than the smaller of share and
//!   floor, and after one more lease with its floor: by then every share that was lent before the allocator counted on that
//!   floor is over.
//!
//! What is counted is a plain amount: requests a minute, tokens a minute, or requests at once. What may be admitted beyond the
//! limit is [`bound::bound`].

pub mod allocator;
pub mod bound;
pub mod demand;
pub mod holder;
pub mod leader;
pub mod parts;
pub mod store;

use std::time::Duration;

use crate::clock::Moment;

/// How long a share is good without renewal.
pub const LEASE: Duration = Duration::from_mins(1);
/// When a sidecar asks again where nothing is short: twice more before its share is over.
pub const RENEW: Duration = Duration::from_secs(20);
/// Asks that a leader takes in a second, over all its sidecars: what spreads them is [`pace`].
pub const ASKS_A_SECOND: u64 = 1_000;
/// From one ask of a sidecar to the next at the least.
pub const SHORTEST_PACE: Duration = Duration::from_millis(250);
/// How much faster or slower clocks may go than each other: a part of so many. Quartz is off by less than a 5,000th.
pub const SKEW: u32 = 100;
/// The longest that a message of a stream is under way: a writer gives up after 20 s.
pub const DELIVERY: Duration = Duration::from_secs(30);
/// How long a sidecar that was never granted anything waits for its first share with what one request needs.
pub const NEWCOMER_WAITS: Duration = Duration::from_secs(5);
/// What it takes after that: one part of so many. The leader does not know of it, so nothing is kept back for it.
pub const NEWCOMER_DIVISOR: u64 = 64;

/// When a share that is granted at `now` is over by everybody's clock.
pub fn over(now: Moment) -> Moment {
    now + LEASE + LEASE / SKEW
}

/// From a sidecar: what it holds of one limit and what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Counts its asks: a grant names it.
    pub number: u64,
    /// The most that it may use until it is granted something.
    pub held: u64,
    /// What it may use at this moment: less than `held` where its share is over and it may rise to its floor.
    pub uses: u64,
    /// Whether that is a share that is good, rather than what is used without one.
    pub is_lent: bool,
    /// The floor that it was told.
    pub floor: u64,
    /// Whose grant it took last; 0 where there was none.
    pub epoch: u64,
    /// What its requests would use if nothing held them up.
    pub want: u64,
}

/// To a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The ask that it answers.
    pub number: u64,
    /// Whose it is: grows with each leader.
    pub epoch: u64,
    /// The limit that it is a share of.
    pub whole: u64,
    /// Its share.
    pub share: u64,
    /// What it may use without one.
    pub floor: u64,
    /// How long it is good, from the ask on.
    pub lease: Duration,
    /// When to ask again.
    pub again: Duration,
    /// The least time from one ask to the next, however urgent.
    pub pace: Duration,
}

/// From one ask of a sidecar to the next, where so many of them ask one leader: all together no more than
/// [`ASKS_A_SECOND`]. A lease has room for three at the least.
pub fn pace(pods: usize) -> Duration {
    let seconds = pods as f64 / ASKS_A_SECOND as f64;
    Duration::from_secs_f64(seconds).clamp(SHORTEST_PACE, RENEW)
}

#[cfg(test)]
mod tests;
