//! The HTTPS server that the apiserver asks about new pods (`review` answers) and about changes of our objects (`validate`
//! answers). This file limits and carries.
//!
//! Apiservers ask over HTTP/1.1 and keep their connections. One that is closed while a review is on its way to it is an error
//! to the apiserver, and the pod is refused (`failurePolicy: Fail`). So an operator that leaves goes on answering for a
//! while ([`LAME_DUCK`]), and says with each answer that this connection carries no further one: the apiserver lets go of
//! it, and asks somebody else.

mod admission;
pub mod advise;
pub mod review;
pub mod validate;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use advise::Adviser;
use review::Reviewer;
use validate::{Question, Validator};

/// Largest review: an object of etcd's limit of 1.5 MiB, its old version and the envelope.
const MAX_BODY: usize = 3 << 20;
/// For a whole request; what the webhook configuration gives us, so nobody waits for a later answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// For TLS and for a request's head, and so also how long an idle connection stays.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);
/// Connections at a time: apiservers keep a handful each. Times [`MAX_BODY`] it also bounds memory.
const MAX_CONNECTIONS: usize = 64;
/// After SIGTERM: time for the Service to stop sending new connections here, and for apiservers to let go of theirs.
const LAME_DUCK: Duration = Duration::from_secs(5);
/// Before accepting again after the process ran out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who answers what the apiserver asks.
pub struct Answerers {
    /// About pods, at `/inject`.
    pub injection: Reviewer,
    /// About ProviderConfigs and ModelRoutes, at `/validate`, `/validate-keys` and `/validate-hosts`.
    pub validation: Validator,
    /// About workloads, namespaces and pods that say something of ours, at `/advise`.
    pub advice: Adviser,
}

/// Who a path is for.
enum Asked {
    Injection,
    Validation(Question),
    Advice,
}

/// Serves until [`LAME_DUCK`] after `leave`, then finishes the requests under way, for at most [`REQUEST_TIMEOUT`].
pub async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    answerers: Arc<Answerers>,
    leave: impl Future<Output = ()>,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let is_leaving = Arc::new(AtomicBool::new(false));
    let (close, closing) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(async {
        leave.await;
        is_leaving.store(true, Ordering::Relaxed);
        tokio::time::sleep(LAME_DUCK).await;
    });
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
        let (tls, closing) = (tls.clone(), closing.clone());
        let (answerers, is_leaving) = (Arc::clone(&answerers), Arc::clone(&is_leaving));
        connections.spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                Ok(Ok(stream)) => carry(stream, answerers, is_leaving, closing).await,
                // A handshake that fails right after a rotation is the first sign of a caBundle that does not fit.
                Ok(Err(error)) => tracing::info!(%error, "webhook TLS handshake failed"),
                Err(_) => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    let _ = close.send(true);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(REQUEST_TIMEOUT, finished).await.is_err() {
        tracing::info!("webhook connections were closed at shutdown");
    }
}

/// One connection, to its end.
async fn carry(
    stream: TlsStream<TcpStream>,
    answerers: Arc<Answerers>,
    is_leaving: Arc<AtomicBool>,
    mut closing: watch::Receiver<bool>,
) {
    let has_answered = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&has_answered);
    let service = service_fn(move |request| {
        let (answerers, is_leaving, noted) = (Arc::clone(&answerers), Arc::clone(&is_leaving), Arc::clone(&noted));
        async move {
            let mut response = answer(request, answerers).await;
            noted.store(true, Ordering::Relaxed);
            if is_leaving.load(Ordering::Relaxed) {
                let close = header::HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let is_over = tokio::select! {
        _ = &mut connection => true,
        _ = closing.wait_for(|closing| *closing) => false,
    };
    if is_over {
        return;
    }
    // One that has asked nothing yet was made to ask something: it may, and is let go with the answer.
    if has_answered.load(Ordering::Relaxed) {
        connection.as_mut().graceful_shutdown();
    }
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, answerers: Arc<Answerers>) -> Response<Full<Bytes>> {
    let began = Instant::now();
    let asked = match request.uri().path() {
        "/inject" => Asked::Injection,
        "/validate" => Asked::Validation(Question::Object),
        "/validate-keys" => Asked::Validation(Question::Keys),
        "/validate-hosts" => Asked::Validation(Question::Hosts),
        "/advise" => Asked::Advice,
        _ => {
            return plain(
                StatusCode::NOT_FOUND,
                "POST AdmissionReviews to /inject, /validate, /validate-keys, /validate-hosts or /advise\n",
            );
        }
    };
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "use POST\n");
    }
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let Ok(Ok(body)) = tokio::time::timeout(REQUEST_TIMEOUT, body).await else {
        return plain(
            StatusCode::BAD_REQUEST,
            "the review did not arrive in 5 s or is larger than 3 MiB\n",
        );
    };
    let body = body.to_bytes();
    let body = match asked {
        Asked::Injection => answerers.injection.review(&body, began),
        Asked::Validation(question) => answerers.validation.review(question, &body, began).await,
        Asked::Advice => answerers.advice.review(&body, began),
    };
    match body {
        Ok(json) => {
            let mut response = Response::new(Full::new(Bytes::from(json)));
            let json = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(problem) => plain(StatusCode::BAD_REQUEST, &format!("{problem}\n")),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    response
}
