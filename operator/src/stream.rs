//! The config stream: each sidecar holds one, over TLS, and hears of a new config the moment that the watch tells of it; it
//! says back what it has in service. What goes over the wire is [`bowsprit_core::stream`].
//!
//! Every replica serves, from the same watches; only the leader writes. Nothing is read from the apiserver for a stream
//! but whose its token is (`token`, remembered by `reviews`). The parts: `room` is where callers wait for their turn, `door` decides who is let in, `documents` has each
//! namespace's newest config as the line to send, `pauses` what is sent before it, `session` is one stream from its 101 on, `roster` knows which pod holds
//! which, `withdrawal` decides when they are sent to other replicas, and what sidecars say goes into the [`Fleet`]. [`Hub`] has them all, and can be run without a cluster.

pub mod documents;
mod door;
mod entrance;
mod mailbox;
pub mod metrics;
mod pauses;
pub mod peer;
mod report;
pub mod reviews;
mod room;
mod roster;
mod session;
pub mod token;
pub mod trust;
mod withdrawal;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bowsprit_core::stream::loans::{WireBorrow, WireLoan};
use bowsprit_core::stream::shares::{WireAsk, WireGrant};
use bowsprit_core::stream::{MAX_TO_OPERATOR, ToSidecar};
use bowsprit_crds::UsagePolicy;
use bowsprit_crds::found::Found;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::certs::{Served, server_config};
use crate::fleet::{Fleet, PodId};
use crate::money::Money;
use crate::room::Room;
use crate::shares::Shares;
use crate::sync::locked;
use crate::validate::hosts::AllowedHosts;
use documents::Documents;
use entrance::{Caller, Entered, enter};
use mailbox::{MOST_FOR_PEER, MOST_FOR_SIDECAR, Mailbox, Mailboxes};
use metrics::Metrics;
use pauses::Pauses;
use peer::wire::{FromLeader, ToLeader};
use report::Said;
use reviews::Reviews;
use roster::Roster;
use session::Session;
pub use session::Timing;
use token::{Account, Reviewer};
use withdrawal::{Who, Withdrawal};

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
    /// For so long this replica's watch of UsagePolicies fails, and another's does not, before its streams are sent there.
    pub worse_off: Duration,
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
                withdraw_within: Duration::from_secs(30),
            },
            // Longer than from one try of a watch to the next (a minute, see `objects::doubt`): after an outage of the apiserver's the one
            // that has tried last is not worse off. With the time to go it is less than a mount may take, and a word outlives its stream.
            worse_off: Duration::from_secs(75),
        }
    }
}

/// All that streams need and fill.
pub struct Hub {
    settings: Settings,
    documents: Documents,
    pauses: Pauses,
    withdrawal: Withdrawal,
    /// Places for streams.
    streams: Arc<Semaphore>,
    fleet: Fleet,
    reviews: Reviews,
    roster: Roster,
    /// The other replicas'.
    links: Roster,
    metrics: Metrics,
    operators: Option<Account>,
    shares: Shares,
    money: OnceLock<Money>,
    mailboxes: Mailboxes,
    /// Of the other replicas' links.
    peers: Mailboxes,
    /// What other replicas are sent.
    nothing: watch::Sender<Option<documents::Frame>>,
    /// The uids of a list of pods that is under way.
    listed: Mutex<Option<HashSet<String>>>,
}

impl Hub {
    /// A hub that has `documents` sent, fills `fleet`, and asks `reviewer` whose a token is. Who runs as `operators` may tell of
    /// its own sidecars. What sidecars ask goes to `shares`.
    pub fn new(
        settings: Settings,
        documents: Documents,
        fleet: Fleet,
        reviewer: Arc<dyn Reviewer>,
        metrics: Metrics,
        operators: Option<Account>,
        shares: Shares,
    ) -> Arc<Self> {
        Arc::new(Self {
            withdrawal: Withdrawal::new(settings.worse_off, Instant::now()),
            streams: Arc::new(Semaphore::new(settings.most)),
            settings,
            documents,
            pauses: Pauses::default(),
            fleet,
            reviews: Reviews::new(reviewer, metrics.clone()),
            roster: Roster::default(),
            links: Roster::default(),
            metrics,
            operators,
            shares,
            money: OnceLock::new(),
            mailboxes: Mailboxes::default(),
            peers: Mailboxes::default(),
            nothing: watch::Sender::new(None),
            listed: Mutex::default(),
        })
    }

    /// What the watch of the UsagePolicies tells: what they pause is sent at once, whoever leads. Guards may ask at `hosts` only.
    pub fn note_policy(&self, told: &watcher::Result<watcher::Event<Found<UsagePolicy>>>, hosts: &AllowedHosts) {
        self.withdrawal.note(told, Instant::now());
        self.pauses.note(told, hosts);
    }

    /// Decides whether streams stay here. To be called each second.
    pub fn look(&self, now: Instant) {
        self.withdrawal.look(now);
    }

    /// Whether sidecars are well off here: what they hear of pauses is true, and there is room for more than one.
    pub fn takes(&self, now: Instant) -> bool {
        self.withdrawal.works(now) && withdrawal::has_room(self.streams.available_permits(), self.settings.most)
    }

    /// The leader says whether any other replica than this one would take streams.
    pub fn others_take(&self, takes: bool, now: Instant) {
        self.withdrawal.heard(Who::Leader, takes, now);
    }

    /// Changes with each pause that comes.
    pub fn pausing(&self) -> watch::Receiver<u64> {
        self.pauses.news()
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
                self.note_ended(pod);
            }
            watcher::Event::InitDone => {
                // Who went while the watch was interrupted is only missing. Who is no pod with our label comes back.
                let there = listed.take().unwrap_or_default();
                for uid in self.roster.keep_only(&there) {
                    self.reviews.forget(&uid);
                }
                self.shares.keep_only(&there);
                if let Some(money) = self.money.get() {
                    money.keep_only(&there);
                }
            }
            watcher::Event::Delete(pod) => {
                let metadata = &pod.metadata;
                if let (Some(namespace), Some(name), Some(uid)) = (&metadata.namespace, &metadata.name, &metadata.uid) {
                    let (name, uid) = (name.clone(), uid.clone());
                    self.reviews.forget(&uid);
                    self.roster.cut(&uid);
                    let pod = PodId { name, uid };
                    self.shares.gone(namespace, &pod);
                    if let Some(money) = self.money.get() {
                        money.gone(namespace, &pod);
                    }
                    self.fleet.gone(namespace, &pod);
                }
            }
            watcher::Event::Apply(pod) => self.note_ended(pod),
        }
    }

    /// A pod that has ended spends nothing more, and a Job's may lie there for long.
    fn note_ended(&self, pod: &Pod) {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let metadata = &pod.metadata;
        if let Some(money) = self.money.get()
            && matches!(phase, Some("Succeeded" | "Failed"))
            && let (Some(namespace), Some(name), Some(uid)) = (&metadata.namespace, &metadata.name, &metadata.uid)
        {
            let (name, uid) = (name.clone(), uid.clone());
            money.ended(namespace, &PodId { name, uid });
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
    let room = Room::new(room::RULE);
    let (leaving, is_leaving) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut leave = std::pin::pin!(leave);
    let mut forget = tokio::time::interval(FORGET_EVERY);
    loop {
        // Each arm may be dropped at any point: an accept that did not complete has taken no connection.
        let accepted = tokio::select! {
            () = &mut leave => break,
            Some(_) = connections.join_next() => continue,
            _ = forget.tick() => {
                hub.fleet.forget_lost(Instant::now());
                hub.fleet.tell_counts(Instant::now());
                hub.look(Instant::now());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, address)) => (stream, address.ip()),
            Err(error) => {
                tracing::warn!(%error, "stream port cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = room.enter(peer, room::room(hub.streams.available_permits())) else {
            // Nothing is said, as that would take TLS: the caller comes again, here or to another replica.
            hub.metrics.requested("crowded");
            continue;
        };
        let (tls, hub, mut is_leaving) = (Arc::clone(&tls), Arc::clone(&hub), is_leaving.clone());
        connections.spawn(async move {
            let seat = tokio::select! {
                seat = place.turn(&stream) => seat,
                // Who waits goes to another replica at once.
                () = left(&mut is_leaving) => return,
            };
            let seat = match seat {
                Ok(seat) => seat,
                Err(why) => {
                    hub.metrics.requested(why.label());
                    return;
                }
            };
            // Boxed, both, so that one that waits holds neither: what it takes to let somebody in is many times what a stream
            // takes, and ends here.
            let entered = tokio::select! {
                biased;
                () = seat.lost() => {
                    hub.metrics.requested("crowded");
                    None
                }
                entered = Box::pin(enter(stream, tls, &hub, &is_leaving)) => entered,
            };
            drop(seat);
            if let Some(entered) = entered {
                Box::pin(hub.carry(entered, is_leaving)).await;
            }
        });
    }
    drop(listener);
    let _ = leaving.send(true);
    while connections.join_next().await.is_some() {}
}

/// Returns once this replica is about to end.
async fn left(is_leaving: &mut watch::Receiver<bool>) {
    let _ = is_leaving.wait_for(|leaving| *leaving).await;
}

impl Hub {
    /// A sidecar that holds a stream here asks: it is answered where this replica leads, and else the leader is asked.
    fn asked(&self, namespace: &str, pod: &PodId, asks: Vec<WireAsk>, mailbox: &Mailbox) {
        match self.shares.ask(namespace, pod, &asks) {
            Some(grants) if grants.is_empty() => {}
            Some(grants) => mailbox.put(&documents::line(&ToSidecar::Grant { grants }).unwrap_or_default()),
            None => self.shares.pass_on(namespace, pod, asks),
        }
        self.push();
    }

    /// Sends what sidecars are to be told of limits of the fleet that have not just asked. Who is not here may be at any other replica, and
    /// each leaves it to those that it has.
    pub fn push(&self) {
        for (uid, grants) in self.shares.pushed() {
            let message = ToSidecar::Grant { grants };
            if self.mailboxes.put(&uid, &documents::line(&message).unwrap_or_default()) {
                continue;
            }
            if let ToSidecar::Grant { grants } = message {
                let message = FromLeader::PodGrant { uid, grants };
                self.peers.put_all(&documents::line(&message).unwrap_or_default());
            }
        }
    }

    /// Who lends out limits of the fleet, or passes on what is asked.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// What the leader grants to a sidecar that holds a stream here.
    pub fn granted(&self, uid: &str, grants: Vec<WireGrant>) {
        if !grants.is_empty() {
            let line = documents::line(&ToSidecar::Grant { grants }).unwrap_or_default();
            self.mailboxes.put(uid, &line);
        }
    }

    /// Who lends out budgets that pods spend together. To be named before any stream is served.
    pub fn lends(&self, money: Money) {
        let _ = self.money.set(money);
    }

    /// A sidecar that holds a stream here asks for parts of budgets: as with limits.
    fn borrowed(&self, namespace: &str, pod: &PodId, asks: Vec<WireBorrow>, mailbox: &Mailbox) {
        let Some(money) = self.money.get() else { return };
        match money.ask(namespace, pod, &asks) {
            Some(loans) if loans.is_empty() => {}
            Some(loans) => mailbox.put(&documents::line(&ToSidecar::Lend { loans }).unwrap_or_default()),
            None => self.shares.pass(ToLeader::Borrow {
                namespace: namespace.to_owned(),
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
                asks,
            }),
        }
    }

    /// What the leader lends to a sidecar that holds a stream here.
    pub fn lent(&self, uid: &str, loans: Vec<WireLoan>) {
        if !loans.is_empty() {
            let line = documents::line(&ToSidecar::Lend { loans }).unwrap_or_default();
            self.mailboxes.put(uid, &line);
        }
    }

    async fn carry(&self, entered: Entered, leaving: watch::Receiver<bool>) {
        let Entered { io, early, caller } = entered;
        match caller {
            Caller::Sidecar {
                namespace,
                pod,
                permit: _permit,
            } => {
                let (_place, cut) = self.roster.enter(&pod.uid);
                let posted = self.mailboxes.open(&pod.uid, MOST_FOR_SIDECAR);
                let session = Session {
                    newest: self.documents.follow(&namespace),
                    pauses: self.pauses.follow(&namespace),
                    mailbox: &posted.mailbox,
                    cut,
                    leaving,
                    withdrawn: self.withdrawal.follow(),
                    timing: self.settings.timing,
                    longest: MAX_TO_OPERATOR,
                    metrics: &self.metrics,
                };
                let teller = self.fleet.teller(true);
                let hear = |line: &[u8]| {
                    match report::read(line)? {
                        Some(Said::Report(report)) => {
                            self.metrics.reported();
                            teller.note(&namespace, pod.clone(), Arc::new(report), Instant::now());
                        }
                        Some(Said::Ask(asks)) => self.asked(&namespace, &pod, asks, &posted.mailbox),
                        Some(Said::Borrow(asks)) => self.borrowed(&namespace, &pod, asks, &posted.mailbox),
                        None => {}
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
                let posted = self.peers.open(&pod.uid, MOST_FOR_PEER);
                let mailbox = &posted.mailbox;
                let session = Session {
                    newest: self.nothing.subscribe(),
                    pauses: self.nothing.subscribe(),
                    mailbox,
                    cut,
                    leaving,
                    // What it tells is heard whoever is better off.
                    withdrawn: watch::channel(false).1,
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
                let hear = |line: &[u8]| {
                    let ask = |namespace: &str, pod: PodId, asks: &[WireAsk]| {
                        let grants = self.shares.ask(namespace, &pod, asks).unwrap_or_default();
                        let message = FromLeader::PodGrant { uid: pod.uid, grants };
                        mailbox.put(&documents::line(&message).unwrap_or_default());
                        self.push();
                    };
                    let borrow = |namespace: &str, pod: PodId, asks: &[WireBorrow]| {
                        let loans = self.money.get().and_then(|money| money.ask(namespace, &pod, asks));
                        let (uid, loans) = (pod.uid, loans.unwrap_or_default());
                        mailbox.put(&documents::line(&FromLeader::PodLoan { uid, loans }).unwrap_or_default());
                    };
                    let takes = |takes| {
                        let now = Instant::now();
                        self.withdrawal.heard(Who::Follower(pod.uid.clone()), takes, now);
                        let takes = self.takes(now) || self.withdrawal.follower_takes(&pod.uid, now);
                        mailbox.put(&documents::line(&FromLeader::OthersTake { takes }).unwrap_or_default());
                    };
                    peer::hear(line, &teller, Instant::now(), ask, borrow, takes)
                };
                let ended = session.carry(io, &early, hear).await;
                self.metrics.linked(-1);
                tracing::info!(pod = pod.name, why = ended.label(), "another operator's link ended");
                teller.ended(Instant::now());
            }
        }
    }
}
