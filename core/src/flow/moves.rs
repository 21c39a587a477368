//! What led from one attempt, or candidate, to the next: the flow's part of what is told of a request.

use super::retry::{Next, Why};
use super::step::SkipReason;
use crate::fault::Code;

/// A turn that a request took away from a candidate's answer: told as it happens, since what goes wrong now must not wait for
/// the end of a long stream to be seen.
#[derive(Clone, Copy, Debug)]
pub struct MoveRecord<'a> {
    /// The ProviderConfig's name.
    pub provider: &'a str,
    /// What happened there.
    pub what: Move,
}

/// What happened at a candidate, and what the flow made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// An attempt failed. What followed, and why; `None`: another attempt is still out.
    Failed {
        /// The error.
        code: Code,
        /// What the flow decided.
        followed: Option<(Next, Why)>,
    },
    /// It is asked again.
    Retried {
        /// The error of the attempt before.
        after: Code,
    },
    /// It was passed over.
    PassedOver {
        /// Why.
        reason: SkipReason,
        /// There is no candidate after it.
        is_last: bool,
    },
}
