//! Brings sidecars what they check the operator's certificate against: the CA bundle, as one more key of their namespace's
//! ConfigMap. Only the leader writes it, where it differs, and without a new sequence: it is no news for those who have a
//! stream. The bundle names the next CA long before a leaf of it is served, and kubelets take about a minute.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_crds::names;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;

use super::documents::Documents;
use crate::lease::elector::Leadership;
use crate::objects::Store;
use crate::reconcile::FIELD_MANAGER;

/// Before a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What it takes to keep the bundle where sidecars find it.
pub struct Trust {
    /// To write with.
    pub client: Client,
    /// The ConfigMaps as they are.
    pub store: Store,
    /// Which namespaces have one, and when one was written.
    pub documents: Documents,
    /// What is to be trusted, PEM; none until it is known.
    pub bundle: watch::Receiver<Option<Arc<str>>>,
    /// Asked before every write.
    pub leadership: Leadership,
}

impl Trust {
    /// Never returns. To be run while this replica leads.
    pub async fn keep(mut self) {
        let mut written = self.documents.listen();
        let mut due: BTreeSet<String> = self.documents.namespaces().into_iter().collect();
        loop {
            let bundle = self.bundle.borrow_and_update().clone();
            if let Some(bundle) = bundle {
                let mut failed = BTreeSet::new();
                for namespace in std::mem::take(&mut due) {
                    if !self.bring(&namespace, &bundle).await {
                        failed.insert(namespace);
                    }
                }
                due = failed;
            }
            tokio::select! {
                Some(namespace) = written.next() => {
                    due.insert(namespace);
                }
                Ok(()) = self.bundle.changed() => due.extend(self.documents.namespaces()),
                () = tokio::time::sleep(RETRY), if !due.is_empty() => {}
            }
        }
    }

    /// False where it has to be tried again.
    async fn bring(&self, namespace: &str, bundle: &str) -> bool {
        let Some(map) = self.store.config_map(namespace).filter(|map| lacks(map, bundle)) else {
            return true;
        };
        // A merge never makes the object: one that is gone meanwhile stays gone, and one that changed is looked at again.
        let version = &map.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "data": {names::CA_KEY: bundle}});
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        let patch = Patch::Merge(patch);
        let Ok(written) = self
            .leadership
            .write(api.patch(names::CONFIG_MAP, &params, &patch))
            .await
        else {
            return true;
        };
        match written {
            Ok(_) => {
                tracing::info!(namespace, "CA bundle for sidecars written");
                true
            }
            Err(kube::Error::Api(status)) if status.code == 404 => true,
            Err(kube::Error::Api(status)) if status.code == 409 => false,
            Err(error) => {
                tracing::warn!(namespace, %error, "CA bundle for sidecars not written, will try again");
                false
            }
        }
    }
}

/// Whether a config of ours has another bundle or none.
fn lacks(map: &ConfigMap, bundle: &str) -> bool {
    let data = map.data.as_ref();
    let is_ours = data.is_some_and(|data| data.contains_key(names::SEQUENCE_KEY));
    is_ours
        && data
            .and_then(|data| data.get(names::CA_KEY))
            .is_none_or(|has| has != bundle)
}
