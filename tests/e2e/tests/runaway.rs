//! A pod whose agent goes round in a loop is told of, then stopped; another pod that asks the same is another, and goes on.

use anyhow::{Context, Result, ensure};
use bowsprit_crds::UsagePolicy;
use bowsprit_e2e::{App, Bed, LONG, TOLD, eventually, note, test};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::usage::{ask, in_force};

/// So often is still well.
const TIMES: u32 = 5;
/// And so often a loop comes.
const TURNS: u32 = 30;
const POLICY: &str = r"
apiVersion: bowsprit.dev/v1alpha1
kind: UsagePolicy
metadata: {name: loops}
spec:
  runaway: {times: 5, within: 1h, action: ACTION}
";
const MODEL: &str = "claude-sonnet-4-5";

/// A loop as it is written, over the official SDK: it comes again whatever it hears. Counts what it heard, and stops itself after thirty.
const LOOP: &str = r#"
import json, openai
client = openai.OpenAI(api_key="x")
heard = {}
for _ in range(30):
    try:
        client.chat.completions.create(model="claude-sonnet-4-5", messages=[{"role": "user", "content": "and again"}])
        word = "200"
    except openai.APIStatusError as error:
        word = f"{error.status_code} {error.response.json()['error']['bowsprit_code']} {error.response.headers['x-should-retry']}"
    heard[word] = heard.get(word, 0) + 1
print(json.dumps(heard))
"#;

#[tokio::test]
async fn a_loop_in_one_pod_is_told_then_stopped_and_another_pod_goes_on() {
    test("runaway", async |bed| {
        let (app, other) = (bed.app("app").await?, bed.app("other").await?);
        let policy = |action: &str| POLICY.replace("ACTION", action);
        in_force(bed, &app, &policy("Warn"), &["action: Warn"]).await?;
        for turn in 0..TIMES + 3 {
            let answer = ask(&app, MODEL, json!({})).await?;
            ensure!(answer.status == 200, "turn {turn}: {answer:?}");
        }
        ensure!(counted(&app, "admitted", 3).await?, "beyond five it is told");

        in_force(bed, &app, &policy("Stop"), &["action: Stop"]).await?;
        let asked = bed.providers().asked("anthropic").await?;
        let heard: Value = serde_json::from_str(&app.python(LOOP).await?)?;
        note(&format!("a loop over the SDK heard {heard}"));
        ensure!(
            heard == json!({"200": TIMES, "429 BIZ_RUNAWAY false": TURNS - TIMES}),
            "{heard}"
        );
        let asked_since = bed.providers().asked("anthropic").await? - asked;
        ensure!(
            asked_since == u64::from(TIMES),
            "the provider was asked {asked_since} times"
        );
        // Thirty requests came, and no more: the SDK tries nothing of it again by itself.
        ensure!(counted(&app, "refused", TURNS - TIMES).await?);
        told_where_people_look(bed, &app).await?;
        told_on_the_policy(bed, &app).await?;

        // What is no loop goes on, here and in another pod, which has asked nothing yet.
        let answer = ask(&app, MODEL, json!({"max_tokens": 7})).await?;
        ensure!(answer.status == 200, "{answer:?}");
        eventually(LONG, "the other pod has the policy", async || {
            let health = other.health().await?;
            let newest = app.health().await?["config"]["revision"].clone();
            ensure!(health["config"]["revision"] == newest, "{health:#}");
            Ok(())
        })
        .await?;
        for _ in 0..TIMES {
            let answer = ask(&other, MODEL, json!({})).await?;
            ensure!(answer.status == 200, "{answer:?}");
        }
        ensure!(counted(&other, "refused", 0).await?);
        let stopped = ask(&other, MODEL, json!({})).await?;
        ensure!(
            stopped.status == 429 && stopped.body.contains("UsagePolicy loops stops it"),
            "it is held to the same: {stopped:?}"
        );
        ensure!(
            stopped
                .header("retry-after")
                .parse::<u32>()
                .is_ok_and(|seconds| seconds > 3000),
            "{stopped:?}"
        );
        Ok(())
    })
    .await;
}

/// Whether so many requests of this pod came too often.
async fn counted(app: &App<'_>, met: &str, times: u32) -> Result<bool> {
    let met = format!("met=\"{met}\"");
    let labels = ["limit_name=\"policy/loops/runaway\"", &met];
    let counted = app.metric("bowsprit_limit_requests_total", &labels).await?;
    Ok((counted - f64::from(times)).abs() < 0.1)
}

/// The plugin says who is stopped, and by what.
async fn told_where_people_look(bed: &Bed, app: &App<'_>) -> Result<()> {
    let seen = eventually(LONG, "the plugin tells of refusals", async || {
        let logs = crate::cli::bowsprit(bed, &["logs", "--failed", "--number", "1", "-o", "json"]).await?;
        let logs: Value = serde_json::from_str(&logs.out).with_context(|| format!("{logs:#?}"))?;
        let request = &logs[0]["request"];
        ensure!(
            request["refusedBy"] == "limit:runaway" && request["code"] == "BIZ_RUNAWAY",
            "{logs:#}"
        );
        Ok(logs)
    })
    .await?;
    ensure!(seen.to_string().contains(&app.pod), "{seen:#}");
    Ok(())
}

/// Whoever looks at the policy, its Events or the plugin's status sees which pod it is.
async fn told_on_the_policy(bed: &Bed, app: &App<'_>) -> Result<()> {
    eventually(TOLD, "the policy says who runs away", async || {
        let policy = bed.api::<UsagePolicy>().get("loops").await?;
        let runaway = policy.status.unwrap_or_default().runaway.context("no runaway")?;
        let [one] = runaway.worst.as_slice() else {
            anyhow::bail!("{runaway:?}")
        };
        // Three were told before it stopped; that they are many more is told at once.
        ensure!(
            runaway.pods == 1 && one.pod == app.pod && one.stops && one.repeats > 3,
            "{runaway:?}"
        );
        Ok(())
    })
    .await?;
    eventually(LONG, "an Event says so", async || {
        let events = bed.api::<Event>().list(&ListParams::default()).await?;
        let notes = events
            .items
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some("Runaway"));
        let notes: Vec<String> = notes.filter_map(|event| event.note).collect();
        ensure!(notes.iter().any(|note| note.contains(&app.pod)), "{notes:?}");
        Ok(())
    })
    .await?;
    let status = crate::cli::bowsprit(bed, &["status"]).await?;
    crate::cli::show("status", &status);
    for words in ["RUNAWAY POD", app.pod.as_str(), "refused", "usagepolicy loops"] {
        ensure!(status.out.contains(words), "{words:?} is not in {status:#?}");
    }
    Ok(())
}
