//! What is left of an error budget stands on its object: exactly what the apps' requests came to.

use anyhow::{Context, Result, ensure};
use bowsprit_crds::{ModelRoute, ProviderConfig};
use bowsprit_e2e::{App, TOLD, eventually, kubectl, note, test};
use serde_json::json;

const ROUTE: &str = r#"
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: counted}
spec:
  match: {models: [counted]}
  targets: [{provider: gemini}]
  slo: {availability: "90", overWindow: 168h}
"#;

/// Asks so often. Says how many were answered.
async fn ask(app: &App<'_>, times: u32) -> Result<usize> {
    let times = times.to_string();
    let flags = [
        "--sdk-retries",
        "0",
        "--model",
        "counted",
        "--every",
        "0.02",
        "--count",
        &times,
        "ahoy",
    ];
    let lines = app.app(&flags).await?.lines()?;
    Ok(lines.iter().filter(|line| line.ok).count())
}

#[tokio::test]
async fn what_is_left_of_an_error_budget_is_exactly_what_requests_came_to_in_all_sidecars() {
    test("budget", async |bed| {
        bed.apply(ROUTE).await?;
        bed.rendered(|text| text.contains("overWindow: 168h")).await?;
        let (one, two) = (bed.app("one").await?, bed.app("two").await?);
        bed.condition::<ModelRoute>("counted", "Ready", "True").await?;
        ensure!(ask(&one, 20).await? == 20 && ask(&two, 19).await? == 19);
        bed.providers()
            .always("gemini", json!({"status": {"code": 500}}))
            .await?;
        ensure!(ask(&one, 1).await? == 0 && ask(&two, 2).await? == 0);

        let slo = eventually(TOLD, "the status says what was counted", async || {
            let object = bed.api::<ModelRoute>().get("counted").await?;
            let slo = object.status.and_then(|status| status.slo).context("it says nothing")?;
            let availability = slo.availability.as_ref().context("nothing of availability")?;
            ensure!((availability.good, availability.bad) == (39, 3), "{slo:?}");
            Ok(slo)
        })
        .await?;
        let availability = slo.availability.context("gone")?;
        // 3 of 42 are 71.4 % of the ten percent that may be bad.
        ensure!(availability.budget_remaining_percent == 28, "{availability:?}");
        ensure!(
            availability.measured == "92.857" && availability.objective == "90",
            "{availability:?}"
        );
        ensure!(slo.first_token.is_none() && slo.sidecars == 2 && slo.since <= slo.as_of);

        let shown = kubectl(&["-n", &bed.namespace, "get", "modelroute", "counted", "-o", "wide"]).await?;
        ensure!(shown.contains("BUDGET") && shown.contains("28"), "{shown}");
        note(&shown);
        note(&kubectl(&["-n", &bed.namespace, "describe", "modelroute", "counted"]).await?);
        let nobodys = bed.api::<ProviderConfig>().get("claude").await?;
        ensure!(nobodys.status.is_some_and(|status| status.slo.is_none()));
        Ok(())
    })
    .await;
}
