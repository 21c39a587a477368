//! What goes away when: everything that the operator makes at run time names an owner, and Kubernetes' garbage collection
//! removes it with that owner. No hook, no finalizer and no operator is needed for it, so nothing can hang.
//!
//! The certificate's Secret and the Lease go with the operator's Deployment (`helm uninstall`). The namespaces' ConfigMaps go with
//! the CRD of ProviderConfig: until then, pods that still run can start their sidecars again from what is mounted.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

/// The CRD that owns the ConfigMaps.
const DEFINITION: &str = "providerconfigs.bowsprit.dev";

/// Who owns what the operator makes; none where it is not known, as outside of a cluster: then nothing is owned.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// Of what serves the operator itself: its Deployment.
    pub operator: Option<OwnerReference>,
    /// Of what serves the sidecars: the CRD.
    pub config: Option<OwnerReference>,
}

impl Owners {
    /// Asks the apiserver who they are. What is not there, or may not be read, is left out.
    ///
    /// # Errors
    /// When the apiserver does not answer.
    pub async fn find(client: &Client, namespace: &str, deployment: &str) -> Result<Self, kube::Error> {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        Ok(Self {
            operator: reference(&deployments, deployment).await?,
            config: reference(&definitions, DEFINITION).await?,
        })
    }
}

async fn reference<K>(api: &Api<K>, name: &str) -> Result<Option<OwnerReference>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let why = match api.get_metadata_opt(name).await {
        Ok(Some(object)) => {
            return Ok(object.metadata.uid.map(|uid| OwnerReference {
                api_version: K::api_version(&()).into_owned(),
                kind: K::kind(&()).into_owned(),
                name: name.to_owned(),
                uid,
                // Nobody's deletion waits for ours.
                ..OwnerReference::default()
            }));
        }
        Ok(None) => "there is none".to_owned(),
        Err(kube::Error::Api(status)) if status.code == 403 => status.message,
        Err(error) => return Err(error),
    };
    let kind = K::kind(&());
    tracing::warn!(%kind, name, why, "what is made here has no owner, and stays behind when Bowsprit is uninstalled");
    Ok(None)
}

/// Whether the owner is still to be written into `metadata`.
pub fn is_missing(owner: Option<&OwnerReference>, metadata: &ObjectMeta) -> bool {
    let has = |wanted: &OwnerReference| {
        let owners = metadata.owner_references.iter().flatten();
        owners.into_iter().any(|owner| owner.uid == wanted.uid)
    };
    owner.is_some_and(|owner| !has(owner))
}

/// Makes `owner`, where there is one, the only owner of an object that is about to be written.
pub fn put(owner: Option<&OwnerReference>, metadata: &mut ObjectMeta) {
    if let Some(owner) = owner {
        metadata.owner_references = Some(vec![owner.clone()]);
    }
}

/// Writes the owner into a ConfigMap that is right otherwise: one of a release that had no owners.
///
/// # Errors
/// When the apiserver refuses or does not answer.
pub async fn adopt(maps: &Api<ConfigMap>, name: &str, owner: &OwnerReference) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {"ownerReferences": [owner]}});
    maps.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: &str) -> OwnerReference {
        OwnerReference {
            uid: uid.into(),
            ..OwnerReference::default()
        }
    }

    #[test]
    fn an_owner_is_written_once_and_one_of_an_earlier_installation_is_replaced() {
        let mut metadata = ObjectMeta::default();
        assert!(
            !is_missing(None, &metadata),
            "where nobody is known, nothing is missing"
        );
        put(None, &mut metadata);
        assert_eq!(metadata.owner_references, None);
        for uid in ["first", "second"] {
            let owner = owner(uid);
            assert!(is_missing(Some(&owner), &metadata));
            put(Some(&owner), &mut metadata);
            assert!(!is_missing(Some(&owner), &metadata));
        }
        // An object with an owner that is gone beside one that lives is kept; with the dead one alone it would be collected.
        assert_eq!(metadata.owner_references, Some(vec![owner("second")]));
    }
}
