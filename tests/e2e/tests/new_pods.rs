//! An app and its providers are applied at once, as everybody does at first: the app's first pod has the keys.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bowsprit_e2e::{Bed, LONG, Test, eventually, helm_install, kubectl, note, pod_manifest};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

/// A Deployment of the tests' app, with a label of its name.
fn deployment(name: &str) -> Value {
    let mut template = pod_manifest(name);
    template["metadata"]["labels"]["app"] = json!(name);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]},
        },
    })
}

/// The first pod of the Deployment, once it is ready.
async fn first_pod(bed: &Bed, name: &str) -> Result<Pod> {
    let of = ListParams::default().labels(&format!("app={name}"));
    let pod = eventually(LONG, &format!("{name} has a pod"), async || {
        let pods = bed.api::<Pod>().list(&of).await?;
        pods.items.into_iter().next().context("none")
    })
    .await?;
    bed.ready(&pod.name_any()).await
}

/// It has every provider's key mounted, and is answered.
async fn is_whole(bed: &Bed, name: &str) -> Result<()> {
    let pod = first_pod(bed, name).await?;
    let volumes = serde_json::to_value(pod.spec.as_ref().map(|spec| &spec.volumes))?;
    let volume = volumes.as_array().into_iter().flatten();
    let secrets = volume.filter(|volume| volume["name"] == "bowsprit-secrets");
    let mounted: Vec<&Value> = secrets
        .flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten())
        .flat_map(|source| source["secret"]["items"].as_array().into_iter().flatten())
        .map(|item| &item["key"])
        .collect();
    ensure!(
        mounted == ["anthropic", "gemini", "openai"],
        "{name}: mounted {mounted:?}"
    );
    let app = bed.app_of(&pod.name_any());
    eventually(LONG, &format!("{name} is answered"), async || {
        let answer = app.ask("ahoy").await?;
        ensure!(answer.starts_with("Hello from anthropic"), "{answer}");
        Ok(())
    })
    .await?;
    let created = pod.metadata.creation_timestamp.map(|at| at.0.to_string());
    note(&format!("{name}: its first pod, of {created:?}, has all three keys"));
    Ok(())
}

async fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("no folder")?;
    tokio::fs::create_dir_all(folder).await?;
    tokio::fs::write(path, text).await?;
    Ok(())
}

#[tokio::test]
async fn an_app_that_is_applied_with_its_providers_in_any_order_has_their_keys() {
    Test::new("together")
        .bare()
        .run(async |bed| {
            bed.start_providers().await?;
            let folder = std::env::temp_dir().join(&bed.namespace);
            let outcome = applied(bed, &folder).await;
            let _ = tokio::fs::remove_dir_all(&folder).await;
            outcome
        })
        .await;
}

async fn applied(bed: &Bed, folder: &Path) -> Result<()> {
    // Helm makes what it knows first, in an order of its own, and custom resources last.
    let chart = folder.join("helm");
    write(
        &chart.join("Chart.yaml"),
        "apiVersion: v2\nname: together\nversion: 0.1.0\n",
    )
    .await?;
    let all = format!("{}---\n{}\n", bed.accounts(), deployment("by-helm"));
    write(&chart.join("templates/all.yaml"), &all).await?;
    helm_install("together", &chart, &bed.namespace).await?;
    is_whole(bed, "by-helm").await?;

    kubectl(&["-n", &bed.namespace, "delete", "providerconfigs.bowsprit.dev", "--all"]).await?;
    bed.rendered(|text| !text.contains("claude")).await?;
    // And kubectl takes them as they stand in the file.
    let file = folder.join("all.yaml");
    write(&file, &format!("{}\n---\n{}", deployment("by-kubectl"), bed.accounts())).await?;
    let file = file.to_str().context("a path that is no UTF-8")?;
    kubectl(&["-n", &bed.namespace, "apply", "-f", file]).await?;
    is_whole(bed, "by-kubectl").await
}
