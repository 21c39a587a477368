//! What is asked of a store, and what it says.

use std::sync::Arc;

use bowsprit_core::limiter::{Limited, LimiterSettings};
use bowsprit_core::share::store::Unanswered;
use bowsprit_core::share::store::address::Node;
use bowsprit_core::share::store::script::{Keys, Named, Place, Wish};
use tokio::sync::oneshot;

/// What is counted, under which names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) keys: Keys,
    pub(super) limits: LimiterSettings,
}

/// What is asked. See [`Wish`].
#[derive(Clone, Debug)]
pub(super) enum Wished {
    Take {
        tokens: u64,
        place: Place,
    },
    Give {
        requests: i64,
        tokens: i64,
        place: Place,
    },
    Keep {
        requests: u64,
        tokens: u64,
        places: Box<[Place]>,
    },
}

impl Wished {
    pub(super) fn as_wish(&self) -> Wish<'_> {
        match self {
            Self::Take { tokens, place } => Wish::Take {
                tokens: *tokens,
                place: *place,
            },
            Self::Give {
                requests,
                tokens,
                place,
            } => Wish::Give {
                requests: *requests,
                tokens: *tokens,
                place: *place,
            },
            Self::Keep {
                requests,
                tokens,
                places,
            } => Wish::Keep {
                requests: *requests,
                tokens: *tokens,
                places,
            },
        }
    }
}

/// What a node said.
pub(super) enum Heard {
    Done,
    Limited(Limited),
    NoScript,
    Elsewhere { node: Node, for_once: bool },
}

/// One question.
pub(super) struct Question {
    pub(super) of: Arc<Counted>,
    pub(super) wished: Wished,
    pub(super) named: Named,
    /// After `ASKING`.
    pub(super) for_once: bool,
    /// Nobody, where nobody waits for it.
    pub(super) asker: Option<oneshot::Sender<Result<Heard, Unanswered>>>,
}
