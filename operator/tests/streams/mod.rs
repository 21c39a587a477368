//! A listener for config streams without a cluster, and callers made of bytes.
#![allow(dead_code, reason = "each test program uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bowsprit_core::config::SharedLimit;
use bowsprit_core::limiter::Which;
use bowsprit_core::stream::shares::LimitKey;
use bowsprit_core::stream::{StreamedConfig, ToOperator, ToSidecar};
use bowsprit_crds::UsagePolicy;
use bowsprit_operator::certs::Served;
use bowsprit_operator::certs::authority::Material;
use bowsprit_operator::fleet::{Fleet, PodId};
use bowsprit_operator::lease::elector::Leadership;
use bowsprit_operator::metrics::Metrics;
use bowsprit_operator::money::{Known, Money};
use bowsprit_operator::objects::pod::InjectedPod;
use bowsprit_operator::shares::Shares;
use bowsprit_operator::stream::documents::Documents;
use bowsprit_operator::stream::token::{Account, Bearer, CannotReview, Reviewer, Verdict};
use bowsprit_operator::stream::{Hub, Settings, Timing, serve, tls};
use bowsprit_operator::time::{Clock, unix_seconds};
use futures::future::BoxFuture;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::client::TlsStream;

pub(crate) const HOST: &str = "bowsprit-webhook.bowsprit-system.svc";

/// How long a test waits for what has to come: long enough for a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Times with which a test need not wait.
pub(crate) fn quick() -> Settings {
    Settings {
        most: 2000,
        timing: Timing {
            ping: Duration::from_millis(300),
            silence: Duration::from_secs(5),
            pause: Duration::from_millis(1),
            leave_within: Duration::from_secs(2),
            withdraw_within: Duration::from_millis(100),
        },
        ..Settings::default()
    }
}

/// Confirms what `token` made, of pods that are not said to be gone.
#[derive(Default)]
pub(crate) struct Apiserver {
    pub(crate) asked: AtomicUsize,
    pub(crate) gone: std::sync::Mutex<Vec<String>>,
}

impl Reviewer for Apiserver {
    fn review<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Verdict, CannotReview>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let payload = token.split('.').nth(1).unwrap();
            let payload = URL_SAFE_NO_PAD.decode(payload).unwrap();
            let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            let text = |key: &str| claims[key].as_str().map(str::to_owned);
            if text("forged").is_some() {
                return Ok(Verdict::Denied);
            }
            if text("outage").is_some() {
                return Err(CannotReview);
            }
            let pod = text("pod").map(|name| PodId {
                uid: format!("uid-{name}"),
                name,
            });
            let gone = self.gone.lock().unwrap();
            if pod.as_ref().is_some_and(|pod| gone.contains(&pod.uid)) {
                return Ok(Verdict::Denied);
            }
            Ok(Verdict::Authentic(Bearer {
                namespace: text("namespace").unwrap(),
                service_account: text("account").unwrap_or("app".into()),
                pod,
            }))
        })
    }
}

/// A token that says this of itself.
pub(crate) fn signed(mut claims: serde_json::Value) -> String {
    if claims.get("exp").is_none() {
        // One moment for all of a run: a pod shows the same token until its kubelet brings another.
        static END: std::sync::LazyLock<i64> = std::sync::LazyLock::new(|| unix_seconds() + 3600);
        claims["exp"] = json!(*END);
    }
    if claims.get("aud").is_none() {
        claims["aud"] = json!(["bowsprit.dev"]);
    }
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// A good token of a pod.
pub(crate) fn token(namespace: &str, pod: &str) -> String {
    signed(json!({"namespace": namespace, "pod": pod}))
}

/// A budget that all pods of a namespace spend together.
fn policy() -> UsagePolicy {
    let budget = json!({"name": "all", "amount": "1", "currency": "USD", "window": "Custom", "every": "2160h", "per": "Namespace"});
    let policy = json!({"metadata": {"name": "shop"}, "spec": {"budgets": [budget]}});
    serde_json::from_value(policy).unwrap()
}

/// Every pod is known, and under the policy.
struct Everybody;

impl Known for Everybody {
    fn policies(&self, _: &str) -> Option<Vec<Arc<UsagePolicy>>> {
        Some(vec![Arc::new(policy())])
    }

    fn pod(&self, _: &str, pod: &PodId) -> Option<Arc<InjectedPod>> {
        let id = pod.clone();
        Some(Arc::new(InjectedPod {
            id,
            ..InjectedPod::default()
        }))
    }

    fn has_route(&self, _: &str, _: &str) -> bool {
        false
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) documents: Documents,
    pub(crate) fleet: Fleet,
    pub(crate) hub: Arc<Hub>,
    pub(crate) leadership: Leadership,
    pub(crate) shares: Shares,
    limits: Vec<SharedLimit>,
    pub(crate) money: Money,
    pub(crate) metrics: Metrics,
    pub(crate) apiserver: Arc<Apiserver>,
    pub(crate) bundle: String,
    pub(crate) served: Arc<Served>,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(settings: Settings) -> Self {
        Self::start_as(HOST, settings).await
    }

    /// Under another name than the Service's.
    pub(crate) async fn start_as(host: &str, settings: Settings) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(Served::default());
        let material = Material::step(None, &[host.to_owned()], unix_seconds(), |_| true)
            .unwrap()
            .unwrap();
        served.set(&material.current).unwrap();
        served.announce(&material.bundle());
        let (documents, (fleet, _)) = (Documents::default(), Fleet::new());
        let (metrics, apiserver) = (Metrics::new(), Arc::new(Apiserver::default()));
        metrics.certificate(material.current.not_after);
        let clock = Clock::new();
        let leadership = Leadership::new(clock);
        let limits = vec![SharedLimit {
            of: LimitKey::of_provider("claude", Which::Requests),
            whole: 600,
            is_apart: false,
        }];
        let shares = {
            let limits = limits.clone();
            Shares::new(
                clock,
                leadership.clone(),
                fleet.clone(),
                Arc::new(move |_| Some(limits.clone())),
                Arc::new(Vec::new),
                metrics.shares(),
            )
        };
        let hub = Hub::new(
            settings,
            documents.clone(),
            fleet.clone(),
            apiserver.clone(),
            metrics.stream(),
            Account::of_user("system:serviceaccount:bowsprit-system:bowsprit"),
            shares.clone(),
        );
        let money = Money::new(leadership.clone(), fleet.clone(), Arc::new(Everybody), metrics.money());
        hub.lends(money.clone());
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(serve(
            listener,
            tls(Arc::clone(&served)).unwrap(),
            Arc::clone(&hub),
            async {
                let _ = stopped.await;
            },
        ));
        Self {
            address,
            documents,
            fleet,
            hub,
            leadership,
            shares,
            limits,
            money,
            metrics,
            apiserver,
            bundle: material.bundle(),
            served,
            stop: Some(stop),
            ended,
        }
    }

    /// It leads from now on, and is the first to tell sidecars of their limits.
    pub(crate) fn leads(&self, epoch: u64) {
        self.leadership.leads_for(epoch, Duration::from_mins(10));
        self.shares.wrote("team", Some(&[]), &self.limits);
    }

    /// The namespace's config becomes this.
    pub(crate) fn publish(&self, namespace: &str, sequence: u64, text: &str) {
        let config = StreamedConfig {
            sequence,
            revision: format!("r{sequence}"),
            format_version: 1,
            text: text.to_owned(),
        };
        assert!(self.documents.publish(namespace, config, Instant::now()));
    }

    pub(crate) async fn connect(&self, namespace: &str, pod: &str) -> Stream {
        let asked = ask(
            self.address,
            &self.bundle,
            Some(&token(namespace, pod)),
            "bowsprit-stream/1",
        )
        .await;
        assert_eq!(asked.status, 101, "{}", asked.head);
        asked.stream
    }

    /// A sample of the exposition, 0 where there is none.
    pub(crate) fn counted(&self, series: &str) -> u64 {
        let text = self.metrics.encode().unwrap();
        let name = format!("bowsprit_operator_{series} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until `holds`, at most [`PATIENCE`].
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waited = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, waited).await;
        assert!(outcome.is_ok(), "never: {what}\n{}", self.metrics.encode().unwrap());
    }

    /// Tells it to leave; the handle ends when it has.
    pub(crate) fn leave(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    pub(crate) async fn ended(self) {
        let ended = tokio::time::timeout(PATIENCE, self.ended).await;
        ended.expect("ends").unwrap();
    }
}

/// An answer and what comes after it.
pub(crate) struct Asked {
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    pub(crate) stream: Stream,
}

pub(crate) struct Stream(pub(crate) BufReader<TlsStream<TcpStream>>);

/// One request for a stream.
pub(crate) async fn ask(address: SocketAddr, bundle: &str, token: Option<&str>, protocol: &str) -> Asked {
    ask_at("/v1/stream", address, bundle, token, protocol).await
}

/// One request.
pub(crate) async fn ask_at(
    path: &str,
    address: SocketAddr,
    bundle: &str,
    token: Option<&str>,
    protocol: &str,
) -> Asked {
    let mut roots = rustls::RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(ca.unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tls = connector
        .connect(ServerName::try_from(HOST).unwrap(), tcp)
        .await
        .unwrap();
    let mut stream = BufReader::with_capacity(4096, tls);
    let authorization = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n{authorization}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).await.unwrap(), 0, "{head}");
    }
    Asked {
        status: head[9..12].parse().unwrap(),
        head,
        stream: Stream(stream),
    }
}

impl Asked {
    /// What stands in the body of an answer that is no 101.
    pub(crate) async fn body(mut self) -> String {
        let mut body = String::new();
        let _ = self.stream.0.read_to_string(&mut body).await;
        body
    }
}

impl Stream {
    pub(crate) async fn say(&mut self, message: &ToOperator) {
        let line = format!("{}\n", serde_json::to_string(message).unwrap());
        self.0.write_all(line.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next message; `None` at the end of the stream.
    pub(crate) async fn hear(&mut self) -> Option<ToSidecar> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await;
        match read.expect("a message within a minute") {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
        }
    }

    /// The next config; pings on the way are answered.
    pub(crate) async fn config(&mut self) -> StreamedConfig {
        loop {
            match self.hear().await.expect("a config and not the end") {
                ToSidecar::Config(config) => return config,
                ToSidecar::Ping => self.say(&ToOperator::Pong).await,
                other => panic!("{other:?}"),
            }
        }
    }

    /// How many policies the next word on pauses has; pings on the way are answered.
    pub(crate) async fn paused(&mut self) -> usize {
        loop {
            match self.hear().await.expect("a word on pauses and not the end") {
                ToSidecar::Paused { by } => return by.len(),
                ToSidecar::Ping => self.say(&ToOperator::Pong).await,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads to the end of the stream.
    pub(crate) async fn end(&mut self) {
        let reads = async {
            while let Some(message) = self.hear().await {
                if message == ToSidecar::Ping {
                    self.say(&ToOperator::Pong).await;
                }
            }
        };
        // Pings go on for as long as the stream does.
        let ended = tokio::time::timeout(PATIENCE, reads).await;
        ended.expect("the end within a minute");
    }
}
