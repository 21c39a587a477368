//! Health and metrics, for the kubelet, Prometheus and people. Only reads, but for the reset of breakers, which is
//! taken from the pod itself alone.

use std::net::IpAddr;
use std::sync::Arc;

use bowsprit_core::clock::Moment;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::reload::ConfigReport;
use crate::tenant::provider::ProviderReport;
use crate::tenant::snapshot::Upstream;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// `GET /health`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    draining: bool,
    in_flight: usize,
    app_connections: usize,
    idle_provider_connections: usize,
    config: ConfigReport,
    providers: Vec<Provider>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Provider {
    #[serde(flatten)]
    state: ProviderReport,
    kind: String,
    priority: u32,
    /// Extra attempts that the pod's budget allows now, by this provider's settings.
    retries_left: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Answers one admin request.
pub fn handle(app: &Arc<App>, request: &Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
    let uri = request.uri();
    match (request.method(), uri.path()) {
        (&Method::GET, "/health/live") => live(app),
        (&Method::GET, "/health/startup") => startup(app),
        (&Method::GET, "/health/ready") => ready(app),
        (&Method::GET, "/health") => answer(StatusCode::OK, &health(app)),
        (&Method::GET, "/metrics") => metrics(app),
        (&Method::POST, "/circuits/reset") => reset(app, peer, uri.query()),
        (_, "/health" | "/health/live" | "/health/ready" | "/health/startup" | "/metrics" | "/circuits/reset") => {
            answer(
                StatusCode::METHOD_NOT_ALLOWED,
                &json!({"error": "GET, but POST for /circuits/reset"}),
            )
        }
        _ => answer(
            StatusCode::NOT_FOUND,
            &json!({"error": "there are /health, /health/live, /health/ready, /health/startup, /metrics and POST /circuits/reset"}),
        ),
    }
}

/// That it answers is the answer: a sidecar that is merely busy, or has no provider left, is not better for a restart.
fn live(app: &App) -> Response<Full<Bytes>> {
    let uptime = app.clock.now().since_start().as_secs();
    answer(StatusCode::OK, &json!({"status": "ok", "uptimeSeconds": uptime}))
}

fn startup(app: &App) -> Response<Full<Bytes>> {
    if app.snapshot.load().is_none() {
        let detail = app.config.last_error();
        return unready("no valid configuration has been loaded yet", detail.as_deref());
    }
    let config = app.config.report(app.clock.now());
    let components = json!({
        "config": {"revision": config.revision, "sequence": config.sequence},
        "draining": app.drain.is_draining(),
    });
    answer(StatusCode::OK, &json!({"status": "ok", "components": components}))
}

fn ready(app: &App) -> Response<Full<Bytes>> {
    if app.drain.is_draining() {
        return unready("shutting down", None);
    }
    startup(app)
}

fn unready(reason: &str, detail: Option<&str>) -> Response<Full<Bytes>> {
    answer(
        StatusCode::SERVICE_UNAVAILABLE,
        &json!({"status": "unready", "reason": reason, "detail": detail}),
    )
}

/// What the pod's retry budget still allows at this provider.
fn retries_left(app: &App, upstream: &Upstream, now: Moment) -> u64 {
    let settings = &upstream.provider.retry.budget;
    app.shared.states.budget().remaining(settings, now)
}

fn health(app: &App) -> Health {
    let now = app.clock.now();
    let config = app.config.report(now);
    let snapshot = app.snapshot.load();
    let providers: Vec<Provider> = snapshot.as_ref().map_or_else(Vec::new, |snapshot| {
        snapshot
            .upstreams()
            .iter()
            .map(|upstream| Provider {
                state: upstream.state.report(now),
                kind: format!("{:?}", upstream.provider.kind),
                priority: upstream.provider.priority,
                retries_left: retries_left(app, upstream, now),
                problem: upstream.origin.as_ref().err().cloned(),
            })
            .collect()
    });
    let all_well = config.last_error.is_none()
        && providers
            .iter()
            .all(|provider| provider.state.status == "ok" && provider.problem.is_none());
    let status = if app.drain.is_draining() {
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
        draining: app.drain.is_draining(),
        in_flight: app.drain.in_flight(),
        app_connections: app.drain.connections(),
        idle_provider_connections: app.shared.origins.idle(),
        config,
        providers,
    }
}

fn metrics(app: &App) -> Response<Full<Bytes>> {
    if let Some(snapshot) = app.snapshot.load().as_ref() {
        let states = snapshot.upstreams().iter().map(|upstream| &*upstream.state);
        app.metrics.providers.observe(states, app.clock.now());
    }
    app.metrics.memory.observe(&app.memory);
    app.metrics.log.observe(&app.sinks.access);
    app.metrics.connections.observe(&app.drain, &app.shared.origins);
    let mut response = Response::new(Full::new(Bytes::from(app.metrics.encode())));
    response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
    response
}

/// Closes the breakers of one provider, or of all.
fn reset(app: &App, peer: IpAddr, query: Option<&str>) -> Response<Full<Bytes>> {
    if !peer.to_canonical().is_loopback() {
        return answer(
            StatusCode::FORBIDDEN,
            &json!({"error": "only from inside the pod (127.0.0.1)"}),
        );
    }
    let wanted = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("provider=")));
    let snapshot = app.snapshot.load();
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
    let closed: usize = chosen
        .map(|upstream| upstream.state.reset_breakers(app.clock.now()))
        .sum();
    tracing::info!(provider = wanted.unwrap_or("all"), closed, "breakers reset by hand");
    answer(StatusCode::OK, &json!({"closed": closed}))
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let text = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
