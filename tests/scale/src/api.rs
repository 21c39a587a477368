//! The apiserver, asked with JSON as the bed's administrator, and its own counts of who asked what.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bowsprit_crds::yaml;
use reqwest::{Certificate, Client, Identity, Method};
use serde_json::{Value, json};

/// How long an object may be refused for want of what the controllers make: a namespace's service account.
const CONTROLLERS: Duration = Duration::from_mins(1);

/// The apiserver.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    http: Client,
    server: String,
}

impl Api {
    /// As KUBECONFIG says: the bed's names files of a client certificate.
    pub(crate) fn from_kubeconfig() -> Result<Self> {
        let path = std::env::var("KUBECONFIG").context("KUBECONFIG is not set: run tests/scale/run")?;
        let config = yaml::documents(&std::fs::read_to_string(&path)?)?.remove(0);
        let text = |pointer: &str| {
            let text = config.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            text.with_context(|| format!("{path}: there is no {pointer}"))
        };
        let file = |pointer: &str| anyhow::Ok(std::fs::read(text(pointer)?)?);
        let mut identity = file("/users/0/user/client-certificate")?;
        identity.extend(file("/users/0/user/client-key")?);
        let http = Client::builder()
            .tls_certs_only(Certificate::from_pem_bundle(&file(
                "/clusters/0/cluster/certificate-authority",
            )?)?)
            .identity(Identity::from_pem(&identity)?)
            .no_proxy()
            .timeout(Duration::from_mins(1))
            .build()?;
        let server = text("/clusters/0/cluster/server")?;
        Ok(Self { http, server })
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: Option<&Value>) -> Result<(u16, String)> {
        let mut request = self.http.request(method, format!("{}{path}", self.server));
        if let Some(body) = body {
            request = request.header("content-type", kind).body(body.to_string());
        }
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        match self.send(Method::GET, path, "", None).await? {
            (200, text) => Ok(serde_json::from_str(&text)?),
            (status, text) => bail!("GET {path}: {status} {text}"),
        }
    }

    /// Makes an object, and waits for what the controllers must make before it.
    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let answer = self.send(Method::POST, path, "application/json", Some(object)).await;
            match answer {
                Ok((200..=299, text)) => return Ok(serde_json::from_str(&text)?),
                Ok((409, _)) => return Ok(Value::Null),
                Ok((403 | 404 | 429 | 500..=599, _)) | Err(_) if begun.elapsed() < CONTROLLERS => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                Ok((status, text)) => bail!("POST {path}: {status} {text}"),
                Err(error) => return Err(error.context(format!("POST {path}"))),
            }
        }
    }

    pub(crate) async fn merge(&self, path: &str, patch: &Value) -> Result<()> {
        match self
            .send(Method::PATCH, path, "application/merge-patch+json", Some(patch))
            .await?
        {
            (200, _) => Ok(()),
            (status, text) => bail!("PATCH {path}: {status} {text}"),
        }
    }

    /// Every operator at once, as a restart does it.
    pub(crate) async fn delete_operators(&self) -> Result<()> {
        let path = "/api/v1/namespaces/bowsprit-system/pods?labelSelector=app.kubernetes.io/component%3Doperator";
        match self
            .send(Method::DELETE, path, "application/json", Some(&json!({})))
            .await?
        {
            (200..=299, _) => Ok(()),
            (status, text) => bail!("DELETE {path}: {status} {text}"),
        }
    }

    /// What the apiserver counted so far.
    pub(crate) async fn counts(&self) -> Result<Counts> {
        let (status, text) = self.send(Method::GET, "/metrics", "", None).await?;
        anyhow::ensure!(status == 200, "GET /metrics: {status}");
        let mut counts = Counts::read(&text);
        let events = self
            .get("/api/v1/events?fieldSelector=reportingComponent%3Dbowsprit-operator")
            .await?;
        counts.event(events["items"].as_array().map_or(&[], Vec::as_slice));
        Ok(counts)
    }
}

/// Requests that the apiserver counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Of service accounts outside kube-system: only the operators have one here.
    pub(crate) of_operators: u64,
    /// Writes by verb and resource, by whomever, of kinds that nobody but the operators writes at rest.
    by_resource: BTreeMap<String, u64>,
    /// Their sum.
    pub(crate) writes: u64,
    /// Which they were.
    pub(crate) which: String,
}

/// Events of the operators are counted apart, as kwok makes some too. Leases are renewed on purpose, and nodes and their pods tell the apiserver of themselves.
const WRITTEN: [&str; 8] = [
    "pods",
    "configmaps",
    "providerconfigs",
    "modelroutes",
    "usagepolicies",
    "secrets",
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
];

impl Counts {
    fn read(text: &str) -> Self {
        let mut counts = Self::default();
        for line in text.lines() {
            let label = |name: &str| line.split(&format!("{name}=\"")).nth(1)?.split('"').next();
            // Counts are whole numbers, however they are written.
            let value = line.rsplit_once(' ').map_or("", |(_, value)| value);
            let count: u64 = value.parse().unwrap_or_default();
            if line.starts_with("apiserver_flowcontrol_dispatched_requests_total{") {
                if label("flow_schema") == Some("service-accounts") {
                    counts.of_operators += count;
                }
            } else if line.starts_with("apiserver_request_total{")
                && let (Some(verb), Some(resource)) = (label("verb"), label("resource"))
                && ["POST", "PUT", "PATCH", "APPLY", "DELETE"].contains(&verb)
                && label("dry_run") == Some("")
                && (resource != "pods" || label("subresource") == Some(""))
                && WRITTEN.contains(&resource)
            {
                *counts.by_resource.entry(format!("{verb} {resource}")).or_default() += count;
            }
        }
        counts
    }

    /// Adds the operators' Events, each as often as it was written.
    fn event(&mut self, events: &[Value]) {
        let times = |event: &Value| {
            event["series"]["count"]
                .as_u64()
                .or(event["count"].as_u64())
                .unwrap_or(1)
                .max(1)
        };
        let written = self.by_resource.entry("POST events".into()).or_default();
        *written += events.iter().map(times).sum::<u64>();
    }

    /// What came since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let grown = self.by_resource.iter().filter_map(|(what, count)| {
            // Events go after an hour.
            let before = before.by_resource.get(what).copied().unwrap_or_default();
            let more = count.saturating_sub(before);
            (more > 0).then(|| (what.clone(), more))
        });
        let by_resource: BTreeMap<String, u64> = grown.collect();
        let which: Vec<String> = by_resource
            .iter()
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        Self {
            of_operators: self.of_operators - before.of_operators,
            writes: by_resource.values().sum(),
            which: which.join(", "),
            by_resource,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_what_operators_asked_and_who_wrote_what_is_theirs() {
        let text = |writes: u64| {
            format!(
                "# TYPE apiserver_request_total counter\n\
                 apiserver_request_total{{code=\"200\",dry_run=\"\",resource=\"configmaps\",verb=\"APPLY\"}} {writes}\n\
                 apiserver_request_total{{code=\"201\",dry_run=\"All\",resource=\"configmaps\",verb=\"POST\"}} 9\n\
                 apiserver_request_total{{code=\"200\",dry_run=\"\",resource=\"leases\",verb=\"PUT\"}} {writes}\n\
                 apiserver_flowcontrol_dispatched_requests_total{{flow_schema=\"service-accounts\"}} {writes}\n\
                 apiserver_flowcontrol_dispatched_requests_total{{flow_schema=\"exempt\"}} 7\n"
            )
        };
        let counts = Counts::read(&text(5)).since(&Counts::read(&text(3)));
        assert_eq!((counts.of_operators, counts.writes), (2, 2));
        assert_eq!(counts.which, "2 APPLY configmaps");
    }
}
