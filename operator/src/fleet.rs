//! What is known of the sidecars that hold a stream, to this replica or to another: the last report of each pod.
//!
//! Written by the streams (and by the other replicas, through the leader's), read by the reconciler. Names and namespaces are
//! those of the tokens, so a sidecar that lies spoils its own pod's line and no other. Of two tellers about one pod the newer
//! report counts; a pod whose stream ended is kept for [`GRACE`], in which it comes back through whichever replica.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bowsprit_core::stream::SidecarReport;

use crate::heard::{Ears, Heard};
use crate::sync::locked;
pub use objectives::{Counted, Objectives};
use returning::Returning;
pub use runaways::Runaways;

mod objectives;
mod returning;
mod runaways;

/// How long a pod is still counted after its stream ended: a sidecar is back within seconds where an operator leaves, and
/// within about ten where one dies.
pub const GRACE: Duration = Duration::from_secs(15);
/// How long who has not come back is waited for while others are still coming: ten thousand sidecars that lost all of their
/// operators take the better part of a minute, and to nudge and to ask those who wait for their turn would make that minutes.
pub const LONG_GRACE: Duration = Duration::from_mins(1);
/// From one telling of a namespace for the sake of counts that have moved to the next. Under traffic each sidecar's move twice a
/// minute, and the status that they go into is written every two minutes but for a leap.
pub const COUNTS_APART: Duration = Duration::from_mins(1);

/// A pod with a sidecar, as its token names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// Its name.
    pub name: String,
    /// Its uid: a pod of the same name made anew is another.
    pub uid: String,
}

/// A report and when it came.
#[derive(Clone, Debug)]
pub struct Reported {
    /// What the sidecar said last, without its objectives and runaways.
    pub report: Arc<SidecarReport>,
    /// What it has counted of them.
    pub objectives: Objectives,
    /// The policies by which its pod runs away.
    pub runaways: Runaways,
    /// When a replica heard it.
    pub at: Instant,
}

impl Reported {
    /// The report as the sidecar sent it.
    pub fn whole(&self) -> SidecarReport {
        SidecarReport {
            objectives: self.objectives.reported(),
            runaways: self.runaways.to_vec(),
            ..SidecarReport::clone(&self.report)
        }
    }
}

/// The fleet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    known: Mutex<Known>,
    ears: Ears,
    tellers: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    namespaces: HashMap<String, Namespace>,
    /// Pods whose stream ended, in the order of when.
    lost: VecDeque<(Instant, String, PodId)>,
    /// Namespaces in which nothing but counts has moved since they were told of.
    moved: BTreeSet<String>,
    /// When a namespace was told of for the sake of counts, where that is not long ago.
    told: HashMap<String, Instant>,
    /// Since when this replica leads.
    leads_since: Option<Instant>,
    returning: Returning,
}

#[derive(Debug, Default)]
struct Namespace {
    pods: BTreeMap<PodId, Line>,
    /// The report that came last. Most sidecars of a namespace say the same, and then share one copy of it.
    recent: Option<(Arc<SidecarReport>, Objectives)>,
}

#[derive(Debug)]
struct Line {
    reported: Reported,
    teller: u64,
    /// Whether the stream is to this replica.
    here: bool,
    lost: Option<Instant>,
}

impl Fleet {
    /// Nobody is known yet.
    pub fn new() -> (Self, Heard) {
        let fleet = Self(Arc::new(Inner {
            known: Mutex::default(),
            ears: Ears::default(),
            tellers: AtomicU64::new(1),
        }));
        let heard = fleet.listen();
        (fleet, heard)
    }

    /// One more listener: each hears of all that happens from now on.
    pub fn listen(&self) -> Heard {
        self.0.ears.listen()
    }

    /// One stream, or one other replica, that tells of pods. `here`: the streams are to this replica.
    pub fn teller(&self, here: bool) -> Teller {
        Teller {
            fleet: self.clone(),
            id: self.0.tellers.fetch_add(1, Ordering::Relaxed),
            here,
        }
    }

    /// A sidecar has reported.
    pub fn note(&self, namespace: &str, pod: PodId, report: Arc<SidecarReport>, at: Instant) {
        self.put(namespace, pod, report, at, (0, true));
    }

    /// A pod is no more, or its stream ended for good.
    pub fn gone(&self, namespace: &str, pod: &PodId) {
        let mut known = self.lock();
        let Some(of) = known.namespaces.get_mut(namespace) else {
            return;
        };
        if of.pods.remove(pod).is_none() {
            return;
        }
        if of.pods.is_empty() {
            known.namespaces.remove(namespace);
        }
        drop(known);
        self.0.ears.tell(namespace);
    }

    /// Something was heard of the namespace's sidecars that is kept elsewhere: whoever listens looks at it again.
    pub fn tell(&self, namespace: &str) {
        self.0.ears.tell(namespace);
    }

    /// The namespace's pods that hold a stream, with their last reports.
    pub fn reports(&self, namespace: &str) -> BTreeMap<PodId, Reported> {
        let known = self.lock();
        let lines = known.namespaces.get(namespace).into_iter().flat_map(|of| &of.pods);
        lines.map(|(pod, line)| (pod.clone(), line.reported.clone())).collect()
    }

    /// The namespace's pods whose stream is to this replica and open: what this replica tells the leader.
    pub fn reports_here(&self, namespace: &str) -> BTreeMap<PodId, Reported> {
        let known = self.lock();
        let lines = known.namespaces.get(namespace).into_iter().flat_map(|of| &of.pods);
        let here = lines.filter(|(_, line)| line.here && line.lost.is_none());
        here.map(|(pod, line)| (pod.clone(), line.reported.clone())).collect()
    }

    /// How many of the namespace's pods hold a stream, or did some seconds ago.
    pub fn count(&self, namespace: &str) -> usize {
        self.lock().namespaces.get(namespace).map_or(0, |of| of.pods.len())
    }

    /// Every namespace of which something is known.
    pub fn namespaces(&self) -> Vec<String> {
        self.lock().namespaces.keys().cloned().collect()
    }

    /// This replica leads from `now` on, and the others begin to tell it of their sidecars.
    pub fn leads(&self, now: Instant) {
        self.lock().leads_since = Some(now);
    }

    /// Whether all who hold a stream are known at `now`. A leader that is new hears of most of them within seconds; until then
    /// who is not known may well hold one, and to nudge them all would be a storm for nothing.
    pub fn is_settled(&self, now: Instant) -> bool {
        let known = self.lock();
        let grace = if known.returning.is_so(now) { LONG_GRACE } else { GRACE };
        let since = known.leads_since;
        since.is_some_and(|since| now.saturating_duration_since(since) >= grace)
    }

    /// Whether many sidecars are coming back at `now`, so that who is not there yet is likely on its way.
    pub fn is_returning(&self, now: Instant) -> bool {
        self.lock().returning.is_so(now)
    }

    /// Forgets who has been away for [`GRACE`] at `now`. To be called about once a second.
    pub fn forget_lost(&self, now: Instant) {
        let mut known = self.lock();
        let mut touched = Vec::new();
        while let Some((since, _, _)) = known.lost.front() {
            if now.saturating_duration_since(*since) < GRACE {
                break;
            }
            let Some((since, namespace, pod)) = known.lost.pop_front() else {
                break;
            };
            let Some(of) = known.namespaces.get_mut(&namespace) else {
                continue;
            };
            // Back meanwhile, or back and lost again.
            if of.pods.get(&pod).is_none_or(|line| line.lost != Some(since)) {
                continue;
            }
            of.pods.remove(&pod);
            if of.pods.is_empty() {
                known.namespaces.remove(&namespace);
            }
            touched.push(namespace);
        }
        drop(known);
        for namespace in touched {
            self.0.ears.tell(&namespace);
        }
    }

    /// Tells of the namespaces in which nothing but counts has moved, of each so seldom as [`COUNTS_APART`] says. To be called
    /// about once a second.
    pub fn tell_counts(&self, now: Instant) {
        let mut known = self.lock();
        let Known { moved, told, .. } = &mut *known;
        told.retain(|_, told| now.saturating_duration_since(*told) < COUNTS_APART);
        let mut due = Vec::new();
        moved.retain(|namespace| {
            let waits = told.contains_key(namespace);
            if !waits {
                due.push(namespace.clone());
            }
            waits
        });
        told.extend(due.iter().map(|namespace| (namespace.clone(), now)));
        drop(known);
        for namespace in due {
            self.0.ears.tell(&namespace);
        }
    }

    fn put(&self, namespace: &str, pod: PodId, report: Arc<SidecarReport>, at: Instant, (teller, here): (u64, bool)) {
        let mut known = self.lock();
        if !known.namespaces.contains_key(namespace) {
            known.namespaces.insert(namespace.to_owned(), Namespace::default());
        }
        let Some(of) = known.namespaces.get_mut(namespace) else {
            return;
        };
        let is_older = |line: &Line| line.teller != teller && line.lost.is_none() && line.reported.at > at;
        if of.pods.get(&pod).is_some_and(is_older) {
            return;
        }
        let (report, runaways) = runaways::apart(report);
        let (report, objectives) = Objectives::apart(report, of.recent.as_ref().map(|(_, objectives)| objectives));
        let report = match &of.recent {
            Some((recent, _)) if **recent == *report => Arc::clone(recent),
            _ => report,
        };
        of.recent = Some((Arc::clone(&report), objectives.clone()));
        let line = Line {
            reported: Reported {
                report,
                objectives,
                runaways,
                at,
            },
            teller,
            here,
            lost: None,
        };
        let now_so = line.reported.clone();
        let before = of.pods.insert(pod, line);
        if before.as_ref().is_none_or(|before| before.lost.is_some()) {
            known.returning.note(at);
        }
        let only_counts_moved = |before: &Line| {
            before.teller == teller
                && before.lost.is_none()
                && before.reported.report == now_so.report
                && runaways::go_on(&before.reported.runaways, &now_so.runaways)
                && (now_so.objectives.moved_from(&before.reported.objectives)
                    || (now_so.objectives == before.reported.objectives && now_so.runaways != before.reported.runaways))
        };
        if before.is_some_and(|before| only_counts_moved(&before)) {
            if !known.moved.contains(namespace) {
                known.moved.insert(namespace.to_owned());
            }
            return;
        }
        known.moved.remove(namespace);
        drop(known);
        self.0.ears.tell(namespace);
    }

    /// Only what `teller` itself said last is lost with it.
    fn lose(&self, namespace: &str, pod: &PodId, teller: u64, now: Instant) {
        let mut known = self.lock();
        let line = known.namespaces.get_mut(namespace).and_then(|of| of.pods.get_mut(pod));
        let Some(line) = line.filter(|line| line.teller == teller && line.lost.is_none()) else {
            return;
        };
        line.lost = Some(now);
        let here = line.here;
        known.lost.push_back((now, namespace.to_owned(), pod.clone()));
        drop(known);
        if here {
            // Nothing is new for the reconciler; who tells the leader what is open here has to say so.
            self.0.ears.tell(namespace);
        }
    }

    fn lose_all(&self, teller: u64, now: Instant) {
        let mut known = self.lock();
        let mut lost = Vec::new();
        for (namespace, of) in &mut known.namespaces {
            for (pod, line) in &mut of.pods {
                if line.teller == teller && line.lost.is_none() {
                    line.lost = Some(now);
                    lost.push((now, namespace.clone(), pod.clone()));
                }
            }
        }
        known.lost.extend(lost);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        locked(&self.0.known)
    }
}

/// Who tells of pods: one stream, or the link to one other replica.
#[derive(Debug)]
pub struct Teller {
    fleet: Fleet,
    id: u64,
    here: bool,
}

impl Teller {
    /// The pod has said this, at `at`.
    pub fn note(&self, namespace: &str, pod: PodId, report: Arc<SidecarReport>, at: Instant) {
        self.fleet.put(namespace, pod, report, at, (self.id, self.here));
    }

    /// The pod's stream ended. It is forgotten after [`GRACE`], unless it comes back by then, here or elsewhere.
    pub fn lost(&self, namespace: &str, pod: &PodId, now: Instant) {
        self.fleet.lose(namespace, pod, self.id, now);
    }

    /// This teller ended: all that it told of is lost.
    pub fn ended(self, now: Instant) {
        self.fleet.lose_all(self.id, now);
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};

    use super::*;

    fn pod(name: &str) -> PodId {
        PodId {
            name: name.into(),
            uid: format!("uid-{name}"),
        }
    }

    fn at_sequence(sequence: u64) -> Arc<SidecarReport> {
        Arc::new(SidecarReport {
            sequence,
            ..SidecarReport::default()
        })
    }

    fn sequence(fleet: &Fleet, name: &str) -> Option<u64> {
        let reports = fleet.reports("team");
        reports.get(&pod(name)).map(|reported| reported.report.sequence)
    }

    #[test]
    fn a_pod_that_moves_to_another_replica_is_never_gone_in_between() {
        let (fleet, _heard) = Fleet::new();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let (one, two) = (fleet.teller(false), fleet.teller(false));
        one.note("team", pod("a"), at_sequence(1), at(0));
        one.lost("team", &pod("a"), at(1));
        fleet.forget_lost(at(10));
        assert_eq!(sequence(&fleet, "a"), Some(1));
        two.note("team", pod("a"), at_sequence(2), at(11));
        fleet.forget_lost(at(100));
        assert_eq!(sequence(&fleet, "a"), Some(2));
        // What the first replica says late of the stream that it has lost is older, and its end is not the pod's.
        one.note("team", pod("a"), at_sequence(1), at(5));
        one.ended(at(101));
        fleet.forget_lost(at(200));
        assert_eq!(sequence(&fleet, "a"), Some(2));
        two.ended(at(200));
        fleet.forget_lost(at(199) + GRACE);
        assert_eq!(sequence(&fleet, "a"), Some(2));
        fleet.forget_lost(at(200) + GRACE);
        assert_eq!(sequence(&fleet, "a"), None);
        assert!(fleet.namespaces().is_empty());
    }

    #[test]
    fn a_pod_that_is_back_and_lost_again_gets_its_whole_grace_again() {
        let (fleet, _heard) = Fleet::new();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let teller = fleet.teller(true);
        teller.note("team", pod("a"), at_sequence(1), at(0));
        teller.lost("team", &pod("a"), at(0));
        teller.note("team", pod("a"), at_sequence(1), at(5));
        teller.lost("team", &pod("a"), at(10));
        fleet.forget_lost(at(0) + GRACE);
        assert!(fleet.reports("team").contains_key(&pod("a")));
        fleet.forget_lost(at(10) + GRACE);
        assert!(!fleet.reports("team").contains_key(&pod("a")));
    }

    #[test]
    fn a_new_leader_does_not_take_who_it_has_not_heard_of_for_without_a_stream() {
        let (fleet, _heard) = Fleet::new();
        let now = Instant::now();
        assert!(!fleet.is_settled(now + GRACE));
        fleet.leads(now);
        assert!(!fleet.is_settled(now));
        assert!(fleet.is_settled(now + GRACE));
    }

    #[test]
    fn while_many_come_back_a_new_leader_waits_longer_for_the_others_and_not_for_ever() {
        let (fleet, _heard) = Fleet::new();
        let start = Instant::now();
        fleet.leads(start);
        let teller = fleet.teller(true);
        let report = at_sequence(7);
        let come = |second: u64, count: u64| {
            for number in 0..count {
                let name = format!("{second}-{number}");
                let at = start + Duration::from_secs(second);
                teller.note("team", pod(&name), Arc::clone(&report), at);
            }
        };
        for second in 0..65 {
            come(second, 100);
        }
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(fleet.is_returning(at(65)) && !fleet.is_settled(at(59)));
        assert!(fleet.is_settled(at(60)), "whoever is still coming");
        // What is said again is no return, and a few that come are none either.
        for second in 100..130 {
            teller.note("team", pod("0-0"), at_sequence(second), at(second));
            come(second, 1);
        }
        assert!(!fleet.is_returning(at(130)));
    }

    #[test]
    fn only_what_is_open_here_is_told_to_the_leader() {
        let (fleet, _heard) = Fleet::new();
        let now = Instant::now();
        let (here, there) = (fleet.teller(true), fleet.teller(false));
        here.note("team", pod("a"), at_sequence(1), now);
        here.note("team", pod("b"), at_sequence(1), now);
        there.note("team", pod("c"), at_sequence(1), now);
        here.lost("team", &pod("b"), now);
        let told: Vec<PodId> = fleet.reports_here("team").into_keys().collect();
        assert_eq!(told, [pod("a")]);
        assert_eq!(fleet.reports("team").len(), 3);
    }

    #[test]
    fn sidecars_that_say_the_same_share_one_copy() {
        let (fleet, _heard) = Fleet::new();
        let teller = fleet.teller(true);
        for name in ["a", "b", "c"] {
            teller.note("team", pod(name), at_sequence(7), Instant::now());
        }
        let reports: Vec<Reported> = fleet.reports("team").into_values().collect();
        assert!(reports.iter().all(|one| Arc::ptr_eq(&one.report, &reports[0].report)));
    }

    fn counted(sequence: u64, good: u64) -> Arc<SidecarReport> {
        let mut report = SidecarReport::clone(&at_sequence(sequence));
        report.objectives = vec![bowsprit_core::stream::ReportedObjective {
            object: "route".into(),
            name: "chat".into(),
            objective: "availability".into(),
            good,
            bad: 0,
            since: 0,
        }];
        Arc::new(report)
    }

    #[test]
    fn counts_that_move_are_told_once_a_minute_and_a_change_among_them_at_once() {
        let (fleet, mut heard) = Fleet::new();
        let start = Instant::now();
        let teller = fleet.teller(true);
        let name = |number: u64| pod(&format!("app-{number}"));
        for number in 0..100 {
            teller.note("team", name(number), counted(7, 1), start);
        }
        let mut told = || heard.next().now_or_never().flatten().is_some();
        assert!(told(), "who comes is told");
        // A hundred sidecars under traffic, for ten minutes: each tells twice a minute.
        let mut tellings = 0;
        for second in 1..=600 {
            let now = start + Duration::from_secs(second);
            for number in (0..100).filter(|number| number % 30 == second % 30) {
                teller.note("team", name(number), counted(7, second + number), now);
            }
            fleet.tell_counts(now);
            tellings += u32::from(told());
        }
        assert_eq!(tellings, 10, "of 2,000 reports");
        let newest = |number| fleet.reports("team")[&name(number)].whole().objectives[0].good;
        assert_eq!(
            (newest(0), newest(29)),
            (600, 599 + 29),
            "what is looked at for another reason is the newest"
        );
        let now = start + Duration::from_secs(601);
        teller.note("team", name(1), counted(7, 9999), now);
        assert!(!told());
        teller.note("team", name(0), counted(8, 9999), now);
        assert!(told(), "another config");
        fleet.tell_counts(now + COUNTS_APART);
        assert!(!told(), "and with it the counts of all were seen");
    }

    #[test]
    fn sidecars_that_have_counted_differently_share_all_but_the_counts() {
        let (fleet, _heard) = Fleet::new();
        for number in 0..3 {
            fleet.note("team", pod(&format!("{number}")), counted(7, number), Instant::now());
        }
        let reports: Vec<Reported> = fleet.reports("team").into_values().collect();
        assert!(reports.iter().all(|one| Arc::ptr_eq(&one.report, &reports[0].report)));
        assert_eq!(reports[2].whole(), *counted(7, 2));
    }

    #[test]
    fn a_runaway_that_begins_or_ends_is_told_at_once_and_how_often_it_came_once_a_minute() {
        let (fleet, mut heard) = Fleet::new();
        let teller = fleet.teller(true);
        let start = Instant::now();
        let runs = |repeats: u64| {
            let mut report = SidecarReport::clone(&at_sequence(7));
            report.runaways = vec![bowsprit_core::stream::ReportedRunaway {
                policy: "house".into(),
                stops: true,
                repeats,
                since: 7,
            }];
            Arc::new(report)
        };
        let mut said = |second: u64, report: Arc<SidecarReport>| {
            let now = start + Duration::from_secs(second);
            teller.note("team", pod("a"), report, now);
            fleet.tell_counts(now);
            heard.next().now_or_never().flatten().is_some()
        };
        assert!(said(0, at_sequence(7)), "who comes is told");
        assert!(said(1, runs(1)), "it begins");
        let tellings = (2..=600).filter(|second| said(*second, runs(*second))).count();
        assert_eq!(tellings, 10, "of 599 reports");
        assert!(said(601, runs(1_200)), "one that has doubled is told at once");
        assert!(said(602, at_sequence(7)), "and ends");
        teller.note("team", pod("a"), runs(9), start);
        teller.note("team", pod("b"), runs(8), start);
        let reports: Vec<Reported> = fleet.reports("team").into_values().collect();
        assert!(
            Arc::ptr_eq(&reports[0].report, &reports[1].report),
            "the rest is shared"
        );
        assert_eq!(reports[0].whole(), *runs(9));
    }

    #[test]
    fn a_listener_hears_each_namespace_once_until_it_listens_again() {
        let (fleet, mut heard) = Fleet::new();
        let mut other = fleet.listen();
        for name in ["a", "b", "c"] {
            fleet.note("team", pod(name), at_sequence(7), Instant::now());
        }
        fleet.note("web", pod("d"), at_sequence(7), Instant::now());
        for listener in [&mut heard, &mut other] {
            let first = listener.next().now_or_never().flatten();
            let second = listener.next().now_or_never().flatten();
            assert_eq!((first.as_deref(), second.as_deref()), (Some("team"), Some("web")));
            assert!(listener.next().now_or_never().is_none());
        }
    }
}
