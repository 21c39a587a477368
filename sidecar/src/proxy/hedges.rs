//! What became of hedges, in numbers.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    provider: Arc<str>,
    outcome: &'static str,
}

/// The family about hedges.
#[derive(Debug)]
pub struct Hedges(Family<Labels, Counter>);

/// How a second attempt beside the first ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
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
        let hedges = Family::default();
        registry.register(
            "hedges",
            "Second attempts beside a slow first one, at whom they went to: won, lost, failed or cancelled",
            hedges.clone(),
        );
        Self(hedges)
    }

    /// A hedge goes out to this provider. Counted once, whatever becomes of it.
    pub fn sent(&self, provider: &Arc<str>) -> Hedge<'_> {
        Hedge {
            hedges: self,
            provider: Arc::clone(provider),
            outcome: Outcome::Cancelled,
        }
    }
}

/// A hedge under way.
pub struct Hedge<'a> {
    hedges: &'a Hedges,
    provider: Arc<str>,
    outcome: Outcome,
}

impl Hedge<'_> {
    /// It ended so.
    pub fn ended(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Hedge<'_> {
    fn drop(&mut self) {
        let outcome = match self.outcome {
            Outcome::Won => "won",
            Outcome::Lost => "lost",
            Outcome::Failed => "failed",
            Outcome::Cancelled => "cancelled",
        };
        let labels = Labels {
            provider: Arc::clone(&self.provider),
            outcome,
        };
        self.hedges.0.get_or_create(&labels).inc();
    }
}
