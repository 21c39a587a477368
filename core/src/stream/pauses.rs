//! What UsagePolicies pause, as the operator tells its sidecars before the documents that say it too.

use bowsprit_crds::usage_policy::PausedObject;
use bowsprit_crds::{LabelSelector, UsagePolicySpec};
use serde::{Deserialize, Serialize};

use crate::config::{Paused, Policy};

/// A UsagePolicy that pauses something: nothing else of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WirePause {
    /// Its name.
    pub policy: String,
    /// The pods it is for; none: all of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Whether every request is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_reason: Option<String>,
    /// ProviderConfigs that nothing is sent to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paused_providers: Vec<PausedObject>,
    /// ModelRoutes of which every request is refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paused_routes: Vec<PausedObject>,
}

impl WirePause {
    /// What a policy pauses; none: nothing.
    pub fn of(name: &str, spec: &UsagePolicySpec) -> Option<Self> {
        let any = spec.paused || !spec.paused_providers.is_empty() || !spec.paused_routes.is_empty();
        any.then(|| Self {
            policy: name.to_owned(),
            pod_selector: spec.pod_selector.clone(),
            paused: spec.paused,
            paused_reason: spec.paused_reason.clone(),
            paused_providers: spec.paused_providers.clone(),
            paused_routes: spec.paused_routes.clone(),
        })
    }

    /// A policy that says this and nothing else.
    pub fn policy(&self) -> Policy {
        Policy {
            name: self.policy.clone(),
            pod_selector: self.pod_selector.clone(),
            paused: self.paused.then(|| Paused {
                reason: self.paused_reason.clone(),
            }),
            paused_providers: self.paused_providers.clone(),
            paused_routes: self.paused_routes.clone(),
            ..Policy::default()
        }
    }
}
