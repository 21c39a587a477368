//! `health`: asks the sidecars themselves, through the apiserver's proxy.

mod render;
#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde::Serialize;

use bowsprit_crds::names;

use crate::args::{ClusterArgs, Format, HealthArgs};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::fleet::{Health, Sidecar};
use crate::output::{Report, Screen};
use crate::progress::Progress;

/// One sidecar and what it said.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seen {
    /// The pod's namespace.
    pub(crate) namespace: String,
    /// The pod.
    pub(crate) pod: String,
    /// What it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<Health>,
    /// Why it said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) silent: Option<String>,
}

/// Asks and renders.
pub(crate) async fn run(cluster: &ClusterArgs, args: &HealthArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let progress = Progress::start(screen, "asking the sidecars");
    let scope = cluster.scope(args.place);
    let sidecars = sidecars(&cluster, scope, args.pod.as_deref()).await?;
    let mut seen = ask(&cluster, &sidecars).await?;
    drop(progress);
    if let Some(wanted) = &args.provider {
        for health in seen.iter_mut().filter_map(|it| it.health.as_mut()) {
            health.providers.retain(|provider| provider.name == *wanted);
        }
        let known = seen
            .iter()
            .any(|it| it.health.as_ref().is_some_and(|it| !it.providers.is_empty()));
        if !known {
            return Err(Failure::Wrong(format!(
                "no sidecar here has a provider {wanted}: kubectl get providerconfigs lists them; a podSelector may keep it from these pods"
            )));
        }
    }
    let well = seen
        .iter()
        .all(|it| it.health.as_ref().is_some_and(|it| it.status == "ok"));
    let what = render::What {
        one_pod: args.pod.is_some(),
        one_provider: args.provider.is_some(),
        all_namespaces: args.place.all_namespaces,
        wide: args.out.output == Format::Wide,
    };
    Report::new(args.out.output, &seen, well, || {
        render::screen(&seen, what, screen.paint)
    })
}

/// The pods with a sidecar, by namespace and name; or the one that is meant.
pub(crate) async fn sidecars(
    cluster: &Cluster,
    scope: Option<&str>,
    pod: Option<&str>,
) -> Result<Vec<Sidecar>, Failure> {
    if let Some(name) = pod {
        let namespace = cluster.namespace();
        let Some(pod) = cluster.get::<Pod>(namespace, name).await? else {
            return Err(Failure::Wrong(format!(
                "there is no pod {name} in namespace {namespace}"
            )));
        };
        return Sidecar::of(&pod).map(|sidecar| vec![sidecar]).ok_or_else(|| {
            Failure::Wrong(format!(
                "pod {name} has no sidecar: kubectl bowsprit doctor -n {namespace} says whether it asked for one"
            ))
        });
    }
    let injected = ListParams::default()
        .labels(&format!("{}=true", names::LABEL_INJECTED))
        .fields("status.phase!=Succeeded,status.phase!=Failed");
    let pods = cluster.list::<Pod>(scope, injected).await?;
    let mut sidecars: Vec<Sidecar> = pods.iter().filter_map(Sidecar::of).collect();
    sidecars.sort_by(|a, b| (&a.namespace, &a.pod).cmp(&(&b.namespace, &b.pod)));
    if sidecars.is_empty() {
        let place = scope.map_or("in the cluster".to_owned(), |namespace| {
            format!("in namespace {namespace}")
        });
        return Err(Failure::Wrong(format!(
            "no pod {place} has a sidecar: a pod asks for one with the label {}: \"true\" on itself or its namespace",
            names::LABEL_INJECT
        )));
    }
    Ok(sidecars)
}

/// What each says of itself.
///
/// # Errors
/// Where this user may ask none. A sidecar that does not answer is no error but a line.
pub(crate) async fn ask(cluster: &Cluster, sidecars: &[Sidecar]) -> Result<Vec<Seen>, Failure> {
    let asked = Cluster::each(sidecars, |sidecar| one(cluster, sidecar)).await;
    asked.into_iter().collect()
}

async fn one(cluster: &Cluster, sidecar: &Sidecar) -> Result<Seen, Failure> {
    let mut seen = Seen {
        namespace: sidecar.namespace.clone(),
        pod: sidecar.pod.clone(),
        health: None,
        silent: sidecar.not_running.clone(),
    };
    if seen.silent.is_some() {
        return Ok(seen);
    }
    let asked = cluster.pod_get(&sidecar.namespace, &sidecar.pod, sidecar.admin_port, "/health");
    match asked.await {
        Err(failure) if failure.is_forbidden() => return Err(failure),
        Err(failure) => seen.silent = Some(failure.to_string()),
        Ok(answer) => match serde_json::from_slice::<Health>(&answer.body) {
            // The apiserver's own errors are JSON too, with a status that is a word of Kubernetes.
            Ok(health) if health.status != "Failure" => seen.health = Some(health),
            _ => seen.silent = Some(format!("HTTP {}: {}", answer.status, answer.said())),
        },
    }
    Ok(seen)
}
