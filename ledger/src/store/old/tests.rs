//! Clean-ups of stores that are slow, which are made of nothing but numbers.

use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;

use super::super::pace::{LEAST, MOST};
use super::*;

/// What a server gives up on.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Rows that end one millisecond after the other, and sums of one day by name, in a store that takes so long for each of them.
struct Slow {
    rows: Mutex<std::collections::BTreeSet<i64>>,
    names: Mutex<std::collections::BTreeSet<String>>,
    of_a_row: Duration,
    /// Sizes of the pieces that it was asked for, and whether it gave up.
    asked: Mutex<Vec<(usize, bool)>>,
}

impl Slow {
    fn new(rows: i64, names: i64, of_a_row: Duration) -> Self {
        Self {
            rows: Mutex::new((0..rows).collect()),
            names: Mutex::new((0..names).map(|name| format!("n{name:06}")).collect()),
            of_a_row,
            asked: Mutex::default(),
        }
    }

    fn takes(&self, most: usize, rows: usize) -> Result<Duration, Error> {
        let took = self.of_a_row * u32::try_from(rows).unwrap();
        let gives_up = took > TIMEOUT;
        self.asked.lock().unwrap().push((most, gives_up));
        if gives_up {
            return Err(Error::TooSlow(Engine::Postgres, "statement timeout".into()));
        }
        Ok(took)
    }

    fn gave_up(&self) -> usize {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|(_, gave_up)| *gave_up)
            .count()
    }
}

impl Pieces for Slow {
    async fn oldest(&self, old: &Old, from: i64) -> Result<Option<i64>, Error> {
        let first = if old.is_whole_days {
            (!self.names.lock().unwrap().is_empty())
                .then_some(0)
                .filter(|_| from <= 0)
        } else {
            self.rows.lock().unwrap().range(from..).next().copied()
        };
        Ok(first.filter(|first| *first < old.before))
    }

    async fn drop_rows(&self, _: &Old, from: i64, to: i64, most: usize) -> Result<Gone<i64>, Error> {
        let mut rows = self.rows.lock().unwrap();
        let piece: Vec<_> = rows.range(from..to).take(most).copied().collect();
        let took = self.takes(most, piece.len())?;
        for row in &piece {
            rows.remove(row);
        }
        Ok(Gone {
            rows: piece.len() as u64,
            next: piece.last().copied().filter(|_| piece.len() >= most),
            took,
        })
    }

    async fn drop_sums(&self, _: i64, after: &str, sure: bool, most: usize) -> Result<Gone<String>, Error> {
        let mut names = self.names.lock().unwrap();
        let behind = names.range::<str, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        let piece: Vec<_> = behind.take(if sure { 0 } else { most }).cloned().collect();
        let took = self.takes(most * 25, piece.len() * 25)?;
        for name in &piece {
            names.remove(name);
        }
        Ok(Gone {
            rows: piece.len() as u64 * 25,
            next: piece.last().cloned().filter(|_| piece.len() >= most),
            took,
        })
    }
}

fn clean_up(store: &Slow) -> Retired {
    let old = |is_whole_days| Old {
        table: "rows",
        column: "at",
        only: "true",
        key: "rowid",
        before: 10 * DAY,
        day: DAY,
        is_whole_days,
    };
    let mut retired = Retired::default();
    // Nothing in it waits.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(drop_all(store, &[old(false), old(true)], &mut retired));
    retired
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A store that gets the smallest piece done gets all of it done, however slow it is, and is seldom asked for more than it can do.
    #[test]
    fn all_goes_of_a_store_that_gets_the_smallest_piece_done(
        rows in 0..60_000_i64, names in 0..2_000_i64, micros in prop_oneof![0..300_u64, 0..300_000_u64]
    ) {
        let store = Slow::new(rows, names, Duration::from_micros(micros));
        let retired = clean_up(&store);
        prop_assert!(retired.failed.is_none(), "{:?}", retired.failed);
        prop_assert_eq!(retired.rows, u64::try_from(rows + 25 * names).unwrap());
        prop_assert!(store.gave_up() <= 1, "{} times", store.gave_up());
        prop_assert!(store.asked.lock().unwrap().iter().all(|(most, _)| *most <= MOST));
        prop_assert!(retired.smallest.is_none_or(|rows| rows >= LEAST));
    }

    #[test]
    fn a_store_that_gets_nothing_done_is_asked_a_few_times_and_says_why(rows in 101..60_000_i64, micros in 310_000..600_000_u64) {
        let store = Slow::new(rows, 0, Duration::from_micros(micros));
        let retired = clean_up(&store);
        prop_assert!(matches!(retired.failed, Some(Error::TooSlow(..))), "{:?}", retired.failed);
        prop_assert_eq!((retired.rows, retired.smallest), (0, Some(LEAST)));
        prop_assert!(store.gave_up() <= 3, "{} times", store.gave_up());
    }
}

#[test]
fn a_quick_store_is_soon_asked_for_the_largest_piece() {
    let store = Slow::new(400_000, 0, Duration::from_micros(1));
    let retired = clean_up(&store);
    assert_eq!((retired.rows, retired.smallest), (400_000, None));
    let asked = store.asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|(most, _)| *most < MOST).count(), 4);
    // And one of each of five days that is not full, and two that look for sums.
    assert!(asked.len() <= 4 + 400_000 / MOST + 5 + 2, "{} pieces", asked.len());
}
