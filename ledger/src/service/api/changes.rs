//! What was applied, as the operators tell it: each change once, whoever of them tells it and how often.

use bowsprit_core::changes::{Change, Changes, MAX_CHANGES};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::json;

use super::{Answered, Api, BODY_TIMEOUT, authorization, failed, json_of, refused_at_the_door, said, with_retry_after};
use crate::service::now;
use crate::store::text::kept;
use crate::store::{Row, Value};

/// The largest message, bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// Takes a message of an operator.
pub(super) async fn take<B>(api: &Api, request: Request<B>) -> Answered
where
    B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
{
    let sender = match api.door.sender(authorization(&request), now()).await {
        Ok(sender) => sender,
        Err(refusal) => return refused_at_the_door(refusal),
    };
    let who = format!("{}/{}", sender.namespace, sender.service_account);
    if who != api.operator {
        return said(
            StatusCode::FORBIDDEN,
            "only the operators tell what was applied: --operator says which service account they have",
        );
    }
    let Ok(_turn) = api.bodies.try_acquire() else {
        return with_retry_after(said(StatusCode::SERVICE_UNAVAILABLE, "too many at once; send it again"));
    };
    let body = Limited::new(request.into_body(), MAX_MESSAGE).collect();
    let Ok(Ok(body)) = tokio::time::timeout(BODY_TIMEOUT, body).await else {
        return said(
            StatusCode::BAD_REQUEST,
            "the body did not arrive, or has more than 1 MiB",
        );
    };
    let changes = match serde_json::from_slice::<Changes>(&body.to_bytes()) {
        Ok(changes) if changes.changes.len() <= MAX_CHANGES => changes.changes,
        Ok(_) => return said(StatusCode::BAD_REQUEST, "changes: at most 1000"),
        Err(error) => return said(StatusCode::BAD_REQUEST, &format!("these are no changes: {error}")),
    };
    if let Some(at) = changes.iter().position(|change| !is_one(change)) {
        let rule = format!("changes[{at}]: an id, a kind (ProviderConfig, ModelRoute) and created, updated or deleted");
        return said(StatusCode::BAD_REQUEST, &rule);
    }
    for change in &changes {
        if let Err(error) = api.store.note_config(row(change)).await {
            return failed(&error);
        }
    }
    json_of(StatusCode::OK, &json!({"taken": changes.len()}))
}

fn is_one(change: &Change) -> bool {
    !change.id.is_empty()
        && matches!(change.kind.as_str(), "ProviderConfig" | "ModelRoute")
        && matches!(change.what.as_str(), "created" | "updated" | "deleted")
}

/// As the table has it.
fn row(change: &Change) -> Row {
    let text = |told: &str| Value::Text(kept(told));
    vec![
        Value::Int(change.at),
        text(&change.namespace),
        text(&change.kind),
        text(&change.name),
        text(&change.what),
        text(&change.who),
        text(&change.revision),
        text(&change.id),
    ]
}
