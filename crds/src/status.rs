//! What the operator reports back on the objects. A sidecar never sees it, so it exists with the feature `schema` only.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DurationText;

/// How many sidecars use this object, and how many have it in service as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sidecars {
    /// Running pods with a sidecar that this object applies to.
    pub selected: u32,
    /// Of these, those that have said that they have this generation in service.
    pub current: u32,
    /// Of these, those that have not, or do not answer.
    pub behind: u32,
    /// Their names, where they are at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub behind_pods: Vec<String>,
}

/// How long the last change of this object took to the sidecars: from the write of the config to each sidecar's word that it has
/// it in service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Propagation {
    /// The revision whose way was measured.
    pub of: String,
    /// Half of the sidecars had it by then.
    pub p50: DurationText,
    /// 99 of 100 had it by then.
    pub p99: DurationText,
    /// How many were measured: those that held a stream when it was written.
    pub sidecars: u32,
}

/// Circuit breakers of this provider over all sidecars and models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Circuits {
    /// Breakers that let requests pass.
    pub closed: u32,
    /// Breakers that refuse requests.
    pub open: u32,
    /// Breakers that let single probes pass.
    pub half_open: u32,
    /// All of it in a few words, for the printer column.
    pub summary: String,
}

/// The objectives of `spec.slo` as measured by the sidecars that run now: each counts since its own start, within the window at the
/// most. What pods that are gone have counted is not in it; over the whole window that is
/// `bowsprit:slo_error_budget:remaining` in Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SloStatus {
    /// How many were answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<ObjectiveStatus>,
    /// How many streams showed their first content in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token: Option<ObjectiveStatus>,
    /// The time over which it must hold: `spec.slo.overWindow`.
    pub window: DurationText,
    /// Sidecars that have counted anything.
    pub sidecars: u32,
    /// Since when the first of them counts: how much of the window this speaks of.
    pub since: Time,
    /// When it was measured. Written anew where a whole percent of a budget has changed, every two minutes at the most.
    pub as_of: Time,
}

/// One objective as measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveStatus {
    /// The percentage that must be good, as it is written.
    pub objective: String,
    /// The percentage that was, with three decimals, rounded down.
    pub measured: String,
    /// How much of the error budget is left, in percent, rounded down: 100 untouched, 0 spent, below it broken.
    pub budget_remaining_percent: i64,
    /// Events that were as it wants them.
    pub good: u64,
    /// Events that were not.
    pub bad: u64,
}

/// What is spent of a budget that pods spend together, as the operator that leads lends it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetStatus {
    /// The budget's name.
    pub name: String,
    /// Who spends it: of `per: Team` the label's value, of `Workload` such as `Deployment/checkout`, of `Route` the ModelRoute, of `JobRun`
    /// the Job and its uid. Empty: all pods of the namespace that the policy selects.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub of: String,
    /// How much may be spent in the window, US dollars.
    pub amount: String,
    /// Of this, spent in the window that runs, US dollars, as far as sidecars have told; of a pod that vanished, what it held.
    pub spent: String,
    /// And what is not spent, US dollars. A part of it may be lent to pods that have not used it yet.
    pub left: String,
    /// Percent of the amount that is spent, rounded down.
    pub spent_percent: u64,
    /// When the window ends, and the next begins.
    pub window_ends: Time,
    /// When it was measured. Written anew where a whole percent has changed, every two minutes at the most, and at once where 95 percent are
    /// passed.
    pub as_of: Time,
}

/// Pods whose requests come too often by `spec.runaway`, as their sidecars say. It is said of each until some minutes after the last of
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunawayStatus {
    /// How many pods.
    pub pods: u32,
    /// Those with the most repeats, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub worst: Vec<RunawayPod>,
    /// When it was heard. Written anew where there are more pods, and else every two minutes at the most.
    pub as_of: Time,
}

/// One pod that sends the same request, or makes the same step, again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunawayPod {
    /// Its name.
    pub pod: String,
    /// Whether these requests are refused; else they are told, and pass.
    pub stops: bool,
    /// Requests beyond what the policy allows, since then.
    pub repeats: u64,
    /// Since when.
    pub since: Time,
}

/// What the operator knows of a ProviderConfig.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderConfigStatus {
    /// `Accepted`, `ResolvedRefs`, `Programmed`, and `Ready`, which is all three; each with the generation it speaks of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The revision of the namespace's config that first carried this generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// That config's number: a sidecar with this or a later one has this generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The sidecars that use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecars: Option<Sidecars>,
    /// How long its last change took; unset where the operator that leads did not write it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<Propagation>,
    /// Its objectives as measured; unset where it has none, or nothing was counted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloStatus>,
    /// Its breakers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuits: Option<Circuits>,
    /// A UsagePolicy's: the operator judges all kinds in this form. A ProviderConfig has none, nor has its CRD.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(skip)]
    pub budgets: Vec<BudgetStatus>,
    /// As `budgets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub runaway: Option<RunawayStatus>,
}

/// What the operator knows of a ModelRoute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelRouteStatus {
    /// `Accepted`, `ResolvedRefs`, `Programmed`, and `Ready`, which is all three; each with the generation it speaks of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The revision of the namespace's config that first carried this generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// That config's number: a sidecar with this or a later one has this generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The sidecars that use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecars: Option<Sidecars>,
    /// How long its last change took; unset where the operator that leads did not write it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<Propagation>,
    /// Its objectives as measured; unset where it has none, or nothing was counted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloStatus>,
}

/// What the operator knows of a UsagePolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsagePolicyStatus {
    /// `Accepted`, `ResolvedRefs`, `Programmed`, and `Ready`, which is all three; each with the generation it speaks of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that the rest of the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The revision of the namespace's config that first carried this generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// That config's number: a sidecar with this or a later one has this generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The sidecars that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecars: Option<Sidecars>,
    /// How long its last change took; unset where the operator that leads did not write it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<Propagation>,
    /// Those of its budgets that pods spend together and that anything was lent of in the window that runs: the twenty of which most is
    /// spent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub budgets: Vec<BudgetStatus>,
    /// Pods whose requests come too often now; unset where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runaway: Option<RunawayStatus>,
}
