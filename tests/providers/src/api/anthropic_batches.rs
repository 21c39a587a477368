//! Anthropic's batches of messages: made, looked at, and their results, a line each. They end at once, and every request succeeds.

use serde_json::{Value, json};

use super::{Api, Operation, Route, anthropic};
use crate::call::Call;
use crate::dates::rfc3339;
use crate::ids::Ids;
use crate::script::Answer;

/// Where Anthropic says that results are, whoever asks.
const RESULTS: &str = "https://api.anthropic.com/v1/messages/batches";
/// A batch expires after a day, seconds.
const DAY: u64 = 86_400;

/// The route of a path below `messages/batches`.
pub(crate) fn route(method: &str, path: &str) -> Option<Route> {
    if method == "POST" && path.ends_with("/messages/batches") {
        return Some(Route::new(Api::Anthropic, Operation::BatchCreate));
    }
    let (_, below) = path.rsplit_once("/messages/batches/")?;
    let route = |operation, id| Some(Route::new(Api::Anthropic, operation).with_model(id));
    match (method, below.split_once('/')) {
        ("GET", None) => route(Operation::Batch, below),
        ("GET", Some((id, "results"))) => route(Operation::BatchResults, id),
        _ => None,
    }
}

/// The requests that a batch is made of.
pub(crate) fn requests(call: &Call) -> Vec<Value> {
    let requests = call.body.get("requests").and_then(Value::as_array);
    requests.cloned().unwrap_or_default()
}

/// A batch with so many requests: one that has just been made, or one that has ended.
pub(crate) fn batch(id: &str, requests: usize, created: u64, has_ended: bool) -> Value {
    let (processing, succeeded) = if has_ended { (0, requests) } else { (requests, 0) };
    json!({
        "id": id,
        "type": "message_batch",
        "processing_status": if has_ended { "ended" } else { "in_progress" },
        "request_counts": {"processing": processing, "succeeded": succeeded, "errored": 0, "canceled": 0, "expired": 0},
        "ended_at": has_ended.then(|| rfc3339(created + 1)),
        "created_at": rfc3339(created),
        "expires_at": rfc3339(created + DAY),
        "archived_at": null,
        "cancel_initiated_at": null,
        "results_url": has_ended.then(|| format!("{RESULTS}/{id}/results")),
    })
}

/// The results of these requests. The same requests have the same results, however often they are fetched.
pub(crate) fn results(requests: &[Value], answer: &Answer, ids: &mut Ids) -> String {
    let line = |request: &Value| {
        let params = request.get("params").unwrap_or(&Value::Null).to_string();
        let call = Call::read(Route::new(Api::Anthropic, Operation::Chat), params.as_bytes());
        let mut message = anthropic::message(&call, answer, ids);
        if let Some(tier) = message.pointer_mut("/usage/service_tier") {
            *tier = "batch".into();
        }
        let line = json!({"custom_id": request.get("custom_id"), "result": {"type": "succeeded", "message": message}});
        line.to_string() + "\n"
    };
    requests.iter().map(line).collect()
}
