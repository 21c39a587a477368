//! An apiserver that is slow rather than away: it stands still nearly all of the time and answers in between, so that each
//! question takes about a second, and some take several. The operators stay, their leader leads, and what is asked for is done.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bowsprit_e2e::machine::Process;
use bowsprit_e2e::{Bed, LONG, Test, asking_manifest, eventually, note};

use crate::stream::{change, live, streams};

/// It is slow for so long; `make chaos` sets more.
fn time() -> Duration {
    let seconds = std::env::var("BOWSPRIT_SLOW_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(30))
}

/// It stands still for this, and goes on for this, in turn.
const STANDS: Duration = Duration::from_millis(850);
const GOES: Duration = Duration::from_millis(150);
/// A change that is made meanwhile is in service within this: the webhook's answer, the write, the watch, each of some questions.
const LATEST: Duration = Duration::from_secs(25);

/// Which operators there are, with how often each was started again, and who leads.
async fn who(bed: &Bed) -> Result<(Vec<(String, i32)>, String)> {
    let operators = bed.operators();
    let mut all = Vec::new();
    for name in operators.names().await? {
        let status = operators.pods().get(&name).await?.status.unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        all.push((name, containers.iter().map(|it| it.restart_count).sum()));
    }
    all.sort();
    Ok((all, operators.leader().await?))
}

#[tokio::test]
async fn an_apiserver_that_takes_a_second_for_each_answer_slows_changes_and_nothing_else() {
    Test::new("slow")
        .alone()
        .run(async |bed| {
            bed.operators().settled().await?;
            let app = bed.app_from(&asking_manifest("app")).await?;
            streams(&app).await?;
            let before = who(bed).await?;
            let apiserver = Process::named("kube-apiserver")?;

            let begun = Instant::now();
            let slowed = async {
                while begun.elapsed() < time() {
                    let stopped = apiserver.stop()?;
                    tokio::time::sleep(STANDS).await;
                    stopped.go_on()?;
                    tokio::time::sleep(GOES).await;
                }
                anyhow::Ok(())
            };
            let changing = async {
                let mut times = Vec::new();
                // Within what the CRD allows for a priority, for however many changes there are.
                for number in (300..900).cycle() {
                    if begun.elapsed() + Duration::from_secs(5) > time() {
                        break;
                    }
                    eventually(LONG, "the apiserver takes a change", async || change(bed, number).await).await?;
                    let taken = Instant::now();
                    times.push(eventually(LONG, "the change is live", async || live(&app, number, taken).await).await?);
                }
                anyhow::Ok(times)
            };
            let ((), times) = futures::try_join!(slowed, changing)?;

            let after = eventually(LONG, "the apiserver tells who is there", async || who(bed).await).await?;
            let lines = app.asked().await?;
            let failed: Vec<_> = lines.iter().filter(|line| !line.ok).collect();
            let mut sorted = times;
            sorted.sort_unstable();
            let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
            let worst = sorted.last().copied().unwrap_or_default();
            note(&format!(
                "the apiserver answered once a second for {:?}: {} changes, in service after p50 {middle:.1?}, at most {worst:.1?}; {} requests, {} failed",
                time(),
                sorted.len(),
                lines.len(),
                failed.len()
            ));
            ensure!(failed.is_empty() && lines.len() > 50, "{} of {} requests failed: {failed:#?}", failed.len(), lines.len());
            ensure!(!sorted.is_empty(), "no change was made");
            ensure!(worst < LATEST, "a change was in service only after {worst:?}");
            ensure!(after == before, "operators went, or another leads: {before:?}, then {after:?}");
            streams(&app).await?;
            bed.operators().settled().await
        })
        .await;
}
