//! The HTTPS server that the apiserver asks about new pods. `review` answers; this file limits and carries.
//!
//! Apiservers take HTTP/2, where a server that leaves says so (GOAWAY) and names the last request it will answer, so that
//! the apiserver sends any other anew. Over HTTP/1.1 an idle connection can only be closed: a review that is written at
//! that moment is lost, and with it the pod (`failurePolicy: Fail`).

pub mod review;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use review::Reviewer;

/// Largest review: an object of etcd's limit of 1.5 MiB, its old version and the envelope.
const MAX_BODY: usize = 3 << 20;
/// For a whole request; what the webhook configuration gives us, so nobody waits for a later answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// For TLS and for a request's head, and so also how long an idle connection stays.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);
/// Connections at a time: apiservers keep a handful each.
const MAX_CONNECTIONS: usize = 64;
/// Requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// Bodies read and reviewed at a time, on all connections: times [`MAX_BODY`] it bounds memory.
const MAX_REVIEWS: usize = 64;
/// An HTTP/2 peer that is silent for this long is asked whether it is there; it has as long again to answer.
const PING_AFTER: Duration = Duration::from_secs(30);
/// The protocol's name in TLS (RFC 7301).
pub(crate) const HTTP_2: &[u8] = b"h2";
/// Before accepting again after the process ran out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then finishes the requests under way, for at most [`REQUEST_TIMEOUT`].
pub async fn serve(listener: TcpListener, tls: TlsAcceptor, reviewer: Arc<Reviewer>, stop: impl Future<Output = ()>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let reviews = Arc::new(Semaphore::new(MAX_REVIEWS));
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
        let (tls, watcher) = (tls.clone(), graceful.watcher());
        let (reviewer, reviews) = (Arc::clone(&reviewer), Arc::clone(&reviews));
        connections.spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                Ok(Ok(stream)) => carry(stream, reviewer, reviews, watcher).await,
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

/// One connection, to its end.
async fn carry(stream: TlsStream<TcpStream>, reviewer: Arc<Reviewer>, reviews: Arc<Semaphore>, watcher: Watcher) {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
    let service = service_fn(move |request| answer(request, Arc::clone(&reviewer), Arc::clone(&reviews)));
    let stream = TokioIo::new(stream);
    if is_http2 {
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_AFTER)
            .serve_connection(stream, service);
        let _ = watcher.watch(connection).await;
    } else {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIMEOUT)
            .serve_connection(stream, service);
        let _ = watcher.watch(connection).await;
    }
}

async fn answer(
    request: Request<Incoming>,
    reviewer: Arc<Reviewer>,
    reviews: Arc<Semaphore>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let began = Instant::now();
    if request.uri().path() != "/inject" {
        return Ok(plain(StatusCode::NOT_FOUND, "POST AdmissionReviews to /inject\n"));
    }
    if request.method() != Method::POST {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "use POST\n"));
    }
    let body = async {
        // Never closed, so never an error.
        let _permit = reviews.acquire().await;
        Limited::new(request.into_body(), MAX_BODY).collect().await
    };
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
