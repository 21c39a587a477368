//! Putting the parts together, and taking them apart again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::args::Args;
use crate::drain::{Drain, Drained};
use crate::families::Families;
use crate::limits::{ADMIN_CONNECTIONS, ADMIN_RESERVE};
use crate::listen::{Listener, Listening, SpareFds};
use crate::memory::{self, Memory};
use crate::observe::{AccessLog, FLUSH_EVERY, Sinks};
use crate::reload::{ConfigState, Loader, Source};
use crate::tenant::snapshot::{Shared, Snapshot};
use crate::time::Clock;
use crate::{admin, env_config, listen, probe, proxy, reload};

/// How long what was cut may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often idle connections to providers are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// Limits that hold for the whole process.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Largest request body, bytes.
    pub max_body: usize,
    /// Largest body that is sent on as it arrives, bytes.
    pub max_upload: usize,
    /// Most requests in flight.
    pub max_in_flight: usize,
    /// Most connections from the app.
    pub max_connections: usize,
    /// How long a drain may take.
    pub drain_deadline: Duration,
}

/// Everything that requests share.
pub struct App {
    /// Limits of the process.
    pub settings: Settings,
    /// The monotonic clock.
    pub clock: Clock,
    /// The configuration in service.
    pub snapshot: ArcSwapOption<Snapshot>,
    /// What outlives configurations.
    pub shared: Shared,
    /// Where loading stands.
    pub config: ConfigState,
    /// The budget for bodies.
    pub memory: Arc<Memory>,
    /// All metrics, for the scrape.
    pub metrics: Families,
    /// Where records of requests and attempts go.
    pub sinks: Arc<Sinks>,
    /// Stopping.
    pub drain: Arc<Drain>,
}

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
    /// Its shared parts.
    pub app: Arc<App>,
    /// Where the app is served.
    pub listen: SocketAddr,
    /// Where health and metrics are served.
    pub admin: SocketAddr,
    tasks: JoinSet<()>,
}

/// Loads the configuration, binds the ports, starts the tasks.
///
/// A person's file (or environment) must be valid, or there is nothing to start. A mounted folder may come later or be
/// wrong for now: the sidecar starts unready and says why at `/health`.
pub fn start(args: &Args) -> Result<Running, StartError> {
    let access = AccessLog::new(args.access_log, args.log_level);
    start_with(args, access)
}

/// The same with an access log of the caller's choice.
pub fn start_with(args: &Args, access: AccessLog) -> Result<Running, StartError> {
    let source = source(args)?;
    let standalone = !matches!(source, Source::Folder(_));
    let metrics = Families::new(access);
    let app = Arc::new(App {
        settings: Settings {
            max_body: args.max_body,
            max_upload: args.max_upload,
            max_in_flight: args.max_in_flight,
            max_connections: args.max_connections,
            drain_deadline: args.drain_deadline,
        },
        clock: Clock::start(),
        snapshot: ArcSwapOption::empty(),
        shared: Shared::new(args.ca_dir.clone(), &metrics.connections.pool),
        config: ConfigState::default(),
        memory: Memory::new(args.memory_budget.unwrap_or_else(memory::default_budget)),
        sinks: Arc::clone(&metrics.sinks),
        metrics,
        drain: Arc::default(),
    });
    let mut loader = Loader::new(source, args.secrets_dir.clone(), args.pod_labels.clone());
    loader.poll(&app);
    if standalone && app.snapshot.load().is_none() {
        return Err(StartError::Config(
            app.config.last_error().unwrap_or_else(|| "no configuration".into()),
        ));
    }
    let traffic = bind(args.listen)?;
    let admin = bind(args.admin)?;
    let addresses = (address(&traffic, args.listen)?, address(&admin, args.admin)?);
    let _ = app.shared.own_ports.set(vec![addresses.0.port(), addresses.1.port()]);
    tracing::info!(listen = %addresses.0, admin = %addresses.1, version = env!("CARGO_PKG_VERSION"), "started");
    Ok(Running {
        tasks: spawn_all(&app, traffic, admin, loader),
        app,
        listen: addresses.0,
        admin: addresses.1,
    })
}

fn source(args: &Args) -> Result<Source, StartError> {
    match (&args.config, &args.config_dir) {
        (Some(file), _) => Ok(Source::File(PathBuf::from(file))),
        (None, Some(dir)) => Ok(Source::Folder(PathBuf::from(dir))),
        (None, None) => match env_config::documents(&|name| std::env::var(name).ok()) {
            Ok(Some(text)) => Ok(Source::Text(text)),
            Ok(None) => Err(StartError::Config(env_config::NOTHING.into())),
            Err(problem) => Err(StartError::Config(problem)),
        },
    }
}

fn bind(at: SocketAddr) -> Result<TcpListener, StartError> {
    listen::bind(at).map_err(|error| StartError::Listen(at, error))
}

fn address(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Listen(asked, error))
}

fn spawn_all(app: &Arc<App>, traffic: TcpListener, admin: TcpListener, loader: Loader) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let handler = {
        let app = Arc::clone(app);
        move |request, _peer| proxy::handle(Arc::clone(&app), request)
    };
    let traffic = Listening {
        socket: traffic,
        name: Listener::App,
        max_connections: app.settings.max_connections,
        spare: SpareFds::default(),
        drain: Arc::clone(&app.drain),
        metrics: app.metrics.server.clone(),
    };
    tasks.spawn(listen::serve(traffic, handler));
    // The admin listener stays open during the drain: it is how one sees it. Its own drain never begins.
    let handler = {
        let app = Arc::clone(app);
        move |request, peer| {
            let answer = admin::handle(&app, &request, peer);
            async move { answer }
        }
    };
    let admin = Listening {
        socket: admin,
        name: Listener::Admin,
        max_connections: ADMIN_CONNECTIONS,
        spare: SpareFds::of(ADMIN_RESERVE),
        drain: Arc::default(),
        metrics: app.metrics.server.clone(),
    };
    tasks.spawn(listen::serve(admin, handler));
    tasks.spawn(reload::watch(Arc::clone(app), loader));
    tasks.spawn(probe::run(Arc::clone(app)));
    tasks.spawn(every(SWEEP_EVERY, Arc::clone(app), |app| app.shared.origins.sweep()));
    if app.sinks.access.is_on() {
        tasks.spawn(every(FLUSH_EVERY, Arc::clone(app), |app| app.sinks.access.flush()));
    }
    tasks
}

async fn every(period: Duration, app: Arc<App>, act: impl Fn(&App) + Send + 'static) {
    loop {
        tokio::time::sleep(period).await;
        act(&app);
    }
}

impl Running {
    /// Drains and ends. Unready and deaf to new connections at once; what runs may finish until the deadline.
    pub async fn stop(mut self) -> Drained {
        tracing::info!(in_flight = self.app.drain.in_flight(), "stopping");
        self.app.drain.begin();
        let drained = self.app.drain.finish(self.app.settings.drain_deadline, GOODBYE).await;
        match drained {
            Drained::Clean => tracing::info!("stopped"),
            Drained::Cut(requests) => tracing::warn!(requests, "stopped; requests were cut at the deadline"),
        }
        self.app.sinks.access.flush();
        self.tasks.shutdown().await;
        drained
    }
}
