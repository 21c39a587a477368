//! Which pods hold a stream to this replica: one each, the newest.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use crate::sync::locked;
use tokio::sync::oneshot;

/// Why a stream is ended from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Its pod is no more.
    PodGone,
    /// Its pod has opened another.
    Replaced,
}

/// The streams by their pods' uids.
#[derive(Debug, Default)]
pub(super) struct Roster(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: HashMap<String, (u64, oneshot::Sender<Cut>)>,
    entered: u64,
}

/// A stream's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    roster: &'a Roster,
    uid: String,
    number: u64,
}

impl Roster {
    /// A stream of this pod is open; one that it had before is cut.
    pub(super) fn enter(&self, uid: &str) -> (Place<'_>, oneshot::Receiver<Cut>) {
        let (cut, is_cut) = oneshot::channel();
        let mut state = self.lock();
        state.entered += 1;
        let number = state.entered;
        if let Some((_, before)) = state.open.insert(uid.to_owned(), (number, cut)) {
            let _ = before.send(Cut::Replaced);
        }
        let place = Place {
            roster: self,
            uid: uid.to_owned(),
            number,
        };
        (place, is_cut)
    }

    /// The pod is no more.
    pub(super) fn cut(&self, uid: &str) {
        if let Some((_, cut)) = self.lock().open.remove(uid) {
            let _ = cut.send(Cut::PodGone);
        }
    }

    /// These are all pods that there are. The uids of those that hold a stream and are not among them, now cut.
    pub(super) fn keep_only(&self, there: &HashSet<String>) -> Vec<String> {
        let gone: Vec<String> = self
            .lock()
            .open
            .keys()
            .filter(|uid| !there.contains(*uid))
            .cloned()
            .collect();
        for uid in &gone {
            self.cut(uid);
        }
        gone
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.0)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.roster.lock();
        if state
            .open
            .get(&self.uid)
            .is_some_and(|(number, _)| *number == self.number)
        {
            state.open.remove(&self.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_one_stream_the_newest_and_the_old_ones_end_does_not_end_it() {
        let roster = Roster::default();
        let (first, mut first_cut) = roster.enter("a");
        let (_second, mut second_cut) = roster.enter("a");
        assert_eq!(first_cut.try_recv(), Ok(Cut::Replaced));
        drop(first);
        roster.cut("a");
        assert_eq!(second_cut.try_recv(), Ok(Cut::PodGone));
    }

    #[test]
    fn a_pod_that_went_while_nobody_watched_is_cut_and_no_other() {
        let roster = Roster::default();
        let (_a, mut a_cut) = roster.enter("a");
        let (_b, mut b_cut) = roster.enter("b");
        assert_eq!(roster.keep_only(&["b".to_owned()].into()), ["a"]);
        assert_eq!(a_cut.try_recv(), Ok(Cut::PodGone));
        assert!(b_cut.try_recv().is_err());
    }
}
