//! What `status` knows, as data: also what `-o json` prints.

use std::collections::BTreeMap;

use bowsprit_crds::budgets::WithoutOperator;
use bowsprit_crds::{BudgetStatus, ObjectiveStatus, RunawayStatus, SloStatus};
use serde::Serialize;

/// Everything that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Overview {
    /// The operators; none: they could not be looked at.
    pub(crate) operators: Option<Operators>,
    /// The injection webhook; none: it could not be looked at.
    pub(crate) webhook: Option<Webhook>,
    /// What could not be looked at, and what it takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unknown: Vec<String>,
    /// By name.
    pub(crate) namespaces: Vec<Namespace>,
}

/// The operators.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operators {
    /// Their namespace.
    pub(crate) namespace: String,
    /// The Deployment's name; empty where there is none.
    pub(crate) deployment: String,
    /// Their service account.
    #[serde(skip)]
    pub(crate) account: String,
    /// Replicas wanted.
    pub(crate) wanted: u32,
    /// Replicas ready.
    pub(crate) ready: u32,
    /// Their release.
    pub(crate) version: String,
    /// The pod that leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader: Option<String>,
}

/// The webhook that puts sidecars into pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Webhook {
    /// Whether its configuration is there.
    pub(crate) there: bool,
    /// Whether the operator has written its CA into every entry.
    pub(crate) trusted: bool,
    /// `Fail` or `Ignore`.
    pub(crate) failure_policy: String,
    /// Namespaces that it leaves alone.
    pub(crate) excluded: Vec<String>,
    /// The CA, PEM in base64 as it stands there; not for output.
    #[serde(skip)]
    pub(crate) ca: Option<Vec<u8>>,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Namespace {
    /// Its name.
    pub(crate) name: String,
    /// By priority, then name.
    pub(crate) providers: Vec<Object>,
    /// By name.
    pub(crate) routes: Vec<Object>,
    /// By name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) policies: Vec<Object>,
    /// Pods with a sidecar.
    pub(crate) sidecars: usize,
    /// Of these, those that do not come up, with what the kubelet says.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) waiting: BTreeMap<String, String>,
    /// Pods that asked for a sidecar and have none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) missed: Vec<Missed>,
}

/// A pod that asked for a sidecar and has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Missed {
    /// Its namespace.
    #[serde(skip)]
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) pod: String,
    /// What to start anew, such as `deployment/shop`; empty for a pod that nobody owns.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) owner: String,
}

/// A ProviderConfig, ModelRoute or UsagePolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Object {
    /// Its name.
    pub(crate) name: String,
    /// The kind of provider, the models that a route names, or what a policy says.
    pub(crate) what: String,
    /// A provider's default model, or a route's targets.
    pub(crate) model: String,
    /// A provider's priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<u32>,
    /// Whether it is a policy that lets nothing pass.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) paused: bool,
    /// Whether it is switched off.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) disabled: bool,
    /// Its condition Ready; none where nobody has judged this generation.
    pub(crate) ready: Option<bool>,
    /// The reason of that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// Path, problem and remedy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    /// Sidecars that use it.
    pub(crate) selected: u32,
    /// Of these, those that have its current revision.
    pub(crate) current: u32,
    /// Of these, those that have not.
    pub(crate) behind: u32,
    /// Breakers over all sidecars: closed, open, half open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) circuits: Option<Circuits>,
    /// Its objectives as measured, as they stand on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slo: Option<SloStatus>,
    /// What is spent of a policy's budgets that pods spend together, as it stands on it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) budgets: Vec<Money>,
    /// Pods that run away by a policy, as it stands on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runaway: Option<RunawayStatus>,
}

/// A budget that pods spend together.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Money {
    /// What the operator says of it.
    #[serde(flatten)]
    pub(crate) status: BudgetStatus,
    /// What happens to requests beyond what is lent while no operator answers.
    pub(crate) without_operator: WithoutOperator,
}

impl Object {
    /// What is left of each of its error budgets, in percent.
    pub(crate) fn budgets(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let of = |one: &Option<ObjectiveStatus>| one.as_ref().map(|one| one.budget_remaining_percent);
        let slo = self.slo.as_ref();
        let availability = slo.and_then(|slo| of(&slo.availability));
        let first_token = slo.and_then(|slo| of(&slo.first_token));
        let both = [("availability", availability), ("first token", first_token)];
        both.into_iter().filter_map(|(name, left)| Some((name, left?)))
    }
}

/// Breakers of a provider over all sidecars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Circuits {
    /// They let requests pass.
    pub(crate) closed: u32,
    /// They refuse requests.
    pub(crate) open: u32,
    /// They let single probes pass.
    pub(crate) half_open: u32,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Advice {
    /// Whether something is broken, or only worth a look.
    pub(crate) broken: bool,
    /// Where: a namespace, or the operator.
    pub(crate) place: String,
    /// What is wrong.
    pub(crate) problem: String,
    /// What to do.
    #[serde(rename = "do")]
    pub(crate) remedy: String,
}
