//! A storm of changes, a thousand a minute: each kind of them, also a provider that goes while it is in use and a limit that is cut
//! below what is used. Requests go on, the last change wins, and nothing grows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bowsprit_crds::ProviderConfig;
use bowsprit_e2e::{App, Bed, LONG, Test, asking_manifest, eventually, note};
use futures::future::try_join_all;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::stream::{change, live, streams};

/// Changes are made for so long; `make chaos` sets more.
fn time() -> Duration {
    let seconds = std::env::var("BOWSPRIT_STORM_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(15))
}

/// From one change to the next: a thousand a minute.
const EVERY: Duration = Duration::from_millis(60);
/// The last change is in service everywhere within this.
const SETTLED: Duration = Duration::from_secs(10);
/// An operator may grow by this, MiB, and a sidecar by this.
const OPERATORS_GROWTH: u64 = 32;
const SIDECARS_GROWTH: f64 = 8.0;

/// A provider that comes and goes, and is asked first while it is there.
fn spare(bed: &Bed) -> Value {
    json!({
        "apiVersion": "bowsprit.dev/v1alpha1", "kind": "ProviderConfig", "metadata": {"name": "spare"},
        "spec": {
            "provider": "Anthropic", "priority": 1,
            "endpoint": {"baseUrl": format!("http://providers.{}.svc:9100", bed.namespace), "allowHttp": true},
            "credentials": [{"name": "main", "secretKeyRef": {"name": "keys", "key": "anthropic"}}],
            "models": [{"name": "claude-sonnet-4-5", "aliases": ["gpt-5-mini"]}],
            "retry": {"backoff": {"base": "50ms", "max": "100ms"}},
        }
    })
}

/// The change of this number.
async fn make(bed: &Bed, number: usize) -> Result<()> {
    let providers = bed.api::<ProviderConfig>();
    match number % 20 {
        5 => bed.apply_one(&spare(bed)).await.map(drop),
        15 => providers
            .delete("spare", &DeleteParams::default())
            .await
            .map(drop)
            .context("deleting spare"),
        8 | 18 => {
            let most = if number % 20 == 8 { 1 } else { 50 };
            let limit = json!({"spec": {"rateLimits": {"concurrentRequests": most}}});
            let patched = providers
                .patch("claude", &PatchParams::default(), &Patch::Merge(&limit))
                .await;
            patched.map(drop).context("cutting a limit")
        }
        _ => change(bed, 100 + number % 800).await,
    }
}

async fn sequence(app: &App<'_>) -> Result<u64> {
    Ok(app.health().await?["config"]["sequence"].as_u64().unwrap_or_default())
}

async fn mebibytes(app: &App<'_>) -> Result<f64> {
    Ok(app.metric("process_resident_memory_bytes", &[]).await? / f64::from(1 << 20))
}

/// The memory of each operator, MiB, and the ConfigMaps that all of them wrote.
async fn operators(bed: &Bed) -> Result<(Vec<u64>, f64)> {
    let (mut memory, mut writes) = (Vec::new(), 0.0);
    for name in bed.operators().names().await? {
        memory.push(bed.operators().process(&name).await?.mebibytes()?);
        writes += bed
            .operators()
            .metric(&name, "bowsprit_operator_config_writes_total")
            .await?;
    }
    Ok((memory, writes))
}

#[tokio::test]
async fn a_thousand_changes_a_minute_fail_no_request_and_the_last_one_wins() {
    Test::new("storm")
        .alone()
        .run(async |bed| {
            bed.operators().settled().await?;
            let names = ["one", "two", "three", "four"];
            let manifests = names.map(asking_manifest);
            let apps = try_join_all(manifests.iter().map(|manifest| bed.app_from(manifest))).await?;
            try_join_all(apps.iter().map(streams)).await?;
            // The first storm fills what is filled once, such as buffers.
            for number in 0..20 {
                make(bed, number).await?;
            }
            let memory_before = try_join_all(apps.iter().map(mebibytes)).await?;
            let (operators_before, writes_before) = operators(bed).await?;

            let is_over = AtomicBool::new(false);
            let begun = Instant::now();
            let changing = async {
                let mut turn = tokio::time::interval(EVERY);
                turn.set_missed_tick_behavior(MissedTickBehavior::Burst);
                let mut made = 0;
                // Whole rounds: at the end the provider that comes and goes is gone.
                while begun.elapsed() < time() || made % 20 != 0 {
                    turn.tick().await;
                    make(bed, made).await?;
                    made += 1;
                }
                is_over.store(true, Ordering::Relaxed);
                anyhow::Ok(made)
            };
            let watching = async {
                let mut sequences = vec![0; apps.len()];
                while !is_over.load(Ordering::Relaxed) {
                    let now = try_join_all(apps.iter().map(sequence)).await?;
                    ensure!(
                        now.iter().zip(&sequences).all(|(now, before)| now >= before),
                        "a config went back: {sequences:?}, then {now:?}"
                    );
                    sequences = now;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                Ok(())
            };
            let (made, ()) = futures::try_join!(changing, watching)?;
            let took = begun.elapsed();

            let last = Instant::now();
            eventually(LONG, "the last change is taken", async || change(bed, 950).await).await?;
            let times = try_join_all(apps.iter().map(|app| live(app, 950, last))).await?;
            let settled = times.iter().max().copied().unwrap_or_default();
            for app in &apps {
                let health = app.health().await?;
                ensure!(!health["providers"].to_string().contains("spare"), "{health:#}");
            }
            let memory_after = try_join_all(apps.iter().map(mebibytes)).await?;
            let (operators_after, writes_after) = operators(bed).await?;
            let writes = writes_after - writes_before;
            let mut lines = Vec::new();
            for app in &apps {
                lines.extend(app.asked().await?);
            }
            let failed: Vec<_> = lines.iter().filter(|line| !line.ok).collect();
            #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
            let made = made as f64;
            let rate = made / took.as_secs_f64() * 60.0;
            note(&format!(
                "{made} changes in {took:.0?}, {rate:.0} a minute, became {writes} configs; {} requests, {} failed; the last change was in service \
                 after {settled:.1?}; MiB of the sidecars {memory_before:.0?}, then {memory_after:.0?}, of the operators {operators_before:?}, \
                 then {operators_after:?}",
                lines.len(),
                failed.len()
            ));
            ensure!(failed.is_empty() && lines.len() > 100, "{} of {} requests failed: {failed:#?}", failed.len(), lines.len());
            ensure!(rate > 500.0, "only {rate:.0} changes a minute: the machine is too slow to tell");
            ensure!(writes > 0.0 && writes <= made + 1.0, "{writes} configs of {made} changes");
            ensure!(settled < SETTLED, "the last change was in service only after {settled:?}");
            let grown = operators_after.iter().zip(&operators_before).map(|(after, before)| after.saturating_sub(*before));
            ensure!(grown.max().unwrap_or_default() <= OPERATORS_GROWTH, "{operators_before:?}, then {operators_after:?}");
            let grown = memory_after.iter().zip(&memory_before).map(|(after, before)| after - before);
            ensure!(grown.fold(0.0, f64::max) <= SIDECARS_GROWTH, "{memory_before:?}, then {memory_after:?}");
            Ok(())
        })
        .await;
}
