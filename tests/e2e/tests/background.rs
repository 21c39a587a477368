//! A request that is answered later: its provider is down, its sidecar is killed, and there is an answer all the same.

use anyhow::{Context, Result, ensure};
use bowsprit_crds::names;
use bowsprit_e2e::machine::Process;
use bowsprit_e2e::{App, Bed, LONG, eventually, test};
use serde_json::{Value, json};

use crate::cli::{bowsprit, show, until};

/// What the app asks its sidecar, by Python's own library: `/jobs` is no SDK's.
async fn jobs(app: &App<'_>, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
    let body = body.map(|body| body.to_string());
    let code = format!(
        "import json, urllib.request, urllib.error\n\
         body = {body:?}\n\
         request = urllib.request.Request('http://127.0.0.1:4000{path}', method='{method}', data=body.encode() if body else None,\n\
             headers={{'content-type': 'application/json'}})\n\
         try:\n    print(urllib.request.urlopen(request).read().decode())\n\
         except urllib.error.HTTPError as error:\n    print(error.read().decode())\n",
        body = body.unwrap_or_default(),
    );
    let text = app.python(&code).await?;
    serde_json::from_str(&text).with_context(|| format!("no JSON: {text:?}"))
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
        let pod = app.object().await?;
        Process::of(&pod, names::SIDECAR_CONTAINER)?.signal("KILL")?;
        let before = restarts(&json!(pod));
        eventually(LONG, "the sidecar runs again", async || {
            let now = restarts(&json!(app.object().await?));
            ensure!(now > before, "{now} restarts");
            app.health().await.map(drop)
        })
        .await?;
        let job = jobs(&app, "GET", &path, None).await?;
        ensure!(job["status"] == "queued" || job["status"] == "running", "{job}");
        let attempts = job["attempts"].as_u64().unwrap_or_default();
        ensure!(attempts >= 1, "what was tried before is not forgotten: {job}");
        bed.providers().reset().await?;
        eventually(LONG, "it is answered", async || {
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

/// How often the pod's sidecar has been started again.
fn restarts(pod: &Value) -> u64 {
    let all = [
        &pod["status"]["initContainerStatuses"],
        &pod["status"]["containerStatuses"],
    ];
    let mut statuses = all.into_iter().filter_map(Value::as_array).flatten();
    let found = statuses.find(|status| status["name"] == names::SIDECAR_CONTAINER);
    found
        .and_then(|status| status["restartCount"].as_u64())
        .unwrap_or_default()
}
