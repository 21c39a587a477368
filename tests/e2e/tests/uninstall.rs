//! Uninstalled in the two steps of docs/upgrading.md, Bowsprit leaves nothing behind and strands no pod.

use std::time::Duration;

use anyhow::{Result, ensure};
use bowsprit_crds::names;
use bowsprit_e2e::{App, Bed, LONG, Release, Test, asking_manifest, eventually, kubectl, note, pod_manifest, stays};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// Ends the sidecar, whose pod's processes are in one namespace.
const KILL: &str = "
import glob, os, signal
pids = [path.split('/')[2] for path in glob.glob('/proc/[0-9]*/comm') if open(path).read().startswith('bowsprit-sidec')]
os.kill(int(pids[0]), signal.SIGKILL)
";

/// Everything in the cluster whose name or namespace is of Bowsprit, except what every namespace has.
async fn left() -> Result<Vec<String>> {
    let kinds = kubectl(&["api-resources", "--verbs=list", "-o", "name"]).await?;
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| !kind.starts_with("events") && !kind.starts_with("componentstatuses"))
        .collect();
    let template =
        "--template={{range .items}}{{.kind}} {{or .metadata.namespace \"-\"}} {{.metadata.name}}{{\"\\n\"}}{{end}}";
    let all = kubectl(&["get", &kinds.join(","), "-A", "-o", "go-template", template]).await?;
    let ours = |line: &&str| {
        let mut words = line.split(' ');
        let (kind, namespace, name) = (words.next(), words.next().unwrap_or(""), words.next().unwrap_or(""));
        let of_every_namespace = ["default", "kube-root-ca.crt"].contains(&name);
        let is_of_a_test = namespace.starts_with("e2e-") && name != names::CONFIG_MAP;
        kind != Some("Namespace")
            && (namespace == bowsprit_e2e::SYSTEM || name.contains("bowsprit"))
            && !of_every_namespace
            && !is_of_a_test
    };
    Ok(all.lines().filter(ours).map(str::to_owned).collect())
}

async fn answers(app: &App<'_>) -> Result<()> {
    let answer = app.ask("ahoy").await?;
    ensure!(answer.starts_with("Hello from anthropic"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn an_uninstalled_bowsprit_leaves_nothing_behind_and_strands_no_pod() {
    Test::new("uninstall")
        .alone()
        .run(async |bed| {
            let release = Release::current().await?;
            let outcome = uninstalled(bed, &release).await;
            // Whatever came of it, the other tests need it.
            release.install(bed).await?;
            outcome
        })
        .await;
}

async fn uninstalled(bed: &Bed, release: &Release) -> Result<()> {
    let asking = bed.app_from(&asking_manifest("asking")).await?;
    let mut manifest = pod_manifest("restarted");
    manifest["spec"]["shareProcessNamespace"] = json!(true);
    let restarted = bed.app_from(&manifest).await?;
    answers(&restarted).await?;

    // Step 1. At no moment is a pod refused, whether or not it still gets a sidecar.
    let begun = std::time::Instant::now();
    let uninstall = Release::uninstall(bed);
    let mut uninstall = std::pin::pin!(uninstall);
    let mut asked = 0_u32;
    loop {
        let (status, answer) = bed.try_create(&pod_manifest("asks")).await?;
        ensure!(status == 201, "pod {asked} was refused: {status} {answer}");
        asked += 1;
        let done = tokio::time::timeout(Duration::from_millis(20), &mut uninstall).await;
        if let Ok(done) = done {
            done?;
            break;
        }
    }
    note(&format!(
        "uninstalled in {:.1?}; {asked} pods asked for meanwhile, 0 refused",
        begun.elapsed()
    ));
    eventually(LONG, "only CRDs and what goes with them is left", async || {
        let left = left().await?;
        let expected = |line: &String| {
            line.starts_with("CustomResourceDefinition ")
                || line.starts_with("APIService ")
                || line.ends_with(&format!(" {}", names::CONFIG_MAP))
        };
        let others: Vec<_> = left.iter().filter(|line| !expected(line)).collect();
        ensure!(others.is_empty(), "{others:#?}");
        ensure!(left.len() >= 3, "the CRDs and this namespace's config stay: {left:#?}");
        Ok(())
    })
    .await?;

    // A pod that asks for a sidecar is made without one; those that have one are answered, and start it again.
    let (status, pod) = bed.try_create(&pod_manifest("late")).await?;
    ensure!(status == 201 && !pod.contains("bowsprit-sidecar"), "{status} {pod}");
    restarted.python(KILL).await?;
    eventually(LONG, "the sidecar has started again", async || {
        let sidecar = json!(restarted.object().await?.status)["initContainerStatuses"][0].clone();
        ensure!(sidecar["restartCount"] == 1 && sidecar["ready"] == true, "{sidecar}");
        answers(&restarted).await
    })
    .await?;

    // Step 2.
    release.delete_crds().await?;
    eventually(LONG, "nothing is left", async || {
        let left = left().await?;
        ensure!(left.is_empty(), "{left:#?}");
        Ok(())
    })
    .await?;
    ensure!(bed.api::<ConfigMap>().get_opt(names::CONFIG_MAP).await?.is_none());
    // The kubelet takes the mounted files away, and the sidecar keeps what it has in service.
    let touch = json!({"metadata": {"annotations": {"e2e/touched": "1"}}});
    let pods = bed.api::<Pod>();
    pods.patch(&asking.pod, &PatchParams::default(), &Patch::Merge(&touch))
        .await?;
    stays(Duration::from_secs(5), "the answers without any config", async || {
        answers(&asking).await
    })
    .await?;
    let lines = asking.asked().await?;
    let failed: Vec<_> = lines.iter().filter(|line| !line.ok).collect();
    ensure!(
        failed.is_empty(),
        "{} of {} requests failed: {:?}",
        failed.len(),
        lines.len(),
        failed[0]
    );
    note(&format!(
        "uninstall: {} requests of a running pod, 0 failed",
        lines.len()
    ));
    ensure!(lines.len() > 50, "only {} requests", lines.len());
    Ok(())
}
