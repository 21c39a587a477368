//! The door for HTTP/1.1: accept, bound, serve, drain.
//!
//! hyper parses. What it is told: a header deadline (with a timer, or it would not exist) and 64 KiB of head. 100 fields is its own limit: set by hand, even
//! to the same number, it would fill four arrays of that length for each request (about 1 µs).
//! A request with both Content-Length and Transfer-Encoding reaches us with the length removed and its connection is
//! closed after the answer; as a request is only ever sent on from its parsed parts with a length of our own, the two
//! ends cannot disagree about where it ends.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::body::Body;
use crate::drain::Drain;
use stalling::Stalling;

mod stalling;

/// A request head must be complete within this; also how long an idle kept connection may wait for its next request.
const HEADER_DEADLINE: Duration = Duration::from_mins(1);
/// How long the app may take nothing of what waits for it. A reader that is stuck holds a place at the provider and its
/// connection, and no other limit sees it: the answer is not polled while it cannot be written.
const WRITE_DEADLINE: Duration = Duration::from_mins(2);
/// Largest request head.
const MAX_HEAD: usize = 64 << 10;
/// Pause after an accept that failed for want of file descriptors or memory: retrying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections the kernel holds for us while we are busy.
const BACKLOG: i32 = 1024;

/// Binds a listening socket.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until the drain begins. Running connections finish the request they are in and then close.
pub async fn serve<H, F>(listener: TcpListener, max_connections: usize, drain: Arc<Drain>, handler: H)
where
    H: Fn(Request<Incoming>, IpAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(max_connections));
    loop {
        let slot = tokio::select! {
            biased;
            () = drain.draining() => return,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { return };
        let accepted = tokio::select! {
            biased;
            () = drain.draining() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let serving = connection(stream, peer.ip(), Arc::clone(&drain), handler.clone());
                tokio::spawn(async move {
                    serving.await;
                    drop(slot);
                });
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The peer was gone before we looked: nothing is wrong with us.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

async fn connection<H, F>(stream: TcpStream, peer: IpAddr, drain: Arc<Drain>, handler: H)
where
    H: Fn(Request<Incoming>, IpAddr) -> F,
    F: Future<Output = Response<Body>>,
{
    let _ = stream.set_nodelay(true);
    let serving = OnceLock::new();
    let serving_drain = Arc::clone(&drain);
    let service = service_fn(move |request| {
        serving.get_or_init(|| serving_drain.serve());
        // `map` and not an async block: that would hold the answer's future, several KiB of it, twice.
        handler(request, peer).map(Ok::<_, Infallible>)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Stalling::new(stream, WRITE_DEADLINE)), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = drain.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "app connection ended");
    }
}
