//! A named limit that all sidecars of a namespace share holds over the traffic of three pods together, and fails no request; and one that is new
//! is lent at once, whoever leads since when.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use bowsprit_core::share::bound::{Facts, bound};
use bowsprit_core::share::leader::SETTLED;
use bowsprit_crds::{UsagePolicy, names};
use bowsprit_e2e::{App, Bed, LONG, Running, Test, Turn, eventually, note};
use futures::future::try_join_all;
use kube::api::DeleteParams;
use serde_json::{Value, json};

/// Pods under the limit.
const PODS: u64 = 3;
/// Requests a minute of all sidecars together.
const LIMIT: u32 = 120;
/// Each app asks for so long, seconds: shares follow the demand first.
const ASKING: u32 = 45;

/// What this sidecar says of the limit.
async fn limit(app: &App<'_>) -> Result<Value> {
    let health = app.health().await?;
    let limits = health["limits"].as_array().context("no limits")?;
    let limit = limits.iter().find(|limit| limit["name"] == "policy/house/together");
    limit
        .cloned()
        .with_context(|| format!("{} knows of no such limit", app.pod))
}

/// Who asks for nothing has nothing of so small a limit.
async fn have_shares(apps: &[App<'_>], within: Duration) -> Result<()> {
    eventually(within, "each sidecar has a share of the limit", async || {
        let asking = try_join_all(apps.iter().map(|app| app.ask_on(2, None))).await?;
        try_join_all(asking.into_iter().map(Running::finish)).await?;
        for app in apps {
            let limit = limit(app).await?;
            ensure!(
                limit["isWithoutShare"] != true && limit["shares"]["requestsPerMinute"].as_u64() > Some(10),
                "{}: {limit}",
                app.pod
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_named_limit_of_the_fleet_holds_over_three_pods_together_and_fails_no_request() {
    Test::new("namedlimit").run(all_ask).await;
}

/// Applies the limit.
async fn limit_them(bed: &Bed) -> Result<()> {
    bed.apply_one(&json!({
        "apiVersion": "bowsprit.dev/v1alpha1", "kind": "UsagePolicy", "metadata": {"name": "house"},
        "spec": {"limits": [{"name": "together", "requestsPerMinute": LIMIT, "scope": "Fleet", "per": "Namespace"}]},
    }))
    .await?;
    bed.condition::<UsagePolicy>("house", "Accepted", "True").await?;
    Ok(())
}

#[tokio::test]
async fn a_named_limit_that_is_new_is_lent_at_once_when_another_has_just_begun_to_lead() {
    Test::new("newlimit").run_by_turns(another_has_just_begun).await;
}

/// Its config has been in service for so long that nobody holds anything of what was there before.
async fn is_settled(bed: &Bed) -> Result<()> {
    eventually(SETTLED * 2, "the namespace's config is no news any more", async || {
        let map = bed.rendered(|_| true).await?;
        let sequence = map.data.as_ref().and_then(|data| data.get(names::SEQUENCE_KEY));
        let written: u64 = sequence.context("no sequence")?.parse()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        ensure!(
            now > written + SETTLED.as_secs(),
            "it is of {} s ago",
            now - written.min(now)
        );
        Ok(())
    })
    .await
}

async fn another_has_just_begun(bed: &Bed, turn: &mut Turn) -> Result<()> {
    let operators = bed.operators();
    let mut apps = Vec::new();
    for pod in 0..PODS {
        apps.push(bed.app(&format!("app-{pod}")).await?);
    }
    is_settled(bed).await?;
    turn.alone().await;
    // Whoever was alone before may have taken the CRDs away, and the config may have been written anew.
    bed.furnish().await?;
    is_settled(bed).await?;
    operators.settled().await?;
    let leader = operators.leader().await?;
    operators.pods().delete(&leader, &DeleteParams::default()).await?;
    eventually(LONG, "another operator leads", async || {
        let now = operators.leader().await?;
        ensure!(!now.is_empty() && now != leader, "{now:?} leads");
        Ok(())
    })
    .await?;
    limit_them(bed).await?;
    // A limit that the leader before may have lent would be lent a minute after.
    have_shares(&apps, Duration::from_secs(45)).await?;
    operators.settled().await
}

async fn all_ask(bed: &Bed) -> Result<()> {
    bed.operators().settled().await?;
    let mut apps = Vec::new();
    for pod in 0..PODS {
        apps.push(bed.app(&format!("app-{pod}")).await?);
    }
    limit_them(bed).await?;
    have_shares(&apps, LONG).await?;
    bed.providers().reset().await?;

    let begun = Instant::now();
    let mut running = try_join_all(apps.iter().map(|app| app.ask_on(ASKING, Some("together")))).await?;
    try_join_all(running.iter_mut().map(|app| app.until("begun"))).await?;
    let told = try_join_all(running.into_iter().map(Running::finish)).await?;
    let facts = Facts {
        limit: LIMIT.into(),
        window: begun.elapsed(),
        pods: PODS,
        largest: 1,
        ..Facts::default()
    };
    let admitted = bed.providers().asked("anthropic").await?;
    let took = facts.window.as_secs_f64();
    let (limit, beyond) = (f64::from(LIMIT) / 60.0 * took, bound(&facts));
    note(&format!(
        "{admitted} admitted in {took:.1} s, limit {limit:.0} and bound {beyond}"
    ));
    let mut answered = 0;
    for output in told {
        ensure!(output.ok, "{output:?}");
        let last = output.stdout.lines().last().context("no line")?;
        let got: Value = serde_json::from_str(last).with_context(|| format!("no JSON: {last}"))?;
        note(&format!("one pod got {got}"));
        let statuses: Vec<&str> = got
            .as_object()
            .into_iter()
            .flatten()
            .map(|(status, _)| &**status)
            .collect();
        ensure!(statuses.iter().all(|status| ["200", "429"].contains(status)), "{got}");
        ensure!(
            got["429"].as_u64() > Some(0),
            "it was under the limit all the time: {got}"
        );
        answered += got["200"].as_u64().unwrap_or(0);
    }
    ensure!(answered == admitted, "{answered} were answered, and {admitted} asked");
    #[allow(clippy::cast_precision_loss, reason = "some hundreds")]
    let is_held = admitted as f64 <= limit + beyond as f64;
    ensure!(
        is_held,
        "{admitted} were admitted, and the limit allows {limit:.0} and {beyond}"
    );
    ensure!(admitted >= 45, "nearly nothing passed");
    Ok(())
}
