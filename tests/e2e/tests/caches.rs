//! Answers that are not asked for twice: the replica of a pod gives what the other was answered, out of a Redis, and does without when that
//! is gone; who asks alike gets the answer that there is; a next embedding model takes over under traffic, and so does one that its provider
//! has changed.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use bowsprit_e2e::machine::NODE;
use bowsprit_e2e::{App, Bed, LONG, Running, eventually, note, pod_manifest, test};
use serde_json::{Value, json};

use crate::cli::{bowsprit, show, until};

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
    store: {redisRef: {name: answers, key: url}, timeout: 1s}
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

/// NEXT stands for what the route has beside its bounds.
const INPUTS: &str = r"
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: vectors}
spec:
  match: {models: [vectors]}
  targets: [{provider: openai, model: text-embedding-3-small}]
  cache:
    ttl: 1h
    maxBytes: 1048576
    embeddings: {maxBytes: 16777216, keepInputs: 1048576NEXT}
";

const OLD: &str = "text-embedding-3-small";
const NEW: &str = "text-embedding-3-large";

/// Asks for five of fifty texts again and again until it is told to stop, as the official SDK does without its own retries; with a second
/// argument, for one beside them that is new. Says which model answers when that is another one than before, and at the end how often it
/// asked and what failed.
const EMBED: &str = r#"
import json, openai, socket, sys
client = openai.OpenAI(api_key="of-the-app", max_retries=0)
texts = [f"text {number}" for number in range(50)]
stop = socket.create_server(("127.0.0.1", int(sys.argv[1])))
stop.settimeout(0.02)
client.embeddings.create(model="vectors", input=texts)
asked, failed, last = 0, [], None
while True:
    try:
        stop.accept()
        break
    except TimeoutError:
        pass
    asked += 1
    try:
        inputs = [texts[(asked * 7 + place * 11) % 50] for place in range(5)] + [f"new {asked}"] * len(sys.argv[2:])
        answer = client.embeddings.create(model="vectors", input=inputs)
        sizes = {len(vector.embedding) for vector in answer.data}
        if sizes != {{"text-embedding-3-large": 3072}.get(answer.model, 1536)}:
            failed.append(f"{answer.model} with vectors of {sizes}")
        if answer.model != last:
            last = answer.model
            print(f"now {last}", flush=True)
    except Exception as error:
        failed.append(str(error))
print(json.dumps({"asked": asked, "failed": failed}))
"#;
/// Who connects to this port of loopback tells it: it may write no file.
const STOP: &str = "4998";

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
        command.args(["--pdeathsig", "KILL", "redis-server", "--bind", NODE, "--port"]);
        command.arg(PORT.to_string());
        // Without it, it takes no questions from other machines, and those of a pod are such.
        command.args(["--protected-mode", "no", "--save", "", "--dir"]);
        command.arg(&folder).stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().context("apt-get install redis-server")?;
        let redis = Self { folder, process };
        eventually(LONG, "Redis answers", async || {
            TcpStream::connect((NODE, PORT)).map(drop).map_err(Into::into)
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

/// Ends what [`EMBED`] does. Of two models each has answered for one time, and no request failed.
async fn none_failed(app: &App<'_>, running: Running) -> Result<()> {
    app.python(&format!(
        "import socket; socket.create_connection(('127.0.0.1', {STOP}))"
    ))
    .await?;
    let output = running.finish().await?;
    let last = output.stdout.lines().last().context("no line")?;
    let told: Value = serde_json::from_str(last).with_context(|| format!("no JSON: {output:?}"))?;
    ensure!(told["failed"] == json!([]), "{told}");
    let switches = output.stdout.lines().filter(|line| line.starts_with("now "));
    ensure!(switches.count() == 2, "it went there and back: {output:?}");
    note(&format!(
        "{} requests while the model changed, none failed",
        told["asked"]
    ));
    Ok(())
}

#[tokio::test]
async fn a_provider_that_changes_its_embedding_model_under_traffic_fails_no_request() {
    test("versions", async |bed| {
        let gives = async |version: &str| {
            let answer = json!({"answer": {"version": version}});
            bed.providers().always("openai", answer).await
        };
        gives("m-1").await?;
        bed.apply(&INPUTS.replace("NEXT", "")).await?;
        bed.rendered(|text| text.contains("keepInputs")).await?;
        let app = bed.app("app").await?;
        let mut running = app.start(&["/usr/bin/python3", "-c", EMBED, STOP, "new"]).await?;
        running.until("now m-1").await?;
        gives("m-2").await?;
        running.until("now m-2").await?;
        let told = until(bed, &["cache", "status", "--route", "vectors"], 0, &["m-2", "renewed"]).await?;
        show("cache status --route vectors", &told);
        none_failed(&app, running).await?;
        let gone = app
            .metric("bowsprit_cache_answers_total", &["fate=\"outdated\""])
            .await?;
        ensure!(gone >= 50.0, "{gone} vectors of the version before are gone");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn doctor_says_that_the_secret_of_a_store_is_not_there() {
    test("nostore", async |bed| {
        let (_secret, route) = SHARED.split_once("---").context("two documents")?;
        bed.apply(route).await?;
        let words = [
            "warn",
            "/answers (named by ModelRoute smart, cache.store)",
            "create secret generic answers",
        ];
        let told = until(bed, &["doctor"], 0, &words).await?;
        show("doctor", &told);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_next_embedding_model_takes_over_under_traffic_and_no_request_fails() {
    test("embeddings", async |bed| {
        bed.apply(&INPUTS.replace("NEXT", "")).await?;
        bed.rendered(|text| text.contains("keepInputs")).await?;
        let app = bed.app("app").await?;
        let mut running = app.start(&["/usr/bin/python3", "-c", EMBED, STOP]).await?;
        running.until(&format!("now {OLD}")).await?;
        let next = format!(", next: {{provider: openai, model: {NEW}}}");
        bed.apply(&INPUTS.replace("NEXT", &next)).await?;
        running.until(&format!("now {NEW}")).await?;
        let told = until(bed, &["cache", "status"], 0, &[NEW, "serving", "50 of 50 (100 %)"]).await?;
        show("cache status", &told);
        none_failed(&app, running).await?;

        let asked = bed.providers().asked("openai").await?;
        let again = "import openai; print(openai.OpenAI(api_key='of-the-app', max_retries=0).embeddings.create(model='vectors', \
                     input=[f'text {number}' for number in range(50)]).model)";
        ensure!(app.python(again).await?.trim() == NEW, "the next model serves");
        ensure!(bed.providers().asked("openai").await? == asked, "all that was known is filled");
        let cleared = bowsprit(bed, &["cache", "clear", "--route", "vectors"]).await?;
        show("cache clear --route vectors", &cleared);
        ensure!(
            cleared.code == Some(0) && cleared.out.contains("cleared, at 1 sidecar"),
            "{cleared:#?}"
        );
        app.python(again).await?;
        ensure!(bed.providers().asked("openai").await? > asked, "what is cleared is asked for anew");
        Ok(())
    })
    .await;
}
