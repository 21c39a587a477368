//! One operator writes at a time, and another goes on soon after it stops, dies or stands still.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bowsprit_crds::{ProviderConfig, names};
use bowsprit_e2e::{Bed, LONG, Test, audit, eventually, note};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

/// How often each is measured.
const ROUNDS: u32 = 3;
/// After a clean stop another leads within this.
const AFTER_A_STOP: Duration = Duration::from_secs(5);
/// And after a kill: a lease of 15 s, and the last renewal seen up to 2.4 s late.
const AFTER_A_KILL: Duration = Duration::from_secs(20);
/// All is as it was written, whatever the operator died of.
const CONVERGED: Duration = Duration::from_secs(30);
/// Longer than a lease.
const STANDS_STILL: Duration = Duration::from_secs(30);

/// Changes something, and says how that looks in the config.
async fn edit(bed: &Bed, priority: u32) -> Result<String> {
    let change = json!({"spec": {"priority": priority}});
    bed.api::<ProviderConfig>()
        .patch("openai", &PatchParams::default(), &Patch::Merge(&change))
        .await?;
    Ok(format!("priority: {priority}\n"))
}

async fn is_rendered(bed: &Bed, wanted: &str) -> Result<()> {
    eventually(LONG, "the change is rendered", async || {
        let map = bed.api::<ConfigMap>().get(names::CONFIG_MAP).await?;
        let text = map
            .data
            .unwrap_or_default()
            .remove(names::CONFIG_KEY)
            .unwrap_or_default();
        ensure!(text.contains(wanted), "{text}");
        Ok(())
    })
    .await
}

/// Waits until somebody else leads, and says who.
async fn another_leads(bed: &Bed, before: &str) -> Result<String> {
    eventually(LONG, "another operator leads", async || {
        let leader = bed.operators().leader().await?;
        ensure!(!leader.is_empty() && leader != before, "{leader:?} leads");
        Ok(leader)
    })
    .await
}

fn worst(times: &[Duration]) -> Duration {
    times.iter().max().copied().unwrap_or_default()
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_or_is_killed_is_followed_soon() {
    Test::new("handover")
        .alone()
        .run(async |bed| {
            let operators = bed.operators();
            let (mut stopped, mut killed) = (Vec::new(), Vec::new());
            for round in 0..ROUNDS * 2 {
                operators.settled().await?;
                let leader = operators.leader().await?;
                let is_clean = round < ROUNDS;
                let how = if is_clean {
                    DeleteParams::default()
                } else {
                    DeleteParams::default().grace_period(0)
                };
                let begun = Instant::now();
                operators.pods().delete(&leader, &how).await?;
                let change = edit(bed, 40 + round).await?;
                another_leads(bed, &leader).await?;
                if is_clean { &mut stopped } else { &mut killed }.push(begun.elapsed());
                is_rendered(bed, &change).await?;
            }
            note(&format!(
                "another led after a clean stop: {stopped:.1?}, after a kill: {killed:.1?}"
            ));
            operators.settled().await?;
            ensure!(worst(&stopped) < AFTER_A_STOP, "after a clean stop: {stopped:?}");
            ensure!(worst(&killed) < AFTER_A_KILL, "after a kill: {killed:?}");
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn a_leader_killed_in_the_middle_of_its_work_leaves_nothing_half_done() {
    Test::new("killed")
        .alone()
        .run(async |bed| {
            let app = bed.app("app").await?;
            let operators = bed.operators();
            let mut times = Vec::new();
            // From before it has heard of the change to after it has told of it.
            for (round, pause) in (0..).zip([0, 20, 60, 120, 300]) {
                let process = eventually(LONG, "somebody leads and runs", async || {
                    operators.process(&operators.leader().await?).await
                })
                .await?;
                let change = edit(bed, 50 + round).await?;
                tokio::time::sleep(Duration::from_millis(pause)).await;
                process.signal("KILL")?;
                let begun = Instant::now();
                is_rendered(bed, &change).await?;
                for name in ["claude", "gemini", "openai"] {
                    bed.condition::<ProviderConfig>(name, "Programmed", "True").await?;
                }
                times.push(begun.elapsed());
                ensure!(app.ask("ahoy").await?.starts_with("Hello"));
            }
            note(&format!("all was as written so long after a kill -9: {times:.1?}"));
            ensure!(worst(&times) < CONVERGED, "{times:?}");
            operators.settled().await
        })
        .await;
}

#[tokio::test]
async fn a_leader_that_stood_still_past_its_lease_writes_nothing_when_it_goes_on() {
    Test::new("frozen")
        .alone()
        .run(async |bed| {
            let operators = bed.operators();
            operators.settled().await?;
            let leader = operators.leader().await?;
            let process = operators.process(&leader).await?;
            // Changes all the time: it stops in the middle of one, and wakes to many.
            let editing = async {
                for round in 0_u32.. {
                    edit(bed, 100 + round % 800).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                anyhow::Ok(())
            };
            let story = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let begun = Instant::now();
                let stopped = process.stop()?;
                let other = another_leads(bed, &leader).await?;
                let (took, led_at) = (begun.elapsed(), Timestamp::now());
                eventually(LONG, "the other one writes", async || {
                    let writes = audit::writes().await?;
                    ensure!(writes.iter().any(|write| write.pod == other && write.what.contains("configmaps")));
                    Ok(())
                })
                .await?;
                tokio::time::sleep(STANDS_STILL.saturating_sub(begun.elapsed())).await;
                stopped.go_on()?;
                // Long enough for all that it had under way, and for what wakes up in it.
                tokio::time::sleep(Duration::from_secs(5)).await;
                anyhow::Ok((took, led_at, other))
            };
            let (took, led_at, other) = tokio::select! {
                end = editing => anyhow::bail!("the edits ended: {end:?}"),
                told = story => told?,
            };
            let since = led_at.to_string();
            let writes = audit::writes().await?;
            let after: Vec<_> = writes.iter().filter(|write| write.at > since).collect();
            let of = |pod: &str| after.iter().filter(|write| write.pod == *pod).collect::<Vec<_>>();
            let (ours, theirs) = (of(&leader), of(&other));
            let taken: Vec<_> = ours.iter().filter(|write| write.was_taken()).collect();
            note(&format!(
                "a leader stood still for {STANDS_STILL:?}; another led after {took:.1?} and made {} writes; when the old one went on it \
                 tried {} and made {}",
                theirs.len(),
                ours.len(),
                taken.len()
            ));
            ensure!(!theirs.is_empty(), "the audit log shows nothing of the new leader");
            ensure!(taken.is_empty(), "{leader} wrote while {other} led: {taken:#?}");
            ensure!(took < AFTER_A_KILL, "another led only after {took:?}");
            operators.settled().await
        })
        .await;
}
