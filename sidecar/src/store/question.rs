//! What is asked of a store about limits, and what it says. About answers: [`super::answers`].

use std::sync::Arc;

use bowsprit_core::limiter::{Limited, LimiterSettings};
use bowsprit_core::share::store::Unanswered;
use bowsprit_core::share::store::address::Node;
use bowsprit_core::share::store::resp::{self, Garbage, Reply};
use bowsprit_core::share::store::script::{self, Amounts, Answer, Keys, Named, Place, Wish};
use tokio::sync::oneshot;

use super::ask::{Ask, Asker, Heard};

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
        amounts: Amounts<u64>,
        place: Place,
    },
    Give {
        amounts: Amounts<i64>,
        place: Place,
    },
    Keep {
        amounts: Amounts<u64>,
        places: Box<[Place]>,
    },
}

impl Wished {
    pub(super) fn as_wish(&self) -> Wish<'_> {
        match self {
            Self::Take { amounts, place } => Wish::Take {
                amounts: *amounts,
                place: *place,
            },
            Self::Give { amounts, place } => Wish::Give {
                amounts: *amounts,
                place: *place,
            },
            Self::Keep { amounts, places } => Wish::Keep {
                amounts: *amounts,
                places,
            },
        }
    }
}

/// One question.
pub(super) struct Question {
    pub(super) of: Arc<Counted>,
    pub(super) wished: Wished,
    pub(super) named: Named,
    /// After `ASKING`.
    pub(super) for_once: bool,
    /// Nobody, where nobody waits for it.
    pub(super) asker: Option<Asker<Result<(), Limited>>>,
}

impl Ask for Question {
    const LONGEST: usize = resp::LONGEST;

    fn is_for_once(&self) -> bool {
        self.for_once
    }

    /// Whoever has gone on while there was no connection takes nothing.
    fn is_in_vain(&self) -> bool {
        self.asker.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    fn write(&self, to: &mut Vec<u8>) {
        let of = &self.of;
        script::call(to, self.named, &of.keys, &of.limits, &self.wished.as_wish());
    }

    fn answered(self, reply: &Reply<'_>, node: &Node) -> Result<Option<Self>, Garbage> {
        let Some(asker) = self.asker else { return Ok(None) };
        let heard = heard(reply, node);
        let is_garbled = matches!(heard, Err(Unanswered::Garbled));
        let untaken = asker.send(heard);
        if is_garbled {
            return Err(Garbage);
        }
        // Whoever has gone on takes nothing: what was taken is given back.
        Ok(match (untaken, self.wished) {
            (Err(Ok(Heard::Said(Ok(())))), Wished::Take { amounts, place }) => Some(Self {
                of: self.of,
                wished: Wished::Give {
                    amounts: amounts.map(whole),
                    place,
                },
                named: Named::Sha,
                for_once: false,
                asker: None,
            }),
            _ => None,
        })
    }
}

fn heard(reply: &Reply<'_>, node: &Node) -> Result<Heard<Result<(), Limited>>, Unanswered> {
    match script::answer(reply)? {
        Answer::Done => Ok(Heard::Said(Ok(()))),
        Answer::Limited(limited) => Ok(Heard::Said(Err(limited))),
        Answer::NoScript => Ok(Heard::NoScript),
        Answer::Elsewhere { at, for_once } => Heard::elsewhere(at, node, for_once),
    }
}

/// An amount of which another is taken.
pub(super) fn whole(amount: u64) -> i64 {
    // Half of the numbers, so that no difference of two overflows.
    i64::try_from(amount).unwrap_or(i64::MAX).min(i64::MAX / 2)
}
