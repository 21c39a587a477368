//! Health and metrics, for the kubelet and Prometheus. Nothing here changes state.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::metrics::Metrics;
use crate::readiness::Readiness;

/// Connections at a time: the kubelet and a few scrapers.
const MAX_CONNECTIONS: usize = 64;
/// For a request's head to arrive, and so also how long an idle connection stays.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Before accepting again after the process ran out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the admin port.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, readiness: Readiness, metrics: Metrics) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin port cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (readiness, metrics) = (readiness.clone(), metrics.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &readiness, &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>, readiness: &Readiness, metrics: &Metrics) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return respond(StatusCode::METHOD_NOT_ALLOWED, "use GET\n".into());
    }
    match request.uri().path() {
        "/health/live" => respond(StatusCode::OK, "alive\n".into()),
        "/health/ready" => {
            let waiting = readiness.waiting_for();
            if waiting.is_empty() {
                respond(StatusCode::OK, "ready\n".into())
            } else {
                respond(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("waiting for: {}\n", waiting.join(", ")),
                )
            }
        }
        "/metrics" => match metrics.encode() {
            Ok(text) => {
                let mut response = respond(StatusCode::OK, text);
                let open_metrics =
                    header::HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, open_metrics);
                response
            }
            Err(_) => respond(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics could not be written\n".into(),
            ),
        },
        _ => respond(
            StatusCode::NOT_FOUND,
            "try /health/live, /health/ready or /metrics\n".into(),
        ),
    }
}

fn respond(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
