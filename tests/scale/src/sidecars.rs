//! The sidecars: the sidecar's own stream client for each pod, with the pod's token. What comes is taken as a sidecar takes
//! it and acknowledged with a report on every provider; only requests there are none.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bowsprit_core::config::{self, BaseUrl, Scope};
use bowsprit_core::stream::{ReportedProvider, SidecarReport, StreamedConfig};
use bowsprit_crds::names;
use bowsprit_sidecar::config::stream::{self, Link, Operator, Pauses, StreamMetrics, StreamReport, StreamState};
use bowsprit_sidecar::net::client::{Addresses, Resolve};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::fleet::Fleet;

/// The Service that leads to the operators, as the injector names it to sidecars.
const SERVICE: &str = "bowsprit-webhook";
const SYSTEM: &str = "bowsprit-system";

/// All of them.
pub(crate) struct Sidecars {
    /// Of each, with the number of its namespace.
    states: Vec<(usize, Arc<StreamState>)>,
    expected: Arc<Vec<Mutex<Expected>>>,
    pods_each: usize,
    /// When the first of them began.
    pub(crate) begun: Instant,
    /// Tokens and CA, as files.
    _files: TempDir,
}

/// What the sidecars of a namespace wait for.
#[derive(Debug)]
struct Expected {
    marker: String,
    since: Instant,
    arrived: Vec<Duration>,
}

/// What is said of a config, by its revision: read once for all sidecars of a namespace.
type Known = Mutex<HashMap<String, Arc<Said>>>;

/// What a sidecar tells of its config.
struct Said {
    providers: Vec<String>,
    policies: u32,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The Service has one address, and the cluster's DNS is not what is measured here.
struct Fixed(SocketAddr);

impl Resolve for Fixed {
    fn resolve(&self, _host: &str, _port: u16) -> Addresses {
        let address = self.0;
        Box::pin(async move { Ok(vec![address]) })
    }
}

impl Sidecars {
    /// Lets each begin.
    pub(crate) async fn start(fleet: &Fleet) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let ca = files.path().join("ca.crt");
        std::fs::write(&ca, fleet.ca().await?)?;
        let service = fleet
            .api
            .get(&format!("/api/v1/namespaces/{SYSTEM}/services/{SERVICE}"))
            .await?;
        let address = service["spec"]["clusterIP"]
            .as_str()
            .context("the Service has no address")?;
        let resolver: Arc<dyn Resolve> = Arc::new(Fixed(SocketAddr::new(address.parse()?, names::STREAM_PORT)));
        let url = format!("https://{SERVICE}.{SYSTEM}.svc:{}", names::STREAM_PORT);
        let url = BaseUrl::parse(&url).map_err(anyhow::Error::msg)?;
        let expected = (0..fleet.size.namespaces).map(|_| Mutex::new(Expected::nothing()));
        let expected: Arc<Vec<_>> = Arc::new(expected.collect());
        let known: Arc<Known> = Arc::default();
        let tokens = fleet.tokens().await?;
        ensure!(
            tokens.len() == fleet.size.pods_each() * fleet.size.namespaces,
            "{} tokens",
            tokens.len()
        );
        let (mut states, begun) = (Vec::new(), Instant::now());
        for (pod, (namespace, token)) in tokens.into_iter().enumerate() {
            let operator = Operator {
                address: url.clone(),
                ca: ca.clone(),
                token: token_file(files.path(), pod, &token)?,
            };
            let (expected, known) = (Arc::clone(&expected), Arc::clone(&known));
            let state = sidecar(operator, Arc::clone(&resolver), namespace, expected, known);
            states.push((namespace, state));
        }
        Ok(Self {
            states,
            expected,
            pods_each: fleet.size.pods_each(),
            begun,
            _files: files,
        })
    }

    /// Waits until each holds a stream.
    pub(crate) async fn connected(&self, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let away: Vec<_> = self.reports(|_| true).filter(|it| !it.connected).collect();
            let Some(one) = away.first() else { return Ok(()) };
            ensure!(
                begun.elapsed() < patience,
                "{} have no stream: {:?}",
                away.len(),
                one.problem
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn reports(&self, of: impl Fn(usize) -> bool) -> impl Iterator<Item = StreamReport> {
        let states = self.states.iter().filter(move |(namespace, _)| of(*namespace));
        states.map(|(_, state)| state.report())
    }

    /// From now on, a namespace's sidecars wait for documents with this text, or for the operator's word of a pause for this reason.
    pub(crate) fn expect(&self, namespace: usize, marker: &str) {
        if let Some(expected) = self.expected.get(namespace) {
            *locked(expected) = Expected {
                marker: marker.to_owned(),
                ..Expected::nothing()
            };
        }
    }

    /// How long it took to reach each of a namespace's sidecars.
    pub(crate) async fn arrived(&self, namespace: usize, patience: Duration) -> Result<Vec<Duration>> {
        let expected = self.expected.get(namespace).context("no such namespace")?;
        loop {
            let (arrived, since) = {
                let expected = locked(expected);
                (expected.arrived.len(), expected.since)
            };
            if arrived >= self.pods_each {
                return Ok(std::mem::take(&mut locked(expected).arrived));
            }
            if since.elapsed() > patience {
                let quiet = self.reports(|it| it == namespace).max_by_key(|it| it.heard_seconds_ago);
                let away = self.reports(|it| it == namespace).find(|it| !it.connected);
                bail!(
                    "only {arrived} of {} have it; heard of longest ago: {quiet:?}; away: {away:?}",
                    self.pods_each
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Expected {
    fn nothing() -> Self {
        Self {
            marker: String::new(),
            since: Instant::now(),
            arrived: Vec::new(),
        }
    }
}

/// What one sidecar has of what its namespace waits for, which comes by one of two ways.
struct Waiting {
    namespace: usize,
    expected: Arc<Vec<Mutex<Expected>>>,
    marked: Mutex<String>,
}

impl Waiting {
    /// Notes that it has come, where `is_there` and for the first time.
    fn look(&self, is_there: impl Fn(&str) -> bool) {
        let Some(expected) = self.expected.get(self.namespace) else {
            return;
        };
        let (mut expected, mut marked) = (locked(expected), locked(&self.marked));
        if !expected.marker.is_empty() && expected.marker != *marked && is_there(&expected.marker) {
            let took = expected.since.elapsed();
            expected.arrived.push(took);
            marked.clone_from(&expected.marker);
        }
    }
}

/// A file of its own, as a pod's mount has it.
fn token_file(dir: &Path, pod: usize, token: &str) -> Result<std::path::PathBuf> {
    let file = dir.join(format!("token-{pod}"));
    std::fs::write(&file, token)?;
    Ok(file)
}

/// Starts one. What it seems from outside is its state.
fn sidecar(
    operator: Operator,
    resolver: Arc<dyn Resolve>,
    namespace: usize,
    expected: Arc<Vec<Mutex<Expected>>>,
    known: Arc<Known>,
) -> Arc<StreamState> {
    let state = Arc::new(StreamState::new(operator.address.to_string(), StreamMetrics::default()));
    let report = Arc::new(Mutex::new(SidecarReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..SidecarReport::default()
    }));
    let (configs, mut streamed) = mpsc::channel::<StreamedConfig>(1);
    let told = Arc::clone(&report);
    let waiting = Arc::new(Waiting {
        namespace,
        expected,
        marked: Mutex::default(),
    });
    let paused = Arc::clone(&waiting);
    let link = Link {
        pauses: Pauses {
            told: Box::new(move |by| {
                paused.look(|reason| by.iter().any(|pause| pause.paused_reason.as_deref() == Some(reason)));
            }),
            ended: Box::new(|| {}),
        },
        asks: Box::new(|_| Vec::new()),
        granted: Box::new(|_| {}),
        money: stream::Money {
            borrows: Box::new(|_| Vec::new()),
            lent: Box::new(|_| {}),
            urgent: Arc::default(),
        },
        configs,
        report: move || locked(&told).clone(),
        state: Arc::clone(&state),
        resolver,
    };
    tokio::spawn(stream::run(operator, link));
    let news = Arc::clone(&state);
    tokio::spawn(async move {
        while let Some(config) = streamed.recv().await {
            waiting.look(|marker| config.text.contains(&format!("{marker}\n")));
            take(&mut locked(&report), &config, &known);
            news.has_news();
        }
    });
    state
}

/// What a sidecar says once a config is in service.
fn take(report: &mut SidecarReport, config: &StreamedConfig, known: &Known) {
    let said = Arc::clone(locked(known).entry(config.revision.clone()).or_insert_with(|| {
        let scope = Scope::Cluster {
            pod_labels: std::collections::BTreeMap::new(),
        };
        let read = config::load(&config.text, &scope).unwrap_or_default();
        Arc::new(Said {
            providers: read.providers.iter().map(|provider| provider.name.clone()).collect(),
            policies: u32::try_from(read.policies.len()).unwrap_or(u32::MAX),
        })
    }));
    report.sequence = config.sequence;
    report.revision.clone_from(&config.revision);
    "stream".clone_into(&mut report.source);
    report.policies = Some(said.policies);
    report.providers = said
        .providers
        .iter()
        .map(|name| ReportedProvider {
            name: name.clone(),
            status: "ok".into(),
            ..ReportedProvider::default()
        })
        .collect();
}
