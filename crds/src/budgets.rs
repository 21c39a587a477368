//! What may be spent: how much money, over which time, by whom together, and what happens beyond it.

use serde::{Deserialize, Serialize};

use crate::DurationText;

/// A sum of money that may be spent over a time. A request is let through if what it may cost at the most still fits beside what is
/// spent and what is under way; what it did cost is counted when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "(self.window == 'Custom') == has(self.every)",
        "message": "every: says how long a window of Custom is, such as 6h, and belongs to no other",
        "fieldPath": ".every",
    },
    {
        "rule": "!has(self.every) || (duration(self.every) >= duration('1m') && duration(self.every) <= duration('2160h'))",
        "message": "every: must be 1m to 2160h (90 days)",
        "fieldPath": ".every",
    },
    {
        "rule": "(has(self.per) && self.per == 'Team') == has(self.teamLabel)",
        "message": "teamLabel: names the pod label that per Team goes by, and belongs to no other",
        "fieldPath": ".teamLabel",
    },
    {
        "rule": "(has(self.onExhausted) && self.onExhausted == 'Divert') == has(self.divertTo)",
        "message": "divertTo: names the ModelRoute that onExhausted Divert leads to, and belongs to no other",
        "fieldPath": ".divertTo",
    },
    {
        "rule": "!has(self.withoutOperator) || (has(self.per) && self.per != 'Pod')",
        "message": "withoutOperator: is about what pods spend together, and a pod holds its own budget by itself",
        "fieldPath": ".withoutOperator",
    },
])))]
pub struct Budget {
    /// Its name, in errors, metrics and the ledger.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub name: String,

    /// How much, as decimal text of at most six decimals, such as `250` or `0.50`; up to 1000000.
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 16), regex(pattern = r"^[0-9]{1,9}(\.[0-9]{1,6})?$"), extend("x-kubernetes-validations" = [{
            "rule": "!self.matches('^[0.]+$')",
            "message": "must be above 0: to stop everything, set paused",
        }]))
    )]
    pub amount: String,

    /// Of which currency: prices are in US dollars, and nothing is converted.
    pub currency: Currency,

    /// Over which time.
    pub window: BudgetWindow,

    /// The length of a window, with `window: Custom`. 1m to 2160h (90 days), counted from 1970-01-01T00:00:00Z.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<DurationText>,

    /// Where days, weeks and months begin: a name of the IANA time zone database, such as `Europe/Berlin`.
    #[serde(default = "Budget::default_time_zone")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_+/-]+$"))
    )]
    pub time_zone: String,

    /// Who spends it together. What pods spend together the operator lends them, and the sum stays within the amount.
    #[serde(default)]
    pub per: BudgetPer,

    /// The pod label whose value says the team, with `per: Team`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 317)))]
    pub team_label: Option<String>,

    /// Percent of the amount at which it is told that so much is spent, 1 to 100.
    #[serde(default = "Budget::default_warn_at")]
    #[cfg_attr(feature = "schema", schemars(length(max = 10), inner(range(min = 1, max = 100)), extend("x-kubernetes-list-type" = "set")))]
    pub warn_at_percent: Vec<u32>,

    /// What happens to a request that does not fit any more.
    #[serde(default)]
    pub on_exhausted: OnExhausted,

    /// The ModelRoute of this namespace that such a request goes to, with `onExhausted: Divert`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub divert_to: Option<String>,

    /// What happens to a request beyond what this pod was lent, where no operator answers within 2 s; not with `per: Pod`.
    /// `Continue` where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_operator: Option<WithoutOperator>,
}

impl Budget {
    fn default_time_zone() -> String {
        "UTC".to_owned()
    }

    fn default_warn_at() -> Vec<u32> {
        vec![80, 95]
    }
}

/// A currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Currency {
    /// US dollars, in which every provider states its prices.
    #[serde(rename = "USD")]
    Usd,
}

/// Over which time a budget is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum BudgetWindow {
    /// An hour of the clock.
    Hour,
    /// A day of the calendar, from midnight in `timeZone`.
    Day,
    /// A week, from Monday's midnight in `timeZone`.
    Week,
    /// A month of the calendar, from midnight of its first day in `timeZone`.
    Month,
    /// As long as `every` says.
    Custom,
}

/// Who spends a budget together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum BudgetPer {
    /// Each pod for itself.
    #[default]
    Pod,
    /// All pods of a Deployment, StatefulSet or the like.
    Workload,
    /// All pods of the namespace that the policy selects.
    Namespace,
    /// All requests of a ModelRoute.
    Route,
    /// All pods with the same value of the label `teamLabel`.
    Team,
    /// All pods of one run of a Job.
    JobRun,
}

/// What happens to a request that does not fit into a budget any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnExhausted {
    /// It goes on, and that is counted and told.
    Warn,
    /// It goes to the ModelRoute `divertTo`.
    Divert,
    /// The caller gets an error that names the budget and says when its next window begins.
    #[default]
    Stop,
}

/// What happens to requests under a budget that pods spend together while no operator answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum WithoutOperator {
    /// They go on, each pod up to the whole amount; the operator hears of it when it is back.
    #[default]
    Continue,
    /// Those beyond what the pod was lent are not let through: the sum of all pods stays within the amount.
    Stop,
}
