//! A pod that starts with nothing good to start from: not ready, and it says why.

use anyhow::ensure;
use bowsprit_crds::names;
use bowsprit_e2e::{LONG, Test, eventually, pod_manifest};
use serde_json::json;

#[tokio::test]
async fn a_pod_before_its_first_provider_config_waits_and_then_starts() {
    Test::new("early")
        .bare()
        .run(async |bed| {
            bed.apply_one(&pod_manifest("app")).await?;
            let why = eventually(LONG, "the sidecar says what it waits for", async || {
                let (status, text) = bed
                    .pod_http("GET", "app", names::ADMIN_PORT, "/health/ready", "")
                    .await?;
                ensure!(status == 503, "{status} {text}");
                let (_, text) = bed.pod_http("GET", "app", names::ADMIN_PORT, "/health", "").await?;
                ensure!(text.contains("config"), "{text}");
                Ok(text)
            })
            .await?;
            ensure!(!why.is_empty());
            bed.furnish().await?;
            bed.ready("app").await?;
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn an_account_whose_secret_is_missing_is_skipped_and_named() {
    Test::new("nosecret")
        .run(async |bed| {
            bed.apply(
                "
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: keyless}
spec:
  provider: OpenAI
  priority: 1
  endpoint: {baseUrl: \"http://providers.NAMESPACE.svc:9100/v1\", allowHttp: true}
  credentials: [{name: main, secretKeyRef: {name: not-there, key: key}}]
  models: [{name: gpt-5-mini}]
",
            )
            .await?;
            bed.rendered(|text| text.contains("name: keyless")).await?;
            let app = bed.app("app").await?;
            ensure!(
                app.ask("ahoy").await?.starts_with("Hello from anthropic"),
                "the account without a key is passed over"
            );
            let health = app.health().await?;
            let account = health["providers"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|it| it["name"] == "keyless")
                .cloned();
            ensure!(json!(account).to_string().contains("key"), "{health:#}");
            Ok(())
        })
        .await;
}
