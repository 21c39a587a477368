//! Tells the leader what this replica's sidecars say: all of it at the start of a link, and then what changes.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::watch;

use super::wire::{FromLeader, PEER_PATH, PEER_PROTOCOL, ToLeader, Told, news};
use crate::fleet::Fleet;
use crate::heard::Heard;
use crate::link::{Link, Linked, NoLink};
use crate::stream::Hub;
use crate::stream::documents::line;
use crate::stream::withdrawal::WORD_EVERY;

/// For making a link: a leader to whom a whole fleet has just come back lets each wait for its turn. One that is dead is given
/// up as soon as another leads.
const STEP: Duration = Duration::from_secs(30);
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
    /// The way to it.
    pub link: Link,
    /// Where sidecars here ask, and where what they are granted goes.
    pub hub: Arc<Hub>,
}

/// Why a link ended or did not come to be.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("a step took too long")]
    Slow(#[from] tokio::time::error::Elapsed),
    #[error(transparent)]
    NoLink(#[from] NoLink),
    #[error("the connection")]
    Io(#[from] io::Error),
    #[error("HTTP")]
    Http(#[from] hyper::Error),
    #[error("the request")]
    Request(#[from] http::Error),
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
                broken = self.follow(&address) => broken,
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

    async fn follow(&self, address: &str) -> Result<(), Broken> {
        let stream = tokio::time::timeout(STEP, self.connect(address)).await??;
        tracing::info!(address, "linked to the leader");
        tell(stream, &self.fleet, &self.hub).await
    }

    async fn connect(&self, address: &str) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, Broken> {
        let Linked {
            mut sender,
            connection,
            bearer,
        } = self.link.connect(address).await?;
        let request = Request::get(PEER_PATH)
            .header(header::HOST, &self.link.server)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, PEER_PROTOCOL)
            .header(header::AUTHORIZATION, bearer)
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
async fn tell(stream: impl AsyncRead + AsyncWrite + Unpin, fleet: &Fleet, hub: &Hub) -> Result<(), Broken> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::with_capacity(1024, reader).lines();
    // First listen, then look: what changes in between is said twice rather than not.
    let mut heard = fleet.listen();
    let mut due: BTreeSet<String> = fleet.namespaces().into_iter().collect();
    let mut told: HashMap<String, Told> = HashMap::new();
    // What was asked before is not for this leader: its sidecars may have been answered since, and ask again.
    drop(hub.shares().waiting());
    let mut silent_at = tokio::time::Instant::now() + SILENCE;
    let mut speak = tokio::time::interval(WORD_EVERY);
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
        for ask in hub.shares().waiting() {
            writer.write_all(&line(&ask).unwrap_or_default()).await?;
        }
        writer.flush().await?;
        tokio::select! {
            () = hub.shares().asked() => {}
            _ = speak.tick() => {
                let takes = hub.takes(Instant::now());
                writer.write_all(&line(&ToLeader::Takes { takes }).unwrap_or_default()).await?;
            }
            Some(namespace) = heard.next() => {
                due.insert(namespace);
                tokio::time::sleep(GATHER).await;
            }
            said = lines.next_line() => {
                let Some(said) = said? else {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                };
                silent_at = tokio::time::Instant::now() + SILENCE;
                match serde_json::from_str(&said) {
                    Ok(FromLeader::Ping) => writer.write_all(&line(&ToLeader::Pong).unwrap_or_default()).await?,
                    Ok(FromLeader::PodGrant { uid, grants }) => hub.granted(&uid, grants),
                    Ok(FromLeader::PodLoan { uid, loans }) => hub.lent(&uid, loans),
                    Ok(FromLeader::OthersTake { takes }) => hub.others_take(takes, Instant::now()),
                    Ok(FromLeader::Unknown) | Err(_) => {}
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
