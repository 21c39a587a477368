//! The HTTP/1.1 server: accept, bound, serve, drain.
//!
//! hyper parses. What it is told: a header deadline (with a timer, or it would not exist) and the size of a head; 100
//! fields is its own limit: set by hand, even to the same number, it would fill four arrays of that length for each
//! request (about 1 µs). All of them stand in [`limits`]. A request is only ever sent on from its parsed parts with a length
//! of our own, so the two ends cannot disagree about where it ends; one that says so in two ways is refused ([`Ambiguous`]).

use std::error::Error;
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::drain::Drain;
use crate::limits;
use crate::net::client::is_out_of_descriptors;
use crate::sync::locked;
pub use connection::Ambiguous;
use connection::Shared;
pub use metrics::{Listener, ServerMetrics};

mod connection;
mod metrics;
mod stalling;
mod watched;

/// How often a listener that cannot accept logs it.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Binds a listening socket. `[::]` takes IPv4 as well, whatever the node's `net.ipv6.bindv6only` says, and where the node
/// has no IPv6 it is `0.0.0.0`: the kubelet probes a pod at an address of the cluster's first family.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match listening(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && has_no_ipv6(&error) => {
            listening(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        listener => listener,
    }
}

/// A kernel without IPv6 has no such sockets, one whose interfaces are without it no such address.
fn has_no_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn listening(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(limits::BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// File descriptors kept back. When all others are in use, one is let go for a connection that must still be served.
#[derive(Clone, Debug, Default)]
pub struct SpareFds {
    held: Arc<Mutex<Vec<File>>>,
    size: usize,
}

impl SpareFds {
    /// Opens `size` descriptors, or as many as there are.
    pub fn of(size: usize) -> Self {
        let new = Self {
            held: Arc::default(),
            size,
        };
        new.refill();
        new
    }

    /// Takes back what is free. Called by a connection as it ends, before anything else can have its descriptor.
    fn refill(&self) {
        let mut held = locked(&self.held);
        while held.len() < self.size {
            let Ok(file) = File::open("/dev/null") else { return };
            held.push(file);
        }
    }

    /// Lets one go. `false`: there is none.
    fn spend(&self) -> bool {
        locked(&self.held).pop().is_some()
    }
}

/// A listening socket and the limits of its connections.
pub struct Listening {
    /// Where connections come in.
    pub socket: TcpListener,
    /// Which listener it is, for metrics and logs.
    pub name: Listener,
    /// Most connections; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Descriptors for when there are no others.
    pub spare: SpareFds,
    /// When to stop.
    pub drain: Arc<Drain>,
    /// What is counted.
    pub metrics: ServerMetrics,
}

/// Accepts until the drain begins. Running connections finish the request they are in and then close.
pub async fn serve<H, F, B>(at: Listening, handler: H)
where
    H: Fn(Request<Incoming>, IpAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let slots = Arc::new(Semaphore::new(at.max_connections));
    let shared = Shared::new(Arc::clone(&at.drain), at.metrics.clone(), limits::WARM);
    let mut complained: Option<Instant> = None;
    loop {
        let slot = tokio::select! {
            biased;
            () = at.drain.draining() => return,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { return };
        let accepted = tokio::select! {
            biased;
            () = at.drain.draining() => return,
            accepted = accept(&at.socket, &at.spare) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let serving = connection::serve(stream, peer.ip(), Arc::clone(&shared), handler.clone());
                let spare = at.spare.clone();
                // `map` and not an async block: that would hold the connection twice, idle ones too.
                tokio::spawn(serving.map(move |()| {
                    spare.refill();
                    drop(slot);
                }));
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                at.metrics.cannot_accept(at.name);
                if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                    complained = Some(Instant::now());
                    tracing::warn!(%error, door = at.name.as_str(), "cannot accept connections; trying again");
                }
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(listener: &TcpListener, spare: &SpareFds) -> io::Result<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        // The listener is still ready: the second try takes the descriptor before anything else can.
        Err(error) if is_out_of_descriptors(&error) && spare.spend() => listener.accept().await,
        accepted => accepted,
    }
}

/// The peer was gone before we looked: nothing is wrong with us.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_address_takes_both_families() {
        let listener = bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        if listener.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
    }
}
