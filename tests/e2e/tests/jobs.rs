//! A Job with a sidecar completes, and a Deployment's pods are injected as well.

use anyhow::{Context, Result, ensure};
use bowsprit_crds::names;
use bowsprit_e2e::{Bed, LONG, eventually, image, test};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

#[tokio::test]
async fn a_job_with_a_sidecar_completes_with_its_answer() {
    test("job", async |bed| {
        bed.apply_one(&json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "question"},
            "spec": {"backoffLimit": 0, "template": {
                "metadata": {"labels": {names::LABEL_INJECT: "true"}},
                "spec": {"restartPolicy": "Never", "containers": [
                    {"name": "app", "image": image("bowsprit-app"), "args": ["What is a bowsprit?"]},
                ]},
            }},
        }))
        .await?;
        complete(bed, "question").await?;
        let pods = bed
            .api::<Pod>()
            .list(&ListParams::default().labels("job-name=question"))
            .await?;
        let pod = pods.items.first().context("its pod has gone")?;
        let logs = LogParams {
            container: Some("app".into()),
            ..LogParams::default()
        };
        let log = bed.api::<Pod>().logs(&pod.name_any(), &logs).await?;
        ensure!(log.starts_with("Hello from anthropic"), "{log:?}");
        let sidecar = json!(pod.status)["initContainerStatuses"][0]["state"]["terminated"].clone();
        ensure!(sidecar["exitCode"] == 0, "the sidecar ended with {sidecar}");
        Ok(())
    })
    .await;
}

/// Waits until a Job is complete.
async fn complete(bed: &Bed, job: &str) -> Result<()> {
    eventually(LONG, "the Job is complete", async || {
        let status = bed.api::<Job>().get(job).await?.status.unwrap_or_default();
        ensure!(status.succeeded == Some(1), "{status:?}");
        let done = status
            .conditions
            .iter()
            .flatten()
            .any(|it| it.type_ == "Complete" && it.status == "True");
        ensure!(done, "{status:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_cron_jobs_runs_complete_with_a_sidecar() {
    test("cron", async |bed| {
        bed.apply_one(&json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "nightly"},
            // Each minute: the first run comes within one.
            "spec": {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": {"backoffLimit": 0, "template": {
                "metadata": {"labels": {names::LABEL_INJECT: "true"}},
                "spec": {"restartPolicy": "Never", "containers": [
                    {"name": "app", "image": image("bowsprit-app"), "args": ["What is a bowsprit?"]},
                ]},
            }}}},
        }))
        .await?;
        let job = eventually(LONG, "the CronJob has run", async || {
            let jobs = bed.api::<Job>().list(&ListParams::default()).await?;
            let job = jobs.items.first().context("it has no Job yet")?;
            Ok(job.name_any())
        })
        .await?;
        complete(bed, &job).await
    })
    .await;
}

#[tokio::test]
async fn a_deployments_pods_are_injected_and_ready() {
    test("deployment", async |bed| {
        let template = bowsprit_e2e::pod_manifest("unused");
        bed.apply_one(&json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web", names::LABEL_INJECT: "true"}}, "spec": template["spec"]},
            },
        }))
        .await?;
        eventually(LONG, "both pods are ready", async || {
            let status = bed.api::<Deployment>().get("web").await?.status.unwrap_or_default();
            ensure!(status.ready_replicas == Some(2), "{status:?}");
            Ok(())
        })
        .await?;
        let api: Api<Pod> = bed.api();
        for pod in api.list(&ListParams::default().labels("app=web")).await? {
            let spec: Value = json!(pod.spec);
            ensure!(spec["initContainers"][0]["name"] == names::SIDECAR_CONTAINER, "{spec:#}");
        }
        Ok(())
    })
    .await;
}
