//! The restore drill: etcd's data are lost while pods are under traffic. Filled again from what people have in Git, or from a backup
//! that is older than the last change: every pod serves with what the cluster says then, and the minutes are counted.
//!
//! These tests end and start the cluster's own programs: by themselves, on the bed only (`make restore`).

mod cluster;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bowsprit_crds::{ProviderConfig, names};
use bowsprit_e2e::machine::containers_log;
use bowsprit_e2e::{App, Bed, LONG, Release, Test, asking_manifest, eventually, kubectl, note, rolled_out};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use cluster::{Data, Lost};

/// What is promised: from the loss until every pod serves with the right config.
const RTO: Duration = Duration::from_mins(15);
/// Nobody mends anything for so long.
const UNNOTICED: Duration = Duration::from_secs(15);
const REPLICAS: usize = 3;

/// As Git has it: an app of several pods that asks ten times a second.
fn workload() -> Value {
    let mut template = asking_manifest("unused");
    template["metadata"]["labels"]["app"] = json!("web");
    template["metadata"]
        .as_object_mut()
        .map(|metadata| metadata.remove("name"));
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": template["metadata"], "spec": template["spec"]},
        },
    })
}

/// The last change that was committed.
async fn commit(bed: &Bed, priority: u32) -> Result<()> {
    let change = json!({"spec": {"priority": priority}});
    let providers = bed.api::<ProviderConfig>();
    let params = PatchParams::default();
    providers.patch("openai", &params, &Patch::Merge(&change)).await?;
    bed.rendered(|text| text.contains(&format!("priority: {priority}\n")))
        .await
        .map(drop)
}

async fn pods(bed: &Bed) -> Result<Vec<Pod>> {
    let found = bed.api::<Pod>().list(&ListParams::default().labels("app=web")).await?;
    Ok(found
        .items
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect())
}

/// The config as the cluster has it: sequence and revision.
async fn written(bed: &Bed) -> Result<(u64, String)> {
    let map = bed.api::<ConfigMap>().get(names::CONFIG_MAP).await?;
    let mut data = map.data.unwrap_or_default();
    let sequence = data.remove(names::SEQUENCE_KEY).unwrap_or_default();
    Ok((sequence.parse()?, data.remove(names::REVISION_KEY).unwrap_or_default()))
}

/// Waits until all pods of the workload are ready, have the cluster's config in service and are answered. Gives its sequence.
async fn all_serve(bed: &Bed, within: Duration) -> Result<u64> {
    eventually(within, "every pod serves with the cluster's config", async || {
        let (sequence, revision) = written(bed).await?;
        let all = pods(bed).await?;
        ensure!(all.len() == REPLICAS, "{} pods", all.len());
        for pod in all {
            let app: App<'_> = bed.app_of(&pod.name_any());
            let health = app.health().await?;
            let config = &health["config"];
            ensure!(config["revision"] == *revision, "{}: {config}", app.pod);
            let last = app.asked().await?.pop().context("it has asked nothing yet")?;
            ensure!(last.ok, "{}: {last:?}", app.pod);
        }
        Ok(sequence)
    })
    .await
}

#[tokio::test]
#[ignore = "takes the cluster's data away: make restore"]
async fn etcd_lost_and_filled_from_git_every_pod_serves_again() {
    Test::new("restore")
        .alone()
        .run(async |bed| {
            bed.operators().settled().await?;
            let release = Release::current().await?;
            commit(bed, 77).await?;
            bed.apply_one(&workload()).await?;
            let before = all_serve(bed, LONG).await?;
            let mut logs = Vec::new();
            for pod in pods(bed).await? {
                logs.push(containers_log(&pod, "app")?);
            }

            let lost = Instant::now();
            let programs = Lost::now()?;
            tokio::time::sleep(UNNOTICED).await;
            // The control plane, empty, and the kubelets last.
            programs.start(Data::Empty).await?;
            for log in &mut logs {
                let asked = log.lines()?;
                let failed: Vec<_> = asked.iter().filter(|line| !line.ok).collect();
                ensure!(asked.len() > 100 && failed.is_empty(), "{} asked: {failed:#?}", asked.len());
            }
            let unharmed = lost.elapsed();
            let kubelets = Instant::now();
            programs.start_kubelet(bed).await?;
            eventually(LONG, "the kubelet has ended the pods that nobody knows any more", async || {
                for log in &mut logs {
                    ensure!(log.has_ended()?, "one still asks");
                }
                Ok(())
            })
            .await?;
            let ended = kubelets.elapsed();

            kubectl(&["create", "namespace", &bed.namespace]).await?;
            release.install(bed).await?;
            let installed = kubelets.elapsed();
            bed.furnish().await?;
            commit(bed, 77).await?;
            bed.apply_one(&workload()).await?;
            let after = all_serve(bed, RTO).await?;
            let (gap, whole) = (kubelets.elapsed(), lost.elapsed());
            note(&format!(
                "etcd lost: pods were answered for {unharmed:.1?} without it, 0 failed; the kubelets ended them within {ended:.1?} of \
                 their start; operators installed after {installed:.1?}; every pod served with the right config {gap:.1?} after the \
                 kubelets' start, {whole:.1?} after the loss (RTO {RTO:?}); config sequence {before}, then {after}"
            ));
            ensure!(after > before, "the sequence went back: {before}, then {after}");
            ensure!(whole < RTO, "{whole:?}");
            bed.operators().settled().await
        })
        .await;
}

#[tokio::test]
#[ignore = "puts the cluster's data back to a backup: make restore"]
async fn an_older_backup_leaves_no_pod_on_a_config_that_the_cluster_has_lost() {
    Test::new("backup")
        .alone()
        .run(async |bed| {
            bed.operators().settled().await?;
            bed.apply_one(&workload()).await?;
            all_serve(bed, LONG).await?;
            let (kept, _) = written(bed).await?;
            let backup = cluster::backup()?;
            commit(bed, 78).await?;
            let lost_sequence = all_serve(bed, LONG).await?;
            ensure!(lost_sequence > kept, "{lost_sequence}, {kept}");

            let lost = Instant::now();
            let programs = Lost::now()?;
            tokio::time::sleep(UNNOTICED).await;
            programs.start(Data::Backup(backup)).await?;
            programs.start_kubelet(bed).await?;
            let answers = lost.elapsed();
            let after = eventually(LONG, "a higher sequence is written", async || {
                let (sequence, _) = written(bed).await?;
                ensure!(sequence > lost_sequence, "{sequence}, and the sidecars have {lost_sequence}");
                Ok(sequence)
            })
            .await?;
            bed.rendered(|text| !text.contains("priority: 78\n")).await?;
            all_serve(bed, LONG).await?;
            let whole = lost.elapsed();
            for pod in pods(bed).await? {
                let app = bed.app_of(&pod.name_any());
                let asked = app.asked().await?;
                let failed: Vec<_> = asked.iter().filter(|line| !line.ok).collect();
                ensure!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), asked.len());
                let statuses = pod.status.unwrap_or_default().init_container_statuses.unwrap_or_default();
                let restarts: i32 = statuses.iter().map(|it| it.restart_count).sum();
                ensure!(restarts == 0, "the sidecar of {} was started again", app.pod);
            }
            for object in ["claude", "gemini", "openai"] {
                bed.condition::<ProviderConfig>(object, "Ready", "True").await?;
            }
            note(&format!(
                "an older backup: the apiserver answered {answers:.1?} after the loss, every pod had what the cluster holds after \
                 {whole:.1?}, with no pod ended and 0 requests failed; sequences: backup {kept}, lost {lost_sequence}, then {after}"
            ));
            rolled_out(bed).await?;
            bed.operators().settled().await
        })
        .await;
}
