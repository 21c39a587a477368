//! What is kept of a pod with a sidecar: who it is, whether it runs and where, and what the injector mounted. A Pod as the API has it
//! takes some tens of KiB, of which this is a tenth at most, and its environment variables are no business of ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowsprit_crds::names;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::fleet::PodId;
use crate::injector::{References, sidecar};
use crate::workload::{controller, deployment, runs_for};

/// A pod with a sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InjectedPod {
    /// Its name and uid.
    pub id: PodId,
    /// As of its last change.
    pub resource_version: Option<String>,
    /// Its labels, which decide which ProviderConfigs it uses.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The revision that it was touched for last.
    pub touched_for: Option<String>,
    /// Where its sidecar serves health and metrics.
    pub admin_port: u16,
    /// The Secrets and CA bundles that it has mounted.
    pub mounted: Arc<References>,
    /// Whether it was made to hold a stream: it has a token for one.
    pub may_stream: bool,
    /// What made it, such as `deployment/web`, where `kubectl rollout restart` takes that.
    pub workload: Option<Arc<str>>,
    /// What it runs for, such as `Deployment/web`, as its sidecar was told.
    pub runs_for: Arc<str>,
    /// The same, where it belongs to nothing and had no name yet when it was told.
    pub made_as: Option<Arc<str>>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Its address, where it has one.
    pub ip: Option<String>,
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Its containers have yet to start, all or some of them. A native sidecar runs by then, and waits for its config.
    Pending,
    /// It runs.
    Running,
    /// It is being deleted, has ended, or nobody knows.
    #[default]
    Over,
}

impl InjectedPod {
    /// Reads it.
    pub(super) fn of(pod: &Pod) -> Self {
        let (metadata, spec) = (&pod.metadata, pod.spec.as_ref());
        let annotation = |name: &str| metadata.annotations.as_ref()?.get(name);
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let mut volumes = spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        Self {
            id: PodId {
                name: metadata.name.clone().unwrap_or_default(),
                uid: metadata.uid.clone().unwrap_or_default(),
            },
            resource_version: metadata.resource_version.clone(),
            labels: Arc::new(metadata.labels.clone().unwrap_or_default()),
            touched_for: annotation(names::ANNOTATION_CONFIG_REVISION).cloned(),
            admin_port: annotation(names::ANNOTATION_ADMIN_PORT)
                .and_then(|port| port.parse().ok())
                .unwrap_or(names::ADMIN_PORT),
            mounted: Arc::new(spec.map(References::mounted).unwrap_or_default()),
            may_stream: volumes.any(|volume| volume.name == sidecar::TOKEN_VOLUME),
            workload: workload(metadata),
            runs_for: runs_for(metadata).into(),
            made_as: made_as(metadata),
            phase: match phase {
                _ if metadata.deletion_timestamp.is_some() => Phase::Over,
                Some("Pending") => Phase::Pending,
                Some("Running") => Phase::Running,
                _ => Phase::Over,
            },
            ip: status.and_then(|status| status.pod_ip.clone()),
        }
    }
}

/// What made a pod, where `kubectl rollout restart` takes that.
fn workload(metadata: &ObjectMeta) -> Option<Arc<str>> {
    let owner = controller(metadata)?;
    match owner.kind.as_str() {
        "ReplicaSet" => Some(format!("deployment/{}", deployment(owner, metadata.labels.as_ref())?).into()),
        "StatefulSet" | "DaemonSet" => Some(format!("{}/{}", owner.kind.to_lowercase(), owner.name).into()),
        _ => None,
    }
}

/// What a pod that belongs to nothing was called before it had a name.
fn made_as(metadata: &ObjectMeta) -> Option<Arc<str>> {
    let nameless = ObjectMeta {
        name: None,
        generate_name: Some(metadata.generate_name.clone()?),
        ..ObjectMeta::default()
    };
    controller(metadata).is_none().then(|| runs_for(&nameless).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_pod_only_what_is_asked_of_it_is_kept_and_never_its_environment() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "app", "namespace": "team", "uid": "u", "resourceVersion": "7", "labels": {"app": "x"},
                "annotations": {"bowsprit.dev/config-revision": "abc", "large": "x"},
            },
            "spec": {
                "containers": [{"name": "app", "env": [{"name": "TOKEN", "value": "secret"}]}],
                "volumes": [
                    {"name": "bowsprit-secrets", "projected": {"sources": [
                        {"secret": {"name": "keys", "items": [{"key": "a", "path": "keys/a"}]}},
                    ]}},
                    {"name": "bowsprit-token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
                    {"name": "data", "emptyDir": {}},
                ],
            },
            "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": []},
        }))
        .unwrap();
        insta::assert_debug_snapshot!(InjectedPod::of(&pod));
    }

    #[test]
    fn a_pod_that_is_being_deleted_is_over_whatever_its_phase() {
        let phase = |deleted: Option<&str>, phase: Option<&str>| {
            let pod = json!({"metadata": {"deletionTimestamp": deleted}, "status": {"phase": phase}});
            InjectedPod::of(&serde_json::from_value(pod).unwrap()).phase
        };
        assert_eq!(phase(None, Some("Pending")), Phase::Pending);
        assert_eq!(phase(None, Some("Running")), Phase::Running);
        for over in [None, Some("Succeeded"), Some("Failed"), Some("Unknown")] {
            assert_eq!(phase(None, over), Phase::Over, "{over:?}");
        }
        assert_eq!(phase(Some("2026-01-01T00:00:00Z"), Some("Running")), Phase::Over);
    }

    #[test]
    fn what_made_a_pod_is_named_as_kubectl_takes_it() {
        let made_by = |kind: &str, name: &str| {
            let pod = json!({"metadata": {
                "labels": {"pod-template-hash": "5d4f"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true}],
            }});
            InjectedPod::of(&serde_json::from_value(pod).unwrap()).workload
        };
        assert_eq!(
            made_by("ReplicaSet", "web-api-5d4f").as_deref(),
            Some("deployment/web-api")
        );
        assert_eq!(made_by("ReplicaSet", "web-api"), None, "not a Deployment's");
        assert_eq!(made_by("StatefulSet", "db").as_deref(), Some("statefulset/db"));
        assert_eq!(made_by("Job", "once"), None);
        let bare = json!({"metadata": {"name": "x-7fq", "generateName": "x-"}});
        let bare = InjectedPod::of(&serde_json::from_value(bare).unwrap());
        assert_eq!((&*bare.runs_for, bare.made_as.as_deref()), ("Pod/x-7fq", Some("Pod/x")));
        assert_eq!(InjectedPod::default().workload, None);
    }
}
