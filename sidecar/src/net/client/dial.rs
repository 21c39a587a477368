//! Making one connection: names, addresses, proxy, TLS, HTTP/1.1 handshake, all within one deadline.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::fault::TransportFault;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::fault::Fault;
use super::outgoing::Outgoing;
use super::proxy::Proxy;
use crate::limits;
use crate::net::wakes::Quietly;

mod tcp;

pub use tcp::{Addresses, Guard, Resolve, System, connect_anywhere};

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
    /// Which addresses it may be at.
    pub guard: Guard,
}

impl Endpoint {
    /// A new connection, ready to send.
    pub(super) async fn dial(&self, deadline: Duration) -> Result<SendRequest<Outgoing>, Fault> {
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

    async fn connect(&self) -> Result<SendRequest<Outgoing>, Fault> {
        let stream = match &self.proxy {
            None => self.guard.connect(&self.host, self.port).await?,
            Some(proxy) => {
                let stream = self.guard.connect(&proxy.host, proxy.port).await?;
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

async fn handshake<I>(io: I) -> Result<SendRequest<Outgoing>, Fault>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(limits::ANSWER_READ_AHEAD)
        .handshake(io)
        .await
        .map_err(|error| Fault::head(&error))?;
    // The task ends with the connection: when the sender is dropped, the peer closes or a request is given up.
    tokio::spawn(async move {
        if let Err(error) = Quietly::new(connection).await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(sender)
}
