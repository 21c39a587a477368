//! Asks sidecars what they have loaded and how their breakers stand.
//!
//! The pod's own admin port answers (`/health`), so nothing needs to be stored anywhere. Bounded in time and number:
//! a fleet is never asked all at once. Nobody waits for the answers: they are kept until somebody takes them, so pods that
//! do not answer hold up no namespace, their own neither.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowsprit_core::stream::{RefusedConfig, ReportedProvider, SidecarReport};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::fleet::PodId;
use crate::objects::pod::InjectedPod;
use crate::sync::locked;

/// Longer than any healthy sidecar takes to answer, short enough that dead pods make the others wait for their turn briefly.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Questions in flight, over all namespaces.
const AT_ONCE: usize = 128;
/// Of which one namespace has so many at the most.
const AT_ONCE_IN_ONE: usize = 32;
/// An answer is a few KB; more is no sidecar of ours. Times [`AT_ONCE`] it also bounds what a fleet of impostors can make
/// the operator hold.
const MAX_ANSWER: usize = 256 << 10;

/// What pods said when they were asked; none where one did not answer.
pub type Answers = Vec<(PodId, Option<SidecarReport>)>;

/// Asks. Cheap to clone.
#[derive(Clone)]
pub struct Poller {
    client: reqwest::Client,
    turns: Arc<Semaphore>,
    /// By namespace, until they are taken.
    answers: Arc<Mutex<HashMap<String, Answers>>>,
}

#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    version: String,
    config: HealthConfig,
    #[serde(default)]
    providers: Vec<HealthProvider>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HealthConfig {
    #[serde(default)]
    revision: Option<String>,
    #[serde(default)]
    sequence: u64,
    #[serde(default)]
    policies: Option<u32>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    last_error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HealthProvider {
    name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    key_problems: Vec<String>,
    #[serde(default)]
    models: Vec<HealthModel>,
}

#[derive(Deserialize)]
struct HealthModel {
    breaker: String,
}

impl Poller {
    /// A poller. Redirects are off: a pod that answers with one is no sidecar.
    ///
    /// # Errors
    /// Where the HTTP client cannot be made.
    pub fn new() -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self {
            client,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            answers: Arc::default(),
        })
    }

    /// Asks these pods of a namespace, in a task of its own. `tell` is called after each answer, which is there to be taken then.
    pub fn ask(&self, namespace: &str, pods: Vec<Arc<InjectedPod>>, tell: impl Fn() + Send + 'static) {
        let (this, namespace) = (self.clone(), namespace.to_owned());
        tokio::spawn(async move {
            let ask = |pod: Arc<InjectedPod>| {
                let this = &this;
                async move {
                    let _turn = this.turns.acquire().await;
                    let report = match &pod.ip {
                        Some(ip) => this.report(ip, pod.admin_port).await,
                        None => None,
                    };
                    (pod.id.clone(), report)
                }
            };
            let mut answers = stream::iter(pods).map(ask).buffer_unordered(AT_ONCE_IN_ONE);
            while let Some(answer) = answers.next().await {
                locked(&this.answers).entry(namespace.clone()).or_default().push(answer);
                tell();
            }
        });
    }

    /// Takes what the namespace's pods have answered since the last time.
    pub fn answers(&self, namespace: &str) -> Answers {
        locked(&self.answers).remove(namespace).unwrap_or_default()
    }

    async fn report(&self, ip: &str, port: u16) -> Option<SidecarReport> {
        let host = if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.to_owned()
        };
        let url = format!("http://{host}:{port}/health");
        // An unready sidecar answers 503 with the same body.
        let mut answer = self.client.get(url).send().await.ok()?;
        // Counted as it comes: a pod need not announce how much it will say.
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.ok()? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        read(&body)
    }
}

fn read(body: &[u8]) -> Option<SidecarReport> {
    let health: Health = serde_json::from_slice(body).ok()?;
    let config = health.config;
    let refused = config.last_error.map(|why| RefusedConfig {
        // Not told here: it is about the newest offer, whichever that is.
        sequence: u64::MAX,
        why,
    });
    Some(SidecarReport {
        version: health.version,
        revision: config.revision.unwrap_or_default(),
        sequence: config.sequence,
        policies: config.policies,
        source: config.source.unwrap_or_default(),
        refused,
        providers: health.providers.into_iter().map(provider).collect(),
        // Told over the stream alone.
        objectives: Vec::new(),
        runaways: Vec::new(),
    })
}

fn provider(of: HealthProvider) -> ReportedProvider {
    let in_state = |state: &str| {
        let models = of.models.iter().filter(|model| model.breaker == state);
        u32::try_from(models.count()).unwrap_or(u32::MAX)
    };
    let (closed, open) = (in_state("closed"), in_state("open"));
    let all = u32::try_from(of.models.len()).unwrap_or(u32::MAX);
    ReportedProvider {
        closed,
        open,
        half_open: all.saturating_sub(closed).saturating_sub(open),
        name: of.name,
        status: of.status,
        key_problems: of.key_problems,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_report_is_read_and_what_is_new_in_it_passed_over() {
        let body = serde_json::json!({
            "status": "ready", "config": {"revision": "abc", "sequence": 3, "new": true},
            "providers": [{"name": "claude", "keyProblems": ["main: is empty"], "models": [{"model": "m", "breaker": "open"}, {"model": "n", "breaker": "closed"}]}],
        });
        let report = read(body.to_string().as_bytes()).unwrap();
        assert_eq!((report.revision.as_str(), report.sequence), ("abc", 3));
        let claude = &report.providers[0];
        assert_eq!((claude.closed, claude.open, claude.half_open), (1, 1, 0));
        assert_eq!(claude.key_problems, ["main: is empty"]);
        assert_eq!(read(b"<html>"), None);
    }
}
