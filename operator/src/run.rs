//! Wires the parts and runs them: webhook, certificates and watches on every replica, the reconciler on the one that
//! holds the lease.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use bowsprit_crds::{UsagePolicy, names};
use futures::{FutureExt as _, StreamExt as _};
use kube::client::ClientBuilder;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::util::MapResponseLayer;

use crate::args::{Args, Certificates, Native};
use crate::certs::issued::Issued;
use crate::certs::keeper::{Keeper, Ledger, Names};
use crate::certs::{Served, server_config};
use crate::changes::History;
use crate::changes::ship::Shipping;
use crate::fleet::{Fleet, PodId};
use crate::heard::Heard;
use crate::injector::{Resources, Settings, Tracing};
use crate::lease::elector::Elector;
use crate::link::Link;
use crate::metrics::Metrics;
use crate::money::marks::Marks;
use crate::money::{self, Money};
use crate::objects::pod::InjectedPod;
use crate::objects::{Changes, Store};
use crate::owner::{Defined, Deployed};
use crate::poll::Poller;
use crate::readiness::{Block, Readiness};
use crate::reconcile;
use crate::shares::{self, Shares};
use crate::stream::Hub;
use crate::stream::documents::Documents;
use crate::stream::peer::follow::Follower;
use crate::stream::token::{Account, Apiserver};
use crate::stream::trust::Trust;
use crate::time::Clock;
use crate::validate::Known;
use crate::webhook::Answerers;
use crate::webhook::advise::Adviser;
use crate::webhook::newest::Newest;
use crate::webhook::review::Reviewer;
use crate::webhook::validate::{self, Validator, access};
use crate::{admin, descriptors, slo, stream, time, watchdog, webhook};

/// Until the kubelet takes a pod for not ready: three failures two seconds apart, by the chart's readinessProbe.
const SEEN_NOT_READY: Duration = Duration::from_secs(6);
/// For each of the leader's last steps at shutdown.
const LAST_STEP: Duration = Duration::from_secs(5);
/// Between two questions to an apiserver that does not answer: the first pause, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(8);
/// The first minor version of Kubernetes 1 with native sidecars switched on.
const NATIVE_SIDECARS_SINCE: u32 = 29;

/// Why the process ends; each has an exit code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Told to stop, and everything was finished.
    Stopped,
    /// The lease went to another replica: started anew, this one begins from what is true then.
    LeaseLost,
    /// The apiserver was restored from a backup: watches of before would miss what is written from now on.
    Rewound,
    /// A part that must not end has ended.
    PartDied(&'static str),
}

/// Runs until SIGTERM or SIGINT, or until something ends that must not.
pub async fn run(args: Args) -> anyhow::Result<Ended> {
    // Nothing else in the process installs one, so the only error is that it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut terminated = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;

    descriptors::take(args.max_streams);
    let readiness = Readiness::default();
    let (certificate_ready, objects_ready) = (
        readiness.block("webhook certificate"),
        readiness.block("watched objects"),
    );
    let metrics = Metrics::new();
    let admin = bind(args.admin_port).await.context("cannot bind the admin port")?;
    let webhook_listener = bind(args.webhook_port).await.context("cannot bind the webhook port")?;
    let stream_listener = bind(args.stream_port)
        .await
        .context("cannot bind the port for streams")?;
    let admin = admin::serve(admin, readiness.clone(), metrics.clone());

    let mut config = kube::Config::infer()
        .await
        .context("no way to the apiserver: neither in a pod nor with a kubeconfig")?;
    // Reconciles, the lease and watches each have a backoff of their own; the client's would hold a call for minutes.
    config.default_retry = false;
    // Each answer tells what the apiserver's clock says.
    let heard = MapResponseLayer::new(|response: http::Response<_>| {
        time::answered(response.headers());
        response
    });
    let client = ClientBuilder::try_from(config).context("no client for the apiserver")?;
    let client = client.with_layer(&heard).build();
    // An apiserver that is away is waited for, not ready: a process that ended instead would be started ever more seldom.
    let asked = async {
        match args.sidecar_native {
            Native::Auto => patiently("its version", || native_sidecars(&client)).await,
            told => told == Native::True,
        }
    };
    let mut admin = std::pin::pin!(admin);
    let native = tokio::select! {
        asked = asked => asked,
        _ = terminated.recv() => return Ok(Ended::Stopped),
        _ = interrupted.recv() => return Ok(Ended::Stopped),
        () = &mut admin => return Ok(Ended::PartDied("admin")),
    };
    let defined = Defined::new(&client);
    let deployed = Deployed::new(&client, &args.namespace, &args.deployment);
    let documents = Documents::default();
    let (fleet, heard) = Fleet::new();
    let clock = Clock::new();
    let leases = Api::namespaced(client.clone(), &args.namespace);
    let elector = Elector::new(leases, &args.lease, &args.pod_name, clock)
        .owned_by(deployed.clone())
        .reached_at(address(&args));
    let synced = Arc::new(AtomicBool::new(false));
    let shared = Arc::new(OnceLock::new());
    let shares = Shares::new(
        clock,
        elector.leadership(),
        fleet.clone(),
        limits(Arc::clone(&shared), Arc::clone(&synced)),
        {
            let documents = documents.clone();
            Arc::new(move || documents.namespaces())
        },
        metrics.shares(),
    );
    let (knows, known_objects) = watch::channel(false);
    let mut elector = {
        let shares = shares.clone();
        elector
            .once(known_objects)
            .before_it_leads(move || shares.before_it_leads())
    };
    let hub = Hub::new(
        stream::Settings {
            most: args.max_streams,
            ..stream::Settings::default()
        },
        documents.clone(),
        fleet.clone(),
        Arc::new(Apiserver::new(client.clone())),
        metrics.stream(),
        operators(&args),
        shares.clone(),
    );
    let money = Money::new(
        elector.leadership(),
        fleet.clone(),
        Arc::new(Lent {
            store: Arc::clone(&shared),
            synced: Arc::clone(&synced),
        }),
        metrics.money(),
    );
    hub.lends(money.clone());
    let marks = Marks::new(client.clone(), &args.namespace, deployed.clone());
    let (store, changes, watches) = {
        let (hub, pausing) = (Arc::clone(&hub), Arc::clone(&hub));
        let (documents, hosts) = (documents.clone(), args.allowed_hosts.clone());
        let on_config = move |event: &_| documents.note(event);
        let on_policy = move |told: &_| pausing.note_policy(told, &hosts);
        Store::watch_and_tell(&client, on_config, on_policy, move |event| hub.note_pod(event))
    };

    let _ = shared.set(store.clone());
    let questions = webhook::questions();
    let newest = Newest::new(
        store.clone(),
        client.clone(),
        Arc::clone(&questions),
        Arc::clone(&synced),
    )
    .allowing(args.allowed_hosts.clone());
    let reviewer = Reviewer::new(settings(&args, native), Arc::new(newest), metrics.clone());
    let history = ledger_name(&args).map(|_| History::default());
    let validator = Validator::new(
        known(store.clone(), Arc::clone(&synced)),
        access(client.clone(), Arc::clone(&questions)),
        args.allowed_hosts.clone(),
        metrics.clone(),
    )
    .telling(history.clone());
    let served = Arc::new(Served::default());
    let tls = server_config(Arc::clone(&served)).context("no TLS for the webhook")?;
    let bundle = served.bundle();
    let stream_tls = stream::tls(Arc::clone(&served)).context("no TLS for the streams")?;
    let (stop, stopped) = watch::channel(false);
    let streams = stream::serve(stream_listener, stream_tls, Arc::clone(&hub), said(stopped.clone()));
    let (pushing, pausing) = (Arc::clone(&hub), hub.pausing());
    let webhook = webhook::serve(
        webhook_listener,
        TlsAcceptor::from(Arc::new(tls)),
        Arc::new(Answerers {
            injection: reviewer,
            validation: validator,
            advice: Adviser::new(metrics.clone()),
        }),
        said(stopped.clone()),
    );
    let certificates = certificates(
        &args,
        &client,
        &deployed,
        Arc::clone(&served),
        &metrics,
        certificate_ready,
    );
    let objects = {
        let store = store.clone();
        async move {
            store.ready_without_pods().await;
            synced.store(true, Ordering::Release);
            knows.send_replace(true);
            objects_ready.ready();
            std::future::pending::<()>().await;
        }
    };

    let rewound = said(elector.rewound());
    let link = |server| Link {
        server,
        bundle: bundle.clone(),
        token: args.token_file.clone(),
    };
    let follower = Follower {
        fleet: fleet.clone(),
        leader: elector.leader(),
        link: link(service_name(&args)),
        hub,
    };
    let follow = follower.run();
    let told = history
        .clone()
        .zip(ledger_name(&args))
        .map(|(changes, server)| Shipping {
            changes,
            store: store.clone(),
            link: link(server),
        });
    let telling = async {
        match told {
            Some(shipping) => shipping.run().await,
            None => std::future::pending().await,
        }
    };
    let lending = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            shares.tick();
            pushing.push();
        }
    };
    let keeping = money.clone().keep(marks.clone());
    let trust = Trust {
        client: client.clone(),
        store: store.clone(),
        documents,
        bundle,
        leadership: elector.leadership(),
    };
    let watchdog = {
        let watchdog = watchdog::run(
            client.clone(),
            args.pod_name.clone(),
            elector.leadership(),
            metrics.clone(),
        );
        let fleet = fleet.clone();
        async move {
            // It lists all pods, and can wait until those are served that come back to a leader that is new.
            while !fleet.is_settled(std::time::Instant::now()) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            watchdog.await;
        }
    };
    let slo_rules = (!args.slo_runbooks.is_empty()).then(|| {
        let labels = args.slo_rule_labels.0.clone();
        slo::apply::Rules::new(client.clone(), elector.leadership(), labels, args.slo_runbooks.clone())
    });
    let context = reconcile::Context::new(
        client,
        store,
        (fleet, Poller::new().context("no HTTP client")?),
        metrics.reconcile(),
        args.pod_name.clone(),
        elector.leadership(),
    );
    let context = context
        .owned_by(defined)
        .allowing(args.allowed_hosts.clone())
        .lending(money.clone())
        .sharing(shares.clone())
        .yielding_to(pausing);
    let context = Arc::new(context.ruling(slo_rules).telling(history));
    let (stop_leading, leading_stopped) = watch::channel(false);
    let lead = lead(
        &mut elector,
        context,
        trust,
        (changes, heard),
        (watchdog, money.close(marks)),
        leading_stopped,
        &metrics,
    );

    tracing::info!(version = env!("CARGO_PKG_VERSION"), native_sidecars = native, "started");
    let mut webhook = std::pin::pin!(webhook);
    let mut streams = std::pin::pin!(streams);
    let mut lead = std::pin::pin!(lead);
    let background = async {
        // None of these ever returns by itself; the watches do if the library gives up.
        tokio::select! {
            () = admin => "admin",
            () = certificates => "certificates",
            () = objects => "objects",
            () = watches => "watches",
            () = follow => "follower",
            () = telling => "changes",
            () = lending => "shares",
            () = keeping => "budgets",
        }
    };
    let mut background = std::pin::pin!(background);
    // Whatever ends first decides; the losers are polled on below or dropped with the process.
    let ended = tokio::select! {
        _ = terminated.recv() => Ended::Stopped,
        _ = interrupted.recv() => Ended::Stopped,
        () = &mut webhook => Ended::PartDied("webhook"),
        () = &mut streams => Ended::PartDied("streams"),
        part = &mut background => Ended::PartDied(part),
        () = rewound => Ended::Rewound,
        ended = &mut lead => ended,
    };
    // Who has lost the lease writes nothing more, but reviews are on their way to it and sidecars hold streams, as to any replica.
    let may_finish = matches!(ended, Ended::Stopped | Ended::LeaseLost);
    if !may_finish {
        return Ok(ended);
    }

    tracing::info!("stopping: no longer ready, finishing what is under way");
    let _stopping = readiness.block("nothing more, it is stopping");
    let _ = stop_leading.send(true);
    let finish = async {
        let leader = async {
            if ended == Ended::Stopped {
                let _ = tokio::time::timeout(LAST_STEP, &mut lead).await;
            }
        };
        let server = async {
            if ended == Ended::LeaseLost {
                // Nobody has marked this pod as one that goes: it is led to until the kubelet has seen that it is not ready.
                tokio::time::sleep(SEEN_NOT_READY).await;
            }
            let _ = stop.send(true);
            futures::future::join(webhook.as_mut(), streams.as_mut()).await;
        };
        futures::future::join(leader, server).await;
    };
    tokio::select! {
        () = finish => {}
        // Admin and watches go on meanwhile, so that the kubelet sees that it is not ready.
        _ = &mut background => {}
        _ = terminated.recv(), if ended == Ended::Stopped => {
            tracing::warn!("told to stop twice: stopping at once");
        }
    }
    Ok(ended)
}

/// Waits for the lease, reconciles while it is held, and gives it back at the end.
async fn lead(
    elector: &mut Elector,
    context: Arc<reconcile::Context>,
    trust: Trust,
    (mut changes, mut heard): (Changes, Heard),
    (watchdog, last): (impl Future<Output = ()>, impl Future<Output = ()>),
    stopped: watch::Receiver<bool>,
    metrics: &Metrics,
) -> Ended {
    tokio::select! {
        () = elector.acquire() => {}
        // Changes before our time are not for us: a new leader looks at every namespace anyway.
        () = async { while changes.next().await.is_some() {} } => return Ended::PartDied("watches"),
        () = async { while heard.next().await.is_some() {} } => return Ended::PartDied("fleet"),
        () = said(stopped.clone()) => return Ended::Stopped,
    }
    tracing::info!("this replica leads");
    metrics.leads(true);
    let reconciling = reconcile::run(context, changes, heard, said(stopped.clone()));
    let ended = tokio::select! {
        () = reconciling => if *stopped.borrow() { Ended::Stopped } else { Ended::PartDied("reconciler") },
        () = trust.keep() => Ended::PartDied("bundles"),
        // Drops what is under way at its next await; the apiserver's own lock protects what is already sent.
        () = elector.hold() => Ended::LeaseLost,
        () = watchdog => Ended::PartDied("watchdog"),
    };
    metrics.leads(false);
    if ended == Ended::Stopped {
        let last = async {
            last.await;
            elector.release().await;
        };
        let _ = tokio::time::timeout(LAST_STEP, last).await;
    }
    ended
}

/// Resolves once `true` was sent, or nobody can send any more.
async fn said(mut told: watch::Receiver<bool>) {
    let _ = told.wait_for(|told| *told).await;
}

/// IPv6 and IPv4 where the node has both, else IPv4.
async fn bind(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
    }
}

/// The name in the certificate of every operator.
fn service_name(args: &Args) -> String {
    format!("{}.{}.svc", args.webhook_service, args.namespace)
}

/// The name in the ledger service's certificate, where there is one.
fn ledger_name(args: &Args) -> Option<String> {
    let (service, namespace) = (&args.ledger_service, &args.namespace);
    (!service.is_empty()).then(|| format!("{service}.{namespace}.svc"))
}

/// Where the other operators reach this one.
fn address(args: &Args) -> Option<String> {
    args.pod_ip.map(|ip| SocketAddr::new(ip, args.stream_port).to_string())
}

/// Whom the operators run as: what the token says that each of them has.
fn operators(args: &Args) -> Option<Account> {
    let path = &args.token_file;
    let account = std::fs::read_to_string(path)
        .ok()
        .and_then(|token| Account::of_own_token(&token));
    if account.is_none() {
        tracing::warn!(path = %path.display(), "no token of this pod's own: no other operator is let in to tell of its sidecars");
    }
    account
}

/// Asks the apiserver until it answers, ever more seldom.
async fn patiently<T, F: Future<Output = Result<T, kube::Error>>>(what: &str, ask: impl Fn() -> F) -> T {
    let mut pause = FIRST_PAUSE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => tracing::warn!(%error, "the apiserver does not tell {what}, will ask again"),
        }
        tokio::time::sleep(pause.mul_f64(1.0 + 0.2 * fastrand::f64())).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn native_sidecars(client: &Client) -> Result<bool, kube::Error> {
    let version = client.apiserver_version().await?;
    Ok(is_native(&version.major, &version.minor))
}

/// Providers add to the minor version: `29+`.
fn is_native(major: &str, minor: &str) -> bool {
    let number = |text: &str| {
        text.trim_end_matches(|c: char| !c.is_ascii_digit())
            .parse::<u32>()
            .unwrap_or(0)
    };
    (number(major), number(minor)) >= (1, NATIVE_SIDECARS_SINCE)
}

fn settings(args: &Args, native: bool) -> Settings {
    Settings {
        image: args.sidecar_image.clone(),
        image_pull_policy: args.sidecar_image_pull_policy.clone(),
        resources: Resources {
            cpu_request: args.sidecar_cpu_request.clone(),
            cpu_limit: args.sidecar_cpu_limit.clone(),
            memory_request: args.sidecar_memory_request.clone(),
            memory_limit: args.sidecar_memory_limit.clone(),
        },
        log_level: args.sidecar_log_level.to_string().to_lowercase(),
        native,
        operator_url: stream_url(args),
        ledger_url: ledger_name(args).map(|name| format!("https://{name}:{}", names::LEDGER_PORT)),
        keeps_ledger: args.sidecar_ledger,
        tracing: (!args.sidecar_otlp_endpoint.is_empty()).then(|| Tracing {
            endpoint: args.sidecar_otlp_endpoint.clone(),
            sampler: args.sidecar_traces_sampler.clone(),
            sampler_arg: args.sidecar_traces_sampler_arg.clone(),
        }),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The Service in front of the webhook has the stream's port too, so that the certificate's name is the same.
fn stream_url(args: &Args) -> Option<String> {
    let (service, namespace, port) = (&args.webhook_service, &args.namespace, names::STREAM_PORT);
    let made = || format!("https://{service}.{namespace}.svc:{port}");
    Some(args.stream_url.clone().unwrap_or_else(made)).filter(|url| !url.is_empty())
}

/// The work of whoever sees to the certificates.
fn certificates(
    args: &Args,
    client: &Client,
    deployed: &Deployed,
    served: Arc<Served>,
    metrics: &Metrics,
    ready: Block,
) -> impl Future<Output = ()> + Send + 'static {
    let (client, namespace, metrics) = (client.clone(), &args.namespace, metrics.clone());
    let dns = service_name(args);
    match args.certificates {
        Certificates::CertManager => Issued::new(client, namespace, &args.webhook_secret, &dns, served, metrics)
            .run(ready)
            .boxed(),
        Certificates::Own => {
            let names = Names {
                secret: args.webhook_secret.clone(),
                webhook_config: args.webhook_config.clone(),
                dns: vec![dns],
                ledger: ledger_name(args).map(|dns| Ledger {
                    secret: args.ledger_secret.clone(),
                    dns: vec![dns],
                }),
            };
            let keeper = Keeper::new(client, namespace, names, served, metrics).owned_by(deployed.clone());
            keeper.run(ready).boxed()
        }
    }
}

/// The limits that a namespace's sidecars share; none before all objects are known, when nothing is lent.
fn limits(store: Arc<OnceLock<Store>>, synced: Arc<AtomicBool>) -> shares::Lookup {
    Arc::new(move |namespace| {
        let store = store.get().filter(|_| synced.load(Ordering::Acquire))?;
        Some(shares::of_namespace(store, namespace))
    })
}

/// What budgets are lent by; no policies before all objects are known, when nothing is lent.
struct Lent {
    store: Arc<OnceLock<Store>>,
    synced: Arc<AtomicBool>,
}

impl money::Known for Lent {
    fn policies(&self, namespace: &str) -> Option<Vec<Arc<UsagePolicy>>> {
        let store = self.store.get().filter(|_| self.synced.load(Ordering::Acquire))?;
        store.policies(namespace)
    }

    fn pod(&self, namespace: &str, pod: &PodId) -> Option<Arc<InjectedPod>> {
        self.store.get()?.pod(namespace, pod)
    }

    fn has_route(&self, namespace: &str, name: &str) -> bool {
        self.store.get().is_some_and(|store| store.has_route(namespace, name))
    }
}

/// A namespace's objects, for those who judge a change among them: memory only.
fn known(store: Store, synced: Arc<AtomicBool>) -> validate::Lookup {
    Arc::new(move |namespace| {
        synced.load(Ordering::Acquire).then(|| Known {
            providers: store.providers(namespace),
            routes: store.routes(namespace),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_sidecars_are_used_from_1_29_on_whatever_a_provider_adds_to_the_number() {
        for (major, minor, native) in [
            ("1", "28", false),
            ("1", "29", true),
            ("1", "29+", true),
            ("1", "36", true),
            ("2", "0", true),
            ("", "", false),
        ] {
            assert_eq!(is_native(major, minor), native, "{major}.{minor}");
        }
    }
}
