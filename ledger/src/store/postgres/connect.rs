//! How the server is reached: a connection string as libpq takes it, over TLS where it says so.

use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// For the TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that is gone without a word is noticed after it, idle.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Where the server is, and what it must show.
#[derive(Clone)]
pub struct Target {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

/// Why a connection string is of no use. It never says the string itself, which holds a password.
#[derive(Debug, thiserror::Error)]
pub enum BadUrl {
    /// It cannot be read.
    #[error("the connection string is not one: use postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require")]
    Text,
    /// The CA bundle cannot be used.
    #[error("the CA bundle {0} cannot be read or holds no certificate")]
    Ca(String),
    /// No TLS.
    #[error("no TLS for PostgreSQL")]
    Tls(#[source] rustls::Error),
}

impl Target {
    /// From a connection string. With `sslmode=require` or `prefer` the server's certificate is checked against `ca` (PEM): unlike
    /// libpq, there is no TLS here that trusts anybody.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, BadUrl> {
        let mut config = Config::from_str(url.trim()).map_err(|_| BadUrl::Text)?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.keepalives_idle(KEEPALIVE);
        if config.get_application_name().is_none() {
            config.application_name("bowsprit-ledger");
        }
        let tls = match (config.get_ssl_mode(), ca) {
            (SslMode::Disable, _) | (SslMode::Prefer, None) => None,
            (_, Some(ca)) => Some(tls(ca)?),
            (_, None) => return Err(BadUrl::Ca("(none is given; sslmode=require needs one)".into())),
        };
        Ok(Self { config, tls })
    }

    pub(super) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        if let Some(tls) = &self.tls {
            let (client, connection) = self.config.connect(tls.clone()).await?;
            tokio::spawn(connection);
            return Ok(client);
        }
        let (client, connection) = self.config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

fn tls(ca: &Path) -> Result<MakeRustlsConnect, BadUrl> {
    let bad = || BadUrl::Ca(ca.display().to_string());
    let pem = std::fs::read(ca).map_err(|_| bad())?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|_| bad())?).map_err(|_| bad())?;
    }
    if roots.is_empty() {
        return Err(bad());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(BadUrl::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
