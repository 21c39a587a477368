//! From a TCP connection to a stream: TLS, one HTTP/1.1 request, and the answer that `door` decides on.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Hub;
use super::door::{Door, Refusal, asked, bearer, peer, sidecar, welcome};
use crate::fleet::PodId;
use crate::sync::locked;
use crate::time::unix_seconds;

/// For TLS and the request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For all of it, with the wait for a review.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The smallest that hyper takes. A token takes one or two KiB of it.
const MAX_HEAD: usize = 8 << 10;
/// What TLS may hold of what a peer does not take: a record.
const TLS_BUFFER: usize = 16 << 10;

/// A stream that is let in.
pub(super) struct Entered {
    /// Boxed, so that it is not moved through every future that hands it on, each of which would keep room for it.
    pub(super) io: Box<TlsStream<TcpStream>>,
    /// What was read beyond the request.
    pub(super) early: Vec<u8>,
    pub(super) caller: Caller,
}

/// Who it is that is let in.
pub(super) enum Caller {
    /// A sidecar.
    Sidecar {
        namespace: String,
        pod: PodId,
        /// One of as many as may be.
        permit: OwnedSemaphorePermit,
    },
    /// Another replica, in this pod.
    Peer(PodId),
}

/// Who was let in, on the way from the request's answer to the connection's end.
struct Admitted {
    upgrade: OnUpgrade,
    caller: Caller,
}

/// Lets the caller in or answers why not. `None`: the connection is over.
pub(super) async fn enter(
    stream: TcpStream,
    tls: Arc<rustls::ServerConfig>,
    hub: &Arc<Hub>,
    is_leaving: &watch::Receiver<bool>,
) -> Option<Entered> {
    tokio::time::timeout(TIMEOUT, entering(stream, tls, hub, is_leaving))
        .await
        .ok()?
}

async fn entering(
    stream: TcpStream,
    tls: Arc<rustls::ServerConfig>,
    hub: &Arc<Hub>,
    is_leaving: &watch::Receiver<bool>,
) -> Option<Entered> {
    // What is written is whole lines: nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    let mut stream = match tokio::time::timeout(HEAD_TIMEOUT, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            // Right after a rotation it is the first sign of a bundle that does not fit.
            tracing::info!(%error, "stream TLS handshake failed");
            hub.metrics.requested("tls");
            return None;
        }
        Err(_) => {
            hub.metrics.requested("tls");
            return None;
        }
    };
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
    let admitted = Arc::new(Mutex::new(None));
    let service = service_fn(|request| {
        let (hub, admitted) = (Arc::clone(hub), Arc::clone(&admitted));
        let is_leaving = *is_leaving.borrow();
        async move { Ok::<_, Infallible>(answer(request, &hub, is_leaving, &admitted).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let _ = connection.await;
    let admitted = locked(&admitted).take();
    let Admitted { upgrade, caller } = admitted?;
    let parts = upgrade.await.ok()?.downcast::<TokioIo<TlsStream<TcpStream>>>().ok()?;
    Some(Entered {
        io: Box::new(parts.io.into_inner()),
        early: parts.read_buf.to_vec(),
        caller,
    })
}

async fn answer(
    mut request: Request<Incoming>,
    hub: &Hub,
    is_leaving: bool,
    admitted: &Mutex<Option<Admitted>>,
) -> Response<Full<Bytes>> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    let decided = async {
        let (door, token) = asked(&head)?;
        if is_leaving {
            return Err(Refusal::Leaving);
        }
        // Before the review, which would be for nothing.
        if door == Door::Sidecar && hub.withdrawal.is_on() {
            return Err(Refusal::InDoubt);
        }
        if door == Door::Sidecar && hub.streams.available_permits() == 0 {
            return Err(Refusal::Full);
        }
        let bearer = bearer(token, &hub.reviews, unix_seconds()).await?;
        let caller = match door {
            Door::Sidecar => {
                let (namespace, pod) = sidecar(bearer)?;
                let permit = Arc::clone(&hub.streams)
                    .try_acquire_owned()
                    .map_err(|_| Refusal::Full)?;
                Caller::Sidecar { namespace, pod, permit }
            }
            Door::Peer => Caller::Peer(peer(bearer, hub.operators.as_ref())?),
        };
        Ok((door, Admitted { upgrade, caller }))
    };
    match decided.await {
        Ok((door, let_in)) => {
            hub.metrics.requested("accepted");
            *locked(admitted) = Some(let_in);
            welcome(door)
        }
        Err(refusal) => {
            hub.metrics.requested(refusal.label());
            refusal.response()
        }
    }
}
