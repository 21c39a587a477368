//! Ready means that nothing blocks readiness any more. Whoever is not ready holds a block, and
//! says so when it is: a block that is only dropped, since its holder died, goes on blocking.

use crate::sync::locked;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

/// What the process still waits for.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeSet<&'static str>>>);

/// Holds readiness back until [`Block::ready`].
#[derive(Debug)]
pub struct Block {
    of: Readiness,
    what: &'static str,
}

impl Readiness {
    /// Holds readiness back for `what`.
    pub fn block(&self, what: &'static str) -> Block {
        self.lock().insert(what);
        Block { of: self.clone(), what }
    }

    /// Everything still waited for; empty means ready.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        locked(&self.0)
    }
}

impl Block {
    /// This part is ready.
    pub fn ready(self) {
        let waiting = {
            let mut waiting = self.of.lock();
            waiting.remove(self.what);
            waiting.len()
        };
        tracing::info!(part = self.what, waiting, "ready");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_when_the_last_part_says_so_and_a_dead_part_never_does() {
        let readiness = Readiness::default();
        let (certificate, objects) = (readiness.block("certificate"), readiness.block("objects"));
        certificate.ready();
        assert_eq!(readiness.waiting_for(), ["objects"]);
        drop(objects);
        assert_eq!(readiness.waiting_for(), ["objects"]);
        readiness.block("objects").ready();
        assert!(readiness.waiting_for().is_empty());
    }
}
