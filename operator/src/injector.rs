//! Pod in, patch out: what the mutating webhook adds to a pod. Pure.
//!
//! Every part is ensured on its own, so a second call on an injected pod gives an empty patch, and a container that
//! another webhook added in between still gets its environment. What the app already says is never overwritten.

pub mod environment;
mod impossible;
pub mod overrides;
mod patch;
pub mod quantity;
mod references;
pub mod sidecar;

use bowsprit_crds::names;
use json_patch::Patch;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde_json::json;

use crate::workload::runs_for;
pub use overrides::{Overrides, Resources};
use patch::PatchBuilder;
pub use references::References;

/// Annotation with the version of the injector that made the pod.
pub const ANNOTATION_INJECTED_VERSION: &str = "bowsprit.dev/injected-version";

/// What an operator's settings say of every sidecar, unless a pod's annotations say otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The sidecar's image.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; empty leaves it to the apiserver.
    pub image_pull_policy: String,
    /// Requests and limits.
    pub resources: Resources,
    /// The sidecar's log level.
    pub log_level: String,
    /// Native sidecar (Kubernetes >= 1.29) or an ordinary container.
    pub native: bool,
    /// Where sidecars stream their config from: `https://<service>.<namespace>.svc:8444`. `None`: from the mount alone.
    pub operator_url: Option<String>,
    /// Where sidecars send what became of requests: `https://<service>.<namespace>.svc:8446`. `None`: nowhere.
    pub ledger_url: Option<String>,
    /// Whether sidecars keep what became of requests though they send it nowhere: `kubectl bowsprit` then asks them.
    pub keeps_ledger: bool,
    /// Where sidecars send spans, and which. `None`: nowhere.
    pub tracing: Option<Tracing>,
    /// Written to [`ANNOTATION_INJECTED_VERSION`].
    pub version: String,
}

impl Settings {
    /// The same for a pod that asks for this.
    fn of(&self, overrides: &Overrides) -> Self {
        Self {
            native: overrides.native.unwrap_or(self.native),
            ..self.clone()
        }
    }
}

/// Where sidecars send the spans of their requests, and of which requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
    /// `OTEL_TRACES_SAMPLER`.
    pub sampler: String,
    /// `OTEL_TRACES_SAMPLER_ARG`; empty: none.
    pub sampler_arg: String,
}

/// Why a pod is refused: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}: {remedy}")]
pub struct Refusal {
    /// The field of the pod.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl Refusal {
    fn new(path: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// The patch that gives `pod` a sidecar; empty where it has all of it. `revision` is the namespace's config as far as known.
pub fn inject(
    pod: &Pod,
    settings: &Settings,
    references: &References,
    revision: Option<&str>,
) -> Result<Patch, Refusal> {
    let Some(spec) = &pod.spec else {
        return Err(Refusal::new("spec", "missing", "give the pod a spec"));
    };
    if label(pod, names::LABEL_INJECT) == Some("false") {
        return Ok(Patch::default());
    }
    let overrides = Overrides::read(pod)?;
    let settings = &settings.of(&overrides);
    impossible::refuse(pod, spec, settings, &overrides)?;
    let injected = has_sidecar(spec);

    let mut patch = PatchBuilder::default();
    label_and_annotate(&mut patch, pod, settings, revision);
    if !injected {
        patch.ensure_list(&["spec", "volumes"], spec.volumes.is_some());
        for volume in sidecar::volumes(settings, references) {
            patch.add(&["spec", "volumes", "-"], volume);
        }
    }
    if overrides.inject_env {
        environment::complete(&mut patch, spec, overrides.app_port, settings.native);
    }
    // Last: it goes first in its list, and so would shift the indexes that the environment is added by.
    if !injected {
        let grace = spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
        let mut container = sidecar::container(settings, &overrides, references, &runs_for(&pod.metadata), grace)?;
        if goes_on(spec, settings) {
            sidecar::end_on_request(&mut container);
        }
        if settings.native {
            patch.ensure_list(&["spec", "initContainers"], spec.init_containers.is_some());
            patch.add(&["spec", "initContainers", "0"], container);
        } else {
            patch.add(&["spec", "containers", "0"], container);
        }
    } else if let Some(behind) = behind_others(spec) {
        patch.move_to(
            &["spec", "initContainers", &behind.to_string()],
            &["spec", "initContainers", "0"],
        );
    }
    Ok(patch.into_patch())
}

/// Whether a pod gets no mounts: it has a sidecar already, or wants none.
pub fn is_complete(pod: &Pod) -> bool {
    label(pod, names::LABEL_INJECT) == Some("false") || pod.spec.as_ref().is_none_or(has_sidecar)
}

/// What whoever creates a pod with a sidecar should know.
pub fn advice(pod: &Pod, settings: &Settings) -> Vec<String> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let mut advice = Vec::new();
    let overrides = Overrides::read(pod).ok();
    let admin = overrides.as_ref().map_or(names::ADMIN_PORT, |it| it.admin_port);
    if overrides.as_ref().is_some_and(|it| goes_on(spec, &settings.of(it))) {
        advice.push(format!(
            "the pod does not complete by itself: its sidecar is an ordinary container, as before Kubernetes 1.29, and goes on after \
             the app has ended. Let the app's last step be POST http://127.0.0.1:{admin}/shutdown"
        ));
    }
    if overrides.is_some_and(|overrides| overrides.inject_env) {
        advice.extend(environment::from_elsewhere(spec).map(|container| {
            format!(
                "container {container} has envFrom, and the address and key variables of the SDKs that are set for it win over \
                 those there: where it means its own, set bowsprit.dev/inject-env: \"false\" or name them in env"
            )
        }));
    }
    let past = environment::bypasses(spec).into_iter();
    advice.extend(past.map(|variable| {
        format!("{variable} leads past the sidecar: what it is asked has no limits, fallbacks or keys of ours")
    }));
    advice
}

/// Whether the pod waits for its sidecar to end by itself: an ordinary container in a pod that is meant to complete.
fn goes_on(spec: &PodSpec, settings: &Settings) -> bool {
    !settings.native && spec.restart_policy.as_deref().is_some_and(|policy| policy != "Always")
}

/// Where the sidecar stands, if an init container that may need it stands before it: another webhook put it there. Other
/// native sidecars may come first: they start and go on.
fn behind_others(spec: &PodSpec) -> Option<usize> {
    let mut init = spec.init_containers.iter().flatten();
    let at = init.position(|it| it.name == names::SIDECAR_CONTAINER)?;
    let mut before = spec.init_containers.iter().flatten().take(at);
    before
        .any(|it| it.restart_policy.as_deref() != Some("Always"))
        .then_some(at)
}

/// Kubernetes' own default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE_SECONDS: i64 = 30;

fn label<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

fn is_injected(pod: &Pod) -> bool {
    label(pod, names::LABEL_INJECTED) == Some("true")
}

/// Whether the sidecar of a pod is one that was injected into another: `kubectl debug --copy-to` takes a pod's containers
/// and volumes, and leaves its labels.
fn is_copied(spec: &PodSpec) -> bool {
    containers(spec).any(|(_, _, it)| {
        let mut mounts = it.volume_mounts.iter().flatten();
        it.name == names::SIDECAR_CONTAINER
            && mounts.any(|mount| mount.name == sidecar::CONFIG_VOLUME && mount.mount_path == names::CONFIG_DIR)
    })
}

/// Every container but the sidecar, with its list and its index there. Ephemeral ones are no part of a new pod.
fn app_containers(spec: &PodSpec) -> impl Iterator<Item = (&'static str, usize, &Container)> {
    containers(spec).filter(|(_, _, it)| it.name != names::SIDECAR_CONTAINER)
}

/// Whether init containers find a sidecar that runs: a native one starts before them.
fn sidecar_leads(spec: &PodSpec, native: bool) -> bool {
    let beside = |it: &Container| it.name == names::SIDECAR_CONTAINER;
    native && !spec.containers.iter().any(beside)
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = (&'static str, usize, &Container)> {
    let init = spec
        .init_containers
        .iter()
        .flatten()
        .enumerate()
        .map(|(index, it)| ("initContainers", index, it));
    init.chain(
        spec.containers
            .iter()
            .enumerate()
            .map(|(index, it)| ("containers", index, it)),
    )
}

fn has_sidecar(spec: &PodSpec) -> bool {
    containers(spec).any(|(_, _, container)| container.name == names::SIDECAR_CONTAINER)
}

fn label_and_annotate(patch: &mut PatchBuilder, pod: &Pod, settings: &Settings, revision: Option<&str>) {
    let labels = pod.metadata.labels.as_ref();
    if !is_injected(pod) {
        patch.ensure_map(&["metadata", "labels"], labels.is_some());
        patch.add(&["metadata", "labels", names::LABEL_INJECTED], json!("true"));
    }
    let annotations = pod.metadata.annotations.as_ref();
    let has = |name: &str| annotations.is_some_and(|annotations| annotations.contains_key(name));
    let mut wanted = vec![(ANNOTATION_INJECTED_VERSION, settings.version.as_str())];
    wanted.extend(revision.map(|revision| (names::ANNOTATION_CONFIG_REVISION, revision)));
    if !settings.native {
        // The sidecar comes first in the list, and kubectl logs and exec would take it for the app.
        let app = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        wanted.extend(app.map(|app| ("kubectl.kubernetes.io/default-container", app.name.as_str())));
    }
    wanted.retain(|(name, _)| !has(name));
    if !wanted.is_empty() {
        patch.ensure_map(&["metadata", "annotations"], annotations.is_some());
    }
    for (name, value) in wanted {
        patch.add(&["metadata", "annotations", name], json!(value));
    }
}

#[cfg(test)]
mod tests;
