//! What a pod's annotations say differently from the operator's settings. A value that cannot be meant refuses the pod:
//! a sidecar with a setting silently dropped would be found out at the worst time.

use bowsprit_crds::names;
use k8s_openapi::api::core::v1::Pod;

use super::Refusal;
use super::quantity::{self, is_quantity};
use crate::spelling::nearest;

/// Prefix of every annotation read here.
const PREFIX: &str = "bowsprit.dev/";
/// The levels that the sidecar knows.
const LOG_LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// Ports below are root's, which the sidecar is not.
const FIRST_PORT: u16 = 1024;

/// An annotation that changes one pod's sidecar.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name after `bowsprit.dev/`.
    pub name: &'static str,
    /// What it takes, for people.
    pub takes: &'static str,
    /// What holds without it, for people.
    pub default: &'static str,
}

/// Every annotation that is read here: `docs/operating.md` has this table.
pub const SETTINGS: [Setting; 14] = [
    setting(
        "inject-env",
        "`\"true\"` or `\"false\"`: whether the app's SDK variables are set",
        "`\"true\"`",
    ),
    setting("sidecar-image", "an image reference", "`sidecar.image` of the chart"),
    setting(
        "sidecar-cpu-request",
        "a quantity, such as `50m`",
        "`sidecar.resources` of the chart (10m)",
    ),
    setting(
        "sidecar-cpu-limit",
        "a quantity",
        "`sidecar.resources` of the chart (none)",
    ),
    setting(
        "sidecar-memory-request",
        "a quantity, such as `64Mi`",
        "`sidecar.resources` of the chart (32Mi)",
    ),
    setting(
        "sidecar-memory-limit",
        "a quantity",
        "`sidecar.resources` of the chart (128Mi)",
    ),
    setting(
        "sidecar-log-level",
        "`error`, `warn`, `info`, `debug` or `trace`",
        "`sidecar.logLevel` of the chart (info)",
    ),
    setting(
        "sidecar-drain-seconds",
        "whole seconds that running requests get after SIGTERM, at most the pod's grace period",
        "the grace period less 5 s",
    ),
    setting(
        "sidecar-app-port",
        "the port on loopback that the app talks to, 1024 to 65535",
        "4000",
    ),
    setting(
        "sidecar-admin-port",
        "the port of `/health` and `/metrics`, 1024 to 65535",
        "4001",
    ),
    setting(
        "sidecar-max-body",
        "the largest request body: bytes, or with Ki, Mi or Gi",
        "32Mi",
    ),
    setting(
        "sidecar-max-in-flight",
        "requests at a time; more are answered 503",
        "4096",
    ),
    setting(
        "sidecar-memory-budget",
        "memory for bodies that are held, below the memory limit: bytes, or with Ki, Mi or Gi",
        "half of the memory limit",
    ),
    setting(
        "sidecar-native",
        "`\"true\"` or `\"false\"`: whether the sidecar is a native one or an ordinary container",
        "`sidecar.native` of the chart (native where the cluster has them)",
    ),
];

const fn setting(name: &'static str, takes: &'static str, default: &'static str) -> Setting {
    Setting { name, takes, default }
}

/// Requests and limits as Kubernetes quantities; empty sets none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU request.
    pub cpu_request: String,
    /// CPU limit. None by default: throttling adds latency to every request.
    pub cpu_limit: String,
    /// Memory request.
    pub memory_request: String,
    /// Memory limit.
    pub memory_limit: String,
}

/// The annotations of one pod, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrides {
    /// Whether the app's environment is set.
    pub inject_env: bool,
    /// The sidecar's image.
    pub image: Option<String>,
    /// Requests and limits; empty where not given.
    pub resources: Resources,
    /// The sidecar's log level.
    pub log_level: Option<String>,
    /// Seconds that running requests get after SIGTERM.
    pub drain_seconds: Option<u32>,
    /// The port that the app talks to.
    pub app_port: u16,
    /// The port of health and metrics.
    pub admin_port: u16,
    /// Largest request body, bytes.
    pub max_body: Option<u64>,
    /// Requests at a time.
    pub max_in_flight: Option<u32>,
    /// Memory for held bodies, bytes.
    pub memory_budget: Option<u64>,
    /// Whether it is a native sidecar or an ordinary container.
    pub native: Option<bool>,
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            inject_env: true,
            image: None,
            resources: Resources::default(),
            log_level: None,
            drain_seconds: None,
            app_port: names::APP_PORT,
            admin_port: names::ADMIN_PORT,
            max_body: None,
            max_in_flight: None,
            memory_budget: None,
            native: None,
        }
    }
}

impl Overrides {
    /// Reads and checks the pod's annotations.
    pub fn read(pod: &Pod) -> Result<Self, Refusal> {
        let mut this = Self::default();
        for (name, value) in pod.metadata.annotations.iter().flatten() {
            if let Some(rest) = name.strip_prefix(PREFIX) {
                this.take(rest, name, value)?;
            }
        }
        if this.app_port == this.admin_port {
            return Err(Refusal::new(
                path(&format!("{PREFIX}sidecar-app-port")),
                format!("{} is the sidecar's admin port too", this.app_port),
                "let the two differ",
            ));
        }
        Ok(this)
    }

    fn take(&mut self, setting: &str, name: &str, value: &str) -> Result<(), Refusal> {
        let bad = |remedy: &str| bad(name, value, remedy);
        match setting {
            "inject-env" => self.inject_env = truth(name, value)?,
            "sidecar-native" => self.native = Some(truth(name, value)?),
            "sidecar-image" if is_image(value) => self.image = Some(value.to_owned()),
            "sidecar-image" => return Err(bad("write an image reference such as registry/name:tag")),
            "sidecar-cpu-request" => self.resources.cpu_request = amount(name, value)?,
            "sidecar-cpu-limit" => self.resources.cpu_limit = amount(name, value)?,
            "sidecar-memory-request" => self.resources.memory_request = amount(name, value)?,
            "sidecar-memory-limit" => self.resources.memory_limit = amount(name, value)?,
            "sidecar-log-level" if LOG_LEVELS.contains(&value) => self.log_level = Some(value.to_owned()),
            "sidecar-log-level" => return Err(bad(&format!("write one of {}", LOG_LEVELS.join(", ")))),
            "sidecar-drain-seconds" => {
                let seconds = positive(value).ok_or_else(|| bad("write a whole number of seconds above 0"))?;
                self.drain_seconds = Some(seconds);
            }
            "sidecar-app-port" => self.app_port = port(name, value)?,
            "sidecar-admin-port" => self.admin_port = port(name, value)?,
            "sidecar-max-body" => self.max_body = Some(size(name, value)?),
            "sidecar-max-in-flight" => {
                let most = positive(value).ok_or_else(|| bad("write a whole number above 0"))?;
                self.max_in_flight = Some(most);
            }
            "sidecar-memory-budget" => self.memory_budget = Some(size(name, value)?),
            // Others are said in a warning; one of these would be missed.
            _ if setting.starts_with("sidecar-") => {
                let known = SETTINGS.iter().map(|setting| setting.name);
                let meant = nearest(setting, known.clone()).map(|meant| format!("write {PREFIX}{meant}"));
                let all = || format!("use one of {PREFIX}{}", known.collect::<Vec<_>>().join(", "));
                return Err(Refusal::new(path(name), "no such setting", meant.unwrap_or_else(all)));
            }
            _ => {}
        }
        Ok(())
    }
}

pub(super) fn path(annotation: &str) -> String {
    format!("metadata.annotations[{annotation}]")
}

fn bad(annotation: &str, value: &str, remedy: &str) -> Refusal {
    Refusal::new(path(annotation), format!("{value:?} is not a value for it"), remedy)
}

fn is_image(value: &str) -> bool {
    !value.is_empty() && value.len() <= 1024 && value.chars().all(|c| c.is_ascii_graphic())
}

fn truth(annotation: &str, value: &str) -> Result<bool, Refusal> {
    let truth = value.parse().ok();
    truth.ok_or_else(|| bad(annotation, value, "write \"true\" or \"false\""))
}

fn positive(value: &str) -> Option<u32> {
    value.parse().ok().filter(|number| *number > 0)
}

fn port(annotation: &str, value: &str) -> Result<u16, Refusal> {
    let port = value.parse().ok().filter(|port| *port >= FIRST_PORT);
    port.ok_or_else(|| bad(annotation, value, "write a port from 1024 to 65535"))
}

fn amount(annotation: &str, value: &str) -> Result<String, Refusal> {
    if is_quantity(value) {
        Ok(value.to_owned())
    } else {
        let remedy = "write a Kubernetes quantity such as 50m, 1, 64Mi or 1Gi";
        Err(bad(annotation, value, remedy))
    }
}

fn size(annotation: &str, value: &str) -> Result<u64, Refusal> {
    let bytes = quantity::whole_bytes(value);
    bytes.ok_or_else(|| bad(annotation, value, "write a size such as 65536, 512Ki, 32Mi or 1Gi"))
}
