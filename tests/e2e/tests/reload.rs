//! A change of a ProviderConfig reaches running pods without a restart.

use std::time::{Duration, Instant};

use anyhow::ensure;
use bowsprit_crds::ProviderConfig;
use bowsprit_e2e::{SHORT, eventually, note, test};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::json;

#[tokio::test]
async fn a_changed_provider_config_is_live_in_the_running_pod() {
    test("reload", async |bed| {
        let app = bed.app("app").await?;
        ensure!(app.ask("ahoy").await?.starts_with("Hello from anthropic"));
        let before = bed.api::<Pod>().get("app").await?;

        // Asked of the sidecar's own report, not by questions: Python's start would be most of the time measured.
        let changes = [false, true, false].map(|enabled| json!({"spec": {"enabled": enabled}}));
        let mut times = Vec::new();
        for change in changes {
            let begun = Instant::now();
            let patch = Patch::Merge(&change);
            bed.api::<ProviderConfig>()
                .patch("claude", &PatchParams::default(), &patch)
                .await?;
            let served = change["spec"]["enabled"] == true;
            eventually(SHORT, "the sidecar has the change", async || {
                let health = app.health().await?;
                let names = health["providers"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|it| it["name"].clone());
                ensure!(names.into_iter().any(|name| name == "claude") == served, "{health:#}");
                Ok(())
            })
            .await?;
            times.push(begun.elapsed());
        }
        note(&format!("a change was live after {times:.1?}"));
        let best = times.iter().min().copied().unwrap_or_default();
        // The kubelet's own period is 10 s and more: only with the nudge can a change be there this soon.
        ensure!(best < Duration::from_secs(5), "a change took {times:?}");

        ensure!(app.ask("ahoy").await?.starts_with("Hello from gemini"));
        let after = bed.api::<Pod>().get("app").await?;
        ensure!(before.metadata.uid == after.metadata.uid, "the pod is the same");
        let restarts = json!(after.status)["initContainerStatuses"][0]["restartCount"].clone();
        ensure!(restarts == 0, "the sidecar restarted {restarts} times");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_status_is_programmed_once_every_sidecar_has_the_generation() {
    test("programmed", async |bed| {
        let _one = bed.app("one").await?;
        let _two = bed.app("two").await?;
        let patch = json!({"spec": {"priority": 5}});
        bed.api::<ProviderConfig>()
            .patch("openai", &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        bed.in_service("openai", 2).await
    })
    .await;
}
