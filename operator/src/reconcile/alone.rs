//! Pods whose sidecar holds no stream: an older one, or one that does not get through. They are asked at `/health`, often while
//! they are behind and rarely when all is well. Pure: time and chance are passed in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::stream::SidecarReport;
use tokio::time::Instant;

use crate::fleet::{GRACE, PodId};
use crate::status::rollout::{Version, has};

/// Between two questions while a sidecar is behind: the kubelet takes 0.2 to 0.5 s after a nudge.
const WHILE_BEHIND: Duration = Duration::from_millis(500);
/// So often; after that it stays behind, such as one that cannot be nudged, and is asked less.
const TRIES: u32 = 20;
/// And then.
const WHILE_LONG_BEHIND: Duration = Duration::from_secs(5);
/// When all is well, at the least; up to twice that, by chance.
const AT_REST: Duration = Duration::from_secs(30);

/// One of them.
#[derive(Clone, Debug)]
struct Line {
    since: Instant,
    report: Option<Arc<SidecarReport>>,
    due: Instant,
    asked: u32,
}

/// All of a namespace.
#[derive(Debug, Default)]
pub(super) struct Alone(BTreeMap<PodId, Line>);

impl Alone {
    /// These pods hold no stream at `now`. `may_stream`: a pod that was made to hold one gets time to.
    pub(super) fn note(&mut self, pods: impl Iterator<Item = (PodId, bool)>, now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        self.0 = pods
            .map(|(pod, may_stream)| {
                let fresh = || Line {
                    since: now,
                    report: None,
                    due: if may_stream { now + GRACE } else { now },
                    asked: 0,
                };
                let line = before.remove(&pod).unwrap_or_else(fresh);
                (pod, line)
            })
            .collect();
    }

    /// A new config is written: whoever was asked is soon asked again.
    pub(super) fn hurry(&mut self, now: Instant) {
        for line in self.0.values_mut().filter(|line| line.asked > 0) {
            line.asked = 0;
            line.due = line.due.min(now);
        }
    }

    /// Whether this one is to be asked.
    pub(super) fn is_due(&self, pod: &PodId, now: Instant) -> bool {
        self.0.get(pod).is_some_and(|line| line.due <= now)
    }

    /// Whether this one may still come with a stream: it was made to, and has only just been seen.
    pub(super) fn is_coming(&self, pod: &PodId, now: Instant) -> bool {
        let line = self.0.get(pod);
        line.is_some_and(|line| line.asked == 0 && line.report.is_none() && now < line.due && now < line.since + GRACE)
    }

    /// Whether this one is not known to have `newest`, and is not about to come with a stream.
    pub(super) fn is_behind(&self, pod: &PodId, newest: &Version, now: Instant) -> bool {
        let report = self.report(pod);
        let has_it = report.is_some_and(|it| has(it.sequence, &it.revision, newest, newest));
        self.0.contains_key(pod) && !has_it && !self.is_coming(pod, now)
    }

    /// It was asked, and said this. `chance`: from 0 to 1.
    pub(super) fn answered(
        &mut self,
        pod: &PodId,
        report: Option<SidecarReport>,
        is_current: bool,
        now: Instant,
        chance: f64,
    ) {
        let Some(line) = self.0.get_mut(pod) else { return };
        line.report = report.map(Arc::new);
        line.asked = if is_current { 1 } else { line.asked.saturating_add(1) };
        line.due = now
            + if is_current {
                AT_REST.mul_f64(1.0 + chance)
            } else if line.asked <= TRIES {
                WHILE_BEHIND
            } else {
                WHILE_LONG_BEHIND.mul_f64(1.0 + chance)
            };
    }

    /// What it said last.
    pub(super) fn report(&self, pod: &PodId) -> Option<&Arc<SidecarReport>> {
        self.0.get(pod)?.report.as_ref()
    }

    /// When somebody is to be asked.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|line| line.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> PodId {
        PodId {
            name: name.into(),
            uid: name.into(),
        }
    }

    #[test]
    fn one_that_was_made_to_stream_gets_time_to_and_an_older_one_is_asked_at_once() {
        let (mut alone, now) = (Alone::default(), Instant::now());
        alone.note([(pod("new"), true), (pod("old"), false)].into_iter(), now);
        assert!(alone.is_due(&pod("old"), now) && !alone.is_coming(&pod("old"), now));
        assert!(!alone.is_due(&pod("new"), now) && alone.is_coming(&pod("new"), now));
        let later = now + GRACE;
        alone.note([(pod("new"), true)].into_iter(), later);
        assert!(alone.is_due(&pod("new"), later) && !alone.is_coming(&pod("new"), later));
        assert!(
            !alone.is_due(&pod("old"), later),
            "it holds a stream by now, or is gone"
        );
    }

    #[test]
    fn one_that_is_well_is_asked_twice_a_minute_at_most_and_one_that_is_behind_often_at_first() {
        let asked = |is_current: bool| {
            let (mut alone, start) = (Alone::default(), Instant::now());
            alone.note([(pod("a"), false)].into_iter(), start);
            let mut times = 0;
            while let Some(next) = alone.next().filter(|next| *next < start + Duration::from_mins(5)) {
                alone.answered(&pod("a"), Some(SidecarReport::default()), is_current, next, 0.5);
                times += 1;
            }
            times
        };
        assert_eq!(asked(true), 7);
        assert!((50..=65).contains(&asked(false)), "{}", asked(false));
    }

    #[test]
    fn a_new_config_asks_those_at_rest_again() {
        let (mut alone, now) = (Alone::default(), Instant::now());
        alone.note([(pod("a"), false)].into_iter(), now);
        alone.answered(&pod("a"), Some(SidecarReport::default()), true, now, 0.0);
        assert!(!alone.is_due(&pod("a"), now));
        alone.hurry(now);
        assert!(alone.is_due(&pod("a"), now));
    }
}
