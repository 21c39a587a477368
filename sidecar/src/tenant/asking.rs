//! Inputs of embeddings that are being asked for now: of those that several requests want together one asks, and the others wait.
//!
//! A request claims all the inputs that it misses at once, or none of them: while it waits for another's it holds nothing, and while it
//! holds some it waits for its provider alone. So no two requests ever wait for each other, however their inputs overlap.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bowsprit_core::kept::key::Key;
use tokio::sync::watch;

use super::vectors::Stored;
use crate::sync::locked;

/// By what an input is known: the epoch of its route's vectors, so that nobody waits for one of another configuration.
type Of = (u64, Key);
/// What came of a claim, by input. Those that are missing there are none to share.
pub type Came = Arc<HashMap<Key, Arc<Stored>>>;

/// The inputs under way.
#[derive(Default)]
pub struct Asking {
    under_way: Mutex<HashMap<Of, watch::Receiver<Option<Came>>>>,
}

/// Inputs that one request asks for. Dropped before it has [`Claim::ended`]: it failed or left, and whoever waits may ask.
pub struct Claim {
    asking: Arc<Asking>,
    epoch: u64,
    keys: Vec<Key>,
    came: watch::Sender<Option<Came>>,
}

/// Another request's claim on some of the inputs that are wanted.
pub struct Waiting(watch::Receiver<Option<Came>>);

impl Waiting {
    /// What came of it; `None`: it failed or left. Waits as long as that takes.
    pub async fn end(mut self) -> Option<Came> {
        let ended = self.0.wait_for(Option::is_some).await;
        ended.ok().and_then(|came| came.clone())
    }
}

impl Asking {
    /// Claims all of these inputs, of which none is named twice.
    ///
    /// # Errors
    /// Some are claimed by others: by these. Nothing is claimed then.
    pub fn claim(self: &Arc<Self>, epoch: u64, keys: Vec<Key>) -> Result<Claim, Vec<Waiting>> {
        let mut under_way = locked(&self.under_way);
        let mut others: Vec<Waiting> = Vec::new();
        for key in &keys {
            if let Some(other) = under_way.get(&(epoch, *key))
                && !others.iter().any(|known| known.0.same_channel(other))
            {
                others.push(Waiting(other.clone()));
            }
        }
        if others.is_empty() {
            Ok(self.take(&mut under_way, epoch, keys))
        } else {
            Err(others)
        }
    }

    /// Claims those of these inputs that nobody else has: for who asks for all of them whatever others do.
    pub fn claim_free(self: &Arc<Self>, epoch: u64, mut keys: Vec<Key>) -> Claim {
        let mut under_way = locked(&self.under_way);
        keys.retain(|key| !under_way.contains_key(&(epoch, *key)));
        self.take(&mut under_way, epoch, keys)
    }

    fn take(
        self: &Arc<Self>,
        under_way: &mut HashMap<Of, watch::Receiver<Option<Came>>>,
        epoch: u64,
        keys: Vec<Key>,
    ) -> Claim {
        let (came, waited_for) = watch::channel(None);
        under_way.extend(keys.iter().map(|key| ((epoch, *key), waited_for.clone())));
        Claim {
            asking: Arc::clone(self),
            epoch,
            keys,
            came,
        }
    }

    /// Inputs that somebody asks for.
    #[cfg(test)]
    fn len(&self) -> usize {
        locked(&self.under_way).len()
    }
}

impl Claim {
    /// Here is what came of it, to be called when it is kept: who looks now finds it in one place or the other.
    pub fn ended(mut self, came: HashMap<Key, Arc<Stored>>) {
        self.release();
        self.came.send_replace(Some(Arc::new(came)));
    }

    fn release(&mut self) {
        let mut under_way = locked(&self.asking.under_way);
        for key in self.keys.drain(..) {
            under_way.remove(&(self.epoch, key));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests;
