//! `stats`: sums of requests, attempts and tokens over a window, from the ledger.

mod render;
#[cfg(test)]
mod tests;

use bowsprit_ledger::query;

use crate::args::{By, ClusterArgs, StatsArgs};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::ledger::{Ledger, window};
use crate::output::{Report, Screen, units};
use crate::progress::Progress;

/// Asks and renders.
pub(crate) async fn run(cluster: &ClusterArgs, args: &StatsArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let progress = Progress::start(screen, "asking the ledger");
    let scope = scope(&cluster, args.by, args.place.all_namespaces);
    let now = units::now();
    let window = window::told(window::before(now, args.since.time), now);
    let stats = Ledger::new(&cluster, &args.place)
        .stats(scope, args.provider.as_deref(), of(args.by), window)
        .await?;
    drop(progress);
    let about = render::About {
        by: args.by,
        namespace: scope,
        span: args.since.time,
    };
    Report::rows(
        args.out.output,
        &stats,
        |wide| render::screen(&stats, about, wide, screen.paint),
        || render::csv(&stats, args.by),
    )
}

/// Where sums are made: who tells namespaces apart means all of them.
pub(crate) fn scope(cluster: &Cluster, by: By, all: bool) -> Option<&str> {
    (!all && by != By::Namespace).then(|| cluster.namespace())
}

/// As the ledger names it.
pub(crate) fn of(by: By) -> query::By {
    match by {
        By::Provider => query::By::Provider,
        By::Model => query::By::Model,
        By::Route => query::By::Route,
        By::Workload => query::By::Workload,
        By::Namespace => query::By::Namespace,
    }
}

pub(crate) use render::{heads, keys, none_in, sum};
