//! An objective: what must go well, how often, and over which time.

use serde::{Deserialize, Serialize};

use crate::DurationText;

/// What must go well, how often, and over which time. Sidecars judge each request by it and count
/// `bowsprit_slo_events_total`; the operator makes burn-rate alerts of that, where the Prometheus operator is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.availability) || has(self.firstToken)",
        "message": "slo: asks for nothing: set availability (such as \"99.5\") or firstToken (such as 5s)",
    },
    {
        "rule": "duration(self.overWindow) >= duration('168h') && duration(self.overWindow) <= duration('2160h')",
        "message": "overWindow: must be 168h (a week) to 2160h (90 days): burn rates over less say nothing",
        "fieldPath": ".overWindow",
    },
])))]
pub struct Slo {
    /// How many of a hundred must be answered, as decimal text from 50 to 99.999, such as `99.5`. Of a ProviderConfig:
    /// exchanges with the provider; of a ModelRoute: requests as the app sees them. What the caller got wrong or left does
    /// not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 6), regex(pattern = r"^[5-9][0-9](\.[0-9]{1,3})?$"))
    )]
    pub availability: Option<String>,

    /// How soon 95 of 100 streams must show their first content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token: Option<DurationText>,

    /// The time over which that must hold. 168h (a week) to 2160h (90 days).
    #[serde(default = "Slo::default_window")]
    pub over_window: DurationText,
}

impl Slo {
    /// Thirty days, as most objectives are stated.
    fn default_window() -> DurationText {
        DurationText::secs(30 * 24 * 3600)
    }
}
