//! Limits that a Redis counts for all sidecars of a namespace: they hold, each caller's apart too, and no request fails, while that Redis is
//! killed and is back.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bowsprit_core::share::bound::{Facts, with_store};
use bowsprit_crds::{ProviderConfig, UsagePolicy};
use bowsprit_e2e::machine::NODE;
use bowsprit_e2e::{App, Bed, LONG, Running, Test, eventually, note, stays};
use futures::future::try_join_all;
use kube::api::{Patch, PatchParams};
use serde::Deserialize;
use serde_json::{Value, json};

/// Of no other test.
const PORT: u16 = 6389;
const PORT_OF_CALLERS: u16 = 6391;
/// Pods, and what each of them asks a second at the most.
const PODS: u64 = 3;
/// Requests a minute of all sidecars together.
const LIMIT: u32 = 120;
/// A request's deadline, for the app that asks, seconds: many times what the sidecar waits for the store.
const DEADLINE: u32 = 10;

/// How long the Redis is away: `BOWSPRIT_STORE_SECONDS`, 15 where it is not set. Six hundred is what is promised.
fn away() -> Duration {
    let seconds = std::env::var("BOWSPRIT_STORE_SECONDS").map_or(Ok(15), |text| text.parse());
    Duration::from_secs(seconds.expect("BOWSPRIT_STORE_SECONDS must be a whole number"))
}

/// Asks ten times a second at the most, until it is told to stop, and says at the end how often it got which status; `late` are those that
/// were not answered by their deadline.
const ASK: &str = r"
import json, socket, sys, time, urllib.request, urllib.error
asked = {'model': 'claude-sonnet-4-5', 'messages': [{'role': 'user', 'content': 'ahoy'}]}
got, longest = {}, 0.0
stop = socket.create_server(('127.0.0.1', int(sys.argv[2])))
stop.settimeout(0.1)
while True:
    try:
        stop.accept()
        break
    except TimeoutError:
        pass
    request = urllib.request.Request('http://127.0.0.1:4000/v1/chat/completions', json.dumps(asked).encode(), {'content-type': 'application/json'})
    begun = time.monotonic()
    try:
        status = urllib.request.urlopen(request, timeout=float(sys.argv[1])).status
    except urllib.error.HTTPError as error:
        status = error.code
    except TimeoutError:
        status = 'late'
    except OSError as error:
        status = str(error)
    longest = max(longest, time.monotonic() - begun)
    if not got:
        print('begun', flush=True)
    got[status] = got.get(status, 0) + 1
print(json.dumps({'got': got, 'longest': longest}))
";
/// Who connects to this port of loopback tells it: it may write no file.
const STOP: &str = "4999";

/// What an app says at the end.
#[derive(Debug, Deserialize)]
struct Told {
    got: serde_json::Map<String, Value>,
    longest: f64,
}

/// For so many seconds each of two teams asks ten times a second at the most; says at the end how often each got which status.
const ASK_AS_TEAMS: &str = r"
import json, sys, time, urllib.request, urllib.error
asked = {'model': 'claude-sonnet-4-5', 'messages': [{'role': 'user', 'content': 'ahoy'}]}
got, end = {'red': {}, 'blue': {}}, time.monotonic() + float(sys.argv[1])
print('begun', flush=True)
while time.monotonic() < end:
    for team, of_team in got.items():
        headers = {'content-type': 'application/json', 'x-team': team}
        request = urllib.request.Request('http://127.0.0.1:4000/v1/chat/completions', json.dumps(asked).encode(), headers)
        try:
            status = urllib.request.urlopen(request, timeout=60).status
        except urllib.error.HTTPError as error:
            status = error.code
        of_team[status] = of_team.get(status, 0) + 1
    time.sleep(0.1)
print(json.dumps(got))
";
/// Requests a minute of each team.
const LIMIT_OF_TEAM: u32 = 60;

/// Debian's Redis on the node. It ends with the thread that made it.
struct Redis {
    port: u16,
    folder: PathBuf,
    process: Option<Child>,
}

impl Redis {
    fn on(port: u16) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("bowsprit-e2e-redis-{:08x}", fastrand::u32(..)));
        std::fs::create_dir(&folder)?;
        Ok(Self {
            port,
            folder,
            process: None,
        })
    }

    /// With nothing in it.
    async fn start(&mut self) -> Result<()> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-server", "--bind", NODE, "--port"]);
        command.arg(self.port.to_string());
        // Without it, it takes no questions from other machines, and those of a pod are such.
        command.args(["--protected-mode", "no", "--save", "", "--dir"]);
        command.arg(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().context("apt-get install redis-server")?;
        self.process = Some(process);
        eventually(LONG, "Redis answers", async || {
            TcpStream::connect((NODE, self.port)).map(drop).map_err(Into::into)
        })
        .await
    }

    /// Without a word to those connected.
    fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it does not run")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether each sidecar asks the store, by its own word.
async fn asks_the_store(apps: &[App<'_>]) -> Result<Vec<bool>> {
    try_join_all(apps.iter().map(async |app| {
        let text = app.admin("/metrics").await?;
        let is_there = text.lines().any(|line| line.starts_with("bowsprit_store_answers{"));
        ensure!(is_there, "{} knows of no store", app.pod);
        Ok(app.metric("bowsprit_store_answers", &[]).await? > 0.5)
    }))
    .await
}

/// Requests of each sidecar that went on by its share.
async fn fallbacks(apps: &[App<'_>]) -> Result<Vec<f64>> {
    try_join_all(apps.iter().map(|app| app.metric("bowsprit_store_fallbacks_total", &[]))).await
}

async fn all_ask_the_store(apps: &[App<'_>]) -> Result<()> {
    eventually(LONG, "all sidecars ask the store", async || {
        let asks = asks_the_store(apps).await?;
        ensure!(asks.iter().all(|asks| *asks), "{asks:?}");
        Ok(())
    })
    .await
}

/// Shares have been lent, so that they can stand in.
async fn have_shares(apps: &[App<'_>]) -> Result<()> {
    eventually(LONG, "each sidecar has a share of the limit", async || {
        for app in apps {
            let floor = app.metric("bowsprit_share_floor", &[]).await?;
            ensure!(floor < 0.5, "{} goes on with its floor", app.pod);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_redis_that_is_killed_under_traffic_fails_no_request_and_the_limit_holds() {
    Test::new("store").run(killed_under_traffic).await;
}

async fn killed_under_traffic(bed: &Bed) -> Result<()> {
    bed.operators().settled().await?;
    let mut redis = Redis::on(PORT)?;
    redis.start().await?;
    bed.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: limits}}\nstringData: {{url: 'redis://{NODE}:{PORT}'}}\n"
    ))
    .await?;
    let limits = json!({
        "requestsPerMinute": LIMIT, "scope": "Fleet", "onLimit": "Reject",
        "store": {"redisRef": {"name": "limits", "key": "url"}, "timeout": "1s"},
    });
    bed.api::<ProviderConfig>()
        .patch(
            "claude",
            &PatchParams::default(),
            &Patch::Merge(&json!({"spec": {"rateLimits": limits}})),
        )
        .await?;
    // Made after the operators know that the Secret is named.
    bed.rendered(|text| text.contains("redisRef")).await?;
    let mut apps = Vec::new();
    for pod in 0..PODS {
        apps.push(bed.app_with(&format!("app-{pod}"), "limits").await?);
    }
    bed.in_service("claude", 3).await?;
    all_ask_the_store(&apps).await?;
    have_shares(&apps).await?;
    bed.providers().reset().await?;

    let begun = Instant::now();
    let deadline = DEADLINE.to_string();
    let command = ["/usr/bin/python3", "-c", ASK, &deadline, STOP];
    let mut running = try_join_all(apps.iter().map(|app| app.start(&command))).await?;
    try_join_all(running.iter_mut().map(|app| app.until("begun"))).await?;
    is_admitted(bed, 0, 30).await?;
    let before = fallbacks(&apps).await?;

    redis.kill()?;
    let killed = bed.providers().asked("anthropic").await?;
    eventually(LONG, "requests of all sidecars go on by their shares", async || {
        let now = fallbacks(&apps).await?;
        ensure!(now.iter().zip(&before).all(|(now, before)| now > before), "{now:?}");
        Ok(())
    })
    .await?;
    let away = away();
    stays(away, "no sidecar asks the store", async || asks_the_store(&apps).await).await?;
    ensure!(asks_the_store(&apps).await? == [false; 3], "the store is gone");
    // Two a second are the limit; one is what must pass of it.
    is_admitted(bed, killed, away.as_secs()).await?;

    redis.start().await?;
    all_ask_the_store(&apps).await?;
    let back = fallbacks(&apps).await?;
    let admitted = bed.providers().asked("anthropic").await?;
    is_admitted(bed, admitted, 20).await?;
    let after = fallbacks(&apps).await?;
    ensure!(
        after == back,
        "the store counts again, and yet shares stand in: {back:?}, then {after:?}"
    );

    let stop = format!("import socket; socket.create_connection(('127.0.0.1', {STOP}))");
    try_join_all(apps.iter().map(|app| app.python(&stop))).await?;
    let told = try_join_all(running.into_iter().map(Running::finish)).await?;
    let took = begun.elapsed();
    let admitted = bed.providers().asked("anthropic").await?;
    let facts = Facts {
        limit: LIMIT.into(),
        window: took,
        pods: PODS,
        largest: 1,
        ..Facts::default()
    };
    // It was gone once, and answered nobody meanwhile.
    let beyond = with_store(&facts, 1, 0);
    let limit = f64::from(LIMIT) / 60.0 * took.as_secs_f64();
    note(&format!(
        "Redis away for {away:?}: {admitted} admitted in {:.1} s, limit {limit:.0} and bound {beyond}; by shares {back:?}",
        took.as_secs_f64()
    ));
    for output in told {
        ensure!(output.ok, "{output:?}");
        let last = output.stdout.lines().last().context("no line")?;
        let told: Told = serde_json::from_str(last).with_context(|| format!("no JSON: {last}"))?;
        note(&format!(
            "one pod got {:?}, the longest took {:.2} s",
            told.got, told.longest
        ));
        let is_known = |status: &String| ["200", "429"].contains(&status.as_str());
        if !told.got.keys().all(is_known) {
            bail!("requests failed: {:?}", told.got);
        }
        ensure!(told.got.len() == 2, "it was never under the limit: {:?}", told.got);
    }
    #[allow(clippy::cast_precision_loss, reason = "some hundreds")]
    let is_held = admitted as f64 <= limit + beyond as f64;
    ensure!(
        is_held,
        "{admitted} were admitted, and the limit allows {limit:.0} and {beyond}"
    );
    Ok(())
}

#[tokio::test]
async fn limits_of_each_caller_in_a_redis_hold_over_three_pods_together() {
    Test::new("storecallers").run(two_teams_ask).await;
}

async fn two_teams_ask(bed: &Bed) -> Result<()> {
    bed.operators().settled().await?;
    let mut redis = Redis::on(PORT_OF_CALLERS)?;
    redis.start().await?;
    bed.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: limits}}\nstringData: {{url: 'redis://{NODE}:{PORT_OF_CALLERS}'}}\n"
    ))
    .await?;
    bed.apply_one(&json!({
        "apiVersion": "bowsprit.dev/v1alpha1", "kind": "UsagePolicy", "metadata": {"name": "house"},
        "spec": {"limits": [{
            "name": "team", "requestsPerMinute": LIMIT_OF_TEAM, "scope": "Fleet", "per": "Caller", "caller": {"header": "x-team"},
            "store": {"redisRef": {"name": "limits", "key": "url"}, "timeout": "1s"},
        }]},
    }))
    .await?;
    bed.condition::<UsagePolicy>("house", "Accepted", "True").await?;
    // Made after the operators know that the Secret is named.
    bed.rendered(|text| text.contains("redisRef")).await?;
    let mut apps = Vec::new();
    for pod in 0..PODS {
        apps.push(bed.app_with(&format!("app-{pod}"), "limits").await?);
    }
    eventually(LONG, "all sidecars ask the store", async || {
        for app in &apps {
            let health = app.health().await?;
            let limit = &health["limits"][0];
            ensure!(limit["isStoreAsked"] == true, "{}: {limit}", app.pod);
        }
        Ok(())
    })
    .await?;
    bed.providers().reset().await?;

    let begun = Instant::now();
    let command = ["/usr/bin/python3", "-c", ASK_AS_TEAMS, "40"];
    let running = try_join_all(apps.iter().map(|app| app.start(&command))).await?;
    let told = try_join_all(running.into_iter().map(Running::finish)).await?;
    let facts = Facts {
        limit: LIMIT_OF_TEAM.into(),
        window: begun.elapsed(),
        pods: PODS,
        largest: 1,
        ..Facts::default()
    };
    let mut by_share = 0.0;
    for app in &apps {
        by_share += app
            .metric("bowsprit_limit_requests_total", &["met=\"by_share\""])
            .await?;
    }
    // Where an answer was late, shares stood in until the store was looked for.
    let beyond = with_store(&facts, u64::from(by_share > 0.0), 0);
    let limit = f64::from(LIMIT_OF_TEAM) / 60.0 * facts.window.as_secs_f64();
    let mut answered = 0;
    for team in ["red", "blue"] {
        let (mut admitted, mut refused) = (0, 0);
        for output in &told {
            ensure!(output.ok, "{output:?}");
            let last = output.stdout.lines().last().context("no line")?;
            let got: Value = serde_json::from_str(last).with_context(|| format!("no JSON: {last}"))?;
            let of_team = got[team]
                .as_object()
                .with_context(|| format!("nothing of {team}: {got}"))?;
            ensure!(
                of_team.keys().all(|status| ["200", "429"].contains(&status.as_str())),
                "requests failed: {got}"
            );
            admitted += of_team.get("200").and_then(Value::as_u64).unwrap_or(0);
            refused += of_team.get("429").and_then(Value::as_u64).unwrap_or(0);
        }
        note(&format!(
            "{team}: {admitted} admitted in {:.1} s, limit {limit:.0} and bound {beyond}; {by_share} by shares",
            facts.window.as_secs_f64()
        ));
        ensure!(refused > 0, "{team} was under the limit all the time");
        ensure!(admitted >= 20, "nearly nothing of {team} passed: {admitted}");
        #[allow(clippy::cast_precision_loss, reason = "some tens")]
        let is_held = admitted as f64 <= limit + beyond as f64;
        ensure!(
            is_held,
            "{admitted} of {team} were admitted, and the limit allows {limit:.0} and {beyond}"
        );
        answered += admitted;
    }
    let asked = bed.providers().asked("anthropic").await?;
    ensure!(answered == asked, "{answered} were answered, and {asked} asked");
    Ok(())
}

/// So many more than `before` were admitted.
async fn is_admitted(bed: &Bed, before: u64, more: u64) -> Result<()> {
    eventually(LONG, &format!("{more} more requests are admitted"), async || {
        let admitted = bed.providers().asked("anthropic").await?;
        ensure!(admitted >= before + more, "{} were", admitted.saturating_sub(before));
        Ok(())
    })
    .await
}
