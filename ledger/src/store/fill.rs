//! What a step of the schema makes of rows that were there before it, in pieces after it: batches are taken in between, and it may end at any
//! moment and be begun again. Each piece is one transaction, which also notes how far it is (`fills`); what is there already stays.

use std::time::Duration;

use super::pace::Pace;
use super::{Error, Filling};

/// From when on requests are not looked at yet. One service is at it at a time.
pub(super) const FROM: &str = "SELECT upto FROM fills WHERE name = 'sampled_requests'";
/// Where the piece ends that begins at `$1`; nothing, where it is the last.
pub(super) fn end(rows: usize) -> String {
    format!("SELECT at FROM provider_requests WHERE at >= $1 ORDER BY at LIMIT 1 OFFSET {rows}")
}
/// Samples the requests of `$1` to `$2`, as `is_sampled` picks them.
pub(super) const SAMPLE: &str =
    "INSERT INTO sampled_requests (at, outbox, sequence, namespace, workload, route, provider, model, took)
    SELECT at, outbox, sequence, namespace, workload, route, provider, model, took FROM provider_requests
    WHERE outcome = 'ok' AND at % 1009 * 37 % 127 % 16 = 0 AND at >= $1 AND at < $2 ON CONFLICT DO NOTHING";
/// Notes that all before `$1` are done.
pub(super) const NOTE: &str = "UPDATE fills SET upto = $1 WHERE name = 'sampled_requests'";
/// Notes that all are.
pub(super) const DONE: &str = "DELETE FROM fills WHERE name = 'sampled_requests'";

/// The end of a piece that begins at `from`: never there, however many requests ended in one millisecond.
pub(super) fn behind(from: i64, end: Option<i64>) -> Option<i64> {
    end.map(|end| end.max(from.saturating_add(1)))
}

/// What became of a piece.
pub(super) struct Filled {
    /// Rows that were made.
    pub(super) rows: u64,
    /// How long the store was at it.
    pub(super) took: Duration,
}

/// How an engine fills. Each call is one transaction.
pub(super) trait Fills {
    /// Makes what there is to be made of the next requests, so many of them; nothing, where none is left.
    fn fill_piece(&self, requests: usize) -> impl Future<Output = Result<Option<Filled>, Error>> + Send;
}

/// Makes pieces until all are made or `passed`, the time since it began, is `most`. One is made in any case, so however little time there is,
/// it ends some day.
pub(super) async fn fill_for(
    store: &impl Fills,
    most: Duration,
    passed: impl Fn() -> Duration,
) -> Result<Filling, Error> {
    let (mut pace, mut filling) = (Pace::default(), Filling::Nothing);
    loop {
        match store.fill_piece(pace.rows()).await {
            Ok(Some(piece)) => {
                pace.went(piece.took, true);
                filling = Filling::Part(filling.rows() + piece.rows);
                if passed() >= most {
                    return Ok(filling);
                }
            }
            Ok(None) if filling == Filling::Nothing => return Ok(filling),
            Ok(None) => return Ok(Filling::All(filling.rows())),
            Err(Error::TooSlow(..)) if pace.gave_up() => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::schema::Engine;

    /// A store that takes `of_a_piece` for each, whatever is in it, and gives up on those with more than `most` requests.
    struct Slow {
        left: Mutex<usize>,
        passed: Mutex<Duration>,
        of_a_piece: Duration,
        most: usize,
    }

    impl Slow {
        fn new(requests: usize, of_a_piece: Duration, most: usize) -> Self {
            Self {
                left: Mutex::new(requests),
                passed: Mutex::default(),
                of_a_piece,
                most,
            }
        }

        async fn fill(&self, most: Duration) -> Result<Filling, Error> {
            let began = *self.passed.lock().unwrap();
            fill_for(self, most, || self.passed.lock().unwrap().saturating_sub(began)).await
        }
    }

    impl Fills for Slow {
        async fn fill_piece(&self, requests: usize) -> Result<Option<Filled>, Error> {
            let mut left = self.left.lock().unwrap();
            if *left == 0 {
                return Ok(None);
            }
            *self.passed.lock().unwrap() += self.of_a_piece;
            if requests > self.most {
                return Err(Error::TooSlow(Engine::Postgres, "statement timeout".into()));
            }
            let rows = requests.min(*left);
            *left -= rows;
            Ok(Some(Filled {
                rows: rows as u64,
                took: self.of_a_piece,
            }))
        }
    }

    const MINUTE: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_fill_ends_when_its_time_is_over_and_the_next_goes_on_from_there() {
        let store = Slow::new(20_000, MINUTE, usize::MAX);
        let (mut rows, mut times) = (0, 0);
        loop {
            let began = *store.passed.lock().unwrap();
            let filling = store.fill(10 * MINUTE).await.unwrap();
            assert!(*store.passed.lock().unwrap() <= began + 10 * MINUTE);
            (rows, times) = (rows + filling.rows(), times + 1);
            match filling {
                Filling::Part(rows) => assert!(rows > 0),
                Filling::All(_) => break,
                Filling::Nothing => panic!("there was something"),
            }
        }
        assert_eq!(rows, 20_000);
        assert!(times > 2, "{times}");
        assert_eq!(store.fill(10 * MINUTE).await.unwrap(), Filling::Nothing);
    }

    #[tokio::test]
    async fn a_fill_that_has_no_time_left_makes_a_piece_also_where_the_store_gives_up_on_large_ones() {
        let store = Slow::new(1_000, MINUTE, 100);
        for _ in 0..10 {
            assert_eq!(store.fill(Duration::ZERO).await.unwrap(), Filling::Part(100));
        }
        assert_eq!(store.fill(Duration::ZERO).await.unwrap(), Filling::Nothing);
        // Where even the least does not go, it is told.
        let store = Slow::new(1_000, MINUTE, 99);
        assert!(store.fill(Duration::ZERO).await.is_err());
    }
}
