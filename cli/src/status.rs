//! `status`: one screen. Reads objects alone, no pod is asked.

mod gather;
mod judge;
mod overview;
mod render;
#[cfg(test)]
mod tests;

use crate::args::{ClusterArgs, Format, StatusArgs};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::output::{Report, Screen};
use crate::progress::Progress;

pub(crate) use gather::{asked_and_missed, operators, webhook};
pub(crate) use overview::{Missed, Operators, Webhook};

/// Looks, judges, renders.
pub(crate) async fn run(cluster: &ClusterArgs, args: &StatusArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let progress = Progress::start(screen, "looking at the cluster");
    let overview = gather::overview(&cluster, cluster.scope(args.place)).await?;
    drop(progress);
    let judged = judge::judge(overview);
    Report::new(args.out.output, &judged, judged.well, || {
        render::screen(&judged, args.out.output == Format::Wide, screen.paint)
    })
}
