//! `ModelRoute`: a virtual model.

#![allow(
    clippy::duplicated_attributes,
    reason = "clippy takes the repeated keys of several printer columns for one list"
)]

use serde::{Deserialize, Serialize};

use crate::access::AccessRules;
use crate::cache::Cache;
use crate::guards::Guard;
use crate::limits::{NamedLimit, list_or_single};
use crate::{DurationText, Slo};

/// A virtual model: the names callers ask for, and the providers and models that answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(kube::CustomResource, schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    kube(
        group = "bowsprit.dev",
        version = "v1alpha1",
        kind = "ModelRoute",
        plural = "modelroutes",
        shortname = "mr",
        category = "bowsprit",
        namespaced,
        status = "crate::ModelRouteStatus",
        derive = "PartialEq",
        doc = "A virtual model: the names callers ask for, and the providers and models that answer.",
        printcolumn(name = "Models", type_ = "string", json_path = ".spec.match.models"),
        printcolumn(name = "Target", type_ = "string", json_path = ".spec.targets[*].provider"),
        printcolumn(
            name = "Ready",
            type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Ready\")].status",
            description = "Whether it is valid, all that it names is there, and every sidecar has this generation"
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
            name = "Budget",
            type_ = "integer",
            json_path = ".status.slo.availability.budgetRemainingPercent",
            description = "Percent of the error budget of spec.slo.availability that is left, by the sidecars that run now",
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
pub struct ModelRouteSpec {
    /// The requests that this route is for.
    #[serde(rename = "match")]
    pub matches: RouteMatch,

    /// Who answers. With several, each request goes to one by weight, and the others follow if it fails.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 20), extend("x-kubernetes-validations" = [
        {
            "rule": "self.exists(target, target.weight > 0)",
            "message": "gives every target the weight 0, so that nobody is asked first: give one of them a weight above 0",
        },
        {
            "rule": "self.all(one, self.exists_one(other, other.provider == one.provider && has(other.model) == has(one.model) && (!has(one.model) || other.model == one.model)))",
            "message": "names the same provider and model twice: remove one and add the weights",
        },
    ])))]
    pub targets: Vec<WeightedTarget>,

    /// Who is tried when every target failed, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 20), extend("x-kubernetes-validations" = [{
        "rule": "self.all(one, self.exists_one(other, other.provider == one.provider && has(other.model) == has(one.model) && (!has(one.model) || other.model == one.model)))",
        "message": "names the same provider and model twice: remove one",
    }])))]
    pub fallback: Vec<RouteTarget>,

    /// What happens to fields of a request that the answering provider has no word for. Unset: the request is refused with a
    /// 400 that names the field; what is left out and named in the header `x-bowsprit-warning` instead is a mere hint, a tool
    /// that the provider cannot run where the model was free not to use it, and what a history only informs of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unsupported: Option<OnUnsupported>,

    /// What happens when an answer breaks off after it began.
    #[serde(default)]
    pub mid_stream_failover: MidStreamFailover,

    /// Ask the next candidate too when the first one is slow; who answers first wins, the other is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Hedge>,

    /// Answer with the last good answer to the very same request, marked as stale, when every candidate is down. Unset: no
    /// answer is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<StaleIfError>,

    /// Answer the same question from memory. Unset: every request is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,

    /// What apps may expect of this route: availability, time to the first content, and over which time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,

    /// How much may be asked of this route. Taken before its targets are chosen; a request holds its limits once, however many
    /// attempts it makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list_or_single")]
    #[cfg_attr(feature = "schema", schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub limits: Vec<NamedLimit>,

    /// Who may use this route, and how. A request for one of its models must hold these rules and those of every UsagePolicy
    /// that selects its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessRules>,

    /// How urgent its requests are where they wait for room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,

    /// What must not leave in requests for this route, beside the guards of every UsagePolicy that selects the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 10), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])))]
    pub guards: Vec<Guard>,
}

/// The requests that a route is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RouteMatch {
    /// Model names as callers write them; `*` stands for any run of characters, such as `gpt-4*`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 50), inner(length(min = 1, max = 200)), extend("x-kubernetes-list-type" = "set")))]
    pub models: Vec<String>,
}

/// A provider and the model to ask it for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RouteTarget {
    /// The name of a ProviderConfig of this namespace.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub provider: String,
    /// The model to ask for. Unset: the provider's `defaultModel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 200)))]
    pub model: Option<String>,
}

/// A target with its share of the requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct WeightedTarget {
    /// The name of a ProviderConfig of this namespace.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub provider: String,
    /// The model to ask for. Unset: the provider's `defaultModel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 200)))]
    pub model: Option<String>,
    /// How often this target is taken relative to the others; 0 only when the others fail. 0 to 1000.
    #[serde(default = "WeightedTarget::default_weight")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1000)))]
    pub weight: u32,
}

impl WeightedTarget {
    fn default_weight() -> u32 {
        1
    }
}

/// How urgent requests are where they wait for room (`onLimit: Wait`). `Background` lets others go first, 32 times at most; its
/// callers cannot ask for more. `Interactive`, or unset: as urgent as the header `x-bowsprit-priority` says, which is
/// `interactive` unless it says `background`; without that header OpenAI's `service_tier: flex` is `background`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Priority {
    /// Somebody waits for the answer.
    Interactive,
    /// Nobody does: it lets others go first.
    Background,
}

/// What happens to fields of a request that the answering provider has no word for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnUnsupported {
    /// The request is refused with a 400 that names the field, a tool that the provider cannot run included; a mere hint is
    /// left out and named in the header `x-bowsprit-warning`.
    Refuse,
    /// The field is dropped and named in the header `x-bowsprit-warning`. What would be nonsense without it (a message
    /// of nothing but audio, a cached content) is refused all the same.
    Drop,
}

/// What happens when an answer breaks off after it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum MidStreamFailover {
    /// The answer is the first provider's from its first byte on, which goes out at once: whatever then breaks ends as an
    /// error in the caller's dialect.
    None,
    /// The next candidate answers, as long as no content was sent: what comes before the first content is held that long.
    #[default]
    Restart,
}

/// Asking a second target when the first is slow. With both `after` and `percentile`: the percentile, and `after` as long as
/// too few answers were seen to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.after) || has(self.percentile)",
    "message": "hedge: says not when: set after (such as 2s) or percentile (such as 95)",
}])))]
pub struct Hedge {
    /// How long the first target is waited for: until its first content, or its answer where no stream is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DurationText>,
    /// Wait as long as this percentage of the target's answers of the last ten minutes took; known from 20 answers on (100
    /// for the 99th). 50 to 99.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 50, max = 99)))]
    pub percentile: Option<u32>,
    /// Requests per hundred that may be sent twice. 1 to 100.
    #[serde(default = "Hedge::default_percent")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub max_percent: u32,
}

impl Hedge {
    fn default_percent() -> u32 {
        5
    }
}

/// The last good answers of a route, kept in the sidecar's memory and nowhere else. Such an answer is given only to the caller
/// that it was for, with the same credentials, and only when every candidate is down. Requests with tools, stored responses
/// and requests for several answers are left alone. Named as the `stale-if-error` of RFC 9111.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [{
    "rule": "duration(self.maxAge) >= duration('1s') && duration(self.maxAge) <= duration('168h')",
    "message": "maxAge: must be 1s to 168h (a week)",
    "fieldPath": ".maxAge",
}])))]
pub struct StaleIfError {
    /// How old an answer may be when it is given; it is forgotten then. 1s to 168h (a week).
    pub max_age: DurationText,
    /// Memory that the route's answers may take in each sidecar, bytes: the least recent go first. All routes together have
    /// a quarter of the sidecar's memory for bodies. 65536 (64 KiB) to 268435456 (256 MiB).
    #[cfg_attr(feature = "schema", schemars(range(min = 65_536, max = 268_435_456)))]
    pub max_bytes: u64,
}
