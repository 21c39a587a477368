//! Answers of a route that a store keeps: asked within the deadline, told behind.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::kept::shared::script::{self, Place, Said, Wish};
use bowsprit_core::kept::shared::{Generation, Id, Names};
use bowsprit_core::share::store::Unanswered;
use bowsprit_core::share::store::address::Node;
use bowsprit_core::share::store::resp::{Garbage, Reply};
use bowsprit_core::share::store::script::Named;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ask::{Ask, Asker, Heard};
use super::nodes::Store;
use super::whereabouts::Whereabouts;
use crate::limits::STORE_CONNECT;

/// What a route's answers are in a store.
pub struct Answers {
    at: Whereabouts<Wanted>,
    names: Arc<Names>,
}

/// Room for an answer that waits to be told.
pub struct Behind(#[expect(dead_code, reason = "held until the answer is told")] OwnedSemaphorePermit);

/// What a store has in an answer's place.
pub enum Kept {
    /// Nothing.
    Nothing,
    /// This, for so long.
    Value(Bytes, Duration),
    /// Nothing that anybody here has put there.
    Foreign,
}

/// What is asked of it.
#[derive(Clone)]
enum What {
    Look {
        id: Id,
        fresh: Generation,
    },
    Keep {
        id: Id,
        generation: Generation,
        value: Bytes,
        time: Duration,
    },
    Clear,
}

impl What {
    fn as_wish(&self) -> Wish<'_> {
        match self {
            Self::Look { id, fresh } => Wish::Look { id, fresh: *fresh },
            Self::Keep {
                id,
                generation,
                value,
                time,
            } => Wish::Keep {
                id,
                generation: *generation,
                value,
                time: *time,
            },
            Self::Clear => Wish::Clear,
        }
    }
}

/// What it says.
enum Told {
    Looked(Generation, Kept),
    Done,
    Cleared,
}

/// One question.
pub(super) struct Wanted {
    of: Arc<Names>,
    what: What,
    named: Named,
    for_once: bool,
    asker: Asker<Told>,
}

impl Ask for Wanted {
    const LONGEST: usize = script::LONGEST;

    fn is_for_once(&self) -> bool {
        self.for_once
    }

    fn is_in_vain(&self) -> bool {
        self.asker.is_closed()
    }

    fn write(&self, to: &mut Vec<u8>) {
        script::call(to, self.named, &self.of, &self.what.as_wish());
    }

    fn answered(self, reply: &Reply<'_>, node: &Node) -> Result<Option<Self>, Garbage> {
        let heard = heard(&self.what.as_wish(), reply, node);
        let is_garbled = matches!(heard, Err(Unanswered::Garbled));
        // Who has gone on wants nothing: an answer that comes too late costs nobody anything.
        let _ = self.asker.send(heard);
        if is_garbled { Err(Garbage) } else { Ok(None) }
    }
}

fn heard(wish: &Wish<'_>, reply: &Reply<'_>, node: &Node) -> Result<Heard<Told>, Unanswered> {
    let told = match script::said(wish, reply)? {
        Said::Looked(generation, place) => {
            let kept = match place {
                Place::Empty => Kept::Nothing,
                Place::Value(value, left) => Kept::Value(Bytes::copy_from_slice(value), left),
                Place::Foreign => Kept::Foreign,
            };
            Told::Looked(generation, kept)
        }
        Said::Done => Told::Done,
        Said::Cleared => Told::Cleared,
        Said::NoScript => return Ok(Heard::NoScript),
        Said::Elsewhere { at, for_once } => return Heard::elsewhere(at, node, for_once),
    };
    Ok(Heard::Said(told))
}

impl Behind {
    /// Takes so many bytes of that room. `None`: there are too few.
    pub(super) fn take(of: &Arc<Semaphore>, bytes: usize) -> Option<Self> {
        let room = Arc::clone(of).try_acquire_many_owned(u32::try_from(bytes).ok()?);
        room.ok().map(Self)
    }
}

impl Answers {
    pub(super) fn new(store: Arc<Store<Wanted>>, names: Names) -> Self {
        Self {
            at: Whereabouts::new(store),
            names: Arc::new(names),
        }
    }

    /// Whether these are the same answers in the same store.
    pub fn is_same(&self, other: &Self) -> bool {
        self.at.store.settings == other.at.store.settings && self.names == other.names
    }

    /// Whether these are the same answers, in whatever store.
    pub fn are_named_as(&self, other: &Self) -> bool {
        self.names == other.names
    }

    /// The Secret that says where the store is.
    pub fn secret(&self) -> &str {
        self.at.store.reach.secret()
    }

    /// The name of the answer to a request of this key.
    pub fn id(&self, key: &bowsprit_core::kept::key::Key) -> Id {
        self.names.id(key)
    }

    /// Asks for an answer, and for the generation to keep one under; where there is none, `fresh` is it from now on. Within the deadline.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn look(&self, id: Id, fresh: Generation) -> Result<(Generation, Kept), Unanswered> {
        let deadline = self.at.store.settings.deadline;
        match self.ask(What::Look { id, fresh }, deadline).await? {
            Told::Looked(generation, kept) => Ok((generation, kept)),
            _ => Err(Unanswered::Garbled),
        }
    }

    /// Tells of an answer that is good for so long. Says whether it is kept: not where it was cleared since this `generation` was looked at.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn keep(&self, id: Id, generation: Generation, value: Bytes, time: Duration) -> Result<bool, Unanswered> {
        let what = What::Keep {
            id,
            generation,
            value,
            time,
        };
        match self.ask(what, STORE_CONNECT).await? {
            Told::Done => Ok(true),
            Told::Cleared => Ok(false),
            Told::Looked(..) => Err(Unanswered::Garbled),
        }
    }

    /// Lets go of all of them, and of those that were asked for before.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn clear(&self) -> Result<(), Unanswered> {
        match self.ask(What::Clear, STORE_CONNECT).await? {
            Told::Done => Ok(()),
            _ => Err(Unanswered::Garbled),
        }
    }

    async fn ask(&self, what: What, deadline: Duration) -> Result<Told, Unanswered> {
        let asked = self.at.ask(deadline, |named, for_once, asker| Wanted {
            of: Arc::clone(&self.names),
            what: what.clone(),
            named,
            for_once,
            asker,
        });
        asked.await
    }
}
