//! Versions of an embedding model. A provider may put another model behind the name of one, and says so nowhere but in the name that its
//! answers give; vectors of the two can be compared without an error and mean nothing.
//!
//! So what is kept is of one version for each name that is asked for, and an answer of another one ends it. What went is asked for again
//! in the background: at once where that has not happened for an hour. A provider goes to and fro while it brings a version to its machines
//! one by one, and each time costs all vectors anew, so what comes sooner is waited out, longer each time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;

/// Names at most whose versions are known: a route that takes any name must not remember them all.
const MOST: usize = 64;
/// The first wait after a change that came soon after another; each one that follows is twice as long.
const FIRST: Duration = Duration::from_mins(1);
/// The longest wait, and the time after which a change is the first one again.
const LONGEST: Duration = Duration::from_hours(1);

/// The version that answers for each name.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    by_name: HashMap<Arc<str>, Box<str>>,
}

impl Versions {
    /// Who asked for this name was answered by this version; empty: the answer does not say. Returns the version that it takes the place
    /// of.
    pub fn answered(&mut self, name: &Arc<str>, version: &str) -> Option<Box<str>> {
        if version.is_empty() {
            return None;
        }
        if let Some(known) = self.by_name.get_mut(name) {
            return (**known != *version).then(|| std::mem::replace(known, version.into()));
        }
        if self.by_name.len() >= MOST {
            self.by_name.clear();
        }
        self.by_name.insert(Arc::clone(name), version.into());
        None
    }
}

/// How often versions have changed lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    last: Option<Moment>,
    in_a_row: u32,
}

impl Changes {
    /// It has changed `now`. Returns how long to wait before its vectors are asked for in the background.
    pub fn changed(&mut self, now: Moment) -> Duration {
        let is_soon = self.last.replace(now).is_some_and(|last| now - last < LONGEST);
        self.in_a_row = if is_soon { self.in_a_row.saturating_add(1) } else { 0 };
        match self.in_a_row.checked_sub(1) {
            None => Duration::ZERO,
            Some(doubled) => FIRST.saturating_mul(1 << doubled.min(16)).min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_under_the_same_name_is_told_once() {
        let mut versions = Versions::default();
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        assert_eq!(versions.answered(&one, "m-1"), None);
        assert_eq!(versions.answered(&other, "m-2"), None, "another name is another matter");
        assert_eq!(versions.answered(&one, ""), None, "an answer that does not say");
        assert_eq!(versions.answered(&one, "m-1"), None);
        assert_eq!(versions.answered(&one, "m-2").as_deref(), Some("m-1"));
        assert_eq!(versions.answered(&one, "m-2"), None);
        assert_eq!(versions.answered(&other, "m-2"), None);
    }

    #[test]
    fn names_without_end_take_no_memory_without_end() {
        let mut versions = Versions::default();
        for number in 0..10_000 {
            assert_eq!(versions.answered(&format!("name {number}").into(), "m"), None);
        }
        assert!(versions.by_name.len() <= MOST);
    }

    #[test]
    fn a_version_that_comes_and_goes_is_waited_out_longer_and_longer() {
        let mut changes = Changes::default();
        let mut now = Moment::from_start(Duration::from_secs(7));
        let mut minutes = Vec::new();
        for _ in 0..9 {
            minutes.push(changes.changed(now).as_secs() / 60);
            now = now + Duration::from_secs(1);
        }
        assert_eq!(minutes, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(changes.changed(now + Duration::from_hours(1)), Duration::ZERO);
    }
}
