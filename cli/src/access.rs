//! `access check`: what the access rules would say to a request, and why. The rules are `core`'s, and so is the decision.

mod render;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bowsprit_core::access::{About, CandidateFacts, Explained, Policy, Said, explain};
use bowsprit_core::config::{Config, ObjectKind, Scope, load, objects};
use bowsprit_core::plan::{Availability, plan, route_for};
use bowsprit_crds::{ModelRoute, ProviderConfig, UsagePolicy, yaml};
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{AccessCheckArgs, AccessVerb, ClusterArgs};
use crate::check;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::output::{Report, Screen};
use crate::progress::Progress;
use request::Request;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Decision {
    Allowed,
    /// It passes, and is counted.
    WouldDeny,
    Denied,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    decision: Decision,
    /// What the caller would be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The rule that refuses it, as `refused_by` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_by: Option<String>,
    model: String,
    /// The ModelRoute of this model; empty where there is none.
    route: String,
    rules: Vec<RuleTold>,
    candidates: Vec<CandidateTold>,
    /// Whether there are rules about candidates, and nobody to ask them about.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    candidates_unknown: bool,
    /// UsagePolicies that do not select this pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_selected: Vec<String>,
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleTold {
    /// Such as `UsagePolicy base`.
    object: String,
    rule: String,
    enforced: bool,
    /// Whom it was asked about, where it is about candidates.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<String>,
    holds: bool,
    /// Why it cannot be decided, where that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    undecided: Option<String>,
    allow: String,
    /// What it looks at; `null` where the request does not say it.
    looked_at: Vec<Seen>,
    /// Whether it is the one by which the request is refused.
    decides: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Seen {
    name: String,
    value: Option<String>,
}

/// Who may be asked, as far as rules say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct CandidateTold {
    provider: String,
    model: String,
    /// The rule that leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out_by: Option<String>,
}

/// Reads, asks, renders.
pub(crate) async fn run(cluster: &ClusterArgs, verb: &AccessVerb, screen: Screen) -> Result<Report, Failure> {
    let AccessVerb::Check(args) = verb;
    let (text, namespace) = if args.filename.is_empty() {
        let cluster = Cluster::connect(cluster).await?;
        let progress = Progress::start(screen, "looking at what is live");
        let text = live(&cluster).await?;
        drop(progress);
        (text, cluster.namespace().to_owned())
    } else {
        let namespace = cluster.namespace.clone().unwrap_or_else(|| "default".to_owned());
        (check::read(&args.filename)?, namespace)
    };
    let body = args.body.as_ref().map(request::body).transpose()?;
    let told = told(&text, args, &namespace, body.as_deref())?;
    let well = told.decision != Decision::Denied;
    Report::new(args.out.output, &told, well, || {
        render::screen(&told, args.out.output == crate::args::Format::Wide, screen.paint)
    })
}

/// The objects of the namespace, as documents.
async fn live(cluster: &Cluster) -> Result<String, Failure> {
    let namespace = Some(cluster.namespace());
    let document = |kind: &str, name: String, spec: Value| json!({"apiVersion": bowsprit_crds::API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let mut all = Vec::new();
    for object in cluster.list::<ProviderConfig>(namespace, ListParams::default()).await? {
        all.push(document("ProviderConfig", object.name_any(), json!(object.spec)));
    }
    for object in cluster.list::<ModelRoute>(namespace, ListParams::default()).await? {
        all.push(document("ModelRoute", object.name_any(), json!(object.spec)));
    }
    for object in cluster.list::<UsagePolicy>(namespace, ListParams::default()).await? {
        all.push(document("UsagePolicy", object.name_any(), json!(object.spec)));
    }
    yaml::stream(&all).map_err(|error| Failure::Wrong(format!("what is live is not written: {error}")))
}

/// What the rules of these documents say to this request. Pure.
fn told(text: &str, args: &AccessCheckArgs, namespace: &str, body: Option<&[u8]>) -> Result<Told, Failure> {
    let scope = Scope::Cluster {
        pod_labels: args.label.iter().cloned().collect(),
    };
    let config = load(text, &scope).map_err(|problems| Failure::Usage(problems.to_string()))?;
    let request = Request::of(args, namespace, body)?;
    let model: Arc<str> = request.model().into();
    let route = route_for(&config, &model).filter(|_| !request.passes_unread());
    let policies: Vec<&Policy> = config
        .policies
        .iter()
        .filter_map(|policy| policy.access.as_deref())
        .chain(route.and_then(|route| route.access.as_deref()))
        .collect();
    let mut facts = request.facts();
    facts.route = route.map_or("", |route| route.name.as_str());

    let asks_about = policies.iter().any(|policy| policy.is_about(About::Candidate));
    let candidates = if asks_about {
        candidates(&config, args, &request, &model)
    } else {
        Vec::new()
    };
    let borrowed: Vec<CandidateFacts<'_>> = candidates
        .iter()
        .map(|(provider, model)| CandidateFacts { provider, model })
        .collect();
    let explained = explain(&policies, &facts, &borrowed);
    Ok(Told {
        decision: decision(&explained),
        message: explained.refusal().and_then(Said::denial).map(|denial| denial.told()),
        refused_by: explained.refusal().map(|said| format!("access:{}", said.rule.name)),
        model: model.to_string(),
        route: facts.route.to_owned(),
        rules: rules(&explained, &candidates),
        candidates: left_out(&explained, &candidates),
        candidates_unknown: asks_about && candidates.is_empty(),
        not_selected: not_selected(text, &scope, &config),
    })
}

fn decision(explained: &Explained<'_>) -> Decision {
    if explained.refused_by.is_some() {
        Decision::Denied
    } else if explained.would_deny() {
        Decision::WouldDeny
    } else {
        Decision::Allowed
    }
}

/// Whom the request may be sent to: provider and model.
fn candidates(
    config: &Config,
    args: &AccessCheckArgs,
    request: &Request<'_>,
    model: &Arc<str>,
) -> Vec<(String, String)> {
    if !args.provider.is_empty() {
        let named = |text: &String| {
            let (provider, model) = text.split_once('/').unwrap_or((text, ""));
            (provider.to_owned(), model.to_owned())
        };
        return args.provider.iter().map(named).collect();
    }
    if request.passes_unread() {
        return Vec::new();
    }
    let all_up = |_: &bowsprit_core::config::Provider, _: &str| Availability::Available;
    let plan = plan(config, request.dialect(), model, &all_up, &mut || 0.0);
    let named =
        |candidate: &bowsprit_core::plan::Candidate| (candidate.provider.name.clone(), candidate.model.to_string());
    plan.candidates.iter().map(named).collect()
}

fn rules(explained: &Explained<'_>, candidates: &[(String, String)]) -> Vec<RuleTold> {
    let all = explained.said.iter().enumerate();
    all.map(|(place, said)| RuleTold {
        object: said.policy.of.clone(),
        rule: said.rule.name.to_string(),
        enforced: said.policy.is_enforced,
        candidate: said.candidate.and_then(|place| candidates.get(place)).map(written),
        holds: said.holds == Ok(true),
        undecided: said.holds.err().map(|fault| fault.to_string()),
        allow: said.rule.source.clone(),
        looked_at: said
            .looked_at
            .iter()
            .map(|(name, value)| Seen {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
        decides: explained.refused_by == Some(place),
    })
    .collect()
}

fn written((provider, model): &(String, String)) -> String {
    if model.is_empty() {
        provider.clone()
    } else {
        format!("{provider}/{model}")
    }
}

fn left_out(explained: &Explained<'_>, candidates: &[(String, String)]) -> Vec<CandidateTold> {
    let by = |place: usize| explained.left_out_by.get(place).copied().flatten();
    let told = |(place, (provider, model)): (usize, &(String, String))| CandidateTold {
        provider: provider.clone(),
        model: model.clone(),
        left_out_by: by(place)
            .and_then(|rule| explained.said.get(rule))
            .map(|said| format!("access:{}", said.rule.name)),
    };
    candidates.iter().enumerate().map(told).collect()
}

/// UsagePolicies that are there and do not select the pod.
fn not_selected(text: &str, scope: &Scope, config: &Config) -> Vec<String> {
    let all = objects(text, scope).unwrap_or_default();
    let policies = all
        .into_iter()
        .filter(|object| matches!(object.kind, ObjectKind::Policy(_)));
    let names = policies.map(|object| object.name);
    names
        .filter(|name| !config.policies.iter().any(|policy| policy.name == *name))
        .collect()
}
