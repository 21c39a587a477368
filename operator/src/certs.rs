//! The webhook's certificates: made here and kept in one Secret of the operator's own namespace (`keeper`), or read from the
//! one that cert-manager keeps (`issued`); rotated long before they expire, and served from memory so that a rotation
//! touches no connection.

pub mod authority;
pub mod issued;
pub mod keeper;
pub mod trust;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use authority::{Key, Pair};

/// The certificate that new connections get, and what those who connect must trust.
#[derive(Debug, Default)]
pub struct Served {
    leaf: ArcSwapOption<CertifiedKey>,
    bundle: watch::Sender<Option<Arc<str>>>,
}

/// A pair that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BadPair {
    /// Not PEM, or not what it should be.
    #[error("the stored certificate or key is not PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// The key is of no use for this certificate.
    #[error("the stored key cannot be used")]
    Key(#[source] rustls::Error),
}

impl Served {
    /// Serves `pair` from the next connection on.
    pub fn set(&self, pair: &Pair) -> Result<(), BadPair> {
        self.serve(certified(&pair.certificate, &pair.key)?);
        Ok(())
    }

    /// Serves `leaf` from the next connection on.
    fn serve(&self, leaf: CertifiedKey) {
        self.leaf.store(Some(Arc::new(leaf)));
    }

    /// Whether there is a certificate yet.
    pub fn is_serving(&self) -> bool {
        self.leaf.load().is_some()
    }

    /// From now on `bundle` (PEM) is what clients are told to trust. It is announced before a leaf of it is served, and
    /// goes on naming the CA before for as long as a replica may serve its leaf.
    pub fn announce(&self, bundle: &str) {
        let differs = |now: &Option<Arc<str>>| now.as_deref() != Some(bundle);
        self.bundle.send_if_modified(|now| {
            let differs = differs(now);
            if differs {
                *now = Some(bundle.into());
            }
            differs
        });
    }

    /// What clients must trust, PEM; none until it is known. Wakes when it changes.
    pub fn bundle(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.bundle.subscribe()
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.leaf.load_full()
    }
}

fn certified(certificate: &str, key: &Key) -> Result<CertifiedKey, BadPair> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(BadPair::Pem)?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(BadPair::Pem)?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(BadPair::Key)
}

/// Up to a fifth longer, so that replicas do not ask in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + 0.2 * fastrand::f64())
}

/// TLS 1.2 and 1.3, HTTP/1.1 (all that apiservers speak to webhooks), the certificate that is served now.
pub fn server_config(served: Arc<Served>) -> Result<rustls::ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(served);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
