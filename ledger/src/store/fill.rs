//! What a step of the schema makes of rows that were there before it, in pieces after it: batches are taken in between, and it may end at any
//! moment and be begun again. Each piece is one transaction, which also notes how far it is (`fills`); what is there already stays.

use std::time::Duration;

use super::Error;
use super::pace::Pace;

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

/// Makes all of it, and says how many rows these were.
pub(super) async fn fill_all(store: &impl Fills) -> Result<u64, Error> {
    let (mut pace, mut rows) = (Pace::default(), 0);
    loop {
        match store.fill_piece(pace.rows()).await {
            Ok(Some(piece)) => {
                pace.went(piece.took, true);
                rows += piece.rows;
            }
            Ok(None) => return Ok(rows),
            Err(Error::TooSlow(..)) if pace.gave_up() => {}
            Err(error) => return Err(error),
        }
    }
}
