//! Health and metrics, for the kubelet and Prometheus. Nothing here changes state.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::metrics::Metrics;
use super::tls::Served;

const CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is asked about.
pub struct Admin {
    /// Whether the store answers.
    pub is_up: Arc<AtomicBool>,
    /// Whether there is a certificate.
    pub served: Arc<Served>,
    /// Whether it is told to stop.
    pub is_stopping: AtomicBool,
    /// What is counted.
    pub metrics: Metrics,
}

impl Admin {
    /// Serves until dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let admin = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let answer = admin.answer(request.uri().path());
                    async move { Ok::<_, Infallible>(answer) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(permit);
            });
        }
    }

    /// What it waits for; empty: ready.
    pub fn waits_for(&self) -> Vec<&'static str> {
        let parts = [
            (self.served.is_serving(), "certificate"),
            (self.is_up.load(Ordering::Relaxed), "store"),
            (
                !self.is_stopping.load(Ordering::Relaxed),
                "nothing more, it is stopping",
            ),
        ];
        parts
            .into_iter()
            .filter(|(is_there, _)| !is_there)
            .map(|(_, part)| part)
            .collect()
    }

    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        match path {
            "/health/live" => respond(StatusCode::OK, "alive\n".into()),
            "/health/ready" => match self.waits_for() {
                waits if waits.is_empty() => respond(StatusCode::OK, "ready\n".into()),
                waits => respond(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("waiting for: {}\n", waits.join(", ")),
                ),
            },
            "/metrics" => match self.metrics.encode() {
                Ok(text) => {
                    let mut answer = respond(StatusCode::OK, text);
                    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                    answer
                        .headers_mut()
                        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
                    answer
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
}

fn respond(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer
}
