//! What guards find, in numbers. A configuration without guards has none of these series.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::config::Config;
use bowsprit_core::guard::Decided;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;

use crate::metrics::{Counters, Labels, OTHER, Registry, Seconds, Series};

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GuardLabel {
    guard: Arc<str>,
}

impl Labels for GuardLabel {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self { guard: OTHER.into() }
    }
}

/// The families about guards.
pub struct Findings {
    decisions: Counters<FindingLabels>,
    questions: Counters<GuardLabel>,
    seconds: Series<GuardLabel, Seconds>,
}

/// Where what one guard's service is asked is counted.
#[derive(Clone)]
pub struct Questions {
    count: Counter,
    seconds: Seconds,
}

impl Questions {
    /// It was asked, and has answered or not after so long.
    pub fn asked(&self, took: Duration) {
        self.count.inc();
        self.seconds.inc_by(took.as_secs_f64());
    }
}

impl Findings {
    /// The series that seldom ones are folded into.
    const SERIES: usize = 1;
    /// The same of guards that are services.
    const OF_SERVICES: usize = 2;

    /// Registers the family.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            decisions: registry.counters(
                "guard_findings",
                "Requests and answers in which a guard found something, by what it did: masked, refused, observed; would_mask and would_refuse (the guard is in shadow, and they passed as they were). Each counts once for a guard, however much was found. Where a guard's service has not decided: passed_, refused_ or would_refuse_ and why; not_asked, where it has not answered others and is left alone for a while",
                &["guard", "decision"],
            ),
            questions: registry.counters(
                "guard_service_questions",
                "Questions that a guard's service was asked, whether it answered or not; not those that it was not asked as it is left alone",
                &["guard"],
            ),
            seconds: registry.seconds(
                "guard_service_seconds",
                "Time that these took, of what had no answer the time until it was given up; divided by the questions, how long each waits",
                &["guard"],
            ),
        }
    }

    /// How many series this configuration has for good.
    pub fn fit(config: &Config) -> usize {
        let asks = config.guards().any(|guard| guard.webhook.is_some());
        let of_services = if asks { Self::OF_SERVICES } else { 0 };
        if config.has_guards() {
            Self::SERIES + of_services
        } else {
            0
        }
    }

    /// Where what this guard's service is asked is counted.
    pub fn questions(&self, guard: &Arc<str>) -> Questions {
        let label = GuardLabel {
            guard: Arc::clone(guard),
        };
        Questions {
            count: self.questions.get(&label),
            seconds: self.seconds.get(&label),
        }
    }

    /// Counts a request or an answer in which this guard found something.
    pub fn found(&self, guard: &Arc<str>, decided: Decided) {
        self.count(guard, decided.as_str());
    }

    /// Counts one by its decision: a [`Decided`], or where a service has not decided what followed and why.
    pub fn count(&self, guard: &Arc<str>, decision: &'static str) {
        let guard = Arc::clone(guard);
        self.decisions.get(&FindingLabels { guard, decision }).inc();
    }
}
