//! Who changed which field of a ProviderConfig stands in the operators' logs, and no secret.

use anyhow::{Result, ensure};
use bowsprit_crds::ProviderConfig;
use bowsprit_e2e::{Bed, SHORT, SYSTEM, eventually, kubectl, test};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

/// The audit lines about this namespace, of all operators.
async fn lines(bed: &Bed) -> Result<Vec<Value>> {
    let selector = "app.kubernetes.io/component=operator";
    let log = kubectl(&["-n", SYSTEM, "logs", "-l", selector, "--tail", "-1"]).await?;
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(lines
        .filter(|line| line["target"] == "audit" && line["namespace"] == *bed.namespace)
        .collect())
}

async fn line(bed: &Bed, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually(SHORT, what, async || {
        let all = lines(bed).await?;
        let found = all.iter().find(|line| fits(line)).cloned();
        found.ok_or_else(|| anyhow::anyhow!("{all:#?}"))
    })
    .await
}

#[tokio::test]
async fn each_change_has_its_line_with_user_and_fields_and_a_dry_run_has_none() {
    test("audit", async |bed| {
        let providers = bed.api::<ProviderConfig>();
        let hidden = json!({"spec": {"priority": 41, "endpoint": {"headers": {"x-team": "cnry-of-a-header"}}}});
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let never = json!({"spec": {"priority": 77}});
        providers.patch("openai", &dry, &Patch::Merge(&never)).await?;
        let patched = providers
            .patch("openai", &PatchParams::default(), &Patch::Merge(&hidden))
            .await?;
        let asked = line(bed, "the change is told", |line| {
            line["operation"] == "UPDATE" && line["name"] == "openai"
        })
        .await?;
        let changes = asked["changes"].as_str().unwrap_or_default();
        ensure!(
            changes == "spec.endpoint.headers.x-team: + (hidden); spec.priority: 30 -> 41",
            "{changes}"
        );
        ensure!(asked["user"].as_str().is_some_and(|user| !user.is_empty()), "{asked}");

        let generation = patched.metadata.generation;
        let seen = line(bed, "what is stored is told", |line| {
            line["message"] == "change seen" && line["name"] == "openai" && line["generation"] == json!(generation)
        })
        .await?;
        ensure!(
            seen["manager"].as_str().is_some_and(|manager| !manager.is_empty()),
            "{seen}"
        );

        providers.delete("openai", &DeleteParams::default()).await?;
        line(bed, "the deletion is told", |line| {
            line["operation"] == "DELETE" && line["name"] == "openai"
        })
        .await?;
        let all = json!(lines(bed).await?).to_string();
        ensure!(!all.contains("cnry") && !all.contains("-> 77"), "{all}");
        Ok(())
    })
    .await;
}
