//! `top`: what goes on, from the ledger's last one or two minutes; on a terminal again and again.

mod render;
#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::time::Duration;

use bowsprit_ledger::query::Window;

use crate::args::{ClusterArgs, RowFormat, TopArgs};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::output::{Report, Screen, units};
use crate::progress::Progress;
use crate::stats;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(2);
/// The ledger's sums are by the minute.
const MINUTE: i64 = 60_000;
/// To the upper left corner.
const HOME: &str = "\u{1b}[H";
/// What is left of a line, and of the screen.
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_REST: &str = "\u{1b}[J";

/// Looks once, or until it is interrupted.
pub(crate) async fn run(cluster: &ClusterArgs, args: &TopArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let ledger = Ledger::new(&cluster, &args.place);
    let is_table = matches!(args.out.output, RowFormat::Table | RowFormat::Wide);
    if args.once || !is_table || !screen.live {
        let progress = Progress::start(screen, "asking the ledger");
        let (rows, about) = look(&cluster, &ledger, args).await?;
        drop(progress);
        return Report::rows(
            args.out.output,
            &rows,
            |wide| render::screen(&rows, &about, wide, screen.paint),
            || render::csv(&rows, args.by),
        );
    }
    let wide = args.out.output == RowFormat::Wide;
    let mut last = None;
    loop {
        let text = match look(&cluster, &ledger, args).await {
            Ok((rows, about)) => {
                let text = render::screen(&rows, &about, wide, screen.paint);
                last = Some(text.clone());
                text
            }
            // What was seen last stays, with what is wrong now above it.
            Err(failure @ Failure::Unreachable(_)) if last.is_some() => {
                format!("{failure}; trying again\n\n{}", last.as_deref().unwrap_or_default())
            }
            Err(failure) => return Err(failure),
        };
        show(&text)?;
        tokio::time::sleep(PERIOD).await;
    }
}

async fn look(
    cluster: &Cluster,
    ledger: &Ledger<'_>,
    args: &TopArgs,
) -> Result<(Vec<render::Row>, render::About), Failure> {
    let window = last_minutes(units::now());
    let scope = stats::scope(cluster, args.by, args.place.all_namespaces);
    let stats = ledger.stats(scope, None, stats::of(args.by), window).await?;
    let about = render::About {
        by: args.by,
        namespace: scope.map(ToOwned::to_owned),
        window,
    };
    Ok((render::rows(&stats, args.by, window), about))
}

/// The minute that is under way and the whole one before it: what there is sums of.
fn last_minutes(now: i64) -> Window {
    Window {
        from: now - now.rem_euclid(MINUTE) - MINUTE,
        to: now,
    }
}

/// Over what was there before, without a moment in which nothing is.
fn show(text: &str) -> Result<(), Failure> {
    let lines = text.replace('\n', &format!("{CLEAR_LINE}\n"));
    let mut out = io::stdout().lock();
    write!(out, "{HOME}{lines}{CLEAR_REST}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Wrong(format!("cannot write the output: {error}")))
}
