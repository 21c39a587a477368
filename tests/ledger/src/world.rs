//! Two scripted providers, a sidecar with an outbox, the ledger service and where that keeps its rows; each but the providers a
//! process that can die.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bowsprit_providers::{Api, Options, Provider};
use bowsprit_rig::documents;
use bowsprit_rig::program::Program;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::apiserver::{self, Ca};
use crate::database::{Server, free_port};
use crate::prometheus::Prometheus;

pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
pub(crate) const KEY: &str = "the-providers-key";

/// A provider of the configuration, and what it is known by.
pub(crate) struct Backend {
    /// The ProviderConfig.
    pub(crate) name: &'static str,
    /// Its only model.
    pub(crate) model: &'static str,
    /// US dollars per million tokens: input, output, read from its cache, written to it.
    pub(crate) price: [&'static str; 4],
    /// Who answers.
    pub(crate) provider: Provider,
}

pub(crate) struct World {
    pub(crate) first: Backend,
    pub(crate) second: Backend,
    bin: PathBuf,
    folder: TempDir,
    apiserver: String,
    ports: [u16; 2],
    service: Option<Child>,
    pub(crate) database: Option<Server>,
    sidecar: Option<Program>,
    prometheus: Option<Prometheus>,
    http: reqwest::Client,
}

impl World {
    /// All of it. `postgres`: what the service keeps its rows in; else SQLite.
    pub(crate) async fn start(bin: &Path, postgres: bool, hedge: bool) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let database = if postgres {
            Some(tokio::task::spawn_blocking(Server::postgres).await.unwrap())
        } else {
            None
        };
        if let Some(database) = &database {
            std::fs::write(folder.path().join("url"), database.url("postgres")).unwrap();
        }
        let ca = Ca::new();
        let [certificate, key] = ca.leaf();
        for (file, text) in [
            ("tls.crt", &certificate),
            ("tls.key", &key),
            ("ledger-ca.crt", &ca.pem),
            ("pod-token", &apiserver::pods("team", "app-1")),
        ] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        let http = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(ca.pem.as_bytes()).unwrap()])
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let backend = |name, model, api, price| Backend {
            name,
            model,
            price,
            provider: Provider::start(Options {
                api,
                ..Options::default()
            })
            .unwrap(),
        };
        let mut world = Self {
            first: backend("first", "gpt-4.1-mini", Api::OpenAi, ["0.40", "1.60", "0.10", "0.40"]),
            second: backend(
                "second",
                "claude-sonnet-4-5",
                Api::Anthropic,
                ["3.00", "15.00", "0.30", "3.75"],
            ),
            bin: bin.to_owned(),
            apiserver: apiserver::start(folder.path()).await,
            folder,
            ports: [free_port(), free_port()],
            service: None,
            database,
            sidecar: None,
            prometheus: None,
            http,
        };
        std::fs::write(world.folder.path().join("config.yaml"), world.config(hedge)).unwrap();
        world.start_service().await;
        world.start_sidecar().await;
        world
    }

    fn config(&self, hedge: bool) -> String {
        let spec = |backend: &Backend, kind: &str, path: &str| {
            let [input, output, cache_read, cache_write] = backend.price;
            json!({
                "provider": kind,
                "endpoint": {"baseUrl": backend.provider.url() + path, "allowHttp": true},
                "credentials": [{"name": "main", "env": "PROVIDER_KEY"}],
                "models": [{"name": backend.model, "price": {"input": input, "output": output, "cacheRead": cache_read, "cacheWrite": cache_write}}],
                "defaultModel": backend.model,
                "retry": {"maxAttempts": 2, "backoff": {"base": "10ms", "max": "50ms"}},
                // What is judged is the record of each failure, and not how soon a breaker spares the next.
                "circuitBreaker": {"failureThreshold": 1000},
            })
        };
        let mut first = spec(&self.first, "OpenAI", "/v1");
        first["fallbackProviders"] = json!([self.second.name]);
        let mut config = documents::provider(self.first.name, &first)
            + &documents::provider(self.second.name, &spec(&self.second, "Anthropic", ""));
        if hedge {
            let route = json!({
                "match": {"models": ["hedged"]},
                "targets": [{"provider": self.first.name, "model": self.first.model}],
                "fallback": [{"provider": self.second.name, "model": self.second.model}],
                "hedge": {"after": "50ms", "maxPercent": 100},
            });
            config += &documents::route("hedged", &route);
        }
        config
    }

    /// Where sidecar and service keep what they keep.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn start_service(&mut self) {
        let [port, admin_port] = self.ports;
        let mut command = Command::new(self.bin.join("bowsprit-ledger"));
        command
            .args([
                "serve",
                "--port",
                &port.to_string(),
                "--admin-port",
                &admin_port.to_string(),
            ])
            .args(["--apiserver", &self.apiserver])
            .arg("--tls")
            .arg(self.folder.path())
            .arg("--apiserver-credentials")
            .arg(self.folder.path());
        match self.database {
            Some(_) => command.arg("--postgres").arg(self.path("url")),
            None => command.arg("--sqlite").arg(self.path("ledger.db")),
        };
        let log = std::fs::File::create(self.path("service.log")).unwrap();
        self.service = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let url = format!("http://127.0.0.1:{admin_port}/health/ready");
        let begun = Instant::now();
        while !self
            .http
            .get(&url)
            .send()
            .await
            .is_ok_and(|answer| answer.status() == 200)
        {
            assert!(begun.elapsed() < PATIENCE, "the ledger service is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn start_sidecar(&mut self) {
        let mut command = Command::new(self.bin.join("bowsprit-sidecar"));
        command
            .env("PROVIDER_KEY", KEY)
            .env("BOWSPRIT_LEDGER", format!("https://localhost:{}", self.ports[0]))
            .env("BOWSPRIT_LEDGER_CA", self.path("ledger-ca.crt"))
            .env("BOWSPRIT_LEDGER_TOKEN", self.path("pod-token"))
            .env("BOWSPRIT_LEDGER_DIR", self.path("outbox"))
            .arg("--config")
            .arg(self.path("config.yaml"));
        std::fs::create_dir_all(self.path("outbox")).unwrap();
        self.sidecar = Some(Program::start(command, &self.path("sidecar.log"), KEY).await);
    }

    /// From now on a Prometheus scrapes sidecar and service, and [`Self::metrics`] are what it holds.
    pub(crate) fn scraped(&mut self) {
        let service = std::net::SocketAddr::from(([127, 0, 0, 1], self.ports[1]));
        let targets = [self.sidecar().admin, service];
        self.prometheus = Some(Prometheus::start(self.folder.path(), &targets));
    }

    /// The sidecar's metrics, as it tells them or as Prometheus has them.
    pub(crate) async fn metrics(&self) -> String {
        match &self.prometheus {
            Some(prometheus) => prometheus.metrics().await,
            None => self.sidecar().metrics().await,
        }
    }

    pub(crate) fn sidecar(&self) -> &Program {
        self.sidecar.as_ref().unwrap()
    }

    /// kill -9, and again with the outbox that it left.
    pub(crate) async fn kill_sidecar(&mut self) {
        if let Some(sidecar) = self.sidecar.take() {
            sidecar.end();
        }
        self.start_sidecar().await;
    }

    /// kill -9, and again with the rows that it left.
    pub(crate) async fn kill_service(&mut self) {
        self.end_service();
        self.start_service().await;
    }

    fn end_service(&mut self) {
        if let Some(mut service) = self.service.take() {
            let _ = service.kill();
            let _ = service.wait();
        }
    }

    /// What the service answers to a question about the namespace.
    pub(crate) async fn asked(&self, question: &str) -> Option<Value> {
        let url = format!("https://localhost:{}{question}", self.ports[0]);
        let answer = self
            .http
            .get(url)
            .bearer_auth(apiserver::users("ann"))
            .send()
            .await
            .ok()?;
        (answer.status() == 200).then_some(answer.json().await.ok()?)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end_service();
    }
}
