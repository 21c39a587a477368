//! A connection from this replica to another service of ours: checked against our own CA and nothing else, with the pod's token.
//! CA and token are read anew each time, as both are rotated.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::body::Body;
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What it takes to connect.
#[derive(Clone, Debug)]
pub struct Link {
    /// The name in the service's certificate.
    pub server: String,
    /// What its certificate is checked against, PEM.
    pub bundle: watch::Receiver<Option<Arc<str>>>,
    /// This pod's own token.
    pub token: PathBuf,
}

/// A connection that HTTP is said on.
pub struct Linked<B: Body + 'static> {
    /// Where requests go.
    pub sender: SendRequest<B>,
    /// To be polled for as long as anything is under way.
    pub connection: Connection<TokioIo<TlsStream<TcpStream>>, B>,
    /// The `Authorization` header of each request.
    pub bearer: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NoLink {
    /// It was not reached, or the token is not mounted.
    #[error("the connection")]
    Io(#[from] io::Error),
    /// It does not speak HTTP.
    #[error("HTTP")]
    Http(#[from] hyper::Error),
    /// Certificates that cannot be used.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// There is nothing to check its certificate against.
    #[error("no CA bundle, or none that can be read")]
    Bundle,
    /// It has no name that a certificate could have.
    #[error("the server's name is none")]
    Name(#[from] rustls::pki_types::InvalidDnsNameError),
}

impl Link {
    /// Connects to `address`.
    ///
    /// # Errors
    /// Where nothing can be said to it.
    pub async fn connect<B>(&self, address: impl ToSocketAddrs) -> Result<Linked<B>, NoLink>
    where
        B: Body<Data: Send, Error = Infallible> + 'static,
    {
        let bundle = self.bundle.borrow().clone().ok_or(NoLink::Bundle)?;
        let mut roots = rustls::RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(ca.map_err(|_| NoLink::Bundle)?)?;
        }
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let token = tokio::fs::read_to_string(&self.token).await?;
        let tcp = TcpStream::connect(address).await?;
        let _ = tcp.set_nodelay(true);
        let name = ServerName::try_from(self.server.clone())?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await?;
        Ok(Linked {
            sender,
            connection,
            bearer: format!("Bearer {}", token.trim()),
        })
    }
}
