//! What is known of a namespace's sidecars at a look: what they say over their streams, and what those say that are asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::time::Instant;

use super::Context;
use super::alone::Alone;
use crate::desired::SidecarSeen;
use crate::fleet::{PodId, Reported};
use crate::injector::{References, sidecar};
use crate::status::rollout::{Version, has};

/// All of them.
pub(super) struct Seen {
    /// Those that count.
    pub(super) sidecars: Vec<SidecarSeen>,
    /// Whether some were only just seen and may still come with a stream.
    pub(super) some_are_coming: bool,
}

/// Looks at the namespace's pods that run: asks those of `alone` whose turn it is.
pub(super) async fn see(
    pods: &[Arc<Pod>],
    streaming: &BTreeMap<PodId, Reported>,
    alone: &mut Alone,
    newest: &Version,
    context: &Context,
) -> Seen {
    let now = Instant::now();
    let due: Vec<Arc<Pod>> = pods
        .iter()
        .filter(|pod| alone.is_due(&pod_id(pod), now))
        .cloned()
        .collect();
    if !due.is_empty() {
        let mut reports = context.poller.reports(&due).await;
        for pod in &due {
            let report = reports.remove(&pod.name_any());
            let current = report
                .as_ref()
                .is_some_and(|it| has(it.sequence, &it.revision, newest, newest));
            alone.answered(&pod_id(pod), report, current, Instant::now(), fastrand::f64());
        }
    }
    let (mut sidecars, mut some_are_coming) = (Vec::with_capacity(pods.len()), false);
    for pod in pods {
        let id = pod_id(pod);
        let report = match streaming.get(&id) {
            Some(reported) => Some(Arc::clone(&reported.report)),
            None => alone.report(&id).cloned(),
        };
        if report.is_none() {
            if alone.is_coming(&id, now) {
                some_are_coming = true;
                continue;
            }
            // A pod whose sidecar has yet to start serves nothing.
            if phase(pod) == Some("Pending") {
                continue;
            }
        }
        sidecars.push(SidecarSeen {
            pod: pod.name_any().into(),
            labels: Arc::new(pod.labels().clone()),
            mounted: Arc::new(pod.spec.as_ref().map(References::mounted).unwrap_or_default()),
            workload: workload(pod).map(Into::into),
            report,
        });
    }
    Seen {
        sidecars,
        some_are_coming,
    }
}

/// The pods that hold no stream, and whether they were made to.
pub(super) fn silent(pods: &[Arc<Pod>], streaming: &BTreeMap<PodId, Reported>) -> impl Iterator<Item = (PodId, bool)> {
    let all = pods.iter().map(|pod| (pod_id(pod), may_stream(pod)));
    all.filter(|(pod, _)| !streaming.contains_key(pod))
}

pub(super) fn pod_id(pod: &Pod) -> PodId {
    PodId {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
    }
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

/// Pending counts, too: a native sidecar runs while the pod still initialises, and waits for its config.
pub(super) fn is_running(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && matches!(phase(pod), Some("Running" | "Pending"))
}

/// Whether the pod was made to hold a stream: it has a token for one.
fn may_stream(pod: &Pod) -> bool {
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.any(|volume| volume.name == sidecar::TOKEN_VOLUME)
}

/// What made the pod, as `kubectl rollout restart` takes it. A ReplicaSet's name is its Deployment's and the hash of the template.
fn workload(pod: &Pod) -> Option<String> {
    let owners = pod.metadata.owner_references.as_ref()?;
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    match owner.kind.as_str() {
        "ReplicaSet" => {
            let hash = pod.labels().get("pod-template-hash")?;
            let name = owner.name.strip_suffix(hash)?.strip_suffix('-')?;
            Some(format!("deployment/{name}"))
        }
        "StatefulSet" | "DaemonSet" => Some(format!("{}/{}", owner.kind.to_lowercase(), owner.name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_made_a_pod_is_named_as_kubectl_takes_it() {
        let pod = |kind: &str, name: &str| -> Pod {
            serde_json::from_value(serde_json::json!({"metadata": {
                "labels": {"pod-template-hash": "5d4f"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true}],
            }}))
            .unwrap()
        };
        assert_eq!(
            workload(&pod("ReplicaSet", "web-api-5d4f")).as_deref(),
            Some("deployment/web-api")
        );
        assert_eq!(workload(&pod("ReplicaSet", "web-api")), None, "not a Deployment's");
        assert_eq!(workload(&pod("StatefulSet", "db")).as_deref(), Some("statefulset/db"));
        assert_eq!(workload(&pod("Job", "once")), None);
        assert_eq!(workload(&Pod::default()), None);
    }
}
