//! Pods without the sidecar that they asked for, pods that pass theirs by, and what is not read: told on the workload, and
//! counted as long as it is so.

use anyhow::{Context, Result, ensure};
use bowsprit_crds::names;
use bowsprit_e2e::{Bed, LONG, SHORT, SYSTEM, Test, eventually, pod_manifest};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// What the operators together count of a reason.
async fn counted(bed: &Bed, reason: &str) -> Result<f64> {
    let operators = ListParams::default().labels("app.kubernetes.io/component=operator");
    let pods = Api::<Pod>::namespaced(bed.client.clone(), SYSTEM)
        .list(&operators)
        .await?;
    let mut sum = 0.0;
    // One that is leaving may have left its port already.
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{}:8081/proxy/metrics", pod.name_any());
        let (status, text) = bed.http("GET", &path, "").await?;
        ensure!(status == 200, "{status} {text}");
        let series = format!("bowsprit_operator_watchdog_objects{{reason=\"{reason}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        sum += value.with_context(|| format!("no {series}"))?.trim().parse::<f64>()?;
    }
    Ok(sum)
}

async fn told(bed: &Bed, name: &str, reason: &str, words: &str) -> Result<()> {
    eventually(SHORT, &format!("{name} is told {reason}"), async || {
        let events = bed.events(name).await?;
        let said = events
            .iter()
            .any(|event| event.starts_with(reason) && event.contains(words));
        ensure!(said, "{words:?} is not in {events:#?}");
        Ok(())
    })
    .await
}

fn deployment(name: &str, own: &Value, template: &Value, env: &Value) -> Value {
    let mut labels = template.clone();
    labels["app"] = json!(name);
    let mut spec = pod_manifest("unused")["spec"].clone();
    spec["terminationGracePeriodSeconds"] = json!(5);
    spec["containers"][0]["env"] = env.clone();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": own},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    })
}

#[tokio::test]
async fn pods_that_asked_and_have_no_sidecar_are_told_on_their_workload_until_they_have_one() {
    // Alone: the count is of the whole cluster.
    Test::new("missing")
        .alone()
        .run(async |bed| {
            bed.apply_one(&deployment("web", &json!({}), &json!({}), &json!([]))).await?;
            eventually(LONG, "its pods run", async || {
                let status = bed.api::<Deployment>().get("web").await?.status.unwrap_or_default();
                ensure!(status.ready_replicas == Some(2), "{status:?}");
                Ok(())
            })
            .await?;
            let before = counted(bed, "SidecarMissing").await?;
            let asks = json!({"metadata": {"labels": {names::LABEL_INJECT: "true"}}});
            Api::<Namespace>::all(bed.client.clone())
                .patch(&bed.namespace, &PatchParams::default(), &Patch::Merge(&asks))
                .await?;
            told(bed, "web", "SidecarMissing", "kubectl rollout restart").await?;
            eventually(SHORT, "they are counted", async || {
                // The scripted providers' pod is in the namespace too, and asked with it.
                let now = counted(bed, "SidecarMissing").await?;
                ensure!(now >= before + 2.0, "{now}, and {before} before");
                Ok(())
            })
            .await?;

            // As kubectl rollout restart does it.
            let anew = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
            bed.api::<Deployment>()
                .patch("web", &PatchParams::default(), &Patch::Merge(&anew))
                .await?;
            let silent = json!({"metadata": {"labels": {names::LABEL_INJECT: "false"}}});
            bed.api::<Pod>()
                .patch("providers", &PatchParams::default(), &Patch::Merge(&silent))
                .await
                .map(drop)
                .or_else(|error| match error {
                    kube::Error::Api(status) if status.code == 404 => Ok(()),
                    other => Err(other),
                })?;
            eventually(LONG, "nobody lacks one any more", async || {
                let pods = bed.api::<Pod>().list(&ListParams::default().labels("app=web")).await?;
                let injected = pods.iter().filter(|pod| pod.labels().contains_key(names::LABEL_INJECTED));
                ensure!(injected.count() == pods.items.len(), "old pods are there still");
                Ok(())
            })
            .await?;
            let asks = json!({"metadata": {"labels": {names::LABEL_INJECT: null}}});
            let namespaces = Api::<Namespace>::all(bed.client.clone());
            namespaces.patch(&bed.namespace, &PatchParams::default(), &Patch::Merge(&asks)).await?;
            eventually(SHORT, "nobody is counted", async || {
                let now = counted(bed, "SidecarMissing").await?;
                ensure!(now <= before, "{now}, and {before} before");
                Ok(())
            })
            .await
        })
        .await;
}

#[tokio::test]
async fn a_variable_that_leads_past_the_sidecar_is_told_on_the_workload() {
    Test::new("bypass")
        .run(async |bed| {
            let env = json!([{"name": "OPENAI_BASE_URL", "value": "https://token-in-url@api.example.com/v1"}]);
            let object = deployment("past", &json!({}), &json!({names::LABEL_INJECT: "true"}), &env);
            bed.apply_one(&object).await?;
            told(bed, "past", "BypassesSidecar", "OPENAI_BASE_URL of container app").await?;
            let events = bed.events("past").await?.join("\n");
            ensure!(!events.contains("token-in-url"), "{events}");
            bed.api::<Deployment>().delete("past", &DeleteParams::default()).await?;
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn what_is_not_read_is_told_where_it_stands() {
    Test::new("notread")
        .bare()
        .run(async |bed| {
            let asks = json!({names::LABEL_INJECT: "true"});
            let mut misplaced = deployment("misplaced", &asks, &json!({}), &json!([]));
            misplaced["spec"]["replicas"] = json!(0);
            bed.apply_one(&misplaced).await?;
            told(
                bed,
                "misplaced",
                "SettingNotRead",
                "move it to spec.template.metadata.labels",
            )
            .await?;
            let template = json!({names::LABEL_INJECT: "True"});
            bed.apply_one(&deployment("misspelt", &json!({}), &template, &json!([])))
                .await?;
            told(bed, "misspelt", "SettingNotRead", "write \"true\"").await
        })
        .await;
}
