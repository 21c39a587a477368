//! Whether a sidecar asks the store: from the first question that it did not answer on, no request waits for it, until it has
//! answered one that no request waits for.

use std::time::Duration;

use super::Unanswered;
use crate::clock::Moment;

/// From a failure to the first look whether the store is back.
const FIRST_LOOK: Duration = Duration::from_millis(200);
/// And the longest from one look to the next: ten thousand sidecars look a thousand times a second together.
pub const LAST_LOOK: Duration = Duration::from_secs(10);
/// Who was back for less is looked for as if it had not been.
const STEADY: Duration = Duration::from_secs(10);

/// How long to wait after so many failures in a row before this one, before the next try. `chance`: from 0 to 1.
pub fn pause(failures: u32, chance: f64) -> Duration {
    let step = (FIRST_LOOK * (1 << failures.min(10))).min(LAST_LOOK);
    step.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

/// How it stands with the store.
#[derive(Clone, Debug)]
pub struct Standing {
    out: Option<Out>,
    /// Looks in a row that found nothing.
    looks: u32,
    since: Moment,
    is_told: bool,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    why: Unanswered,
    look_at: Moment,
}

impl Standing {
    /// Nothing was asked yet: the first question is no request's.
    pub fn new(now: Moment) -> Self {
        Self {
            out: Some(Out {
                why: Unanswered::Unreachable,
                look_at: now,
            }),
            looks: 0,
            since: now,
            is_told: false,
        }
    }

    /// Whether requests ask it.
    pub fn is_in(&self) -> bool {
        self.out.is_none()
    }

    /// Why not.
    pub fn why(&self) -> Option<Unanswered> {
        self.out.map(|out| out.why)
    }

    /// When to look whether it is back.
    pub fn look_at(&self) -> Option<Moment> {
        self.out.map(|out| out.look_at)
    }

    /// A question was not answered. Says whether that is to be told: once, until it answers. `chance`: from 0 to 1, so that sidecars do not
    /// come back in step.
    pub fn failed(&mut self, why: Unanswered, chance: f64, now: Moment) -> bool {
        let is_new = self.out.is_none();
        if is_new && now.saturating_since(self.since) >= STEADY {
            self.looks = 0;
        }
        // Several requests that waited for one answer are one failure.
        if is_new || self.out.is_some_and(|out| now >= out.look_at) {
            let look_at = now + pause(self.looks, chance);
            self.looks = self.looks.saturating_add(1);
            self.out = Some(Out { why, look_at });
        }
        if is_new {
            self.since = now;
        }
        !std::mem::replace(&mut self.is_told, true)
    }

    /// It answered a look. Says whether it was out until then.
    pub fn answered(&mut self, now: Moment) -> bool {
        let was_out = self.out.take().is_some();
        self.is_told = false;
        if was_out {
            self.since = now;
        }
        was_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn nobody_waits_for_a_store_that_has_not_answered_yet() {
        let mut standing = Standing::new(at(0));
        assert!(!standing.is_in());
        assert_eq!(standing.look_at(), Some(at(0)));
        assert!(
            standing.failed(Unanswered::Refused, 0.0, at(0)),
            "told, though it was never in"
        );
        assert!(standing.answered(at(1)));
        assert!(standing.is_in());
    }

    #[test]
    fn one_failure_is_enough_and_looks_come_ever_more_seldom() {
        let mut standing = Standing::new(at(0));
        standing.answered(at(0));
        assert!(standing.failed(Unanswered::Late, 1.0, at(20_000)));
        assert!(
            !standing.failed(Unanswered::Late, 1.0, at(20_001)),
            "it waited for the same answer"
        );
        assert_eq!(standing.look_at(), Some(at(20_200)));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let look = standing.look_at().unwrap();
            assert!(!standing.failed(Unanswered::Unreachable, 1.0, look));
            pauses.push((standing.look_at().unwrap() - look).as_millis());
        }
        assert_eq!(pauses, [400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
        assert_eq!(standing.why(), Some(Unanswered::Unreachable));
        assert!(standing.answered(standing.look_at().unwrap()));
    }

    #[test]
    fn who_comes_and_goes_is_looked_for_as_who_is_gone() {
        let mut standing = Standing::new(at(0));
        let mut now = at(0);
        for _ in 0..20 {
            standing.answered(now);
            standing.failed(Unanswered::Late, 0.0, now + Duration::from_secs(1));
            now = standing.look_at().unwrap();
        }
        let pause = now;
        standing.answered(now);
        standing.failed(Unanswered::Late, 0.0, now + Duration::from_secs(1));
        assert_eq!(
            standing.look_at().unwrap() - pause,
            Duration::from_secs(6),
            "half of the longest, by chance 0"
        );
        standing.answered(at(1_000_000));
        standing.failed(Unanswered::Late, 0.0, at(1_010_000));
        assert_eq!(standing.look_at(), Some(at(1_010_100)), "it was back for long enough");
    }
}
