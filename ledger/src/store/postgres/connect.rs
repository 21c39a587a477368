//! How the server is reached: a connection string as libpq takes it, over TLS where it says so.

use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failed;
use crate::schema::Engine;
use crate::store::Error;

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
    #[error("the connection string is not one: use postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full")]
    Text,
    /// The CA bundle cannot be used.
    #[error("the CA bundle {0} cannot be read or holds no certificate")]
    Ca(String),
    /// No TLS.
    #[error("no TLS for PostgreSQL")]
    Tls(#[source] rustls::Error),
}

impl Target {
    /// From a connection string. Unless it says `sslmode=disable`, a `ca` (PEM) makes TLS a must, and the server's certificate is
    /// checked against it and the host's name, as libpq does with `verify-full`: there is no TLS here that trusts anybody.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, BadUrl> {
        let mut config = Config::from_str(&required(url.trim())).map_err(|_| BadUrl::Text)?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.keepalives_idle(KEEPALIVE);
        if config.get_application_name().is_none() {
            config.application_name("bowsprit-ledger");
        }
        let tls = match (config.get_ssl_mode(), ca) {
            (SslMode::Disable, _) | (SslMode::Prefer, None) => None,
            (_, Some(ca)) => {
                config.ssl_mode(SslMode::Require);
                Some(tls(ca)?)
            }
            (_, None) => return Err(BadUrl::Ca("(none is given; sslmode=verify-full needs one)".into())),
        };
        Ok(Self { config, tls })
    }

    pub(super) async fn connect(&self) -> Result<Client, Error> {
        if let Some(tls) = &self.tls {
            let connected = self.config.connect(tls.clone()).await;
            let (client, connection) = connected.map_err(with_remedy)?;
            tokio::spawn(connection);
            return Ok(client);
        }
        let (client, connection) = self.config.connect(NoTls).await.map_err(failed)?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// The same with what this client knows of libpq's words: whatever is checked here is checked in full.
fn required(url: &str) -> String {
    let mut url = url.to_owned();
    for word in ["sslmode=verify-full", "sslmode=verify-ca"] {
        url = url.replace(word, "sslmode=require");
    }
    url
}

/// What to do about a server that is not trusted, or that has no TLS. It may pass: a certificate is renewed, a Secret is mended.
fn with_remedy(error: tokio_postgres::Error) -> Error {
    let mut source = std::error::Error::source(&error);
    let mut why = None;
    while let Some(inner) = source {
        let of_tls = inner.downcast_ref::<rustls::Error>();
        let inside = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        why = why.or(of_tls.or_else(|| inside?.downcast_ref::<rustls::Error>()).cloned());
        source = inner.source();
    }
    let remedy = match &why {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => {
            "its certificate has other names than the host of the connection string: connect by one of them, or have it made out for this one"
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "its certificate is of no CA that is given: put the CA's certificate into the Secret's key that ledger.postgres.caKey names (--postgres-ca)"
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "its certificate has expired: renew it",
        Some(_) => "TLS with it is not possible as it is set up: see its log",
        None if error.to_string().contains("TLS") => {
            "it speaks no TLS: set ssl = on at the server, or say sslmode=disable where nobody else is on the way"
        }
        None => return failed(error),
    };
    let detail = why.map(|why| format!(" ({why})")).unwrap_or_default();
    Error::Unavailable(Engine::Postgres, format!("{remedy}{detail}"))
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
