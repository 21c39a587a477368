//! What goes away when: everything that the operator makes at run time names an owner, and Kubernetes' garbage collection
//! removes it with that owner. No hook, no finalizer and no operator is needed for it, so nothing can hang.
//!
//! The certificate's Secret and the Lease go with the operator's Deployment (`helm uninstall`). The namespaces' ConfigMaps go with
//! the CRD of ProviderConfig: until then, pods that still run can start their sidecars again from what is mounted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;

use crate::sync::locked;

/// The CRD that owns the ConfigMaps.
const DEFINITION: &str = "providerconfigs.bowsprit.dev";

/// The owner of what is made here: an object that may be deleted and made again, with another uid. Cheap to clone: what one part
/// learns, all know.
#[derive(Clone, Debug)]
pub struct Owner<K> {
    api: Api<K>,
    name: String,
    known: Arc<Mutex<Known>>,
}

/// The operator's Deployment, which owns what serves the operator itself.
pub type Deployed = Owner<Deployment>;

/// The CRD of ProviderConfigs, which owns the namespaces' ConfigMaps.
pub type Defined = Owner<CustomResourceDefinition>;

#[derive(Clone, Debug, Default)]
enum Known {
    #[default]
    NotAsked,
    /// It is this one; or nobody will tell, as outside of a cluster: then nothing is owned.
    Told(Option<OwnerReference>),
    /// There was none at that time: one may come.
    None(Instant),
}

/// Between two questions for an owner that is not there, while nothing has to be made.
const AGAIN: Duration = Duration::from_secs(30);

impl Deployed {
    /// The Deployment `name` of `namespace`, not asked for yet.
    pub fn new(client: &Client, namespace: &str, name: &str) -> Self {
        Self::named(Api::namespaced(client.clone(), namespace), name)
    }
}

impl Defined {
    /// The CRD, not asked for yet.
    pub fn new(client: &Client) -> Self {
        Self::named(Api::all(client.clone()), DEFINITION)
    }
}

impl<K> Owner<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    fn named(api: Api<K>, name: &str) -> Self {
        Self {
            api,
            name: name.to_owned(),
            known: Arc::default(),
        }
    }

    /// Whom an object is to name as its owner, which is `metadata` now; none: it is made. The apiserver is asked where that changes
    /// anything, and so never at rest: a Deployment that was deleted with `--cascade=orphan` and made again, or a CRD, is another
    /// owner, and what names the one before is collected each time it is written. While there is none, nothing is owned.
    ///
    /// # Errors
    /// When the apiserver does not answer.
    pub async fn of(&self, metadata: Option<&ObjectMeta>) -> Result<Option<OwnerReference>, kube::Error> {
        let known = locked(&self.known).clone();
        match (&known, metadata) {
            (Known::Told(owner), Some(metadata)) if !is_missing(owner.as_ref(), metadata) => return Ok(owner.clone()),
            (Known::None(at), Some(_)) if at.elapsed() < AGAIN => return Ok(None),
            _ => {}
        }
        let found = find(&self.api, &self.name).await?;
        let told = match &found {
            Found::Is(owner) => Known::Told(Some(owner.clone())),
            Found::None => Known::None(Instant::now()),
            Found::Hidden(_) => Known::Told(None),
        };
        // Said once: the next look finds the same.
        if !matches!(
            (&known, &told),
            (Known::None(_), Known::None(_)) | (Known::Told(None), Known::Told(None))
        ) {
            found.complain::<K>(&self.name);
        }
        *locked(&self.known) = told;
        Ok(found.owner())
    }
}

/// What the apiserver says of an owner.
enum Found {
    Is(OwnerReference),
    None,
    /// It may not be read.
    Hidden(String),
}

impl Found {
    fn complain<K: Resource<DynamicType = ()>>(&self, name: &str) {
        let why = match self {
            Self::Is(_) => return,
            Self::None => "there is none",
            Self::Hidden(why) => why,
        };
        let kind = K::kind(&());
        tracing::warn!(%kind, name, why, "what is made here has no owner, and stays behind when Bowsprit is uninstalled");
    }

    fn owner(self) -> Option<OwnerReference> {
        match self {
            Self::Is(owner) => Some(owner),
            Self::None | Self::Hidden(_) => None,
        }
    }
}

async fn find<K>(api: &Api<K>, name: &str) -> Result<Found, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    Ok(match api.get_metadata_opt(name).await {
        Ok(Some(object)) => object.metadata.uid.map_or(Found::None, |uid| {
            Found::Is(OwnerReference {
                api_version: K::api_version(&()).into_owned(),
                kind: K::kind(&()).into_owned(),
                name: name.to_owned(),
                uid,
                // Nobody's deletion waits for ours.
                ..OwnerReference::default()
            })
        }),
        Ok(None) => Found::None,
        Err(kube::Error::Api(status)) if status.code == 403 => Found::Hidden(status.message),
        Err(error) => return Err(error),
    })
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

/// Writes the owner into a ConfigMap that is right otherwise: one of a release that had no owners, or of CRDs that were made
/// again. `seen`: as it was looked at; one that has changed since is not written over.
///
/// # Errors
/// When the apiserver refuses or does not answer.
pub async fn adopt(maps: &Api<ConfigMap>, seen: &ObjectMeta, owner: &OwnerReference) -> Result<(), kube::Error> {
    let metadata = json!({"resourceVersion": seen.resource_version, "ownerReferences": [owner]});
    let patch = json!({"metadata": metadata});
    let name = seen.name.as_deref().unwrap_or_default();
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
