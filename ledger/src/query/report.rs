//! Reports: what a period was like, for whoever has to show it to others. Each is made of sums over minutes, hours and days, and says of
//! what is told by single requests alone how many of them it is of.

#[cfg(feature = "store")]
pub mod asked;
#[cfg(feature = "store")]
pub mod days;
#[cfg(feature = "store")]
mod judged;
#[cfg(feature = "store")]
pub mod read;
#[cfg(feature = "store")]
mod refused;

use serde::{Deserialize, Serialize};

use super::{Money, Stat, Window};

/// `?namespace=&from=&to=&by=`: how available it was and how long answers took.
pub const SLA_PATH: &str = "/v1/reports/sla";
/// `?namespace=&from=&to=&previous=&by=`: what was used, with the period before beside it.
pub const USAGE_PATH: &str = "/v1/reports/usage";
/// `?namespace=&from=&to=`: who was turned away, and by which rule.
pub const ACCESS_PATH: &str = "/v1/reports/access";
/// Most requests that percentiles are told of all of: each is a row that is read. Of more, they are told of those that are sampled.
pub const MOST_RANKED: u64 = 100_000;
/// Of how many requests one is sampled, about.
pub const SAMPLED_OF: u64 = 16;
/// Fewest sampled requests of a name that percentiles are told of.
pub const LEAST_SAMPLED: u64 = 100;
/// Rows of [`Refusals`].
pub const MOST_REFUSALS: usize = 1_000;
/// Hours of [`Sla::worst`].
pub const MOST_HOURS: usize = 10;

/// How available it was. What counts as good and bad is what `spec.slo` of a ModelRoute counts: answered in full; a failure of a provider,
/// of Bowsprit or its configuration, an answer that broke off, or a request that a limit turned away. A caller's mistake, and a caller
/// that left, are neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sla {
    /// Its begin, milliseconds since 1970.
    pub from: i64,
    /// Its end.
    pub to: i64,
    /// How long one of [`Windows`] is, seconds: 60, or 3600 where sums over minutes are not kept any more.
    pub grain: i64,
    /// By name, the busiest first.
    pub rows: Vec<SlaRow>,
    /// Hours in which most went wrong, the worst first; each whole, also where the period begins or ends within it.
    pub worst: Vec<Hour>,
    /// Whether percentiles were asked for: not by a service of a release that told none of many requests.
    pub is_ranked: bool,
    /// Whether percentiles are of sampled requests, one of about [`SAMPLED_OF`], as more than [`MOST_RANKED`] succeeded; of a name of
    /// which fewer than [`LEAST_SAMPLED`] are sampled there are none.
    pub is_sampled: bool,
}

/// One name of an [`Sla`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlaRow {
    /// Its sums.
    #[serde(flatten)]
    pub stat: Stat,
    /// Windows with requests; `None`: of a row that has no name of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
    /// How long it took; `None`: no request that succeeded is kept one by one, or too few of it are sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

impl SlaRow {
    /// Of those that were good or bad, how many were good.
    pub fn availability(&self) -> Option<f64> {
        let judged = self.stat.succeeded.saturating_add(bad(&self.stat));
        (judged > 0).then(|| self.stat.succeeded as f64 / judged as f64)
    }

    /// How many times its error budget it has used up, where so many percent must be good: 1 is all of it.
    pub fn burn(&self, percent: f64) -> Option<f64> {
        let budget = 1.0 - percent / 100.0;
        let availability = self.availability()?;
        (budget > 0.0).then(|| (1.0 - availability) / budget)
    }
}

/// Requests that were not as an objective wants them.
pub fn bad(stat: &Stat) -> u64 {
    stat.failed.saturating_add(stat.shed)
}

/// Minutes, or hours, in which a request was good or bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Windows {
    /// All of them.
    pub used: u64,
    /// Of these: nothing was bad.
    pub clean: u64,
    /// Of these: at least half was bad.
    pub down: u64,
}

/// Durations of requests that succeeded, microseconds: that of the request which so many percent are not slower than (nearest rank), or
/// of one that is slower by less than 1/256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Latency {
    /// Half of them.
    pub p50: u64,
    /// 95 of 100.
    pub p95: u64,
    /// 99 of 100.
    pub p99: u64,
    /// How many requests that is of: those of the period that are kept one by one, or of these the sampled ones.
    pub of: u64,
}

/// An hour of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hour {
    /// Its begin, milliseconds since 1970.
    pub at: i64,
    /// As [`Stat::namespace`].
    pub namespace: String,
    /// As [`Stat::provider`].
    pub provider: String,
    /// As [`Stat::name`].
    pub name: String,
    /// Requests that were good.
    pub good: u64,
    /// Requests that were bad.
    pub bad: u64,
}

/// What was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Its begin, milliseconds since 1970.
    pub from: i64,
    /// Its end.
    pub to: i64,
    /// The begin of the period before.
    pub previous_from: i64,
    /// The end of the period before.
    pub previous_to: i64,
    /// By name, the dearest first; behind them those that were in the period before alone.
    pub rows: Vec<UsageRow>,
}

/// One name of a [`Usage`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UsageRow {
    /// Its sums.
    #[serde(flatten)]
    pub now: Stat,
    /// Those of the period before.
    pub previous: Stat,
    /// Of its requests, those that got a kept answer, as far as they are kept one by one.
    pub cache: CacheHits,
}

/// Requests that nobody was asked for, since an answer was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheHits {
    /// How many.
    pub hits: u64,
    /// Tokens that were not spent again.
    pub saved_tokens: u64,
    /// What these cost the first time, where it is known.
    pub saved_cost: Money,
}

/// Who was turned away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Refusals {
    /// Its begin, milliseconds since 1970.
    pub from: i64,
    /// Its end.
    pub to: i64,
    /// Most often first; [`MOST_REFUSALS`] at most.
    pub rows: Vec<Refused>,
    /// Requests that a rule turned away, those of rows for which there is no room included.
    pub refused: u64,
    /// Rows for which there is no room.
    pub more: u64,
    /// Requests that ended otherwise than well, whatever the reason; those that the caller left are not among them.
    pub unsuccessful: u64,
    /// Of these, those that sums alone tell of, which do not say whether a rule turned them away.
    pub without_detail: u64,
    /// The same of rules in shadow, which let them pass: most often first, [`MOST_REFUSALS`] at most. Of each request the first rule that
    /// would have refused it.
    pub shadow: Vec<Refused>,
    /// Requests that a rule in shadow would have turned away, those of rows for which there is no room included.
    pub would_be_refused: u64,
}

/// Requests of one caller that one rule turned away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Refused {
    /// The caller's namespace.
    pub namespace: String,
    /// The caller's workload.
    pub workload: String,
    /// The service account of its pods.
    pub service_account: String,
    /// The rule: `limit:NAME`, `access:NAME`, `budget:NAME`, `guard:NAME`, `pause:NAME`.
    pub refused_by: String,
    /// The error that the caller got.
    pub code: String,
    /// How many.
    pub count: u64,
    /// When the first ended, milliseconds since 1970.
    pub first: i64,
    /// When the last ended.
    pub last: i64,
}

/// The period of the same length that ends where this one begins.
#[must_use]
pub fn before(window: Window) -> Window {
    Window {
        from: window.from.saturating_sub(window.to.saturating_sub(window.from)),
        to: window.from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(succeeded: u64, failed: u64, shed: u64) -> SlaRow {
        SlaRow {
            stat: Stat {
                succeeded,
                failed,
                shed,
                client_errors: 1_000,
                cancelled: 1_000,
                ..Stat::default()
            },
            ..SlaRow::default()
        }
    }

    #[test]
    fn what_a_caller_got_wrong_or_left_is_neither_good_nor_bad() {
        assert_eq!(row(990, 9, 1).availability(), Some(0.99));
        assert_eq!(row(0, 0, 0).availability(), None);
    }

    #[test]
    fn a_budget_is_used_up_once_where_as_much_is_bad_as_may_be() {
        let burn = row(990, 10, 0).burn(99.0).unwrap();
        assert!((burn - 1.0).abs() < 1e-9, "{burn}");
        assert_eq!(row(0, 0, 0).burn(99.0), None);
        assert_eq!(row(1, 0, 0).burn(100.0), None);
    }

    #[test]
    fn the_period_before_ends_where_this_one_begins() {
        let Window { from, to } = before(Window { from: 70, to: 100 });
        assert_eq!((from, to), (40, 70));
    }
}
