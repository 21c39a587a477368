//! Pod in, patch out: what the mutating webhook adds to a pod. Pure.
//!
//! Every part is ensured on its own, so a second call on an injected pod gives an empty patch, and a container that
//! another webhook added in between still gets its environment. What the app already says is never overwritten.

pub mod overrides;
pub mod sidecar;

use std::collections::{BTreeMap, BTreeSet};

use bowsprit_crds::{ProviderConfig, names};
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde_json::{Value, json};

pub use overrides::{Overrides, Resources};

/// Annotation with the version of the injector that made the pod.
pub const ANNOTATION_INJECTED_VERSION: &str = "bowsprit.dev/injected-version";

/// What stands in the app's key variables: SDKs refuse to start without a key, the sidecar replaces it.
const PLACEHOLDER_KEY: &str = "bowsprit";

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
    /// Native sidecar (Kubernetes >= 1.29) or a plain container.
    pub native: bool,
    /// Where sidecars stream their config from: `https://<service>.<namespace>.svc:8444`. `None`: from the mount alone.
    pub operator_url: Option<String>,
    /// Written to [`ANNOTATION_INJECTED_VERSION`].
    pub version: String,
}

/// The Secrets and CA bundles that a pod's sidecar needs mounted: `(object, key)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Keys of Secrets.
    pub secrets: BTreeSet<(String, String)>,
    /// Keys of `ConfigMaps` with PEM bundles.
    pub ca_bundles: BTreeSet<(String, String)>,
}

impl References {
    /// What the `ProviderConfigs` that select a pod with `labels` refer to. Disabled ones count too: switching one on must
    /// not need a new pod.
    pub fn of<'a>(providers: impl IntoIterator<Item = &'a ProviderConfig>, labels: &BTreeMap<String, String>) -> Self {
        let mut found = Self::default();
        for provider in providers {
            let spec = &provider.spec;
            if !spec
                .pod_selector
                .as_ref()
                .is_none_or(|selector| selector.matches(labels))
            {
                continue;
            }
            let secrets = spec
                .credentials
                .iter()
                .filter_map(|credential| credential.secret_key_ref.as_ref());
            found
                .secrets
                .extend(secrets.map(|key| (key.name.clone(), key.key.clone())));
            let bundles = spec.endpoint.ca_bundle_ref.iter();
            found
                .ca_bundles
                .extend(bundles.map(|key| (key.name.clone(), key.key.clone())));
        }
        found
    }

    /// What a pod has mounted already, read from the volumes that the injector made.
    pub fn mounted(spec: &PodSpec) -> Self {
        let mut found = Self::default();
        for volume in spec.volumes.iter().flatten() {
            let sources = volume
                .projected
                .iter()
                .filter_map(|projected| projected.sources.as_ref())
                .flatten();
            for source in sources {
                if let Some(secret) = source
                    .secret
                    .as_ref()
                    .filter(|_| volume.name == sidecar::SECRETS_VOLUME)
                {
                    let items = secret.items.iter().flatten();
                    found
                        .secrets
                        .extend(items.map(|item| (secret.name.clone(), item.key.clone())));
                }
                if let Some(bundle) = source.config_map.as_ref().filter(|_| volume.name == sidecar::CA_VOLUME) {
                    let items = bundle.items.iter().flatten();
                    found
                        .ca_bundles
                        .extend(items.map(|item| (bundle.name.clone(), item.key.clone())));
                }
            }
        }
        found
    }

    /// What `self` has and `mounted` has not, as `secret/key` or `configmap/key`.
    pub fn missing_from(&self, mounted: &Self) -> Vec<String> {
        let secrets = self.secrets.difference(&mounted.secrets);
        secrets
            .chain(self.ca_bundles.difference(&mounted.ca_bundles))
            .map(|(name, key)| format!("{name}/{key}"))
            .collect()
    }
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
    let injected = has_sidecar(spec);
    if injected && label(pod, names::LABEL_INJECTED) != Some("true") {
        return Err(Refusal::new(
            "spec",
            format!(
                "a container named {:?} is already there and was not injected",
                names::SIDECAR_CONTAINER
            ),
            format!(
                "rename it, or set the label {}: \"false\" on the pod",
                names::LABEL_INJECT
            ),
        ));
    }
    refuse_what_cannot_work(spec)?;

    let mut patch = PatchBuilder::default();
    label_and_annotate(&mut patch, pod, settings, revision);
    if !injected {
        patch.ensure_list(&["spec", "volumes"], spec.volumes.is_some());
        for volume in sidecar::volumes(settings, references) {
            patch.add(&["spec", "volumes", "-"], volume);
        }
    }
    if overrides.inject_env {
        add_app_env(&mut patch, spec);
    }
    // Last: it goes first in its list, and so would shift the indexes that the environment is added by.
    if !injected {
        let grace = spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
        let container = sidecar::container(settings, &overrides, references, grace)?;
        if settings.native {
            patch.ensure_list(&["spec", "initContainers"], spec.init_containers.is_some());
            patch.add(&["spec", "initContainers", "0"], container);
        } else {
            patch.add(&["spec", "containers", "0"], container);
        }
    }
    Ok(patch.into_patch())
}

/// Kubernetes' own default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE_SECONDS: i64 = 30;

fn label<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(name).map(String::as_str)
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

fn refuse_what_cannot_work(spec: &PodSpec) -> Result<(), Refusal> {
    let opt_out = format!("or set the label {}: \"false\" on the pod", names::LABEL_INJECT);
    if spec.host_network == Some(true) {
        return Err(Refusal::new(
            "spec.hostNetwork",
            "the sidecar's loopback port would be shared by every pod of the node",
            format!("leave hostNetwork out, {opt_out}"),
        ));
    }
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return Err(Refusal::new(
            "spec.os.name",
            "the sidecar runs on linux only",
            format!("use a linux pod, {opt_out}"),
        ));
    }
    for (list, index, container) in containers(spec).filter(|(_, _, it)| it.name != names::SIDECAR_CONTAINER) {
        for (at, port) in container.ports.iter().flatten().enumerate() {
            if [names::APP_PORT, names::ADMIN_PORT]
                .iter()
                .any(|taken| i32::from(*taken) == port.container_port)
            {
                return Err(Refusal::new(
                    format!("spec.{list}[{index}].ports[{at}].containerPort"),
                    format!("{} is the sidecar's port", port.container_port),
                    format!("let container {:?} listen on another port, {opt_out}", container.name),
                ));
            }
        }
    }
    Ok(())
}

fn label_and_annotate(patch: &mut PatchBuilder, pod: &Pod, settings: &Settings, revision: Option<&str>) {
    let labels = pod.metadata.labels.as_ref();
    if label(pod, names::LABEL_INJECTED) != Some("true") {
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

/// One SDK's variables: where it looks for its address, and where for its key.
struct SdkEnv {
    base_url: &'static str,
    path: &'static str,
    keys: &'static [&'static str],
}

const SDKS: [SdkEnv; 3] = [
    SdkEnv {
        base_url: "OPENAI_BASE_URL",
        path: "/v1",
        keys: &["OPENAI_API_KEY"],
    },
    SdkEnv {
        base_url: "ANTHROPIC_BASE_URL",
        path: "",
        keys: &["ANTHROPIC_API_KEY"],
    },
    SdkEnv {
        base_url: "GOOGLE_GEMINI_BASE_URL",
        path: "",
        keys: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
    },
];

/// The variables that a container lacks. An app that names an address of its own for an SDK does not mean the sidecar, so
/// it gets no placeholder for that SDK's key either: that would win over a key from `envFrom`.
fn missing_env(container: &Container) -> Vec<(&'static str, String)> {
    let set = |name: &str| container.env.iter().flatten().find(|variable| variable.name == name);
    let mut missing = Vec::new();
    for sdk in &SDKS {
        let address = format!("http://127.0.0.1:{}{}", names::APP_PORT, sdk.path);
        match set(sdk.base_url) {
            Some(own) if own.value.as_ref() != Some(&address) => continue,
            Some(_) => {}
            None => missing.push((sdk.base_url, address)),
        }
        let keys = sdk.keys.iter().filter(|key| set(key).is_none());
        missing.extend(keys.map(|key| (*key, PLACEHOLDER_KEY.to_owned())));
    }
    missing
}

fn add_app_env(patch: &mut PatchBuilder, spec: &PodSpec) {
    for (list, index, container) in containers(spec).filter(|(_, _, it)| it.name != names::SIDECAR_CONTAINER) {
        let index = index.to_string();
        let missing = missing_env(container);
        if missing.is_empty() {
            continue;
        }
        patch.ensure_list(&["spec", list, &index, "env"], container.env.is_some());
        for (name, value) in missing {
            patch.add(
                &["spec", list, &index, "env", "-"],
                json!({"name": name, "value": value}),
            );
        }
    }
}

/// Collects the operations of a patch.
#[derive(Default)]
struct PatchBuilder(Vec<PatchOperation>);

impl PatchBuilder {
    fn add(&mut self, path: &[&str], value: Value) {
        self.0.push(PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(path.iter().copied()),
            value,
        }));
    }

    fn ensure_list(&mut self, path: &[&str], exists: bool) {
        if !exists {
            self.add(path, json!([]));
        }
    }

    fn ensure_map(&mut self, path: &[&str], exists: bool) {
        if !exists {
            self.add(path, json!({}));
        }
    }

    fn into_patch(self) -> Patch {
        Patch(self.0)
    }
}

#[cfg(test)]
mod tests;
