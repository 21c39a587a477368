//! Ready means that nothing blocks readiness any more. Whoever is not ready holds a guard; dropping it is the news.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the process still waits for.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeSet<&'static str>>>);

/// Holds readiness back until it is dropped.
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
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
    fn ready_is_when_the_last_guard_is_dropped() {
        let readiness = Readiness::default();
        let (certificate, objects) = (readiness.block("certificate"), readiness.block("objects"));
        drop(certificate);
        assert_eq!(readiness.waiting_for(), ["objects"]);
        drop(objects);
        assert!(readiness.waiting_for().is_empty());
    }
}
