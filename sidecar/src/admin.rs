//! Health and metrics, for the kubelet, Prometheus and people. Only reads, but for the reset of breakers, the clearing of the
//! cache and the end of the sidecar, which are taken from the pod itself alone, as is the question for what the ledger's outbox holds.

mod answer;
mod cache;
mod ledger;

use std::net::IpAddr;

use bowsprit_core::clock::Moment;
use bowsprit_crds::provider_config::ProviderKind;
use bowsprit_ledger::wire::OUTBOX_PATH;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;

use crate::config::store::ConfigReport;
use crate::config::stream::StreamReport;
use crate::jobs;
use crate::process::Process;
use crate::tenant::budgets::BudgetReport;
use crate::tenant::kept::KeptReport;
use crate::tenant::limits::LimitReport;
use crate::tenant::provider::ProviderReport;
use crate::tenant::refill::filling::RefillReport;
use crate::tenant::service::ServiceReport;
use crate::tenant::snapshot::Upstream;

use answer::{answer, from_outside};

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// `GET /health`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    /// A part that ended while the sidecar serves: the process is about to end with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_part: Option<&'static str>,
    draining: bool,
    in_flight: usize,
    app_connections: usize,
    idle_provider_connections: usize,
    config: ConfigReport,
    /// The stream to the operator: nothing is unwell without it, changes only take longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<StreamReport>,
    /// What is kept for the ledger: nothing is unwell for it, no request waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<ledger::Report>,
    providers: Vec<Provider>,
    /// The services that guards ask.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    guard_services: Vec<ServiceReport>,
    /// Named limits of routes and policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<LimitReport>,
    /// Budgets of policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    budgets: Vec<BudgetReport>,
    /// Requests that are answered later, where there is a folder for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs: Option<jobs::Report>,
    /// By route with `staleIfError`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept_answers: Vec<KeptReport>,
    /// By route with `cache`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache: Vec<KeptReport>,
    /// By route with `cache.semantic`: questions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    semantic: Vec<KeptReport>,
    /// By route with `cache.embeddings`: vectors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    embeddings: Vec<KeptReport>,
    /// By route with `cache.embeddings.next`: how far that is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    next_embeddings: Vec<RefillReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Provider {
    #[serde(flatten)]
    state: ProviderReport,
    kind: ProviderKind,
    priority: u32,
    /// Extra attempts that the pod's budget allows now, by this provider's settings.
    retries_left: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Answers one admin request.
pub async fn handle(process: &Process, request: &Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
    let uri = request.uri();
    match (request.method(), uri.path()) {
        (&Method::GET, "/health/live") => live(process),
        (&Method::GET, "/health/startup") => startup(process),
        (&Method::GET, "/health/ready") => ready(process),
        (&Method::GET, "/health") => answer(StatusCode::OK, &health(process)),
        (&Method::GET, "/metrics") => metrics(process),
        (&Method::GET, OUTBOX_PATH) => ledger::page(process, peer, uri.query()).await,
        (&Method::POST, "/circuits/reset") => reset(process, peer, uri.query()),
        (&Method::POST, "/cache/clear") => cache::clear(process, peer, uri.query()).await,
        (&Method::POST, "/shutdown") => shutdown(process, peer),
        (
            _,
            "/health" | "/health/live" | "/health/ready" | "/health/startup" | "/metrics" | "/circuits/reset"
            | "/cache/clear" | "/shutdown" | OUTBOX_PATH,
        ) => answer(
            StatusCode::METHOD_NOT_ALLOWED,
            &json!({"error": "GET, but POST for /circuits/reset, /cache/clear and /shutdown"}),
        ),
        _ => answer(
            StatusCode::NOT_FOUND,
            &json!({"error": "there are /health, /health/live, /health/ready, /health/startup, /metrics, /ledger, POST /circuits/reset, POST /cache/clear and POST /shutdown"}),
        ),
    }
}

/// That it answers is the answer: a sidecar that is merely busy, or has no provider left, is not better for a restart. One
/// of whose parts has died is.
fn live(process: &Process) -> Response<Full<Bytes>> {
    if let Some(part) = process.dead.name() {
        return dead(part);
    }
    let uptime = process.clock.now().since_start().as_secs();
    answer(StatusCode::OK, &json!({"status": "ok", "uptimeSeconds": uptime}))
}

fn startup(process: &Process) -> Response<Full<Bytes>> {
    if let Some(part) = process.dead.name() {
        return dead(part);
    }
    if process.tenant.snapshot.load().is_none() {
        let detail = process.tenant.config.refused().map(|refused| refused.why);
        return unready("no valid configuration has been loaded yet", detail.as_deref());
    }
    let config = process.tenant.config.report(process.clock.now());
    let components = json!({
        "config": {"revision": config.revision, "sequence": config.sequence},
        "draining": process.drain.is_draining(),
    });
    answer(StatusCode::OK, &json!({"status": "ok", "components": components}))
}

fn ready(process: &Process) -> Response<Full<Bytes>> {
    if process.drain.is_draining() {
        return unready("shutting down", None);
    }
    startup(process)
}

fn dead(part: &str) -> Response<Full<Bytes>> {
    unready("a part of the sidecar has died", Some(part))
}

fn unready(reason: &str, detail: Option<&str>) -> Response<Full<Bytes>> {
    answer(
        StatusCode::SERVICE_UNAVAILABLE,
        &json!({"status": "unready", "reason": reason, "detail": detail}),
    )
}

/// What the pod's retry budget still allows at this provider.
fn retries_left(process: &Process, upstream: &Upstream, now: Moment) -> u64 {
    let settings = &upstream.provider.retry.budget;
    process.tenant.allowances.budget().remaining(settings, now)
}

fn health(process: &Process) -> Health {
    let now = process.clock.now();
    let config = process.tenant.config.report(now);
    let snapshot = process.tenant.snapshot.load();
    let providers: Vec<Provider> = snapshot.as_ref().map_or_else(Vec::new, |snapshot| {
        snapshot
            .upstreams()
            .iter()
            .map(|upstream| Provider {
                state: upstream.state.report(now),
                kind: upstream.provider.kind,
                priority: upstream.provider.priority,
                retries_left: retries_left(process, upstream, now),
                problem: upstream.problem.clone(),
            })
            .collect()
    });
    let services = snapshot.iter().flat_map(|snapshot| &snapshot.services);
    let guard_services: Vec<ServiceReport> = services.map(|service| service.report(now)).collect();
    let all_well = config.last_error.is_none()
        && guard_services.iter().all(ServiceReport::is_well)
        && providers
            .iter()
            .all(|provider| provider.state.status == "ok" && provider.problem.is_none());
    let status = if process.dead.name().is_some() {
        "failed"
    } else if process.drain.is_draining() {
        "draining"
    } else if !config.loaded {
        "unready"
    } else if all_well {
        "ok"
    } else {
        "degraded"
    };
    Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: now.since_start().as_secs(),
        failed_part: process.dead.name(),
        draining: process.drain.is_draining(),
        in_flight: process.drain.in_flight(),
        app_connections: process.drain.connections(),
        idle_provider_connections: process.connections.origins.idle(),
        config,
        stream: process.stream.as_ref().map(|stream| stream.report()),
        ledger: ledger::report(&process.sinks.ledger),
        providers,
        guard_services,
        limits: process.tenant.limits.report(now),
        budgets: process.tenant.budgets.report(),
        jobs: process.jobs.as_ref().map(|jobs| jobs.report()),
        kept_answers: process.tenant.kept.report(),
        cache: process.tenant.cache.answers.report(),
        semantic: process.tenant.cache.questions.report(),
        embeddings: process.tenant.cache.vectors.report(),
        next_embeddings: process.tenant.cache.refills.report(),
    }
}

fn metrics(process: &Process) -> Response<Full<Bytes>> {
    if let Some(snapshot) = process.tenant.snapshot.load().as_ref() {
        let states = snapshot.upstreams().iter().map(|upstream| &*upstream.state);
        process.metrics.providers.observe(states, process.clock.now());
    }
    let limits = process.tenant.limits.report(process.clock.now());
    let waiting = limits.iter().map(|limit| (limit.name.as_str(), limit.waiting));
    process.metrics.limits.wait(waiting);
    process.tenant.budgets.observe();
    if let Some(jobs) = &process.jobs {
        process.metrics.jobs.observe(&jobs.report());
    }
    process.metrics.memory.observe(&process.memory);
    process.metrics.log.observe(&process.sinks.access);
    process.sinks.ledger.observe();
    process
        .metrics
        .connections
        .observe(&process.drain, &process.connections.origins);
    let mut response = Response::new(Full::new(Bytes::from(process.metrics.encode())));
    response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
    response
}

/// Ends the sidecar once what runs has been answered, where the pod completes by it.
fn shutdown(process: &Process, peer: IpAddr) -> Response<Full<Bytes>> {
    if let Some(refusal) = from_outside(process, peer) {
        return refusal;
    }
    if !process.ending.ask() {
        return answer(
            StatusCode::CONFLICT,
            &json!({"error": "this sidecar ends with its pod, nobody waits for it; see BOWSPRIT_END_ON_REQUEST"}),
        );
    }
    tracing::info!("the app asks for the end");
    answer(StatusCode::OK, &json!({"status": "ending"}))
}

/// Closes the breakers of one provider, or of all and of the services that guards ask.
fn reset(process: &Process, peer: IpAddr, query: Option<&str>) -> Response<Full<Bytes>> {
    if let Some(refusal) = from_outside(process, peer) {
        return refusal;
    }
    let wanted = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("provider=")));
    let snapshot = process.tenant.snapshot.load();
    let upstreams = snapshot.as_ref().map_or(&[][..], |snapshot| snapshot.upstreams());
    if let Some(name) = wanted
        && !upstreams.iter().any(|upstream| upstream.provider.name == name)
    {
        let known: Vec<&str> = upstreams
            .iter()
            .map(|upstream| upstream.provider.name.as_str())
            .collect();
        return answer(
            StatusCode::NOT_FOUND,
            &json!({"error": "no such provider", "providers": known}),
        );
    }
    let chosen = upstreams
        .iter()
        .filter(|upstream| wanted.is_none_or(|name| upstream.provider.name == name));
    let now = process.clock.now();
    let of_providers: usize = chosen.map(|upstream| upstream.state.reset_breakers(now)).sum();
    let services = snapshot.iter().flat_map(|snapshot| &snapshot.services);
    let of_guards = services
        .filter(|service| wanted.is_none() && service.reset(now))
        .count();
    let closed = of_providers + of_guards;
    tracing::info!(provider = wanted.unwrap_or("all"), closed, "breakers reset by hand");
    answer(StatusCode::OK, &json!({"closed": closed}))
}
