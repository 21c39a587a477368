//! The bed's cluster without its data, and started again.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use bowsprit_e2e::machine::{Process, Recipe};
use bowsprit_e2e::{Bed, LONG, eventually, kubectl};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};

/// What has no memory of the lost cluster, in the order in which it is started. Those that only watch are started again, as
/// Kubernetes asks for after a restore.
const PROGRAMS: [&str; 6] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "coredns",
];

/// What etcd begins with.
pub(super) enum Data {
    /// Nothing.
    Empty,
    /// A copy of what it had.
    Backup(PathBuf),
}

/// A cluster that has lost its data; its pods run on.
pub(super) struct Lost {
    programs: Vec<Recipe>,
    kubelet: Recipe,
}

impl Lost {
    /// Ends everything but the pods: the kubelet first, so that it sees nothing of what follows.
    pub(super) fn now() -> Result<Self> {
        let kubelet = end("kubelet")?;
        let programs: Result<Vec<_>> = PROGRAMS.iter().rev().map(|name| end(name)).collect();
        let mut programs = programs?;
        programs.reverse();
        Ok(Self { programs, kubelet })
    }

    /// Starts it with other data, the kubelet aside. Waits until the apiserver and the controllers answer.
    pub(super) async fn start(&self, data: Data) -> Result<()> {
        let etcd = self.programs.first().context("etcd is the first")?;
        let folder = folder(etcd)?;
        std::fs::remove_dir_all(&folder)?;
        let is_empty = match data {
            Data::Empty => true,
            Data::Backup(copy) => {
                std::fs::rename(copy, &folder)?;
                false
            }
        };
        for recipe in &self.programs {
            recipe.start()?;
            if recipe.name() == "kube-apiserver" {
                answers("/readyz").await?;
            }
        }
        answers("/api/v1/namespaces/default/serviceaccounts/default").await?;
        if is_empty {
            // What whoever makes a cluster makes, before anything is installed.
            let role = ["--clusterrole", "system:node-proxier", "--user", "system:kube-proxy"];
            kubectl(&[&["create", "clusterrolebinding", "proxy"], &role[..]].concat()).await?;
        }
        Ok(())
    }

    /// Starts the kubelet, and waits until its node is ready.
    pub(super) async fn start_kubelet(&self, bed: &Bed) -> Result<()> {
        self.kubelet.start()?;
        let nodes = Api::<Node>::all(bed.client.clone());
        eventually(LONG, "the node is ready", async || {
            let found = nodes.list(&ListParams::default()).await?;
            ensure!(!found.items.is_empty(), "there is no node");
            for node in found {
                let conditions = node.status.unwrap_or_default().conditions.unwrap_or_default();
                let ready = conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True");
                ensure!(ready, "{conditions:?}");
            }
            Ok(())
        })
        .await
    }
}

/// A copy of etcd's data, taken while nothing is written.
pub(super) fn backup() -> Result<PathBuf> {
    let (apiserver, etcd) = (Process::named("kube-apiserver")?.stop()?, Process::named("etcd")?);
    let folder = folder(&etcd.recipe()?)?;
    let stopped = etcd.stop()?;
    let copy = folder.with_extension("backup");
    let copied = copy_folder(&folder, &copy);
    stopped.go_on()?;
    apiserver.go_on()?;
    copied?;
    Ok(copy)
}

fn end(name: &str) -> Result<Recipe> {
    let process = Process::named(name)?;
    let recipe = process.recipe()?;
    process.end()?;
    Ok(recipe)
}

fn folder(etcd: &Recipe) -> Result<PathBuf> {
    let mut words = etcd.words().iter().skip_while(|word| *word != "--data-dir");
    words
        .nth(1)
        .map(PathBuf::from)
        .context("etcd was started without --data-dir")
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").args([from, to]).status()?;
    if !copied.success() {
        bail!("cannot copy {}", from.display());
    }
    Ok(())
}

async fn answers(path: &str) -> Result<()> {
    eventually(LONG, &format!("{path} is answered"), async || {
        kubectl(&["get", "--raw", path, "--request-timeout", "5s"])
            .await
            .map(drop)
    })
    .await
}
