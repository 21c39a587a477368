//! The webhook's certificates: made here, kept in one Secret of the operator's own namespace, rotated long before they
//! expire, and served from memory so that a rotation touches no connection.

pub mod authority;
pub mod keeper;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use authority::Pair;

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
        self.leaf.store(Some(Arc::new(certified(pair)?)));
        Ok(())
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

fn certified(pair: &Pair) -> Result<CertifiedKey, BadPair> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(BadPair::Pem)?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.expose().as_bytes()).map_err(BadPair::Pem)?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(BadPair::Key)
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
