//! Our errors as `Gemini` says them.

use bytes::Bytes;

use super::super::error::ErrorView;
use super::rules::RULES;
use crate::json::{Map, Value, json};

/// `ErrorInfo.reason` holds our code too: it is where programs of Google's APIs look for a service's own.
pub(super) fn body(error: &ErrorView<'_>) -> Value {
    let mut metadata = Map::new();
    metadata.insert("requestId".into(), error.request_id.into());
    if let Some(param) = error.param {
        metadata.insert("field".into(), param.into());
    }
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.code.as_str(),
        "domain": "bowsprit.dev",
        "metadata": metadata,
    })];
    if let Some(delay) = error.retry_after {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", delay.as_secs_f64()),
        }));
    }
    json!({ "error": {
        "code": error.status_in(&RULES),
        "message": error.message_for(&RULES),
        "status": RULES.vocabulary.words(error.code).kind,
        "bowsprit_code": error.code.as_str(),
        "details": details,
    }})
}

pub(super) fn event(error: &ErrorView<'_>, _: u64) -> Bytes {
    Bytes::from(format!("data: {}\n\n", body(error)))
}
