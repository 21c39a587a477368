//! What can be asked of the ledger and what it answers: plain data, as JSON, for `kubectl bowsprit` and for scripts.
//!
//! Each is `GET` with the parameters in the query string; `docs/ledger-service.md` lists them.

#[cfg(feature = "store")]
pub mod read;
pub mod report;
#[cfg(feature = "store")]
pub mod sums;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::entry::{Attempt, Request, Tokens};

/// `?namespace=&from=&to=&by=&provider=`: sums over a window.
pub const STATS_PATH: &str = "/v1/stats";
/// `?namespace=&from=&to=&by=`: what it cost.
pub const SPEND_PATH: &str = "/v1/spend";
/// `?namespace=&from=&to=`: how good each provider was.
pub const QUALITY_PATH: &str = "/v1/quality";
/// `?namespace=&provider=&route=&failed=&number=&before=&after=`: requests, newest first.
pub const LOGS_PATH: &str = "/v1/requests";
/// `/v1/requests/ID?namespace=`: one request with its attempts; by its id, its trace's or a provider's id of an attempt.
pub const WHY_PREFIX: &str = "/v1/requests/";
/// `?namespace=&provider=`: how much each provider lets through.
pub const RATE_LIMITS_PATH: &str = "/v1/rate-limits";
/// `?namespace=&kind=&name=&number=`: what was applied.
pub const CONFIGS_PATH: &str = "/v1/configs";
/// Where a reader shows its token, as `Bearer TOKEN`, when it asks through the API server's proxy, which takes `Authorization` away.
pub const READER_HEADER: &str = "x-bowsprit-authorization";
/// Most requests of one answer.
pub const MAX_NUMBER: u32 = 1_000;

/// What sums are told apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The ProviderConfig.
    #[default]
    Provider,
    /// The provider and its model.
    Model,
    /// The ModelRoute.
    Route,
    /// The namespace.
    Namespace,
    /// The workload in its namespace.
    Workload,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Provider,
        Self::Model,
        Self::Route,
        Self::Namespace,
        Self::Workload,
    ];

    /// As a query string has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Model => "model",
            Self::Route => "route",
            Self::Namespace => "namespace",
            Self::Workload => "workload",
        }
    }

    /// From a query string.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == text)
    }
}

/// An amount, exact: picodollars (10^-12 US dollars). In JSON a string of dollars, such as `"0.00125"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(pub i128);

const PICO: u128 = 1_000_000_000_000;

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, amount) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let (whole, part) = (amount / PICO, amount % PICO);
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        let part = format!("{part:012}");
        write!(f, "{sign}{whole}.{}", part.trim_end_matches('0'))
    }
}

impl std::str::FromStr for Money {
    type Err = NoMoney;

    fn from_str(text: &str) -> Result<Self, NoMoney> {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(part) || part.len() > 12 {
            return Err(NoMoney);
        }
        let number = |text: &str| text.parse::<i128>().map_err(|_| NoMoney);
        let (whole, part) = (number(whole)?, number(&format!("{part:0<12}"))?);
        let amount = whole
            .checked_mul(1_000_000_000_000)
            .and_then(|whole| whole.checked_add(part));
        Ok(Self(amount.ok_or(NoMoney)? * sign))
    }
}

/// It is no amount: digits, and at most twelve behind a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMoney;

impl fmt::Display for NoMoney {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount is digits, with at most twelve behind a point")
    }
}

impl std::error::Error for NoMoney {}

impl Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Sums of one name over a window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stat {
    /// The namespace, where they are told apart by workload.
    pub namespace: String,
    /// The provider, where they are told apart by it or by model.
    pub provider: String,
    /// What they are told apart by.
    pub name: String,
    /// Requests that ended.
    pub requests: u64,
    /// Of these: answered in full.
    pub succeeded: u64,
    /// Of these: a provider, Bowsprit or its configuration failed, or the answer broke off.
    pub failed: u64,
    /// Of these: the caller's mistake.
    pub client_errors: u64,
    /// Of these: turned away by a limit.
    pub shed: u64,
    /// Of these: the caller left.
    pub cancelled: u64,
    /// Their durations added up, microseconds.
    pub took: u64,
    /// Attempts at providers.
    pub attempts: u64,
    /// Tokens of the attempts.
    pub tokens: Tokens,
    /// Attempts whose tokens are not known at all.
    pub tokens_unknown: u64,
    /// What the tokens cost that providers told.
    pub cost: Money,
    /// What the estimated tokens cost, beside that.
    pub cost_estimated: Money,
    /// Attempts with tokens whose price is not known: cost is at least what is said.
    pub cost_unknown: u64,
    /// 0: a name of its own. Else this row, the last, is what so many more names have together, for which an answer has no room.
    #[serde(skip_serializing_if = "is_none")]
    pub more: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none(more: &u64) -> bool {
    *more == 0
}

impl Stat {
    /// Adds another's sums.
    pub fn add(&mut self, other: &Self) {
        self.each(other, u64::saturating_add);
        self.cost.0 = self.cost.0.saturating_add(other.cost.0);
        self.cost_estimated.0 = self.cost_estimated.0.saturating_add(other.cost_estimated.0);
    }

    /// Takes another's sums away.
    #[cfg(feature = "store")]
    fn less(&mut self, other: &Self) {
        self.each(other, u64::saturating_sub);
        self.cost.0 = self.cost.0.saturating_sub(other.cost.0).max(0);
        self.cost_estimated.0 = self.cost_estimated.0.saturating_sub(other.cost_estimated.0).max(0);
    }

    fn each(&mut self, other: &Self, of: fn(u64, u64) -> u64) {
        for (ours, theirs) in [
            (&mut self.requests, other.requests),
            (&mut self.succeeded, other.succeeded),
            (&mut self.failed, other.failed),
            (&mut self.client_errors, other.client_errors),
            (&mut self.shed, other.shed),
            (&mut self.cancelled, other.cancelled),
            (&mut self.took, other.took),
            (&mut self.attempts, other.attempts),
            (&mut self.tokens.input, other.tokens.input),
            (&mut self.tokens.output, other.tokens.output),
            (&mut self.tokens.cached, other.tokens.cached),
            (&mut self.tokens.cache_write, other.tokens.cache_write),
            (&mut self.tokens.reasoning, other.tokens.reasoning),
            (&mut self.tokens.estimated_input, other.tokens.estimated_input),
            (&mut self.tokens.estimated_output, other.tokens.estimated_output),
            (&mut self.tokens_unknown, other.tokens_unknown),
            (&mut self.cost_unknown, other.cost_unknown),
        ] {
            *ours = of(*ours, theirs);
        }
    }
}

/// How good a provider was, and the formula: `score = 100 * success * (1 - cut) * min(1, 10 s / mean latency)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Quality {
    /// The ProviderConfig.
    pub provider: String,
    /// 0 to 100.
    pub score: f64,
    /// Attempts that were answered or failed.
    pub attempts: u64,
    /// Answered, of those.
    pub success: f64,
    /// Answers that began and did not reach their end, of the requests that it answered.
    pub cut: f64,
    /// Mean duration of an attempt, milliseconds.
    pub mean_ms: f64,
    /// What attempts failed with, most frequent first: code and count.
    pub failures: Vec<(String, u64)>,
}

/// A request where it is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listed {
    /// Where it stands among those that ended: `before=` of the next question.
    pub cursor: String,
    /// Where it stands among those that have arrived: `after=` of the next question.
    pub arrival: String,
    /// When the ledger had it, milliseconds since 1970.
    pub arrived: i64,
    /// When it ended, milliseconds since 1970.
    pub at: i64,
    /// Its namespace, pod and workload.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The workload.
    pub workload: String,
    /// The request.
    pub request: Request,
}

/// An attempt where it is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListedAttempt {
    /// When it ended, milliseconds since 1970.
    pub at: i64,
    /// The attempt.
    pub attempt: Attempt,
}

/// One request with its attempts, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Why {
    /// The request.
    #[serde(flatten)]
    pub listed: Listed,
    /// Its attempts.
    pub attempts_made: Vec<ListedAttempt>,
}

/// How much a provider lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimit {
    /// When it was told, milliseconds since 1970.
    pub at: i64,
    /// The namespace.
    pub namespace: String,
    /// What was told.
    #[serde(flatten)]
    pub headroom: crate::entry::Headroom,
}

/// An object that was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppliedConfig {
    /// When, milliseconds since 1970.
    pub at: i64,
    /// Its namespace.
    pub namespace: String,
    /// `ProviderConfig` or `ModelRoute`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `created`, `updated` or `deleted`.
    pub what: String,
    /// Who asked the API server.
    pub who: String,
    /// Its revision: a hash of its spec.
    pub revision: String,
    /// When another took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_at: Option<i64>,
}

/// A window of time: milliseconds since 1970, the end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its begin.
    pub from: i64,
    /// Its end.
    pub to: i64,
}

/// Days for which sums over minutes are kept. Those over hours stay longer.
pub const MINUTES_KEPT: i64 = 35;
/// The window, as `FROM/TO` in milliseconds since 1970, that an answer of sums is of: the one that was asked about, widened to whole
/// minutes, and to whole hours where sums over minutes are not kept any more.
pub const WINDOW_HEADER: &str = "x-bowsprit-window";

impl Window {
    /// The window that sums can tell of at the time `now`, in milliseconds since 1970: widened, never narrowed.
    #[must_use]
    pub fn told(self, now: i64) -> Self {
        const MINUTE: i64 = 60_000;
        const HOUR: i64 = 60 * MINUTE;
        const DAY: i64 = 24 * HOUR;
        // Whole days of them go.
        let oldest = now
            .saturating_sub(MINUTES_KEPT * DAY)
            .div_euclid(DAY)
            .saturating_add(1)
            .saturating_mul(DAY);
        let grain = |at: i64| if at < oldest { HOUR } else { MINUTE };
        let down = |at: i64| at.saturating_sub(at.rem_euclid(grain(at)));
        let up = |at: i64| down(at.saturating_add(grain(at) - 1));
        Self {
            from: down(self.from),
            to: up(self.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_of_whole_hours_where_minutes_are_not_kept_any_more() {
        const DAY: i64 = 86_400_000;
        let (now, minute, hour) = (20_000 * DAY + 52_620_001, 60_000, 3_600_000);
        let told = |from: i64, to: i64| {
            let Window { from, to } = Window { from, to }.told(now);
            (from, to)
        };
        // 18:30 to 18:30, as a month in India is asked about.
        let half = |day: i64| day * DAY + 37 * hour / 2;
        assert_eq!(
            told(half(19_940), half(19_950)),
            (half(19_940) - hour / 2, half(19_950) + hour / 2)
        );
        // Minutes of its end are there.
        assert_eq!(
            told(half(19_940), half(19_990)),
            (half(19_940) - hour / 2, half(19_990))
        );
        assert_eq!(told(now - 1, now), (now - 1 - (now - 1) % minute, now - 1 + minute));
        // The day that a clean-up may just have taken is not counted on.
        assert_eq!(told(19_965 * DAY + minute, now).0, 19_965 * DAY);
        assert_eq!(told(19_966 * DAY + minute, now).0, 19_966 * DAY + minute);
        assert_eq!(told(i64::MIN, i64::MAX).1, i64::MAX - i64::MAX % minute);
    }

    #[test]
    fn an_amount_is_exact_in_both_directions() {
        for (amount, text) in [
            (0, "0"),
            (1, "0.000000000001"),
            (1_250_000_000, "0.00125"),
            (-3_000_000_000_000, "-3"),
            (9_223_372_036_854_775_807_000_000, "9223372036854.775807"),
        ] {
            assert_eq!(Money(amount).to_string(), text);
            assert_eq!(text.parse(), Ok(Money(amount)));
        }
        for none in ["", "-", ".5", "1e3", "1.0000000000001", "１"] {
            assert_eq!(none.parse::<Money>(), Err(NoMoney), "{none}");
        }
    }
}
