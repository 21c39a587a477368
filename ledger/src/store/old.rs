//! What is dropped once it is old, and in which pieces. An engine drops one piece in one transaction: batches are taken in between, and what
//! cannot be dropped keeps nothing else. How large the next piece is, [`Pace`] says by how long those before took.

use std::time::Duration;

use super::pace::Pace;
use super::tables::{DAY, HOUR};
use super::{Error, Keep, Query, Retired, Store, Value};
use crate::schema::Engine;

/// A table of which as many days could not be dropped is left for the next time.
const MOST_FAILURES: u32 = 3;

/// Rows that are old.
pub(super) struct Old {
    pub(super) table: &'static str,
    /// What says how old a row is. There is an index that begins with it, or with `only` and it.
    pub(super) column: &'static str,
    /// Which rows, beside their age.
    pub(super) only: &'static str,
    /// What names a row in SQLite.
    pub(super) key: &'static str,
    /// What is less is old, in the column's unit.
    pub(super) before: i64,
    /// A day in the column's unit.
    day: i64,
    /// Hours and days of sums, which go together.
    is_whole_days: bool,
}

impl Old {
    /// The oldest of them that is not older than `from`.
    pub(super) fn oldest(&self, from: i64) -> Query {
        let (column, table) = (self.column, self.table);
        let one = |only: &str| {
            format!("SELECT min({column}) AS oldest FROM {table} WHERE {only} AND {column} >= $1 AND {column} < $2")
        };
        let sql = if self.is_whole_days {
            let (hours, days) = (one("grain = 3600"), one("grain = 86400"));
            format!("SELECT min(oldest) FROM ({hours} UNION ALL {days}) AS sums")
        } else {
            one(self.only)
        };
        Query {
            name: "oldest",
            sql,
            parameters: vec![Value::Int(from), Value::Int(self.before)],
        }
    }
}

/// All that is old, of an engine's tables.
pub(super) fn all(keep: Keep, now: i64, engine: Engine) -> Vec<Old> {
    let before = |age: Duration| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let rows = |table, column, before| Old {
        table,
        column,
        only: "true",
        key: "rowid",
        before,
        day: DAY * 1000,
        is_whole_days: false,
    };
    // Where days have partitions, those are dropped whole.
    let (requests, attempts) = match engine {
        Engine::Postgres => ("provider_requests_default", "provider_logs_default"),
        Engine::Sqlite => ("provider_requests", "provider_logs"),
    };
    let minutes = Old {
        only: "grain = 60",
        key: "grain, start, names_digest",
        day: DAY,
        ..rows("provider_metrics", "start", Keep::oldest_sums(keep.minutes, now))
    };
    let hours = Old {
        day: DAY,
        is_whole_days: true,
        ..rows("provider_metrics", "start", Keep::oldest_sums(keep.hours, now))
    };
    // A batch's results may be fetched for as long as the provider keeps them, which is months at the most.
    let booked = Old {
        key: "namespace, names_digest",
        ..rows("booked_batches", "at", before(keep.outboxes))
    };
    vec![
        rows(requests, "at", before(keep.detail)),
        rows(attempts, "at", before(keep.detail)),
        Old {
            key: "at, outbox, sequence",
            ..rows("sampled_requests", "at", before(keep.detail))
        },
        rows("provider_rate_limits", "at", before(keep.detail)),
        minutes,
        hours,
        rows("outboxes", "last_seen", before(keep.outboxes)),
        booked,
    ]
}

/// When the hours of a day begin, seconds since 1970; the first is when the day begins.
pub(super) fn hours_of(day: i64) -> Vec<i64> {
    (0..DAY / HOUR).map(|hour| day.saturating_add(hour * HOUR)).collect()
}

/// Where a piece begins.
#[derive(Clone, Debug)]
pub(super) enum Begin {
    /// Rows of `from..to`, in the unit of their column.
    Rows { from: i64, to: i64 },
    /// Hours of a day, and the day, of names behind `after`. Names are those with a sum of the day, or, to be `sure`, those with one of an
    /// hour, which are none as a rule.
    Sums { day: i64, after: String, sure: bool },
}

/// What became of a piece.
pub(super) struct Gone<T> {
    /// Rows that went.
    pub(super) rows: u64,
    /// Where the next one begins, if this one was full.
    pub(super) next: Option<T>,
    /// How long the store was at it.
    pub(super) took: Duration,
}

impl<T> Gone<T> {
    fn next(self, from: impl FnOnce(T) -> Begin) -> Gone<Begin> {
        Gone {
            rows: self.rows,
            next: self.next.map(from),
            took: self.took,
        }
    }
}

/// The oldest of what is old and not older than `from`, as a store tells it.
pub(super) async fn oldest(store: &impl Store, old: &Old, from: i64) -> Result<Option<i64>, Error> {
    let rows = store.query(old.oldest(from)).await?;
    Ok(rows.first().and_then(|row| row.first()).and_then(Value::maybe_int))
}

/// How an engine drops. Each call is one transaction.
pub(super) trait Pieces: Sync {
    /// [`oldest`].
    fn oldest(&self, old: &Old, from: i64) -> impl Future<Output = Result<Option<i64>, Error>> + Send;

    /// Drops up to `most` rows of `from..to`.
    fn drop_rows(
        &self,
        old: &Old,
        from: i64,
        to: i64,
        most: usize,
    ) -> impl Future<Output = Result<Gone<i64>, Error>> + Send;

    /// Drops the hours and the day of up to `most` names, in one statement: whoever asks finds a day's hours and its sum, or neither.
    fn drop_sums(
        &self,
        day: i64,
        after: &str,
        sure: bool,
        most: usize,
    ) -> impl Future<Output = Result<Gone<String>, Error>> + Send;

    /// Drops what begins there, and no more than this pace has it.
    fn drop_from(
        &self,
        old: &Old,
        from: &Begin,
        pace: Pace,
    ) -> impl Future<Output = Result<Gone<Begin>, Error>> + Send {
        async move {
            match *from {
                Begin::Rows { from, to } => {
                    let gone = self.drop_rows(old, from, to, pace.rows()).await?;
                    Ok(gone.next(|from| Begin::Rows { from, to }))
                }
                Begin::Sums { day, ref after, sure } => {
                    let gone = self.drop_sums(day, after, sure, pace.names()).await?;
                    Ok(gone.next(|after| Begin::Sums { day, after, sure }))
                }
            }
        }
    }
}

/// Drops all of it, day by day. A day that cannot be dropped is passed over and tried again the next time.
pub(super) async fn drop_all(store: &impl Pieces, all: &[Old], retired: &mut Retired) {
    let mut pace = Pace::default();
    for old in all {
        let (mut from, mut failures) = (i64::MIN, 0);
        while failures < MOST_FAILURES {
            let begin = match store.oldest(old, from).await {
                Ok(Some(begin)) => begin,
                Ok(None) => break,
                Err(error) => {
                    retired.failed(error);
                    break;
                }
            };
            let end = begin.saturating_sub(begin.rem_euclid(old.day)).saturating_add(old.day);
            let end = end.min(old.before);
            if let Err(error) = drop_day(store, old, begin, end, &mut pace, retired).await {
                retired.failed(error);
                failures += 1;
            }
            from = end;
        }
    }
    retired.smallest = pace.smallest();
}

async fn drop_day(
    store: &impl Pieces,
    old: &Old,
    begin: i64,
    end: i64,
    pace: &mut Pace,
    retired: &mut Retired,
) -> Result<(), Error> {
    let sums = |sure| Begin::Sums {
        day: end.saturating_sub(DAY),
        after: String::new(),
        sure,
    };
    let parts = if old.is_whole_days {
        vec![sums(false), sums(true)]
    } else {
        vec![Begin::Rows { from: begin, to: end }]
    };
    for part in parts {
        let mut next = Some(part);
        while let Some(from) = next {
            next = match store.drop_from(old, &from, *pace).await {
                Ok(gone) => {
                    pace.went(gone.took, gone.next.is_some());
                    retired.rows += gone.rows;
                    gone.next
                }
                // Nothing of it went.
                Err(Error::TooSlow(..)) if pace.gave_up() => Some(from),
                Err(error) => return Err(error),
            };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
