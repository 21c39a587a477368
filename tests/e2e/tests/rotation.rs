//! A key is rotated in its Secret: running pods use the new one, and nothing shows either.

use anyhow::ensure;
use bowsprit_e2e::{LONG, eventually, note, test};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{ListParams, LogParams, Patch, PatchParams};
use serde_json::json;

#[tokio::test]
async fn a_rotated_key_is_used_by_the_running_pod() {
    test("rotation", async |bed| {
        let app = bed.app("app").await?;
        app.ask("ahoy").await?;
        let new = json!({"stringData": {"anthropic": "rotated-key"}});
        bed.api::<Secret>()
            .patch("keys", &PatchParams::default(), &Patch::Merge(&new))
            .await?;
        let begun = std::time::Instant::now();
        eventually(LONG, "the provider sees the new key", async || {
            app.ask("ahoy").await?;
            let requests = bed.providers().requests("anthropic").await?;
            let last = requests.last().map(|request| request["key"].clone());
            ensure!(last == Some(json!("rotated-key")), "the last came with {last:?}");
            Ok(())
        })
        .await?;
        note(&format!("a rotated key was used after {:.1?}", begun.elapsed()));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_key_shows_nowhere_but_at_its_provider() {
    test("canary", async |bed| {
        let canary = "canary-7f3e9b";
        let new = json!({"stringData": {"anthropic": canary, "gemini": canary, "openai": canary}});
        bed.api::<Secret>()
            .patch("keys", &PatchParams::default(), &Patch::Merge(&new))
            .await?;
        let mut manifest = bowsprit_e2e::pod_manifest("app");
        manifest["metadata"]["annotations"] = json!({"bowsprit.dev/sidecar-log-level": "trace"});
        let app = bed.app_from(&manifest).await?;
        app.ask("ahoy").await?;
        bed.providers()
            .always("anthropic", json!({"status": {"code": 401}}))
            .await?;
        bed.providers()
            .always("gemini", json!({"status": {"code": 403, "message": "bad key"}}))
            .await?;
        app.ask("ahoy").await?;
        let asked = bed.providers().requests("anthropic").await?;
        ensure!(
            asked.iter().all(|request| request["key"] == canary),
            "the canary must have flown"
        );

        let params = LogParams {
            container: Some("bowsprit".into()),
            ..LogParams::default()
        };
        let mut places = vec![
            ("the sidecar's log", bed.api::<Pod>().logs("app", &params).await?),
            ("/health", app.admin("/health").await?),
            ("/metrics", app.admin("/metrics").await?),
            (
                "the app's environment",
                app.python("import os; print(os.environ)").await?,
            ),
        ];
        for map in bed.api::<ConfigMap>().list(&ListParams::default()).await? {
            places.push(("a ConfigMap", format!("{:?} {:?}", map.data, map.binary_data)));
        }
        for name in ["claude", "gemini", "openai"] {
            let object = bed.api::<bowsprit_crds::ProviderConfig>().get(name).await?;
            places.push(("a ProviderConfig", json!(object).to_string()));
            places.push(("an Event", bed.events(name).await?.join("\n")));
        }
        for (place, text) in places {
            ensure!(!text.contains(canary), "{place} shows a key: {text}");
        }
        Ok(())
    })
    .await;
}
