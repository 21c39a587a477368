//! Drops what is old: partitions whole, all else in pieces.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_postgres::types::{FromSql, ToSql, Type};

use super::{MOMENT, Postgres, SLACK, partitions};
use crate::schema::Engine;
use crate::store::old::{self, Gone, Old, Pieces};
use crate::store::{Error, Keep, Query, Retired, Store as _, Value};
use crate::sync::locked;

impl Postgres {
    pub(super) async fn retaining(&self, keep: Keep, now: i64) -> Retired {
        let millis = |age: Duration| i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        // No row comes for a day that another service may drop just now, whose clock is a little ahead.
        let detail = millis(keep.detail.saturating_sub(SLACK));
        self.detail.store(detail, Ordering::Relaxed);
        let mut retired = Retired::default();
        if let Err(error) = self.make_ahead(now).await {
            retired.failed(error);
        }
        let old = now.saturating_sub(millis(keep.detail));
        self.drop_partitions(old, &mut retired).await;
        old::drop_all(self, &old::all(keep, now, Engine::Postgres), &mut retired).await;
        retired
    }

    /// Each in a transaction of its own, and not behind a long reader: all others would wait behind this. It is tried again.
    async fn drop_partitions(&self, before: i64, retired: &mut Retired) {
        let find = Query {
            name: "partitions",
            sql: partitions::FIND.to_owned(),
            parameters: Vec::new(),
        };
        let found = match self.query(find).await {
            Ok(found) => found,
            Err(error) => return retired.failed(error),
        };
        let names = found.iter().filter_map(|row| row.first()).map(Value::told);
        for name in names.filter(|name| partitions::ends_before(name, before)) {
            let dropping = format!("SET LOCAL lock_timeout = '{MOMENT}'; {}", partitions::drop(&name));
            let dropped = self
                .write(async |transaction| {
                    transaction.batch_execute(&dropping).await?;
                    locked(&self.days).clear();
                    Ok(())
                })
                .await;
            match dropped {
                Ok(()) => retired.rows += 1,
                Err(error) => retired.failed(error),
            }
        }
        locked(&self.days).clear();
    }

    /// Runs a statement that says how many it found, how many of these went, and the last one, behind which the next piece begins if so
    /// many were found.
    async fn drop_piece<T>(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
        full: usize,
    ) -> Result<Gone<T>, Error>
    where
        T: for<'a> FromSql<'a> + Send,
    {
        let (piece, began) = self
            .write(async |transaction| {
                // The wait for others that write says nothing of this piece.
                let began = Instant::now();
                // Whoever holds a row for longer keeps it until the next time, and batches do not wait for it.
                let moment = format!("SET LOCAL lock_timeout = '{MOMENT}'");
                transaction.batch_execute(&moment).await?;
                let mut piece = (0, 0, None);
                for row in transaction.query_typed(sql, parameters).await? {
                    piece = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                }
                Ok((piece, began))
            })
            .await?;
        let (found, gone, last): (i64, i64, Option<T>) = piece;
        let is_full = usize::try_from(found).is_ok_and(|found| found >= full) && gone > 0;
        Ok(Gone {
            rows: u64::try_from(gone).unwrap_or(0),
            next: last.filter(|_| is_full),
            took: began.elapsed(),
        })
    }
}

/// Goes on where the piece before ended: what is gone stays in the index while somebody reads of before, as a backup does.
impl Pieces for Postgres {
    async fn oldest(&self, old: &Old, from: i64) -> Result<Option<i64>, Error> {
        old::oldest(self, old, from).await
    }

    async fn drop_rows(&self, old: &Old, from: i64, to: i64, most: usize) -> Result<Gone<i64>, Error> {
        let Old {
            table, column, only, ..
        } = old;
        // Asked for its age again: an outbox that is heard of just now stays.
        let sql = format!(
            "WITH old AS MATERIALIZED (SELECT ctid AS place, {column} AS age FROM {table}
                WHERE {only} AND {column} >= $1 AND {column} < $2 ORDER BY {column} LIMIT {most}),
            gone AS (DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT place FROM old)) AND {column} < $2 RETURNING 1)
            SELECT (SELECT count(*) FROM old), (SELECT count(*) FROM gone), (SELECT max(age) FROM old)"
        );
        self.drop_piece(&sql, &[(&from, Type::INT8), (&to, Type::INT8)], most)
            .await
    }

    async fn drop_sums(&self, day: i64, after: &str, sure: bool, most: usize) -> Result<Gone<String>, Error> {
        let named = if sure {
            "SELECT DISTINCT names_digest FROM provider_metrics WHERE grain = 3600 AND start = ANY ($1)"
        } else {
            "SELECT names_digest FROM provider_metrics WHERE grain = 86400 AND start = ($1)[1]"
        };
        // Every part of the key is named, so that it is looked up and not searched for.
        let sql = format!(
            "WITH named AS MATERIALIZED ({named} AND names_digest > $2 ORDER BY names_digest LIMIT {most}),
            gone AS (DELETE FROM provider_metrics WHERE grain IN (3600, 86400) AND start = ANY ($1)
                AND names_digest = ANY (ARRAY(SELECT names_digest FROM named)) RETURNING 1)
            SELECT (SELECT count(*) FROM named), (SELECT count(*) FROM gone), (SELECT max(names_digest) FROM named)"
        );
        let hours = old::hours_of(day);
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&hours, Type::INT8_ARRAY), (&after, Type::TEXT)];
        self.drop_piece(&sql, &parameters, most).await
    }
}
