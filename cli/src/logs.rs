//! `logs`: requests of the ledger, the newest last; with `--follow` also those that come.

mod follow;
mod render;
mod tail;
#[cfg(test)]
mod tests;

use bowsprit_ledger::query::Listed;

use crate::args::{ClusterArgs, LogsArgs};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::ledger::client::Wanted;
use crate::output::{Report, Screen};
use crate::progress::Progress;

/// Asks and renders.
pub(crate) async fn run(cluster: &ClusterArgs, args: &LogsArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let ledger = Ledger::new(&cluster, &args.place);
    let wanted = Wanted {
        namespace: cluster.scope_of_ledger(&args.place),
        provider: args.provider.as_deref(),
        route: args.route.as_deref(),
        failed: args.failed,
        number: args.number,
        after: None,
    };
    let progress = Progress::start(screen, "asking the ledger");
    let listed = newest_last(ledger.logs(&wanted).await?);
    drop(progress);
    if args.follow {
        return follow::follow(&ledger, wanted, args, listed, screen).await;
    }
    let what = render::What::new(args, wanted.namespace);
    Report::rows(
        args.out.output,
        &listed,
        |_| render::screen(&listed, what, screen.paint),
        || render::csv(&listed),
    )
}

/// As logs are read.
fn newest_last(mut listed: Vec<Listed>) -> Vec<Listed> {
    listed.reverse();
    listed
}
