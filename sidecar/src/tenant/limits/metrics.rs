//! Families about named limits. Their label is the limit's name, from the configuration.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::{Counters, Labels, OTHER, Registry, Seconds, Series, set};

/// What became of a request under a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// It was let in, at once or after its turn.
    Admitted,
    /// It stood in line.
    Waited,
    /// It went to the route's fallback.
    Diverted,
    /// It was refused.
    Refused,
    /// The store that counts the limit said nothing, and this sidecar's share let it in: beside admitted.
    ByShare,
}

impl Result {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Admitted,
        Self::Waited,
        Self::Diverted,
        Self::Refused,
        Self::ByShare,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Waited => "waited",
            Self::Diverted => "diverted",
            Self::Refused => "refused",
            Self::ByShare => "by_share",
        }
    }
}

/// A limit and one word.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    limit_name: Arc<str>,
    met: &'static str,
}

/// A limit and what is counted of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    limit_name: Arc<str>,
    counted: &'static str,
}

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    limit_name: Arc<str>,
}

impl Labels for ResultLabels {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self {
            limit_name: OTHER.into(),
            met: OTHER,
        }
    }
}

impl Labels for TokenLabels {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self {
            limit_name: OTHER.into(),
            counted: self.counted,
        }
    }
}

impl Labels for NameLabel {
    fn provider(&self) -> Option<&str> {
        None
    }

    fn folded(&self) -> Self {
        Self {
            limit_name: OTHER.into(),
        }
    }
}

/// Families about named limits.
#[derive(Clone, Debug)]
pub struct LimitMetrics {
    requests: Counters<ResultLabels>,
    waits: Series<NameLabel, Seconds>,
    tokens: Counters<TokenLabels>,
    /// Requests that wait for room now.
    waiting: Family<NameLabel, Gauge>,
}

impl LimitMetrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let waiting = Family::<NameLabel, Gauge>::default();
        registry.register(
            "limits_waiting",
            "Requests that wait now for room under a limit of a ModelRoute or UsagePolicy",
            &["limit_name"],
            waiting.clone(),
        );
        Self {
            requests: registry.counters(
                "limit_requests",
                "Requests under a limit of a ModelRoute or UsagePolicy by what became of them: admitted, waited (in line, whatever came of it), diverted (to the route's fallback), refused, by_share (beside admitted: the store that counts it did not answer); of policy/NAME/runaway those that came too often: admitted (told, and passed), refused",
                &["limit_name", "met"],
            ),
            waits: registry.seconds(
                "limit_line_seconds",
                "Time that requests stood in line for a limit of a ModelRoute or UsagePolicy",
                &["limit_name"],
            ),
            tokens: registry.counters(
                "limit_tokens",
                "Tokens of requests under a limit of a ModelRoute or UsagePolicy: reserved by estimate before, used as it was settled after; far apart, the estimates are wrong",
                &["limit_name", "counted"],
            ),
            waiting,
        }
    }

    /// Who waits now, by limit, and for no others.
    pub fn wait<'a>(&self, waiting: impl Iterator<Item = (&'a str, usize)>) {
        self.waiting.clear();
        for (limit, count) in waiting {
            let limit_name = limit.into();
            set(&self.waiting.get_or_create_owned(&NameLabel { limit_name }), count);
        }
    }

    /// A request met this limit.
    pub fn met(&self, limit: &Arc<str>, result: Result) {
        let (limit_name, met) = (Arc::clone(limit), result.as_str());
        self.requests.get(&ResultLabels { limit_name, met }).inc();
    }

    /// A request stood in line for so long.
    pub fn stood(&self, limit: &Arc<str>, waited: Duration) {
        let limit_name = Arc::clone(limit);
        self.waits.get(&NameLabel { limit_name }).inc_by(waited.as_secs_f64());
    }

    /// Tokens were reserved.
    pub fn reserved(&self, limit: &Arc<str>, tokens: u64) {
        let (limit_name, counted) = (Arc::clone(limit), "reserved");
        self.tokens.get(&TokenLabels { limit_name, counted }).inc_by(tokens);
    }

    /// Tokens were used.
    pub fn used(&self, limit: &Arc<str>, tokens: u64) {
        let (limit_name, counted) = (Arc::clone(limit), "used");
        self.tokens.get(&TokenLabels { limit_name, counted }).inc_by(tokens);
    }
}
