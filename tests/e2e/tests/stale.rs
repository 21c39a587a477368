//! Every provider is down: the app has its last good answer again, marked as stale, and nobody else has it.

use anyhow::{Context, Result, ensure};
use bowsprit_e2e::{App, Bed, LONG, eventually, test};
use futures::future::join;
use serde_json::{Value, json};
use tokio::sync::oneshot;

const ROUTE: &str = r"
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: smart}
spec:
  match: {models: [smart]}
  targets: [{provider: claude}]
  fallback: [{provider: gemini}, {provider: openai}]
  staleIfError: {maxAge: 1h, maxBytes: 1048576}
";

/// Asks as the official SDK does, plain or streamed, with this key: what it got, as one line of JSON.
const ASK: &str = r#"
import json, openai
client = openai.OpenAI(api_key="KEY", max_retries=0)
try:
    with client.chat.completions.with_streaming_response.create(
            model="smart", stream=STREAM, messages=[{"role": "user", "content": "QUESTION"}]) as raw:
        if STREAM:
            text = "".join(piece.choices[0].delta.content or "" for piece in raw.parse() if piece.choices)
        else:
            text = raw.parse().choices[0].message.content
        print(json.dumps({"status": raw.status_code, "text": text, "headers": dict(raw.headers)}))
except openai.APIStatusError as error:
    print(json.dumps({"status": error.status_code, "text": "", "headers": dict(error.response.headers)}))
"#;

async fn ask(app: &App<'_>, key: &str, question: &str, stream: bool) -> Result<Value> {
    let code = ASK
        .replace("KEY", key)
        .replace("QUESTION", question)
        .replace("STREAM", if stream { "True" } else { "False" });
    let printed = app.python(&code).await?;
    serde_json::from_str(&printed).with_context(|| format!("no JSON: {printed}"))
}

async fn ready(bed: &Bed) -> Result<App<'_>> {
    bed.apply(ROUTE).await?;
    bed.rendered(|text| text.contains("staleIfError")).await?;
    bed.app("app").await
}

async fn all_down(bed: &Bed) -> Result<()> {
    let rules =
        ["anthropic", "gemini", "openai"].map(|api| json!({"when": {"api": api}, "do": {"status": {"code": 503}}}));
    bed.providers().rules(&rules).await
}

fn is_stale(answer: &Value) -> bool {
    answer["status"] == 200 && answer["headers"]["x-bowsprit-stale"].is_string()
}

#[tokio::test]
async fn an_app_has_its_last_good_answer_again_and_nobody_else_has_it() {
    let (kept, is_kept) = oneshot::channel();
    let own = test("stale", async |bed| {
        let app = ready(bed).await?;
        for stream in [false, true] {
            let good = ask(&app, "one", "ahoy", stream).await?;
            ensure!(good["status"] == 200 && !is_stale(&good), "{good}");
            ensure!(
                good["text"]
                    .as_str()
                    .is_some_and(|text| text.contains("Hello from anthropic")),
                "{good}"
            );
        }
        ensure!(kept.send(()).is_ok(), "the other namespace has given up");
        all_down(bed).await?;
        for stream in [false, true] {
            let stale = ask(&app, "one", "ahoy", stream).await?;
            ensure!(is_stale(&stale), "{stale}");
            ensure!(
                stale["text"]
                    .as_str()
                    .is_some_and(|text| text.contains("Hello from anthropic")),
                "{stale}"
            );
            let headers = &stale["headers"];
            ensure!(
                headers["age"].as_str().is_some_and(|age| age.parse::<u32>().is_ok()),
                "{headers}"
            );
            ensure!(headers["x-bowsprit-provider"] == "claude", "{headers}");
            ensure!(
                headers["cache-status"]
                    .as_str()
                    .is_some_and(|it| it.starts_with("bowsprit; hit; ttl=-")),
                "{headers}"
            );
        }
        let served = app
            .metric(
                "bowsprit_stale_answers_total",
                &["route=\"smart\"", "result=\"served\""],
            )
            .await?;
        ensure!(
            (served - 2.0).abs() < f64::EPSILON,
            "{served} stale answers were counted"
        );
        for (key, question) in [("another", "ahoy"), ("one", "another question")] {
            let refused = ask(&app, key, question, false).await?;
            ensure!(refused["status"] == 503, "{key}, {question}: {refused}");
        }
        let failed = app
            .metric("bowsprit_requests_total", &["outcome=\"provider_error\""])
            .await?;
        ensure!(
            (failed - 4.0).abs() < f64::EPSILON,
            "the outage is seen in {failed} requests"
        );
        // A change of who may answer forgets what was kept.
        bed.apply(&ROUTE.replace(", {provider: openai}]", "]")).await?;
        eventually(LONG, "what was kept is forgotten", async || {
            let held = app.metric("bowsprit_kept_answers_held", &["route=\"smart\""]).await?;
            ensure!(held.abs() < f64::EPSILON, "{held} answers are kept");
            Ok(())
        })
        .await?;
        let refused = ask(&app, "one", "ahoy", false).await?;
        ensure!(refused["status"] == 503, "{refused}");
        Ok(())
    });
    let other = test("staleother", async |bed| {
        let app = ready(bed).await?;
        all_down(bed).await?;
        is_kept.await.context("nothing was kept in the first namespace")?;
        let refused = ask(&app, "one", "ahoy", false).await?;
        ensure!(refused["status"] == 503, "another namespace's answer: {refused}");
        let none = app.metric("bowsprit_stale_answers_total", &["result=\"none\""]).await?;
        ensure!((none - 1.0).abs() < f64::EPSILON, "{none} were counted");
        Ok(())
    });
    Box::pin(join(own, other)).await;
}
