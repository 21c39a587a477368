//! Fetches what `status` shows. What this user may not see is noted, and everything else shown.

use std::collections::BTreeMap;

use bowsprit_crds::found::Unread;
use bowsprit_crds::usage_policy::PausedObject;
use bowsprit_crds::{BudgetStatus, ModelRoute, ProviderConfig, Sidecars, UsagePolicy, UsagePolicySpec, names};
use futures::future::{join, try_join};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use kube::{Resource, ResourceExt};

use super::overview::{Circuits, Missed, Money, Namespace, Object, Operators, Overview, Webhook};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::fleet::Sidecar;

/// The webhook that the chart installs is found by the names of its entries, which do not change with the release's name.
const ENTRY: &str = "inject.bowsprit.dev";
/// The operators are found by what the chart labels them with.
const OPERATORS: &str = "app.kubernetes.io/name=bowsprit,app.kubernetes.io/component=operator";

/// Everything, of a namespace or of all.
pub(crate) async fn overview(cluster: &Cluster, scope: Option<&str>) -> Result<Overview, Failure> {
    let mut overview = Overview::default();
    let objects = join(
        cluster.objects::<ProviderConfig>(scope),
        cluster.objects::<ModelRoute>(scope),
    );
    let (providers, routes) = objects.await;
    let ((providers, unread_providers), (routes, unread_routes)) = (providers?, routes?);
    let mut by_name: BTreeMap<String, Namespace> = BTreeMap::new();
    for object in &providers {
        at(&mut by_name, object.namespace()).providers.push(provider(object));
    }
    for object in &routes {
        at(&mut by_name, object.namespace()).routes.push(route(object));
    }
    let mut unreadable = Vec::new();
    for object in &unread_providers {
        unreadable.push(why_unread(object));
        at(&mut by_name, object.namespace()).providers.push(unread(object));
    }
    for object in &unread_routes {
        unreadable.push(why_unread(object));
        at(&mut by_name, object.namespace()).routes.push(unread(object));
    }
    if let Some(namespace) = scope {
        at(&mut by_name, Some(namespace.to_owned()));
    }
    let (system, pods) = join(system(cluster), pods(cluster, scope)).await;
    let (operators, webhook, mut unknown) = system?;
    match pods {
        Ok((all, waiting)) => {
            for namespace in all {
                at(&mut by_name, namespace).sidecars += 1;
            }
            for (namespace, pod, why) in waiting {
                at(&mut by_name, Some(namespace)).waiting.insert(pod, why);
            }
        }
        Err(failure) => note(&mut unknown, failure)?,
    }
    let excluded = webhook
        .as_ref()
        .map(|webhook| webhook.excluded.clone())
        .unwrap_or_default();
    match asked_and_missed(cluster, scope, &excluded).await {
        Ok(missed) => {
            for pod in missed {
                at(&mut by_name, Some(pod.namespace.clone())).missed.push(pod);
            }
        }
        Err(failure) => note(&mut unknown, failure)?,
    }
    match cluster.objects::<UsagePolicy>(scope).await {
        Ok((policies, unread_policies)) => {
            for object in &policies {
                at(&mut by_name, object.namespace()).policies.push(policy(object));
            }
            for object in &unread_policies {
                unreadable.push(why_unread(object));
                at(&mut by_name, object.namespace()).policies.push(unread(object));
            }
        }
        // On CRDs of the release before there is no such kind; `doctor` says so.
        Err(Failure::Wrong(_)) => {}
        Err(failure) => note(&mut unknown, failure)?,
    }
    overview.operators = operators;
    overview.webhook = webhook;
    unknown.append(&mut unreadable);
    overview.unknown = unknown;
    overview.namespaces = by_name.into_values().collect();
    for namespace in &mut overview.namespaces {
        namespace
            .providers
            .sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        namespace.routes.sort_by(|a, b| a.name.cmp(&b.name));
        namespace.policies.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(overview)
}

/// What is forbidden is noted; anything else ends the command.
fn note(unknown: &mut Vec<String>, failure: Failure) -> Result<(), Failure> {
    if failure.is_forbidden() {
        unknown.push(failure.to_string());
        return Ok(());
    }
    Err(failure)
}

fn at(by_name: &mut BTreeMap<String, Namespace>, name: Option<String>) -> &mut Namespace {
    let name = name.unwrap_or_default();
    by_name.entry(name.clone()).or_insert_with(|| Namespace {
        name,
        ..Namespace::default()
    })
}

type System = (Option<Operators>, Option<Webhook>, Vec<String>);

async fn system(cluster: &Cluster) -> Result<System, Failure> {
    let mut unknown = Vec::new();
    let mut take = |failure| note(&mut unknown, failure);
    let operators = match operators(cluster).await {
        Ok(found) => Some(found),
        Err(failure) => take(failure).map(|()| None)?,
    };
    let webhook = match webhook(cluster).await {
        Ok(found) => Some(found),
        Err(failure) => take(failure).map(|()| None)?,
    };
    Ok((operators, webhook, unknown))
}

/// The operators: their Deployment, and the Lease that says who leads.
pub(crate) async fn operators(cluster: &Cluster) -> Result<Operators, Failure> {
    let namespace = cluster.operator_namespace();
    let found = cluster
        .list::<Deployment>(Some(namespace), ListParams::default().labels(OPERATORS))
        .await?;
    let mut operators = Operators {
        namespace: namespace.to_owned(),
        ..Operators::default()
    };
    let Some(deployment) = found.first() else {
        return Ok(operators);
    };
    operators.deployment = deployment.name_any();
    let spec = &deployment.spec;
    let status = deployment.status.as_ref();
    let number = |count: Option<i32>| count.and_then(|count| u32::try_from(count).ok()).unwrap_or_default();
    operators.wanted = number(Some(spec.replicas.unwrap_or(1)));
    operators.ready = number(status.and_then(|status| status.ready_replicas));
    let labels = spec.template.metadata.as_ref().and_then(|it| it.labels.as_ref());
    operators.version = labels
        .and_then(|labels| labels.get("app.kubernetes.io/version"))
        .cloned()
        .unwrap_or_default();
    let pod = spec.template.spec.as_ref();
    operators.account = pod.and_then(|pod| pod.service_account_name.clone()).unwrap_or_default();
    let lease = spec
        .template
        .spec
        .iter()
        .flat_map(|pod| &pod.containers)
        .flat_map(|container| container.env.iter().flatten())
        .find(|variable| variable.name == "BOWSPRIT_LEASE")
        .and_then(|variable| variable.value.clone())
        .unwrap_or_else(|| "bowsprit-operator".to_owned());
    // Who leads is good to know and no more: without the permission the rest is still told.
    operators.leader = match cluster.get::<Lease>(namespace, &lease).await {
        Ok(lease) => lease
            .and_then(|lease| lease.spec?.holder_identity)
            .filter(|holder| !holder.is_empty()),
        Err(failure) if failure.is_forbidden() => None,
        Err(failure) => return Err(failure),
    };
    Ok(operators)
}

/// The injection webhook.
pub(crate) async fn webhook(cluster: &Cluster) -> Result<Webhook, Failure> {
    let all = cluster
        .list_global::<MutatingWebhookConfiguration>(ListParams::default())
        .await?;
    let is_ours = |name: &str| name.ends_with(ENTRY);
    let entries: Vec<_> = all
        .iter()
        .flat_map(|it| it.webhooks.iter().flatten())
        .filter(|entry| is_ours(&entry.name))
        .collect();
    let ca = |entry: &&k8s_openapi::api::admissionregistration::v1::MutatingWebhook| {
        entry.client_config.ca_bundle.clone().map(|bytes| bytes.0)
    };
    let excluded = entries
        .iter()
        .filter(|entry| entry.name.starts_with("pod."))
        .filter_map(|entry| entry.namespace_selector.as_ref()?.match_expressions.as_ref())
        .flatten()
        .filter(|rule| rule.key == "kubernetes.io/metadata.name" && rule.operator == "NotIn")
        .flat_map(|rule| rule.values.iter().flatten().cloned());
    Ok(Webhook {
        there: !entries.is_empty(),
        trusted: !entries.is_empty() && entries.iter().all(|entry| ca(entry).is_some_and(|ca| !ca.is_empty())),
        failure_policy: entries
            .first()
            .and_then(|entry| entry.failure_policy.clone())
            .unwrap_or_default(),
        excluded: excluded.collect(),
        ca: entries.first().and_then(ca),
    })
}

/// The namespaces of all pods with a sidecar, one entry a pod, and the pods among them that do not come up.
type Pods = (Vec<Option<String>>, Vec<(String, String, String)>);

async fn pods(cluster: &Cluster, scope: Option<&str>) -> Result<Pods, Failure> {
    let injected = format!("{}=true", names::LABEL_INJECTED);
    let all = cluster.heads::<core::Pod>(scope, ListParams::default().labels(&injected));
    let waiting = ListParams::default().labels(&injected).fields("status.phase=Pending");
    let (all, waiting) = try_join(all, cluster.list::<core::Pod>(scope, waiting)).await?;
    let waiting = waiting
        .iter()
        .filter_map(|pod| Some((Sidecar::of(pod)?, pod)))
        .map(|(sidecar, pod)| {
            let why = sidecar.not_running.clone().unwrap_or_else(|| pending(pod));
            (sidecar.namespace, sidecar.pod, why)
        });
    let all = all.into_iter().map(|head| head.metadata.namespace).collect();
    Ok((all, waiting.collect()))
}

/// Why a pod is pending, as far as its conditions tell.
fn pending(pod: &core::Pod) -> String {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut unscheduled = conditions.filter(|it| it.type_ == "PodScheduled" && it.status == "False");
    unscheduled
        .find_map(|it| it.message.clone())
        .unwrap_or_else(|| "its sidecar has no valid config yet".to_owned())
}

/// Pods that asked for a sidecar, by their own label or their namespace's, and have none. Those that have ended, and those in
/// namespaces that the webhook leaves alone, are not meant.
pub(crate) async fn asked_and_missed(
    cluster: &Cluster,
    scope: Option<&str>,
    excluded: &[String],
) -> Result<Vec<Missed>, Failure> {
    let (inject, injected) = (names::LABEL_INJECT, names::LABEL_INJECTED);
    let wishing = ListParams::default().labels(&format!("{inject}=true"));
    let namespaces: Vec<String> = if let Some(name) = scope {
        // The permission to get a namespace is rare; without it only the pods' own labels are looked at.
        match cluster.get_global::<core::Namespace>(name).await {
            Ok(Some(found)) if found.labels().get(inject).is_some_and(|wish| wish == "true") => vec![name.to_owned()],
            Ok(_) => Vec::new(),
            Err(failure) if failure.is_forbidden() => Vec::new(),
            Err(failure) => return Err(failure),
        }
    } else {
        let wishing = cluster.list_global::<core::Namespace>(wishing).await?;
        wishing.into_iter().filter_map(|it| it.metadata.name).collect()
    };
    let alive = "status.phase!=Succeeded,status.phase!=Failed";
    let own = ListParams::default()
        .labels(&format!("{inject}=true,{injected}!=true"))
        .fields(alive);
    let mut found = cluster.heads::<core::Pod>(scope, own).await?;
    for namespace in &namespaces {
        let theirs = ListParams::default()
            .labels(&format!("{inject}!=true,{inject}!=false,{injected}!=true"))
            .fields(alive);
        found.extend(cluster.heads::<core::Pod>(Some(namespace), theirs).await?);
    }
    let missed = found.into_iter().filter_map(|pod| {
        let namespace = pod.metadata.namespace.unwrap_or_default();
        if excluded.contains(&namespace) || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let owner = pod.metadata.owner_references.unwrap_or_default().into_iter().next();
        let owner = owner.map(|owner| match owner.kind.as_str() {
            // A ReplicaSet is named after its Deployment and a hash.
            "ReplicaSet" => match owner.name.rsplit_once('-') {
                Some((deployment, _)) => format!("deployment/{deployment}"),
                None => format!("replicaset/{}", owner.name),
            },
            kind => format!("{}/{}", kind.to_lowercase(), owner.name),
        });
        Some(Missed {
            namespace,
            pod: pod.metadata.name.unwrap_or_default(),
            owner: owner.unwrap_or_default(),
        })
    });
    Ok(missed.collect())
}

/// The condition Ready of this generation.
fn ready(conditions: &[Condition], generation: Option<i64>) -> (Option<bool>, String, String) {
    let found = conditions.iter().find(|it| it.type_ == "Ready");
    match found.filter(|it| it.observed_generation == generation) {
        Some(it) => (Some(it.status == "True"), it.reason.clone(), it.message.clone()),
        None => (None, String::new(), String::new()),
    }
}

/// What the status of every kind tells.
fn told<K: ResourceExt>(object: &K, conditions: &[Condition], sidecars: Option<Sidecars>) -> Object {
    let (ready, reason, message) = ready(conditions, object.meta().generation);
    let sidecars = sidecars.unwrap_or_default();
    Object {
        name: object.name_any(),
        ready,
        reason,
        message,
        selected: sidecars.selected,
        current: sidecars.current,
        behind: sidecars.behind,
        ..Object::default()
    }
}

/// An object of another release's form: what the operators say of it holds.
fn unread<K: Resource<DynamicType = ()>>(object: &Unread<K>) -> Object {
    let status = object.status.clone().unwrap_or_default();
    Object {
        what: "of another release".to_owned(),
        ..told(object, &status.conditions, status.sidecars)
    }
}

/// Where this release cannot read an object, why, and what to do.
pub(crate) fn why_unread<K: Resource<DynamicType = ()>>(object: &Unread<K>) -> String {
    format!(
        "what {} in {} says: {}: {}\n  it was written for another release: use that one's kubectl bowsprit, or write it anew in the form of \
         this one",
        object.path(),
        object.namespace().unwrap_or_default(),
        object.at,
        object.why
    )
}

fn provider(object: &ProviderConfig) -> Object {
    let status = object.status.clone().unwrap_or_default();
    Object {
        what: object.spec.provider.facts().name.to_owned(),
        model: object.spec.default_model.clone().unwrap_or_default(),
        priority: Some(object.spec.priority),
        disabled: !object.spec.enabled,
        circuits: status.circuits.map(|it| Circuits {
            closed: it.closed,
            open: it.open,
            half_open: it.half_open,
        }),
        slo: status.slo,
        ..told(object, &status.conditions, status.sidecars)
    }
}

fn route(object: &ModelRoute) -> Object {
    let status = object.status.clone().unwrap_or_default();
    let targets: Vec<&str> = object
        .spec
        .targets
        .iter()
        .map(|target| target.provider.as_str())
        .collect();
    Object {
        what: object.spec.matches.models.join(", "),
        model: targets.join(", "),
        slo: status.slo,
        ..told(object, &status.conditions, status.sidecars)
    }
}

fn policy(object: &UsagePolicy) -> Object {
    let status = object.status.clone().unwrap_or_default();
    let spec = &object.spec;
    let said = |what: String, reason: &Option<String>| match reason {
        Some(reason) => format!("{what}: {reason}"),
        None => what,
    };
    let all = spec.paused.then(|| said("paused".to_owned(), &spec.paused_reason));
    let of = |kind: &'static str, paused: &PausedObject| said(format!("paused {kind} {}", paused.name), &paused.reason);
    let providers = spec.paused_providers.iter().map(|paused| of("provider", paused));
    let routes = spec.paused_routes.iter().map(|paused| of("route", paused));
    Object {
        what: all
            .into_iter()
            .chain(providers)
            .chain(routes)
            .collect::<Vec<_>>()
            .join("; "),
        paused: spec.paused,
        budgets: status.budgets.into_iter().map(|status| money(spec, status)).collect(),
        runaway: status.runaway,
        ..told(object, &status.conditions, status.sidecars)
    }
}

fn money(spec: &UsagePolicySpec, status: BudgetStatus) -> Money {
    let said = spec.budgets.iter().find(|budget| budget.name == status.name);
    Money {
        without_operator: said.and_then(|budget| budget.without_operator).unwrap_or_default(),
        status,
    }
}
