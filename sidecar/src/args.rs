//! The command line. Every flag can be given as an environment variable `BOWSPRIT_*` too.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowsprit_core::config::BaseUrl;
use bowsprit_crds::names;
use clap::Parser;

use crate::net::client::OwnService;

/// The pod's local door to the model providers.
///
/// With --config it runs from one file of ProviderConfig and ModelRoute documents, with --config-dir from a mounted
/// ConfigMap, and with neither from `ANTHROPIC_API_KEY`, `GOOGLE_API_KEY` and `OPENAI_API_KEY`.
#[derive(Clone, Debug, Parser)]
#[command(name = "bowsprit-sidecar", version)]
pub struct Args {
    /// File of ProviderConfig and ModelRoute documents (YAML or JSON); watched for changes.
    #[arg(long, env = "BOWSPRIT_CONFIG", value_name = "FILE", conflicts_with = "config_dir")]
    pub config: Option<PathBuf>,

    /// Mounted ConfigMap folder holding `bowsprit.yaml`, `revision` and `sequence`; watched for changes.
    #[arg(long, env = "BOWSPRIT_CONFIG_DIR", value_name = "DIR")]
    pub config_dir: Option<PathBuf>,

    /// Folder of mounted Secrets: DIR/<secret>/<key>.
    #[arg(long, env = "BOWSPRIT_SECRETS_DIR", value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,

    /// Folder of mounted CA bundles: DIR/<configmap>/<key>.
    #[arg(long, env = "BOWSPRIT_CA_DIR", value_name = "DIR")]
    pub ca_dir: Option<PathBuf>,

    /// The pod's labels as the downward API writes them, for podSelector.
    #[arg(long, env = "BOWSPRIT_POD_LABELS", value_name = "FILE")]
    pub pod_labels: Option<PathBuf>,

    /// The operator, such as https://bowsprit-webhook.bowsprit-system.svc:8444: what changes is here at once then, and is
    /// acknowledged. Beside --config-dir; empty for none.
    #[arg(long, env = "BOWSPRIT_OPERATOR", value_name = "URL", default_value = "", value_parser = service)]
    pub operator: ServiceAddress,

    /// File of the CAs that the operator's certificate is checked against, PEM; read at each connection.
    #[arg(
        long,
        env = "BOWSPRIT_OPERATOR_CA",
        value_name = "FILE",
        default_value = "/etc/bowsprit/config/ca.crt"
    )]
    pub operator_ca: PathBuf,

    /// File of the pod's token for the operator; read at each connection.
    #[arg(long, env = "BOWSPRIT_OPERATOR_TOKEN", value_name = "FILE", default_value = names::TOKEN_FILE)]
    pub operator_token: PathBuf,

    /// The ledger service, such as https://bowsprit-ledger.bowsprit-system.svc:8446, which is sent what became of each request
    /// and attempt; empty for none.
    #[arg(long, env = "BOWSPRIT_LEDGER", value_name = "URL", default_value = "", value_parser = service)]
    pub ledger: ServiceAddress,

    /// File of the CAs that the ledger service's certificate is checked against, PEM; read at each connection. Unset: the
    /// operator's.
    #[arg(long, env = "BOWSPRIT_LEDGER_CA", value_name = "FILE")]
    pub ledger_ca: Option<PathBuf>,

    /// File of the pod's token for the ledger service; read for each batch. Unset: the operator's.
    #[arg(long, env = "BOWSPRIT_LEDGER_TOKEN", value_name = "FILE")]
    pub ledger_token: Option<PathBuf>,

    /// Folder that outlives this container, for what the ledger service has not taken yet. With neither this nor --ledger
    /// nothing is kept; with --ledger alone, in memory.
    #[arg(long, env = "BOWSPRIT_LEDGER_DIR", value_name = "DIR")]
    pub ledger_dir: Option<PathBuf>,

    /// Bytes of the file in that folder beyond which its oldest entries are added up. The folder may come to hold two and a half
    /// times as much: a log beside it, and a damaged file that was set aside.
    #[arg(long, env = "BOWSPRIT_LEDGER_SIZE", value_name = "SIZE", default_value = "24MiB", value_parser = size)]
    pub ledger_size: usize,

    /// The pod's name, for access rules.
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "")]
    pub pod_name: String,

    /// The pod's namespace, for access rules.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", default_value = "")]
    pub pod_namespace: String,

    /// The service account that the pod runs as, for access rules.
    #[arg(long, env = "POD_SERVICE_ACCOUNT", value_name = "NAME", default_value = "")]
    pub pod_service_account: String,

    /// What this pod runs for, such as Deployment/checkout: shown in the ledger, and looked at by access rules.
    #[arg(long, env = "BOWSPRIT_WORKLOAD", value_name = "KIND/NAME", default_value = "")]
    pub workload: String,

    /// Folder that outlives this container, for the configuration in service: a restart never goes back behind it.
    #[arg(long, env = "BOWSPRIT_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Bytes that background jobs (POST /jobs) and their answers may have in that folder. Without the folder there are no jobs.
    #[arg(long, env = "BOWSPRIT_JOBS_SIZE", value_name = "SIZE", default_value = "32MiB", value_parser = size)]
    pub jobs_size: usize,

    /// Where the app's requests are taken.
    #[arg(long, env = "BOWSPRIT_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:4000")]
    pub listen: SocketAddr,

    /// Where health and metrics are served; `[::]` is IPv6 and IPv4, or IPv4 alone where the node has no IPv6.
    #[arg(long, env = "BOWSPRIT_ADMIN", value_name = "ADDR", default_value = "[::]:4001")]
    pub admin: SocketAddr,

    /// Log level: error, warn, info, debug or trace.
    #[arg(long, env = "BOWSPRIT_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: tracing::Level,

    /// One log line per request.
    #[arg(long, env = "BOWSPRIT_ACCESS_LOG", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub access_log: bool,

    /// Whether POST /shutdown at the admin port, from the pod itself, ends the sidecar as SIGTERM does. For pods that are meant to
    /// complete and whose sidecar is an ordinary container; elsewhere it would only be started again.
    #[arg(long, env = "BOWSPRIT_END_ON_REQUEST", value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set)]
    pub end_on_request: bool,

    /// Runs no sidecar, but waits until the one at the admin port has a valid config, for so long at most: the hook after the start
    /// of a sidecar that is an ordinary container, which keeps the app from starting before it.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub until_ready: Option<Duration>,

    /// How long running requests may take to finish after SIGTERM before they are cut.
    #[arg(long, env = "BOWSPRIT_DRAIN_DEADLINE", value_name = "DURATION", default_value = "25s", value_parser = duration)]
    pub drain_deadline: Duration,

    /// Largest request body.
    #[arg(long, env = "BOWSPRIT_MAX_BODY", value_name = "SIZE", default_value = "32MiB", value_parser = size)]
    pub max_body: usize,

    /// Largest body sent on under /providers/, where nothing of it is held.
    #[arg(long, env = "BOWSPRIT_MAX_UPLOAD", value_name = "SIZE", default_value = "2GiB", value_parser = size)]
    pub max_upload: usize,

    /// Most memory for the bodies that are held, all requests and answers together; beyond it requests are answered 503.
    /// Unset: half of the container's memory limit, or 256 MiB where there is none.
    #[arg(long, env = "BOWSPRIT_MEMORY_BUDGET", value_name = "SIZE", value_parser = size)]
    pub memory_budget: Option<usize>,

    /// File of requests and their answers, one JSON object a line, that the caches of routes begin with: docs/caching.md.
    #[arg(long, env = "BOWSPRIT_CACHE_WARM", value_name = "FILE")]
    pub cache_warm: Option<PathBuf>,

    /// Most requests in flight; more are answered 503.
    #[arg(long, env = "BOWSPRIT_MAX_IN_FLIGHT", value_name = "N", default_value_t = 4096)]
    pub max_in_flight: usize,

    /// Most open connections from the app; more wait in the kernel's queue.
    #[arg(long, env = "BOWSPRIT_MAX_CONNECTIONS", value_name = "N", default_value_t = 10_000)]
    pub max_connections: usize,
}

/// Where a service of our own is: the operator, or the ledger service; if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAddress(pub Option<BaseUrl>);

impl ServiceAddress {
    fn with(&self, ca: &Path, token: &Path) -> Option<OwnService> {
        Some(OwnService {
            address: self.0.clone()?,
            ca: ca.to_owned(),
            token: token.to_owned(),
        })
    }
}

impl Args {
    /// The operator that a stream is to be held to: one needs a mounted folder beside it.
    pub fn operator_service(&self) -> Option<OwnService> {
        self.config_dir.as_ref()?;
        self.operator.with(&self.operator_ca, &self.operator_token)
    }

    /// The ledger service that is shipped to. Unless told otherwise it is trusted, and the pod known to it, as the operator is.
    pub fn ledger_service(&self) -> Option<OwnService> {
        let ca = self.ledger_ca.as_ref().unwrap_or(&self.operator_ca);
        let token = self.ledger_token.as_ref().unwrap_or(&self.operator_token);
        self.ledger.with(ca, token)
    }
}

fn service(text: &str) -> Result<ServiceAddress, String> {
    if text.is_empty() {
        return Ok(ServiceAddress::default());
    }
    let url = BaseUrl::parse(text)?;
    if !url.is_https() || !url.path().is_empty() {
        return Err("is to be https://HOST:PORT".into());
    }
    Ok(ServiceAddress(Some(url)))
}

/// `25s`, `1m30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration: write it like 500ms, 25s or 1m30s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.saturating_mul(60)),
            "h" => Duration::from_secs(number.saturating_mul(3_600)),
            _ => return Err(bad()),
        };
        total = total.saturating_add(part);
        rest = tail;
    }
    Ok(total)
}

/// `1048576`, `64KiB`, `32MiB`.
fn size(text: &str) -> Result<usize, String> {
    let (number, factor) = match text {
        _ if text.ends_with("KiB") => (text.trim_end_matches("KiB"), 1 << 10),
        _ if text.ends_with("MiB") => (text.trim_end_matches("MiB"), 1 << 20),
        _ if text.ends_with("GiB") => (text.trim_end_matches("GiB"), 1 << 30),
        _ => (text, 1),
    };
    number
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("{text:?} is no size: write it like 65536, 512KiB or 32MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_with_their_units() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("25").is_err() && duration("").is_err() && duration("5 s").is_err());
        assert_eq!(size("32MiB"), Ok(32 << 20));
        assert_eq!(size("10"), Ok(10));
        assert!(size("0").is_err() && size("lots").is_err());
    }

    #[test]
    fn the_defaults_are_safe() {
        let args = Args::try_parse_from(["bowsprit-sidecar"]).unwrap();
        assert!(
            args.listen.ip().is_loopback(),
            "the app's door must not be open to the network"
        );
        assert_eq!(args.max_body, 32 << 20);
    }

    #[test]
    fn our_own_services_are_asked_over_tls_or_not_at_all() {
        assert_eq!(service(""), Ok(ServiceAddress(None)));
        let url = service("https://webhook.system.svc:8444").unwrap().0.unwrap();
        assert_eq!((url.host(), url.port()), ("webhook.system.svc", 8444));
        for wrong in ["http://webhook.system.svc:8444", "webhook:8444", "https://webhook/v1"] {
            assert!(service(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_ledger_service_is_known_as_the_operator_is_unless_told_otherwise() {
        let ca_and_token = |more: &[&str]| {
            let flags = [
                "bowsprit-sidecar",
                "--ledger=https://ledger:8446",
                "--operator-ca=/o/ca",
                "--operator-token=/o/token",
            ];
            let args = Args::try_parse_from(flags.iter().chain(more)).unwrap();
            assert_eq!(args.operator_service().map(|it| it.ca), None, "no address, no folder");
            let service = args.ledger_service().unwrap();
            [service.ca, service.token].map(|path| path.display().to_string())
        };
        assert_eq!(ca_and_token(&[]), ["/o/ca", "/o/token"]);
        assert_eq!(ca_and_token(&["--ledger-ca=/l/ca"]), ["/l/ca", "/o/token"]);
        assert_eq!(ca_and_token(&["--ledger-token=/l/token"]), ["/o/ca", "/l/token"]);
    }

    #[test]
    fn file_and_folder_exclude_each_other() {
        assert!(Args::try_parse_from(["bowsprit-sidecar", "--config", "a", "--config-dir", "b"]).is_err());
    }
}
