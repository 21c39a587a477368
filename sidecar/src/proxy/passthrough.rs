//! `/providers/{name}/…`: everything else that a provider's API has, as it is.
//!
//! Batches, files, images, audio: the app speaks the provider's own API, and the sidecar adds the key, keeps to the
//! limits, counts, and otherwise keeps out of it. Bodies flow both ways unread and unheld. Nothing is translated, nothing
//! goes to another provider, and nothing is tried again: a body that has begun to flow is gone. The one exception is a
//! kept connection that turns out to be dead before a byte was written to it, or before the answer to a request without a
//! body that may be repeated. What is a conversation, an embedding or a count is not here where policies look into bodies ([`pin`]).
//!
//! It is served as every request is ([`serve`]), with a plan of one candidate that has no model. These endpoints have a
//! circuit of their own (`PASS_THROUGH`), since a files API that fails says nothing about the models, and no answer of
//! theirs sets a key aside, since a key that may not list an organization's users is a good key.

use std::sync::Arc;

use bowsprit_core::call::{Call, Operation};
use bowsprit_core::fault::Code;
use bowsprit_core::plan::{self, Plan};
use bowsprit_core::record::Refuser;
use bytes::Bytes;
use http::header::{HOST, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use hyper::body::{Body as _, Incoming};

use super::access::{self, Access, RequestHeaders};
use super::batch;
use super::batched::{Arriving, Rules};
use super::body::Body;
use super::budgets;
use super::context::RequestContext;
use super::guard;
use super::inbound::Inbound;
use super::limits;
use super::pause;
use super::pin;
use super::refuse::{self, Refusal, clip};
use super::route::{is_websocket, realtime};
use super::{path, serve};
use crate::process::Process;
use crate::tenant::snapshot::{Snapshot, Upstream};

/// Where Google's resumable uploads go on.
const X_GOOG_UPLOAD_URL: HeaderName = HeaderName::from_static("x-goog-upload-url");

/// Answers one request for the endpoint `rest` of the provider `name`.
pub(super) async fn answer(
    process: Arc<Process>,
    snapshot: Arc<Snapshot>,
    mut context: Box<RequestContext>,
    name: &str,
    rest: &str,
    mut parts: Parts,
    body: Incoming,
) -> Response<Body> {
    if snapshot.has_budgets
        && let Err(refusal) = budgets::look(&mut context, &parts.method, rest).await
    {
        return refuse::answer(context, &refusal);
    }
    let upstream = match admit(&process, &snapshot, name, &parts.headers, &body) {
        Ok(upstream) => upstream,
        Err(refusal) => return refuse::answer(context, &refusal),
    };
    if snapshot.pins {
        // What is judged here by its method, and passed by for it, is that.
        for name in &pin::OTHER_METHODS {
            parts.headers.remove(name);
        }
    }
    if upstream.is_paused
        && let Err(refusal) = pause::provider(&snapshot, &mut context, name)
    {
        return refuse::answer(context, &refusal);
    }
    let mut inbound = Inbound {
        call: Call::new(upstream.provider.dialect, Operation::PassThrough),
        method: parts.method,
        path_below: rest.to_owned(),
        query: path::query(parts.uri.query(), snapshot.pins.then_some(pin::OTHER_METHOD)),
        keys_in_query: None,
        headers: parts.headers,
        body: Bytes::new(),
        parts: None,
    };
    let rules = match allowed(&process, &snapshot, &mut context, &inbound, &upstream.provider.name) {
        Ok(rules) => rules,
        Err(refusal) => return refuse::answer(context, &refusal),
    };
    batch::ask_for_all(upstream.provider.dialect, &mut inbound);
    if snapshot.has_guards
        && let Err(refusal) = guard::unread(&process, &snapshot, &mut context, body.is_end_stream())
    {
        return refuse::answer(context, &refusal);
    }
    if snapshot.has_limits
        && let Err(refusal) = limits::acquire(
            &process,
            &snapshot,
            &mut context,
            (&inbound, limits::Patience::AsTheySay),
        )
        .await
    {
        return refuse::answer(context, &refusal);
    }
    let arriving = Box::new(Arriving { body, rules });
    let mut plan = Plan {
        route: None,
        candidates: vec![plan::Candidate {
            provider: Arc::clone(&upstream.provider),
            model: Arc::default(),
            reason: plan::Reason::PassThrough,
        }],
        skipped: Vec::new(),
    };
    serve::planned(&process, &snapshot, context, (&inbound, Some(arriving)), &mut plan).await
}

/// Whether the access rules allow it, and to ask this provider. Returns the rules that look into its body, where it may bring a batch.
fn allowed(
    process: &Arc<Process>,
    snapshot: &Arc<Snapshot>,
    context: &mut RequestContext,
    inbound: &Inbound,
    provider: &str,
) -> Result<Option<Box<Rules>>, Refusal> {
    let Some(ground) = access::check(process, snapshot, context, inbound)? else {
        return Ok(None);
    };
    let headers = RequestHeaders(&inbound.headers);
    let access = Access::new(
        &ground,
        snapshot,
        context,
        &process.sinks.decisions,
        (inbound, &headers),
    );
    let forbidden = access.forbids(provider, "").and_then(|_| access.denied_by_all());
    let would_deny = access.would_deny_all();
    drop(access);
    if let Some(rule) = would_deny {
        context.would_be_turned_away_by(Refuser::Access, &rule);
    }
    if let Some(denied) = forbidden {
        return Err(denied.refuse(context));
    }
    Rules::of(process, snapshot, context, inbound, (ground, provider))
}

/// The provider, if it is there and allows this.
fn admit<'a>(
    process: &Process,
    snapshot: &'a Snapshot,
    name: &str,
    headers: &HeaderMap,
    body: &Incoming,
) -> Result<&'a Arc<Upstream>, Refusal> {
    let mut upstreams = snapshot.upstreams().iter();
    let upstream = upstreams.find(|upstream| upstream.provider.name == name);
    let upstream = upstream.ok_or_else(|| unknown(snapshot, name))?;
    if !upstream.provider.pass_through {
        let text = format!("the ProviderConfig {name} does not allow this (spec.passThrough is false)");
        return Err(Refusal::new(Code::ResPathNotFound, text));
    }
    if is_websocket(headers) {
        return Err(realtime());
    }
    let limit = process.limits.max_upload as u64;
    if body.size_hint().lower() > limit {
        return Err(too_large(limit));
    }
    Ok(upstream)
}

fn unknown(snapshot: &Snapshot, name: &str) -> Refusal {
    let known: Vec<&str> = snapshot
        .upstreams()
        .iter()
        .map(|upstream| upstream.provider.name.as_str())
        .collect();
    let text = if known.is_empty() {
        format!("there is no provider {:?}: none is configured for this pod", clip(name))
    } else {
        format!("there is no provider {:?}; there are {}", clip(name), known.join(", "))
    };
    Refusal::new(Code::ResProviderNotFound, text)
}

/// The body is larger than `--max-upload`, bytes.
pub(super) fn too_large(limit: u64) -> Refusal {
    Refusal::new(
        Code::ValTooLarge,
        format!("the body is larger than the limit of {limit} bytes (--max-upload)"),
    )
}

/// This sidecar's address of the provider, as the caller wrote it.
fn own_address(headers: &HeaderMap, name: &str) -> String {
    match headers.get(HOST).and_then(|host| host.to_str().ok()) {
        Some(host) => format!("http://{host}/providers/{name}"),
        None => format!("/providers/{name}"),
    }
}

/// A redirect is the caller's to follow, without our key: where it leads back to the provider, through here. `caller`: the
/// headers of the request.
pub(super) fn rewrite_location(headers: &mut HeaderMap, upstream: &Upstream, caller: &HeaderMap) {
    if !headers.contains_key(LOCATION) && !headers.contains_key(&X_GOOG_UPLOAD_URL) {
        return;
    }
    let url = &upstream.provider.base_url;
    let scheme = if url.is_https() { "https" } else { "http" };
    let origin = format!("{scheme}://{}", url.authority());
    let own = own_address(caller, &upstream.provider.name);
    for name in [LOCATION, X_GOOG_UPLOAD_URL] {
        let location = headers
            .get(&name)
            .and_then(|value| path::as_the_app_reaches_it(value.to_str().ok()?, &origin, url.path(), &own));
        if let Some(location) = location.and_then(|location| HeaderValue::try_from(location).ok()) {
            headers.insert(name, location);
        }
    }
}
