//! The HTTPS server that the apiserver asks about new pods. `review` answers; this file limits and carries.

pub mod review;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use review::Reviewer;

/// Largest review: an object of etcd's limit of 1.5 MiB, its old version and the envelope.
const MAX_BODY: usize = 3 << 20;
/// For a whole request; what the webhook configuration gives us, so nobody waits for a later answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// For TLS and for a request's head, and so also how long an idle connection stays.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);
/// Connections at a time: apiservers keep a handful each. Times [`MAX_BODY`] it also bounds memory.
const MAX_CONNECTIONS: usize = 64;
/// Before accepting again after the process ran out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then finishes the requests under way, for at most [`REQUEST_TIMEOUT`].
pub async fn serve(listener: TcpListener, tls: TlsAcceptor, reviewer: Arc<Reviewer>, stop: impl Future<Output = ()>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        // Both arms may be dropped at any point: an accept that did not complete has taken no connection.
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "webhook port cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, reviewer, watcher) = (tls.clone(), Arc::clone(&reviewer), graceful.watcher());
        connections.spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let service = service_fn(move |request| answer(request, Arc::clone(&reviewer)));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(IDLE_TIMEOUT)
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = watcher.watch(connection).await;
                }
                // A handshake that fails right after a rotation is the first sign of a caBundle that does not fit.
                Ok(Err(error)) => tracing::info!(%error, "webhook TLS handshake failed"),
                Err(_) => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(REQUEST_TIMEOUT, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("webhook requests were cut at shutdown");
    }
}

async fn answer(request: Request<Incoming>, reviewer: Arc<Reviewer>) -> Result<Response<Full<Bytes>>, Infallible> {
    let began = Instant::now();
    if request.uri().path() != "/inject" {
        return Ok(plain(StatusCode::NOT_FOUND, "POST AdmissionReviews to /inject\n"));
    }
    if request.method() != Method::POST {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "use POST\n"));
    }
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let Ok(Ok(body)) = tokio::time::timeout(REQUEST_TIMEOUT, body).await else {
        return Ok(plain(
            StatusCode::BAD_REQUEST,
            "the review did not arrive in 5 s or is larger than 3 MiB\n",
        ));
    };
    let body = reviewer.review(&body.to_bytes(), began);
    Ok(match body {
        Ok(json) => {
            let mut response = Response::new(Full::new(Bytes::from(json)));
            let json = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(problem) => plain(StatusCode::BAD_REQUEST, &format!("{problem}\n")),
    })
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    response
}
