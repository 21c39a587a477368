//! How much of what is old goes at once, by how long the pieces before took. Pure: times are passed in.

use std::time::Duration;

/// Rows that one piece has at most.
pub(super) const MOST: usize = 20_000;
/// Rows of a clean-up's first piece: a store that has become slow is not met with the most.
const FIRST: usize = MOST / 16;
/// Rows below which no piece is made smaller: where so few do not go, it is not for their number.
pub(super) const LEAST: usize = 100;
/// Rows of a name's sums of one day: its hours and the day.
const OF_A_NAME: usize = 25;
/// How long a piece is meant to take, as batches wait behind it: what a group of batches takes on a slow disk.
const WANTED: Duration = Duration::from_secs(2);
/// A piece that takes longer is followed by a smaller one.
const LONG: Duration = Duration::from_secs(4);
/// A piece that takes less, and had as many rows as it might, is followed by a larger one.
const QUICK: Duration = Duration::from_secs(1);

/// How large the next piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    rows: usize,
    smaller: Option<usize>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rows: FIRST,
            smaller: None,
        }
    }
}

impl Pace {
    /// Rows of the next piece, at most.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Names of the next piece, where it is of sums that go by whole days.
    pub(super) fn names(&self) -> usize {
        (self.rows / OF_A_NAME).max(1)
    }

    /// A piece went; `is_full`: it had as many rows as it might.
    pub(super) fn went(&mut self, took: Duration, is_full: bool) {
        if took > LONG {
            let part = WANTED.as_secs_f64() / took.as_secs_f64();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // part of what it was
            self.less((self.rows as f64 * part) as usize);
        } else if took < QUICK && is_full {
            self.rows = (self.rows * 2).min(MOST);
        }
    }

    /// The store gave up on a piece, of which nothing went. Says whether the next one is smaller: if not, it is not for its rows.
    pub(super) fn gave_up(&mut self) -> bool {
        let is_least = self.rows <= LEAST;
        self.less(self.rows / 16);
        !is_least
    }

    /// Rows of the smallest piece that a slow store was the reason for, if it ever was.
    pub(super) fn smallest(&self) -> Option<usize> {
        self.smaller
    }

    fn less(&mut self, rows: usize) {
        self.rows = rows.max(LEAST);
        self.smaller = Some(self.smaller.map_or(self.rows, |smallest| smallest.min(self.rows)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_piece_is_never_larger_than_the_most_nor_smaller_than_the_least(
            took in prop::collection::vec((0..120_000_u64, any::<bool>(), any::<bool>()), 0..200)
        ) {
            let mut pace = Pace::default();
            for (millis, is_full, gives_up) in took {
                let (before, took) = (pace.rows(), Duration::from_millis(millis));
                if gives_up {
                    let is_smaller = pace.gave_up();
                    prop_assert_eq!(is_smaller, pace.rows() < before);
                } else {
                    pace.went(took, is_full);
                    prop_assert!(took <= LONG || pace.rows() < before || before == LEAST);
                    prop_assert!(took >= QUICK || pace.rows() >= before);
                    prop_assert!(pace.rows() <= before || (took < QUICK && is_full));
                }
                prop_assert!((LEAST..=MOST).contains(&pace.rows()));
                prop_assert!(pace.names() >= 1 && pace.names() * OF_A_NAME <= pace.rows());
            }
        }

        /// Whatever a row takes, after a few pieces each takes as long as is meant, or it is the smallest or the largest.
        #[test]
        fn pieces_of_a_store_of_one_speed_soon_take_as_long_as_is_meant(micros_a_row in 1..40_000_u32) {
            let mut pace = Pace::default();
            let of = |rows: usize| Duration::from_micros(u64::from(micros_a_row) * rows as u64);
            for _ in 0..8 {
                pace.went(of(pace.rows()), true);
            }
            for _ in 0..8 {
                let took = of(pace.rows());
                prop_assert!(took <= LONG || pace.rows() == LEAST, "{took:?} of {}", pace.rows());
                prop_assert!(took >= QUICK || pace.rows() == MOST, "{took:?} of {}", pace.rows());
                pace.went(took, true);
            }
        }
    }

    #[test]
    fn quick_pieces_grow_up_to_the_most_and_only_where_they_are_full() {
        let mut pace = Pace::default();
        pace.went(Duration::from_millis(1), false);
        assert_eq!(pace.rows(), FIRST);
        for wanted in [2_500, 5_000, 10_000, 20_000, 20_000] {
            pace.went(Duration::from_millis(1), true);
            assert_eq!(pace.rows(), wanted);
        }
        assert_eq!(pace.smallest(), None);
    }

    #[test]
    fn a_piece_that_was_given_up_on_is_tried_smaller_until_it_is_the_smallest() {
        let mut pace = Pace::default();
        (0..4).for_each(|_| pace.went(Duration::ZERO, true));
        assert_eq!(pace.rows(), MOST);
        let mut sizes = Vec::new();
        while pace.gave_up() {
            sizes.push(pace.rows());
        }
        assert_eq!(sizes, [1_250, LEAST]);
        assert_eq!(pace.smallest(), Some(LEAST));
    }
}
