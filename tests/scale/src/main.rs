//! Thousands of sidecars against the real operator. `tests/scale/run` brings the cluster, kwok's nodes and the operator; this
//! program fills them, holds the streams, changes objects, restarts the operator, and prints what was measured beside what
//! is promised. Its sidecars are the sidecar's own stream client with the pods' real tokens; only requests they have none.
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program for the terminal; a field of JSON that is missing is null"
)]

mod api;
mod fleet;
mod operators;
mod sidecars;
mod table;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use api::Api;
use fleet::{Fleet, Size};
use operators::Usage;
use sidecars::Sidecars;
use table::Table;

/// A round of changes, a restart: nothing of it may take longer, or something is broken.
const PATIENCE: Duration = Duration::from_mins(3);
/// Before a switch is thrown: nothing else changes by then.
const SETTLE: Duration = Duration::from_secs(20);
/// Before rest is measured: what follows from the last change is over by then. A status that has just been written several times in a
/// row waits 30 s for its numbers (`LONGEST` of the operator's pace).
const LAST_NUMBERS: Duration = Duration::from_secs(35);

/// Says where the program is, with the seconds since it began.
fn say(begun: Instant, text: &str) {
    println!("{:6.1}s  {text}", begun.elapsed().as_secs_f64());
}

/// A number from the environment.
fn number(name: &str, otherwise: usize) -> Result<usize> {
    std::env::var(name).map_or(Ok(otherwise), |text| {
        text.parse().with_context(|| format!("{name}={text} is no number"))
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let size = Size {
        namespaces: number("NAMESPACES", 20)?,
        pods: number("PODS", 500)?,
        configs: number("CONFIGS", 100)?,
    };
    let changes = number("CHANGES", 20)?;
    let rest = Duration::from_secs(number("REST", 20)? as u64);
    let mut table = Table::default();
    let ran = run(size, changes, rest, &mut table).await;
    println!("\n{}", table.text(&size));
    ran?;
    ensure!(table.all_kept(), "a promise was not kept");
    Ok(())
}

async fn run(size: Size, changes: usize, rest: Duration, table: &mut Table) -> Result<()> {
    let begun = Instant::now();
    let api = Api::from_kubeconfig()?;
    let fleet = Fleet::new(api.clone(), size);
    fleet.namespaces().await?;
    say(
        begun,
        &format!("{} namespaces, with {} ProviderConfigs", size.namespaces, size.configs),
    );
    let usage = Usage::now()?;
    table.note("operators", format!("{}", usage.processes));
    table.note(
        "operator at the start, without sidecars",
        format!("{:.0} MiB", usage.largest_mib),
    );
    let asked = Instant::now();
    fleet.pods().await?;
    let seconds = asked.elapsed().as_secs_f64();
    say(begun, &format!("{} pods, each through the injector", size.pods));
    table.note("pods admitted", format!("{:.0} a second", size.pods as f64 / seconds));
    let sidecars = Sidecars::start(&fleet).await?;
    say(begun, "each pod has its token");
    sidecars.connected(PATIENCE).await?;
    table.note(
        "all streams up, from nothing",
        format!("{:.1} s", sidecars.begun.elapsed().as_secs_f64()),
    );
    say(begun, "every stream is up");
    fleet.statuses_right(PATIENCE).await?;
    say(begun, "every status counts its sidecars");

    single(&fleet, &sidecars, changes, table).await?;
    say(begun, &format!("{changes} changes of one ProviderConfig"));
    everywhere(&fleet, &sidecars, table).await?;
    say(begun, "a change in every namespace at once");
    paused(&fleet, &sidecars, changes, table).await?;
    say(begun, "namespaces have been paused, one by one and all at once");
    fleet.statuses_right(PATIENCE).await?;
    tokio::time::sleep(LAST_NUMBERS).await;
    at_rest(&api, rest, table).await?;
    say(begun, &format!("{} s at rest", rest.as_secs()));
    restart(&api, &fleet, &sidecars, table).await?;
    say(begun, "the operators have been restarted, all of them");
    Ok(())
}

/// One ProviderConfig after another: each change must reach all sidecars of its namespace.
async fn single(fleet: &Fleet, sidecars: &Sidecars, changes: usize, table: &mut Table) -> Result<()> {
    let mut took = Vec::new();
    for change in 0..changes {
        let (namespace, marker) = (change % fleet.size.namespaces, format!("one-{change}"));
        sidecars.expect(namespace, &marker);
        fleet.change(namespace, &marker).await?;
        took.extend(sidecars.arrived(namespace, PATIENCE).await?);
        // Changes of a person, one after another; a burst is the next row's.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    table.times("one change reaches its sidecars", took, Duration::from_secs(1));
    Ok(())
}

async fn everywhere(fleet: &Fleet, sidecars: &Sidecars, table: &mut Table) -> Result<()> {
    let marker = "everywhere";
    for namespace in 0..fleet.size.namespaces {
        sidecars.expect(namespace, marker);
    }
    fleet.change_all(marker).await?;
    table.times_untold(
        "a change in every namespace at once",
        all_arrived(fleet, sidecars).await?,
    );
    Ok(())
}

/// Namespaces that are paused one by one while everything else changes.
const IN_A_STORM: usize = 10;

/// The kill switch: in a storm, one namespace after another, and then all of them. A pause has come with the operator's word or with
/// the document that says it too, whichever is first, and has ended with the document.
async fn paused(fleet: &Fleet, sidecars: &Sidecars, changes: usize, table: &mut Table) -> Result<()> {
    let within = Duration::from_secs(1);
    // Every namespace has just got another document, and a status is written for each of its objects.
    fleet.switches().await?;
    let took = one_by_one(fleet, sidecars, IN_A_STORM, "storm", Duration::ZERO).await?;
    table.times("a pause into a storm of other changes", took, within);
    fleet.resume_all().await?;
    tokio::time::sleep(SETTLE).await;
    let took = one_by_one(fleet, sidecars, changes, "paused", Duration::from_secs(1)).await?;
    table.times("a namespace is paused in its sidecars", took, within);
    fleet.resume_all().await?;
    tokio::time::sleep(SETTLE).await;
    let reason = "paused-everywhere";
    for namespace in 0..fleet.size.namespaces {
        sidecars.expect(namespace, reason);
    }
    fleet.pause_all(reason).await?;
    table.times(
        "every namespace is paused at once",
        all_arrived(fleet, sidecars).await?,
        within,
    );
    tokio::time::sleep(SETTLE).await;
    for namespace in 0..fleet.size.namespaces {
        sidecars.expect(namespace, "paused: false");
    }
    fleet.resume_all().await?;
    table.times_untold(
        "every namespace is resumed at once",
        all_arrived(fleet, sidecars).await?,
    );
    Ok(())
}

async fn one_by_one(
    fleet: &Fleet,
    sidecars: &Sidecars,
    count: usize,
    reason: &str,
    apart: Duration,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    for namespace in 0..count.min(fleet.size.namespaces) {
        let reason = format!("{reason}-{namespace}");
        sidecars.expect(namespace, &reason);
        fleet.pause(namespace, &reason).await?;
        took.extend(sidecars.arrived(namespace, PATIENCE).await?);
        tokio::time::sleep(apart).await;
    }
    Ok(took)
}

async fn all_arrived(fleet: &Fleet, sidecars: &Sidecars) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    for namespace in 0..fleet.size.namespaces {
        took.extend(sidecars.arrived(namespace, PATIENCE).await?);
    }
    Ok(took)
}

async fn at_rest(api: &Api, rest: Duration, table: &mut Table) -> Result<()> {
    let (counts, usage, begun) = (api.counts().await?, Usage::now()?, Instant::now());
    tokio::time::sleep(rest).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (counts, later) = (api.counts().await?.since(&counts), Usage::now()?);
    table.at_most("operator, largest, with all streams", later.largest_mib, 256.0, "MiB");
    let cores = later.cpu_seconds_since(&usage) / seconds;
    table.at_most("operators' CPU at rest, all together", cores, 0.2, "cores");
    table.at_most(
        &format!("writes in {seconds:.0} s at rest"),
        counts.writes as f64,
        0.0,
        "",
    );
    if !counts.which.is_empty() {
        table.note("these were", counts.which.clone());
    }
    table.note(
        "requests of the operators at rest, leases included",
        format!("{:.2} a second", counts.of_operators as f64 / seconds),
    );
    Ok(())
}

/// Everything at once: no operator is left, while something changes.
async fn restart(api: &Api, fleet: &Fleet, sidecars: &Sidecars, table: &mut Table) -> Result<()> {
    let marker = "restarted";
    for namespace in 0..fleet.size.namespaces {
        sidecars.expect(namespace, marker);
    }
    let begun = Instant::now();
    api.delete_operators().await?;
    fleet.change_all_without_operators(marker).await?;
    let mut took = Vec::new();
    for namespace in 0..fleet.size.namespaces {
        took.extend(sidecars.arrived(namespace, PATIENCE).await?);
    }
    table.times_untold(
        "after a restart of all operators at once, a change made meanwhile",
        took,
    );
    sidecars.connected(PATIENCE).await?;
    table.note(
        "… every stream is back",
        format!("{:.1} s", begun.elapsed().as_secs_f64()),
    );
    fleet.statuses_right(PATIENCE).await?;
    table.at_most("full restart to converged", begun.elapsed().as_secs_f64(), 60.0, "s");
    Ok(())
}
