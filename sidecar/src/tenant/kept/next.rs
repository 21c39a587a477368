//! What is asked of a route's vectors where its model changes: which there are, whether there is room for more, how those of the next
//! model become those of the route, and which go because their provider has changed the model.

use std::sync::Arc;

use bowsprit_core::config::{Config, Route};
use bowsprit_core::kept::basis::basis;
use bowsprit_core::kept::key::Key;

use super::{Keep, Shelves};
use crate::observe::stale::Fate;
use crate::sync::locked;

/// A provider has put another version in the place of one.
#[derive(Debug)]
pub struct Changed {
    /// The version before.
    pub before: Box<str>,
    /// Under which vectors of this version are kept.
    pub epoch: u64,
    /// What was kept of the one before, and is forgotten.
    pub gone: Vec<Key>,
}

impl<V: Keep> Shelves<V> {
    /// What a route keeps, the least recently used first.
    pub fn keys(&self, route: &str) -> Vec<Key> {
        let by_route = locked(&self.by_route);
        let shelf = by_route.get(route).into_iter();
        shelf
            .flat_map(|shelf| shelf.answers.in_order().map(|(key, _)| *key))
            .collect()
    }

    /// Whether something is kept under this key, however old.
    pub fn has(&self, route: &str, key: &Key) -> bool {
        let by_route = locked(&self.by_route);
        by_route.get(route).is_some_and(|shelf| shelf.answers.has(key))
    }

    /// Those of these under which nothing is kept.
    pub fn gone<'a>(&self, route: &str, keys: impl Iterator<Item = &'a Key>) -> Vec<Key> {
        let by_route = locked(&self.by_route);
        let has = |key: &&Key| by_route.get(route).is_some_and(|shelf| shelf.answers.has(key));
        keys.filter(|key| !has(key)).copied().collect()
    }

    /// The epoch under which an answer is kept that is asked for now; `None`: the route has changed.
    pub fn epoch(&self, route: &Arc<Route>) -> Option<u64> {
        let by_route = locked(&self.by_route);
        let shelf = by_route.get(&route.name).filter(|shelf| shelf.is_of(route))?;
        Some(shelf.epoch)
    }

    /// Whether so many more of the average size can be kept without another having to go.
    pub fn has_room(&self, route: &Arc<Route>, more: usize) -> bool {
        let by_route = locked(&self.by_route);
        by_route.get(&route.name).is_some_and(|shelf| {
            let (kept, bytes) = (shelf.answers.len(), shelf.answers.bytes());
            kept == 0 || bytes + bytes / kept * more <= shelf.terms.max_bytes
        })
    }

    /// Hands over what is kept on the same basis as that of a route of this configuration: its next model is its model now.
    pub fn hand_over(&self, to: &Self, config: &Config) {
        let mut next = locked(&self.by_route);
        if next.is_empty() {
            return;
        }
        let mut by_route = locked(&to.by_route);
        for route in &config.routes {
            if next
                .get(&route.name)
                .is_some_and(|shelf| shelf.basis == basis(config, route))
                && let Some(mut shelf) = next.remove(&route.name)
            {
                shelf.epoch = to.next_epoch();
                by_route.insert(route.name.clone(), shelf);
            }
        }
    }

    /// Who asked a route for this name under this epoch was answered by this version. If that is another one than before, what is kept of
    /// that goes, and what was asked for before is not kept.
    pub fn answered_by(&self, route: &Arc<Route>, (asked, version): (&Arc<str>, &str), epoch: u64) -> Option<Changed> {
        let mut by_route = locked(&self.by_route);
        let shelf = by_route.get_mut(&route.name);
        let shelf = shelf.filter(|shelf| shelf.is_of(route) && shelf.epoch == epoch)?;
        let before = shelf.versions.answered(asked, version)?;
        shelf.epoch = self.next_epoch();
        let mut gone = Vec::new();
        shelf.answers.forget(|key, held| {
            let is_gone = held.kept.is_of_another_version(asked, version);
            if is_gone {
                gone.push(*key);
            }
            is_gone
        });
        self.count(Fate::Outdated, gone.len());
        self.tell(&route.name, shelf);
        Some(Changed {
            before,
            epoch: shelf.epoch,
            gone,
        })
    }
}
