//! What a sidecar has counted of its objectives, kept apart from what else it says: the counts are each pod's own and move all the
//! time, while their names, and the rest of a report, are the same in most sidecars of a namespace and are kept once.

use std::sync::Arc;

use bowsprit_core::stream::{ReportedObjective, SidecarReport};

/// The counts of one sidecar. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objectives {
    names: Arc<[Name]>,
    counts: Arc<[Counted]>,
}

/// Which objective of which object: the object's kind and name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    kind: String,
    of: String,
    objective: String,
}

/// What was counted of it, and since when in Unix seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Events that were as it wants them.
    pub good: u64,
    /// Events that were not.
    pub bad: u64,
    /// Since when.
    pub since: u64,
}

impl Objectives {
    /// A report without its objectives, and these. Their names are shared with `like`, where they are the same.
    pub(super) fn apart(report: Arc<SidecarReport>, like: Option<&Self>) -> (Arc<SidecarReport>, Self) {
        if report.objectives.is_empty() {
            return (report, Self::default());
        }
        let mut rest = Arc::unwrap_or_clone(report);
        let objectives = Self::new(std::mem::take(&mut rest.objectives), like);
        (Arc::new(rest), objectives)
    }

    /// The counts of a report.
    pub fn new(reported: Vec<ReportedObjective>, like: Option<&Self>) -> Self {
        let count = |one: &ReportedObjective| Counted {
            good: one.good,
            bad: one.bad,
            since: one.since,
        };
        let counts = reported.iter().map(count).collect();
        let name = |one: ReportedObjective| Name {
            kind: one.object,
            of: one.name,
            objective: one.objective,
        };
        let names: Vec<Name> = reported.into_iter().map(name).collect();
        let names = match like.filter(|like| *like.names == *names) {
            Some(like) => Arc::clone(&like.names),
            None => names.into(),
        };
        Self { names, counts }
    }

    /// What was counted of one objective: the first word, where there is more than one.
    pub fn of(&self, object: &str, name: &str, objective: &str) -> Option<Counted> {
        let is_it = |it: &Name| it.kind == object && it.of == name && it.objective == objective;
        self.counts.get(self.names.iter().position(is_it)?).copied()
    }

    /// Whether the same was counted as there, and only the counts have moved.
    pub(super) fn moved_from(&self, before: &Self) -> bool {
        self.names == before.names && self.counts != before.counts
    }

    /// As a report has them.
    pub fn reported(&self) -> Vec<ReportedObjective> {
        let one = |(name, counted): (&Name, &Counted)| ReportedObjective {
            object: name.kind.clone(),
            name: name.of.clone(),
            objective: name.objective.clone(),
            good: counted.good,
            bad: counted.bad,
            since: counted.since,
        };
        self.names.iter().zip(&*self.counts).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(counts: [u64; 2]) -> Arc<SidecarReport> {
        let one = |objective: &str| ReportedObjective {
            object: "route".into(),
            name: "chat".into(),
            objective: objective.into(),
            good: counts[0],
            bad: counts[1],
            since: 7,
        };
        Arc::new(SidecarReport {
            sequence: 3,
            objectives: vec![one("availability"), one("first_token")],
            ..SidecarReport::default()
        })
    }

    #[test]
    fn counts_are_taken_apart_and_put_together_again_and_the_names_are_kept_once() {
        let (rest, one) = Objectives::apart(report([1, 2]), None);
        assert!(rest.objectives.is_empty() && rest.sequence == 3);
        assert_eq!(one.reported(), report([1, 2]).objectives);
        let (_, other) = Objectives::apart(report([5, 2]), Some(&one));
        assert!(Arc::ptr_eq(&one.names, &other.names) && other.moved_from(&one));
        let good = |objectives: &Objectives| objectives.of("route", "chat", "first_token").map(|it| it.good);
        assert_eq!(
            (good(&one), good(&other), one.of("route", "web", "availability")),
            (Some(1), Some(5), None)
        );
        assert!(
            !other.moved_from(&Objectives::default()),
            "what was not counted before is no move"
        );
    }
}
