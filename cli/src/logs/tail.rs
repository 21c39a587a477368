//! What of a ledger that grows has been shown. Pure.
//!
//! What is asked for is what has arrived, not what has ended: a pod that was cut off sends what ended long before. Several services may
//! write at a time, and what arrived first may be seen last: each question begins a while before the newest arrival that is known,
//! and what was shown is passed over.

use std::collections::VecDeque;

use bowsprit_ledger::query::Listed;

/// How much later than it arrived a request may be seen and still be shown, milliseconds.
const LATE: i64 = 60_000;
/// Requests that are known of that time at most: where more come, the time is shorter.
const KNOWN: usize = 500;

/// What was shown last.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// By when they arrived: the moment and the cursor.
    known: VecDeque<(i64, String)>,
}

impl Tail {
    /// Where the next question begins; `None`: nothing is known.
    pub(super) fn after(&self) -> Option<String> {
        self.known.front().map(|(_, cursor)| cursor.clone())
    }

    /// Those of an answer that were not shown, in the order in which they ended.
    pub(super) fn fresh(&mut self, mut listed: Vec<Listed>) -> Vec<Listed> {
        listed.retain(|it| !self.known.iter().any(|(_, cursor)| *cursor == it.arrival));
        listed.sort_by_key(|it| it.at);
        for it in &listed {
            let place = self.known.partition_point(|(arrived, _)| *arrived <= it.arrived);
            self.known.insert(place, (it.arrived, it.arrival.clone()));
        }
        let newest = self.known.back().map_or(0, |(arrived, _)| *arrived);
        // One stays, however old it is: it says where to begin.
        while self.known.len() > 1
            && (self.known.len() > KNOWN || self.known.front().is_some_and(|(arrived, _)| arrived + LATE < newest))
        {
            self.known.pop_front();
        }
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They ended when they arrived.
    fn at(times: impl IntoIterator<Item = i64>) -> Vec<Listed> {
        times.into_iter().map(|at| of(at, at)).collect()
    }

    fn of(arrived: i64, at: i64) -> Listed {
        Listed {
            arrival: format!("{arrived}.1.1"),
            arrived,
            at,
            ..Listed::default()
        }
    }

    fn shown(tail: &mut Tail, times: impl IntoIterator<Item = i64>) -> Vec<i64> {
        tail.fresh(at(times)).iter().map(|it| it.at).collect()
    }

    #[test]
    fn each_is_shown_once_and_who_is_seen_late_is_not_missed() {
        let mut tail = Tail::default();
        assert_eq!(tail.after(), None);
        assert_eq!(shown(&mut tail, [1_000, 3_000]), [1_000, 3_000]);
        assert_eq!(tail.after().as_deref(), Some("1000.1.1"));
        assert_eq!(shown(&mut tail, [3_000, 2_000, 4_000]), [2_000, 4_000]);
        assert_eq!(shown(&mut tail, [70_000]), [70_000]);
        assert_eq!(tail.after().as_deref(), Some("70000.1.1"));
    }

    #[test]
    fn what_ended_long_ago_and_arrives_now_is_shown() {
        let mut tail = Tail::default();
        tail.fresh(vec![of(7_000_000, 7_000_000)]);
        let late = tail.fresh(vec![of(7_001_000, 5), of(7_001_001, 7_000_900)]);
        assert_eq!(late.iter().map(|it| it.at).collect::<Vec<_>>(), [5, 7_000_900]);
        assert_eq!(tail.after().as_deref(), Some("7000000.1.1"));
    }

    #[test]
    fn what_is_known_has_a_bound() {
        let mut tail = Tail::default();
        assert_eq!(shown(&mut tail, 0..2_000).len(), 2_000);
        assert_eq!(tail.known.len(), KNOWN);
        assert_eq!(tail.after().as_deref(), Some("1500.1.1"));
    }
}
