//! `version`: who runs which release.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bowsprit_crds::names;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde::Serialize;

use crate::args::{ClusterArgs, VersionArgs};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::output::{Report, Screen, count};
use crate::status;

/// This program's.
pub(crate) const CLIENT: &str = env!("CARGO_PKG_VERSION");
/// What the injector writes on pods.
const INJECTED_VERSION: &str = "bowsprit.dev/injected-version";

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    operators: Option<String>,
    /// Pods by the release that injected their sidecar.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sidecars: BTreeMap<String, usize>,
}

/// Looks and says.
pub(crate) async fn run(cluster: &ClusterArgs, args: &VersionArgs, screen: Screen) -> Result<Report, Failure> {
    let mut versions = Versions {
        client: CLIENT,
        operators: None,
        sidecars: BTreeMap::new(),
    };
    if !args.client {
        let cluster = Cluster::connect(cluster).await?;
        let operators = status::operators(&cluster).await?;
        versions.operators = Some(operators.version);
        versions.sidecars = sidecars(&cluster, cluster.scope(args.place)).await?;
    }
    Report::new(args.out.output, &versions, true, || text(&versions, screen))
}

/// Pods with a sidecar, by the release that injected it.
pub(crate) async fn sidecars(cluster: &Cluster, scope: Option<&str>) -> Result<BTreeMap<String, usize>, Failure> {
    let injected = ListParams::default().labels(&format!("{}=true", names::LABEL_INJECTED));
    let mut by_version = BTreeMap::new();
    for pod in cluster.heads::<Pod>(scope, injected).await? {
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let version = annotations.get(INJECTED_VERSION).cloned();
        *by_version
            .entry(version.unwrap_or_else(|| "unknown".to_owned()))
            .or_default() += 1;
    }
    Ok(by_version)
}

fn text(versions: &Versions, screen: Screen) -> String {
    let mut text = format!("client     {}\n", versions.client);
    if let Some(operators) = &versions.operators {
        let operators = if operators.is_empty() {
            "not installed"
        } else {
            operators
        };
        let _ = writeln!(text, "operators  {operators}");
        let sidecars: Vec<String> = versions
            .sidecars
            .iter()
            .map(|(version, pods)| format!("{version} ({})", count(*pods, "pod")))
            .collect();
        let none = || "none here".to_owned();
        let _ = writeln!(
            text,
            "sidecars   {}",
            if sidecars.is_empty() {
                none()
            } else {
                sidecars.join(", ")
            }
        );
    }
    screen.paint.paint(crate::output::Tone::Plain, &text)
}
