//! Answers that are not asked for twice: the replica of a pod gives what the other was answered, out of a Redis, and does without when that
//! is gone; who asks alike gets the answer that there is.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use bowsprit_e2e::{App, Bed, LONG, eventually, pod_manifest, test};
use serde_json::{Value, json};

/// The node, as pods reach it.
const ADDRESS: &str = "10.88.0.1";
/// Of no other test.
const PORT: u16 = 6390;

const SHARED: &str = r"
apiVersion: v1
kind: Secret
metadata: {name: answers}
stringData: {url: 'redis://10.88.0.1:6390'}
---
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: smart}
spec:
  match: {models: [smart]}
  targets: [{provider: claude}]
  cache:
    ttl: 1h
    maxBytes: 1048576
    temperature: Any
    store: {redisRef: {name: answers, key: url}, timeout: 500ms}
";

const ALIKE: &str = r#"
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: vectors}
spec:
  match: {models: [text-embedding-3-small]}
  targets: [{provider: openai, model: text-embedding-3-small}]
---
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: smart}
spec:
  match: {models: [smart]}
  targets: [{provider: claude}]
  cache:
    ttl: 1h
    maxBytes: 1048576
    temperature: Any
    semantic: {embeddingModel: text-embedding-3-small, threshold: "0.8", maxBytes: 1048576, maxWait: 5s}
"#;

/// Asks as the official SDK does: what it got, as one line of JSON.
const ASK: &str = r#"
import json, openai
client = openai.OpenAI(api_key="of-the-app", max_retries=0)
raw = client.chat.completions.with_raw_response.create(model="smart", messages=[{"role": "user", "content": "QUESTION"}])
print(json.dumps({"text": raw.parse().choices[0].message.content, "headers": dict(raw.headers)}))
"#;

async fn ask(app: &App<'_>, question: &str) -> Result<Value> {
    let printed = app.python(&ASK.replace("QUESTION", question)).await?;
    serde_json::from_str(&printed).with_context(|| format!("no JSON: {printed}"))
}

fn status(answer: &Value) -> &str {
    answer["headers"]["cache-status"].as_str().unwrap_or_default()
}

/// Debian's Redis on the node. It ends with the thread that made it.
struct Redis {
    folder: PathBuf,
    process: Child,
}

impl Redis {
    async fn start() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("bowsprit-e2e-answers-{:08x}", fastrand::u32(..)));
        std::fs::create_dir(&folder)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-server", "--bind", ADDRESS, "--port"]);
        command.arg(PORT.to_string());
        // Without it, it takes no questions from other machines, and those of a pod are such.
        command.args(["--protected-mode", "no", "--save", "", "--dir"]);
        command.arg(&folder).stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().context("apt-get install redis-server")?;
        let redis = Self { folder, process };
        eventually(LONG, "Redis answers", async || {
            TcpStream::connect((ADDRESS, PORT)).map(drop).map_err(Into::into)
        })
        .await?;
        Ok(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Two replicas of one app.
async fn replicas(bed: &Bed) -> Result<[App<'_>; 2]> {
    let pod = pod_manifest("app");
    let mut labels = pod["metadata"]["labels"].clone();
    labels["app"] = json!("app");
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "app"},
        "spec": {
            "serviceName": "app",
            "replicas": 2,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "app"}},
            "template": {"metadata": {"labels": labels}, "spec": pod["spec"]},
        },
    });
    bed.apply_one(&set).await?;
    for name in ["app-0", "app-1"] {
        bed.ready(name).await?;
    }
    Ok([bed.app_of("app-0"), bed.app_of("app-1")])
}

async fn stored(app: &App<'_>, result: &str) -> Result<f64> {
    app.metric("bowsprit_cache_store_total", &[&format!("result=\"{result}\"")])
        .await
}

/// Asks ever new questions until the store has been asked one.
async fn is_connected(app: &App<'_>) -> Result<()> {
    eventually(LONG, "the sidecar asks the store", async || {
        let (before, kept) = (stored(app, "miss").await?, stored(app, "kept").await?);
        ask(app, &format!("are you there, {:08x}?", fastrand::u32(..))).await?;
        ensure!(stored(app, "miss").await? > before, "it was not asked");
        is_kept(app, kept).await
    })
    .await
}

/// One answer more than so many is kept there.
async fn is_kept(app: &App<'_>, before: f64) -> Result<()> {
    eventually(LONG, "the answer is kept", async || {
        let kept = stored(app, "kept").await?;
        ensure!(kept > before, "{kept} are");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_replica_gives_what_the_other_was_answered_and_does_without_when_the_store_is_gone() {
    test("caches", async |bed| {
        let redis = Redis::start().await?;
        bed.apply(SHARED).await?;
        bed.rendered(|text| text.contains("redisRef")).await?;
        let [one, two] = replicas(bed).await?;
        for app in [&one, &two] {
            is_connected(app).await?;
        }
        let kept = stored(&one, "kept").await?;
        let first = ask(&one, "ahoy").await?;
        ensure!(status(&first) == "bowsprit; fwd=miss", "{first}");
        is_kept(&one, kept).await?;
        let asked = bed.providers().asked("anthropic").await?;
        let again = ask(&two, "ahoy").await?;
        ensure!(
            status(&again).ends_with("; detail=store") && again["text"] == first["text"],
            "{again}"
        );
        ensure!(bed.providers().asked("anthropic").await? == asked, "nobody is asked");
        let other = bed.app("other").await?;
        is_connected(&other).await?;
        let alone = ask(&other, "ahoy").await?;
        ensure!(status(&alone) == "bowsprit; fwd=miss", "another workload: {alone}");
        drop(redis);
        for number in 0..3 {
            let without = ask(&two, &format!("and without, {number}?")).await?;
            ensure!(status(&without) == "bowsprit; fwd=miss", "{without}");
        }
        let own = ask(&two, "ahoy").await?;
        ensure!(status(&own).starts_with("bowsprit; hit"), "memory is its own: {own}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn who_asks_alike_gets_the_answer_that_there_is() {
    test("alike", async |bed| {
        bed.apply(ALIKE).await?;
        bed.rendered(|text| text.contains("embeddingModel")).await?;
        let app = bed.app("app").await?;
        let first = ask(&app, "What is the capital of France?").await?;
        ensure!(status(&first) == "bowsprit; fwd=miss", "{first}");
        eventually(LONG, "the question is kept", async || {
            let kept = app.metric("bowsprit_semantic_cache_entries", &[]).await?;
            if kept < 1.0 {
                bail!("{kept} questions");
            }
            Ok(())
        })
        .await?;
        let asked = bed.providers().asked("anthropic").await?;
        let alike = ask(&app, "What is the capital city of France?").await?;
        ensure!(
            status(&alike).contains("; detail=\"similarity=0.") && alike["text"] == first["text"],
            "{alike}"
        );
        ensure!(bed.providers().asked("anthropic").await? == asked, "nobody is asked");
        let other = ask(&app, "What is the capital city of Spain?").await?;
        ensure!(status(&other) == "bowsprit; fwd=miss", "another name: {other}");
        Ok(())
    })
    .await;
}
