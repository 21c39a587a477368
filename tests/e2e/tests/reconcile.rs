//! The operator turns a namespace's objects into one ConfigMap, and says on each object how it went.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use bowsprit_core::config::{self, Scope};
use bowsprit_crds::{ModelRoute, ProviderConfig, names};
use bowsprit_e2e::{Bed, PACED, SHORT, eventually, stays, test};
use k8s_openapi::api::core::v1::ConfigMap;
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

fn data(map: &ConfigMap, key: &str) -> String {
    map.data
        .as_ref()
        .and_then(|data| data.get(key))
        .cloned()
        .unwrap_or_default()
}

#[tokio::test]
async fn a_namespaces_objects_become_one_config_that_sidecars_accept() {
    test("configmap", async |bed| {
        bed.apply(ROUTE).await?;
        let map = bed.rendered(|text| text.contains("name: smart")).await?;
        let text = data(&map, names::CONFIG_KEY);
        let config = config::load(
            &text,
            &Scope::Cluster {
                pod_labels: BTreeMap::new(),
            },
        )
        .map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let providers: Vec<_> = config.providers.iter().map(|it| it.name.as_str()).collect();
        ensure!(providers == ["claude", "gemini", "openai"], "{providers:?}");
        ensure!(config.routes.len() == 1, "{:?}", config.routes);
        ensure!(data(&map, names::REVISION_KEY) == config::revision(&text), "{map:?}");
        ensure!(
            data(&map, names::FORMAT_KEY) == names::FORMAT_VERSION.to_string(),
            "{map:?}"
        );
        ensure!(!text.contains("key-of-"), "no key is ever in it: {text}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_sequence_grows_with_each_change_and_a_deleted_object_goes() {
    test("sequence", async |bed| {
        let before = bed.rendered(|text| text.contains("name: openai")).await?;
        bed.api::<ProviderConfig>()
            .delete("openai", &DeleteParams::default())
            .await?;
        let after = bed.rendered(|text| !text.contains("name: openai")).await?;
        let number = |map: &ConfigMap| {
            data(map, names::SEQUENCE_KEY)
                .parse::<u64>()
                .context("the sequence is no number")
        };
        ensure!(number(&after)? > number(&before)?, "{before:?} {after:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_route_whose_target_is_not_there_is_not_ready() {
    test("not-ready", async |bed| {
        bed.apply(&ROUTE.replace("provider: gemini", "provider: gone")).await?;
        bed.condition::<ModelRoute>("smart", "Programmed", "True").await?;
        let ready = bed.condition::<ModelRoute>("smart", "Ready", "False").await?;
        ensure!(
            ready.reason == "RefNotFound" && ready.message.contains("gone"),
            "{ready:?}"
        );
        bed.apply(ROUTE).await?;
        bed.condition::<ModelRoute>("smart", "Ready", "True").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn each_object_says_that_it_is_accepted_resolved_and_programmed() {
    test("conditions", async |bed| {
        bed.apply(ROUTE).await?;
        for type_ in ["Accepted", "ResolvedRefs", "Programmed", "Ready"] {
            for name in ["claude", "gemini", "openai"] {
                let condition = bed.condition::<ProviderConfig>(name, type_, "True").await?;
                ensure!(
                    !condition.reason.is_empty() && !condition.message.is_empty(),
                    "{condition:?}"
                );
            }
            bed.condition::<ModelRoute>("smart", type_, "True").await?;
        }
        let revision = data(
            &bed.rendered(|text| text.contains("name: smart")).await?,
            names::REVISION_KEY,
        );
        eventually(
            PACED,
            "the status names the revision that first carried it",
            async || {
                let status = bed.api::<ModelRoute>().get("smart").await?.status.unwrap_or_default();
                ensure!(status.revision.as_ref() == Some(&revision), "{status:?}");
                Ok(())
            },
        )
        .await
    })
    .await;
}

#[tokio::test]
async fn a_reference_to_nothing_is_said_on_the_object_and_disturbs_nobody() {
    test("badref", async |bed| {
        let app = bed.app("app").await?;
        bed.apply(
            "
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: lost}
spec:
  provider: OpenAI
  priority: 1
  endpoint: {baseUrl: \"http://providers.NAMESPACE.svc:9100/v1\", allowHttp: true}
  credentials: [{name: main, secretKeyRef: {name: keys, key: openai}}]
  models: [{name: other}]
  fallbackProviders: [nobody]
",
        )
        .await?;
        let condition = bed.condition::<ProviderConfig>("lost", "ResolvedRefs", "False").await?;
        ensure!(condition.message.contains("nobody"), "{condition:?}");
        ensure!(
            condition.message.contains("fallbackProviders"),
            "it says where: {condition:?}"
        );
        bed.condition::<ProviderConfig>("claude", "ResolvedRefs", "True")
            .await?;
        eventually(SHORT, "an Event says so, too", async || {
            let events = bed.events("lost").await?;
            ensure!(events.iter().any(|event| event.contains("nobody")), "{events:?}");
            Ok(())
        })
        .await?;
        ensure!(app.ask("ahoy").await?.starts_with("Hello from anthropic"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_written_at_rest() {
    test("atrest", async |bed| {
        let _app = bed.app("app").await?;
        // Until its sidecar is counted, each is in service in none.
        bed.all_in_service(1).await?;
        // What is still on its way settles first.
        eventually(SHORT, "three seconds without a write", async || {
            stays(Duration::from_secs(3), "resource versions", async || {
                versions(bed).await
            })
            .await
            .map(drop)
        })
        .await?;
        stays(Duration::from_secs(8), "resource versions at rest", async || {
            versions(bed).await
        })
        .await
        .map(drop)
    })
    .await;
}

/// The versions of what the operator writes.
async fn versions(bed: &Bed) -> anyhow::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for object in bed.api::<ProviderConfig>().list(&ListParams::default()).await? {
        all.push((object.name_any(), object.resource_version().unwrap_or_default()));
    }
    let map = bed.api::<ConfigMap>().get(names::CONFIG_MAP).await?;
    all.push((map.name_any(), map.resource_version().unwrap_or_default()));
    Ok(all)
}

#[tokio::test]
async fn a_config_edited_by_hand_is_put_right() {
    test("handedit", async |bed| {
        let good = data(
            &bed.rendered(|text| text.contains("name: openai")).await?,
            names::CONFIG_KEY,
        );
        let broken = json!({"data": {names::CONFIG_KEY: "kind: ["}});
        bed.api::<ConfigMap>()
            .patch(names::CONFIG_MAP, &PatchParams::default(), &Patch::Merge(&broken))
            .await?;
        bed.rendered(|text| text == good).await?;
        bed.api::<ConfigMap>()
            .delete(names::CONFIG_MAP, &DeleteParams::default())
            .await?;
        bed.rendered(|text| text == good).await?;
        Ok(())
    })
    .await;
}
