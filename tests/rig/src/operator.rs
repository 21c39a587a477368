//! An operator made of bytes: a TLS port that takes sidecars' streams and says exactly what it is told to.

use std::path::PathBuf;
use std::sync::Arc;

use bowsprit_core::stream::{SidecarReport, StreamedConfig, ToOperator, ToSidecar};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::SOON;

/// Every token of these tests has this in it: no log may.
pub const TOKEN_CANARY: &str = "token-canary-5b1d";

/// A listening operator, with the files that its sidecar is given.
pub struct ScriptedOperator {
    listener: TcpListener,
    tls: TlsAcceptor,
    /// Everything that its sidecar is given.
    pub dir: TempDir,
}

/// A stream whose request has come.
pub struct Held {
    stream: BufStream<TlsStream<TcpStream>>,
    /// The head of its request.
    pub head: String,
}

/// A CA's certificate, and a certificate with key for 127.0.0.1 that it signed.
fn identity() -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &Issuer::new(params, ca_key))
        .unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (ca, TlsAcceptor::from(Arc::new(config)))
}

impl ScriptedOperator {
    /// On a free port, with CA and token in their files.
    pub async fn start() -> Self {
        let (ca, tls) = identity();
        let operator = Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tls,
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(operator.state_dir()).unwrap();
        std::fs::create_dir(operator.config_dir()).unwrap();
        std::fs::write(operator.ca_file(), ca).unwrap();
        operator.token("first");
        operator
    }

    /// It is gone, and its files are still there.
    pub fn close(self) -> TempDir {
        self.dir
    }

    /// The sidecar's own folder.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The mounted folder.
    pub fn config_dir(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// The CA that the sidecar trusts.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// The pod's token.
    pub fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    /// The pod's token is this one from now on.
    pub fn token(&self, which: &str) {
        std::fs::write(self.token_file(), format!("{TOKEN_CANARY}-{which}\n")).unwrap();
    }

    /// The CA file is another CA's from now on. Gives what it was.
    pub fn foreign_ca(&self) -> String {
        let before = std::fs::read_to_string(self.ca_file()).unwrap();
        std::fs::write(self.ca_file(), identity().0).unwrap();
        before
    }

    /// Arguments of a sidecar that is to hold a stream to it.
    pub fn args(&self) -> Vec<String> {
        let path = |path: PathBuf| path.display().to_string();
        vec![
            "--config-dir".into(),
            path(self.config_dir()),
            "--operator".into(),
            self.url(),
            "--operator-ca".into(),
            path(self.ca_file()),
            "--operator-token".into(),
            path(self.token_file()),
            "--state-dir".into(),
            path(self.state_dir()),
            "--pod-labels".into(),
            path(self.dir.path().join("labels")),
        ]
    }

    /// What the mounted folder holds.
    pub fn mount(&self, documents: &str, sequence: u64) {
        std::fs::write(self.config_dir().join("bowsprit.yaml"), documents).unwrap();
        std::fs::write(self.config_dir().join("sequence"), sequence.to_string()).unwrap();
    }

    /// The pod's labels, as the downward API writes them.
    pub fn labels(&self, text: &str) {
        std::fs::write(self.dir.path().join("labels"), text).unwrap();
    }

    /// The next connection, whose TLS may fail.
    pub async fn connection(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let (stream, _) = tokio::time::timeout(SOON, self.listener.accept())
            .await
            .expect("no sidecar came")
            .unwrap();
        self.tls.accept(stream).await
    }

    /// The next one whose request has come, not answered yet.
    pub async fn asked(&self) -> Held {
        let stream = BufStream::new(self.connection().await.unwrap());
        let head = String::new();
        let mut held = Held { stream, head };
        assert!(held.again().await, "it left: {}", held.head);
        held
    }

    /// `https://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("https://{}", self.listener.local_addr().unwrap())
    }

    /// The next one, answered as it wants to be.
    pub async fn accept(&self) -> Held {
        let mut held = self.asked().await;
        held.bytes("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bowsprit-stream/1\r\n\r\n")
            .await;
        held
    }
}

impl Held {
    /// Waits for the next request's head on it, whenever it comes. Returns whether one came.
    pub async fn again(&mut self) -> bool {
        self.head.clear();
        while !self.head.ends_with("\r\n\r\n") {
            if !matches!(self.stream.read_line(&mut self.head).await, Ok(1..)) {
                return false;
            }
        }
        true
    }

    /// The body of the request whose head has come, by its length.
    pub async fn body(&mut self) -> Vec<u8> {
        let head = self.head.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).expect("it has a length");
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        body
    }

    /// Sends bytes.
    pub async fn bytes(&mut self, bytes: impl AsRef<[u8]>) {
        // The sidecar may have left, which is for the test to see otherwise.
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// Sends a message.
    pub async fn say(&mut self, message: &ToSidecar) {
        self.bytes(serde_json::to_string(message).unwrap() + "\n").await;
    }

    /// Sends documents.
    pub async fn config(&mut self, documents: &str, sequence: u64) {
        self.say(&ToSidecar::Config(streamed(documents, sequence))).await;
    }

    /// The next message; none where it has left.
    pub async fn next(&mut self) -> Option<ToOperator> {
        let mut line = String::new();
        let read = tokio::time::timeout(SOON, self.stream.read_line(&mut line));
        match read.await.expect("it says nothing") {
            Ok(1..) => Some(serde_json::from_str(&line).unwrap()),
            _ => None,
        }
    }

    /// The next report of which this holds.
    pub async fn report(&mut self, holds: impl Fn(&SidecarReport) -> bool) -> SidecarReport {
        loop {
            match self.next().await.expect("it left") {
                ToOperator::Report(report) if holds(&report) => return report,
                _ => {}
            }
        }
    }

    /// Waits until the sidecar has left.
    pub async fn left(mut self) {
        while self.next().await.is_some() {}
    }
}

/// Documents as the operator sends them.
pub fn streamed(documents: &str, sequence: u64) -> StreamedConfig {
    StreamedConfig {
        sequence,
        revision: bowsprit_core::config::revision(documents),
        format_version: 1,
        text: documents.to_owned(),
    }
}
