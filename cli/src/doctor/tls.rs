//! A handshake with an operator's webhook, as the apiserver makes it.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::failure::whole;
use crate::forward::Connection;

/// Whether the certificate that is served is good for `server` by this CA (PEM), today included.
///
/// # Errors
/// In words, what the apiserver would refuse too.
pub(super) async fn trusts(connection: Connection, ca: &[u8], server: &str, patience: Duration) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        let certificate = certificate.map_err(|error| format!("the caBundle is no PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("the caBundle holds no CA: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(server.to_owned()).map_err(|error| error.to_string())?;
    // The forwarder carries the bytes: it is kept until the handshake is done.
    let (stream, _forwarder) = connection.into_stream();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    tokio::time::timeout(patience, handshake)
        .await
        .map_err(|_| format!("no handshake within {patience:?}"))?
        .map(drop)
        .map_err(|error| whole(&error))
}
