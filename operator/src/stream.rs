//! The config stream: each sidecar holds one, over TLS, and hears of a new config the moment that the watch tells of it; it
//! says back what it has in service. What goes over the wire is [`bowsprit_core::stream`].
//!
//! Every replica serves, from the same watches; only the leader writes. Nothing is read from the apiserver for a stream
//! but whose its token is (`token`, remembered by `reviews`). The parts: `door` decides who is let in, `documents` has each
//! namespace's newest config as the line to send, `session` is one stream from its 101 on, `roster` knows which pod holds
//! which, and what sidecars say goes into the [`Fleet`]. [`Hub`] has them all, and can be run without a cluster.

pub mod documents;
mod door;
mod entrance;
pub mod metrics;
pub mod peer;
mod report;
pub mod reviews;
mod roster;
mod session;
pub mod token;
pub mod trust;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bowsprit_core::stream::MAX_TO_OPERATOR;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::certs::{Served, server_config};
use crate::fleet::{Fleet, PodId};
use crate::sync::locked;
use documents::Documents;
use entrance::{Caller, Entered, enter};
use metrics::Metrics;
use reviews::Reviews;
use roster::Roster;
use session::Session;
pub use session::Timing;
use token::{Account, Reviewer};

/// Connections that are not yet streams: in their TLS handshake, or waiting for a review. Times a few tens of KiB it bounds
/// what strangers can make the operator hold.
const AT_THE_DOOR: usize = 256;
/// Streams of one replica, where nothing else is asked for: what fits into 256 MiB beside 10,000 pods (docs/scale.md).
pub const MOST_STREAMS: usize = 10_000;
/// Before accepting again after the process ran out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks for pods that have been away too long.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// What decides about streams, with the times and numbers of a cluster as default.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Streams at a time.
    pub most: usize,
    /// Their times.
    pub timing: Timing,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            most: MOST_STREAMS,
            timing: Timing {
                ping: Duration::from_secs(30),
                silence: Duration::from_secs(90),
                pause: Duration::from_millis(50),
                leave_within: Duration::from_secs(8),
            },
        }
    }
}

/// All that streams need and fill.
pub struct Hub {
    settings: Settings,
    documents: Documents,
    fleet: Fleet,
    reviews: Reviews,
    roster: Roster,
    /// The other replicas'.
    links: Roster,
    metrics: Metrics,
    operators: Option<Account>,
    /// What other replicas are sent.
    nothing: watch::Sender<Option<documents::Frame>>,
    /// The uids of a list of pods that is under way.
    listed: Mutex<Option<HashSet<String>>>,
}

impl Hub {
    /// A hub that has `documents` sent, fills `fleet`, and asks `reviewer` whose a token is. Who runs as `operators` may tell of
    /// its own sidecars.
    pub fn new(
        settings: Settings,
        documents: Documents,
        fleet: Fleet,
        reviewer: Arc<dyn Reviewer>,
        metrics: Metrics,
        operators: Option<Account>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            documents,
            fleet,
            reviews: Reviews::new(reviewer, metrics.clone()),
            roster: Roster::default(),
            links: Roster::default(),
            metrics,
            operators,
            nothing: watch::Sender::new(None),
            listed: Mutex::default(),
        })
    }

    /// What the watch of the pods with a sidecar tells: one that is gone loses its stream, and its token is asked about anew.
    pub fn note_pod(&self, event: &watcher::Event<Pod>) {
        let mut listed = locked(&self.listed);
        match event {
            watcher::Event::Init => *listed = Some(HashSet::new()),
            watcher::Event::InitApply(pod) => {
                if let (Some(listed), Some(uid)) = (&mut *listed, &pod.metadata.uid) {
                    listed.insert(uid.clone());
                }
            }
            watcher::Event::InitDone => {
                // Who went while the watch was interrupted is only missing. Who is no pod with our label comes back.
                for uid in self.roster.keep_only(&listed.take().unwrap_or_default()) {
                    self.reviews.forget(&uid);
                }
            }
            watcher::Event::Delete(pod) => {
                let metadata = &pod.metadata;
                if let (Some(namespace), Some(name), Some(uid)) = (&metadata.namespace, &metadata.name, &metadata.uid) {
                    let (name, uid) = (name.clone(), uid.clone());
                    self.reviews.forget(&uid);
                    self.roster.cut(&uid);
                    self.fleet.gone(namespace, &PodId { name, uid });
                }
            }
            watcher::Event::Apply(_) => {}
        }
    }
}

/// TLS as the webhook has it, without tickets: a sidecar connects once, and a session to resume would be kept for each.
pub fn tls(served: Arc<Served>) -> Result<Arc<rustls::ServerConfig>, rustls::Error> {
    let mut config = server_config(served)?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Serves until `leave`; then every stream is told to go within [`Timing::leave_within`], and what is left is closed.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    hub: Arc<Hub>,
    leave: impl Future<Output = ()>,
) {
    let door = Arc::new(Semaphore::new(AT_THE_DOOR));
    let streams = Arc::new(Semaphore::new(hub.settings.most));
    let (leaving, is_leaving) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut leave = std::pin::pin!(leave);
    let mut forget = tokio::time::interval(FORGET_EVERY);
    loop {
        // Each arm may be dropped at any point: an accept that did not complete has taken no connection.
        let accepting = async {
            let place = Arc::clone(&door).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut leave => break,
            Some(_) = connections.join_next() => continue,
            _ = forget.tick() => {
                hub.fleet.forget_lost(Instant::now());
                continue;
            }
            accepted = accepting => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "stream port cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, hub, streams, is_leaving) = (
            Arc::clone(&tls),
            Arc::clone(&hub),
            Arc::clone(&streams),
            is_leaving.clone(),
        );
        connections.spawn(async move {
            // Boxed: what it takes to let somebody in is many times what a stream takes, and ends here.
            let entered = Box::pin(enter(stream, tls, &hub, streams, &is_leaving)).await;
            drop(place);
            if let Some(entered) = entered {
                hub.carry(entered, is_leaving).await;
            }
        });
    }
    drop(listener);
    let _ = leaving.send(true);
    while connections.join_next().await.is_some() {}
}

impl Hub {
    async fn carry(&self, entered: Entered, leaving: watch::Receiver<bool>) {
        let Entered { io, early, caller } = entered;
        match caller {
            Caller::Sidecar {
                namespace,
                pod,
                permit: _permit,
            } => {
                let (_place, cut) = self.roster.enter(&pod.uid);
                let session = Session {
                    newest: self.documents.follow(&namespace),
                    cut,
                    leaving,
                    timing: self.settings.timing,
                    longest: MAX_TO_OPERATOR,
                    metrics: &self.metrics,
                };
                let teller = self.fleet.teller(true);
                let hear = |line: &[u8]| {
                    if let Some(report) = report::read(line)? {
                        self.metrics.reported();
                        teller.note(&namespace, pod.clone(), Arc::new(report), Instant::now());
                    }
                    Ok(())
                };
                self.metrics.opened();
                let ended = session.carry(io, &early, hear).await;
                self.metrics.ended(ended.label());
                tracing::debug!(namespace, pod = pod.name, why = ended.label(), "stream ended");
                teller.lost(&namespace, &pod, Instant::now());
            }
            Caller::Peer(pod) => {
                let (_place, cut) = self.links.enter(&pod.uid);
                let session = Session {
                    newest: self.nothing.subscribe(),
                    cut,
                    leaving,
                    timing: Timing {
                        // It may say much at once, and is trusted to stop.
                        pause: Duration::ZERO,
                        ..self.settings.timing
                    },
                    longest: peer::LONGEST,
                    metrics: &self.metrics,
                };
                let teller = self.fleet.teller(false);
                self.metrics.linked(1);
                tracing::info!(pod = pod.name, "another operator tells of its sidecars");
                let ended = session.carry(io, &early, |line: &[u8]| peer::hear(line, &teller, Instant::now()));
                let ended = ended.await;
                self.metrics.linked(-1);
                tracing::info!(pod = pod.name, why = ended.label(), "another operator's link ended");
                teller.ended(Instant::now());
            }
        }
    }
}
