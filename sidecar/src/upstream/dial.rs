//! Making one connection: names, addresses, proxy, TLS, HTTP/1.1 handshake, all within one deadline.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::fault::TransportFault;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::fault::Fault;
use super::proxy::Proxy;

/// Largest response head, and the most a connection reads ahead. Providers send heads of 1-4 KiB.
const READ_AHEAD: usize = 128 << 10;

/// Where an origin lives and how it is reached.
pub struct Endpoint {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS settings; plain HTTP without.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// HTTP proxy to go through.
    pub proxy: Option<Proxy>,
}

impl Endpoint {
    /// A new connection, ready to send.
    pub(super) async fn dial(&self, deadline: Duration) -> Result<SendRequest<Full<Bytes>>, Fault> {
        match tokio::time::timeout(deadline, self.connect()).await {
            Ok(done) => done,
            Err(_) => Err(Fault::new(
                TransportFault::ConnectTimeout,
                format_args!(
                    "no connection to {}:{} within {} ms",
                    self.host,
                    self.port,
                    deadline.as_millis()
                ),
            )),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Fault> {
        let stream = match &self.proxy {
            None => tcp(&self.host, self.port).await?,
            Some(proxy) => {
                let stream = tcp(&proxy.host, proxy.port).await?;
                if self.tls.is_some() {
                    proxy.tunnel(stream, &self.host, self.port).await?
                } else {
                    stream
                }
            }
        };
        match &self.tls {
            None => handshake(TokioIo::new(stream)).await,
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).map_err(|_| {
                    Fault::new(
                        TransportFault::Tls,
                        format_args!("{:?} is no TLS server name", self.host),
                    )
                })?;
                let stream = TlsConnector::from(Arc::clone(config))
                    .connect(name, stream)
                    .await
                    .map_err(|error| {
                        Fault::new(TransportFault::Tls, format_args!("TLS with {}: {error}", self.host))
                    })?;
                handshake(TokioIo::new(stream)).await
            }
        }
    }
}

/// Tries every address of a name in the resolver's order; the last refusal is reported.
async fn tcp(host: &str, port: u16) -> Result<TcpStream, Fault> {
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => tokio::net::lookup_host((host, port))
            .await
            .map_err(|error| Fault::new(TransportFault::Dns, format_args!("resolving {host}: {error}")))?
            .collect(),
    };
    let mut last = Fault::new(TransportFault::Dns, format_args!("{host} has no address"));
    for address in addresses {
        if is_forbidden(address.ip()) {
            last = Fault::new(
                TransportFault::ConnectRefused,
                format_args!(
                    "{host} resolves to {}, a link-local or multicast address: never connected to",
                    address.ip()
                ),
            );
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small writes go out at once: a request is one write, and TLS records must not wait for an ACK.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = Fault::connect(&error, address),
        }
    }
    Err(last)
}

/// Addresses where clouds keep instance credentials (169.254.169.254, `fd00:ec2::254`), and those no provider can have.
/// Checked on what the name resolved to, so that a name that changes its mind does not get around it.
fn is_forbidden(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified(),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.is_unspecified()
                || v6.segments() == [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254]
        }
    }
}

async fn handshake<I>(io: I) -> Result<SendRequest<Full<Bytes>>, Fault>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(READ_AHEAD)
        .handshake(io)
        .await
        .map_err(|error| Fault::head(&error))?;
    // The task ends with the connection: when the sender is dropped, the peer closes or a request is given up.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_never_dialled() {
        for forbidden in [
            "169.254.169.254",
            "fd00:ec2::254",
            "fe80::1",
            "224.0.0.1",
            "0.0.0.0",
            "::ffff:169.254.169.254",
        ] {
            assert!(is_forbidden(forbidden.parse().unwrap()), "{forbidden}");
        }
        for allowed in ["127.0.0.1", "10.0.0.7", "160.79.104.10", "::1", "2607:6bc0::10"] {
            assert!(!is_forbidden(allowed.parse().unwrap()), "{allowed}");
        }
    }
}
