//! The pod that a document stands for. Pure.

use serde_json::{Value, json};

/// A pod to ask for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    /// Such as `Deployment shop`.
    pub(super) object: String,
    /// As the document has it.
    pub(super) namespace: Option<String>,
    /// The pod.
    pub(super) pod: Value,
}

impl Template {
    /// Of a pod or a workload; none for everything else.
    pub(super) fn of(document: &Value) -> Option<Self> {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
        let kind = text("/kind")?;
        let at = match kind {
            "Pod" => "",
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => "/spec/template",
            "CronJob" => "/spec/jobTemplate/spec/template",
            _ => return None,
        };
        let name = text("/metadata/name")
            .or_else(|| text("/metadata/generateName"))
            .unwrap_or("unnamed");
        let template = document.pointer(at)?;
        let map = |pointer: &str| {
            template
                .pointer(pointer)
                .filter(|it| it.is_object())
                .cloned()
                .unwrap_or(json!({}))
        };
        let mut metadata = json!({"labels": map("/metadata/labels"), "annotations": map("/metadata/annotations")});
        if let Some(fields) = metadata.as_object_mut() {
            // A name of its own, so that a pod of this name which is there already is no reason to refuse.
            fields.insert("generateName".into(), json!(format!("{}-", name.trim_end_matches('-'))));
        }
        Some(Self {
            object: format!("{kind} {name}"),
            namespace: text("/metadata/namespace").map(ToOwned::to_owned),
            pod: json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": map("/spec")}),
        })
    }
}
