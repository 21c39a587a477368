//! What of a ledger that grows has been shown. Pure.
//!
//! Sidecars send what has ended within seconds, and not in the order in which it ended: each question begins a while before the
//! newest that is known, and what was shown is passed over.

use std::collections::VecDeque;

use bowsprit_ledger::query::Listed;

/// How late a request may come and still be shown, milliseconds.
const LATE: i64 = 60_000;
/// Requests that are known of that time at most: where more come, the time is shorter.
const KNOWN: usize = 500;

/// What was shown last.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// By when they ended.
    known: VecDeque<(i64, String)>,
}

impl Tail {
    /// Where the next question begins; `None`: nothing is known.
    pub(super) fn after(&self) -> Option<String> {
        self.known.front().map(|(_, cursor)| cursor.clone())
    }

    /// Those of an answer that were not shown, in the order in which they ended.
    pub(super) fn fresh(&mut self, mut listed: Vec<Listed>) -> Vec<Listed> {
        listed.retain(|it| !self.known.iter().any(|(_, cursor)| *cursor == it.cursor));
        listed.sort_by_key(|it| it.at);
        for it in &listed {
            let place = self.known.partition_point(|(at, _)| *at <= it.at);
            self.known.insert(place, (it.at, it.cursor.clone()));
        }
        let newest = self.known.back().map_or(0, |(at, _)| *at);
        // One stays, however old it is: it says where to begin.
        while self.known.len() > 1
            && (self.known.len() > KNOWN || self.known.front().is_some_and(|(at, _)| at + LATE < newest))
        {
            self.known.pop_front();
        }
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(times: impl IntoIterator<Item = i64>) -> Vec<Listed> {
        let of = |at: i64| Listed {
            cursor: format!("{at}.1.1"),
            at,
            ..Listed::default()
        };
        times.into_iter().map(of).collect()
    }

    fn shown(tail: &mut Tail, times: impl IntoIterator<Item = i64>) -> Vec<i64> {
        tail.fresh(at(times)).iter().map(|it| it.at).collect()
    }

    #[test]
    fn each_is_shown_once_and_who_comes_late_is_not_missed() {
        let mut tail = Tail::default();
        assert_eq!(tail.after(), None);
        assert_eq!(shown(&mut tail, [1_000, 3_000]), [1_000, 3_000]);
        assert_eq!(tail.after().as_deref(), Some("1000.1.1"));
        assert_eq!(shown(&mut tail, [3_000, 2_000, 4_000]), [2_000, 4_000]);
        assert_eq!(shown(&mut tail, [70_000]), [70_000]);
        assert_eq!(tail.after().as_deref(), Some("70000.1.1"));
    }

    #[test]
    fn what_is_known_has_a_bound() {
        let mut tail = Tail::default();
        assert_eq!(shown(&mut tail, 0..2_000).len(), 2_000);
        assert_eq!(tail.known.len(), KNOWN);
        assert_eq!(tail.after().as_deref(), Some("1500.1.1"));
    }
}
