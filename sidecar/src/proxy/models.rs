//! `GET /v1/models`, from the configuration: no provider is asked.

use bowsprit_core::fault::Code;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

use super::body::Body;
use super::context::RequestContext;
use super::refuse::{self, Refusal, clip};
use super::request_id::X_REQUEST_ID;
use super::route::Route;
use crate::tenant::snapshot::Snapshot;

/// Answers from the lists.
pub fn answer(context: Box<RequestContext>, snapshot: &Snapshot, route: &Route) -> Response<Body> {
    let dialect = context.dialect();
    let body = match route {
        Route::Models { one: Some(wanted), .. } => {
            let Some(body) = snapshot.listings.one(dialect, wanted) else {
                let text = format!("no provider serves the model {:?}", clip(wanted));
                return refuse::answer(context, &Refusal::new(Code::ResModelNotFound, text));
            };
            body
        }
        _ => snapshot.listings.all(dialect),
    };
    let bytes = body.len() as u64;
    let mut response = Response::new(Body::Whole(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(X_REQUEST_ID, context.id().header());
    context.answered_here(StatusCode::OK, bytes);
    response
}
