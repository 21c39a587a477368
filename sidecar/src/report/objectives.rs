//! What the operator is told of the objectives: counted within each one's own window, and seldom.

use std::collections::HashMap;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::slo::Sliding;
use bowsprit_core::stream::ReportedObjective;

use crate::observe::slo::Counted;

/// From one look at the counts to the next: a report is sent whenever it has changed, and under traffic these always have.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Most bytes of objectives in a report, and what one takes beside its name.
const MAX_BYTES: usize = 12 << 10;
const BESIDE_NAME: usize = 160;

/// The objectives as they were told last.
#[derive(Default)]
pub(super) struct Objectives {
    looked: Option<Moment>,
    sliding: HashMap<(&'static str, String, &'static str), Sliding>,
    told: Vec<ReportedObjective>,
}

impl Objectives {
    /// What is to be told at `now`, which is `unix` in Unix seconds.
    pub(super) fn at(
        &mut self,
        now: Moment,
        unix: u64,
        counted: impl FnOnce() -> Vec<Counted>,
    ) -> Vec<ReportedObjective> {
        let is_due = self
            .looked
            .is_none_or(|looked| now.saturating_since(looked) >= LOOK_EVERY);
        if is_due {
            self.looked = Some(now);
            self.look(unix, &counted());
        }
        self.told.clone()
    }

    fn look(&mut self, unix: u64, counted: &[Counted]) {
        let key = |one: &Counted| (one.object, one.name.clone(), one.objective);
        let known: Vec<_> = counted.iter().map(key).collect();
        self.sliding.retain(|key, _| known.contains(key));
        let mut room = MAX_BYTES;
        self.told.clear();
        for one in counted {
            let sliding = self.sliding.entry(key(one)).or_default();
            let within = sliding.take(one.counts, unix, one.window);
            // Of an object that nobody asked yet there is nothing to tell.
            if within.good + within.bad == 0 {
                continue;
            }
            let Some(left) = room.checked_sub(one.name.len() + BESIDE_NAME) else {
                continue;
            };
            room = left;
            self.told.push(ReportedObjective {
                object: one.object.to_owned(),
                name: one.name.clone(),
                objective: one.objective.to_owned(),
                good: within.good,
                bad: within.bad,
                since: within.since,
            });
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn counted(name: &str, counts: [u64; 2]) -> Counted {
        Counted {
            object: "provider",
            name: name.into(),
            objective: "availability",
            window: Duration::from_hours(168),
            counts,
        }
    }

    /// As much as a report may hold of objectives, in the names that take the most room.
    pub(crate) fn longest() -> Vec<ReportedObjective> {
        let one = Counted {
            object: "provider",
            name: String::new(),
            objective: "availability",
            window: Duration::from_hours(168),
            counts: [u64::MAX / 2; 2],
        };
        let named = |number: usize| Counted {
            name: format!("{number:0>253}"),
            ..one.clone()
        };
        let all: Vec<Counted> = (0..200).map(named).collect();
        let told = Objectives::default().at(Moment::ZERO, u64::MAX, || all);
        assert!((20..200).contains(&told.len()), "{}", told.len());
        let text = serde_json::to_string(&told).unwrap();
        assert!(text.len() <= MAX_BYTES, "{} bytes", text.len());
        told
    }

    #[test]
    fn counts_are_told_twice_a_minute_and_no_oftener() {
        let mut objectives = Objectives::default();
        let mut told = |second: u64, counts| {
            let now = Moment::from_start(Duration::from_secs(second));
            let told = objectives.at(now, 1000 + second, || vec![counted("claude", counts)]);
            told.first().map(|one| (one.good, one.bad, one.since))
        };
        assert_eq!(told(0, [0, 0]), None, "nothing was asked yet");
        assert_eq!(told(29, [5, 1]), None);
        assert_eq!(told(30, [5, 1]), Some((5, 1, 1000)));
        assert_eq!(told(59, [9, 1]), Some((5, 1, 1000)));
        assert_eq!(told(60, [9, 1]), Some((9, 1, 1000)));
    }

    #[test]
    fn an_objective_that_is_no_more_is_forgotten_and_begins_anew() {
        let mut objectives = Objectives::default();
        let mut at = |second: u64, counted: Vec<Counted>| {
            objectives.at(Moment::from_start(Duration::from_secs(second)), second, || counted)
        };
        assert_eq!(at(100, vec![counted("claude", [1, 1])]).len(), 1);
        assert!(at(200, vec![]).is_empty());
        assert_eq!(at(300, vec![counted("claude", [2, 0])])[0].since, 300);
    }
}
