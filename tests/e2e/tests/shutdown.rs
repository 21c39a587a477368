//! A pod ends while answers are under way: they end whole.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bowsprit_e2e::{Bed, LONG, eventually, note, test};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};

/// An app that finishes what it is doing when it is told to stop, as a well-behaved one does: asks for a stream and shows it, each piece
/// on a line of its own, as a container's log has whole lines only.
pub(crate) const POLITE: &str = "
import signal, sys, openai
signal.signal(signal.SIGTERM, lambda *_: None)
for chunk in openai.OpenAI(max_retries=0).chat.completions.create(model='gpt-5-mini', stream=True,
        messages=[{'role': 'user', 'content': 'tell me'}]):
    for choice in chunk.choices:
        if choice.delta.content: print(choice.delta.content.strip(), flush=True)
        if choice.finish_reason: print('[' + choice.finish_reason + ']', flush=True)
";

/// Sends SIGTERM to the sidecar.
const TERMINATE: &str = "
import glob, os, signal
pids = [path.split('/')[2] for path in glob.glob('/proc/[0-9]*/comm') if open(path).read().startswith('bowsprit-sidec')]
os.kill(int(pids[0]), signal.SIGTERM)
";

/// A stream of so many words, so long after each other.
fn slow_answer(words: usize, delay_ms: u64) -> Value {
    let words: Vec<String> = (1..=words).map(|n| format!("w{n}")).collect();
    json!({"answer": {"text": words.join(" "), "delay_ms": delay_ms}})
}

/// Deletes a pod whose app, [`POLITE`] in this manifest, is being answered with so many words, so long after each other; its answer
/// comes whole. Returns how long the pod took to go. `seen`: what must be so of the running pod.
pub(crate) async fn ends_whole(
    bed: &Bed,
    mut manifest: Value,
    (words, delay_ms): (usize, u64),
    seen: impl FnOnce(&Pod) -> Result<()>,
) -> Result<Duration> {
    bed.providers()
        .always("anthropic", slow_answer(words, delay_ms))
        .await?;
    manifest["spec"]["containers"][0]["command"] = json!(["/usr/bin/python3", "-c", POLITE]);
    manifest["spec"]["restartPolicy"] = json!("Never");
    bed.apply_one(&manifest).await?;
    let mut log = bed.follow("app", "app").await?;
    log.until("w5\n").await?;
    seen(&bed.pod("app").await?)?;
    let under_way = bed.app_of("app").health().await?["inFlight"].clone();
    ensure!(under_way == 1, "{under_way} requests are under way");
    let begun = Instant::now();
    bed.api::<Pod>().delete("app", &DeleteParams::default()).await?;
    log.until(&format!("w{words}\n[stop]")).await?;
    bed.gone::<Pod>("app").await?;
    let took = begun.elapsed();
    ensure!(
        took < Duration::from_secs(28),
        "the sidecar must not use up the grace period"
    );
    Ok(took)
}

#[tokio::test]
async fn a_pod_deleted_in_mid_stream_ends_its_stream_whole() {
    test("drain", async |bed| {
        let took = ends_whole(bed, bowsprit_e2e::pod_manifest("app"), (40, 200), |_| Ok(())).await?;
        note(&format!("deleted in mid-stream, the pod was gone after {took:.1?}"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_sidecar_told_to_stop_in_mid_stream_ends_the_stream_whole_first() {
    test("sigterm", async |bed| {
        // In one process namespace, and as the same user, the app can do to the sidecar what the kubelet does at its end.
        let mut manifest = bowsprit_e2e::pod_manifest("app");
        manifest["spec"]["shareProcessNamespace"] = json!(true);
        let app = bed.app_from(&manifest).await?;
        bed.providers().always("anthropic", slow_answer(40, 200)).await?;
        let mut stream = app.start(&["/usr/bin/python3", "-c", POLITE]).await?;
        stream.until("w5\n").await?;
        app.python(TERMINATE).await?;
        let answer = stream.finish().await?;
        ensure!(answer.ok && answer.stdout.ends_with("w40\n[stop]\n"), "{answer:?}");

        bed.providers().always("anthropic", json!({"answer": {}})).await?;
        let sidecar = eventually(LONG, "the sidecar has started again", async || {
            let sidecar = json!(app.object().await?.status)["initContainerStatuses"][0].clone();
            ensure!(sidecar["restartCount"] == 1 && sidecar["ready"] == true, "{sidecar}");
            Ok(sidecar)
        })
        .await?;
        ensure!(sidecar["lastState"]["terminated"]["exitCode"] == 0, "{sidecar}");
        ensure!(app.ask("ahoy").await?.starts_with("Hello from anthropic"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_idle_pod_is_deleted_without_delay() {
    test("idledelete", async |bed| {
        let app = bed.app("app").await?;
        app.ask("ahoy").await?;
        let begun = Instant::now();
        bed.api::<Pod>().delete("app", &DeleteParams::default()).await?;
        bed.gone::<Pod>("app").await?;
        note(&format!("an idle pod was gone after {:.1?}", begun.elapsed()));
        ensure!(
            begun.elapsed() < Duration::from_secs(20),
            "nobody was being answered, so nothing is to be waited for"
        );
        Ok(())
    })
    .await;
}
