//! One budget that many sidecars spend together: the operator that leads lends out parts of it.
//!
//! - A sidecar's [`purse::Purse`] holds what it was lent in a window, ever more of it: what it has spent is part of that. A request
//!   is let in where it fits into what is held. What runs low is asked for ([`Ask`]), and what is idle is given back.
//! - The leader's [`lender::Lender`] answers with a [`Loan`]. **What is lent and what is spent together never exceeds the amount**,
//!   whichever messages are lost and whoever dies: a loan answers one ask and is taken only while that ask is the sidecar's
//!   latest, so that each ask settles what its sidecar may hold, as with limits ([`crate::share`]). Unlike those a loan has no
//!   time of its own: it is good as long as its window.
//! - Who vanishes has spent what it held. A process that starts anew is another borrower ([`Ask::run`]).
//! - Before the leader lends beyond a *mark*, the mark is written where it outlives the leader ([`treasury::Treasury`]). The next
//!   leader takes all below it for spent, until sidecars say that they hold some of it.
//! - Windows are those of the leader's clock. A loan says how long its window still is, so that a sidecar's clock does not matter.
//!
//! Amounts are picodollars, and count from the beginning of a window.

pub mod lender;
pub mod purse;
pub mod purses;
pub mod treasury;

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::window::Window;

/// How long a request waits for a loan before the operator counts as silent.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// An ask that is not answered is repeated after this.
pub const REPEAT: Duration = Duration::from_secs(1);
/// What has been spent is told this long after it was told last, where nothing is wanted.
pub const TELL: Duration = Duration::from_secs(20);
/// What nobody has used for so long is given back.
pub const IDLE: Duration = Duration::from_mins(1);
/// When to ask again where the mark is being written: the apiserver takes some milliseconds.
pub const WRITING: Duration = Duration::from_millis(100);

/// From a sidecar: what it holds of a budget, what it has spent of that, and what it wants to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Counts its asks: a loan names it.
    pub number: u64,
    /// Which run of the sidecar speaks: one that starts anew holds nothing.
    pub run: u64,
    /// Whose loan it took last; 0 where there was none.
    pub epoch: u64,
    /// When the window began that it speaks of, seconds since 1970; none: it knows of no window that runs.
    pub window: Option<i64>,
    /// What it may have used of its loans until it is lent more.
    pub held: u64,
    /// What it has spent. More than `held` where requests did cost more than was reserved, or went on without the operator.
    pub spent: u64,
    /// What it would have to hold for a request that waits; no more than `held` where none does.
    pub least: u64,
    /// What it wants to hold, for requests that are to come.
    pub want: u64,
}

/// To a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    /// The ask that it answers. One that is higher than the sidecar's own: it is to count on from there, and to ask again.
    pub number: u64,
    /// Whose it is: grows with each leader.
    pub epoch: u64,
    /// The window that runs, by the leader's clock.
    pub window: Window,
    /// How long it still is.
    pub remaining: Duration,
    /// What the sidecar may hold.
    pub held: u64,
    /// What all have spent, as far as it is known; who vanished has spent what it held.
    pub spent: u64,
    /// Nothing is decided yet: ask again.
    pub is_pending: bool,
    /// There is not as much left as was wanted at the least.
    pub is_short: bool,
    /// When to ask again.
    pub again: Duration,
}
