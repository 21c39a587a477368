//! From a name to a TCP connection: resolve, check each address, try them side by side.
//!
//! Every connection resolves anew and checks the very addresses that it then connects to, so a name that changes its
//! mind between two look-ups gets nowhere (DNS rebinding).

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bowsprit_core::address::Policy;
use bowsprit_core::fault::TransportFault;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::super::fault::{Fault, is_out_of_descriptors};
use crate::limits::ADDRESS_HEAD_START;

/// What a name resolves to.
pub type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Turns names into addresses.
pub trait Resolve: Send + Sync {
    /// The addresses of a name, in the order in which they should be tried.
    fn resolve(&self, host: &str, port: u16) -> Addresses;
}

/// The system's resolver.
pub struct System;

impl Resolve for System {
    fn resolve(&self, host: &str, port: u16) -> Addresses {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()) })
    }
}

/// Which addresses an origin may be at, and who says where it is.
#[derive(Clone)]
pub struct Guard {
    /// The configuration's word.
    pub policy: Policy,
    /// The sidecar's own ports, once it has them: a provider there would be the sidecar itself.
    pub own_ports: Arc<OnceLock<Vec<u16>>>,
    /// Who resolves names.
    pub resolver: Arc<dyn Resolve>,
}

impl Guard {
    /// Connects to a host at one of the addresses that it may be at.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Fault> {
        let found = addresses(host, port, &*self.resolver).await?;
        let mut denied = None;
        let mut allowed = Vec::with_capacity(found.len());
        for address in found {
            match self.policy.check(address.ip()) {
                Ok(()) if self.is_own(address) => denied = Some(own(host, address)),
                Ok(()) => allowed.push(address),
                Err(kind) => {
                    denied = Some(Fault::new(
                        TransportFault::Denied,
                        format_args!(
                            "{host} resolves to {}, {}, which is not in endpoint.allowedAddresses",
                            address.ip(),
                            kind.as_str()
                        ),
                    ));
                }
            }
        }
        if allowed.is_empty() {
            return Err(
                denied.unwrap_or_else(|| Fault::new(TransportFault::Dns, format_args!("{host} has no address")))
            );
        }
        let stream = first_to_answer(allowed).await?;
        if let (Ok(ours), Ok(theirs)) = (stream.local_addr(), stream.peer_addr())
            && ours.ip() == theirs.ip()
            && self.is_own_port(theirs.port())
        {
            return Err(own(host, theirs));
        }
        // Small writes go out at once: a request is one write, and TLS records must not wait for an ACK.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        address.ip().to_canonical().is_loopback() && self.is_own_port(address.port())
    }

    fn is_own_port(&self, port: u16) -> bool {
        self.own_ports.get().is_some_and(|ports| ports.contains(&port))
    }
}

/// Connects to a host wherever it is: for what no configuration of a provider names. The operator's Service has a private
/// address.
pub async fn connect_anywhere(host: &str, port: u16, resolver: &dyn Resolve) -> Result<TcpStream, Fault> {
    let stream = first_to_answer(addresses(host, port, resolver).await?).await?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn addresses(host: &str, port: u16, resolver: &dyn Resolve) -> Result<Vec<SocketAddr>, Fault> {
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(vec![SocketAddr::new(address, port)]),
        Err(_) => resolver
            .resolve(host, port)
            .await
            .map_err(|error| unresolved(host, &error)),
    }
}

fn unresolved(host: &str, error: &io::Error) -> Fault {
    let kind = if is_out_of_descriptors(error) {
        TransportFault::NoDescriptors
    } else {
        TransportFault::Dns
    };
    Fault::new(kind, format_args!("resolving {host}: {error}"))
}

fn own(host: &str, address: SocketAddr) -> Fault {
    Fault::new(
        TransportFault::Denied,
        format_args!("{host} leads to {address}, which is this sidecar itself"),
    )
}

/// Tries the addresses in their order, each a little later than the one before or as soon as that has failed, and takes
/// the first connection that stands (RFC 8305): a dead first address costs a head start, not the deadline.
async fn first_to_answer(addresses: Vec<SocketAddr>) -> Result<TcpStream, Fault> {
    let mut waiting = addresses.into_iter();
    let mut trying = FuturesUnordered::new();
    let mut last = None;
    loop {
        let more = match waiting.next() {
            Some(address) => {
                trying.push(try_one(address));
                waiting.len() > 0
            }
            None => false,
        };
        let outcome = if more {
            tokio::time::timeout(ADDRESS_HEAD_START, trying.next()).await.ok()
        } else {
            Some(trying.next().await)
        };
        match outcome {
            Some(Some(Ok(stream))) => return Ok(stream),
            Some(Some(Err(fault))) => last = Some(fault),
            // Nothing is being tried any more, so there is a last failure.
            Some(None) => return Err(last.unwrap_or_else(|| Fault::new(TransportFault::Dns, "no address"))),
            None => {}
        }
    }
}

async fn try_one(address: SocketAddr) -> Result<TcpStream, Fault> {
    TcpStream::connect(address)
        .await
        .map_err(|error| Fault::connect(&error, address))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bowsprit_core::address::Class;
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each look-up with the next of its lists.
    struct Flips(Mutex<Vec<Vec<SocketAddr>>>);

    impl Resolve for Flips {
        fn resolve(&self, _host: &str, _port: u16) -> Addresses {
            let answer = self.0.lock().unwrap().remove(0);
            Box::pin(async move { Ok(answer) })
        }
    }

    fn guard(allowed: &[Class], answers: Vec<Vec<SocketAddr>>) -> Guard {
        Guard {
            policy: Policy::new(allowed.iter().copied()),
            own_ports: Arc::default(),
            resolver: Arc::new(Flips(Mutex::new(answers))),
        }
    }

    #[tokio::test]
    async fn a_name_that_flips_to_a_metadata_service_gets_nowhere() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = server.local_addr().unwrap();
        let metadata = SocketAddr::new("169.254.169.254".parse().unwrap(), good.port());
        let guard = guard(&[Class::Loopback, Class::LinkLocal], vec![vec![good], vec![metadata]]);
        assert!(guard.connect("flips.example", good.port()).await.is_ok());
        let fault = guard.connect("flips.example", good.port()).await.unwrap_err();
        assert_eq!(fault.kind, TransportFault::Denied);
        assert!(
            fault.detail.contains("169.254.169.254") && fault.detail.contains("metadata"),
            "{fault}"
        );
    }

    #[tokio::test]
    async fn of_several_addresses_only_allowed_ones_are_tried() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = server.local_addr().unwrap();
        let denied = SocketAddr::new("10.255.255.1".parse().unwrap(), good.port());
        let allowed = guard(&[Class::Loopback], vec![vec![denied, good]]);
        let stream = allowed.connect("both.example", good.port()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let refused = guard(&[Class::Public], vec![vec![good]]);
        let fault = refused.connect("loop.example", good.port()).await.unwrap_err();
        assert_eq!(fault.kind, TransportFault::Denied);
        assert!(fault.detail.contains("a loopback address"), "{fault}");
    }

    #[tokio::test]
    async fn a_provider_is_never_the_sidecar_itself() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = server.local_addr().unwrap();
        let guard = guard(&[Class::Loopback], vec![vec![own]]);
        guard.own_ports.set(vec![own.port()]).unwrap();
        let fault = guard.connect("me.example", own.port()).await.unwrap_err();
        assert_eq!(fault.kind, TransportFault::Denied);
        assert!(fault.detail.contains("this sidecar itself"), "{fault}");
    }

    #[tokio::test]
    async fn a_dead_first_address_does_not_hide_a_living_second_one() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = server.local_addr().unwrap();
        // A listener whose queue is full takes no further connection: to the caller it looks like a black hole.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket
            .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
            .unwrap();
        socket.listen(0).unwrap();
        let dead = socket.local_addr().unwrap().as_socket().unwrap();
        let mut fill = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(std::time::Duration::from_millis(50), TcpStream::connect(dead)).await
        {
            fill.push(stream);
            assert!(fill.len() < 100, "its queue never fills");
        }
        let guard = guard(&[Class::Loopback], vec![vec![dead, good]]);
        let stream = guard.connect("half-dead.example", good.port()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
    }

    #[tokio::test]
    async fn when_all_addresses_fail_the_last_failure_is_told() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = server.local_addr().unwrap();
        drop(server);
        let guard = guard(&[Class::Loopback], vec![vec![gone, gone]]);
        let fault = guard.connect("gone.example", gone.port()).await.unwrap_err();
        assert_eq!(fault.kind, TransportFault::ConnectRefused);
    }
}
