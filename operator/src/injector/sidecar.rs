//! The container and the volumes that a pod gets.

use std::collections::{BTreeMap, BTreeSet};

use bowsprit_crds::names;
use serde_json::{Map, Value, json};

use super::{Overrides, References, Refusal, Resources, Settings};

/// The namespace's config.
pub const CONFIG_VOLUME: &str = "bowsprit-config";
/// The keys; mounted into the sidecar only.
pub const SECRETS_VOLUME: &str = "bowsprit-secrets";
/// CA bundles of endpoints.
pub const CA_VOLUME: &str = "bowsprit-ca";
/// The pod's labels, for podSelector.
pub const POD_VOLUME: &str = "bowsprit-pod";
/// Hides the app's service-account token from the sidecar.
pub const NO_TOKEN_VOLUME: &str = "bowsprit-no-token";
/// The pod's token for the operator, good for nothing else.
pub const TOKEN_VOLUME: &str = "bowsprit-token";
/// The sidecar's own folder.
pub const STATE_VOLUME: &str = "bowsprit-state";

/// All of them.
pub const VOLUMES: [&str; 7] = [
    CONFIG_VOLUME,
    SECRETS_VOLUME,
    CA_VOLUME,
    POD_VOLUME,
    NO_TOKEN_VOLUME,
    TOKEN_VOLUME,
    STATE_VOLUME,
];

/// How long a token for the operator holds; the kubelet brings a new one after four fifths of it.
const TOKEN_SECONDS: u32 = 3600;
/// Far more than the last good config and the one that replaces it, a ConfigMap has 1 MiB at most; and background jobs, 32 MiB of them.
const STATE_SIZE: &str = "48Mi";
/// And with it what the ledger service has not taken yet: 24 MiB of entries, whose file may come to hold twice as much and 4 MiB.
const STATE_SIZE_WITH_LEDGER: &str = "112Mi";
/// What a sidecar keeps that sends it nowhere: some ten thousand requests, and sums of those before them.
const LEDGER_SIZE_ALONE: &str = "8MiB";
/// And with it: two and a half times as much.
const STATE_SIZE_WITH_LEDGER_ALONE: &str = "72Mi";

/// The image's numeric user: a name would fail runAsNonRoot.
const USER: u32 = 65532;
/// How long an ordinary container holds up the app's start: as long as its startup probe is patient.
const HOLD: &str = "60s";
/// What stays of the grace period after draining: the error events of cut streams, and the kubelet's own time.
const RESERVE_SECONDS: u32 = 5;

/// The sidecar's container. `grace` is the pod's terminationGracePeriodSeconds.
pub fn container(
    settings: &Settings,
    overrides: &Overrides,
    references: &References,
    workload: &str,
    grace: i64,
) -> Result<Value, Refusal> {
    let log_level = overrides.log_level.as_ref().unwrap_or(&settings.log_level);
    let drain = drain_seconds(overrides.drain_seconds, grace)?;
    let admin = overrides.admin_port;
    // Settings travel as variables, not as flags: a sidecar of another release ignores one that it does not know.
    let value = |name: &str, value: &str| json!({"name": name, "value": value});
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut env = vec![
        value("BOWSPRIT_CONFIG_DIR", names::CONFIG_DIR),
        value("BOWSPRIT_POD_LABELS", names::POD_LABELS_FILE),
        value("BOWSPRIT_SECRETS_DIR", names::SECRETS_DIR),
        value("BOWSPRIT_CA_DIR", names::CA_DIR),
        value("BOWSPRIT_STATE_DIR", names::STATE_DIR),
    ];
    let ca = format!("{}/{}", names::CONFIG_DIR, names::CA_KEY);
    // A service of our own: where it is, whom to trust, and the pod's token for it.
    for (name, url) in [
        ("BOWSPRIT_OPERATOR", &settings.operator_url),
        ("BOWSPRIT_LEDGER", &settings.ledger_url),
    ] {
        if let Some(url) = url {
            env.extend([
                value(name, url),
                value(&format!("{name}_CA"), &ca),
                value(&format!("{name}_TOKEN"), names::TOKEN_FILE),
            ]);
        }
    }
    if settings.ledger_url.is_none() && settings.keeps_ledger {
        env.push(value("BOWSPRIT_LEDGER_SIZE", LEDGER_SIZE_ALONE));
    }
    if has_ledger(settings) {
        env.push(value("BOWSPRIT_LEDGER_DIR", names::LEDGER_DIR));
    }
    env.extend(limits(overrides).into_iter().map(|(name, text)| value(name, &text)));
    env.extend([
        value("BOWSPRIT_LOG_LEVEL", log_level),
        value("BOWSPRIT_DRAIN_DEADLINE", &format!("{drain}s")),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_SERVICE_ACCOUNT", "spec.serviceAccountName"),
        value("BOWSPRIT_WORKLOAD", workload),
        field("NODE_NAME", "spec.nodeName"),
    ]);
    if let Some(tracing) = &settings.tracing {
        env.extend([
            value("OTEL_EXPORTER_OTLP_ENDPOINT", &tracing.endpoint),
            value("OTEL_TRACES_SAMPLER", &tracing.sampler),
            // After what it names: the kubelet puts in the variables before it.
            value("OTEL_RESOURCE_ATTRIBUTES", RESOURCE),
        ]);
        if !tracing.sampler_arg.is_empty() {
            env.push(value("OTEL_TRACES_SAMPLER_ARG", &tracing.sampler_arg));
        }
    }
    let mut container = json!({
        "name": names::SIDECAR_CONTAINER,
        "image": overrides.image.as_ref().unwrap_or(&settings.image),
        "env": env,
        // The app port is on loopback and not listed: nobody outside the pod can use it.
        "ports": [{"name": "bowsprit-admin", "containerPort": admin, "protocol": "TCP"}],
        // 60 x 500 ms: the app waits for the first good config no longer than half a minute, then sees why in events.
        "startupProbe": probe(admin, "/health/startup", &json!({"periodSeconds": 1, "failureThreshold": 60, "timeoutSeconds": 1})),
        "readinessProbe": probe(admin, "/health/ready", &json!({"periodSeconds": 5, "failureThreshold": 2, "timeoutSeconds": 1})),
        // Patient: a busy proxy must not be killed for being busy.
        "livenessProbe": probe(admin, "/health/live", &json!({"periodSeconds": 10, "failureThreshold": 6, "timeoutSeconds": 5})),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts(settings, references),
    });
    if let Some(fields) = container.as_object_mut() {
        if settings.native {
            fields.insert("restartPolicy".into(), json!("Always"));
        } else if overrides.image.is_none() {
            // The kubelet starts the app's container after it, as after the startup probe of a native sidecar. An image of the pod's own
            // choice may be of a release that does not know the flag, and one whose hook fails is killed.
            let command = ["/bowsprit-sidecar", "--until-ready", HOLD];
            fields.insert("lifecycle".into(), json!({"postStart": {"exec": {"command": command}}}));
        }
        if !settings.image_pull_policy.is_empty() {
            fields.insert("imagePullPolicy".into(), json!(settings.image_pull_policy));
        }
        if let Some(resources) = resources(&settings.resources, &overrides.resources) {
            fields.insert("resources".into(), resources);
        }
    }
    Ok(container)
}

/// Lets the app end the sidecar, where the pod completes only when both have ended.
pub(super) fn end_on_request(container: &mut Value) {
    if let Some(env) = container.get_mut("env").and_then(Value::as_array_mut) {
        env.push(json!({"name": "BOWSPRIT_END_ON_REQUEST", "value": "true"}));
    }
}

/// Whose spans they are, by OpenTelemetry's names.
const RESOURCE: &str = "k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),k8s.node.name=$(NODE_NAME),service.instance.id=$(POD_NAME)";

/// The variables of ports and sizes that the pod asks for; the sidecar's own defaults hold where it asks for none.
fn limits(overrides: &Overrides) -> Vec<(&'static str, String)> {
    let mut env = Vec::new();
    if overrides.app_port != names::APP_PORT {
        env.push(("BOWSPRIT_LISTEN", format!("127.0.0.1:{}", overrides.app_port)));
    }
    if overrides.admin_port != names::ADMIN_PORT {
        env.push(("BOWSPRIT_ADMIN", format!("[::]:{}", overrides.admin_port)));
    }
    let mut push = |name, number: Option<u64>| env.extend(number.map(|number| (name, number.to_string())));
    push("BOWSPRIT_MAX_BODY", overrides.max_body);
    push("BOWSPRIT_MAX_IN_FLIGHT", overrides.max_in_flight.map(u64::from));
    push("BOWSPRIT_MEMORY_BUDGET", overrides.memory_budget);
    env
}

fn probe(port: u16, path: &str, timing: &Value) -> Value {
    let mut probe = json!({"httpGet": {"path": path, "port": port, "scheme": "HTTP"}});
    if let (Some(probe), Some(timing)) = (probe.as_object_mut(), timing.as_object()) {
        probe.extend(timing.clone());
    }
    probe
}

/// As much of the pod's grace period as can be drained in, or what the pod asked for if that fits.
fn drain_seconds(asked: Option<u32>, grace: i64) -> Result<u32, Refusal> {
    let grace = u32::try_from(grace).unwrap_or(0);
    match asked {
        Some(asked) if asked > grace => Err(Refusal::new(
            "metadata.annotations[bowsprit.dev/sidecar-drain-seconds]",
            format!("{asked} s is more than the pod's terminationGracePeriodSeconds of {grace} s"),
            format!(
                "raise terminationGracePeriodSeconds to {} or drain for less",
                asked + RESERVE_SECONDS
            ),
        )),
        Some(asked) => Ok(asked),
        // A grace period too short for the reserve is halved.
        None => Ok(grace
            .checked_sub(RESERVE_SECONDS)
            .filter(|rest| *rest > 0)
            .unwrap_or(grace / 2)
            .max(1)),
    }
}

fn resources(default: &Resources, pod: &Resources) -> Option<Value> {
    fn pick<'a>(pod: &'a str, default: &'a str) -> &'a str {
        if pod.is_empty() { default } else { pod }
    }
    let list = |cpu: &str, memory: &str| {
        let mut list = Map::new();
        for (name, quantity) in [("cpu", cpu), ("memory", memory)] {
            if !quantity.is_empty() {
                list.insert(name.into(), json!(quantity));
            }
        }
        list
    };
    let requests = list(
        pick(&pod.cpu_request, &default.cpu_request),
        pick(&pod.memory_request, &default.memory_request),
    );
    let limits = list(
        pick(&pod.cpu_limit, &default.cpu_limit),
        pick(&pod.memory_limit, &default.memory_limit),
    );
    let mut resources = Map::new();
    for (name, list) in [("requests", requests), ("limits", limits)] {
        if !list.is_empty() {
            resources.insert(name.into(), Value::Object(list));
        }
    }
    (!resources.is_empty()).then_some(Value::Object(resources))
}

fn mounts(settings: &Settings, references: &References) -> Value {
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path, "readOnly": true});
    let mut mounts = vec![
        mount(CONFIG_VOLUME, names::CONFIG_DIR),
        mount(POD_VOLUME, folder_of(names::POD_LABELS_FILE)),
    ];
    if !references.secrets.is_empty() {
        mounts.push(mount(SECRETS_VOLUME, names::SECRETS_DIR));
    }
    if !references.ca_bundles.is_empty() {
        mounts.push(mount(CA_VOLUME, names::CA_DIR));
    }
    mounts.push(mount(NO_TOKEN_VOLUME, "/var/run/secrets/kubernetes.io/serviceaccount"));
    if has_token(settings) {
        mounts.push(mount(TOKEN_VOLUME, folder_of(names::TOKEN_FILE)));
    }
    mounts.push(json!({"name": STATE_VOLUME, "mountPath": names::STATE_DIR}));
    Value::Array(mounts)
}

/// Whoever is asked for anything is shown the pod's token.
fn has_token(settings: &Settings) -> bool {
    settings.operator_url.is_some() || settings.ledger_url.is_some()
}

/// Whether what became of requests is kept.
fn has_ledger(settings: &Settings) -> bool {
    settings.ledger_url.is_some() || settings.keeps_ledger
}

fn folder_of(file: &str) -> &str {
    file.rsplit_once('/').map_or(file, |(folder, _)| folder)
}

/// The volumes. Everything is optional, so that a pod starts before its config or its Secret is there; no volume sets a
/// mode, which would keep a user other than root from reading it.
pub fn volumes(settings: &Settings, references: &References) -> Vec<Value> {
    let mut volumes = vec![
        json!({"name": CONFIG_VOLUME, "configMap": {"name": names::CONFIG_MAP, "optional": true}}),
        json!({"name": POD_VOLUME, "downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels"}},
        ]}}),
    ];
    if !references.secrets.is_empty() {
        volumes.push(json!({"name": SECRETS_VOLUME, "projected": {"sources": sources("secret", &references.secrets)}}));
    }
    if !references.ca_bundles.is_empty() {
        let sources = sources("configMap", &references.ca_bundles);
        volumes.push(json!({"name": CA_VOLUME, "projected": {"sources": sources}}));
    }
    volumes.push(json!({"name": NO_TOKEN_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}));
    if has_token(settings) {
        let token = json!({"serviceAccountToken": {
            "audience": names::TOKEN_AUDIENCE,
            "expirationSeconds": TOKEN_SECONDS,
            "path": names::TOKEN_FILE.rsplit('/').next().unwrap_or_default(),
        }});
        volumes.push(json!({"name": TOKEN_VOLUME, "projected": {"sources": [token]}}));
    }
    let size = match (&settings.ledger_url, settings.keeps_ledger) {
        (Some(_), _) => STATE_SIZE_WITH_LEDGER,
        (None, true) => STATE_SIZE_WITH_LEDGER_ALONE,
        (None, false) => STATE_SIZE,
    };
    volumes.push(json!({"name": STATE_VOLUME, "emptyDir": {"sizeLimit": size}}));
    volumes
}

/// One projected source per object, each key at `<object>/<key>`.
fn sources(kind: &str, keys: &BTreeSet<(String, String)>) -> Vec<Value> {
    let mut objects: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (object, key) in keys {
        objects
            .entry(object)
            .or_default()
            .push(json!({"key": key, "path": format!("{object}/{key}")}));
    }
    let source = |(name, items)| json!({kind: {"name": name, "optional": true, "items": items}});
    objects.into_iter().map(source).collect()
}
