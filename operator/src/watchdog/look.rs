//! One object in, what is to be said of it out. Pure.

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use bowsprit_crds::names;

use crate::injector::environment::bypasses;
use crate::mistakes;
use crate::workload::controller;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A pod asked for a sidecar and has none.
    SidecarMissing,
    /// A pod with a sidecar sends an SDK somewhere else.
    BypassesSidecar,
    /// A label or an annotation of ours is not read as it was meant.
    SettingNotRead,
}

/// All of them.
pub const REASONS: [Reason; 3] = [Reason::SidecarMissing, Reason::BypassesSidecar, Reason::SettingNotRead];

impl Reason {
    /// As Events have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SidecarMissing => "SidecarMissing",
            Self::BypassesSidecar => "BypassesSidecar",
            Self::SettingNotRead => "SettingNotRead",
        }
    }
}

/// An object and what is to be said of it; nothing: all is well.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// `namespace/name` of the object.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Who an Event is to be about: its controller, or the object itself.
    pub about: ObjectReference,
    /// What was found, each with its words.
    pub findings: Vec<(Reason, String)>,
}

/// Of a pod that asks for a sidecar, by itself or by its namespace, and was not injected.
pub(super) fn uninjected(pod: &Pod) -> Observed {
    let label = pod
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(names::LABEL_INJECT));
    let mut findings = unread(pod);
    // Who has a label that is no wish did not ask; its namespace may have, and then it was injected.
    if is_alive(pod) && label.is_none_or(|label| label == "true") {
        findings.push((
            Reason::SidecarMissing,
            "asked for a sidecar and has none: the pod is older than the operator or the label, its namespace is one that is left \
             out, or no operator answered while webhook.failurePolicy is Ignore: make it anew (kubectl rollout restart)"
                .into(),
        ));
    }
    observed("Pod", "v1", &pod.metadata, findings)
}

/// Of a pod with a sidecar.
pub(super) fn injected(pod: &Pod) -> Observed {
    let mut findings = unread(pod);
    let past = pod.spec.as_ref().map(bypasses).unwrap_or_default();
    if is_alive(pod) && !past.is_empty() {
        findings.push((
            Reason::BypassesSidecar,
            format!(
                "has a sidecar and leads past it with {}: without its limits, fallbacks and keys: remove the variable, or the sidecar \
                 with the label {}: \"false\"",
                past.join(", "),
                names::LABEL_INJECT
            ),
        ));
    }
    observed("Pod", "v1", &pod.metadata, findings)
}

/// Of a workload or a namespace.
pub(super) fn other(kind: &str, api_version: &str, metadata: &ObjectMeta, object: &Value) -> Observed {
    let mistakes = mistakes::of(kind, object);
    let findings = mistakes.iter().map(|it| (Reason::SettingNotRead, it.to_string()));
    observed(kind, api_version, metadata, findings.collect())
}

/// Of a pod only its labels and annotations matter here.
fn unread(pod: &Pod) -> Vec<(Reason, String)> {
    let (labels, annotations) = (&pod.metadata.labels, &pod.metadata.annotations);
    let object = json!({"metadata": {"labels": labels, "annotations": annotations}});
    let mistakes = mistakes::of("Pod", &object);
    mistakes
        .iter()
        .map(|it| (Reason::SettingNotRead, it.to_string()))
        .collect()
}

/// Whether it runs or will: what has ended needs no sidecar.
fn is_alive(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn observed(kind: &str, api_version: &str, metadata: &ObjectMeta, findings: Vec<(Reason, String)>) -> Observed {
    let name = metadata.name.clone().unwrap_or_default();
    let namespace = metadata.namespace.clone();
    let itself = || ObjectReference {
        api_version: Some(api_version.into()),
        kind: Some(kind.into()),
        name: metadata.name.clone(),
        namespace: namespace.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    };
    let about = controller(metadata).map_or_else(itself, |owner| reference(owner, namespace.clone()));
    Observed {
        key: format!("{}/{name}", namespace.unwrap_or_default()),
        name,
        about,
        findings,
    }
}

/// The owner, of an object in this namespace.
pub(super) fn reference(owner: &OwnerReference, namespace: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some(owner.api_version.clone()),
        kind: Some(owner.kind.clone()),
        name: Some(owner.name.clone()),
        namespace,
        uid: Some(owner.uid.clone()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "json! makes owned values")]
    use super::*;

    fn pod(change: Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "web-1", "namespace": "team", "uid": "p", "labels": {"bowsprit.dev/inject": "true"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r", "controller": true}]},
            "spec": {"containers": [{"name": "app"}]}, "status": {"phase": "Running"},
        });
        json_patch::merge(&mut pod, &change);
        serde_json::from_value(pod).unwrap()
    }

    fn reasons(observed: &Observed) -> Vec<Reason> {
        observed.findings.iter().map(|(reason, _)| *reason).collect()
    }

    #[test]
    fn a_pod_that_asked_and_has_none_is_found_as_long_as_it_runs() {
        let found = uninjected(&pod(json!({})));
        assert_eq!(reasons(&found), [Reason::SidecarMissing]);
        assert_eq!(found.key, "team/web-1");
        assert_eq!(
            (found.about.kind.as_deref(), found.about.uid.as_deref()),
            (Some("ReplicaSet"), Some("r"))
        );
        let by_its_namespace = pod(json!({"metadata": {"labels": null}}));
        assert_eq!(reasons(&uninjected(&by_its_namespace)), [Reason::SidecarMissing]);
        for over in [
            json!({"status": {"phase": "Succeeded"}}),
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        ] {
            assert_eq!(reasons(&uninjected(&pod(over))), []);
        }
    }

    #[test]
    fn a_wish_that_is_none_is_a_setting_not_read_and_no_missing_sidecar() {
        let found = uninjected(&pod(json!({"metadata": {"labels": {"bowsprit.dev/inject": "True"}}})));
        assert_eq!(reasons(&found), [Reason::SettingNotRead]);
        assert!(found.findings[0].1.ends_with("write \"true\""), "{found:?}");
    }

    #[test]
    fn a_variable_that_leads_past_the_sidecar_is_found_and_named_without_its_value() {
        let env = |value: &str| json!({"spec": {"containers": [{"name": "app", "env": [{"name": "OPENAI_BASE_URL", "value": value}]}]}});
        let found = injected(&pod(env("https://token@api.openai.com/v1")));
        assert_eq!(reasons(&found), [Reason::BypassesSidecar]);
        let said = &found.findings[0].1;
        assert!(
            said.contains("OPENAI_BASE_URL of container app") && !said.contains("token"),
            "{said}"
        );
        assert_eq!(reasons(&injected(&pod(env("http://localhost:4000/v1")))), []);
    }

    #[test]
    fn a_pod_of_nobody_is_told_itself() {
        let found = uninjected(&pod(json!({"metadata": {"ownerReferences": null}})));
        assert_eq!(
            (found.about.kind.as_deref(), found.about.name.as_deref()),
            (Some("Pod"), Some("web-1"))
        );
    }

    #[test]
    fn a_label_on_a_deployment_is_told_of_it() {
        let object =
            json!({"metadata": {"name": "web", "labels": {"bowsprit.dev/inject": "true"}}, "spec": {"template": {}}});
        let metadata: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
        let found = other("Deployment", "apps/v1", &metadata, &object);
        assert_eq!(reasons(&found), [Reason::SettingNotRead]);
        assert_eq!(found.about.kind.as_deref(), Some("Deployment"));
    }
}
