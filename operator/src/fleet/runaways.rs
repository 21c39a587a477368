//! What a sidecar says of runaways, kept apart from what else it says: how often is each pod's own and moves all the time, while the rest
//! of a report is the same in most sidecars of a namespace and is kept once.

use std::sync::Arc;

use bowsprit_core::stream::{ReportedRunaway, SidecarReport};

use crate::status::pace::is_many_more;

/// The runaways of one sidecar. Cheap to clone.
pub type Runaways = Arc<[ReportedRunaway]>;

/// A report without its runaways, and these.
pub(super) fn apart(report: Arc<SidecarReport>) -> (Arc<SidecarReport>, Runaways) {
    if report.runaways.is_empty() {
        return (report, Runaways::default());
    }
    let mut rest = Arc::unwrap_or_clone(report);
    let runaways = std::mem::take(&mut rest.runaways).into();
    (Arc::new(rest), runaways)
}

/// Whether the same ones go on, and none of them so much faster that it is news.
pub(super) fn go_on(before: &[ReportedRunaway], now: &[ReportedRunaway]) -> bool {
    let is_same = |(before, now): (&ReportedRunaway, &ReportedRunaway)| {
        (&before.policy, before.stops, before.since) == (&now.policy, now.stops, now.since)
            && !is_many_more(before.repeats, now.repeats)
    };
    before.len() == now.len() && before.iter().zip(now).all(is_same)
}
