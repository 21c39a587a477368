//! The installed release as Helm knows it: upgraded, rolled back, uninstalled and installed again, the way that
//! docs/upgrading.md tells people to.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{Bed, LONG, SYSTEM, eventually, image};

/// Helm's name of it.
const NAME: &str = "bowsprit";

/// A chart and the values that it is installed with.
#[derive(Clone, Debug)]
pub struct Release {
    chart: PathBuf,
    values: Value,
}

impl Release {
    /// What is installed: this checkout's chart.
    pub async fn current() -> Result<Self> {
        let values = helm(&["get", "values", NAME, "-o", "json"]).await?;
        Ok(Self {
            chart: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/bowsprit")),
            values: serde_json::from_str(&values).context("helm's values are no JSON")?,
        })
    }

    /// The same with other values for what one section of them says, such as `webhook`.
    #[must_use]
    pub fn with(mut self, section: &str, values: Value) -> Self {
        self.values[section] = values;
        self
    }

    /// The same with another value for one name of a section, such as `tracing` of `sidecar`.
    #[must_use]
    pub fn with_in(mut self, section: &str, name: &str, value: Value) -> Self {
        self.values[section][name] = value;
        self
    }

    /// The release before this one. `tests/e2e/run` makes it, for the tests that need it.
    pub fn previous() -> Result<Self> {
        let of = |name: &str| {
            let image = image(name);
            let repository = image.rsplit_once(':').map_or(&*image, |(repository, _)| repository);
            json!({"repository": repository, "tag": "previous"})
        };
        Ok(Self {
            chart: Self::previous_tree()?.join("charts/bowsprit"),
            values: json!({
                "image": of("bowsprit-operator"),
                "sidecar": {"image": of("bowsprit-sidecar")},
            }),
        })
    }

    /// The whole tree of the release before this one.
    pub fn previous_tree() -> Result<PathBuf> {
        let tree = std::env::var_os("BOWSPRIT_PREVIOUS");
        tree.map(PathBuf::from)
            .context("BOWSPRIT_PREVIOUS is not set: run this by tests/e2e/run, which makes the release before this one")
    }

    /// Applies its CRDs, which Helm leaves alone once they are there, and then installs or upgrades to it. Waits until its operators
    /// answer.
    pub async fn install(&self, bed: &Bed) -> Result<()> {
        let crds = self.chart.join("crds");
        kubectl(&["apply", "--server-side", "--force-conflicts", "-f", text(&crds)?]).await?;
        let values = std::env::temp_dir().join(format!("bowsprit-values-{:08x}.json", fastrand::u32(..)));
        tokio::fs::write(&values, self.values.to_string()).await?;
        let done = helm(&[
            "upgrade",
            "--install",
            "--create-namespace",
            "--reset-values",
            "--hide-notes",
            "--values",
            text(&values)?,
            NAME,
            text(&self.chart)?,
        ])
        .await;
        let _ = tokio::fs::remove_file(&values).await;
        done?;
        rolled_out(bed).await
    }

    /// Goes back to what was installed before, as Helm does it: the CRDs stay.
    pub async fn roll_back(bed: &Bed) -> Result<()> {
        helm(&["rollback", NAME]).await?;
        rolled_out(bed).await
    }

    /// Takes it away, and waits until what goes with its Deployment has gone, too: an operator that is installed at once would find a
    /// certificate that is about to be collected.
    pub async fn uninstall(bed: &Bed) -> Result<()> {
        helm(&["uninstall", NAME, "--wait"]).await?;
        eventually(LONG, "the operator's Secret is collected", async || {
            let secrets = kubectl(&["-n", SYSTEM, "get", "secrets", "-o", "name"]).await?;
            ensure!(!secrets.contains("webhook-tls"), "{secrets}");
            let client = bed.client.clone();
            let leases = kube::Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(client, SYSTEM);
            let left = leases.list(&kube::api::ListParams::default()).await?.items.len();
            ensure!(left == 0, "{left} leases are left");
            Ok(())
        })
        .await
    }

    /// Takes the CRDs away, and with them every ProviderConfig and ModelRoute.
    pub async fn delete_crds(&self) -> Result<()> {
        let crds = self.chart.join("crds");
        kubectl(&["delete", "-f", text(&crds)?]).await.map(drop)
    }
}

/// Waits until a Deployment of the release has made all its pods anew.
pub async fn rollout(deployment: &str) -> Result<()> {
    let of = format!("deployment/{deployment}");
    kubectl(&["-n", SYSTEM, "rollout", "status", &of, "--timeout", "90s"]).await?;
    Ok(())
}

/// Waits until every operator is of the version that was asked for, those of before have gone, and pods reach them. For kubectl a
/// rollout is done while the pods of before still leave: who lists pods then and asks each would meet one.
pub async fn rolled_out(bed: &Bed) -> Result<()> {
    rollout("bowsprit").await?;
    bed.operators().settled().await
}

fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().context("a path that is no UTF-8")
}

async fn helm(arguments: &[&str]) -> Result<String> {
    run("helm", &[arguments, &["--namespace", SYSTEM]].concat()).await
}

/// Installs a chart of somebody else's.
pub async fn helm_install(name: &str, chart: &std::path::Path, namespace: &str) -> Result<String> {
    run("helm", &["install", name, text(chart)?, "--namespace", namespace]).await
}

/// What kubectl prints.
pub async fn kubectl(arguments: &[&str]) -> Result<String> {
    run("kubectl", arguments).await
}

async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.await.with_context(|| format!("cannot run {program}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {complaint}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
