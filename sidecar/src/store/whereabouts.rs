//! Where in a store a thing is: it is asked there, and found again where the store has moved it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_core::share::store::script::Named;
use bowsprit_core::share::store::{MOST_HOPS, Unanswered};
use tokio::sync::oneshot;

use super::ask::{Ask, Asker, Heard};
use super::nodes::{Link, Store};
use crate::sync::locked;

/// One thing in a store.
pub(super) struct Whereabouts<Q> {
    pub(super) store: Arc<Store<Q>>,
    /// The node that has it, once another than the first has said so.
    at: Mutex<Option<Arc<Link<Q>>>>,
}

impl<Q: Ask> Whereabouts<Q> {
    pub(super) fn new(store: Arc<Store<Q>>) -> Self {
        Self {
            store,
            at: Mutex::default(),
        }
    }

    /// The way to it, as far as is known.
    pub(super) fn link(&self) -> Arc<Link<Q>> {
        let known = locked(&self.at).clone();
        known.unwrap_or_else(|| Arc::clone(&self.store.first))
    }

    /// Asks within the deadline. `question` is made for each node that is asked: how the script is named, whether it goes after
    /// `ASKING`, and who waits.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn ask<T>(
        &self,
        deadline: Duration,
        question: impl Fn(Named, bool, Asker<T>) -> Q,
    ) -> Result<T, Unanswered> {
        match tokio::time::timeout(deadline, self.follow(question)).await {
            Ok(said) => said,
            Err(_) => Err(Unanswered::Late),
        }
        .inspect_err(|_| *locked(&self.at) = None)
    }

    /// Asks where it is, and follows where that sends on to.
    async fn follow<T>(&self, question: impl Fn(Named, bool, Asker<T>) -> Q) -> Result<T, Unanswered> {
        let mut link = self.link();
        let (mut named, mut once) = (Named::Sha, false);
        for _ in 0..=MOST_HOPS {
            let (asker, heard) = oneshot::channel();
            link.ask(question(named, once, asker))?;
            // Who drops it has no connection.
            match heard.await.unwrap_or(Err(Unanswered::Unreachable))? {
                Heard::Said(said) => return Ok(said),
                Heard::NoScript => named = Named::Text,
                Heard::Elsewhere { node, for_once } => {
                    link = self.store.link(node)?;
                    if !for_once {
                        *locked(&self.at) = Some(Arc::clone(&link));
                    }
                    (named, once) = (Named::Sha, for_once);
                }
            }
        }
        Err(Unanswered::Moved)
    }
}
