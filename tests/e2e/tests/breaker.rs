//! A provider that keeps failing is left alone for a while, and everybody can see it.

use anyhow::{Context, ensure};
use bowsprit_e2e::{LONG, eventually, quick_breaker, test};
use serde_json::{Value, json};

#[tokio::test]
async fn it_opens_after_the_configured_failures_and_the_provider_is_not_asked_again() {
    test("breakeropen", async |bed| {
        bed.apply(&quick_breaker("10m")).await?;
        bed.rendered(|text| text.contains("openFor: 10m")).await?;
        let app = bed.app("app").await?;
        bed.providers()
            .always("anthropic", json!({"status": {"code": 500}}))
            .await?;
        for line in app.ask_often(10, "ahoy").await? {
            ensure!(line.ok, "{line:?}");
        }
        let asked = bed.providers().asked("anthropic").await?;
        ensure!(asked == 3, "a threshold of 3 means 3 requests, not {asked}");

        let health = app.health().await?;
        let breaker = breaker(&health, "claude").context("claude's breaker is not at /health")?;
        ensure!(breaker == "open", "{health:#}");
        let metric = app.metric("bowsprit_breaker_state", &["provider=\"claude\""]).await?;
        ensure!((metric - 2.0).abs() < f64::EPSILON, "the metric says {metric}");
        // What `kubectl get providerconfigs` shows.
        eventually(LONG, "status.circuits counts the open breaker", async || {
            let object = bed.api::<bowsprit_crds::ProviderConfig>().get("claude").await?;
            let circuits = json!(object.status.unwrap_or_default().circuits);
            ensure!(circuits["open"] == 1, "{circuits}");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn it_closes_again_when_a_probe_succeeds() {
    test("breakerheals", async |bed| {
        bed.apply(&quick_breaker("2s")).await?;
        bed.rendered(|text| text.contains("openFor: 2s")).await?;
        let app = bed.app("app").await?;
        bed.providers()
            .always("anthropic", json!({"status": {"code": 500}}))
            .await?;
        app.ask_often(4, "ahoy").await?;
        bed.providers().always("anthropic", json!({"answer": {}})).await?;
        eventually(LONG, "claude answers again", async || {
            let answer = app.ask("ahoy").await?;
            ensure!(answer.starts_with("Hello from anthropic"), "{answer}");
            Ok(())
        })
        .await?;
        let health = app.health().await?;
        ensure!(breaker(&health, "claude") == Some("closed"), "{health:#}");
        Ok(())
    })
    .await;
}

fn breaker<'a>(health: &'a Value, provider: &str) -> Option<&'a str> {
    let providers = health["providers"].as_array()?;
    providers.iter().find(|it| it["name"] == provider)?["models"][0]["breaker"].as_str()
}
