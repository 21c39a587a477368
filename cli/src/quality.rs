//! `quality`: how good each provider was over a window.

mod render;
#[cfg(test)]
mod tests;

use crate::args::{ClusterArgs, QualityArgs};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::ledger::{Ledger, window};
use crate::output::{Report, Screen, units};
use crate::progress::Progress;

/// Asks and renders.
pub(crate) async fn run(cluster: &ClusterArgs, args: &QualityArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let progress = Progress::start(screen, "asking the ledger");
    let scope = cluster.scope_of_ledger(&args.place);
    let now = units::now();
    let window = window::told(window::before(now, args.since.time), now);
    let found = Ledger::new(&cluster, &args.place).quality(scope, window).await?;
    drop(progress);
    Report::rows(
        args.out.output,
        &found,
        |wide| render::screen(&found, (scope, args.since.time), wide, screen.paint),
        || render::csv(&found),
    )
}
