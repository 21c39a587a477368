//! `doctor`: looks for what is broken, one check after another. A check that this user may not make says what it would take.

mod checks;
mod render;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bowsprit_core::config::revision;
use bowsprit_crds::found::Unread;
use bowsprit_crds::installed::unknown_to;
use bowsprit_crds::{ModelRoute, ProviderConfig, UsagePolicy, names};
use futures::future::join;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde_json::json;

use crate::args::{ClusterArgs, DoctorArgs};
use crate::cluster::Cluster;
use crate::failure::{Failure, Intent};
use crate::health;
use crate::output::{Report, Screen};
use crate::progress::Progress;
use crate::status;
use crate::version;

use checks::{Absent, Check, Config, Crd, Findings, Permission, Ref};

/// The port of the operators' webhook.
const WEBHOOK_PORT: u16 = 8443;
/// The port of their health and metrics.
const ADMIN_PORT: u16 = 8081;
/// Sidecars that are asked how they are; of a bigger fleet, the first so many.
const ASKED: usize = 200;

/// Examines and tells.
pub(crate) async fn run(cluster: &ClusterArgs, args: &DoctorArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let progress = Progress::start(screen, "examining");
    let findings = examine(&cluster, cluster.scope(args.place)).await?;
    drop(progress);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let checks = checks::judge(&findings, now);
    let well = !checks.iter().any(Check::failed);
    Report::new(args.out.output, &checks, well, || render::screen(&checks, screen.paint))
}

/// What could be seen, or why not.
async fn seen<T>(look: impl Future<Output = Result<T, Failure>>) -> Result<T, String> {
    look.await.map_err(|failure| failure.to_string())
}

async fn examine(cluster: &Cluster, scope: Option<&str>) -> Result<Findings, Failure> {
    let crds = match crds(cluster).await {
        // Without the cluster there is nothing to examine. Once it has answered, what does not is a finding.
        Err(failure @ Failure::Unreachable(_)) => return Err(failure),
        found => found.map_err(|failure| failure.to_string()),
    };
    let mut findings = Findings {
        client: version::CLIENT.to_owned(),
        crds,
        operators: seen(status::operators(cluster)).await,
        webhook: seen(status::webhook(cluster)).await,
        ..Findings::default()
    };
    (findings.dry_run, findings.permissions) = join(seen(dry_run(cluster)), seen(permissions(cluster))).await;
    let ca = findings.webhook.as_ref().ok().and_then(|webhook| webhook.ca.clone());
    findings.served = seen(served(cluster, ca)).await;
    findings.sidecar_versions = seen(version::sidecars(cluster, scope)).await;
    let excluded = findings
        .webhook
        .as_ref()
        .map(|it| it.excluded.clone())
        .unwrap_or_default();
    findings.missed = seen(status::asked_and_missed(cluster, scope, &excluded)).await;
    let providers = seen(cluster.objects::<ProviderConfig>(scope)).await;
    let routes = seen(cluster.objects::<ModelRoute>(scope)).await;
    // On CRDs of the release before there is no such kind; the check of the CRDs says so.
    let policies = seen(cluster.objects::<UsagePolicy>(scope)).await;
    findings.unread = names_of(providers.as_ref().map_or(&[], |(_, unread)| unread))
        .chain(names_of(routes.as_ref().map_or(&[], |(_, unread)| unread)))
        .chain(names_of(policies.as_ref().map_or(&[], |(_, unread)| unread)))
        .collect();
    let (providers, routes) = (providers.map(|(read, _)| read), routes.map(|(read, _)| read));
    findings.behind = providers.as_ref().map(|all| behind(all)).map_err(Clone::clone);
    let places: BTreeSet<String> = match &providers {
        Ok(all) => all.iter().filter_map(ResourceExt::namespace).collect(),
        Err(_) => scope.map(ToOwned::to_owned).into_iter().collect(),
    };
    findings.configs = seen(configs(cluster, &places)).await;
    findings.secrets = match (&providers, &routes) {
        (Ok(providers), Ok(routes)) => {
            let policies = policies.as_ref().map_or(&[][..], |(read, _)| read);
            seen(secrets(cluster, checks::Named::by(providers, routes, policies))).await
        }
        (Err(why), _) | (_, Err(why)) => Err(why.clone()),
    };
    findings.health = seen(fleet(cluster, scope)).await;
    Ok(findings)
}

/// Objects that this release cannot read, each with the place at which.
fn names_of<K: Resource<DynamicType = ()>>(unread: &[Unread<K>]) -> impl Iterator<Item = String> {
    let name = |it: &Unread<K>| {
        let (kind, place) = (K::kind(&()), Ref::new(it.namespace(), &it.name_any()).0);
        format!("{kind} {place} at {} ({})", it.at, it.why)
    };
    unread.iter().map(name)
}

/// The CRDs that are there, beside those of this program's release.
async fn crds(cluster: &Cluster) -> Result<BTreeMap<String, Crd>, Failure> {
    let mut found = BTreeMap::new();
    for ours in bowsprit_crds::schema::all() {
        let name = ours.name_any();
        let crd = cluster.get_global::<CustomResourceDefinition>(&name).await?;
        let serves = |crd: &CustomResourceDefinition| {
            let mut versions = crd.spec.versions.iter();
            versions.any(|version| version.name == bowsprit_crds::VERSION && version.served)
        };
        let crd = crd.map(|crd| Crd {
            serves: serves(&crd),
            lacks: unknown_to(&crd, &ours),
        });
        found.insert(name, crd.unwrap_or_default());
    }
    Ok(found)
}

/// Whether a pod that asks for a sidecar would get one: the apiserver asks the webhook, and makes no pod.
async fn dry_run(cluster: &Cluster) -> Result<Result<bool, String>, Failure> {
    let namespace = cluster.namespace();
    let intent = Intent {
        verb: "create",
        group: "",
        resource: "pods",
        name: None,
        namespace: Some(namespace),
    };
    // Takes what the strictest Pod Security Standard allows, so that a refusal is about injection.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "bowsprit-doctor-", "labels": {names::LABEL_INJECT: "true"}},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "app", "image": "none", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        },
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldManager=kubectl-bowsprit");
    let answer = cluster
        .send(&intent, "POST", &path, pod.to_string().into_bytes())
        .await?;
    match answer.status {
        201 => {
            let pod: core::Pod = serde_json::from_slice(&answer.body)
                .map_err(|error| Failure::Wrong(format!("the apiserver's answer is no pod: {error}")))?;
            Ok(Ok(crate::fleet::Sidecar::of(&pod).is_some()))
        }
        code @ (401 | 403) if code == 401 || answer.said().contains("forbidden: User") => {
            Err(intent.refused(code, &answer.said()))
        }
        _ => Ok(Err(answer.said())),
    }
}

/// Each operator: whether its certificate is one that the apiserver trusts, and when it ends (Unix seconds).
async fn served(cluster: &Cluster, ca: Option<Vec<u8>>) -> Result<Vec<checks::Served>, Failure> {
    let namespace = cluster.operator_namespace();
    let operators =
        ListParams::default().labels("app.kubernetes.io/name=bowsprit,app.kubernetes.io/component=operator");
    let pods = cluster.list::<core::Pod>(Some(namespace), operators).await?;
    let services = ListParams::default().labels("app.kubernetes.io/name=bowsprit,app.kubernetes.io/component=operator");
    let services = cluster.list::<core::Service>(Some(namespace), services).await?;
    let service = services
        .iter()
        .map(ResourceExt::name_any)
        .find(|name| name.ends_with("-webhook"));
    let server = format!("{}.{namespace}.svc", service.as_deref().unwrap_or("bowsprit-webhook"));
    let mut served = Vec::new();
    // One that does not run yet shows none, and is told among the operators.
    let runs = |pod: &&core::Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
    };
    for pod in pods.iter().filter(runs) {
        let name = pod.name_any();
        let trusted = match &ca {
            Some(ca) => match cluster.forward(namespace, &name, WEBHOOK_PORT).await {
                Ok(connection) => tls::trusts(connection, ca, &server, cluster.timeout()).await,
                Err(failure) if failure.is_forbidden() => return Err(failure),
                // Its node may be dead, which is when one wants to hear of the others.
                Err(failure) => {
                    let unreached = Some(failure.to_string());
                    served.push(checks::Served {
                        pod: name,
                        unreached,
                        ..checks::Served::default()
                    });
                    continue;
                }
            },
            None => Err("the webhook's configuration has no CA".to_owned()),
        };
        // Without the permission for this the rest is still told.
        let metrics = cluster.pod_get(namespace, &name, ADMIN_PORT, "/metrics").await.ok();
        let not_after = metrics.and_then(|answer| checks::not_after(&String::from_utf8_lossy(&answer.body)));
        served.push(checks::Served {
            pod: name,
            distrusted: trusted.err(),
            unreached: None,
            not_after,
        });
    }
    Ok(served)
}

/// Whether the operators' service account may do what they do.
async fn permissions(cluster: &Cluster) -> Result<Vec<Permission>, Failure> {
    let namespace = cluster.operator_namespace();
    let operators = status::operators(cluster).await?;
    let account = if operators.account.is_empty() {
        "bowsprit".to_owned()
    } else {
        operators.account
    };
    let mut found = Vec::new();
    for (verb, group, resource, name, own) in checks::NEEDED {
        let place = own.then_some(namespace);
        let review: serde_json::Value = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": format!("system:serviceaccount:{namespace}:{account}"),
                "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated"],
                "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "name": name, "namespace": place},
            },
        });
        let intent = Intent {
            verb: "create",
            group: "authorization.k8s.io",
            resource: "subjectaccessreviews",
            name: None,
            namespace: None,
        };
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answer = cluster
            .send(&intent, "POST", path, review.to_string().into_bytes())
            .await?;
        if answer.status != 201 {
            return Err(intent.refused(answer.status, &answer.said()));
        }
        let review: SubjectAccessReview = serde_json::from_slice(&answer.body)
            .map_err(|error| Failure::Wrong(format!("the apiserver's answer is no review: {error}")))?;
        found.push(Permission {
            what: format!("{verb} {resource}"),
            allowed: review.status.is_some_and(|status| status.allowed),
        });
    }
    Ok(found)
}

/// ProviderConfigs that some sidecars do not have yet, as the operators have counted.
fn behind(providers: &[ProviderConfig]) -> Vec<(Ref, u32)> {
    let of = |object: &ProviderConfig| {
        let behind = object.status.as_ref()?.sidecars.as_ref()?.behind;
        (behind > 0).then(|| (Ref::new(object.namespace(), &object.name_any()), behind))
    };
    providers.iter().filter_map(of).collect()
}

/// The ConfigMaps that the operators write: whether what stands in them is what the operators wrote.
async fn configs(cluster: &Cluster, places: &BTreeSet<String>) -> Result<Vec<Config>, Failure> {
    let found = Cluster::each(places, |place| cluster.get::<core::ConfigMap>(place, names::CONFIG_MAP)).await;
    let mut configs = Vec::new();
    for (place, found) in places.iter().zip(found) {
        let data = found?.map(|map| map.data.unwrap_or_default());
        let text = |key: &str| data.as_ref().and_then(|data| data.get(key).cloned());
        configs.push(Config {
            namespace: place.clone(),
            there: data.is_some(),
            edited: text(names::CONFIG_KEY).is_some_and(|config| text(names::REVISION_KEY) != Some(revision(&config))),
        });
    }
    Ok(configs)
}

/// Those of these Secrets that are not there. Only their heads are asked for, never what is in them.
async fn secrets(cluster: &Cluster, checks::Named(named): checks::Named) -> Result<Vec<Absent>, Failure> {
    let there = Cluster::each(named.keys(), |(place, name)| {
        cluster.exists::<core::Secret>(place, name)
    })
    .await;
    let mut absent = Vec::new();
    for (((place, name), by), there) in named.into_iter().zip(there) {
        if !there? {
            absent.push(Absent {
                secret: Ref::new(Some(place), &name),
                by,
            });
        }
    }
    Ok(absent)
}

async fn fleet(cluster: &Cluster, scope: Option<&str>) -> Result<checks::Fleet, Failure> {
    let sidecars = match health::sidecars(cluster, scope, None).await {
        Ok(sidecars) => sidecars,
        Err(Failure::Wrong(_)) => Vec::new(),
        Err(failure) => return Err(failure),
    };
    let asked = sidecars.get(..ASKED.min(sidecars.len())).unwrap_or_default();
    Ok(checks::Fleet {
        all: sidecars.len(),
        seen: health::ask(cluster, asked).await?,
    })
}
