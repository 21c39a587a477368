//! Asks sidecars what they have loaded and how their breakers stand.
//!
//! The pod's own admin port answers (`/health`), so nothing needs to be stored anywhere. Bounded in time and number:
//! a fleet is never asked all at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::stream::{RefusedConfig, ReportedProvider, SidecarReport};
use futures::{StreamExt as _, stream};
use serde::Deserialize;

use crate::objects::pod::InjectedPod;

/// Longer than any healthy sidecar takes to answer, short enough that a dead pod holds nobody up.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Questions in flight for one namespace.
const AT_ONCE: usize = 32;
/// An answer is a few KB; more is no sidecar of ours. Times [`AT_ONCE`] it also bounds what a fleet of impostors can make
/// the operator hold.
const MAX_ANSWER: usize = 256 << 10;

/// Asks. Cheap to clone.
#[derive(Clone)]
pub struct Poller {
    client: reqwest::Client,
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
        Ok(Self { client })
    }

    /// What each pod reports, by pod name; pods that do not answer are left out.
    pub async fn reports(&self, pods: &[Arc<InjectedPod>]) -> BTreeMap<String, SidecarReport> {
        let targets: Vec<(String, String, u16)> = pods
            .iter()
            .filter_map(|pod| Some((pod.id.name.clone(), pod.ip.clone()?, pod.admin_port)))
            .collect();
        stream::iter(targets)
            .map(|(name, ip, port)| async move { Some((name, self.report(&ip, port).await?)) })
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await
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
        source: config.source.unwrap_or_default(),
        refused,
        providers: health.providers.into_iter().map(provider).collect(),
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
