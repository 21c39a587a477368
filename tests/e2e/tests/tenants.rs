//! Two namespaces side by side: nothing that one has kept, limited or forbidden is ever seen in the other.

use anyhow::{Result, ensure};
use bowsprit_crds::names;
use bowsprit_e2e::{Bed, kubectl, test};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use crate::cli::{bowsprit, show};
use crate::usage::{CACHED, ask, asked, in_force, of_cache, until_limited};

/// The route that both have; what is said of it is one namespace's alone.
const FEW: &str = r"
---
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: few}
spec:
  match: {models: [few]}
  targets: [{provider: claude, model: claude-sonnet-4-5}]
";
const LIMIT: &str = "  limits: [{name: of-one-alone, requestsPerMinute: 1}]";
const RULE: &str = r#"
---
apiVersion: bowsprit.dev/v1alpha1
kind: UsagePolicy
metadata: {name: rules}
spec:
  access:
    rules: [{name: of-one-alone-too, allow: '!request.model.startsWith("gemini")'}]
"#;
/// The words by which the other would be known to have seen them.
const OF_ONE: &str = "of-one-alone";

#[tokio::test]
async fn no_kept_answer_limit_or_rule_of_one_namespace_is_ever_seen_in_another() {
    test("tenants", async |one| {
        let two = Bed {
            client: one.client.clone(),
            namespace: format!("{}-other", one.namespace),
        };
        kubectl(&["create", "namespace", &two.namespace]).await?;
        let outcome = side_by_side(one, &two).await;
        kubectl(&["delete", "namespace", &two.namespace, "--wait=false"]).await?;
        outcome
    })
    .await;
}

async fn side_by_side(one: &Bed, two: &Bed) -> Result<()> {
    two.furnish().await?;
    let (ones, twos) = (one.app("app").await?, two.app("app").await?);
    let objects = format!("{CACHED}{FEW}{LIMIT}{RULE}");
    in_force(
        one,
        &ones,
        &objects,
        &["name: kept", "name: of-one-alone\n", "name: of-one-alone-too"],
    )
    .await?;
    in_force(two, &twos, &format!("{CACHED}{FEW}"), &["name: kept", "name: few"]).await?;

    // Kept answers.
    let miss = "bowsprit; fwd=miss";
    ensure!(of_cache(&ones).await?.0 == miss);
    ensure!(of_cache(&ones).await?.0.starts_with("bowsprit; hit"));
    ensure!(
        of_cache(&twos).await?.0 == miss,
        "the same request in another namespace is another"
    );
    asked(one, 1).await?;
    asked(two, 1).await?;
    let cleared = bowsprit(two, &["cache", "clear", "--all"]).await?;
    show("cache clear --all", &cleared);
    ensure!(cleared.out.contains("1 answer cleared, at 1 sidecar."), "{cleared:#?}");
    ensure!(
        of_cache(&ones).await?.0.starts_with("bowsprit; hit"),
        "the other one's are as they were"
    );
    ensure!(of_cache(&twos).await?.0 == miss);

    // Limits.
    let refused = until_limited(&ones, "few").await?;
    ensure!(
        refused.status == 429 && refused.header("x-bowsprit-limit") == "of-one-alone",
        "{refused:?}"
    );
    for _ in 0..3 {
        let answer = ask(&twos, "few", json!({})).await?;
        ensure!(answer.status == 200, "{answer:?}");
    }

    // Rules.
    let refused = ask(&ones, "gemini-2.5-flash", json!({})).await?;
    ensure!(
        refused.status == 403 && refused.body.contains("of-one-alone-too"),
        "{refused:?}"
    );
    let answer = ask(&twos, "gemini-2.5-flash", json!({})).await?;
    ensure!(answer.status == 200, "{answer:?}");

    // And nothing of it stands where the other could read it.
    let config = two.api::<ConfigMap>().get(names::CONFIG_MAP).await?;
    for (place, text) in [
        ("the config", format!("{:?}", config.data)),
        ("/health", twos.admin("/health").await?),
        ("/metrics", twos.admin("/metrics").await?),
        ("status", bowsprit(two, &["status"]).await?.out),
    ] {
        ensure!(!text.contains(OF_ONE), "{place} of the other names it: {text}");
    }
    Ok(())
}
