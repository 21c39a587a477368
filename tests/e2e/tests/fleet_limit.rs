//! A limit that all sidecars of a namespace share holds over their traffic together, whoever leads the operators.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bowsprit_crds::ProviderConfig;
use bowsprit_e2e::{App, Bed, LONG, Test, eventually, note};
use futures::future::try_join;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

/// Requests a minute of all sidecars together.
const LIMIT: u32 = 60;
/// Each app asks for so long, seconds: shares follow the demand first, a leader's lease is 15 s, and another follows within 20.
const ASKING: u32 = 60;

/// What may be admitted beside that: a tenth of a minute's worth in the buckets, and of each of two sidecars one request there, one that was the
/// last of a bucket and one without a share.
const BESIDE: f64 = 6.0 + 2.0 * 3.0;

async fn has_a_share(app: &App<'_>) -> Result<()> {
    eventually(LONG, &format!("{} has a share of the limit", app.pod), async || {
        let text = app.admin("/metrics").await?;
        let is_there = text.lines().any(|line| line.starts_with("bowsprit_share_floor{"));
        ensure!(is_there, "it knows of no such limit");
        let floor = app.metric("bowsprit_share_floor", &[]).await?;
        ensure!(floor < 0.5, "it goes on with its floor");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_limit_of_the_fleet_holds_over_two_pods_together_though_the_leader_is_killed() {
    Test::new("fleetlimit").alone().run(both_ask).await;
}

async fn both_ask(bed: &Bed) -> Result<()> {
    let operators = bed.operators();
    operators.settled().await?;
    let (one, two) = (bed.app("one").await?, bed.app("two").await?);
    let limits = json!({"spec": {"rateLimits": {"requestsPerMinute": LIMIT, "scope": "Fleet", "onLimit": "Reject"}}});
    bed.api::<ProviderConfig>()
        .patch("claude", &PatchParams::default(), &Patch::Merge(&limits))
        .await?;
    bed.in_service("claude", 2).await?;
    try_join(has_a_share(&one), has_a_share(&two)).await?;
    bed.providers().reset().await?;

    let begun = Instant::now();
    let (mut ones, mut twos) = try_join(one.ask_on(ASKING, None), two.ask_on(ASKING, None)).await?;
    try_join(ones.until("begun"), twos.until("begun")).await?;
    // More than the buckets held: shares have followed the demand. Who has wanted nothing yet holds nearly nothing, and has no
    // more than that until another leads.
    eventually(LONG, "both have what they want of the limit", async || {
        let admitted = bed.providers().asked("anthropic").await?;
        ensure!(admitted > 16, "{admitted} were admitted");
        Ok(())
    })
    .await?;
    let leader = operators.leader().await?;
    let kill = DeleteParams::default().grace_period(0);
    operators.pods().delete(&leader, &kill).await?;
    let (ones, twos) = try_join(ones.finish(), twos.finish()).await?;
    let took = begun.elapsed();
    ensure!(ones.ok && twos.ok, "{ones:?} {twos:?}");

    let admitted = bed.providers().asked("anthropic").await?;
    let got = |stdout: &str| -> Result<Value> {
        let last = stdout.lines().last().context("no line")?;
        serde_json::from_str(last).with_context(|| format!("no JSON: {stdout}"))
    };
    let (ones, twos) = (got(&ones.stdout)?, got(&twos.stdout)?);
    let bound = f64::from(LIMIT) / 60.0 * 1.01 * took.as_secs_f64() + BESIDE;
    note(&format!(
        "{admitted} admitted in {:.1} s, bound {bound:.0}; one got {ones}, two got {twos}",
        took.as_secs_f64()
    ));
    #[allow(clippy::cast_precision_loss, reason = "some tens")]
    let is_held = (admitted as f64) <= bound;
    ensure!(is_held, "{admitted} were admitted, and the limit allows {bound}");
    ensure!(admitted >= 30, "nearly nothing passed: {ones} {twos}");
    for got in [&ones, &twos] {
        let others = got
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(status, _)| !["200", "429"].contains(&status.as_str()));
        ensure!(others.count() == 0, "{got}");
        ensure!(
            got["429"].as_u64() > Some(0),
            "it was under the limit all the time: {got}"
        );
    }

    // Another leads, lends on, and the limit has room again.
    eventually(LONG, "another operator leads", async || {
        let now = operators.leader().await?;
        ensure!(!now.is_empty() && now != leader, "{now:?} leads");
        Ok(())
    })
    .await?;
    try_join(has_a_share(&one), has_a_share(&two)).await?;
    for app in [&one, &two] {
        eventually(
            Duration::from_mins(2),
            &format!("{} is let through again", app.pod),
            async || app.ask("ahoy").await.map(drop),
        )
        .await?;
    }
    operators.settled().await
}
