//! Tells the leader what this replica's sidecars say: all of it at the start of a link, and then what changes.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowsprit_core::stream::ToSidecar;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::wire::{PEER_PATH, PEER_PROTOCOL, ToLeader, Told, news};
use crate::fleet::Fleet;
use crate::heard::Heard;
use crate::stream::documents::line;

/// For each step of making a link.
const STEP: Duration = Duration::from_secs(5);
/// Between two tries, doubled up to [`MAX_PAUSE`], with up to as much again by chance.
const PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(4);
/// Changes are gathered for this long, so that many that come together go together.
const GATHER: Duration = Duration::from_millis(100);
/// A leader that says nothing for so long is gone: it pings every half a minute.
const SILENCE: Duration = Duration::from_secs(90);

/// Where the leader listens; none where this replica leads itself, or nobody is known to.
pub type Leader = watch::Receiver<Option<String>>;

/// What it takes to follow.
pub struct Follower {
    /// What the sidecars here say.
    pub fleet: Fleet,
    /// Whom to tell.
    pub leader: Leader,
    /// What the leader's certificate is checked against, PEM.
    pub bundle: watch::Receiver<Option<Arc<str>>>,
    /// The name in the leader's certificate.
    pub server: String,
    /// This pod's own token.
    pub token: PathBuf,
}

/// Why a link ended or did not come to be.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("a step took too long")]
    Slow(#[from] tokio::time::error::Elapsed),
    #[error("the connection")]
    Io(#[from] io::Error),
    #[error("HTTP")]
    Http(#[from] hyper::Error),
    #[error("the request")]
    Request(#[from] http::Error),
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    #[error("no CA bundle, or none that can be read")]
    Bundle,
    #[error("the server's name is none")]
    Name(#[from] rustls::pki_types::InvalidDnsNameError),
    #[error("the leader answers {0}")]
    Refused(StatusCode),
    #[error("the leader is silent")]
    Silent,
}

impl Follower {
    /// Never returns.
    pub async fn run(mut self) {
        let mut pause = PAUSE;
        loop {
            let Some(address) = self.leader.borrow_and_update().clone() else {
                if self.leader.changed().await.is_err() {
                    // Whoever knew the leader is gone; the process is about to end.
                    std::future::pending::<()>().await;
                }
                continue;
            };
            let mut leader = self.leader.clone();
            let began = Instant::now();
            let broken = tokio::select! {
                broken = self.link(&address) => broken,
                _ = leader.changed() => continue,
            };
            if let Err(error) = broken {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::info!(address, %error, source, "no link to the leader, will try again");
            }
            pause = if began.elapsed() > MAX_PAUSE {
                PAUSE
            } else {
                (pause * 2).min(MAX_PAUSE)
            };
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(1.0 + fastrand::f64())) => {}
                _ = leader.changed() => {}
            }
        }
    }

    async fn link(&self, address: &str) -> Result<(), Broken> {
        let stream = tokio::time::timeout(STEP, self.connect(address)).await??;
        tracing::info!(address, "linked to the leader");
        tell(stream, &self.fleet).await
    }

    async fn connect(&self, address: &str) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, Broken> {
        let bundle = self.bundle.borrow().clone().ok_or(Broken::Bundle)?;
        let mut roots = rustls::RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(ca.map_err(|_| Broken::Bundle)?)?;
        }
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let token = tokio::fs::read_to_string(&self.token).await?;
        let tcp = TcpStream::connect(address).await?;
        let _ = tcp.set_nodelay(true);
        let name = ServerName::try_from(self.server.clone())?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        let request = Request::get(PEER_PATH)
            .header(header::HOST, &self.server)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, PEER_PROTOCOL)
            .header(header::AUTHORIZATION, format!("Bearer {}", token.trim()))
            .body(Empty::<Bytes>::new())?;
        let answered = async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(Broken::Refused(response.status()));
            }
            Ok(response)
        };
        // The connection's future carries the request, and is over with the upgrade.
        let (response, connection) = futures::join!(answered, connection.with_upgrades());
        let response = response?;
        connection?;
        Ok(TokioIo::new(hyper::upgrade::on(response).await?))
    }
}

/// Tells what is so and then what changes, until the link breaks.
async fn tell(stream: impl AsyncRead + AsyncWrite + Unpin, fleet: &Fleet) -> Result<(), Broken> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::with_capacity(1024, reader).lines();
    // First listen, then look: what changes in between is said twice rather than not.
    let mut heard = fleet.listen();
    let mut due: BTreeSet<String> = fleet.namespaces().into_iter().collect();
    let mut told: HashMap<String, Told> = HashMap::new();
    let mut silent_at = tokio::time::Instant::now() + SILENCE;
    loop {
        due.extend(waiting(&mut heard));
        for namespace in std::mem::take(&mut due) {
            let of = told.entry(namespace.clone()).or_default();
            for message in news(&namespace, of, &fleet.reports_here(&namespace), Instant::now()) {
                writer.write_all(&line(&message).unwrap_or_default()).await?;
            }
            if of.is_empty() {
                told.remove(&namespace);
            }
        }
        writer.flush().await?;
        tokio::select! {
            Some(namespace) = heard.next() => {
                due.insert(namespace);
                tokio::time::sleep(GATHER).await;
            }
            said = lines.next_line() => {
                let Some(said) = said? else {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                };
                silent_at = tokio::time::Instant::now() + SILENCE;
                if serde_json::from_str::<ToSidecar>(&said).is_ok_and(|said| said == ToSidecar::Ping) {
                    writer.write_all(&line(&ToLeader::Pong).unwrap_or_default()).await?;
                }
            }
            () = tokio::time::sleep_until(silent_at) => return Err(Broken::Silent),
        }
    }
}

/// What is heard of already.
fn waiting(heard: &mut Heard) -> Vec<String> {
    let mut namespaces = Vec::new();
    while let Some(Some(namespace)) = heard.next().now_or_never() {
        namespaces.push(namespace);
    }
    namespaces
}
