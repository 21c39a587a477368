//! The life of one request, as straight-line code.
//!
//! [`route`] finds what is asked, [`admit`] takes the body and the facts, `core::plan` orders the candidates,
//! [`serve`] does what `core::flow` decides (places, retries, switches), [`attempt`] makes one exchange with one provider,
//! [`respond`] says what the caller hears, [`relay`] relays what comes, and the [`context`] records how it ended: exactly
//! once, whatever happens.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bowsprit_core::fault::Code;
use bowsprit_core::record::Refuser;
use bowsprit_core::{letters, plan};
use futures::FutureExt as _;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::limits::TARGET_BYTES;
use crate::net::server::Ambiguous;
use crate::process::Process;

mod access;
mod admit;
mod again;
mod ask;
mod attempt;
mod batch;
mod batched;
mod beside;
mod body;
mod budgets;
mod cache;
mod cached;
mod candidate;
mod collect;
pub mod context;
mod deadlines;
mod embeddings;
mod estimate;
pub(crate) mod exchange;
mod failure;
mod gather;
mod ground;
mod guard;
mod guarded;
pub(crate) mod headers;
mod inbound;
pub mod jobs;
mod keep;
mod limits;
pub mod models;
mod ours;
mod own_headers;
mod passthrough;
mod path;
mod pause;
mod pin;
mod pinned;
mod prepare;
pub mod refill;
pub mod refuse;
pub mod relay;
pub mod request_id;
mod respond;
mod route;
mod runaway;
pub mod semantic;
mod serve;
mod sieved;
mod stale;
mod stopwatch;
mod verdict;
pub mod warm;
mod webhook;
pub mod windows;

pub use body::Body;
use context::RequestContext;
use refuse::Refusal;
use request_id::TraceId;

/// Answers one request of the app.
pub async fn handle(process: Arc<Process>, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if jobs::is_here(parts.uri.path()) {
        // Boxed: it is rare, and every open connection would hold room for it.
        return Box::pin(jobs::answer(&process, peer, parts, body)).await;
    }
    let id = request_id::RequestId::from_headers(&parts.headers);
    let caller = process.caller(peer);
    let tenant = Arc::clone(process.tenant_of(&caller));
    let (mut dialect, mut found) = route::find(&parts);
    let mut pinned = None;
    if let Ok(route::Route::PassThrough { .. }) = &found {
        pinned = pin::settle(&tenant, &parts, &mut dialect, &mut found);
    }
    let mut context = RequestContext::begin(
        &process,
        tenant,
        caller,
        id.clone(),
        dialect,
        found.as_ref().map_or("unknown", |route| route.label()),
    );
    context.pinned = pinned;
    context.span = process.sinks.spans.begin(&parts.headers);
    let trace = match context.span {
        Some(span) => Some(span.trace.into()),
        None => TraceId::from_headers(&parts.headers),
    };
    let trace = trace.map(Arc::new);
    context.trace.clone_from(&trace);
    let work = async move {
        // Each for itself: in one match, both would be held until the request has been answered.
        if let Some(refusal) = unfit(&parts) {
            return refuse::answer(context, &refusal);
        }
        match found {
            Ok(route) => answer(process, context, route, parts, body).await,
            Err(error) => refuse::answer(context, &error.refusal(&parts)),
        }
    };
    // Pinned in place: wrapped by value, its several KiB would be held and copied twice.
    let work = std::pin::pin!(work);
    // A panic is a bug of ours in one request: it costs that request and nothing else. The context closes the request while
    // the stack unwinds.
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(response) => response,
        Err(_panic) => {
            let trace_id = trace.as_deref().map(TraceId::as_str);
            tracing::error!(request_id = id.as_str(), trace_id, "a request panicked");
            refuse::bare(
                dialect,
                &id,
                &Refusal::new(Code::SysInternal, "the sidecar failed on this request"),
            )
        }
    }
}

/// What makes a request unfit to be served whatever it asks for.
fn unfit(parts: &http::request::Parts) -> Option<Refusal> {
    if parts.method == Method::CONNECT {
        let text = "CONNECT is not served: this is no way to other hosts";
        return Some(Refusal::new(Code::ValMethod, text).allow("GET, POST").and_close());
    }
    if parts.extensions.get::<Ambiguous>().is_some() {
        let text = "the request says in two ways where it ends (Content-Length and Transfer-Encoding), or is chunked \
                    and was sent before the answer to the one before it had ended";
        return Some(Refusal::new(Code::ValHttp, text).and_close());
    }
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_BYTES {
        let mut refusal = Refusal::new(Code::ValHttp, format!("the URL is longer than {TARGET_BYTES} bytes"));
        refusal.status = Some(StatusCode::URI_TOO_LONG.as_u16());
        return Some(refusal);
    }
    None
}

/// A request with a route: admitted, served, answered.
async fn answer(
    process: Arc<Process>,
    mut context: Box<RequestContext>,
    route: route::Route,
    parts: http::request::Parts,
    body: Incoming,
) -> Response<Body> {
    let Some(snapshot) = context.tenant().snapshot.load_full() else {
        return refuse::answer(
            context,
            &Refusal::new(Code::SysNotReady, "no valid configuration has been loaded yet"),
        );
    };
    if let route::Route::Models { .. } = route {
        return models::answer(context, &snapshot, &route);
    }
    if let Some((policy, refusal)) = pause::check(&snapshot) {
        context.turned_away_by(Refuser::Pause, &policy.name);
        return refuse::answer(context, &refusal);
    }
    if process.drain.in_flight() > process.limits.max_in_flight {
        let text = format!("{} requests are in flight already", process.limits.max_in_flight);
        return refuse::answer(context, &Refusal::new(Code::SysOverloaded, text).retry_after_seconds(1));
    }
    if let route::Route::PassThrough { provider, rest, .. } = &route {
        // Boxed: it is large and rare, and every open connection would hold room for it.
        return Box::pin(passthrough::answer(
            process, snapshot, context, provider, rest, parts, body,
        ))
        .await;
    }
    let mut admitted = tokio::select! {
        biased;
        admitted = admit::admit(&process, &mut context, &route, (parts, body), snapshot.keeps_answers) => admitted,
        () = process.drain.was_cut() => Err(Refusal::draining()),
    };
    // Looked at where it is: moved out, the request would be held twice.
    let inbound = match &mut admitted {
        Ok(inbound) => inbound,
        Err(refusal) => return refuse::answer(context, refusal),
    };
    if snapshot.looks_at_bodies
        && inbound.call.has_other_letters
        && let Err(wrong) = letters::check(&inbound.body)
    {
        return refuse::answer(context, &wrong.into());
    }
    if snapshot.has_runaway
        && let Err(refusal) = runaway::check(&snapshot, &mut context, inbound)
    {
        return refuse::answer(context, &refusal);
    }
    // Found once for all that is decided before there is a plan; where nothing is, nobody looks.
    if snapshot.looks_at_routes && context.pinned.is_none() {
        context.route = plan::route_for(&snapshot.config, &inbound.call.model).cloned();
    }
    if snapshot.pauses_routes
        && let Err(refusal) = pause::route(&snapshot, &mut context)
    {
        return refuse::answer(context, &refusal);
    }
    if snapshot.has_next {
        embeddings::lead_to_next(&mut context, inbound);
    }
    // Before all that goes by the route: a budget may lead to another. Boxed: few requests are under budgets.
    if snapshot.has_budgets
        && let Err(refusal) = Box::pin(budgets::acquire(&snapshot, &mut context, inbound)).await
    {
        return refuse::answer(context, &refusal);
    }
    if context.is_led
        && let Err(refusal) = pause::route(&snapshot, &mut context)
    {
        return refuse::answer(context, &refusal);
    }
    match access::check(&process, &snapshot, &mut context, inbound) {
        Ok(ground) => context.access = ground,
        Err(refusal) => return refuse::answer(context, &refusal),
    }
    if snapshot.has_guards
        && let Err(refusal) = guard::look(&process, &snapshot, &mut context, inbound)
    {
        return refuse::answer(context, &refusal);
    }
    // Boxed: few requests wait for a service.
    if !snapshot.services.is_empty()
        && let Err(refusal) = Box::pin(webhook::look(&snapshot, &mut context, inbound)).await
    {
        return refuse::answer(context, &refusal);
    }
    // Boxed: few requests are under limits, and all would hold room for it.
    if snapshot.has_limits
        && let Err(refusal) = Box::pin(limits::acquire(
            &process,
            &snapshot,
            &mut context,
            (inbound, limits::Patience::AsTheySay),
        ))
        .await
    {
        return refuse::answer(context, &refusal);
    }
    // A kept answer may be one of a candidate that a rule forbids for this request.
    let may_be_kept = !context.access.as_ref().is_some_and(|access| access.is_about_candidates);
    if snapshot.has_caches && may_be_kept {
        // Boxed: every request would hold room for it.
        return Box::pin(cache::serve(&process, &snapshot, context, inbound)).await;
    }
    serve::serve(&process, &snapshot, context, inbound).await
}
