//! The apiserver goes away: pods are answered as before, sidecars start again from their files, and when it is back the operator
//! does what was asked for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bowsprit_crds::ProviderConfig;
use bowsprit_e2e::machine::Process;
use bowsprit_e2e::{App, Bed, LONG, Line, SHORT, Test, asking_manifest, eventually, note};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// The apiserver is away for so long; `make chaos` sets ten minutes.
fn away() -> Duration {
    let seconds = std::env::var("BOWSPRIT_OUTAGE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(30))
}

/// A killed sidecar answers again within this, with nobody there but the kubelet.
const RESTARTED: Duration = Duration::from_secs(10);
/// All is as written so long after the apiserver is back.
const CONVERGED: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_apiserver_that_is_away_costs_no_request_and_a_killed_sidecar_starts_from_its_files() {
    Test::new("outage")
        .alone()
        .run(async |bed| {
            bed.operators().settled().await?;
            let (steady, hit) = (bed.app_from(&asking_manifest("steady")).await?, bed.app_from(&asking_manifest("hit")).await?);
            let sidecar = Process::of(&hit.object().await?, "bowsprit")?;
            let apiserver = Process::named("kube-apiserver")?;
            let away = away();

            let stopped = apiserver.stop()?;
            let gone = Timestamp::now().to_string();
            tokio::time::sleep(away / 3).await;
            sidecar.signal("KILL")?;
            let killed = Timestamp::now();
            tokio::time::sleep(away * 2 / 3).await;
            let back = Timestamp::now().to_string();
            stopped.go_on()?;

            let begun = Instant::now();
            follows(bed, &steady).await?;
            let converged = begun.elapsed();
            let (calm, restarted) = (during(&steady, &gone, &back).await?, during(&hit, &gone, &back).await?);
            let failed: Vec<_> = calm.iter().filter(|line| !line.ok).collect();
            ensure!(failed.is_empty(), "{} of {} requests failed: {failed:#?}", failed.len(), calm.len());
            let lost = restarted.iter().filter(|line| !line.ok).count();
            let silence = silence(&restarted, &killed.to_string())?;
            note(&format!(
                "the apiserver stood still for {away:?}: {} requests, 0 failed; a sidecar killed meanwhile answered again after {silence:.1?} \
                 ({lost} of {} requests lost); a change made then was with the pods {converged:.1?} after it came back",
                calm.len(),
                restarted.len()
            ));
            ensure!(calm.len() > 50, "only {} requests were made", calm.len());
            ensure!(silence < RESTARTED, "the sidecar came back after {silence:?}");
            ensure!(converged < CONVERGED, "converged only after {converged:?}");
            let restarts = eventually(SHORT, "the kubelet has told of the restart", async || {
                let restarts = hit.restarts().await?;
                ensure!(restarts > 0, "not yet");
                Ok(restarts)
            })
            .await?;
            ensure!(restarts == 1, "its sidecar was started {restarts} times again");
            bed.operators().settled().await
        })
        .await;
}

/// A change arrives in the sidecar, and is told.
async fn follows(bed: &Bed, app: &App<'_>) -> Result<()> {
    let change = json!({"spec": {"priority": 77}});
    eventually(LONG, "the apiserver takes a change", async || {
        let providers = bed.api::<ProviderConfig>();
        providers
            .patch("openai", &PatchParams::default(), &Patch::Merge(&change))
            .await?;
        Ok(())
    })
    .await?;
    let map = bed.rendered(|text| text.contains("priority: 77\n")).await?;
    let revision = map.data.unwrap_or_default().remove("revision").unwrap_or_default();
    eventually(LONG, "the sidecar has it", async || {
        let health = app.health().await?;
        ensure!(health["config"]["revision"] == *revision, "{health}");
        Ok(())
    })
    .await?;
    bed.condition::<ProviderConfig>("openai", "Programmed", "True")
        .await
        .map(drop)
}

/// What was asked between two times.
async fn during(app: &App<'_>, from: &str, to: &str) -> Result<Vec<Line>> {
    let lines = app.asked().await?;
    // Both are RFC 3339 in UTC, and compare as texts up to the seconds.
    let (from, to) = (from.get(..19).unwrap_or(from), to.get(..19).unwrap_or(to));
    Ok(lines
        .into_iter()
        .filter(|line| line.time.as_str() > from && line.time.as_str() < to)
        .collect())
}

/// From the kill to the first answer after the last failure.
fn silence(lines: &[Line], killed: &str) -> Result<Duration> {
    let at = |line: &Line| line.time.parse::<Timestamp>().with_context(|| line.time.clone());
    let killed: Timestamp = killed.parse()?;
    let last_failure = lines.iter().rposition(|line| !line.ok);
    let first = last_failure.map_or(0, |last| last + 1);
    let answered = lines.get(first).context("it never answered again")?;
    let silence = if last_failure.is_some() {
        at(answered)?.as_millisecond() - killed.as_millisecond()
    } else {
        0
    };
    Ok(Duration::from_millis(u64::try_from(silence).unwrap_or_default()))
}
