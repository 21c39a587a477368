//! What became of hedges, in numbers.

use std::sync::Arc;

use crate::metrics::{Counters, Registry, word_labels};

word_labels! {
    /// A provider and what became of a hedge there.
    HedgeLabels { outcome }
}

/// The family about hedges.
#[derive(Debug)]
pub struct Hedges(Counters<HedgeLabels>);

/// How a second attempt beside the first ended.
#[derive(Clone, Copy, Debug)]
pub enum HedgeOutcome {
    /// It answered first.
    Won,
    /// The first attempt did.
    Lost,
    /// It failed.
    Failed,
    /// The request ended while both were out: the caller left, or the sidecar stops.
    Cancelled,
}

impl Hedges {
    /// Registers the family.
    pub fn register(registry: &mut Registry) -> Self {
        Self(registry.counters(
            "hedges",
            "Second attempts beside a slow first one, at whom they went to: won, lost (the first answered), failed, or cancelled with the request",
            &["provider", "outcome"],
        ))
    }

    /// A hedge goes out to this provider. Counted once, whatever becomes of it.
    pub fn sent(&self, provider: &Arc<str>) -> Hedge<'_> {
        Hedge {
            hedges: self,
            provider: Arc::clone(provider),
            outcome: HedgeOutcome::Cancelled,
        }
    }
}

/// A hedge under way.
pub struct Hedge<'a> {
    hedges: &'a Hedges,
    provider: Arc<str>,
    outcome: HedgeOutcome,
}

impl Hedge<'_> {
    /// Ends the hedge with this outcome, which is then counted.
    pub fn ended(mut self, outcome: HedgeOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for Hedge<'_> {
    fn drop(&mut self) {
        let outcome = match self.outcome {
            HedgeOutcome::Won => "won",
            HedgeOutcome::Lost => "lost",
            HedgeOutcome::Failed => "failed",
            HedgeOutcome::Cancelled => "cancelled",
        };
        let labels = HedgeLabels {
            provider: Arc::clone(&self.provider),
            outcome,
        };
        self.hedges.0.get(&labels).inc();
    }
}
