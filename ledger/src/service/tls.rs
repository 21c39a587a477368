//! The certificate: `tls.crt` and `tls.key` of a folder, as a Secret is mounted, read again when they change. Whoever makes them
//! rotates them; a pair that cannot be used leaves the last one in service.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Between two looks at the files. The operator announces a CA ten minutes before it serves its leaf.
const LOOK: Duration = Duration::from_secs(10);

/// The leaf that new connections get.
#[derive(Debug, Default)]
pub struct Served(ArcSwapOption<CertifiedKey>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// A pair that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BadPair {
    /// A file cannot be read.
    #[error("{0} cannot be read")]
    File(PathBuf, #[source] std::io::Error),
    /// It is no PEM.
    #[error("{0} is not PEM")]
    Pem(PathBuf, #[source] rustls::pki_types::pem::Error),
    /// The key does not belong to the certificate.
    #[error("tls.key cannot be used with tls.crt")]
    Key(#[source] rustls::Error),
}

/// TLS 1.2 and 1.3, HTTP/1.1, the certificate that is served now.
pub fn server_config(served: Arc<Served>) -> Result<rustls::ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(served);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

impl Served {
    /// Reads the folder.
    pub fn read(&self, folder: &Path) -> Result<(), BadPair> {
        self.0.store(Some(Arc::new(pair(&files(folder)?, folder)?)));
        Ok(())
    }

    /// Whether there is a certificate.
    pub fn is_serving(&self) -> bool {
        self.0.load().is_some()
    }

    /// Looks at the folder again and again; never returns.
    pub async fn follow(&self, folder: &Path) {
        let mut last = None;
        loop {
            match files(folder) {
                Ok(files) if last.as_ref() == Some(&files) => {}
                Ok(files) => {
                    match pair(&files, folder) {
                        Ok(pair) => {
                            tracing::info!("certificate taken");
                            self.0.store(Some(Arc::new(pair)));
                        }
                        Err(error) => tracing::warn!(%error, "the certificate cannot be served; the last one goes on"),
                    }
                    last = Some(files);
                }
                Err(error) => tracing::warn!(%error, "no certificate"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn files(folder: &Path) -> Result<[Vec<u8>; 2], BadPair> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|error| BadPair::File(path, error))
    };
    Ok([read("tls.crt")?, read("tls.key")?])
}

fn pair([certificate, key]: &[Vec<u8>; 2], folder: &Path) -> Result<CertifiedKey, BadPair> {
    let bad = |name: &'static str| move |error| BadPair::Pem(folder.join(name), error);
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(bad("tls.crt"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(bad("tls.key"))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(BadPair::Key)
}
