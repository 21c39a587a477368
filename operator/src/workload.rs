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
