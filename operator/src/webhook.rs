//! The HTTPS server that the apiserver asks about new pods (`review` answers) and about changes of our objects (`validate`
//! answers). This file limits and carries.
//!
//! Apiservers ask over HTTP/1.1 and keep their connections. One that is closed while a review is on its way to it is an error
//! to the apiserver, and the pod is refused (`failurePolicy: Fail`). So an operator that leaves goes on answering for a
//! while ([`LAME_DUCK`]), and says with each answer that this connection carries no further one: the apiserver lets go of
//! it, and asks somebody else.

mod admission;
pub mod advise;
mod body;
pub mod newest;
pub mod review;
pub mod validate;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use advise::Adviser;
use body::{Scales, Weighed};
use review::Reviewer;
use validate::{Question, Validator};

use crate::room::{Room, Rule, Seat};

/// For a whole request; what the webhook configuration gives us, so nobody waits for a later answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Who makes a pod is kept waiting for so long at most while what it needs is being applied.
const MAX_PATIENCE: Duration = Duration::from_secs(2);
/// And for this part of the time that the apiserver gives: half as much again goes into a question to it, and the rest is spare.
const PATIENT_PART: f64 = 0.4;
/// Questions to the apiserver at a time, for reviews of all kinds. They take it some milliseconds each, under the same account as
/// the leader's lease.
const QUESTIONS: usize = 8;
/// For TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// For a request's head, and so also how long an idle connection stays where there is room.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);
/// Connections at a time, of which an apiserver keeps up to 25 that are idle, and who waits for one. An answer takes some
/// milliseconds: who has waited for many times that, and comes from where there are fewer, is not kept waiting by slow ones.
const RULE: Rule = Rule {
    seats: 64,
    patience: Duration::from_millis(250),
    begins: HANDSHAKE_TIMEOUT,
};
/// Connections that may wait for a seat: more than apiservers have requests under way (200 changes each, by default).
const MOST_WAITING: usize = 1024;
/// What is read of a connection at a time.
const READ_BUFFER: usize = 64 << 10;
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

/// What whoever asks the apiserver something for a review has to hold meanwhile.
pub fn questions() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(QUESTIONS))
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
    let room = Room::new(RULE);
    let scales = Arc::new(Scales::new());
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
        // Both arms may be dropped at any point: an accept that did not complete has taken no connection.
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, address)) => (stream, address.ip()),
            Err(error) => {
                tracing::warn!(%error, "webhook port cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = room.enter(peer, MOST_WAITING) else {
            tracing::debug!(%peer, "webhook is crowded");
            continue;
        };
        let (tls, closing) = (tls.clone(), closing.clone());
        let (answerers, is_leaving) = (Arc::clone(&answerers), Arc::clone(&is_leaving));
        let scales = Arc::clone(&scales);
        connections.spawn(async move {
            let seat = match place.turn(&stream).await {
                Ok(seat) => Arc::new(seat),
                Err(why) => {
                    tracing::debug!(%peer, why = why.label(), "webhook connection ends without a turn");
                    return;
                }
            };
            let connection = async {
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => carry(stream, Arc::clone(&seat), (answerers, scales), is_leaving, closing).await,
                    // A handshake that fails right after a rotation is the first sign of a caBundle that does not fit.
                    Ok(Err(error)) => tracing::info!(%error, "webhook TLS handshake failed"),
                    Err(_) => {}
                }
            };
            tokio::select! {
                biased;
                () = seat.lost() => {}
                () = connection => {}
            }
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
    seat: Arc<Seat>,
    (answerers, scales): (Arc<Answerers>, Arc<Scales>),
    is_leaving: Arc<AtomicBool>,
    mut closing: watch::Receiver<bool>,
) {
    let has_answered = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&has_answered);
    let service = service_fn(move |request| {
        let (answerers, is_leaving, noted) = (Arc::clone(&answerers), Arc::clone(&is_leaving), Arc::clone(&noted));
        let (seat, scales) = (Arc::clone(&seat), Arc::clone(&scales));
        async move {
            let asking = seat.asks();
            // Whatever is asked: a body that comes slowly, and an answer that needs somebody who does not answer.
            let answered = tokio::time::timeout(REQUEST_TIMEOUT, answer(request, &scales, answerers)).await;
            let mut response = answered.unwrap_or_else(|_| {
                let late = "the review did not arrive, or could not be answered, in 5 s\n";
                plain(StatusCode::GATEWAY_TIMEOUT, late)
            });
            drop(asking);
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
        .max_buf_size(READ_BUFFER)
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

async fn answer(request: Request<Incoming>, scales: &Scales, answerers: Arc<Answerers>) -> Response<Full<Bytes>> {
    let began = Instant::now();
    let patience = patience(request.uri().query());
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
    let Weighed { text, heavy } = match scales.take(request.into_body()).await {
        Ok(weighed) => weighed,
        Err(why) => return plain(why.status(), &format!("{why}\n")),
    };
    // Few wait at a time, and so they may hold what is light. No pod that people write is more.
    let patience = if heavy.is_some() { Duration::ZERO } else { patience };
    let body = match asked {
        Asked::Injection => answerers.injection.review(text, began, patience).await,
        Asked::Validation(question) => answerers.validation.review(question, text, began).await,
        Asked::Advice => answerers.advice.review(&text, began),
    };
    drop(heavy);
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

/// The apiserver says how long it waits: `timeout=5s`, whole seconds.
fn patience(query: Option<&str>) -> Duration {
    let mut fields = query.unwrap_or_default().split('&');
    let seconds = fields.find_map(|field| field.strip_prefix("timeout=")?.strip_suffix('s')?.parse().ok());
    let timeout = seconds.map_or(REQUEST_TIMEOUT, Duration::from_secs);
    timeout.mul_f64(PATIENT_PART).min(MAX_PATIENCE)
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_longer_than_the_apiserver_does() {
        for (query, ms) in [
            (Some("timeout=5s"), 2000),
            (Some("a=b&timeout=30s"), 2000),
            (Some("timeout=1s"), 400),
            (Some("timeout=soon"), 2000),
            (None, 2000),
        ] {
            assert_eq!(patience(query), Duration::from_millis(ms), "{query:?}");
        }
    }
}
