//! The operator is a control plane: while it is gone, pods are answered as before.

use anyhow::{Context, ensure};
use bowsprit_crds::{ProviderConfig, names};
use bowsprit_e2e::{Bed, LONG, SYSTEM, Test, eventually, stays};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const OPERATOR: &str = "bowsprit";
/// A sequence of the year 5138.
const FAR: u64 = 99_999_999_999;

fn operators(bed: &Bed) -> Api<Deployment> {
    Api::namespaced(bed.client.clone(), SYSTEM)
}

/// How many there should be.
async fn replicas(bed: &Bed) -> anyhow::Result<i32> {
    let spec = operators(bed).get(OPERATOR).await?.spec;
    Ok(spec.replicas.unwrap_or(1))
}

async fn scale(bed: &Bed, to: i32) -> anyhow::Result<()> {
    let patch = json!({"spec": {"replicas": to}});
    operators(bed)
        .patch(OPERATOR, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    eventually(LONG, &format!("{to} operators are ready"), async || {
        // Their own conditions: the Deployment's count may still be that of pods just killed.
        let pods = Api::<Pod>::namespaced(bed.client.clone(), SYSTEM);
        let pods = pods
            .list(&ListParams::default().labels("app.kubernetes.io/component=operator"))
            .await?;
        let is_ready = |pod: &&Pod| {
            let status = pod.status.clone().unwrap_or_default();
            status
                .conditions
                .iter()
                .flatten()
                .any(|it| it.type_ == "Ready" && it.status == "True")
        };
        let ready = pods.items.iter().filter(is_ready).count();
        ensure!(
            pods.items.len() == usize::try_from(to)? && ready == pods.items.len(),
            "{ready} of {}",
            pods.items.len()
        );
        if to > 0 {
            let (status, answer) = bed.try_create(&bowsprit_e2e::pod_manifest("asks")).await?;
            ensure!(
                status == 201,
                "the Service does not lead to them yet: {status} {answer}"
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn traffic_goes_on_while_no_operator_runs_and_later_changes_arrive_when_it_is_back() {
    Test::new("operatordown")
        .alone()
        .run(async |bed| {
            let app = bed.app("app").await?;
            let wanted = replicas(bed).await?;
            scale(bed, 0).await?;
            let outcome = without_operator(bed, &app).await;
            scale(bed, wanted).await?;
            outcome?;
            // What was asked for while it was away is done now, and what was broken is mended.
            bed.rendered(|text| text.contains("name: claude") && text.contains("enabled: false"))
                .await?;
            eventually(LONG, "gemini answers, since claude is switched off", async || {
                let answer = app.ask("ahoy").await?;
                ensure!(answer.starts_with("Hello from gemini"), "{answer}");
                Ok(())
            })
            .await
        })
        .await;
}

async fn without_operator(bed: &Bed, app: &bowsprit_e2e::App<'_>) -> anyhow::Result<()> {
    for line in app.ask_often(20, "ahoy").await? {
        ensure!(line.ok && line.text.starts_with("Hello from anthropic"), "{line:?}");
    }
    let change = json!({"spec": {"enabled": false}});
    bed.api::<ProviderConfig>()
        .patch("claude", &PatchParams::default(), &Patch::Merge(&change))
        .await?;

    // Somebody breaks the ConfigMap by hand, and there is nobody to mend it: the last good config stays.
    let soon = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 600;
    let broken = json!({"data": {names::CONFIG_KEY: "kind: [", names::SEQUENCE_KEY: soon.to_string()}});
    bed.api::<ConfigMap>()
        .patch(names::CONFIG_MAP, &PatchParams::default(), &Patch::Merge(&broken))
        .await?;
    let touch = json!({"metadata": {"annotations": {"e2e/touched": "1"}}});
    bed.api::<Pod>()
        .patch(&app.pod, &PatchParams::default(), &Patch::Merge(&touch))
        .await?;
    eventually(LONG, "the sidecar has refused the broken config", async || {
        let refused = app.metric("bowsprit_config_rejected_total", &[]).await?;
        ensure!(refused >= 1.0, "{refused} refused; {}", app.health().await?);
        Ok(())
    })
    .await?;
    stays(
        Duration::from_secs(2),
        "the answers while the ConfigMap is broken",
        async || app.ask("ahoy").await,
    )
    .await?;

    // Nor does one that is right and has a number beyond all that an operator gives: what comes after it would never be taken.
    let far = json!({"data": {names::CONFIG_KEY: "", names::SEQUENCE_KEY: FAR.to_string()}});
    bed.api::<ConfigMap>()
        .patch(names::CONFIG_MAP, &PatchParams::default(), &Patch::Merge(&far))
        .await?;
    let touch = json!({"metadata": {"annotations": {"e2e/touched": "2"}}});
    bed.api::<Pod>()
        .patch(&app.pod, &PatchParams::default(), &Patch::Merge(&touch))
        .await?;
    eventually(LONG, "the sidecar says that it does not follow it", async || {
        let health = app.health().await?;
        let said = health["config"]["lastError"].as_str().unwrap_or_default();
        ensure!(said.contains(&FAR.to_string()), "{health:#}");
        Ok(())
    })
    .await?;
    let answer = app.ask("ahoy").await?;
    ensure!(answer.starts_with("Hello from anthropic"), "{answer}");

    // A container that crashes starts again from what is mounted, or says why not; the app's pod is not lost. A pod that
    // asks for a sidecar cannot be made now, and is refused rather than started without.
    let refused = bed.apply_one(&bowsprit_e2e::pod_manifest("late")).await.err();
    let refused = format!("{:#}", refused.context("a pod was made without its sidecar")?);
    ensure!(refused.contains("inject.bowsprit.dev"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_killed_leader_is_followed_by_the_other() {
    Test::new("leader")
        .alone()
        .run(async |bed| {
            let pods = Api::<Pod>::namespaced(bed.client.clone(), SYSTEM);
            let all = ListParams::default().labels("app.kubernetes.io/component=operator");
            for pod in pods.list(&all).await? {
                // One after the other, each without a chance to hand over: whoever leads, it is killed.
                pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
                    .await?;
                let priority = 1 + i64::from(fastrand::u16(..100));
                let change = json!({"spec": {"priority": priority}});
                bed.api::<ProviderConfig>()
                    .patch("openai", &PatchParams::default(), &Patch::Merge(&change))
                    .await?;
                eventually(LONG, "the change is rendered", async || {
                    let map = bed.api::<ConfigMap>().get(names::CONFIG_MAP).await?;
                    let text = map
                        .data
                        .unwrap_or_default()
                        .remove(names::CONFIG_KEY)
                        .unwrap_or_default();
                    ensure!(text.contains(&format!("priority: {priority}\n")), "{text}");
                    Ok(())
                })
                .await?;
            }
            scale(bed, replicas(bed).await?).await
        })
        .await;
}

#[tokio::test]
async fn no_pod_is_refused_while_the_operators_are_replaced_one_after_the_other() {
    Test::new("rollout")
        .alone()
        .bare()
        .run(async |bed| {
            scale(bed, replicas(bed).await?).await?;
            let pods = Api::<Pod>::namespaced(bed.client.clone(), SYSTEM);
            let all = ListParams::default().labels("app.kubernetes.io/component=operator");
            let mut made = 0_u32;
            for old in pods.list(&all).await? {
                pods.delete(&old.name_any(), &DeleteParams::default()).await?;
                // Without a pause: whichever operator is asked, and however far it is from its end, a pod is made.
                while pods.get_opt(&old.name_any()).await?.is_some() {
                    let (status, answer) = bed.try_create(&bowsprit_e2e::pod_manifest("asks")).await?;
                    ensure!(status == 201, "pod {made} was refused: {status} {answer}");
                    made += 1;
                }
                scale(bed, replicas(bed).await?).await?;
            }
            ensure!(made >= 20, "only {made} pods were asked for");
            Ok(())
        })
        .await;
}
