//! `spend`: what it cost over a window, and who or what spent it.

mod render;
#[cfg(test)]
mod tests;

use crate::args::{ClusterArgs, SpendArgs};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::ledger::{Ledger, window};
use crate::output::{Report, Screen, units};
use crate::progress::Progress;
use crate::stats;

/// Asks and renders.
pub(crate) async fn run(cluster: &ClusterArgs, args: &SpendArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let progress = Progress::start(screen, "asking the ledger");
    let scope = stats::scope(&cluster, args.by, args.place.all_namespaces);
    let now = units::now();
    let window = window::told(window::before(now, args.since.time), now);
    let spent = Ledger::new(&cluster, &args.place)
        .spend(scope, stats::of(args.by), window)
        .await?;
    drop(progress);
    Report::rows(
        args.out.output,
        &spent,
        |wide| render::screen(&spent, args.by, (scope, args.since.time), wide, screen.paint),
        || render::csv(&spent, args.by),
    )
}
