//! A sidecar that is an ordinary container, as on clusters before native sidecars: what holds all the same, and how a Job completes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowsprit_crds::names;
use bowsprit_e2e::{Bed, LONG, Release, SHORT, Test, eventually, image, note, pod_manifest, stays, test};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{ListParams, LogParams};
use serde_json::{Value, json};

use crate::shutdown::ends_whole;

const ANNOTATION: &str = "bowsprit.dev/sidecar-native";

/// Asks a question, and then lets the sidecar end, whatever came of it.
const ASK_AND_END: &str = "
import openai, urllib.request
try:
    answer = openai.OpenAI(max_retries=0).chat.completions.create(model='gpt-5-mini', messages=[{'role': 'user', 'content': 'ahoy'}])
    print(answer.choices[0].message.content)
finally:
    print(urllib.request.urlopen(urllib.request.Request('http://127.0.0.1:4001/shutdown', method='POST')).status)
";

fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// A pod whose sidecar is to be an ordinary container.
fn asks(name: &str) -> Value {
    let mut manifest = pod_manifest(name);
    manifest["metadata"]["annotations"] = json!({ANNOTATION: "false"});
    manifest
}

fn is_ordinary(pod: &Pod) -> Result<()> {
    let spec = json!(pod.spec);
    ensure!(spec["initContainers"].is_null(), "{spec:#}");
    let first = &spec["containers"][0];
    ensure!(
        first["name"] == names::SIDECAR_CONTAINER && first["restartPolicy"].is_null(),
        "{spec:#}"
    );
    Ok(())
}

#[tokio::test]
async fn its_pod_is_ready_and_answered_and_passes_restricted_pod_security() {
    Test::new("ordinary")
        .label("pod-security.kubernetes.io/enforce", "restricted")
        .run(async |bed| {
            let mut manifest = asks("app");
            manifest["spec"]["containers"][0]["securityContext"] = restricted();
            let app = bed.app_from(&manifest).await?;
            is_ordinary(&app.object().await?)?;
            ensure!(app.ask("ahoy").await?.starts_with("Hello from anthropic"));
            ensure!(bed.providers().requests("anthropic").await?[0]["key"] == "key-of-claude");
            eventually(SHORT, "it holds a config stream", async || {
                let health = app.health().await?;
                ensure!(health["stream"]["connected"] == true, "{health:#}");
                Ok(())
            })
            .await?;
            // Nobody waits for its end, and it would be started again.
            let refused = app.python(ASK_AND_END).await.err().map(|error| error.to_string());
            ensure!(refused.as_deref().is_some_and(|it| it.contains("409")), "{refused:?}");
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn its_pod_ends_without_failing_what_is_under_way() {
    test("ordinarydrain", async |bed| {
        // 18 seconds, within the 25 that a drain may take.
        let took = ends_whole(bed, asks("app"), (60, 300), is_ordinary).await?;
        note(&format!(
            "told to stop together with its app in mid-stream: whole, and gone after {took:.1?}"
        ));
        Ok(())
    })
    .await;
}

fn job(name: &str, code: &str) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {
            "metadata": {"labels": {names::LABEL_INJECT: "true"}, "annotations": {ANNOTATION: "false"}},
            "spec": {"restartPolicy": "Never", "containers": [
                {"name": "app", "image": image("bowsprit-app"), "command": ["/usr/bin/python3", "-c", code]},
            ]},
        }},
    })
}

async fn pod_of(bed: &Bed, job: &str) -> Result<Pod> {
    let pods = ListParams::default().labels(&format!("job-name={job}"));
    let pods = bed.api::<Pod>().list(&pods).await?;
    pods.items.into_iter().next().context("its pod is not there")
}

/// How a container of a Job's pod ended; null where it runs.
async fn ended(bed: &Bed, job: &str, container: &str) -> Result<Value> {
    let status = json!(pod_of(bed, job).await?.status);
    let mut all = status["containerStatuses"].as_array().into_iter().flatten();
    let it = all.find(|it| it["name"] == container).context("it has no status yet")?;
    Ok(it["state"]["terminated"].clone())
}

#[tokio::test]
async fn a_job_completes_when_its_app_ends_the_sidecar_and_waits_for_it_otherwise() {
    test("ordinaryjob", async |bed| {
        bed.apply_one(&job("ends", ASK_AND_END)).await?;
        bed.apply_one(&job("forgets", "print('done')")).await?;
        eventually(LONG, "the Job whose app ends the sidecar is complete", async || {
            let status = bed.api::<Job>().get("ends").await?.status.unwrap_or_default();
            ensure!(status.succeeded == Some(1), "{status:?}");
            Ok(())
        })
        .await?;
        let pod = pod_of(bed, "ends").await?;
        is_ordinary(&pod)?;
        let log = LogParams {
            container: Some("app".into()),
            ..LogParams::default()
        };
        let log = bed.api::<Pod>().logs(&pod.name_any(), &log).await?;
        ensure!(
            log.starts_with("Hello from anthropic") && log.trim_end().ends_with("200"),
            "{log:?}"
        );
        let sidecar = ended(bed, "ends", names::SIDECAR_CONTAINER).await?;
        ensure!(sidecar["exitCode"] == 0, "the sidecar ended with {sidecar}");

        // As the warning and docs/operating.md say; a sidecar that guessed would end under an app that is about to be started again.
        eventually(LONG, "the other app has ended", async || {
            let app = ended(bed, "forgets", "app").await?;
            ensure!(app["exitCode"] == 0, "{app}");
            Ok(())
        })
        .await?;
        stays(Duration::from_secs(3), "its sidecar runs", async || {
            ended(bed, "forgets", names::SIDECAR_CONTAINER).await
        })
        .await
        .and_then(|it| {
            ensure!(it.is_null(), "its sidecar ended with {it}");
            Ok(())
        })
    })
    .await;
}

#[tokio::test]
async fn who_creates_such_a_job_s_pod_is_warned_with_what_to_do() {
    Test::new("ordinarywarn")
        .bare()
        .run(async |bed| {
            let mut manifest = asks("app");
            manifest["spec"]["restartPolicy"] = json!("Never");
            let (status, answer, warnings) = bed.dry_run(&manifest).await?;
            ensure!(status == 201, "{status} {answer}");
            let warned = warnings
                .iter()
                .any(|it| it.contains("POST http://127.0.0.1:4001/shutdown"));
            ensure!(warned, "{warnings:?}");
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn the_charts_value_makes_every_pods_sidecar_one_but_for_the_pods_own_word() {
    // Alone: the operators are replaced.
    Test::new("ordinaryall")
        .alone()
        .run(async |bed| {
            let this = Release::current().await?;
            let outcome: Result<()> = async {
                this.clone()
                    .with_in("sidecar", "native", json!(false))
                    .install(bed)
                    .await?;
                // An operator of before answers until it has gone.
                bed.operators().settled().await?;
                let app = bed.app("app").await?;
                is_ordinary(&app.object().await?)?;
                ensure!(app.ask("ahoy").await?.starts_with("Hello from anthropic"));
                let mut manifest = pod_manifest("native");
                manifest["metadata"]["annotations"] = json!({ANNOTATION: "true"});
                let native = json!(bed.app_from(&manifest).await?.object().await?.spec);
                ensure!(native["initContainers"][0]["restartPolicy"] == "Always", "{native:#}");
                Ok(())
            }
            .await;
            this.install(bed).await?;
            outcome
        })
        .await;
}
