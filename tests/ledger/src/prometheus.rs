//! A real Prometheus that scrapes the sidecar and the ledger service: what it holds is what is compared.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bowsprit_rig::process::Process;
use serde_json::{Value, json};

use crate::database::free_port;
use crate::world::PATIENCE;

/// Every sample of the last minute that says whether a target was up.
const UP: &str = "up%5B1m%5D";
/// Every series of ours.
const ALL: &str = "%7B__name__%3D~%22bowsprit_.%2B%22%7D";

pub(crate) struct Prometheus {
    _process: Process,
    port: u16,
    targets: usize,
    http: reqwest::Client,
}

impl Prometheus {
    /// Scrapes each of these five times a second.
    pub(crate) fn start(folder: &Path, targets: &[SocketAddr]) -> Self {
        let port = free_port();
        let targets_config: Vec<Value> = targets.iter().map(|target| json!({"targets": [target]})).collect();
        let config = json!({
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
            "scrape_configs": [{"job_name": "all", "static_configs": targets_config}],
        });
        let file = folder.join("prometheus.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Self {
            _process: Process::start(&mut command, &folder.join("prometheus.log")),
            port,
            targets: targets.len(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn query(&self, query: &str) -> Option<Vec<Value>> {
        let url = format!("http://127.0.0.1:{}/api/v1/query?query={query}", self.port);
        let answer: Value = self.http.get(url).send().await.ok()?.json().await.ok()?;
        answer["data"]["result"].as_array().cloned()
    }

    /// What it holds of every target, of scrapes that began after this call: in the text that a target answers.
    pub(crate) async fn metrics(&self) -> String {
        let (begun, now) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        let is_since = |series: &Value| {
            let samples = series["values"].as_array().into_iter().flatten();
            let mut since = samples.filter(|sample| sample[0].as_f64().is_some_and(|at| at > now.as_secs_f64()));
            since.any(|sample| sample[1] == "1")
        };
        loop {
            let up = self.query(UP).await.unwrap_or_default();
            if up.iter().filter(|series| is_since(series)).count() == self.targets {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "Prometheus does not scrape all targets");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let mut text = String::new();
        for series in self.query(ALL).await.unwrap_or_default() {
            let labels = series["metric"].as_object().unwrap();
            let name = labels["__name__"].as_str().unwrap();
            let pairs = labels.iter().filter(|(label, _)| *label != "__name__");
            let pairs: Vec<String> = pairs.map(|(label, value)| format!("{label}={value}")).collect();
            let _ = writeln!(
                text,
                "{name}{{{}}} {}",
                pairs.join(","),
                series["value"][1].as_str().unwrap()
            );
        }
        text
    }
}
