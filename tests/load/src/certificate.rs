//! A certificate authority for the length of a run, and one certificate of it: nothing to keep, nothing to expire.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A TLS server for `address` and `localhost` (not every client checks addresses), and the PEM of the authority that a client must trust to talk to it.
pub fn server(address: IpAddr) -> Result<(Arc<ServerConfig>, String)> {
    let mut authority = CertificateParams::new(Vec::new()).context("name the authority")?;
    // A name of its own: OpenSSL takes a certificate whose issuer has the same one for self-signed.
    authority.distinguished_name.push(DnType::CommonName, "bench authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().context("make the authority's key")?;
    let pem = authority.self_signed(&key).context("sign the authority")?.pem();
    let issuer = Issuer::new(authority, key);

    let key = KeyPair::generate().context("make the server's key")?;
    let certificate = CertificateParams::new(vec![address.to_string(), "localhost".to_owned()])
        .and_then(|params| params.signed_by(&key, &issuer))
        .context("make the server's certificate")?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("choose TLS versions")?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .context("use the server's certificate")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), pem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    #[tokio::test]
    async fn whoever_trusts_the_authority_can_talk_to_the_server() {
        let address = IpAddr::from([127, 0, 0, 1]);
        let (server, authority) = server(address).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
            .unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(16 * 1024);
        let serving = tokio::spawn(async move {
            let mut stream = TlsAcceptor::from(server).accept(far).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let name = ServerName::from(address);
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, near).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        serving.await.unwrap();
        assert_eq!(said, "hello");
    }
}
