//! Requests that are answered later: a job, whose provider is down and whose sidecar is killed, and a batch, which is paid when its results
//! are fetched.

use anyhow::{Context, Result, ensure};
use bowsprit_crds::{UsagePolicy, names};
use bowsprit_e2e::machine::Process;
use bowsprit_e2e::{App, Bed, LONG, TOLD, Test, eventually, test};
use serde_json::{Value, json};

use crate::cli::{bowsprit, show, until};
use crate::cli_ledger::with_ledger;
use crate::usage::in_force;

/// What the app asks of its jobs.
async fn jobs(app: &App<'_>, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
    app.call(method, path, &json!({}), body.as_ref()).await?.json()
}

#[tokio::test]
async fn a_job_outlives_an_outage_of_its_provider_and_the_end_of_its_sidecar() {
    test("background", async |bed| {
        let app = bed.app("app").await?;
        for provider in ["anthropic", "gemini", "openai"] {
            bed.providers()
                .always(provider, json!({"status": {"code": 503}}))
                .await?;
        }
        let request = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "ahoy"}]});
        let body = json!({"path": "/v1/chat/completions", "request": request, "ttl": "1h", "maxAttempts": 100});
        let job = jobs(&app, "POST", "/jobs", Some(body)).await?;
        let path = format!(
            "/jobs/{}",
            job["id"].as_str().with_context(|| format!("not accepted: {job}"))?
        );
        eventually(LONG, "it was tried", async || {
            let job = jobs(&app, "GET", &path, None).await?;
            ensure!(job["last"]["status"] == 503, "{job}");
            Ok(())
        })
        .await?;
        listed_and_given_up(bed, &app).await?;
        let before = app.restarts().await?;
        Process::of(&app.object().await?, names::SIDECAR_CONTAINER)?.signal("KILL")?;
        eventually(LONG, "the sidecar runs again", async || {
            let now = app.restarts().await?;
            ensure!(now > before, "{now} restarts");
            app.health().await.map(drop)
        })
        .await?;
        let job = jobs(&app, "GET", &path, None).await?;
        ensure!(job["status"] == "queued" || job["status"] == "running", "{job}");
        let attempts = job["attempts"].as_u64().unwrap_or_default();
        ensure!(attempts >= 1, "what was tried before is not forgotten: {job}");
        bed.providers().reset().await?;
        // The breakers were open for a minute, and its back-off comes on top.
        eventually(TOLD, "it is answered", async || {
            let job = jobs(&app, "GET", &path, None).await?;
            ensure!(job["status"] == "done", "{job}");
            Ok(())
        })
        .await?;
        let answer = jobs(&app, "GET", &format!("{path}/answer"), None).await?;
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
        ensure!(text.contains("ahoy"), "{answer}");
        let deleted = jobs(&app, "DELETE", &path, None).await?;
        ensure!(deleted["deleted"] == true && deleted["status"] == "done", "{deleted}");
        Ok(())
    })
    .await;
}

/// Whoever looks after the namespace sees what waits, and nothing of what was asked; and may give it up.
async fn listed_and_given_up(bed: &Bed, app: &App<'_>) -> Result<()> {
    let request = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "a secret thought"}]});
    let body = json!({"path": "/v1/chat/completions", "request": request, "ttl": "1h"});
    let job = jobs(app, "POST", "/jobs", Some(body)).await?;
    let id = job["id"].as_str().with_context(|| format!("not accepted: {job}"))?;
    let listed = until(bed, &["jobs", "list"], 0, &[id, "app", "NEXT TRY"]).await?;
    show("jobs list", &listed);
    let as_json = bowsprit(bed, &["jobs", "show", id, "-o", "json"]).await?;
    let shown: Value = serde_json::from_str(&as_json.out).with_context(|| format!("{as_json:#?}"))?;
    ensure!(shown["id"] == id && shown["pod"] == "app", "{shown}");
    ensure!(
        !listed.out.contains("secret") && !as_json.out.contains("secret"),
        "{listed:#?} {as_json:#?}"
    );
    let cancelled = bowsprit(bed, &["jobs", "cancel", id]).await?;
    ensure!(
        cancelled.code == Some(0) && cancelled.out.contains("given up"),
        "{cancelled:#?}"
    );
    let gone = bowsprit(bed, &["jobs", "show", id]).await?;
    ensure!(
        gone.code == Some(1) && gone.err.contains("no sidecar here has a job"),
        "{gone:#?}"
    );
    Ok(())
}

const TOGETHER: &str = r#"
apiVersion: bowsprit.dev/v1alpha1
kind: UsagePolicy
metadata: {name: together}
spec:
  budgets:
    - {name: all, amount: "0.5", currency: USD, window: Custom, every: 2160h, per: Namespace, onExhausted: Stop}
"#;

#[tokio::test]
async fn a_batch_is_booked_once_and_spent() {
    // Alone: the operators are replaced.
    Test::new("batch")
        .alone()
        .run(async |bed| {
            let (this, with) = with_ledger().await?;
            let outcome: Result<()> = async {
                with.install(bed).await?;
                fetched_twice(bed).await
            }
            .await;
            this.install(bed).await?;
            outcome
        })
        .await;
}

async fn fetched_twice(bed: &Bed) -> Result<()> {
    let (one, two) = (bed.app("one").await?, bed.app("two").await?);
    for app in [&one, &two] {
        in_force(bed, app, TOGETHER, &["per: Namespace"]).await?;
    }
    // At half of 3 and 15 US dollars for a million: 0.225 each.
    let usage = json!({"usage": {"input": 100_000, "output": 10_000}});
    bed.providers().always("anthropic", json!({ "answer": usage })).await?;
    let request = |id: &str| {
        let messages = json!([{"role": "user", "content": "ahoy"}]);
        json!({"custom_id": id, "params": {"model": "claude-sonnet-4-5", "max_tokens": 99, "messages": messages}})
    };
    let batch = json!({"requests": [request("a"), request("b")]});
    let path = "/providers/claude/v1/messages/batches";
    let (status, made) = anthropic(&one, "POST", path, Some(&batch)).await?;
    let made: Value = serde_json::from_str(&made).with_context(|| format!("no JSON: {made:?}"))?;
    ensure!(
        status == 200 && made["request_counts"]["processing"] == 2,
        "{status} {made}"
    );
    let id = made["id"].as_str().context("no id")?;
    let results = format!("{path}/{id}/results");
    let (status, text) = anthropic(&one, "GET", &results, None).await?;
    ensure!(status == 200 && text.lines().count() == 2, "{status} {text}");
    spent(&one, 0.45).await?;
    let (_, again) = anthropic(&one, "GET", &results, None).await?;
    ensure!(again == text, "{again}");
    let booked = ["spend", "--by", "model", "--from", "service", "-o", "csv"];
    until(bed, &booked, 0, &[",0.45,"]).await?;
    eventually(TOLD, "the policy says what is spent", async || {
        let policy = bed.api::<UsagePolicy>().get("together").await?;
        let budgets = policy.status.unwrap_or_default().budgets;
        ensure!(
            budgets.first().is_some_and(|all| all.spent_percent == 90),
            "{budgets:?}"
        );
        Ok(())
    })
    .await?;

    // Another pod cannot know: the budget is spent once more, and the ledger counts it once all the same.
    let (_, elsewhere) = anthropic(&two, "GET", &results, None).await?;
    ensure!(elsewhere == text, "{elsewhere}");
    spent(&two, 0.9).await?;
    let (status, refused) = anthropic(&two, "POST", path, Some(&batch)).await?;
    ensure!(
        status == 402 && refused.contains("BIZ_BUDGET_SPENT"),
        "{status} {refused}"
    );
    let by_pod = ["spend", "--by", "workload", "--from", "service", "-o", "csv"];
    until(bed, &by_pod, 0, &["Pod/one", "Pod/two"]).await?;
    let told = until(bed, &booked, 0, &[",0.45,"]).await?;
    show("spend --by model", &told);
    Ok(())
}

/// What a pod's sidecar knows to be spent by all.
async fn spent(app: &App<'_>, dollars: f64) -> Result<()> {
    eventually(LONG, &format!("{dollars} are spent"), async || {
        let health = app.health().await?;
        let spent = health["budgets"][0]["spent"]
            .as_str()
            .and_then(|spent| spent.parse::<f64>().ok());
        ensure!(
            spent.is_some_and(|spent| (spent - dollars).abs() < 1e-9),
            "{}",
            health["budgets"]
        );
        Ok(())
    })
    .await
}

/// Asks a provider's own API through the sidecar: the status, and the text.
async fn anthropic(app: &App<'_>, method: &str, path: &str, body: Option<&Value>) -> Result<(u64, String)> {
    let version = json!({"anthropic-version": "2023-06-01"});
    let answer = app.call(method, path, &version, body).await?;
    Ok((answer.status, answer.body))
}
