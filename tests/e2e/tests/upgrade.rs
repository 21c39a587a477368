//! From the release before this one to this one and back, under traffic: no request fails, no pod is refused, no object is lost, and
//! a change arrives whichever operator speaks to whichever sidecar.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowsprit_core::yaml;
use bowsprit_crds::{ModelRoute, ProviderConfig};
use bowsprit_e2e::{
    App, Bed, Creates, LONG, Release, SYSTEM, Test, asking_manifest, eventually, kubectl, note, rolled_out, stays,
};
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cli::{bowsprit, show};

/// A change of the operator's objects arrives in each of these apps' sidecars, and is told in the object's status.
async fn change_arrives(bed: &Bed, apps: &[&App<'_>], priority: u32) -> Result<()> {
    let change = json!({"spec": {"priority": priority}});
    let params = PatchParams::default();
    let providers = bed.api::<ProviderConfig>();
    providers.patch("openai", &params, &Patch::Merge(&change)).await?;
    let map = bed
        .rendered(|text| text.contains(&format!("priority: {priority}\n")))
        .await?;
    let revision = map.data.unwrap_or_default().remove("revision").unwrap_or_default();
    for app in apps {
        eventually(LONG, &format!("{} has revision {revision}", app.pod), async || {
            let health = app.health().await?;
            ensure!(health["config"]["revision"] == *revision, "{health:#}");
            Ok(())
        })
        .await?;
    }
    bed.condition::<ProviderConfig>("openai", "Programmed", "True").await?;
    Ok(())
}

/// Everything that people have written in this namespace, without what the cluster adds to it.
async fn written(bed: &Bed) -> Result<Vec<Value>> {
    let all = ListParams::default();
    let kept = |kind: &str, name: String, spec: Value| json!({"kind": kind, "name": name, "spec": spec});
    let mut objects = Vec::new();
    for object in bed.api::<ProviderConfig>().list(&all).await? {
        objects.push(kept("ProviderConfig", object.name_any(), json!(object.spec)));
    }
    for object in bed.api::<ModelRoute>().list(&all).await? {
        objects.push(kept("ModelRoute", object.name_any(), json!(object.spec)));
    }
    Ok(objects)
}

/// All questions so far were answered; how many.
async fn answered(app: &App<'_>) -> Result<usize> {
    let lines = app.asked().await?;
    let failed: Vec<_> = lines.iter().filter(|line| !line.ok).collect();
    ensure!(
        failed.is_empty(),
        "{}: {} of {} requests failed, the first with {:?}",
        app.pod,
        failed.len(),
        lines.len(),
        failed[0]
    );
    Ok(lines.len())
}

/// A namespace of objects that the release before this one took, in every shape that its own tests have.
async fn old_objects(bed: &Bed) -> Result<Bed> {
    let namespace = format!("{}-objects", bed.namespace);
    kubectl(&["create", "namespace", &namespace]).await?;
    let table = Release::previous_tree()?.join("tests/e2e/tests/validation/accepted.yaml");
    let text = tokio::fs::read_to_string(&table)
        .await
        .with_context(|| format!("reading {}", table.display()))?;
    let objects = Bed {
        client: bed.client.clone(),
        namespace,
    };
    for document in yaml::documents(&text)? {
        objects.apply_one(&document).await?;
    }
    Ok(objects)
}

/// Each object is still there as it was, and can be written again as it is: what an older release took, this one takes.
async fn are_kept(objects: &Bed, before: &[Value], when: &str) -> Result<()> {
    let after = written(objects).await?;
    ensure!(after == before, "{when}: from {before:#?} to {after:#?}");
    for kind in ["providerconfigs.bowsprit.dev", "modelroutes.bowsprit.dev"] {
        let label = format!("bowsprit-e2e={when}");
        kubectl(&["-n", &objects.namespace, "label", kind, "--all", "--overwrite", &label]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn up_to_this_release_and_back_under_traffic() {
    Test::new("upgrade")
        .alone()
        .bare()
        .run(async |bed| {
            let this = Release::current().await?;
            let outcome = there_and_back(bed, &this).await;
            // Whatever came of it, the other tests need this release.
            this.install(bed).await?;
            let _ = kubectl(&[
                "delete",
                "namespace",
                &format!("{}-objects", bed.namespace),
                "--ignore-not-found",
                "--wait=false",
            ])
            .await;
            outcome
        })
        .await;
}

async fn there_and_back(bed: &Bed, this: &Release) -> Result<()> {
    Release::uninstall(bed).await?;
    Release::previous()?.install(bed).await?;
    bed.furnish().await?;
    let objects = old_objects(bed).await?;
    let before = written(&objects).await?;
    ensure!(before.len() >= 9, "only {} objects to keep", before.len());
    let old = bed.app_from(&asking_manifest("old")).await?;
    change_arrives(bed, &[&old], 31).await?;

    let creates = Creates::start(bed, 1);
    this.install(bed).await?;
    let upgraded = creates.end("while it was upgraded").await?;
    change_arrives(bed, &[&old], 32).await?;
    let new = bed.app_from(&asking_manifest("new")).await?;
    change_arrives(bed, &[&old, &new], 33).await?;
    are_kept(&objects, &before, "upgraded").await?;

    let creates = Creates::start(bed, 1);
    Release::roll_back(bed).await?;
    let back = creates.end("while it was rolled back").await?;
    change_arrives(bed, &[&old, &new], 34).await?;
    let again = bed.app_from(&asking_manifest("again")).await?;
    change_arrives(bed, &[&old, &new, &again], 35).await?;
    are_kept(&objects, &before, "rolled-back").await?;

    let mut requests = 0;
    for app in [&old, &new, &again] {
        requests += answered(app).await?;
    }
    note(&format!(
        "upgrade and rollback: {requests} requests, 0 failed; {upgraded} and {back} pods asked for meanwhile, 0 refused; {} objects kept",
        before.len()
    ));
    ensure!(requests > 100 && upgraded > 20 && back > 20, "too little was asked");
    Ok(())
}

/// Applies the CRDs of a tree.
async fn apply_crds(tree: &Path) -> Result<()> {
    let crds = tree.join("charts/bowsprit/crds");
    let crds = crds.to_str().context("a path that is no UTF-8")?;
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", crds]).await?;
    Ok(())
}

#[tokio::test]
async fn on_the_crds_of_the_release_before_each_status_says_what_they_know_and_nothing_is_written_in_vain() {
    Test::new("oldcrds")
        .alone()
        .run(async |bed| {
            let outcome = async {
                apply_crds(&Release::previous_tree()?).await?;
                on_older_crds(bed).await
            }
            .await;
            // The other tests need those of this release, and operators that do not go on leaving out what the older ones lacked.
            apply_crds(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))).await?;
            kubectl(&["-n", SYSTEM, "rollout", "restart", "deployment/bowsprit"]).await?;
            rolled_out(bed).await?;
            outcome
        })
        .await;
}

async fn on_older_crds(bed: &Bed) -> Result<()> {
    let providers = bed.api::<ProviderConfig>();
    eventually(LONG, "the apiserver serves the older schema", async || {
        let status = providers.get("openai").await?.status.unwrap_or_default();
        ensure!(
            !status.conditions.is_empty() && status.sequence.is_none(),
            "it has a field of the newer one, or nothing yet: {status:?}"
        );
        Ok(())
    })
    .await?;
    let app = bed.app("app").await?;
    change_arrives(bed, &[&app], 41).await?;
    bed.in_service("openai", 1).await?;
    let status = providers.get("openai").await?.status.unwrap_or_default();
    ensure!(status.sequence.is_none() && status.propagation.is_none(), "{status:?}");
    ensure!(
        status.revision.is_some()
            && status
                .conditions
                .iter()
                .any(|it| it.type_ == "Ready" && it.status == "True"),
        "{status:?}"
    );

    let operators = bed.operators();
    let leader = operators.leader().await?;
    let versions = async || {
        let all = providers.list(&ListParams::default()).await?;
        let written = operators
            .metric(&leader, "bowsprit_operator_status_writes_total")
            .await?;
        let of = |object: &ProviderConfig| object.resource_version();
        anyhow::Ok((all.iter().map(of).collect::<Vec<_>>(), written.to_string()))
    };
    // What was on its way when the last change arrived is written at the statuses' pace.
    bed.all_in_service(1).await?;
    eventually(LONG, "the statuses are at rest", async || {
        stays(Duration::from_secs(3), "a status", &versions).await.map(drop)
    })
    .await?;
    stays(Duration::from_secs(6), "a status, written again and again", &versions).await?;
    let said = bowsprit(bed, &["doctor"]).await?;
    show("doctor", &said);
    ensure!(
        said.out.contains("older than the operators: ")
            && said.out.contains("providerconfigs.bowsprit.dev does not know"),
        "{said:#?}"
    );
    Ok(())
}
