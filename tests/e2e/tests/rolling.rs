//! Operators are replaced one after the other, as an upgrade does it, while apps ask and people change things: the sidecars move
//! from one that leaves to one that stays, miss no document, and do not storm whoever is left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bowsprit_e2e::{App, LONG, SYSTEM, Test, asking_manifest, eventually, kubectl, note, rolled_out};
use futures::future::try_join_all;

use crate::stream::{change, live, streams};

/// Sidecars of the namespace, beside the one whose app asks.
const SIDECARS: usize = 6;
/// A change is in service everywhere within this, whoever is moving: a sidecar that meets nobody comes again within 5 s.
const LATEST: Duration = Duration::from_secs(15);
/// Streams that a sidecar loses: one for each operator that it may be with, and two attempts that met nobody.
const ENDED: f64 = 5.0;

/// The number of the config that the sidecar has in service.
async fn sequence(app: &App<'_>) -> Result<u64> {
    Ok(app.health().await?["config"]["sequence"].as_u64().unwrap_or_default())
}

async fn ended(app: &App<'_>) -> Result<f64> {
    app.metric("bowsprit_config_stream_ended_total", &[]).await
}

#[tokio::test]
async fn sidecars_move_from_operator_to_operator_and_miss_nothing() {
    Test::new("rolling")
        .alone()
        .run(async |bed| {
            let operators = bed.operators();
            operators.settled().await?;
            let mut apps = vec![bed.app_from(&asking_manifest("busy")).await?];
            let names: Vec<String> = (0..SIDECARS).map(|number| format!("app-{number}")).collect();
            apps.extend(try_join_all(names.iter().map(|name| bed.app(name))).await?);
            try_join_all(apps.iter().map(streams)).await?;
            let (old, ended_before) = (operators.names().await?, try_join_all(apps.iter().map(ended)).await?);

            let is_over = AtomicBool::new(false);
            let rolling = async {
                kubectl(&["-n", SYSTEM, "rollout", "restart", "deployment/bowsprit"]).await?;
                rolled_out(bed).await?;
                // The old ones are gone, and not only on their way.
                operators.settled().await?;
                is_over.store(true, Ordering::Relaxed);
                anyhow::Ok(())
            };
            let changing = async {
                let (mut times, mut sequences) = (Vec::new(), vec![0; apps.len()]);
                for number in 200.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let begun = Instant::now();
                    eventually(LONG, "the apiserver takes a change", async || change(bed, number).await).await?;
                    times.extend(try_join_all(apps.iter().map(|app| live(app, number, begun))).await?);
                    let now = try_join_all(apps.iter().map(sequence)).await?;
                    ensure!(
                        now.iter().zip(&sequences).all(|(now, before)| now > before),
                        "a config went back, or a change brought none: {sequences:?}, then {now:?}"
                    );
                    sequences = now;
                }
                Ok(times)
            };
            let ((), mut times) = futures::try_join!(rolling, changing)?;

            let new = operators.names().await?;
            ensure!(new.iter().all(|name| !old.contains(name)), "{old:?}, then {new:?}");
            try_join_all(apps.iter().map(streams)).await?;
            times.sort_unstable();
            let worst = times.last().copied().unwrap_or_default();
            let ended_after = try_join_all(apps.iter().map(ended)).await?;
            let moves: Vec<f64> = ended_after.iter().zip(&ended_before).map(|(after, before)| after - before).collect();
            note(&format!(
                "{} operators replaced one by one: {} changes meanwhile, in service in {} sidecars after {:.0?} (half of them), {worst:.1?} \
                 (the latest); streams that each sidecar lost: {moves:?}",
                old.len(),
                times.len() / apps.len(),
                apps.len(),
                times.get(times.len() / 2).copied().unwrap_or_default(),
            ));
            ensure!(times.len() >= 5 * apps.len(), "only {} changes were made", times.len() / apps.len());
            ensure!(worst < LATEST, "a change was in service only after {worst:?}");
            ensure!(moves.iter().all(|moves| *moves <= ENDED), "{moves:?} streams ended");
            let asked = apps.first().map(App::asked);
            let lines = match asked {
                Some(asked) => asked.await?,
                None => Vec::new(),
            };
            let failed: Vec<_> = lines.iter().filter(|line| !line.ok).collect();
            ensure!(failed.is_empty() && lines.len() > 50, "{} of {} requests failed: {failed:#?}", failed.len(), lines.len());
            Ok(())
        })
        .await;
}
