//! Putting the parts together, watching over them, and taking them apart again.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bowsprit_ledger::outbox::{self, Outbox};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::args::Args;
use crate::batches::Batches;
use crate::caller::Pod;
use crate::config::Source;
use crate::config::env::{self, EnvSource};
use crate::config::file::FileSource;
use crate::config::folder::FolderSource;
use crate::config::saved::{self, SavedSource};
use crate::config::stream::{self, Link, Money, Pauses, StreamState};
use crate::credentials::KeyFiles;
use crate::drain::{Drain, Drained};
use crate::ending::Ending;
use crate::families::Families;
use crate::jobs::Jobs;
use crate::limits::{ADMIN_CONNECTIONS, ADMIN_RESERVE};
use crate::memory::{self, Memory};
use crate::net::client::{Connections, System};
use crate::net::server;
use crate::net::server::{Listener, Listening, SpareFds};
use crate::observe::ledger::About;
use crate::observe::spans::{self, Settings};
use crate::observe::{AccessLog, FLUSH_EVERY};
use crate::process::{Process, ProcessLimits};
use crate::renewal::Renewal;
use crate::report::Reporter;
use crate::ship::Shipping;
use crate::store::Stores;
use crate::supervise::{PartEnded, Parts};
use crate::tenant::Tenant;
use crate::tenant::budgets::Pocket;
use crate::tenant::budgets::kept::{self, Keeper};
use crate::tenant::limits::Borrower;
use crate::time::{Clock, unix_millis};
use crate::{admin, probe, proxy};

/// How long what was cut may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// Bytes of entries that are kept for the ledger service where there is no folder for them.
const LEDGER_IN_MEMORY: u64 = 2 << 20;
/// How long the last batches may take: so much is always left of what a pod's end may take.
const LAST_BATCHES: Duration = Duration::from_secs(3);
/// How long the operator may take to hear what is given back of budgets.
const GIVE_BACK: Duration = Duration::from_millis(500);
/// The folder of jobs in the sidecar's own.
const JOBS_DIR: &str = "jobs";
/// How often idle connections to providers are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// Why the sidecar does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no configuration, or a person's file is wrong.
    #[error("{0}")]
    Config(String),
    /// A port cannot be had.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
}

/// A running sidecar.
pub struct Running {
    /// What its requests share.
    pub process: Arc<Process>,
    /// Where the app is served.
    pub listen: SocketAddr,
    /// Where health and metrics are served.
    pub admin: SocketAddr,
    parts: Parts,
    shipping: Option<Arc<Shipping>>,
    keeper: Option<Arc<Keeper>>,
}

/// Loads the configuration, binds the ports, starts the parts.
///
/// A person's file (or environment) must be valid, or there is nothing to start. A mounted folder may come later or be
/// wrong for now: the sidecar starts unready and says why at `/health`.
///
/// # Errors
/// There is nothing to start from, or a port cannot be had.
pub fn start(args: &Args) -> Result<Running, StartError> {
    let access = AccessLog::new(args.access_log, args.log_level);
    start_with(args, access)
}

/// The same with an access log of the caller's choice.
///
/// # Errors
/// The same.
pub fn start_with(args: &Args, access: AccessLog) -> Result<Running, StartError> {
    let process = Arc::new(process(args, access));
    let keeper = keeper(args, &process).map(Arc::new);
    let sources = sources(args, &process)?;
    let mut renewal = Renewal::new(
        sources,
        KeyFiles::new(args.secrets_dir.clone()),
        args.pod_labels.clone(),
    );
    renewal.poll(&process);
    let is_mounted = args.config.is_none() && args.config_dir.is_some();
    let tenant = &process.tenant;
    if !is_mounted && tenant.snapshot.load().is_none() {
        let why = tenant.config.refused().map(|refused| refused.why);
        return Err(StartError::Config(why.unwrap_or_else(|| "no configuration".into())));
    }
    if let Some(file) = &args.cache_warm {
        proxy::warm::warm(&process, file);
    }
    let traffic = bind(args.listen)?;
    let admin = bind(args.admin)?;
    let addresses = (address(&traffic, args.listen)?, address(&admin, args.admin)?);
    let ports = vec![addresses.0.port(), addresses.1.port()];
    let _ = process.connections.own_ports.set(ports);
    tracing::info!(listen = %addresses.0, admin = %addresses.1, version = env!("CARGO_PKG_VERSION"), "started");
    let shipping = shipping(args, &process).map(Arc::new);
    let mut parts = spawn_all(args, &process, traffic, admin, renewal);
    if let Some(shipping) = &shipping {
        parts.spawn("ledger shipper", Arc::clone(shipping).run());
    }
    if let Some(keeper) = &keeper {
        parts.spawn("budgets", Arc::clone(keeper).run());
    }
    Ok(Running {
        parts,
        shipping,
        keeper,
        process,
        listen: addresses.0,
        admin: addresses.1,
    })
}

fn process(args: &Args, access: AccessLog) -> Process {
    let metrics = Families::new(access);
    let sinks = Arc::clone(&metrics.sinks);
    let connections = Arc::new(Connections::new(args.ca_dir.clone(), &metrics.connections.pool));
    match Settings::read(env::variable) {
        Ok(None) => {}
        Ok(Some(settings)) => {
            tracing::info!(endpoint = %settings.endpoint, "traces are exported");
            sinks.spans.keep(settings);
        }
        // A sidecar without traces serves; one that does not start for them serves nobody.
        Err(error) => tracing::warn!(error, "no traces are exported"),
    }
    let memory = Memory::new(args.memory_budget.unwrap_or_else(memory::default_budget));
    let keys = Arc::new(KeyFiles::new(args.secrets_dir.clone()));
    let stores = Stores::new(&args.pod_namespace, keys, Arc::clone(&connections), fastrand::u64(..));
    let tenant = Tenant::new(
        Arc::clone(&connections),
        (stores, workload(args)),
        Arc::clone(&sinks),
        &memory,
        metrics.providers.clone(),
        (metrics.limits.clone(), metrics.budgets.clone()),
        metrics.config.clone(),
    );
    if let Some(settings) = outbox(args) {
        let about = About {
            sender: sender(args),
            in_file: settings.folder.is_some(),
            service: args.ledger.0.as_ref().map(ToString::to_string),
        };
        sinks.ledger.keep(Arc::new(Outbox::start(settings)), about);
    }
    let stream = args
        .operator_service()
        .map(|operator| Arc::new(StreamState::new(operator.address.to_string(), metrics.stream.clone())));
    tenant.limits.belong_to(Borrower {
        pod: args.pod_name.clone(),
        workload: told(&args.workload),
        service_account: told(&args.pod_service_account),
    });
    tenant.budgets.belong_to(Pocket {
        workload: told(&args.workload),
        pod: args.pod_name.clone(),
        has_operator: stream.is_some(),
    });
    Process {
        limits: ProcessLimits {
            max_body: args.max_body,
            max_upload: args.max_upload,
            max_in_flight: args.max_in_flight,
            max_connections: args.max_connections,
            drain_deadline: args.drain_deadline,
        },
        clock: Clock::start(),
        memory,
        drain: Arc::default(),
        ending: Ending::new(args.end_on_request),
        dead: Arc::default(),
        sinks,
        metrics,
        connections,
        pod: ArcSwap::from_pointee(pod(args)),
        jobs: jobs(args),
        batches: Batches::open(
            args.state_dir
                .as_ref()
                .or(args.ledger_dir.as_ref())
                .map(PathBuf::as_path),
        ),
        stream,
        tenant: Arc::new(tenant),
    }
}

fn told(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// The pods that share answers: those of its workload, or it alone where nobody knows that.
fn workload(args: &Args) -> &str {
    if args.workload.is_empty() {
        &args.pod_name
    } else {
        &args.workload
    }
}

/// The pod that the sidecar runs in, as far as it is told.
fn pod(args: &Args) -> Pod {
    Pod {
        name: told(&args.pod_name),
        namespace: told(&args.pod_namespace),
        service_account: told(&args.pod_service_account),
        workload: told(&args.workload),
        ..Pod::default()
    }
}

fn sources(args: &Args, process: &Process) -> Result<Vec<Box<dyn Source>>, StartError> {
    Ok(match (&args.config, &args.config_dir) {
        (Some(file), _) => vec![Box::new(FileSource::new(file.clone()))],
        (None, Some(dir)) => {
            let mut sources: Vec<Box<dyn Source>> = vec![Box::new(FolderSource::new(dir.clone()))];
            // After the folder: where both have the same, the folder's word is the fresher one.
            if let Some(dir) = &args.state_dir {
                sources.push(Box::new(SavedSource::new(dir, process.metrics.config.clone())));
            }
            sources
        }
        (None, None) => vec![Box::new(EnvSource::read().map_err(StartError::Config)?)],
    })
}

/// What the ledger's outbox is made with, where records are to be kept.
fn outbox(args: &Args) -> Option<outbox::Settings> {
    let size = args.ledger_size as u64;
    let limit = match (&args.ledger_dir, &args.ledger.0) {
        (Some(_), _) => size,
        (None, Some(_)) => size.min(LEDGER_IN_MEMORY),
        (None, None) => return None,
    };
    Some(outbox::Settings {
        folder: args.ledger_dir.clone(),
        limit,
        clock: || i64::try_from(unix_millis()).unwrap_or(i64::MAX),
    })
}

/// What keeps the sums of budgets, where there is a folder that outlives this container; with what is in it they begin.
fn keeper(args: &Args, process: &Process) -> Option<Keeper> {
    let dir = args.state_dir.as_ref().or(args.ledger_dir.as_ref())?;
    let budgets = &process.tenant.budgets;
    let (kept, owed) = kept::read(dir);
    budgets.begin_with(kept, owed);
    Some(Keeper::new(dir.clone(), Arc::clone(budgets)))
}

/// The jobs that an earlier run has left, where there is a folder that outlives this container.
fn jobs(args: &Args) -> Option<Arc<Jobs>> {
    let dir = args.state_dir.as_ref()?.join(JOBS_DIR);
    match Jobs::open(dir.clone(), args.jobs_size) {
        Ok(jobs) => Some(Arc::new(jobs)),
        // A sidecar without jobs serves; one that does not start for them serves nobody.
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "there are no background jobs: their folder cannot be read");
            None
        }
    }
}

/// What is told of this pod beside its entries.
fn sender(args: &Args) -> outbox::Sender {
    outbox::Sender {
        version: env!("CARGO_PKG_VERSION").into(),
        workload: args.workload.clone(),
    }
}

/// What ships the outbox, where there is a service.
fn shipping(args: &Args, process: &Process) -> Option<Shipping> {
    Some(Shipping {
        outbox: Arc::clone(process.sinks.ledger.outbox()?),
        service: args.ledger_service()?,
        sender: sender(args),
        resolver: Arc::new(System),
        metrics: process.sinks.ledger.metrics.clone(),
    })
}

fn bind(at: SocketAddr) -> Result<TcpListener, StartError> {
    server::bind(at).map_err(|error| StartError::Listen(at, error))
}

fn address(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Listen(asked, error))
}

fn spawn_all(
    args: &Args,
    process: &Arc<Process>,
    traffic: TcpListener,
    admin: TcpListener,
    mut renewal: Renewal,
) -> Parts {
    let mut parts = Parts::new(Arc::clone(&process.dead), Arc::clone(&process.drain));
    let handler = {
        let process = Arc::clone(process);
        move |request, peer: IpAddr| proxy::handle(Arc::clone(&process), peer, request)
    };
    let traffic = Listening {
        socket: traffic,
        name: Listener::App,
        max_connections: process.limits.max_connections,
        spare: SpareFds::default(),
        drain: Arc::clone(&process.drain),
        metrics: process.metrics.server.clone(),
    };
    parts.spawn("app listener", server::serve(traffic, handler));
    // The admin listener stays open during the drain: it is how one sees it. Its own drain never begins.
    let handler = {
        let process = Arc::clone(process);
        move |request, peer| {
            let process = Arc::clone(&process);
            async move { admin::handle(&process, &request, peer).await }
        }
    };
    let admin = Listening {
        socket: admin,
        name: Listener::Admin,
        max_connections: ADMIN_CONNECTIONS,
        spare: SpareFds::of(ADMIN_RESERVE),
        drain: Arc::<Drain>::default(),
        metrics: process.metrics.server.clone(),
    };
    parts.spawn("admin listener", server::serve(admin, handler));
    if let (Some(dir), Some(_)) = (&args.state_dir, &args.config_dir) {
        let (saver, newest) = watch::channel(None);
        renewal.save_to(saver);
        let metrics = process.metrics.config.clone();
        parts.spawn("saved configuration", saved::keep(dir.clone(), newest, metrics));
    }
    // One: while a configuration is read, the operator keeps the next, and sends the newest.
    let (configs, streamed) = mpsc::channel(1);
    if let (Some(operator), Some(state)) = (args.operator_service(), &process.stream) {
        let reporter = Reporter::new(Arc::clone(process));
        let (asking, taking) = (Arc::clone(process), Arc::clone(process));
        let budgets = &process.tenant.budgets;
        let (borrowing, lent) = (Arc::clone(budgets), Arc::clone(budgets));
        let (pausing, left) = (Arc::clone(process), Arc::clone(process));
        let link = Link {
            configs,
            pauses: Pauses {
                told: Box::new(move |by| pausing.tenant.paused(by, pausing.clock.now())),
                ended: Box::new(move || left.tenant.left(left.clock.now())),
            },
            asks: Box::new(move |anew| asking.tenant.asks(anew, asking.clock.now())),
            granted: Box::new(move |grants| taking.tenant.granted(grants, taking.clock.now())),
            money: Money {
                borrows: Box::new(move |anew| borrowing.borrows(anew)),
                lent: Box::new(move |loans| lent.lent(loans)),
                urgent: Arc::clone(&budgets.shared.urgent),
            },
            report: move || reporter.report(),
            state: Arc::clone(state),
            resolver: Arc::new(System),
        };
        parts.spawn("config stream", stream::run(operator, link));
    }
    parts.spawn("configuration", renewal.run(Arc::clone(process), streamed));
    if let Some(queue) = process.sinks.spans.queue() {
        parts.spawn("spans", spans::export::run(Arc::clone(queue)));
    }
    parts.spawn("probes", probe::run(Arc::clone(process)));
    let booking = Arc::clone(process);
    parts.spawn("batches", async move { booking.batches.run().await });
    parts.spawn("jobs", proxy::jobs::run::run(Arc::clone(process)));
    parts.spawn("questions", proxy::semantic::run(Arc::clone(process)));
    parts.spawn("guards beside streams", proxy::windows::run(Arc::clone(process)));
    parts.spawn("next models", proxy::refill::run(Arc::clone(process)));
    parts.spawn("limit stores", Arc::clone(&process.tenant.stores).run());
    parts.spawn(
        "limits in stores",
        Arc::clone(&process.tenant).tend_stores(process.clock),
    );
    parts.spawn(
        "connection sweep",
        every(SWEEP_EVERY, Arc::clone(process), |process| {
            process.connections.origins.sweep();
            process.connections.services.sweep();
        }),
    );
    if process.sinks.access.is_on() {
        parts.spawn(
            "access log",
            every(FLUSH_EVERY, Arc::clone(process), |process| process.sinks.access.flush()),
        );
    }
    parts
}

async fn every(period: Duration, process: Arc<Process>, mut act: impl FnMut(&Process) + Send + 'static) {
    loop {
        tokio::time::sleep(period).await;
        act(&process);
    }
}

impl Running {
    /// Waits until a part ends that must not: the sidecar must end with it.
    pub async fn part_ended(&mut self) -> PartEnded {
        let ended = self.parts.ended().await;
        tracing::error!(
            part = ended.name,
            panicked = ended.panicked,
            "a part has ended; the sidecar ends with it"
        );
        ended
    }

    /// Drains and ends. Unready and deaf to new connections at once; what runs may finish until the deadline.
    pub async fn stop(mut self) -> Drained {
        let process = &self.process;
        tracing::info!(in_flight = process.drain.in_flight(), "stopping");
        process.drain.begin();
        let drained = process.drain.finish(process.limits.drain_deadline, GOODBYE).await;
        match drained {
            Drained::Clean => tracing::info!("stopped"),
            Drained::Cut(requests) => tracing::warn!(requests, "stopped; requests were cut at the deadline"),
        }
        process.tenant.budgets.give_back(GIVE_BACK).await;
        // First what makes records, then what sends them.
        self.parts.shutdown().await;
        process.sinks.access.flush();
        if let Some(queue) = process.sinks.spans.queue() {
            spans::export::last(queue).await;
        }
        if let Some(keeper) = &self.keeper
            && let Err(error) = keeper.write().await
        {
            tracing::warn!(%error, "what is spent of budgets cannot be saved");
        }
        if let Err(error) = process.batches.write().await {
            tracing::warn!(%error, "which batches are booked cannot be saved");
        }
        if let Some(shipping) = &self.shipping {
            shipping.last(Instant::now() + LAST_BATCHES).await;
        }
        if let Some(outbox) = process.sinks.ledger.outbox() {
            outbox.close();
        }
        drained
    }
}

#[cfg(test)]
mod tests {
    use bowsprit_core::config::Scope;
    use bowsprit_core::pauses::LATEST;
    use bowsprit_core::stream::pauses::WirePause;
    use clap::Parser as _;

    use super::*;
    use crate::config::{Documents, Offer, POLL_EVERY};

    #[tokio::test(start_paused = true)]
    async fn a_caller_in_the_pod_has_the_labels_that_the_pod_has_now() {
        let dir = tempfile::tempdir().unwrap();
        let labels = dir.path().join("labels");
        std::fs::write(&labels, "app=\"shop\"").unwrap();
        let ports = ["bowsprit-sidecar", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let (dir, file) = (dir.path().to_str().unwrap(), labels.to_str().unwrap());
        let more = ["--config-dir", dir, "--pod-labels", file];
        let args = Args::try_parse_from(ports.iter().chain(&more)).unwrap();
        let running = start_with(&args, AccessLog::in_memory()).unwrap();
        let app = || {
            let caller = running.process.caller("127.0.0.1".parse().unwrap());
            caller.pod.unwrap().labels["app"].clone()
        };
        assert_eq!(app(), "shop");
        std::fs::write(&labels, "app=\"checkout\"").unwrap();
        tokio::time::sleep(POLL_EVERY * 2).await;
        assert_eq!(app(), "checkout");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_an_operator_said_who_is_gone_ends_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let ports = ["bowsprit-sidecar", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let more = ["--config-dir", dir.path().to_str().unwrap()];
        let args = Args::try_parse_from(ports.iter().chain(&more)).unwrap();
        let running = start_with(&args, AccessLog::in_memory()).unwrap();
        let (tenant, now) = (&running.process.tenant, running.process.clock.now());
        let is_paused = || {
            let snapshot = tenant.snapshot.load_full().unwrap();
            snapshot.config.policies.iter().any(|policy| policy.paused.is_some())
        };
        let documents = Documents {
            text: "apiVersion: bowsprit.dev/v1alpha1\nkind: UsagePolicy\nmetadata: {name: freeze}\nspec: {}\n".into(),
            place: "bowsprit.yaml".into(),
            scope: Scope::Standalone,
        };
        let offer = Offer {
            source: "folder",
            sequence: 1,
            documents: Ok(documents),
        };
        assert!(tenant.offer(&offer, now, 1_000));
        let freeze = WirePause {
            policy: "freeze".into(),
            paused: true,
            ..WirePause::default()
        };
        tenant.paused(&[freeze], now);
        tenant.left(now);
        tokio::time::sleep(LATEST.saturating_sub(POLL_EVERY)).await;
        assert!(is_paused());
        tokio::time::sleep(POLL_EVERY * 3).await;
        assert!(!is_paused());
    }
}
