//! Puts a namespace's rules where the Prometheus operator finds them, and takes them away again. Written only when they change, and
//! once by each new leader; whoever changes or deletes them meanwhile is not overruled until then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_crds::{ModelRoute, ProviderConfig};
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::Instant;

use super::{NAME, rules};
use crate::lease::elector::{Leadership, NotLeading};
use crate::reconcile::FIELD_MANAGER;
use crate::sync::locked;

/// Between two looks for the CRD of the Prometheus operator, as long as it is not there.
const LOOK_AGAIN: Duration = Duration::from_mins(5);
const GROUP_VERSION: &str = "monitoring.coreos.com/v1";

/// What rules are made with, and which are in place.
pub struct Rules {
    client: Client,
    leadership: Leadership,
    labels: Vec<(String, String)>,
    runbooks: String,
    /// What this process has written last in each namespace; nothing: that there are none.
    written: Mutex<HashMap<String, Option<Value>>>,
    /// Whether there is such a kind, and when that was looked up.
    known: Mutex<Option<(bool, Instant)>>,
}

impl Rules {
    /// `labels`: what Prometheus selects rules by; `runbooks`: where the pages of the alerts are.
    pub fn new(client: Client, leadership: Leadership, labels: Vec<(String, String)>, runbooks: String) -> Self {
        Self {
            client,
            leadership,
            labels,
            runbooks,
            written: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// Makes the namespace's rules what its objects ask for.
    ///
    /// # Errors
    /// The apiserver's; and when another replica leads by now.
    pub async fn apply(
        &self,
        namespace: &str,
        providers: &[Arc<ProviderConfig>],
        routes: &[Arc<ModelRoute>],
    ) -> Result<Result<(), kube::Error>, NotLeading> {
        let providers: Vec<&ProviderConfig> = providers.iter().map(|it| &**it).collect();
        let routes: Vec<&ModelRoute> = routes.iter().map(|it| &**it).collect();
        let wanted = rules(namespace, &providers, &routes, &self.labels, &self.runbooks);
        if locked(&self.written).get(namespace) == Some(&wanted) {
            return Ok(Ok(()));
        }
        match self.is_known().await {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
        let kind = ApiResource {
            group: "monitoring.coreos.com".into(),
            version: "v1".into(),
            api_version: GROUP_VERSION.into(),
            kind: "PrometheusRule".into(),
            plural: "prometheusrules".into(),
        };
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &kind);
        let done = if let Some(rule) = &wanted {
            let params = PatchParams::apply(FIELD_MANAGER).force();
            let patch = Patch::Apply(rule);
            let write = api.patch(NAME, &params, &patch);
            self.leadership.write(write).await?.map(|_| true)
        } else {
            let params = DeleteParams::default();
            match self.leadership.write(api.delete(NAME, &params)).await? {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
                done => done.map(|_| true),
            }
        };
        match done {
            Ok(changed) => {
                if changed {
                    tracing::info!(namespace, objectives = wanted.is_some(), "rules of objectives written");
                }
                locked(&self.written).insert(namespace.to_owned(), wanted);
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// A namespace that is gone.
    pub fn forget(&self, namespace: &str) {
        locked(&self.written).remove(namespace);
    }

    /// Whether the Prometheus operator's kinds are installed.
    async fn is_known(&self) -> Result<bool, kube::Error> {
        let now = Instant::now();
        if let Some((known, at)) = *locked(&self.known)
            && (known || now < at + LOOK_AGAIN)
        {
            return Ok(known);
        }
        let known = match self.client.list_api_group_resources(GROUP_VERSION).await {
            Ok(found) => found.resources.iter().any(|kind| kind.kind == "PrometheusRule"),
            Err(kube::Error::Api(status)) if status.code == 404 => false,
            Err(error) => return Err(error),
        };
        *locked(&self.known) = Some((known, now));
        Ok(known)
    }
}
