//! How the admin port answers, and whom it refuses.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;

use crate::process::Process;

/// An answer of JSON.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer to who is not in the pod.
pub(super) fn from_outside(process: &Process, peer: IpAddr) -> Option<Response<Full<Bytes>>> {
    let error = json!({"error": "only from inside the pod (127.0.0.1): kubectl port-forward leads there"});
    (!process.caller(peer).is_in_pod()).then(|| answer(StatusCode::FORBIDDEN, &error))
}

/// `body` as JSON.
pub(super) fn answer(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let text = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
