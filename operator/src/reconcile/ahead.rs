//! Sidecars that are ahead of their namespace's config: its ConfigMap was restored from a backup, and they serve what was written
//! after that. Nothing would bring them back before the next change, since they never take a lower sequence; so what the cluster
//! holds is written once more, with a number above theirs. Pure.

use std::time::Duration;

use bowsprit_core::stream::SidecarReport;
use tokio::time::Instant;

use crate::status::rollout::Version;

/// Between two writes for this reason: a sidecar that lies could ask for one with each report.
const APART: Duration = Duration::from_mins(1);

/// What is remembered of a namespace.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    due: bool,
    last: Option<Instant>,
}

impl Ahead {
    /// Notes what the sidecars say. True where the config is to be written again: then [`Self::take`] says so once.
    ///
    /// A number that the clock has not reached (`clock`, Unix seconds) was never given by an operator: it is not followed.
    pub(super) fn note<'a>(
        &mut self,
        reports: impl IntoIterator<Item = &'a SidecarReport>,
        newest: &Version,
        clock: u64,
        now: Instant,
    ) -> bool {
        let is_ahead = |report: &SidecarReport| {
            (newest.sequence.saturating_add(1)..clock).contains(&report.sequence) && report.revision != newest.revision
        };
        let rests = self.last.is_some_and(|last| now < last + APART);
        self.due = newest.sequence > 0 && !rests && reports.into_iter().any(is_ahead);
        self.due
    }

    /// Whether it is to be written now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.due {
            self.last = Some(now);
        }
        std::mem::take(&mut self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: u64 = 1_000;

    fn report(sequence: u64, revision: &str) -> SidecarReport {
        SidecarReport {
            sequence,
            revision: revision.into(),
            ..SidecarReport::default()
        }
    }

    #[test]
    fn who_serves_what_the_cluster_has_lost_is_brought_back_and_nobody_else_asks_for_a_write() {
        let newest = Version {
            sequence: 100,
            revision: "restored".into(),
        };
        let asks = |report: &SidecarReport| Ahead::default().note([report], &newest, CLOCK, Instant::now());
        assert!(asks(&report(101, "lost")) && asks(&report(999, "lost")));
        assert!(!asks(&report(100, "restored")) && !asks(&report(99, "older")));
        assert!(!asks(&report(101, "restored")), "the same under a higher number");
        assert!(!asks(&report(CLOCK, "made up")) && !asks(&report(u64::MAX, "made up")));
        let none = Version::default();
        assert!(!Ahead::default().note([&report(7, "lost")], &none, CLOCK, Instant::now()));
    }

    #[test]
    fn one_that_lies_again_and_again_costs_a_write_a_minute() {
        let (mut ahead, start, mut written) = (Ahead::default(), Instant::now(), 0);
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            let newest = Version {
                sequence: 100 + second,
                revision: "true".into(),
            };
            ahead.note([&report(CLOCK + second - 1, "lie")], &newest, CLOCK + second, now);
            written += u32::from(ahead.take(now));
            assert!(!ahead.take(now), "once");
        }
        assert_eq!(written, 10);
    }
}
