//! Everything at once: edits, swapped keys, killed operators and sidecars, an apiserver that comes and goes, all under traffic. What
//! happened is written down, and judged by what may happen (`bowsprit_e2e::history`).

mod plan;
mod run;

use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use bowsprit_e2e::history::{Entry, Event, judge};
use bowsprit_e2e::{Bed, Test, kubectl, machine, note};

/// Faults are made for so long, about a minute with what is around it; `make chaos` sets ten minutes.
fn seconds() -> u64 {
    number("BOWSPRIT_CHAOS_SECONDS").unwrap_or(45)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test]
async fn whatever_breaks_in_whatever_order_the_history_is_one_that_may_be() {
    let seed = number("BOWSPRIT_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    note(&format!("chaos: again with BOWSPRIT_CHAOS_SEED={seed}"));
    Test::new("chaos")
        .alone()
        .run(async |bed| {
            let other = Bed {
                client: bed.client.clone(),
                namespace: format!("{}-other", bed.namespace),
            };
            kubectl(&["create", "namespace", &other.namespace]).await?;
            let outcome = async {
                other.furnish().await?;
                let plan = plan::of(seed, seconds());
                let history = run::run([bed, &other], &plan).await?;
                tell(seed, &history)
            }
            .await;
            let _ = kubectl(&["delete", "namespace", &other.namespace, "--wait=false"]).await;
            bed.operators().settled().await?;
            outcome
        })
        .await;
}

fn tell(seed: u64, history: &[Entry]) -> Result<()> {
    let path = machine::logs()?.join(format!("chaos-{seed}.jsonl"));
    let mut file = std::fs::File::create(&path).with_context(|| format!("writing {}", path.display()))?;
    for entry in history {
        writeln!(file, "{}", serde_json::to_string(entry)?)?;
    }
    let count = |is: fn(&Event) -> bool| history.iter().filter(|entry| is(&entry.event)).count();
    let last = history
        .iter()
        .find(|entry| matches!(entry.event, Event::LastFault { .. }))
        .map_or(0, |entry| entry.at);
    let settled = history
        .iter()
        .filter(|entry| matches!(entry.event, Event::Settled { .. }))
        .map(|entry| entry.at);
    let asked = count(|event| matches!(event, Event::Asked { .. }));
    note(&format!(
        "chaos, seed {seed}: {} edits, {} keys swapped, {} operators and {} sidecars killed, the apiserver gone {} times; {asked} \
         requests, {} of them lost with a killed sidecar; all settled {} ms after the last fault; history: {}",
        count(|event| matches!(event, Event::Edited { .. })),
        count(|event| matches!(event, Event::Swapped { .. })),
        count(|event| matches!(event, Event::OperatorKilled { .. })),
        count(|event| matches!(event, Event::SidecarKilled { .. })),
        count(|event| matches!(event, Event::ApiserverGone)),
        count(|event| matches!(event, Event::Asked { ok: false, .. })),
        settled.max().unwrap_or(last) - last,
        path.display(),
    ));
    let wrong = judge(history);
    ensure!(
        wrong.is_empty(),
        "seed {seed}: {} things are wrong: {:#?}",
        wrong.len(),
        wrong.iter().take(20).collect::<Vec<_>>()
    );
    ensure!(asked > 200, "only {asked} requests were made");
    Ok(())
}
