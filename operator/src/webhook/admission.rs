//! The envelope of an `AdmissionReview` of `admission.k8s.io/v1`: what is asked, and how an answer is put.

use k8s_openapi::api::authentication::v1::UserInfo;
use serde::Deserialize;
use serde_json::{Value, json};

/// A body that is no review.
#[derive(Debug, thiserror::Error)]
#[error("not an AdmissionReview of admission.k8s.io/v1")]
pub struct NotAReview(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Review {
    request: AdmissionRequest,
}

/// What is asked about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AdmissionRequest {
    pub uid: String,
    #[serde(default)]
    pub namespace: String,
    /// Empty where the apiserver will generate it.
    #[serde(default)]
    pub name: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(default)]
    pub operation: String,
    pub kind: Kind,
    #[serde(default)]
    pub sub_resource: String,
    /// Nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// Who asks.
    #[serde(default)]
    pub user_info: UserInfo,
    /// As it is to be; null where it goes.
    #[serde(default)]
    pub object: Value,
    /// As it was; null where it is made.
    #[serde(default)]
    pub old_object: Value,
}

#[derive(Deserialize)]
pub(super) struct Kind {
    #[serde(default)]
    pub group: String,
    pub kind: String,
}

/// Why something is not let through.
pub(super) struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// Kubernetes' word for the status.
    pub reason: &'static str,
    /// For people: path, problem, remedy.
    pub message: String,
}

impl Refusal {
    /// The object is wrong.
    pub(super) fn invalid(message: String) -> Self {
        Self {
            code: 422,
            reason: "Invalid",
            message,
        }
    }

    /// It cannot be judged now.
    pub(super) fn not_now(message: String) -> Self {
        Self {
            code: 503,
            reason: "ServiceUnavailable",
            message,
        }
    }
}

impl AdmissionRequest {
    /// The request in a review.
    pub(super) fn read(body: &[u8]) -> Result<Self, NotAReview> {
        Ok(serde_json::from_slice::<Review>(body)?.request)
    }

    /// The object as it is to be. As it was is of no interest any more either.
    pub(super) fn take_object(&mut self) -> Value {
        self.old_object = Value::Null;
        self.object.take()
    }

    /// The answer that lets it through.
    pub(super) fn allowed(&self, warnings: &[String]) -> Value {
        let mut response = json!({"uid": self.uid, "allowed": true});
        if let (Some(fields), false) = (response.as_object_mut(), warnings.is_empty()) {
            fields.insert("warnings".into(), json!(warnings));
        }
        response
    }

    /// The answer that does not.
    pub(super) fn refused(&self, refusal: &Refusal) -> Value {
        let Refusal { code, reason, message } = refusal;
        let status = json!({"code": code, "reason": reason, "message": message});
        json!({"uid": self.uid, "allowed": false, "status": status})
    }
}

/// The review that answers, as JSON.
pub(super) fn answered(response: &Value) -> Result<Vec<u8>, NotAReview> {
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Ok(serde_json::to_vec(&review)?)
}
