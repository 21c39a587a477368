//! `cache status` and `cache clear`.

mod clear;
mod status;

use crate::args::{CacheVerb, ClusterArgs};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::output::{Report, Screen};

/// Does the verb.
pub(crate) async fn run(cluster: &ClusterArgs, verb: &CacheVerb, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    match verb {
        CacheVerb::Status(args) => status::run(&cluster, args, screen).await,
        CacheVerb::Clear(args) => clear::run(&cluster, args, screen).await,
    }
}
