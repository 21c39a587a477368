//! Providers are only at the hosts that the cluster allows: a change that leads elsewhere is refused, and what was there before
//! stays in service and says it.

use anyhow::{Result, ensure};
use bowsprit_crds::ProviderConfig;
use bowsprit_e2e::{Bed, LONG, Release, Test, eventually};
use serde_json::{Value, json};

/// An account at a host.
fn account(name: &str, base_url: &str) -> Value {
    json!({
        "apiVersion": bowsprit_crds::API_VERSION, "kind": "ProviderConfig", "metadata": {"name": name},
        "spec": {"provider": "OpenAICompatible", "endpoint": {"baseUrl": base_url}, "retry": {"maxAttempts": 2}},
    })
}

async fn refused(bed: &Bed, object: &Value) -> Result<String> {
    let (status, answer) = bed.try_create(object).await?;
    ensure!(status == 422, "{status} {answer}");
    Ok(answer)
}

#[tokio::test]
async fn a_provider_is_refused_where_the_cluster_does_not_let_it_be_and_one_that_is_there_goes_on() {
    // Alone: the operators are replaced.
    Test::new("hosts")
        .alone()
        .run(async |bed| {
            let app = bed.app("app").await?;
            bed.apply_one(&account("old", "https://models.example.com/v1")).await?;
            bed.condition::<ProviderConfig>("old", "Accepted", "True").await?;
            let this = Release::current().await?;
            let limited = this
                .clone()
                .with("allowedHosts", json!(["api.openai.com", "*.models.corp"]));
            let outcome = async {
                limited.install(bed).await?;
                limits(bed).await?;
                // Nothing that runs is cut off, the scripted providers' host among what is not allowed.
                ensure!(app.ask("ahoy").await?.starts_with("Hello from anthropic"));
                Ok(())
            };
            let outcome: Result<()> = outcome.await;
            this.install(bed).await?;
            outcome?;
            bed.condition::<ProviderConfig>("old", "Accepted", "True")
                .await
                .map(drop)
        })
        .await;
}

async fn limits(bed: &Bed) -> Result<()> {
    let elsewhere = account("new", "https://collects-keys.example.com/v1");
    eventually(LONG, "the apiserver asks about hosts", async || {
        let answer = refused(bed, &elsewhere).await?;
        for words in [
            "spec.endpoint.baseUrl",
            "collects-keys.example.com",
            "api.openai.com, *.models.corp",
            "allowedHosts",
        ] {
            ensure!(answer.contains(words), "{words:?} is not in {answer}");
        }
        Ok(())
    })
    .await?;
    let (status, answer) = bed.try_create(&account("new", "https://llama.models.corp/v1")).await?;
    ensure!(status == 201, "{status} {answer}");
    let condition = bed.condition::<ProviderConfig>("old", "Accepted", "False").await?;
    ensure!(condition.message.contains("models.example.com"), "{condition:?}");
    // What does not move it may change.
    let mut calmer = account("old", "https://models.example.com/v1");
    calmer["spec"]["retry"]["maxAttempts"] = json!(3);
    let (status, answer, _) = bed.dry_run_apply(&calmer).await?;
    ensure!(status == 200, "{status} {answer}");
    let moved = account("old", "https://elsewhere.example.com/v1");
    let (status, answer, _) = bed.dry_run_apply(&moved).await?;
    ensure!(status == 422 && answer.contains("allowedHosts"), "{status} {answer}");
    Ok(())
}
