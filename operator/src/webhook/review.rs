//! One `AdmissionReview` in, one out. It reads memory only: no call to the apiserver can slow a pod's creation down, and
//! `dryRun` needs no care.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::injector::{References, Settings, inject};
use crate::metrics::Metrics;

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

/// A body that is no review.
#[derive(Debug, thiserror::Error)]
#[error("not an AdmissionReview of admission.k8s.io/v1")]
pub struct NotAReview(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Review {
    request: AdmissionRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionRequest {
    uid: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    operation: String,
    kind: Kind,
    #[serde(default)]
    sub_resource: String,
    #[serde(default)]
    object: Value,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    kind: String,
}

/// What is answered.
enum Verdict {
    Unchanged,
    Injected {
        patch: json_patch::Patch,
        warning: Option<String>,
    },
    Refused {
        code: u16,
        reason: &'static str,
        message: String,
    },
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
        let parsed = serde_json::from_slice::<Review>(body);
        let Review { request } = parsed.inspect_err(|_| self.metrics.admitted("invalid", began.elapsed()))?;
        let verdict = self.judge(&request);
        let (result, response) = match verdict {
            Verdict::Unchanged => ("unchanged", json!({"uid": request.uid, "allowed": true})),
            Verdict::Injected { patch, warning } => {
                let mut response = json!({
                    "uid": request.uid,
                    "allowed": true,
                    "patchType": "JSONPatch",
                    "patch": STANDARD.encode(serde_json::to_vec(&patch)?),
                });
                if let (Some(fields), Some(warning)) = (response.as_object_mut(), warning) {
                    fields.insert("warnings".into(), json!([warning]));
                }
                ("injected", response)
            }
            Verdict::Refused { code, reason, message } => {
                tracing::info!(namespace = request.namespace, message, "pod refused");
                let status = json!({"code": code, "reason": reason, "message": message});
                let result = if code == 503 { "not_ready" } else { "refused" };
                (result, json!({"uid": request.uid, "allowed": false, "status": status}))
            }
        };
        self.metrics.admitted(result, began.elapsed());
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        Ok(serde_json::to_vec(&review)?)
    }

    fn judge(&self, request: &AdmissionRequest) -> Verdict {
        let is_pod = request.kind.group.is_empty() && request.kind.kind == "Pod" && request.sub_resource.is_empty();
        if !is_pod || request.operation != "CREATE" {
            return Verdict::Unchanged;
        }
        let pod: Pod = match serde_json::from_value(request.object.clone()) {
            Ok(pod) => pod,
            Err(error) => {
                let message = format!("object: is no Pod: {error}");
                return Verdict::Refused {
                    code: 400,
                    reason: "BadRequest",
                    message,
                };
            }
        };
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let Some(view) = (self.lookup)(&request.namespace, &labels) else {
            let message = "bowsprit-operator has not read the ProviderConfigs yet: try again in a few seconds";
            return Verdict::Refused {
                code: 503,
                reason: "ServiceUnavailable",
                message: message.into(),
            };
        };
        match inject(&pod, &self.settings, &view.references, view.revision.as_deref()) {
            Ok(patch) if patch.is_empty() => Verdict::Unchanged,
            Ok(patch) => Verdict::Injected {
                patch,
                warning: warning(&view, &request.namespace),
            },
            Err(refusal) => Verdict::Refused {
                code: 422,
                reason: "Invalid",
                message: format!("bowsprit cannot inject its sidecar: {refusal}"),
            },
        }
    }
}

/// Shown by kubectl to whoever creates the pod itself.
fn warning(view: &View, namespace: &str) -> Option<String> {
    (view.providers == 0).then(|| {
        format!(
            "no ProviderConfig of namespace {namespace} selects this pod: its containers start once one does (kubectl get \
             providerconfigs -n {namespace}); its keys are mounted only into pods created after it"
        )
    })
}
