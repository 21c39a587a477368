//! What a pod's annotations say differently from the operator's settings. A value that cannot be meant refuses the pod:
//! a sidecar with a setting silently dropped would be found out at the worst time.

use k8s_openapi::api::core::v1::Pod;

use super::Refusal;
use bowsprit_crds::names;

/// Prefix of every annotation read here.
const PREFIX: &str = "bowsprit.dev/";
/// The levels that the sidecar knows.
const LOG_LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// Annotations that begin as the overrides do, listed in the refusal of one that is misspelt.
const KNOWN: [&str; 7] = [
    "sidecar-image",
    "sidecar-cpu-request",
    "sidecar-cpu-limit",
    "sidecar-memory-request",
    "sidecar-memory-limit",
    "sidecar-log-level",
    "sidecar-drain-seconds",
];

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
    /// `bowsprit.dev/inject-env`: whether the app's environment is set.
    pub inject_env: bool,
    /// `bowsprit.dev/sidecar-image`.
    pub image: Option<String>,
    /// `bowsprit.dev/sidecar-{cpu,memory}-{request,limit}`; empty where not given.
    pub resources: Resources,
    /// `bowsprit.dev/sidecar-log-level`.
    pub log_level: Option<String>,
    /// `bowsprit.dev/sidecar-drain-seconds`: seconds that running requests get after SIGTERM.
    pub drain_seconds: Option<u32>,
}

impl Overrides {
    /// Reads and checks the pod's annotations.
    pub fn read(pod: &Pod) -> Result<Self, Refusal> {
        let annotations = pod.metadata.annotations.iter().flatten();
        let mut this = Self {
            inject_env: true,
            image: None,
            resources: Resources::default(),
            log_level: None,
            drain_seconds: None,
        };
        for (name, value) in annotations {
            if name == names::ANNOTATION_INJECT_ENV {
                this.inject_env = match value.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(bad(name, value, "write \"true\" or \"false\"")),
                };
            }
            let Some(rest) = name.strip_prefix(PREFIX).filter(|rest| rest.starts_with("sidecar-")) else {
                continue;
            };
            match rest {
                "sidecar-image" if is_image(value) => this.image = Some(value.clone()),
                "sidecar-image" => return Err(bad(name, value, "write an image reference such as registry/name:tag")),
                "sidecar-cpu-request" => this.resources.cpu_request = quantity(name, value)?,
                "sidecar-cpu-limit" => this.resources.cpu_limit = quantity(name, value)?,
                "sidecar-memory-request" => this.resources.memory_request = quantity(name, value)?,
                "sidecar-memory-limit" => this.resources.memory_limit = quantity(name, value)?,
                "sidecar-log-level" if LOG_LEVELS.contains(&value.as_str()) => this.log_level = Some(value.clone()),
                "sidecar-log-level" => {
                    return Err(bad(name, value, &format!("write one of {}", LOG_LEVELS.join(", "))));
                }
                "sidecar-drain-seconds" => {
                    let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                    this.drain_seconds =
                        Some(seconds.ok_or_else(|| bad(name, value, "write a whole number of seconds above 0"))?);
                }
                _ => {
                    let known = KNOWN.map(|known| format!("{PREFIX}{known}")).join(", ");
                    return Err(Refusal::new(
                        path(name),
                        "no such setting",
                        format!("use one of {known}"),
                    ));
                }
            }
        }
        Ok(this)
    }
}

fn path(annotation: &str) -> String {
    format!("metadata.annotations[{annotation}]")
}

fn bad(annotation: &str, value: &str, remedy: &str) -> Refusal {
    Refusal::new(path(annotation), format!("{value:?} is not a value for it"), remedy)
}

fn is_image(value: &str) -> bool {
    !value.is_empty() && value.len() <= 1024 && value.chars().all(|c| c.is_ascii_graphic())
}

fn quantity(annotation: &str, value: &str) -> Result<String, Refusal> {
    if is_quantity(value) {
        Ok(value.to_owned())
    } else {
        Err(bad(
            annotation,
            value,
            "write a Kubernetes quantity such as 50m, 1, 64Mi or 1Gi",
        ))
    }
}

/// A positive Kubernetes quantity: decimal digits and one of the known suffixes.
pub fn is_quantity(value: &str) -> bool {
    let digits = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let (number, suffix) = value.split_at(digits);
    let suffix_known = ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&suffix);
    suffix_known
        && number
            .parse::<f64>()
            .is_ok_and(|number| number.is_finite() && number > 0.0)
}
