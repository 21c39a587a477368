//! What access rules decide, in numbers. A configuration without rules has none of these series.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bowsprit_core::config::Config;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;

use crate::metrics::{Counters, Labels, OTHER, Registry};

/// What a rule that does not hold leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The request, or one candidate, is refused.
    Denied,
    /// It would be, but the rule is in shadow.
    WouldDeny,
}

impl Decided {
    /// The metric label.
    fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::WouldDeny => "would_deny",
        }
    }
}

/// The values of the label `decision`.
pub const DECISIONS: [&str; 5] = ["allowed", "denied", "would_deny", UNDECIDED, OTHER];
/// Of a rule that could not be decided, beside what it led to.
const UNDECIDED: &str = "undecided";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    rule: Arc<str>,
    decision: &'static str,
}

impl Labels for DecisionLabels {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self {
            rule: OTHER.into(),
            decision: OTHER,
        }
    }
}

/// Families about access rules.
pub struct Decisions {
    decisions: Counters<DecisionLabels>,
    /// Requests that passed, while there are rules.
    allowed: ArcSwapOption<Counter>,
}

impl Decisions {
    /// Series that a configuration with rules has for good: the one of what is allowed, and the one that seldom ones are
    /// folded into.
    const SERIES: usize = 2;

    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            decisions: registry.counters(
                "access_decisions",
                "Requests under access rules, by what the rules said: allowed (once a request, without a rule's name), denied, would_deny (the rule is in shadow, and the request passed); a rule about candidates counts each that it leaves out; undecided (beside denied or would_deny: the rule asks for what the request does not say, and so does not hold)",
                &["rule", "decision"],
            ),
            allowed: ArcSwapOption::empty(),
        }
    }

    /// Has series for this configuration, if it has rules. Returns how many.
    pub fn fit(&self, config: &Config) -> usize {
        if !config.has_access() {
            self.allowed.store(None);
            return 0;
        }
        let labels = DecisionLabels {
            rule: "".into(),
            decision: "allowed",
        };
        self.allowed.store(Some(Arc::new(self.decisions.fixed(&labels))));
        Self::SERIES
    }

    /// Counts a request that the rules allow.
    pub fn allowed(&self) {
        if let Some(allowed) = &*self.allowed.load() {
            allowed.inc();
        }
    }

    /// Counts a rule that does not hold.
    pub fn denied(&self, rule: &Arc<str>, decided: Decided, is_fault: bool) {
        let undecided = is_fault.then_some(UNDECIDED);
        for decision in [decided.as_str()].into_iter().chain(undecided) {
            let rule = Arc::clone(rule);
            self.decisions.get(&DecisionLabels { rule, decision }).inc();
        }
    }
}
