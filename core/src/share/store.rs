//! One limit for many sidecars, counted in a store that all of them ask: Redis, Valkey, or a cluster of either.
//!
//! - **The store counts, in one script** ([`script`]): a request takes what it may use, and gives back what it did not. The
//!   script reads the store's own clock, so no sidecar's clock matters.
//! - **A request waits for the store for no longer than a deadline**, and then goes on by the share that the operator has lent
//!   (the rest of [`crate::share`]). Exactly one of the two admits it. From the first failure on nobody waits, until the store
//!   has answered a question that no request waits for ([`standing`]).
//! - **What shares admitted is told to the store when it is back** ([`owed`]), as far as it has not flowed back since; and what
//!   the store admits is taken from the bucket of the share, so that no bucket is full when the store goes. How much more than
//!   the limit may be admitted is [`super::bound::with_store`].
//!
//! The store is not trusted to be sane: an answer is one of a few short forms ([`resp`]) or the connection is given up, where it
//! sends on to another node is followed a few times ([`address`]).

pub mod address;
pub mod owed;
pub mod resp;
pub mod script;
pub mod standing;

use std::time::Duration;

/// How long a request waits for the store unless said otherwise: fifty round trips within a zone, a fiftieth of the shortest
/// answer of a model.
pub const DEADLINE: Duration = Duration::from_millis(50);
/// How often one question is sent on to another node, or again with the script's text.
pub const MOST_HOPS: u32 = 3;
/// How long a place is kept for a sidecar that says nothing more of it.
pub const PLACE_KEPT: Duration = super::LEASE;
/// How often a sidecar says of its places that they are in use: twice more before they are given away.
pub const PLACES_RENEWED: Duration = super::RENEW;
/// When to look again for a place that another sidecar may give back.
pub const PLACE_AGAIN: Duration = Duration::from_millis(250);

/// Why the store did not answer a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unanswered {
    /// Not within the deadline.
    Late,
    /// There is no connection, or it broke.
    Unreachable,
    /// It answered with an error: a key of another type, a script that may not run, a wrong password.
    Refused,
    /// What it said is no answer.
    Garbled,
    /// It sent the question from node to node.
    Moved,
}

impl Unanswered {
    /// The log value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "no answer within the deadline",
            Self::Unreachable => "no connection",
            Self::Refused => "it answered with an error",
            Self::Garbled => "what it said is no answer",
            Self::Moved => "it sent the question from node to node",
        }
    }
}
