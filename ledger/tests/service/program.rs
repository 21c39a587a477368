//! The program, and what talks to it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bowsprit_ledger::store::Arrival;
use bowsprit_ledger::wire::{BATCHES_PATH, Batch, Refused, Taken};
use serde_json::Value;

use crate::apiserver::{self, Ca};
use crate::entries::{arrival, requests};
use crate::server::free_port;

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Where it keeps its rows.
#[derive(Clone)]
pub(crate) enum Place {
    Sqlite,
    Postgres(String),
}

/// One that runs, or ran.
pub(crate) struct Program {
    pub(crate) folder: tempfile::TempDir,
    place: Place,
    flags: Vec<String>,
    ca: Ca,
    apiserver: String,
    port: u16,
    admin_port: u16,
    process: Child,
    pub(crate) http: reqwest::Client,
}

impl Program {
    pub(crate) async fn start(place: Place) -> Self {
        Self::start_with(place, &[]).await
    }

    /// With more flags.
    pub(crate) async fn start_with(place: Place, flags: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let apiserver = apiserver::start(folder.path()).await;
        let ca = Ca::new();
        write_leaf(&ca, folder.path());
        let (port, admin_port) = (free_port(), free_port());
        if let Place::Postgres(url) = &place {
            std::fs::write(folder.path().join("url"), url).unwrap();
        }
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let process = spawn(&place, folder.path(), &apiserver, [port, admin_port], &flags);
        let http = client(&ca);
        let program = Self {
            folder,
            place,
            flags,
            ca,
            apiserver,
            port,
            admin_port,
            process,
            http,
        };
        program.until_ready(true).await;
        program
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    /// kill -9, and again from what it left.
    pub(crate) async fn kill_and_start(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(
            &self.place,
            self.folder.path(),
            &self.apiserver,
            [self.port, self.admin_port],
            &self.flags,
        );
        self.until_ready(true).await;
    }

    /// SIGTERM; gives its exit code.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Another leaf of another CA; the client trusts both.
    pub(crate) fn rotate(&mut self) {
        self.ca = Ca::new();
        write_leaf(&self.ca, self.folder.path());
        self.http = client(&self.ca);
    }

    pub(crate) async fn until_ready(&self, is_ready: bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.admin("/health/ready").await;
            if answer.is_some_and(|(status, _)| (status == 200) == is_ready) {
                return;
            }
            assert!(Instant::now() < deadline, "ready is not {is_ready}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    pub(crate) async fn admin(&self, path: &str) -> Option<(u16, String)> {
        let answer = self
            .http
            .get(format!("http://127.0.0.1:{}{path}", self.admin_port))
            .send()
            .await
            .ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// The most memory that it ever had, bytes.
    pub(crate) fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }

    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.admin("/metrics").await.unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("bowsprit_ledger_service_{name} ")));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Where it is scraped.
    pub(crate) fn admin_address(&self) -> String {
        format!("127.0.0.1:{}", self.admin_port)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Status and body; `None`: no answer.
    pub(crate) async fn post(&self, token: &str, batch: &Batch) -> Option<(u16, Value)> {
        let answer = self
            .http
            .post(self.url(BATCHES_PATH))
            .bearer_auth(token)
            .json(batch)
            .send()
            .await
            .ok()?;
        Some((answer.status().as_u16(), answer.json().await.ok()?))
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> (u16, Value) {
        let answer = self.http.get(self.url(path)).bearer_auth(token).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Sends `count` requests of a pod as a sidecar does: each batch until it is taken. Says how often it had to.
    pub(crate) async fn ship(&self, pod: &str, from: u64, count: u64, per_batch: u64) -> u64 {
        let (token, mut next, mut again) = (apiserver::pods("team", pod), from, 0);
        let deadline = Instant::now() + PATIENCE;
        while next < from + count {
            let Arrival { batch, .. } = arrival(pod, next, requests(next..(next + per_batch).min(from + count), "ok"));
            match self.post(&token, &batch).await {
                Some((200, taken)) => next = serde_json::from_value::<Taken>(taken).unwrap().through + 1,
                Some((409, refused)) => next = serde_json::from_value::<Refused>(refused).unwrap().expected.unwrap(),
                Some((503, _)) | None => {
                    again += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Some((status, body)) => panic!("{status}: {body}"),
            }
            assert!(Instant::now() < deadline, "it is not taken");
        }
        again
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write_leaf(ca: &Ca, folder: &Path) {
    let [certificate, key] = ca.leaf();
    std::fs::write(folder.join("tls.key"), key).unwrap();
    std::fs::write(folder.join("tls.crt"), certificate).unwrap();
}

fn client(ca: &Ca) -> reqwest::Client {
    let ca = reqwest::Certificate::from_pem(ca.pem.as_bytes()).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([ca])
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

fn spawn(place: &Place, folder: &Path, apiserver: &str, [port, admin_port]: [u16; 2], flags: &[String]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowsprit-ledger"));
    command.arg("serve").args([
        "--port",
        &port.to_string(),
        "--admin-port",
        &admin_port.to_string(),
        "--apiserver",
        apiserver,
        "--operator",
        "bowsprit-system/app",
    ]);
    command
        .arg("--tls")
        .arg(folder)
        .arg("--apiserver-credentials")
        .arg(folder);
    match place {
        Place::Sqlite => command.arg("--sqlite").arg(folder.join("ledger.db")),
        Place::Postgres(_) => command.arg("--postgres").arg(folder.join("url")),
    };
    command.args(flags).stdout(Stdio::null()).spawn().unwrap()
}
