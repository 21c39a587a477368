//! What a pod runs for, by its owners.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The owner that makes and replaces it.
pub(crate) fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true))
}

/// The Deployment behind a ReplicaSet, whose name is that of the Deployment and the hash of the pods' template.
pub(crate) fn deployment<'a>(owner: &'a OwnerReference, labels: Option<&BTreeMap<String, String>>) -> Option<&'a str> {
    let hash = labels?
        .get("pod-template-hash")
        .filter(|_| owner.kind == "ReplicaSet")?;
    owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')
}

/// What a pod runs for: its controller, and for a ReplicaSet of a Deployment's that Deployment; one that belongs to nothing, itself.
pub(crate) fn runs_for(metadata: &ObjectMeta) -> String {
    let Some(owner) = controller(metadata) else {
        let name = metadata.name.as_ref().or(metadata.generate_name.as_ref());
        return format!("Pod/{}", name.map_or("", |name| name.trim_end_matches('-')));
    };
    match deployment(owner, metadata.labels.as_ref()) {
        Some(deployment) => format!("Deployment/{deployment}"),
        None => format!("{}/{}", owner.kind, owner.name),
    }
}
