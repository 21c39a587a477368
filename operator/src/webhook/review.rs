//! One `AdmissionReview` in, one out. What the namespace says of the pod comes from memory, but for the moments in which that
//! may be too little for a pod that is kept (`newest`); nothing is written, so `dryRun` needs no care.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::admission::{AdmissionRequest, NotAReview, Refusal, answered};
use crate::injector::{References, Settings, advice, inject, is_complete};
use crate::metrics::Metrics;
use crate::mistakes;

/// What a pod's namespace says about it.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// What to mount.
    pub references: References,
    /// `ProviderConfigs` that select the pod.
    pub providers: usize,
    /// The revision of the namespace's config as far as written.
    pub revision: Option<String>,
}

/// Knows what a namespace says about a pod.
pub trait Lookup: Send + Sync {
    /// About a pod with these labels; `None` while the objects are not all here yet. It may take as long as `patience` and half
    /// of that again, to be up to date; without any, it is what is in memory.
    fn view<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a BTreeMap<String, String>,
        patience: Duration,
    ) -> BoxFuture<'a, Option<View>>;
}

/// Answers reviews.
pub struct Reviewer {
    settings: Settings,
    lookup: Arc<dyn Lookup>,
    metrics: Metrics,
}

/// What is answered.
enum Verdict {
    Unchanged,
    Injected {
        patch: json_patch::Patch,
        warnings: Vec<String>,
    },
    Refused(Refusal),
}

impl Reviewer {
    /// `lookup` tells what the pods' namespaces say.
    pub fn new(settings: Settings, lookup: Arc<dyn Lookup>, metrics: Metrics) -> Self {
        Self {
            settings,
            lookup,
            metrics,
        }
    }

    /// The answer to `body`, as JSON. `patience`: as [`Lookup::view`] says.
    pub async fn review(
        &self,
        body: impl AsRef<[u8]>,
        began: Instant,
        patience: Duration,
    ) -> Result<Vec<u8>, NotAReview> {
        let request = AdmissionRequest::read(body.as_ref());
        drop(body);
        let mut request = request.inspect_err(|_| self.metrics.admitted("invalid", began.elapsed()))?;
        let (result, response) = match self.judge(&mut request, patience).await {
            Verdict::Unchanged => ("unchanged", request.allowed(&[])),
            Verdict::Injected { patch, warnings } => {
                let mut response = request.allowed(&warnings);
                if let Some(fields) = response.as_object_mut() {
                    fields.insert("patchType".into(), json!("JSONPatch"));
                    fields.insert("patch".into(), json!(STANDARD.encode(serde_json::to_vec(&patch)?)));
                }
                ("injected", response)
            }
            Verdict::Refused(refusal) => {
                let message = &refusal.message;
                tracing::info!(namespace = request.namespace, message, "pod refused");
                let result = if refusal.code == 503 { "not_ready" } else { "refused" };
                (result, request.refused(&refusal))
            }
        };
        self.metrics.admitted(result, began.elapsed());
        answered(&response)
    }

    async fn judge(&self, request: &mut AdmissionRequest, patience: Duration) -> Verdict {
        let is_pod = request.kind.group.is_empty() && request.kind.kind == "Pod" && request.sub_resource.is_empty();
        if !is_pod || request.operation != "CREATE" {
            return Verdict::Unchanged;
        }
        // As long as it waits, it holds the pod once and as small as may be.
        let object = request.take_object();
        let mistakes = mistakes::of("Pod", &object);
        let pod: Pod = match serde_json::from_value(object) {
            Ok(pod) => pod,
            Err(error) => {
                return Verdict::Refused(Refusal {
                    code: 400,
                    reason: "BadRequest",
                    message: format!("object: is no Pod: {error}"),
                });
            }
        };
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        // One that is not kept, or has its mounts already, needs nothing newer than what is known.
        let is_made = request.dry_run != Some(true) && !is_complete(&pod);
        let patience = if is_made { patience } else { Duration::ZERO };
        let Some(view) = self.lookup.view(&request.namespace, &labels, patience).await else {
            let message = "bowsprit-operator has not read the ProviderConfigs yet: try again in a few seconds";
            return Verdict::Refused(Refusal::not_now(message.into()));
        };
        match inject(&pod, &self.settings, &view.references, view.revision.as_deref()) {
            Ok(patch) if patch.is_empty() => Verdict::Unchanged,
            Ok(patch) => Verdict::Injected {
                patch,
                warnings: no_provider(&view, &request.namespace)
                    .into_iter()
                    .chain(advice(&pod, &self.settings))
                    .chain(mistakes.iter().map(ToString::to_string))
                    .collect(),
            },
            Err(refusal) => {
                let message = format!("bowsprit cannot inject its sidecar: {refusal}");
                Verdict::Refused(Refusal::invalid(message))
            }
        }
    }
}

/// Shown by kubectl to whoever creates the pod itself.
fn no_provider(view: &View, namespace: &str) -> Option<String> {
    (view.providers == 0).then(|| {
        format!(
            "no ProviderConfig of namespace {namespace} selects this pod: its containers start once one does (kubectl get \
             providerconfigs -n {namespace}); its keys are mounted only into pods created after it"
        )
    })
}
