//! Families about budgets. Their label is the policy's name and the budget's, from the configuration.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::{Counters, Labels, OTHER, Registry};

/// What became of a request that did not fit into a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// It went on all the same.
    Over,
    /// It went to another route.
    Diverted,
    /// It was refused.
    Stopped,
}

impl Result {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Over, Self::Diverted, Self::Stopped];

    fn as_str(self) -> &'static str {
        match self {
            Self::Over => "over",
            Self::Diverted => "diverted",
            Self::Stopped => "stopped",
        }
    }
}

/// A budget and one word.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BeyondLabels {
    budget_name: Arc<str>,
    beyond: &'static str,
}

impl Labels for BeyondLabels {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self {
            budget_name: OTHER.into(),
            beyond: OTHER,
        }
    }
}

/// A budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    budget_name: Arc<str>,
}

/// Families about budgets.
#[derive(Clone, Debug)]
pub struct BudgetMetrics {
    spent: Family<NameLabel, Gauge<f64, AtomicU64>>,
    beyond: Counters<BeyondLabels>,
}

impl BudgetMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let spent = Family::<NameLabel, Gauge<f64, AtomicU64>>::default();
        registry.register(
            "budget_spent_ratio",
            "What is spent of a budget of a UsagePolicy in the window that runs, as a share of its amount",
            &["budget_name"],
            spent.clone(),
        );
        Self {
            spent,
            beyond: registry.counters(
                "budget_beyond_requests",
                "Requests that did not fit into a budget of a UsagePolicy by what became of them: over (they went on), diverted (to another ModelRoute), stopped",
                &["budget_name", "beyond"],
            ),
        }
    }

    /// What is spent of each budget, and of no others.
    pub fn spent<'a>(&self, all: impl Iterator<Item = (&'a Arc<str>, f64)>) {
        self.spent.clear();
        for (budget, share) in all {
            let budget_name = Arc::clone(budget);
            self.spent.get_or_create_owned(&NameLabel { budget_name }).set(share);
        }
    }

    /// A request did not fit into this budget.
    pub fn met(&self, budget: &Arc<str>, result: Result) {
        let (budget_name, beyond) = (Arc::clone(budget), result.as_str());
        self.beyond.get(&BeyondLabels { budget_name, beyond }).inc();
    }
}
