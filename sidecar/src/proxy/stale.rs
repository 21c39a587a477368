//! Giving a kept answer again when every candidate is down (`staleIfError` of a ModelRoute), marked as what it is.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::fault::Code;
use bowsprit_core::kept::outage::{Stands, is_outage};
use http::{HeaderValue, Response, StatusCode};

use super::again;
use super::body::Body;
use super::context::RequestContext;
use super::inbound::Inbound;
use super::keep;
use super::own_headers;
use crate::tenant::kept::Answer;

/// A kept answer, to be given.
#[derive(Debug)]
pub(super) struct Stale {
    answer: Arc<Answer>,
    age: Duration,
}

/// The kept answer to this request, if its route keeps answers and everybody is down. `candidates`: how it stands with each.
pub(super) fn instead(
    context: &RequestContext,
    inbound: &Inbound,
    candidates: impl Iterator<Item = Stands>,
) -> Option<Stale> {
    let route = context.route.as_ref()?;
    route.stale_if_error?;
    if !is_outage(candidates) {
        return None;
    }
    let key = keep::key(context, inbound, route);
    let found = key.and_then(|key| context.tenant().kept.get(&route.name, &key, context.now()));
    if found.is_none() {
        context.process().sinks.stale.missed(&route.name);
    }
    found.map(|(answer, age)| Stale { answer, age })
}

/// Gives it. `code`: what the request ended with, which its record keeps: that somebody was down is not undone by it.
pub(super) fn respond(mut context: Box<RequestContext>, stale: Stale, code: Code) -> Response<Body> {
    let Stale { answer, age } = stale;
    let seconds = age.as_secs();
    // It was never fresh: kept answers are for outages alone.
    let mut response = again::response(
        &context,
        &answer,
        age,
        &format!("bowsprit; hit; ttl=-{seconds}; detail=STALE_IF_ERROR"),
    );
    if let Ok(of) = HeaderValue::from_str(&answer.request_id) {
        response.headers_mut().insert(own_headers::STALE, of);
    }
    tracing::info!(
        request_id = context.id().as_str(),
        code = code.as_str(),
        age_s = seconds,
        stale_of = answer.request_id,
        "answered from what was kept: every candidate is down"
    );
    context.head_sent(StatusCode::OK);
    let bytes = answer.body.len() as u64;
    context.answered_stale(answer, age, code, bytes);
    response
}
