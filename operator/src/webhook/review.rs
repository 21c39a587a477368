//! One `AdmissionReview` in, one out. It reads memory only: no call to the apiserver can slow a pod's creation down, and
//! `dryRun` needs no care.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::admission::{AdmissionRequest, NotAReview, Refusal, answered};
use crate::injector::{References, Settings, advice, inject};
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

/// Namespace and labels in, view out; `None` while the objects are not all here yet.
pub type Lookup = Arc<dyn Fn(&str, &BTreeMap<String, String>) -> Option<View> + Send + Sync>;

/// Answers reviews.
pub struct Reviewer {
    settings: Settings,
    lookup: Lookup,
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
    /// `lookup` reads the reflector stores.
    pub fn new(settings: Settings, lookup: Lookup, metrics: Metrics) -> Self {
        Self {
            settings,
            lookup,
            metrics,
        }
    }

    /// The answer to `body`, as JSON.
    pub fn review(&self, body: &[u8], began: Instant) -> Result<Vec<u8>, NotAReview> {
        let request = AdmissionRequest::read(body);
        let request = request.inspect_err(|_| self.metrics.admitted("invalid", began.elapsed()))?;
        let (result, response) = match self.judge(&request) {
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

    fn judge(&self, request: &AdmissionRequest) -> Verdict {
        let is_pod = request.kind.group.is_empty() && request.kind.kind == "Pod" && request.sub_resource.is_empty();
        if !is_pod || request.operation != "CREATE" {
            return Verdict::Unchanged;
        }
        let pod: Pod = match serde_json::from_value(request.object.clone()) {
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
        let Some(view) = (self.lookup)(&request.namespace, &labels) else {
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
                    .chain(mistakes::of("Pod", &request.object).iter().map(ToString::to_string))
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
