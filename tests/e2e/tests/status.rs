//! The status tells the truth: what does not hold is named with path and remedy, what is live has been acknowledged, and what does
//! not change is not written.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowsprit_crds::{ModelRoute, ModelRouteStatus, ProviderConfig, ProviderConfigStatus};
use bowsprit_e2e::machine::Process;
use bowsprit_e2e::{App, Bed, LONG, PACED, SHORT, audit, eventually, kubectl, note, pod_manifest, stays, test};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

const ROUTE: &str = "
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: smart}
spec:
  match: {models: [smart]}
  targets: [{provider: gemini}]
  fallback: [{provider: openai}]
";

async fn status(bed: &Bed, name: &str) -> Result<ProviderConfigStatus> {
    let object = bed.api::<ProviderConfig>().get(name).await?;
    object.status.context("it has no status")
}

async fn route(bed: &Bed, name: &str) -> Result<ModelRouteStatus> {
    let object = bed.api::<ModelRoute>().get(name).await?;
    object.status.context("it has no status")
}

/// Waits until the sidecar holds a stream.
async fn streams(app: &App<'_>) -> Result<()> {
    eventually(LONG, &format!("{} holds a stream", app.pod), async || {
        let health = app.health().await?;
        ensure!(health["stream"]["connected"] == true, "{health:#}");
        Ok(())
    })
    .await
}

/// Prints what people see.
async fn show(bed: &Bed, arguments: &[&str]) -> Result<()> {
    let text = kubectl(&[arguments, &["-n", &bed.namespace]].concat()).await?;
    note(&format!("$ kubectl {}\n{text}", arguments.join(" ")));
    Ok(())
}

#[tokio::test]
async fn a_route_without_a_target_is_not_ready_and_one_whose_provider_is_deleted_says_who_still_serves() {
    test("st-route", async |bed| {
        let app = bed.app("app").await?;
        streams(&app).await?;
        bed.apply(
            &ROUTE
                .replace("smart", "lost")
                .replace("{provider: gemini}", "{provider: gone}")
                .replace("fallback: [{provider: openai}]", ""),
        )
        .await?;
        let ready = bed.condition::<ModelRoute>("lost", "Ready", "False").await?;
        ensure!(ready.reason == "RefNotFound", "{ready:?}");
        for part in [
            "spec.targets[0].provider",
            "there is no ProviderConfig \"gone\"",
            "create it",
            "nobody is left",
        ] {
            ensure!(ready.message.contains(part), "{part}: {ready:?}");
        }

        bed.apply(ROUTE).await?;
        bed.condition::<ModelRoute>("smart", "Ready", "True").await?;
        show(bed, &["get", "providerconfigs,modelroutes", "-o", "wide"]).await?;
        show(bed, &["describe", "providerconfig", "claude"]).await?;
        bed.api::<ProviderConfig>()
            .delete("gemini", &DeleteParams::default())
            .await?;
        let resolved = bed.condition::<ModelRoute>("smart", "ResolvedRefs", "False").await?;
        ensure!(resolved.message.contains("it still goes to openai"), "{resolved:?}");
        eventually(SHORT, "an Event says so, once", async || {
            let events = bed.events("smart").await?;
            let about = events.iter().filter(|event| event.starts_with("RefNotFound: ")).count();
            ensure!(about == 1, "{events:#?}");
            Ok(())
        })
        .await?;
        show(bed, &["get", "providerconfigs,modelroutes"]).await?;
        show(bed, &["describe", "modelroute", "lost"]).await
    })
    .await;
}

#[tokio::test]
async fn a_change_is_behind_until_the_sidecar_says_that_it_has_it_and_then_tells_how_long_it_took() {
    test("st-change", async |bed| {
        let app = bed.app("app").await?;
        streams(&app).await?;
        let change = async |priority: u32| {
            let change = json!({"spec": {"priority": priority}});
            let params = PatchParams::default();
            bed.api::<ProviderConfig>()
                .patch("openai", &params, &Patch::Merge(&change))
                .await
        };
        change(31).await?;
        bed.condition::<ProviderConfig>("openai", "Ready", "True").await?;
        let measured = eventually(PACED, "the time it took is told", async || {
            let status = status(bed, "openai").await?;
            let took = status.propagation.context("it is not")?;
            ensure!(
                Some(&took.of) == status.revision.as_ref(),
                "of another revision: {took:?}"
            );
            Ok(took)
        })
        .await?;
        note(&format!("live in: p50 {}, p99 {}", measured.p50, measured.p99));

        let pod = bed.api::<Pod>().get("app").await?;
        let stopped = Process::of(&pod, "bowsprit")?.stop()?;
        change(32).await?;
        eventually(PACED, "the sidecar that does not answer is named", async || {
            let sidecars = status(bed, "openai").await?.sidecars.unwrap_or_default();
            ensure!(sidecars.behind == 1 && sidecars.behind_pods == ["app"], "{sidecars:?}");
            Ok(())
        })
        .await?;
        bed.condition::<ProviderConfig>("openai", "Programmed", "False").await?;
        stopped.go_on()?;
        bed.condition::<ProviderConfig>("openai", "Ready", "True").await?;
        let sidecars = status(bed, "openai").await?.sidecars.unwrap_or_default();
        ensure!((sidecars.current, sidecars.behind) == (1, 0), "{sidecars:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_is_referenced_anew_names_the_pods_and_the_remedy_and_leaves_the_others_alone() {
    test("st-secret", async |bed| {
        let mut template = pod_manifest("unused");
        template["metadata"]["name"] = json!(null);
        template["metadata"]["labels"]["app"] = json!("web");
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]},
            },
        });
        bed.apply_one(&deployment).await?;
        let pods = bed.api::<Pod>();
        let name = eventually(LONG, "the Deployment has a pod", async || {
            let all = pods.list(&ListParams::default().labels("app=web")).await?;
            Ok(all.items.first().context("it has none")?.name_any())
        })
        .await?;
        bed.ready(&name).await?;
        bed.condition::<ProviderConfig>("claude", "Ready", "True").await?;
        eventually(PACED, "claude counts the pod", async || {
            let sidecars = status(bed, "claude").await?.sidecars.unwrap_or_default();
            ensure!(sidecars.current == 1, "{sidecars:?}");
            Ok(())
        })
        .await?;
        bed.apply(
            "
apiVersion: v1
kind: Secret
metadata: {name: new}
stringData: {openai: key-of-new}
---
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: other}
spec:
  provider: OpenAI
  endpoint: {baseUrl: \"http://providers.NAMESPACE.svc:9100/v1\", allowHttp: true}
  credentials: [{name: main, secretKeyRef: {name: new, key: openai}}]
  models: [{name: gpt-other}]
",
        )
        .await?;
        let programmed = bed.condition::<ProviderConfig>("other", "Programmed", "False").await?;
        ensure!(programmed.reason == "SecretNotMounted", "{programmed:?}");
        for part in ["new/openai", &name, "kubectl rollout restart deployment/web"] {
            ensure!(programmed.message.contains(part), "{part}: {programmed:?}");
        }
        show(bed, &["describe", "providerconfig", "other"]).await?;
        bed.condition::<ProviderConfig>("claude", "Ready", "True").await?;
        kubectl(&["rollout", "restart", "deployment/web", "-n", &bed.namespace]).await?;
        eventually(LONG, "the remedy helps", async || {
            let conditions = status(bed, "other").await?.conditions;
            let ready = conditions.iter().find(|it| it.type_ == "Programmed").context("none")?;
            ensure!(ready.status == "True", "{ready:?}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_key_that_the_provider_refuses_is_said_on_its_provider_until_another_is_there() {
    test("st-key", async |bed| {
        let app = bed.app("app").await?;
        streams(&app).await?;
        bed.providers()
            .always("anthropic", json!({"status": {"code": 401}}))
            .await?;
        let answer = app.ask("ahoy").await?;
        ensure!(answer.starts_with("Hello from gemini"), "{answer}");
        let resolved = bed
            .condition::<ProviderConfig>("claude", "ResolvedRefs", "False")
            .await?;
        ensure!(resolved.reason == "KeyUnusable", "{resolved:?}");
        for part in ["spec.credentials main", "401 or 403", "replace it", "app"] {
            ensure!(resolved.message.contains(part), "{part}: {resolved:?}");
        }
        ensure!(!resolved.message.contains("key-of-claude"), "{resolved:?}");
        bed.condition::<ProviderConfig>("gemini", "ResolvedRefs", "True")
            .await?;
        let another = json!({"stringData": {"anthropic": "another-key"}});
        bed.api::<Secret>()
            .patch("keys", &PatchParams::default(), &Patch::Merge(&another))
            .await?;
        eventually(LONG, "another key is in the pod", async || {
            let conditions = status(bed, "claude").await?.conditions;
            let resolved = conditions
                .iter()
                .find(|it| it.type_ == "ResolvedRefs")
                .context("none")?;
            ensure!(resolved.status == "True", "{resolved:?}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn at_rest_nothing_is_written_for_a_minute() {
    test("st-rest", async |bed| {
        let app = bed.app("app").await?;
        streams(&app).await?;
        bed.apply(ROUTE).await?;
        bed.condition::<ModelRoute>("smart", "Ready", "True").await?;
        ensure!(route(bed, "smart").await?.sidecars.is_some(), "it counts its sidecars");
        bed.all_in_service(1).await?;
        let here = async || {
            let writes = audit::writes().await?.into_iter();
            Ok(writes
                .filter(|write| write.what.contains(&bed.namespace))
                .collect::<Vec<_>>())
        };
        eventually(LONG, "ten seconds without a write", async || {
            stays(Duration::from_secs(10), "writes", async || here().await)
                .await
                .map(drop)
        })
        .await?;
        let all = stays(Duration::from_mins(1), "writes at rest", async || here().await).await?;
        note(&format!(
            "writes in the namespace, ever: {}; in a minute at rest: 0",
            all.len()
        ));
        Ok(())
    })
    .await;
}
