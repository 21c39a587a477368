//! What is dropped once it is old, and in which pieces. An engine drops one piece in one transaction: batches are taken in between, and what
//! cannot be dropped keeps nothing else.

use std::time::Duration;

use super::tables::{DAY, HOUR};
use super::{Error, Keep, Query, Retired, Store, Value};
use crate::schema::Engine;

/// Rows that one piece has at most.
pub(super) const CHUNK: usize = 20_000;
/// Names whose sums of a day are one piece: each has 24 hours and the day.
pub(super) const NAMES: usize = CHUNK / 25;
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

/// How an engine drops. Each call is one transaction.
pub(super) trait Pieces: Store {
    /// The oldest of what is old and not older than `from`.
    fn oldest(&self, old: &Old, from: i64) -> impl Future<Output = Result<Option<i64>, Error>> + Send {
        let rows = self.query(old.oldest(from));
        async {
            Ok(rows
                .await?
                .first()
                .and_then(|row| row.first())
                .and_then(Value::maybe_int))
        }
    }

    /// Drops up to [`CHUNK`] rows of `from..to`; says how many went, and from where on there may be more.
    fn drop_rows(
        &self,
        old: &Old,
        from: i64,
        to: i64,
    ) -> impl Future<Output = Result<(u64, Option<i64>), Error>> + Send;

    /// Drops the hours and the day of up to [`NAMES`] names of a day, in one statement: whoever asks finds a day's hours and its sum, or
    /// neither. Names are those with a sum of the day, or, to be `sure`, those with one of an hour, which are none as a rule. Says how many
    /// rows went, and behind which name there may be more.
    fn drop_sums(
        &self,
        day: i64,
        after: &str,
        sure: bool,
    ) -> impl Future<Output = Result<(u64, Option<String>), Error>> + Send;
}

/// Drops all of it, day by day. A day that cannot be dropped is passed over and tried again the next time.
pub(super) async fn drop_all(store: &impl Pieces, all: &[Old], retired: &mut Retired) {
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
            if let Err(error) = drop_day(store, old, begin, end, retired).await {
                retired.failed(error);
                failures += 1;
            }
            from = end;
        }
    }
}

async fn drop_day(store: &impl Pieces, old: &Old, begin: i64, end: i64, retired: &mut Retired) -> Result<(), Error> {
    if !old.is_whole_days {
        let mut from = Some(begin);
        while let Some(begin) = from {
            let (gone, next) = store.drop_rows(old, begin, end).await?;
            retired.rows += gone;
            from = next;
        }
        return Ok(());
    }
    for sure in [false, true] {
        let mut after = Some(String::new());
        while let Some(name) = after {
            let (gone, next) = store.drop_sums(end.saturating_sub(DAY), &name, sure).await?;
            retired.rows += gone;
            after = next;
        }
    }
    Ok(())
}
