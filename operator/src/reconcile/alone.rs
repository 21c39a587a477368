//! Pods whose sidecar holds no stream: an older one, or one that does not get through. They are asked at `/health`, often while
//! they are behind and rarely when all is well. Pure: time and chance are passed in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::stream::SidecarReport;
use tokio::time::Instant;

use crate::fleet::{GRACE, LONG_GRACE, PodId};
use crate::status::rollout::{Version, has};

/// Between two questions while a sidecar is behind: the kubelet takes 0.2 to 0.5 s after a nudge.
const WHILE_BEHIND: Duration = Duration::from_millis(500);
/// So often; after that it stays behind, such as one that cannot be nudged, and is asked less.
const TRIES: u32 = 20;
/// And then.
const WHILE_LONG_BEHIND: Duration = Duration::from_secs(5);
/// When all is well, at the least; up to twice that, by chance.
const AT_REST: Duration = Duration::from_secs(30);

/// While many come back, who is not there yet is looked at again after this.
const WHILE_RETURNING: Duration = Duration::from_secs(5);

/// One of them.
#[derive(Clone, Debug)]
struct Line {
    since: Instant,
    report: Option<Arc<SidecarReport>>,
    due: Instant,
    /// Times that it was asked and has not the newest config.
    asked: u32,
    /// Whether it is being asked: its answer, or that there is none, is still to come.
    asking: bool,
    /// Whether it was ever asked to the end.
    heard: bool,
}

impl Line {
    /// Whether nothing is known of it yet.
    fn is_new(&self) -> bool {
        self.asked == 0 && self.report.is_none()
    }
}

/// All of a namespace.
#[derive(Debug, Default)]
pub(super) struct Alone(BTreeMap<PodId, Line>);

impl Alone {
    /// These pods hold no stream at `now`. `may_stream`: a pod that was made to hold one gets time to, and more of it while
    /// many are `returning`.
    pub(super) fn note(&mut self, pods: impl Iterator<Item = (PodId, bool)>, returning: bool, now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        self.0 = pods
            .map(|(pod, may_stream)| {
                let fresh = || Line {
                    since: now,
                    report: None,
                    due: if may_stream { now + GRACE } else { now },
                    asked: 0,
                    asking: false,
                    heard: false,
                };
                let mut line = before.remove(&pod).unwrap_or_else(fresh);
                if may_stream && returning && line.is_new() {
                    let longest = line.since + LONG_GRACE;
                    line.due = line.due.max((now + WHILE_RETURNING).min(longest));
                }
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
        self.0.get(pod).is_some_and(|line| !line.asking && line.due <= now)
    }

    /// This one is being asked; [`Self::answered`] follows.
    pub(super) fn asks(&mut self, pod: &PodId) {
        if let Some(line) = self.0.get_mut(pod) {
            line.asking = true;
        }
    }

    /// Whether some are being asked for the first time: nothing is known of them yet, not even that they do not answer.
    pub(super) fn some_are_unheard(&self) -> bool {
        self.0.values().any(|line| line.asking && !line.heard)
    }

    /// Whether this one may still come with a stream: it was made to, and has only just been seen.
    pub(super) fn is_coming(&self, pod: &PodId, now: Instant) -> bool {
        let line = self.0.get(pod);
        line.is_some_and(|line| line.is_new() && now < line.due)
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
        (line.asking, line.heard) = (false, true);
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
        let waiting = self.0.values().filter(|line| !line.asking);
        waiting.map(|line| line.due).min()
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
        alone.note([(pod("new"), true), (pod("old"), false)].into_iter(), false, now);
        assert!(alone.is_due(&pod("old"), now) && !alone.is_coming(&pod("old"), now));
        assert!(!alone.is_due(&pod("new"), now) && alone.is_coming(&pod("new"), now));
        let later = now + GRACE;
        alone.note([(pod("new"), true)].into_iter(), false, later);
        assert!(alone.is_due(&pod("new"), later) && !alone.is_coming(&pod("new"), later));
        assert!(
            !alone.is_due(&pod("old"), later),
            "it holds a stream by now, or is gone"
        );
    }

    #[test]
    fn while_many_come_back_one_that_has_not_is_left_alone_for_a_minute_at_most() {
        let (mut alone, start) = (Alone::default(), Instant::now());
        let pods = || [(pod("new"), true), (pod("old"), false)].into_iter();
        alone.note(pods(), true, start);
        assert!(alone.is_due(&pod("old"), start), "it never comes");
        alone.answered(&pod("old"), None, false, start, 0.5);
        let (mut looks, mut now) = (0, start);
        while alone.is_coming(&pod("new"), now) {
            looks += 1;
            now = now.max(alone.0[&pod("new")].due);
            alone.note(pods(), true, now);
        }
        assert_eq!(now, start + LONG_GRACE);
        assert!(looks <= 12, "{looks} looks");
        // And no longer than ever once they are there.
        let mut alone = Alone::default();
        alone.note(pods(), true, start);
        alone.note(pods(), true, start + Duration::from_secs(12));
        alone.note(pods(), false, start + Duration::from_secs(17));
        assert!(alone.is_behind(&pod("new"), &Version::default(), start + Duration::from_secs(17)));
    }

    #[test]
    fn one_that_is_well_is_asked_twice_a_minute_at_most_and_one_that_is_behind_often_at_first() {
        let asked = |is_current: bool| {
            let (mut alone, start) = (Alone::default(), Instant::now());
            alone.note([(pod("a"), false)].into_iter(), false, start);
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
    fn one_that_is_being_asked_is_not_asked_again_before_it_has_answered() {
        let (mut alone, now) = (Alone::default(), Instant::now());
        alone.note([(pod("a"), false)].into_iter(), false, now);
        assert!(!alone.some_are_unheard());
        alone.asks(&pod("a"));
        assert!(alone.some_are_unheard() && !alone.is_due(&pod("a"), now));
        assert_eq!(alone.next(), None, "its answer is what is waited for");
        alone.answered(&pod("a"), None, false, now, 0.0);
        assert!(!alone.some_are_unheard() && alone.next() == Some(now + WHILE_BEHIND));
        alone.asks(&pod("a"));
        assert!(!alone.some_are_unheard(), "that it does not answer is known");
    }

    #[test]
    fn a_new_config_asks_those_at_rest_again() {
        let (mut alone, now) = (Alone::default(), Instant::now());
        alone.note([(pod("a"), false)].into_iter(), false, now);
        alone.answered(&pod("a"), Some(SidecarReport::default()), true, now, 0.0);
        assert!(!alone.is_due(&pod("a"), now));
        alone.hurry(now);
        assert!(alone.is_due(&pod("a"), now));
    }
}
