//! A guard of a namespace on the real cluster: what the provider is sent, what the app gets, and what shadow changes.

use anyhow::{Context, Result, ensure};
use bowsprit_crds::UsagePolicy;
use bowsprit_e2e::{App, Bed, LONG, eventually, test};
use serde_json::{Value, json};

const CARD: &str = "4111 1111 1111 1111";

/// Asks as the official SDK does, plain or streamed: what it got, as one line of JSON.
const ASK: &str = r#"
import json, openai
client = openai.OpenAI(api_key="x", max_retries=0)
try:
    answer = client.chat.completions.create(
        model="claude-sonnet-4-5", stream=STREAM, messages=[{"role": "user", "content": "QUESTION"}])
    if STREAM:
        text = "".join(piece.choices[0].delta.content or "" for piece in answer if piece.choices)
    else:
        text = answer.choices[0].message.content
    print(json.dumps({"status": 200, "text": text}))
except openai.APIStatusError as error:
    print(json.dumps({"status": error.status_code, "text": error.response.text}))
except openai.APIError as error:
    print(json.dumps({"status": 0, "text": str(error.body)}))
"#;

async fn ask(app: &App<'_>, question: &str, stream: bool) -> Result<Value> {
    let code = ASK
        .replace("QUESTION", question)
        .replace("STREAM", if stream { "True" } else { "False" });
    let printed = app.python(&code).await?;
    serde_json::from_str(&printed).with_context(|| format!("no JSON: {printed}"))
}

/// Applies the guards and waits until they are in service.
async fn guarded(bed: &Bed, app: &App<'_>, guards: Value, decision: &str, by: &str) -> Result<()> {
    let policy = json!({
        "apiVersion": "bowsprit.dev/v1alpha1", "kind": "UsagePolicy", "metadata": {"name": "house"},
        "spec": {"guards": guards},
    });
    bed.apply_one(&policy).await?;
    bed.condition::<UsagePolicy>("house", "Accepted", "True").await?;
    eventually(LONG, by, async || {
        ask(app, &format!("charge {CARD}"), false).await?;
        let found = app
            .metric("bowsprit_guard_findings_total", &[&format!("decision=\"{decision}\"")])
            .await?;
        ensure!(found > 0.0, "nothing is {decision} yet");
        Ok(())
    })
    .await
}

async fn last_asked(bed: &Bed) -> Result<String> {
    let requests = bed.providers().requests("anthropic").await?;
    Ok(requests.last().map(Value::to_string).unwrap_or_default())
}

#[tokio::test]
async fn a_card_does_not_reach_the_provider_nor_a_streamed_one_the_app_and_shadow_only_counts() {
    test("guards", async |bed| {
        let app = bed.app("app").await?;
        let says = json!({"answer": {"text": format!("I charged {CARD} today")}});
        bed.providers().always("anthropic", says).await?;
        let guard = |action: &str, enforcement: &str| {
            json!([{"name": "cards", "applyTo": ["Request", "Answer"], "detect": ["Card"], "action": action, "enforcement": enforcement}])
        };

        guarded(bed, &app, guard("Mask", "Shadow"), "would_mask", "the guard counts").await?;
        for stream in [false, true] {
            let answer = ask(&app, &format!("charge {CARD}"), stream).await?;
            ensure!(answer["text"] == format!("I charged {CARD} today"), "shadow changes: {answer}");
            ensure!(last_asked(bed).await?.contains(CARD), "shadow changes the request");
        }

        guarded(bed, &app, guard("Mask", "Enforce"), "masked", "the guard masks").await?;
        for stream in [false, true] {
            let answer = ask(&app, &format!("charge {CARD}"), stream).await?;
            ensure!(answer["text"] == "I charged [CARD] today", "{stream}: {answer}");
            let asked = last_asked(bed).await?;
            ensure!(asked.contains("charge [CARD]") && !asked.contains(CARD), "{asked}");
        }

        let refuses = json!([{"name": "cards", "applyTo": ["Answer"], "detect": ["Card"], "action": "Refuse"}]);
        guarded(bed, &app, refuses, "refused", "the guard refuses").await?;
        for stream in [false, true] {
            let answer = ask(&app, "what did you do", stream).await?;
            let text = answer["text"].as_str().unwrap_or_default();
            // A request's id may have such digits, with no space beside them.
            let is_shown = text.contains("1111 ") || text.contains(" 1111");
            ensure!(answer["status"] != 200 && !is_shown, "{stream}: {answer}");
            ensure!(text.contains("the guard cards of UsagePolicy house"), "{stream}: {answer}");
        }
        Ok(())
    })
    .await;
}

/// What the service answers at `/dlp/check`, byte by byte.
fn decides(status: &str, body: &Value) -> Value {
    let body = body.to_string();
    let bytes = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    json!({"when": {"path": "/dlp/check"}, "do": {"raw": {"bytes": bytes, "after": "keep"}}})
}

#[tokio::test]
async fn a_service_is_asked_with_the_key_of_its_secret_and_decides_or_its_guard_says_what_follows() {
    test("guard-service", async |bed| {
        // The scripted providers stand for the service, at a path that no provider has.
        let masks = decides("200 OK", &json!({"decision": "mask", "texts": ["[ALL]"]}));
        bed.providers().rules(std::slice::from_ref(&masks)).await?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "dlp"}, "stringData": {"token": "key-of-dlp"},
        });
        bed.apply_one(&secret).await?;
        let policy = json!({
            "apiVersion": "bowsprit.dev/v1alpha1", "kind": "UsagePolicy", "metadata": {"name": "house"},
            "spec": {"guards": [{"name": "dlp", "applyTo": ["Request"], "webhook": {
                "url": format!("http://providers.{}.svc:9100/dlp/check", bed.namespace), "allowHttp": true, "timeout": "5s",
                "authSecretRef": {"name": "dlp", "key": "token"},
            }}]},
        });
        bed.apply_one(&policy).await?;
        bed.condition::<UsagePolicy>("house", "Accepted", "True").await?;
        let app = bed.app_with("app", "dlp").await?;
        eventually(LONG, "the service decides", async || {
            let answer = ask(&app, "I am Ann", false).await?;
            ensure!(answer["status"] == 200, "{answer}");
            let found = app
                .metric("bowsprit_guard_findings_total", &["guard=\"dlp\"", "decision=\"masked\""])
                .await?;
            ensure!(found > 0.0, "nothing is masked yet");
            Ok(())
        })
        .await?;
        ask(&app, "I am Ann", false).await?;
        let mut all = Vec::new();
        for api in ["anthropic", "openai", "gemini"] {
            all.extend(bed.providers().requests(api).await?);
        }
        let is_question = |request: &&Value| request["path"].as_str().is_some_and(|path| path.ends_with("/dlp/check"));
        let question = all.iter().rfind(is_question).context("it was not asked")?;
        ensure!(question["key"] == "key-of-dlp", "{question}");
        ensure!(question.to_string().contains("I am Ann"), "{question}");
        let newest = all.iter().filter(|request| !is_question(request)).max_by_key(|request| request["id"].as_u64());
        let asked = newest.context("no provider was asked")?.to_string();
        ensure!(asked.contains("[ALL]") && !asked.contains("I am Ann"), "{asked}");

        bed.providers().rules(&[decides("500 Oh", &json!({}))]).await?;
        let answer = ask(&app, "I am Ann", false).await?;
        ensure!(answer["status"] == 403, "{answer}");
        let text = answer["text"].as_str().unwrap_or_default();
        ensure!(text.contains("has not decided"), "{answer}");

        // As a gateway says it that has nobody behind it.
        bed.providers().rules(&[decides("503 Gone", &json!({}))]).await?;
        for told in ["answered with an error", "answered with an error", "answered with an error", "is not asked for a while"] {
            let answer = ask(&app, "I am Ann", false).await?;
            let text = answer["text"].as_str().unwrap_or_default();
            ensure!(answer["status"] == 403 && text.contains(told), "{told}: {answer}");
        }
        bed.providers().rules(std::slice::from_ref(&masks)).await?;
        eventually(LONG, "the service decides again by itself", async || {
            let answer = ask(&app, "I am Ann", false).await?;
            ensure!(answer["status"] == 200, "{answer}");
            Ok(())
        })
        .await?;

        // Of a short answer that streams there is one window.
        bed.providers().rules(&[masks]).await?;
        let mut of_answers = policy;
        of_answers["spec"]["guards"][0]["applyTo"] = json!(["Answer"]);
        bed.apply_one(&of_answers).await?;
        eventually(LONG, "a streamed answer is masked before it is there", async || {
            let answer = ask(&app, "I am Ann", true).await?;
            ensure!(answer["status"] == 200 && answer["text"] == "[ALL]", "{answer}");
            Ok(())
        })
        .await
    })
    .await;
}
