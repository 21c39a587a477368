//! Trust: the system's roots and a provider's own CA bundle, with ring as the one crypto provider.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Why no TLS client could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls-native-certs finds nothing in an image without a CA file, and says nothing: then every handshake would fail.
    #[error(
        "no root certificates found on this system: put a CA bundle at /etc/ssl/certs/ca-certificates.crt or name one in SSL_CERT_FILE"
    )]
    NoRoots,
    /// The bundle is not PEM or holds no certificate.
    #[error("the CA bundle holds no usable PEM certificate")]
    BadBundle,
    /// rustls refused.
    #[error("TLS settings: {0}")]
    Rustls(#[from] rustls::Error),
}

/// A client that trusts the system's roots, and the certificates of `bundle` beside them.
pub fn client(bundle: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a system certificate could not be read");
    }
    roots.add_parsable_certificates(found.certs);
    if !bundle.is_empty() {
        add_bundle(&mut roots, bundle)?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    with_roots(roots)
}

/// A client that trusts the certificates of `bundle` and no others.
pub fn only(bundle: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    add_bundle(&mut roots, bundle)?;
    with_roots(roots)
}

fn add_bundle(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), TlsError> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots
            .add(certificate.map_err(|_| TlsError::BadBundle)?)
            .map_err(|_| TlsError::BadBundle)?;
    }
    if roots.len() == before {
        Err(TlsError::BadBundle)
    } else {
        Ok(())
    }
}

fn with_roots(roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_a_certificate_is_refused_aloud() {
        assert!(matches!(client(b"not pem"), Err(TlsError::BadBundle)));
        assert!(matches!(only(b""), Err(TlsError::BadBundle)));
    }
}
