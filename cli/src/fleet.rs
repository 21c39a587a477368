//! Pods with a sidecar, and what their sidecars say of themselves at `/health`. A field that this release does not know is
//! passed over, and one that another does not write is empty.

use std::collections::BTreeMap;

use bowsprit_crds::names;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

/// Where a sidecar is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sidecar {
    /// The pod's namespace.
    pub(crate) namespace: String,
    /// The pod's name.
    pub(crate) pod: String,
    /// The pod's labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The port for requests, on loopback.
    pub(crate) app_port: u16,
    /// The port for `/health`.
    pub(crate) admin_port: u16,
    /// Whether the pod is ready.
    pub(crate) ready: bool,
    /// Why it is asked nothing: it does not run.
    pub(crate) not_running: Option<String>,
    /// What its sidecar has mounted of Secrets, as `secret/key`.
    pub(crate) mounted: Vec<String>,
}

impl Sidecar {
    /// The sidecar of a pod, if it has one.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let container = containers(pod).find(|it| it.name == names::SIDECAR_CONTAINER)?;
        let admin_port = container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some("bowsprit-admin"))
            .and_then(|port| u16::try_from(port.container_port).ok());
        let listen = container
            .env
            .iter()
            .flatten()
            .find(|variable| variable.name == "BOWSPRIT_LISTEN")
            .and_then(|variable| variable.value.as_deref()?.rsplit(':').next()?.parse().ok());
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Unknown");
        Some(Self {
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod.name_any(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            app_port: listen.unwrap_or(names::APP_PORT),
            admin_port: admin_port.unwrap_or(names::ADMIN_PORT),
            ready: status
                .and_then(|status| status.conditions.as_ref())
                .into_iter()
                .flatten()
                .any(|it| it.type_ == "Ready" && it.status == "True"),
            not_running: match sidecar_waits(pod) {
                _ if pod.metadata.deletion_timestamp.is_some() => Some("the pod is being deleted".to_owned()),
                Some(why) => Some(why),
                None if phase == "Running" || phase == "Pending" => None,
                None => Some(format!("the pod is {phase}")),
            },
            mounted: mounted(pod),
        })
    }
}

/// Containers and init containers.
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
}

/// Why a pod's sidecar does not run, in the kubelet's words.
fn sidecar_waits(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses);
    let sidecar = all.flatten().find(|it| it.name == names::SIDECAR_CONTAINER)?;
    let state = sidecar.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("it waits");
        let message = waiting.message.as_deref().unwrap_or_default();
        return Some(format!("its sidecar waits: {reason} {message}").trim().to_owned());
    }
    let ended = state.terminated.as_ref()?;
    Some(format!("its sidecar has ended with code {}", ended.exit_code))
}

/// The Secret keys that the injector had mounted.
fn mounted(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let ours = volumes.filter(|volume| volume.name == "bowsprit-secrets");
    let sources = ours.flat_map(|volume| volume.projected.iter().flat_map(|it| it.sources.iter().flatten()));
    let secrets = sources.filter_map(|source| source.secret.as_ref());
    secrets
        .flat_map(|secret| {
            let items = secret.items.iter().flatten();
            items.map(|item| format!("{}/{}", secret.name, item.key))
        })
        .collect()
}

/// `GET /health` of a sidecar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Health {
    /// `ok`, `degraded`, `draining`, `unready` or `failed`.
    pub(crate) status: String,
    /// The sidecar's release.
    pub(crate) version: String,
    /// Since its start.
    pub(crate) uptime_seconds: u64,
    /// Requests under way.
    pub(crate) in_flight: u64,
    /// What is in service.
    pub(crate) config: Config,
    /// The stream to the operator; none: the sidecar was not told of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<Stream>,
    /// What it keeps for the ledger; none: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ledger: Option<Ledger>,
    /// The providers that select this pod.
    pub(crate) providers: Vec<Provider>,
    /// The services that its guards ask.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) guard_services: Vec<GuardService>,
    /// Answers that are kept, by route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cache: Vec<Kept>,
    /// Questions that may be found by who asks alike, by route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) semantic: Vec<Kept>,
    /// Vectors that are kept, by route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) embeddings: Vec<Kept>,
    /// Vectors that are asked for in the background, by route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) next_embeddings: Vec<Filling>,
}

/// A service that a guard asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GuardService {
    /// The guard.
    pub(crate) name: String,
    /// Whose it is, such as `ModelRoute fast`.
    pub(crate) of: String,
    /// `closed`, `open` or `half_open`.
    pub(crate) breaker: String,
    /// Seconds until it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_in_seconds: Option<f64>,
    /// What is wrong with how it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// What a sidecar keeps of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Kept {
    /// The ModelRoute.
    pub(crate) route: String,
    /// How many.
    pub(crate) answers: u64,
    /// What they take.
    pub(crate) bytes: u64,
    /// What they may take.
    pub(crate) max_bytes: u64,
}

/// How far a sidecar is with vectors that it asks for in the background.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Filling {
    /// The ModelRoute.
    pub(crate) route: String,
    /// The model, or its version.
    pub(crate) next: String,
    /// `filling`, `filled`, `serving`, `failed`; `renewing`, `renewed`.
    pub(crate) state: String,
    /// Of so many.
    pub(crate) filled: u64,
    /// So many.
    pub(crate) of: u64,
    /// Of these, not asked for any more.
    pub(crate) given_up: u64,
    /// Inputs that wait.
    pub(crate) waiting: u64,
    /// Requests that are out.
    pub(crate) workers: u64,
}

/// The stream over which changes come at once. Without it they come by the mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Stream {
    /// Whether it stands.
    pub(crate) connected: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// What a sidecar keeps for the ledger. No request waits for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ledger {
    /// `file` or `memory`.
    pub(crate) kept_in: String,
    /// Bytes of entries that no ledger service has.
    pub(crate) unshipped_bytes: u64,
    /// What is wrong, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<String>,
}

/// The config of a sidecar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Config {
    /// Whether there is one.
    pub(crate) loaded: bool,
    /// Its content hash.
    pub(crate) revision: String,
    /// Its number.
    pub(crate) sequence: u64,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// Since it is in service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age_seconds: Option<u64>,
    /// What is wrong with a newer one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<String>,
}

/// A provider as a sidecar sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Provider {
    /// The ProviderConfig.
    pub(crate) name: String,
    /// `ok`, or why not.
    pub(crate) status: String,
    /// Usable now.
    pub(crate) keys_usable: u32,
    /// Configured.
    pub(crate) keys_configured: u32,
    /// What is wrong with keys; never a value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) key_problems: Vec<String>,
    /// Attempts under way.
    pub(crate) in_flight: u64,
    /// Of the retry budget.
    pub(crate) retries_left: u64,
    /// What is wrong with its endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// A breaker per model that was asked for.
    pub(crate) models: Vec<Model>,
}

/// A model's breaker in a sidecar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Model {
    /// The model.
    #[serde(rename = "model")]
    pub(crate) name: String,
    /// `closed`, `open` or `half_open`.
    pub(crate) breaker: String,
    /// In a row.
    pub(crate) failures: u32,
    /// Until it lets a probe through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_in_seconds: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sidecar_is_found_wherever_it_listens() {
        let pod = |init: serde_json::Value| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "app", "namespace": "shop"},
                "spec": {"containers": [{"name": "app"}], "initContainers": [init], "volumes": [
                    {"name": "bowsprit-secrets", "projected": {"sources": [{"secret": {"name": "keys", "items": [{"key": "claude", "path": "x"}]}}]}},
                ]},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            }))
            .unwrap()
        };
        let usual = Sidecar::of(&pod(json!({"name": "bowsprit"}))).unwrap();
        assert_eq!((usual.app_port, usual.admin_port, usual.ready), (4000, 4001, true));
        assert_eq!(usual.mounted, ["keys/claude"]);
        let moved = Sidecar::of(&pod(json!({
            "name": "bowsprit",
            "ports": [{"name": "bowsprit-admin", "containerPort": 5001}],
            "env": [{"name": "BOWSPRIT_LISTEN", "value": "127.0.0.1:5000"}],
        })))
        .unwrap();
        assert_eq!((moved.app_port, moved.admin_port), (5000, 5001));
        assert_eq!(Sidecar::of(&pod(json!({"name": "other"}))), None);
    }

    #[test]
    fn a_health_of_another_release_is_read_as_far_as_it_is_known() {
        let health: Health = serde_json::from_value(json!({
            "status": "ok", "new": {}, "config": {"revision": "abc"}, "stream": {"connected": true, "newer": 1},
            "providers": [{"name": "claude", "models": [{"model": "m", "breaker": "open", "retryInSeconds": 1.5}]}],
        }))
        .unwrap();
        assert_eq!(health.providers[0].models[0].retry_in_seconds, Some(1.5));
        assert!(health.stream.is_some_and(|stream| stream.connected));
        assert_eq!((health.config.revision.as_str(), health.version.as_str()), ("abc", ""));
    }
}
