//! Who gets a sidecar, and what it looks like.

use anyhow::{Context, ensure};
use bowsprit_crds::names;
use bowsprit_e2e::{Bed, LONG, Test, eventually, pod_manifest, test};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

async fn spec(bed: &Bed, manifest: &Value) -> anyhow::Result<Value> {
    Ok(json!(bed.apply_one(manifest).await?))
}

fn has_sidecar(pod: &Value) -> bool {
    let containers = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    containers.into_iter().any(|it| it["name"] == names::SIDECAR_CONTAINER)
}

/// A pod whose label says this, or nothing.
fn labelled(name: &str, inject: Option<&str>) -> Value {
    let mut manifest = pod_manifest(name);
    manifest["metadata"]["labels"] = inject.map_or(json!({}), |value| json!({names::LABEL_INJECT: value}));
    manifest
}

#[tokio::test]
async fn a_pod_asks_for_itself() {
    Test::new("optin")
        .bare()
        .run(async |bed| {
            ensure!(
                has_sidecar(&spec(bed, &labelled("asks", Some("true"))).await?),
                "it asked"
            );
            ensure!(
                !has_sidecar(&spec(bed, &labelled("silent", None)).await?),
                "it did not ask"
            );
            ensure!(
                !has_sidecar(&spec(bed, &labelled("refuses", Some("false"))).await?),
                "it refused"
            );
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn a_namespace_asks_for_its_pods_and_a_pod_may_refuse() {
    Test::new("nsoptin")
        .bare()
        .label(names::LABEL_INJECT, "true")
        .run(async |bed| {
            ensure!(
                has_sidecar(&spec(bed, &labelled("silent", None)).await?),
                "its namespace asked"
            );
            ensure!(
                has_sidecar(&spec(bed, &labelled("asks", Some("true"))).await?),
                "both asked"
            );
            ensure!(
                !has_sidecar(&spec(bed, &labelled("refuses", Some("false"))).await?),
                "the pod wins"
            );
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn a_namespace_with_restricted_pod_security_takes_an_injected_pod() {
    Test::new("restricted")
        .label("pod-security.kubernetes.io/enforce", "restricted")
        .run(async |bed| {
            let mut manifest = pod_manifest("app");
            manifest["spec"]["containers"][0]["securityContext"] = json!({
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "runAsNonRoot": true,
                "seccompProfile": {"type": "RuntimeDefault"},
            });
            let app = bed.app_from(&manifest).await?;
            ensure!(app.ask("ahoy").await?.starts_with("Hello from anthropic"));
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn the_apps_environment_is_completed_and_never_overwritten() {
    Test::new("env").run(async |bed| {
        let mut manifest = pod_manifest("app");
        manifest["spec"]["containers"][0]["env"] =
            json!([{"name": "OPENAI_API_KEY", "value": "mine"}, {"name": "ANTHROPIC_BASE_URL", "value": "http://mine"}]);
        let app = bed.app_from(&manifest).await?;
        let env: Value = serde_json::from_str(&app.python("import json, os; print(json.dumps(dict(os.environ)))").await?)?;
        ensure!(env["OPENAI_API_KEY"] == "mine" && env["ANTHROPIC_BASE_URL"] == "http://mine", "{env:#}");
        let base = env["OPENAI_BASE_URL"].as_str().unwrap_or_default();
        ensure!(base.ends_with(":4000/v1"), "{env:#}");
        ensure!(env["GOOGLE_GEMINI_BASE_URL"].as_str().is_some_and(|url| url.ends_with(":4000")), "{env:#}");
        // The app's own key means nothing to a provider and goes no further than the sidecar.
        app.ask("ahoy").await?;
        ensure!(bed.providers().requests("anthropic").await?[0]["key"] == "key-of-claude");

        let mut manifest = pod_manifest("left-alone");
        manifest["metadata"]["annotations"] = json!({names::ANNOTATION_INJECT_ENV: "false"});
        let pod = spec(bed, &manifest).await?;
        ensure!(has_sidecar(&pod) && pod["spec"]["containers"][0]["env"].is_null(), "{pod:#}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_sidecar_gets_the_keys_and_no_token_and_the_app_the_reverse() {
    test("secrets", async |bed| {
        let app = bed.app("app").await?;
        let pod = json!(bed.api::<Pod>().get("app").await?);
        let sidecar = &pod["spec"]["initContainers"][0];
        let token = "/var/run/secrets/kubernetes.io/serviceaccount";
        let at = |path: &str| {
            let mounts = sidecar["volumeMounts"].as_array().into_iter().flatten();
            mounts
                .filter(|mount| mount["mountPath"] == path)
                .cloned()
                .collect::<Vec<_>>()
        };
        let masked = at(token);
        ensure!(
            masked.len() == 1,
            "one thing is mounted where the token would be: {sidecar:#}"
        );
        let volumes = pod["spec"]["volumes"].as_array().context("no volumes")?;
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == masked[0]["name"])
            .context("no such volume")?;
        ensure!(volume["emptyDir"].is_object(), "and it is empty: {volume:#}");
        ensure!(at(names::SECRETS_DIR).len() == 1, "{sidecar:#}");

        let look = format!(
            "import os; print(os.path.exists('{token}/token'), os.path.exists('{}'))",
            names::SECRETS_DIR
        );
        let seen = app.python(&look).await?;
        ensure!(
            seen.trim() == "True False",
            "the app keeps its token and sees no key: {seen}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_second_call_changes_nothing() {
    test("idempotent", async |bed| {
        let first = json!(bed.app("app").await?.object().await?);
        // As the apiserver does when a later webhook changes the pod: the injected pod goes through the webhook again.
        let mut again = first.clone();
        again["metadata"] = json!({"name": "again", "labels": first["metadata"]["labels"], "annotations": first["metadata"]["annotations"]});
        again["status"] = Value::Null;
        again["spec"]["nodeName"] = Value::Null;
        let again = spec(bed, &without_nulls(again)).await?;
        ensure!(again["spec"]["initContainers"].as_array().map(Vec::len) == Some(1), "{:#}", again["spec"]);
        for list in ["initContainers", "volumes"] {
            let names = |pod: &Value| pod["spec"][list].as_array().into_iter().flatten().map(|it| it["name"].to_string()).collect::<Vec<_>>();
            ensure!(names(&first) == names(&again), "{list}: {:#}", again["spec"]);
        }
        let env = |pod: &Value| pod["spec"]["containers"][0]["env"].as_array().map(Vec::len);
        ensure!(env(&first) == env(&again), "{:#}", again["spec"]["containers"]);
        Ok(())
    })
    .await;
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, it)| !it.is_null())
            .map(|(key, it)| (key, without_nulls(it)))
            .collect(),
        other => other,
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_its_path() {
    Test::new("refused")
        .bare()
        .run(async |bed| {
            let mut taken = pod_manifest("taken");
            taken["spec"]["containers"][0]["ports"] = json!([{"containerPort": 4000}]);
            let mut misspelt = pod_manifest("misspelt");
            misspelt["metadata"]["annotations"] = json!({"bowsprit.dev/sidecar-memory-limit": "lots"});
            for (manifest, words) in [
                (taken, "ports[0].containerPort"),
                (misspelt, "bowsprit.dev/sidecar-memory-limit"),
            ] {
                let (status, answer) = bed.try_create(&manifest).await?;
                ensure!(
                    (400..500).contains(&status) && answer.contains(words),
                    "{status} {answer}"
                );
            }
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn annotations_change_one_pods_sidecar() {
    Test::new("overrides")
        .bare()
        .run(async |bed| {
            let mut manifest = pod_manifest("app");
            manifest["metadata"]["annotations"] =
                json!({"bowsprit.dev/sidecar-memory-limit": "77Mi", "bowsprit.dev/sidecar-log-level": "debug"});
            let pod = spec(bed, &manifest).await?;
            let sidecar = &pod["spec"]["initContainers"][0];
            ensure!(sidecar["resources"]["limits"]["memory"] == "77Mi", "{sidecar:#}");
            ensure!(sidecar["env"].to_string().contains("debug"), "{sidecar:#}");
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn a_pod_selector_keeps_an_account_to_its_pods() {
    test("selector", async |bed| {
        bed.apply(
            "
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: picky}
spec:
  provider: OpenAI
  priority: 1
  endpoint: {baseUrl: \"http://providers.NAMESPACE.svc:9100/v1\", allowHttp: true}
  credentials: [{name: main, secretKeyRef: {name: keys, key: openai}}]
  models: [{name: gpt-5-mini}]
  podSelector: {matchLabels: {tier: web}}
",
        )
        .await?;
        bed.rendered(|text| text.contains("name: picky")).await?;
        let plain = bed.app("plain").await?;
        let mut manifest = pod_manifest("web");
        manifest["metadata"]["labels"]["tier"] = json!("web");
        let web = bed.app_from(&manifest).await?;
        ensure!(plain.ask("ahoy").await?.starts_with("Hello from anthropic"));
        eventually(LONG, "the selected pod uses the account", async || {
            let answer = web.ask("ahoy").await?;
            ensure!(answer.starts_with("Hello from openai"), "{answer}");
            Ok(())
        })
        .await
    })
    .await;
}
