//! Which runaways go on now, for whoever watches over many pods: by policy, with a count and a beginning, and nothing of what was asked.
//!
//! It is told while it goes on and [`QUIET`] longer, so that an agent that stops to think is not told twice. How often it came is told
//! anew twice a minute at the most: a loop alone makes no more reports than that.

use std::sync::Arc;
use std::time::Duration;

use super::Terms;
use crate::clock::Moment;
use crate::stream::{MOST_RUNAWAYS, ReportedRunaway};

/// After the last of its requests a runaway is told for so long.
pub const QUIET: Duration = Duration::from_mins(5);
/// From one renewal of the counts to the next.
const RENEW: Duration = Duration::from_secs(30);

/// The runaways of one pod.
#[derive(Clone, Debug, Default)]
pub struct Going {
    by: Vec<One>,
    renewed: Option<Moment>,
}

#[derive(Clone, Debug)]
struct One {
    policy: Arc<str>,
    stops: bool,
    repeats: u64,
    /// [`Self::repeats`] as it was told last; 0: not yet.
    told: u64,
    /// Unix seconds.
    since: u64,
    last: Moment,
}

impl Going {
    /// A request came too often by these terms at `now`, which is `unix` in Unix seconds.
    pub fn note(&mut self, terms: &Terms, now: Moment, unix: u64) {
        let known = self.by.iter_mut().find(|one| one.policy == terms.policy);
        // Also where nobody asks what goes on, as without an operator, the one after a pause is another.
        if let Some(one) = known.filter(|one| now - one.last < QUIET) {
            one.stops = terms.stops;
            one.repeats = one.repeats.saturating_add(1);
            one.last = now;
            return;
        }
        self.by.retain(|one| one.policy != terms.policy);
        if self.by.len() >= MOST_RUNAWAYS
            && let Some((stalest, _)) = self.by.iter().enumerate().min_by_key(|(_, one)| one.last)
        {
            self.by.swap_remove(stalest);
        }
        self.by.push(One {
            policy: Arc::clone(&terms.policy),
            stops: terms.stops,
            repeats: 1,
            told: 0,
            since: unix,
            last: now,
        });
    }

    /// What is to be told at `now`, by the policies' names.
    pub fn told(&mut self, now: Moment) -> Vec<ReportedRunaway> {
        self.by.retain(|one| now - one.last < QUIET);
        let is_due = self.renewed.is_none_or(|renewed| now - renewed >= RENEW);
        if is_due {
            self.renewed = Some(now);
        }
        for one in self.by.iter_mut().filter(|one| is_due || one.told == 0) {
            one.told = one.repeats;
        }
        let one = |one: &One| ReportedRunaway {
            policy: one.policy.to_string(),
            stops: one.stops,
            repeats: one.told,
            since: one.since,
        };
        let mut told: Vec<ReportedRunaway> = self.by.iter().map(one).collect();
        told.sort_unstable_by(|a, b| a.policy.cmp(&b.policy));
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(policy: &str, stops: bool) -> Terms {
        Terms {
            policy: policy.into(),
            full_name: format!("policy/{policy}/runaway").into(),
            times: 3,
            within: Duration::from_mins(10),
            stops,
        }
    }

    fn at(second: u64) -> Moment {
        Moment::from_start(Duration::from_secs(second))
    }

    fn note(going: &mut Going, policy: &str, second: u64) {
        going.note(&terms(policy, true), at(second), 1000 + second);
    }

    #[test]
    fn a_runaway_is_told_at_once_its_count_twice_a_minute_and_it_ends_by_itself() {
        let mut going = Going::default();
        assert_eq!(going.told(at(0)), []);
        note(&mut going, "house", 7);
        let one = |repeats| ReportedRunaway {
            policy: "house".into(),
            stops: true,
            repeats,
            since: 1007,
        };
        assert_eq!(going.told(at(7)), [one(1)], "that it begins waits for nothing");
        for second in 8..100 {
            note(&mut going, "house", second);
            let counts_at = if second < 30 { 7 } else { second / 30 * 30 };
            assert_eq!(going.told(at(second)), [one(counts_at - 6)], "at {second}");
        }
        let quiet = 99 + QUIET.as_secs();
        assert_eq!(going.told(at(quiet - 1)), [one(93)], "it may only think");
        assert_eq!(going.told(at(quiet)), []);
        note(&mut going, "house", 1000);
        assert_eq!(going.told(at(1000))[0].since, 2000, "the next is another");
    }

    #[test]
    fn the_next_is_another_also_where_nobody_asked_meanwhile() {
        let mut going = Going::default();
        note(&mut going, "house", 0);
        note(&mut going, "house", QUIET.as_secs());
        let told = going.told(at(QUIET.as_secs())).remove(0);
        assert_eq!((told.repeats, told.since), (1, 1000 + QUIET.as_secs()));
    }

    #[test]
    fn what_is_told_is_bounded_and_follows_what_the_policy_says_now() {
        let mut going = Going::default();
        for number in 0..=MOST_RUNAWAYS as u64 {
            note(&mut going, &format!("policy-{number}"), number);
        }
        let told = going.told(at(9));
        assert_eq!(told.len(), MOST_RUNAWAYS);
        assert_eq!(told[0].policy, "policy-1", "the one that was quiet for longest goes");
        going.note(&terms("policy-1", false), at(10), 1010);
        assert!(!going.told(at(10))[0].stops);
    }
}
