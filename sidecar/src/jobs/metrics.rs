//! How many jobs there are. A sidecar without jobs has no series of them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Report, STATUSES};
use crate::metrics::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: &'static str,
}

/// The family.
#[derive(Clone, Debug)]
pub struct JobMetrics {
    jobs: Family<StatusLabel, Gauge>,
}

impl JobMetrics {
    /// Registers it.
    pub fn register(registry: &mut Registry) -> Self {
        let jobs = Family::<StatusLabel, Gauge>::default();
        registry.register(
            "jobs",
            "Background jobs by how they stand: queued (they wait for their turn or their next attempt), running, kept (ended, until they are fetched and deleted, or their time is over)",
            &["status"],
            jobs.clone(),
        );
        Self { jobs }
    }

    /// How they stand now.
    pub fn observe(&self, report: &Report) {
        self.jobs.clear();
        let counts = [report.queued, report.running, report.kept];
        if counts == [0; 3] {
            return;
        }
        for (status, count) in STATUSES.into_iter().zip(counts) {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.jobs.get_or_create_owned(&StatusLabel { status }).set(count);
        }
    }
}
