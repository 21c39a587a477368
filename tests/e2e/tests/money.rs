//! A budget that pods spend together stops a Job that runs away, whoever leads the operators, and nobody else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowsprit_crds::UsagePolicy;
use bowsprit_e2e::{App, Bed, LONG, SYSTEM, TOLD, Test, eventually, image, kubectl, note};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, LogParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::cli::{bowsprit, show};
use crate::usage::{ask, in_force};

/// What all pods of the namespace may spend together.
const AMOUNT: f64 = 1.0;
/// Dollars of a token: a request reserves 100 of output, and uses some ten.
const INPUT: f64 = 0.0001;
const OUTPUT: f64 = 0.001;

const OBJECTS: &str = r#"
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: claude}
spec:
  provider: Anthropic
  priority: 10
  endpoint: {baseUrl: "http://providers.NAMESPACE.svc:9100", allowHttp: true}
  credentials: [{name: main, secretKeyRef: {name: keys, key: anthropic}}]
  models: [{name: claude-sonnet-4-5, aliases: [gpt-5-mini], price: {input: "100", output: "1000"}}]
  defaultModel: claude-sonnet-4-5
  retry: {maxAttempts: 1}
---
apiVersion: bowsprit.dev/v1alpha1
kind: UsagePolicy
metadata: {name: together}
spec:
  budgets:
    - {name: all, amount: "1", currency: USD, window: Custom, every: 2160h, per: Namespace, withoutOperator: Stop}
"#;

/// A loop that has gone wrong: it asks and asks, and does not care for the answer. Ends after twenty refusals, so that the test does.
const LOOP: &str = r"
import json, time, urllib.request, urllib.error
asked = {'model': 'claude-sonnet-4-5', 'max_tokens': 100, 'messages': [{'role': 'user', 'content': 'ahoy'}]}
got, refused = {}, {}
while got.get('429', 0) < 20 and sum(got.values()) < 2000:
    request = urllib.request.Request('http://127.0.0.1:4000/v1/chat/completions', json.dumps(asked).encode(), {'content-type': 'application/json'})
    try:
        status = urllib.request.urlopen(request, timeout=60).status
    except urllib.error.HTTPError as error:
        status, refused = error.code, json.loads(error.read())
        if 'no operator answers' in str(refused):
            # Its sidecar has just begun.
            time.sleep(0.2)
            continue
    got[str(status)] = got.get(str(status), 0) + 1
print(json.dumps({'got': got, 'refused': refused}))
";

/// As the official SDK asks, with its own retries.
const SDK: &str = r#"
import json, openai
client = openai.OpenAI(api_key="x")
try:
    client.chat.completions.create(model="claude-sonnet-4-5", max_tokens=100, messages=[{"role": "user", "content": "ahoy"}])
    print(json.dumps({"status": 200}))
except openai.APIStatusError as error:
    print(json.dumps({"status": error.status_code, "code": error.code, "text": error.response.text}))
"#;

#[tokio::test]
async fn a_namespaces_budget_stops_a_runaway_job_and_is_spent_though_the_leader_is_killed() {
    Test::new("money")
        .alone()
        .run(async |one| {
            let two = Bed {
                client: one.client.clone(),
                namespace: format!("{}-other", one.namespace),
            };
            kubectl(&["create", "namespace", &two.namespace]).await?;
            let outcome = runs_away(one, &two).await;
            kubectl(&["delete", "namespace", &two.namespace, "--wait=false"]).await?;
            outcome
        })
        .await;
}

async fn runs_away(bed: &Bed, other: &Bed) -> Result<()> {
    let operators = bed.operators();
    operators.settled().await?;
    other.furnish().await?;
    let (app, others) = (bed.app("app").await?, other.app("app").await?);
    let objects = OBJECTS.replace("NAMESPACE", &bed.namespace);
    in_force(bed, &app, &objects, &["per: Namespace", "output: "]).await?;
    bed.condition::<UsagePolicy>("together", "Accepted", "True").await?;
    bed.providers().reset().await?;

    bed.apply_one(&job()).await?;
    eventually(Duration::from_mins(4), "the Job's pods have been stopped", async || {
        let status = bed.api::<Job>().get("runaway").await?.status.unwrap_or_default();
        ensure!(status.succeeded == Some(4), "{status:?}");
        Ok(())
    })
    .await?;
    let (mut answered, mut refused) = (0, Value::Null);
    for said in said(bed).await? {
        answered += said["got"]["200"].as_u64().unwrap_or_default();
        ensure!(said["got"]["429"] == 20, "it was not stopped: {said}");
        ensure!(said["got"].as_object().is_some_and(|got| got.len() <= 2), "{said}");
        refused = said["refused"].clone();
    }
    let error = &refused["error"];
    ensure!(error["code"] == "insufficient_quota", "{refused}");
    let text = error["message"].as_str().unwrap_or_default();
    for words in [
        "the budget all of UsagePolicy together",
        "for all pods of the namespace",
        "spent together",
        "the next window begins at",
    ] {
        ensure!(text.contains(words), "{words:?} is not in {text}");
    }

    // By the provider's own bill, which knows nothing of budgets.
    let spent = bill(bed).await?;
    note(&format!(
        "four pods were answered {answered} times, and spent {spent:.4} of {AMOUNT} USD by the provider's own bill"
    ));
    ensure!(spent <= AMOUNT, "{spent} USD were spent of {AMOUNT}");
    let writes = marks(bed).await?;
    note(&format!("the mark that outlives the leader: {writes}"));

    // What they held and did not need they gave back at their end; it is spent, too, but for less than a request may cost.
    eventually(LONG, "what the Job gave back is spent", async || {
        let answer = ask(&app, "claude-sonnet-4-5", json!({"max_tokens": 100})).await?;
        ensure!(answer.status == 429, "there is room: {}", answer.status);
        let spent = bill(bed).await?;
        ensure!((0.85..=AMOUNT).contains(&spent), "{spent} USD were spent");
        Ok(())
    })
    .await?;

    told_on_the_policy(bed).await?;

    // A pod that has nothing left hears the same, and its SDK does not come again.
    let before = stopped(&app).await?;
    let heard: Value = serde_json::from_str(&app.python(SDK).await?)?;
    ensure!(
        heard["status"] == 429 && heard["code"] == "insufficient_quota",
        "{heard}"
    );
    let stopped_since = stopped(&app).await? - before;
    ensure!((stopped_since - 1.0).abs() < 0.1, "its SDK asked {stopped_since} times");
    let answer = ask(&others, "claude-sonnet-4-5", json!({"max_tokens": 100})).await?;
    ensure!(answer.status == 200, "another namespace has no part in it: {answer:?}");

    // Another leads, and knows that it is spent.
    let leader = operators.leader().await?;
    let kill = DeleteParams::default().grace_period(0);
    operators.pods().delete(&leader, &kill).await?;
    eventually(LONG, "another operator leads", async || {
        let now = operators.leader().await?;
        ensure!(!now.is_empty() && now != leader, "{now:?} leads");
        Ok(())
    })
    .await?;
    let fresh = bed.app("fresh").await?;
    eventually(LONG, "the new leader says that it is spent", async || {
        let refused = ask(&fresh, "claude-sonnet-4-5", json!({"max_tokens": 100})).await?;
        ensure!(refused.status == 429, "{refused:?}");
        ensure!(refused.body.contains("spent together"), "{refused:?}");
        Ok(())
    })
    .await?;
    let spent = bill(bed).await?;
    ensure!(spent <= AMOUNT, "{spent} USD were spent of {AMOUNT} once another led");
    let health = fresh.health().await?;
    let budget = &health["budgets"][0];
    ensure!(
        budget["name"] == "together/all" && budget["isWithoutOperator"] == false,
        "{health:#}"
    );
    note(&format!("/health of a pod made after the change: {budget}"));
    let answer = ask(&others, "claude-sonnet-4-5", json!({"max_tokens": 100})).await?;
    ensure!(answer.status == 200, "{answer:?}");
    operators.settled().await
}

fn job() -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "runaway"},
        "spec": {"backoffLimit": 0, "parallelism": 4, "completions": 4, "template": {
            "metadata": {"labels": {bowsprit_crds::names::LABEL_INJECT: "true"}},
            "spec": {"restartPolicy": "Never", "containers": [
                {"name": "app", "image": image("bowsprit-app"), "command": ["/usr/bin/python3", "-c", LOOP]},
            ]},
        }},
    })
}

/// What each pod of the Job says at its end.
async fn said(bed: &Bed) -> Result<Vec<Value>> {
    let pods = bed
        .api::<Pod>()
        .list(&ListParams::default().labels("job-name=runaway"))
        .await?;
    let logs = LogParams {
        container: Some("app".into()),
        ..LogParams::default()
    };
    let mut all = Vec::new();
    for pod in &pods.items {
        let log = bed.api::<Pod>().logs(&pod.name_any(), &logs).await?;
        all.push(serde_json::from_str(&log).with_context(|| format!("no JSON: {log}"))?);
    }
    ensure!(all.len() == 4, "{} pods", all.len());
    Ok(all)
}

/// Dollars.
async fn bill(bed: &Bed) -> Result<f64> {
    let bill = bed.providers().bill().await?;
    let mut dollars = 0.0;
    for billed in bill.as_object().into_iter().flatten().map(|(_, billed)| billed) {
        for part in ["whole", "cut"] {
            let tokens = |which: &str| billed[part][which].as_f64().unwrap_or_default();
            dollars += tokens("input") * INPUT + tokens("output") * OUTPUT;
        }
    }
    Ok(dollars)
}

/// Requests of this pod that its budget has stopped.
async fn stopped(app: &App<'_>) -> Result<f64> {
    app.metric("bowsprit_budget_beyond_requests_total", &["beyond=\"stopped\""])
        .await
}

/// Whoever looks at the policy, or asks the plugin, sees what is spent, what is left and until when.
async fn told_on_the_policy(bed: &Bed) -> Result<()> {
    eventually(TOLD, "the policy says what is spent", async || {
        let policy = bed.api::<UsagePolicy>().get("together").await?;
        let budgets = policy.status.unwrap_or_default().budgets;
        let [all] = budgets.as_slice() else {
            anyhow::bail!("{budgets:?}")
        };
        ensure!(
            all.name == "all" && all.amount == "1" && (85..=100).contains(&all.spent_percent),
            "{all:?}"
        );
        ensure!(all.window_ends.0 > all.as_of.0, "{all:?}");
        Ok(())
    })
    .await?;
    let status = bowsprit(bed, &["status"]).await?;
    show("status", &status);
    for words in ["WINDOW ENDS", "together/all", "stops"] {
        ensure!(status.out.contains(words), "{words:?} is not in {status:#?}");
    }
    let status = bowsprit(bed, &["status", "-o", "json"]).await?;
    let status: Value = serde_json::from_str(&status.out).with_context(|| format!("{status:#?}"))?;
    let budget = &status["namespaces"][0]["policies"][0]["budgets"][0];
    ensure!(
        budget["withoutOperator"] == "Stop" && budget["amount"] == "1",
        "{status:#}"
    );
    Ok(())
}

/// What the operator has written of the namespace.
async fn marks(bed: &Bed) -> Result<String> {
    let client: Client = bed.client.clone();
    let maps = Api::<ConfigMap>::namespaced(client, SYSTEM);
    let data = maps.get("bowsprit-budgets").await?.data.unwrap_or_default();
    let written = data
        .get(&bed.namespace)
        .context("nothing is written of the namespace")?;
    ensure!(written.contains("together/all"), "{written}");
    Ok(written.clone())
}
