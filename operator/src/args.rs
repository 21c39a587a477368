//! The command line. Every flag can be given as an environment variable too, which is how the chart does it.

use clap::Parser;

use crate::injector::quantity::is_quantity;
use crate::stream::MOST_STREAMS;
use crate::validate::hosts::AllowedHosts;

/// Turns ProviderConfigs into sidecar config and injects the sidecar.
#[derive(Clone, Debug, Parser)]
#[command(name = "bowsprit-operator", version)]
pub struct Args {
    /// Image of the sidecar that pods get.
    #[arg(long, env = "BOWSPRIT_SIDECAR_IMAGE", value_name = "IMAGE")]
    pub sidecar_image: String,

    /// Always, IfNotPresent or Never; empty leaves it to Kubernetes.
    #[arg(long, env = "BOWSPRIT_SIDECAR_IMAGE_PULL_POLICY", default_value = "", value_parser = pull_policy)]
    pub sidecar_image_pull_policy: String,

    /// The sidecar's CPU request; empty sets none.
    #[arg(long, env = "BOWSPRIT_SIDECAR_CPU_REQUEST", default_value = "10m", value_parser = quantity)]
    pub sidecar_cpu_request: String,

    /// The sidecar's CPU limit; empty sets none.
    #[arg(long, env = "BOWSPRIT_SIDECAR_CPU_LIMIT", default_value = "", value_parser = quantity)]
    pub sidecar_cpu_limit: String,

    /// The sidecar's memory request; empty sets none.
    #[arg(long, env = "BOWSPRIT_SIDECAR_MEMORY_REQUEST", default_value = "32Mi", value_parser = quantity)]
    pub sidecar_memory_request: String,

    /// The sidecar's memory limit; empty sets none.
    #[arg(long, env = "BOWSPRIT_SIDECAR_MEMORY_LIMIT", default_value = "128Mi", value_parser = quantity)]
    pub sidecar_memory_limit: String,

    /// The sidecar's log level: error, warn, info, debug or trace.
    #[arg(long, env = "BOWSPRIT_SIDECAR_LOG_LEVEL", default_value = "info")]
    pub sidecar_log_level: tracing::Level,

    /// Whether sidecars are native ones (init containers that go on running, Kubernetes 1.29) or ordinary containers: `auto`, as
    /// the apiserver's version says, `true` or `false`. A pod's annotation wins.
    #[arg(long, env = "BOWSPRIT_SIDECAR_NATIVE", value_enum, default_value_t = Native::Auto)]
    pub sidecar_native: Native,

    /// The collector that sidecars send the spans of their requests to, OTLP over HTTP, such as
    /// http://otel-collector.observability:4318. Empty: none are made.
    #[arg(long, env = "BOWSPRIT_SIDECAR_OTLP_ENDPOINT", value_name = "URL", default_value = "", value_parser = collector)]
    pub sidecar_otlp_endpoint: String,

    /// Which traces sidecars keep: one of OpenTelemetry's samplers.
    #[arg(
        long,
        env = "BOWSPRIT_SIDECAR_TRACES_SAMPLER",
        value_name = "SAMPLER",
        default_value = "parentbased_always_on"
    )]
    pub sidecar_traces_sampler: String,

    /// The share of traces that a sampler with `traceidratio` in its name keeps, 0 to 1.
    #[arg(
        long,
        env = "BOWSPRIT_SIDECAR_TRACES_SAMPLER_ARG",
        value_name = "SHARE",
        default_value = ""
    )]
    pub sidecar_traces_sampler_arg: String,

    /// Where sidecars stream their config from, such as https://bowsprit-webhook.bowsprit-system.svc:8444. Unset: made from
    /// the webhook's Service and the namespace; empty: they read the mounted config alone.
    #[arg(long, env = "BOWSPRIT_STREAM_URL", value_name = "URL", value_parser = stream_url)]
    pub stream_url: Option<String>,

    /// The Service of the ledger service, which sidecars then send what became of their requests to; its name stands in the
    /// certificate. Empty: there is none.
    #[arg(long, env = "BOWSPRIT_LEDGER_SERVICE", value_name = "SERVICE", default_value = "")]
    pub ledger_service: String,

    /// Whether sidecars keep what became of their requests where there is no ledger service: up to 8 MiB, in the pod.
    #[arg(long, env = "BOWSPRIT_SIDECAR_LEDGER", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub sidecar_ledger: bool,

    /// The Secret that holds the ledger service's certificate.
    #[arg(long, env = "BOWSPRIT_LEDGER_SECRET", default_value = "bowsprit-ledger-tls")]
    pub ledger_secret: String,

    /// Hosts that providers may be at, with commas between them: names, or `*.` and the end of names. Empty: any.
    #[arg(long, env = "BOWSPRIT_ALLOWED_HOSTS", value_name = "HOSTS", default_value = "")]
    pub allowed_hosts: AllowedHosts,

    /// Where the pages of alerts are. With it, objectives (`spec.slo`) become rules for Prometheus, where the Prometheus operator
    /// is installed; empty: no rules are made.
    #[arg(long, env = "BOWSPRIT_SLO_RUNBOOKS", value_name = "URL", default_value = "")]
    pub slo_runbooks: String,

    /// Labels of these rules, which Prometheus selects rules by: `release=monitoring,team=platform`.
    #[arg(long, env = "BOWSPRIT_SLO_RULE_LABELS", value_name = "LABELS", default_value = "", value_parser = labels)]
    pub slo_rule_labels: RuleLabels,

    /// The operator's own namespace.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,

    /// The operator's own pod: its name in the lease and in Events.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: String,

    /// The Service in front of the webhook; its name stands in the certificate.
    #[arg(long, env = "BOWSPRIT_WEBHOOK_SERVICE", default_value = "bowsprit-webhook")]
    pub webhook_service: String,

    /// The MutatingWebhookConfiguration that gets the CA.
    #[arg(long, env = "BOWSPRIT_WEBHOOK_CONFIG", default_value = "bowsprit")]
    pub webhook_config: String,

    /// The Secret that holds the webhook's certificates.
    #[arg(long, env = "BOWSPRIT_WEBHOOK_SECRET", default_value = "bowsprit-webhook-tls")]
    pub webhook_secret: String,

    /// Who makes the webhook's certificates: the operator itself, or cert-manager, which keeps the Secret and the webhooks'
    /// caBundle; then the operator only reads the Secret.
    #[arg(long, env = "BOWSPRIT_CERTIFICATES", value_enum, default_value_t = Certificates::Own)]
    pub certificates: Certificates,

    /// The operator's own Deployment: what it makes in its namespace goes with it.
    #[arg(long, env = "BOWSPRIT_DEPLOYMENT", default_value = "bowsprit")]
    pub deployment: String,

    /// The Lease that decides which replica reconciles.
    #[arg(long, env = "BOWSPRIT_LEASE", default_value = "bowsprit-operator")]
    pub lease: String,

    /// Port of the webhook.
    #[arg(long, env = "BOWSPRIT_WEBHOOK_PORT", default_value_t = 8443)]
    pub webhook_port: u16,

    /// Port of the config streams.
    #[arg(long, env = "BOWSPRIT_STREAM_PORT", default_value_t = bowsprit_crds::names::STREAM_PORT)]
    pub stream_port: u16,

    /// This pod's address, at which the other operators reach it while it leads; without it they tell it nothing.
    #[arg(long, env = "POD_IP", value_name = "IP")]
    pub pod_ip: Option<std::net::IpAddr>,

    /// This pod's token for the other operators, with the audience bowsprit.dev.
    #[arg(long, env = "BOWSPRIT_OPERATOR_TOKEN", value_name = "PATH", default_value = bowsprit_crds::names::TOKEN_FILE)]
    pub token_file: std::path::PathBuf,

    /// Config streams at a time; the next sidecar is told to try again later, and finds another operator.
    #[arg(long, env = "BOWSPRIT_MAX_STREAMS", default_value_t = MOST_STREAMS)]
    pub max_streams: usize,

    /// Port of health and metrics.
    #[arg(long, env = "BOWSPRIT_ADMIN_PORT", default_value_t = 8081)]
    pub admin_port: u16,

    /// Log level: error, warn, info, debug or trace.
    #[arg(long, env = "BOWSPRIT_LOG_LEVEL", default_value = "info")]
    pub log_level: tracing::Level,
}

/// Labels as pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleLabels(pub Vec<(String, String)>);

fn labels(text: &str) -> Result<RuleLabels, String> {
    let pair = |pair: &str| {
        let (name, value) = pair
            .split_once('=')
            .ok_or("write name=value, with commas between them")?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    let pairs = text.split(',').filter(|text| !text.is_empty()).map(pair);
    pairs.collect::<Result<_, String>>().map(RuleLabels)
}

/// What a sidecar is in its pod, unless the pod says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Native {
    /// As the apiserver's version says.
    Auto,
    /// A native sidecar: also before 1.29, where the feature gate `SidecarContainers` is on.
    True,
    /// An ordinary container: where nodes are older than the apiserver, and have none of the other kind.
    False,
}

/// Who makes the webhook's certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Certificates {
    /// The operator itself.
    Own,
    /// cert-manager.
    CertManager,
}

fn pull_policy(text: &str) -> Result<String, String> {
    match text {
        "" | "Always" | "IfNotPresent" | "Never" => Ok(text.to_owned()),
        _ => Err("write Always, IfNotPresent or Never".into()),
    }
}

fn stream_url(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with("https://") {
        Ok(text.to_owned())
    } else {
        Err("write an https URL, or nothing".into())
    }
}

fn collector(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with("http://") || text.starts_with("https://") {
        Ok(text.to_owned())
    } else {
        Err("write an http or https URL, such as http://otel-collector.observability:4318, or nothing".into())
    }
}

fn quantity(text: &str) -> Result<String, String> {
    if text.is_empty() || is_quantity(text) {
        Ok(text.to_owned())
    } else {
        Err("write a Kubernetes quantity such as 10m, 1, 64Mi or 1Gi".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_refused_at_start_and_names_its_flag() {
        let parse = |extra: &[&str]| {
            let given = ["operator", "--sidecar-image=i", "--namespace=n", "--pod-name=p"];
            Args::try_parse_from(given.iter().chain(extra)).map_err(|error| error.to_string())
        };
        assert_eq!(parse(&[]).unwrap().webhook_secret, "bowsprit-webhook-tls");
        for flag in [
            "--sidecar-cpu-limit=lots",
            "--sidecar-image-pull-policy=Sometimes",
            "--sidecar-native=yes",
            "--certificates=none",
            "--stream-url=http://operator:8444",
            "--allowed-hosts=https://a.example",
            "--slo-rule-labels=release",
            "--log-level=loud",
        ] {
            let name = flag.split('=').next().unwrap();
            assert!(parse(&[flag]).unwrap_err().contains(name), "{flag}");
        }
    }
}
