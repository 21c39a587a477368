//! `UsagePolicy`: what may be used in a namespace, and how much of it.

#![allow(
    clippy::duplicated_attributes,
    reason = "clippy takes the repeated keys of several printer columns for one list"
)]

use serde::{Deserialize, Serialize};

use crate::access::AccessRules;
use crate::budgets::Budget;
use crate::guards::Guard;
use crate::limits::NamedLimit;
use crate::{DurationText, LabelSelector};

/// What may be used in a namespace, and how much of it: limits, budgets, access, and the switch that stops it all. Where a
/// ProviderConfig is an account and a ModelRoute a virtual model, this is the word of whoever answers for the namespace. Of
/// several policies that select a pod, each holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(kube::CustomResource, schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    kube(
        group = "bowsprit.dev",
        version = "v1alpha1",
        kind = "UsagePolicy",
        plural = "usagepolicies",
        shortname = "up",
        category = "bowsprit",
        namespaced,
        status = "crate::UsagePolicyStatus",
        derive = "PartialEq",
        doc = "What may be used in a namespace, and how much of it: limits, budgets, access, and the switch that stops it all.",
        printcolumn(
            name = "Paused",
            type_ = "boolean",
            json_path = ".spec.paused",
            description = "Whether every request of the pods that it selects is refused"
        ),
        printcolumn(
            name = "Ready",
            type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Ready\")].status",
            description = "Whether it is valid, all that it names is there, and every selected sidecar has this generation"
        ),
        printcolumn(
            name = "Sidecars",
            type_ = "integer",
            json_path = ".status.sidecars.current",
            description = "Sidecars that have this generation in service",
            priority = 1
        ),
        printcolumn(
            name = "Behind",
            type_ = "integer",
            json_path = ".status.sidecars.behind",
            description = "Sidecars that have not said that they have this generation",
            priority = 1
        ),
        printcolumn(
            name = "Propagation",
            type_ = "string",
            json_path = ".status.propagation.p99",
            description = "How long the last change took to 99 of 100 sidecars",
            priority = 1
        ),
        printcolumn(
            name = "Reason",
            type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
            priority = 1
        ),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    )
)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.pausedReason) || (has(self.paused) && self.paused)",
        "message": "pausedReason: says why nothing passes, and paused is not true: remove it, or set paused: true",
        "fieldPath": ".pausedReason",
    },
])))]
pub struct UsagePolicySpec {
    /// The pods that it is for, by their labels. Unset: all pods of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,

    /// How much may be asked of all providers together, by each pod that the policy selects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub limits: Vec<NamedLimit>,

    /// What may be spent by each pod that the policy selects. Of several budgets each holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub budgets: Vec<Budget>,

    /// Who may ask for what: rules that every request of these pods must hold, beside those of its ModelRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessRules>,

    /// What must not leave in requests of these pods, whatever model they ask for, beside the guards of its ModelRoute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 10), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub guards: Vec<Guard>,

    /// When the same request comes too often from one pod, as of an agent that goes round in a loop. Unset: nobody looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runaway: Option<Runaway>,

    /// Whether every request of these pods is refused, from the moment a sidecar hears of it; those under way end as they
    /// would have. `kubectl bowsprit pause` sets it.
    #[serde(default)]
    pub paused: bool,

    /// Why, for the callers that are refused and for whoever looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 500)))]
    pub paused_reason: Option<String>,

    /// ProviderConfigs that these pods send nothing to, from the moment a sidecar hears of it: they are left out of every plan, and
    /// others take over. A request for which nobody else is left is refused with the name and the reason.
    /// `kubectl bowsprit pause --provider` sets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub paused_providers: Vec<PausedObject>,

    /// ModelRoutes of which every request of these pods is refused. `kubectl bowsprit pause --route` sets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub paused_routes: Vec<PausedObject>,
}

/// One object that is out of service by a policy's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PausedObject {
    /// The object's name.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub name: String,

    /// Why, for the callers that are refused and for whoever looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 500)))]
    pub reason: Option<String>,
}

/// When the same request comes too often from one pod. Counted are requests of one model with the same body, and, whatever the
/// conversation before has grown to, the same call of a tool with the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Runaway {
    /// So often is still well, 2 to 100000.
    #[serde(default = "Runaway::default_times")]
    #[cfg_attr(feature = "schema", schemars(range(min = 2, max = 100_000)))]
    pub times: u32,

    /// Within so long of the first, 1s to 24h.
    #[serde(default = "Runaway::default_within")]
    pub within: DurationText,

    /// What happens to those beyond.
    #[serde(default)]
    pub action: RunawayAction,
}

impl Runaway {
    fn default_times() -> u32 {
        50
    }

    fn default_within() -> DurationText {
        DurationText::secs(600)
    }
}

/// What happens to a request that came too often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RunawayAction {
    /// It is logged once and counted, and passes.
    #[default]
    Warn,
    /// It is refused until the time has passed.
    Stop,
}
