//! What guards find, in numbers. A configuration without guards has none of these series.

use std::sync::Arc;

use bowsprit_core::config::Config;
use bowsprit_core::guard::Decided;
use prometheus_client::encoding::EncodeLabelSet;

use crate::metrics::{Counters, Labels, OTHER, Registry};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    guard: Arc<str>,
    decision: &'static str,
}

impl Labels for FindingLabels {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self {
            guard: OTHER.into(),
            decision: OTHER,
        }
    }
}

/// The family about guards.
pub struct Findings {
    findings: Counters<FindingLabels>,
}

impl Findings {
    /// The series that seldom ones are folded into.
    const SERIES: usize = 1;

    /// Registers the family.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            findings: registry.counters(
                "guard_findings",
                "Requests and answers in which a guard found something, by what it did: masked, refused, observed; would_mask and would_refuse (the guard is in shadow, and they passed as they were). Each counts once for a guard, however much was found. Where a guard's service has not decided: passed_, refused_ or would_refuse_ and why",
                &["guard", "decision"],
            ),
        }
    }

    /// How many series this configuration has for good.
    pub fn fit(config: &Config) -> usize {
        if config.has_guards() { Self::SERIES } else { 0 }
    }

    /// Counts a request or an answer in which this guard found something.
    pub fn found(&self, guard: &Arc<str>, decided: Decided) {
        self.count(guard, decided.as_str());
    }

    /// Counts one by its decision: a [`Decided`], or where a service has not decided what followed and why.
    pub fn count(&self, guard: &Arc<str>, decision: &'static str) {
        let guard = Arc::clone(guard);
        self.findings.get(&FindingLabels { guard, decision }).inc();
    }
}
