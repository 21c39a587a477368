//! Since when a config carries each object, which sidecars have it, and how long it took them. Pure: time is passed in.
//!
//! An object is live in a sidecar that has the config in which its document last changed, or a later one: so a change of one
//! object is no change of the others' statuses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bowsprit_crds::{DurationText, Propagation};

use crate::fleet::{PodId, Reported};

/// For how long a write is followed. Who comes later had no stream meanwhile, which is no matter of how fast a change travels.
const FOLLOWED: Duration = Duration::from_mins(1);
/// Writes that are followed at once: one that comes before the last has arrived does not hide how long that took.
const MOST_FOLLOWED: usize = 4;

/// A config by its number and its content hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Grows with each change.
    pub sequence: u64,
    /// Of the documents.
    pub revision: String,
}

/// One write, and who has it.
#[derive(Debug)]
struct Written {
    sequence: u64,
    at: Instant,
    /// Who held a stream then and has not answered for it.
    pending: BTreeSet<PodId>,
    took: BTreeMap<String, Duration>,
}

/// What a leader remembers of a namespace.
#[derive(Debug, Default)]
pub struct Rollout {
    carried: BTreeMap<String, Version>,
    written: Vec<Written>,
}

impl Rollout {
    /// This replica is about to write `version`, in which the documents of `changed` are new or different.
    pub fn writes<'a>(
        &mut self,
        version: &Version,
        changed: impl IntoIterator<Item = &'a str>,
        streaming: &BTreeMap<PodId, Reported>,
        now: Instant,
    ) {
        for object in changed {
            self.carried.insert(object.to_owned(), version.clone());
        }
        self.written.push(Written {
            sequence: version.sequence,
            at: now,
            pending: streaming.keys().cloned().collect(),
            took: BTreeMap::new(),
        });
        if self.written.len() > MOST_FOLLOWED {
            self.written.remove(0);
        }
    }

    /// What the sidecars say now.
    pub fn hears(&mut self, streaming: &BTreeMap<PodId, Reported>, now: Instant) {
        self.written
            .retain(|written| now.saturating_duration_since(written.at) < FOLLOWED);
        for written in &mut self.written {
            let (sequence, at, took) = (written.sequence, written.at, &mut written.took);
            written.pending.retain(|pod| {
                // Gone, or its stream is: how long it takes from here on is no matter of this write.
                let Some(reported) = streaming.get(pod) else {
                    return false;
                };
                let has_it = reported.report.sequence >= sequence;
                if has_it {
                    took.insert(pod.name.clone(), reported.at.saturating_duration_since(at));
                }
                !has_it
            });
        }
    }

    /// Since which version the config carries `object`. Where this replica does not know, what its status says is taken, if that
    /// speaks of it as it is now; else the newest, which is the safe side.
    pub fn carries(&mut self, object: &str, told: Option<Version>, newest: &Version) -> Version {
        if let Some(version) = self.carried.get(object).filter(|it| it.sequence <= newest.sequence) {
            return version.clone();
        }
        let told = told.filter(|told| told.sequence > 0 && told.sequence <= newest.sequence);
        let version = told.unwrap_or_else(|| newest.clone());
        self.carried.insert(object.to_owned(), version.clone());
        version
    }

    /// Forgets objects that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.carried.retain(|object, _| is_there(object));
    }

    /// How long `version` took to the sidecars in `selected`; nothing where this replica did not write it.
    pub fn propagation<'a>(&self, version: &Version, selected: impl Iterator<Item = &'a str>) -> Option<Propagation> {
        let written = self.written.iter().find(|it| it.sequence == version.sequence)?;
        let mut took: Vec<Duration> = selected.filter_map(|pod| written.took.get(pod).copied()).collect();
        took.sort_unstable();
        Some(Propagation {
            of: version.revision.clone(),
            p50: percentile(&took, 50)?,
            p99: percentile(&took, 99)?,
            sidecars: u32::try_from(took.len()).unwrap_or(u32::MAX),
        })
    }
}

/// The nearest-rank percentile, in whole milliseconds, at least one.
fn percentile(sorted: &[Duration], percent: usize) -> Option<DurationText> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    let millis = sorted.get(rank - 1)?.as_millis().max(1);
    Some(DurationText::millis(u64::try_from(millis).unwrap_or(u64::MAX)))
}

/// Whether a sidecar that reports `sequence` and `revision` has `version`, where `newest` is what is written.
pub fn has(sequence: u64, revision: &str, version: &Version, newest: &Version) -> bool {
    revision == newest.revision || (version.sequence..=newest.sequence).contains(&sequence)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bowsprit_core::stream::SidecarReport;

    use super::*;
    use crate::fleet::{Objectives, Runaways};

    fn version(sequence: u64) -> Version {
        Version {
            sequence,
            revision: format!("r{sequence}"),
        }
    }

    fn streams(all: &[(&str, u64, Instant)]) -> BTreeMap<PodId, Reported> {
        let line = |(name, sequence, at): &(&str, u64, Instant)| {
            let pod = PodId {
                name: (*name).into(),
                uid: (*name).into(),
            };
            let report = Arc::new(SidecarReport {
                sequence: *sequence,
                ..SidecarReport::default()
            });
            let objectives = Objectives::default();
            (
                pod,
                Reported {
                    report,
                    objectives,
                    runaways: Runaways::default(),
                    at: *at,
                },
            )
        };
        all.iter().map(line).collect()
    }

    #[test]
    fn the_time_from_the_write_to_each_answer_is_told_and_nothing_of_who_came_later() {
        let (mut rollout, start) = (Rollout::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        rollout.writes(
            &version(7),
            ["ProviderConfig a"],
            &streams(&[("x", 6, start), ("y", 6, start)]),
            start,
        );
        rollout.hears(
            &streams(&[("x", 7, at(100)), ("y", 6, start), ("new", 7, at(150))]),
            at(200),
        );
        rollout.hears(
            &streams(&[("x", 7, at(100)), ("y", 8, at(300)), ("new", 7, at(150))]),
            at(400),
        );
        let told = |of: &[&str]| rollout.propagation(&version(7), of.iter().copied());
        let all = told(&["x", "y", "new"]).unwrap();
        assert_eq!((all.of.as_str(), all.sidecars), ("r7", 2));
        assert_eq!(
            (all.p50, all.p99),
            (DurationText::millis(100), DurationText::millis(300))
        );
        assert_eq!(told(&["x"]).unwrap().p99, DurationText::millis(100));
        assert_eq!(told(&["new"]), None);
        assert_eq!(
            rollout.propagation(&version(6), ["x"].into_iter()),
            None,
            "not written by this replica"
        );
    }

    #[test]
    fn an_object_is_carried_since_its_own_last_change() {
        let (mut rollout, now) = (Rollout::default(), Instant::now());
        rollout.writes(&version(5), ["a", "b"], &BTreeMap::new(), now);
        rollout.writes(&version(6), ["b"], &BTreeMap::new(), now);
        assert_eq!(rollout.carries("a", None, &version(6)), version(5));
        assert_eq!(rollout.carries("b", None, &version(6)), version(6));
        // After a restart, from the status; and where that is silent or cannot be, from what is written.
        let mut fresh = Rollout::default();
        assert_eq!(fresh.carries("a", Some(version(5)), &version(6)), version(5));
        assert_eq!(fresh.carries("b", None, &version(6)), version(6));
        assert_eq!(fresh.carries("c", Some(version(9)), &version(6)), version(6));
    }

    #[test]
    fn a_sidecar_has_it_with_that_config_or_a_later_one_and_never_with_one_that_nobody_wrote() {
        let (since, newest) = (version(5), version(8));
        assert!(has(5, "r5", &since, &newest) && has(6, "r6", &since, &newest) && has(8, "r8", &since, &newest));
        assert!(!has(4, "r4", &since, &newest) && !has(9, "x", &since, &newest) && !has(0, "", &since, &newest));
        assert!(has(0, "r8", &since, &newest), "the same documents under another number");
    }
}
