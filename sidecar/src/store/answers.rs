//! Answers of a route that a store keeps: asked within the deadline, told behind.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_core::kept::shared::script::{self, Place, Said, Wish};
use bowsprit_core::kept::shared::{Generation, Id, Names};
use bowsprit_core::share::store::address::Node;
use bowsprit_core::share::store::resp::{Garbage, Reply};
use bowsprit_core::share::store::script::Named;
use bowsprit_core::share::store::{MOST_HOPS, Unanswered};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::nodes::{Link, Store};
use super::question::Ask;
use crate::limits::STORE_CONNECT;
use crate::sync::locked;

/// What a route's answers are in a store.
pub struct Answers {
    store: Arc<Store<Wanted>>,
    names: Arc<Names>,
    /// The node that has them, once another than the first has said so.
    at: Mutex<Option<Arc<Link<Wanted>>>>,
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

/// What a node said.
enum Heard {
    Looked(Generation, Kept),
    Done,
    Cleared,
    NoScript,
    Elsewhere { node: Node, for_once: bool },
}

/// One question.
pub(super) struct Wanted {
    of: Arc<Names>,
    what: What,
    named: Named,
    for_once: bool,
    asker: oneshot::Sender<Result<Heard, Unanswered>>,
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

fn heard(wish: &Wish<'_>, reply: &Reply<'_>, node: &Node) -> Result<Heard, Unanswered> {
    Ok(match script::said(wish, reply)? {
        Said::Looked(generation, place) => {
            let kept = match place {
                Place::Empty => Kept::Nothing,
                Place::Value(value, left) => Kept::Value(Bytes::copy_from_slice(value), left),
                Place::Foreign => Kept::Foreign,
            };
            Heard::Looked(generation, kept)
        }
        Said::Done => Heard::Done,
        Said::Cleared => Heard::Cleared,
        Said::NoScript => Heard::NoScript,
        Said::Elsewhere { at, for_once } => Heard::Elsewhere {
            node: Node::elsewhere(at, node).ok_or(Unanswered::Garbled)?,
            for_once,
        },
    })
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
            store,
            names: Arc::new(names),
            at: Mutex::default(),
        }
    }

    /// Whether these are the same answers in the same store.
    pub fn is_same(&self, other: &Self) -> bool {
        self.store.settings == other.store.settings && self.names == other.names
    }

    /// The Secret that says where the store is.
    pub fn secret(&self) -> &str {
        self.store.reach.secret()
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
        let deadline = self.store.settings.deadline;
        match self.ask(What::Look { id, fresh }, deadline).await? {
            Heard::Looked(generation, kept) => Ok((generation, kept)),
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
            Heard::Done => Ok(true),
            Heard::Cleared => Ok(false),
            _ => Err(Unanswered::Garbled),
        }
    }

    /// Lets go of all of them, and of those that were asked for before.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn clear(&self) -> Result<(), Unanswered> {
        match self.ask(What::Clear, STORE_CONNECT).await? {
            Heard::Done => Ok(()),
            _ => Err(Unanswered::Garbled),
        }
    }

    async fn ask(&self, what: What, deadline: Duration) -> Result<Heard, Unanswered> {
        match tokio::time::timeout(deadline, self.follow(what)).await {
            Ok(heard) => heard,
            Err(_) => Err(Unanswered::Late),
        }
        .inspect_err(|_| *locked(&self.at) = None)
    }

    /// Asks where they are, and follows where that sends on to.
    async fn follow(&self, what: What) -> Result<Heard, Unanswered> {
        let known = locked(&self.at).clone();
        let mut link = known.unwrap_or_else(|| Arc::clone(&self.store.first));
        let (mut named, mut once) = (Named::Sha, false);
        for _ in 0..=MOST_HOPS {
            let (asker, heard) = oneshot::channel();
            link.ask(Wanted {
                of: Arc::clone(&self.names),
                what: what.clone(),
                named,
                for_once: once,
                asker,
            })?;
            // Who drops it has no connection.
            match heard.await.unwrap_or(Err(Unanswered::Unreachable))? {
                Heard::NoScript => named = Named::Text,
                Heard::Elsewhere { node, for_once } => {
                    link = self.store.link(node)?;
                    if !for_once {
                        *locked(&self.at) = Some(Arc::clone(&link));
                    }
                    (named, once) = (Named::Sha, for_once);
                }
                heard => return Ok(heard),
            }
        }
        Err(Unanswered::Moved)
    }
}
