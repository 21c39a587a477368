//! Connections to Bowsprit's own services, the operator and the ledger: their address, TLS against their own CA and nothing
//! else, and the pod's token. CA and token are read anew each time, as both are rotated.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use bowsprit_core::config::BaseUrl;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::{Resolve, connect_anywhere, tls};
use crate::files;
use crate::limits::{STREAM_CONNECT, STREAM_OPEN};

/// Largest CA file and largest token, bytes.
const MAX_FILE: u64 = 1 << 20;

/// Where a service is and how the two know each other.
#[derive(Clone, Debug)]
pub struct OwnService {
    /// `https://host:port`.
    pub address: BaseUrl,
    /// The CAs that its certificate is checked against, PEM; nothing else is trusted.
    pub ca: PathBuf,
    /// The pod's own token.
    pub token: PathBuf,
}

/// Why there is no connection. The texts are for people; none holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoConnection {
    /// Token or CA are not there.
    NotMounted(String),
    /// No address, or nobody there.
    Unreachable(String),
    /// Its certificate is not signed by the CA, or is for another name.
    Tls(String),
}

impl OwnService {
    /// A connection, with nothing said on it.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn connect(&self, resolver: &dyn Resolve) -> Result<TlsStream<TcpStream>, NoConnection> {
        let (host, port) = (self.address.host(), self.address.port());
        let ca = files::read(&self.ca, MAX_FILE).map_err(NoConnection::NotMounted)?;
        let bad_ca = |why: &dyn Display| NoConnection::Tls(format!("{}: {why}", self.ca.display()));
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| NoConnection::Tls(format!("{host:?} is no TLS server name")))?;
        let stream = timeout(STREAM_CONNECT, connect_anywhere(host, port, resolver))
            .await
            .map_err(|_| NoConnection::Unreachable("gave up connecting".into()))?
            .map_err(|fault| NoConnection::Unreachable(fault.to_string()))?;
        // Only now: where nobody is there, which is asked often, there is nothing to check a certificate for.
        let config = tls::only(ca.as_bytes()).map_err(|error| bad_ca(&error))?;
        timeout(STREAM_OPEN, TlsConnector::from(config).connect(name, stream))
            .await
            .map_err(|_| NoConnection::Unreachable("gave up waiting for TLS".into()))?
            .map_err(|error| no_tls(host, &error))
    }

    /// A connection to say HTTP on.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn http(&self, resolver: &dyn Resolve) -> Result<SendRequest<Full<Bytes>>, NoConnection> {
        let stream = self.connect(resolver).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| NoConnection::Unreachable(error.to_string()))?;
        // The task ends with the connection: when the sender is dropped, or the service closes.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a service of our own ended");
            }
        });
        Ok(sender)
    }

    /// The pod's token, without white space around it.
    ///
    /// # Errors
    /// There is none.
    pub fn token(&self) -> Result<Zeroizing<String>, NoConnection> {
        let token = Zeroizing::new(files::read(&self.token, MAX_FILE).map_err(NoConnection::NotMounted)?);
        if token.trim().is_empty() || !token.trim().bytes().all(|byte| byte.is_ascii_graphic()) {
            let why = format!("{}: holds no token", self.token.display());
            return Err(NoConnection::NotMounted(why));
        }
        Ok(Zeroizing::new(token.trim().to_owned()))
    }
}

/// A service with too many at its door closes without a word, which says nothing of its certificate.
fn no_tls(host: &str, error: &io::Error) -> NoConnection {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            NoConnection::Unreachable(format!("{host} closed before TLS: it may have too many at its door"))
        }
        _ => NoConnection::Tls(format!("TLS with {host}: {error}")),
    }
}
