//! A sliding window of exact counts: a ring of ten slots, no averages and no timers.
//!
//! The window covers the current slot and the nine before it, so between nine tenths and the whole of its length. What
//! is counted is exact: nothing is weighted, and an event leaves as a whole, with its slot.

use crate::clock::Moment;
use std::time::Duration;

/// Slots of one ring. Ten keep the error of the window's edge at a tenth and the sum cheap enough for the hot path.
const SLOTS: usize = 10;

/// A pair of counts, such as requests and failures, over the last `length` of time.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    slot_nanos: u64,
    newest: u64,
    slots: [(u64, u64); SLOTS],
    sum: (u64, u64),
}

impl Window {
    /// An empty window. A length under ten nanoseconds counts as ten.
    pub(crate) fn new(length: Duration) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self {
            slot_nanos: (nanos / SLOTS as u64).max(1),
            newest: 0,
            slots: [(0, 0); SLOTS],
            sum: (0, 0),
        }
    }

    /// Adds to the slot of `now`. A `now` before the newest slot counts as newest: time never runs back here.
    pub(crate) fn add(&mut self, first: u64, second: u64, now: Moment) {
        self.advance(now);
        if let Some(slot) = self.slots.get_mut(Self::place(self.newest)) {
            slot.0 += first;
            slot.1 += second;
            self.sum.0 += first;
            self.sum.1 += second;
        }
    }

    /// Both counts over the window that ends at `now`.
    pub(crate) fn sum(&mut self, now: Moment) -> (u64, u64) {
        self.advance(now);
        self.sum
    }

    /// Forgets everything counted.
    pub(crate) fn clear(&mut self) {
        self.slots = [(0, 0); SLOTS];
        self.sum = (0, 0);
    }

    fn advance(&mut self, now: Moment) {
        let slot = u64::try_from(now.since_start().as_nanos()).unwrap_or(u64::MAX) / self.slot_nanos;
        if slot <= self.newest {
            return;
        }
        if slot - self.newest >= SLOTS as u64 {
            self.clear();
        } else {
            for passed in self.newest + 1..=slot {
                if let Some(old) = self.slots.get_mut(Self::place(passed)) {
                    self.sum.0 -= old.0;
                    self.sum.1 -= old.1;
                    *old = (0, 0);
                }
            }
        }
        self.newest = slot;
    }

    fn place(slot: u64) -> usize {
        usize::try_from(slot % SLOTS as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn an_event_leaves_with_its_slot_and_not_before() {
        let mut window = Window::new(Duration::from_secs(10));
        window.add(1, 1, at(500));
        assert_eq!(window.sum(at(9_999)), (1, 1));
        assert_eq!(window.sum(at(10_000)), (0, 0));
    }

    #[test]
    fn a_long_silence_empties_the_window() {
        let mut window = Window::new(Duration::from_secs(10));
        window.add(7, 3, at(0));
        assert_eq!(window.sum(at(86_400_000)), (0, 0));
    }

    #[test]
    fn a_clock_that_steps_back_loses_nothing() {
        let mut window = Window::new(Duration::from_secs(10));
        window.add(1, 0, at(5_000));
        window.add(1, 0, at(1_000));
        assert_eq!(window.sum(at(5_000)), (2, 0));
    }

    proptest! {
        #[test]
        fn the_ring_counts_what_a_list_of_all_events_counts(steps in prop::collection::vec((0_u64..4_000, 0_u64..3), 1..200)) {
            let mut window = Window::new(Duration::from_secs(10));
            let (mut now, mut all) = (0, Vec::new());
            for (pause, count) in steps {
                now += pause;
                window.add(1, count, at(now));
                all.push((now / 1_000, count));
                let newest = now / 1_000;
                let live = all.iter().filter(|(slot, _)| slot + 10 > newest);
                let expected = live.fold((0, 0), |sum, (_, count)| (sum.0 + 1, sum.1 + count));
                prop_assert_eq!(window.sum(at(now)), expected);
            }
        }
    }
}
