//! PostgreSQL, itself or through PgBouncer in transaction mode: every statement is unnamed, every setting is of its transaction
//! only, and nothing is kept in a session.

mod connect;
mod filling;
mod partitions;
mod retention;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Transaction};

use super::fill;
use super::tables::{ATTEMPTS, CONFIGS, Kind, METRICS, RATE_LIMITS, REQUESTS, SAMPLED, Table, on_conflict_sum};
use super::take::{Key, Once, Place, Plan, once, plan};
use super::text::kept;
use super::{Answer, Arrival, Error, Filling, Keep, Query, Retired, Row, Store, Value, configs};
use crate::schema::{self, Applied, CannotMigrate, Engine, Step};
use crate::sync::locked;

pub use connect::{BadUrl, Target};

/// Connections that read.
const READERS: usize = 4;
/// The server gives up on a query after it.
const READ_TIMEOUT: &str = "10s";
/// How the server goes about a query. Where its planner expects many rows of a question that has one, as of an id in every day's partition, it
/// would compile it, which takes longer than any of these; and with its 4 MB it would sort a fleet's sums instead of hashing them.
const READING: &str = "SET LOCAL jit = off; SET LOCAL work_mem = '32MB'";
/// The server gives up on a batch, a wait for a lock included.
const WRITE_TIMEOUT: &str = "30s";
/// The server gives up on a step of the schema, which may rewrite what a year has brought.
const MIGRATION_TIMEOUT: &str = "30min";
/// What needs the whole of a table does not wait longer, as all others wait behind it.
const MOMENT: &str = "2s";
/// Detail is not taken that is so close to its end.
const SLACK: Duration = Duration::from_hours(1);
/// We give up on the server: it may be gone without a word.
const GIVE_UP: Duration = Duration::from_secs(40);
/// The same of a migration.
const GIVE_UP_MIGRATING: Duration = Duration::from_hours(1);
/// A key of advisory locks that nobody else uses: one service migrates at a time.
const MIGRATION_LOCK: i64 = 0x426f_7773_7072_6974;

/// A server.
pub struct Postgres {
    target: Target,
    /// One transaction writes at a time: batches come in groups, and what is under way is bounded.
    writer: tokio::sync::Mutex<Option<Client>>,
    readers: std::sync::Mutex<Vec<Client>>,
    turns: tokio::sync::Semaphore,
    days: std::sync::Mutex<BTreeSet<i64>>,
    /// How old detail may be that is written, milliseconds: as the last clean-up was told to keep it.
    detail: AtomicI64,
}

impl Postgres {
    /// Connects when it is first needed, and again whenever a connection has ended.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            writer: tokio::sync::Mutex::default(),
            readers: std::sync::Mutex::default(),
            turns: tokio::sync::Semaphore::new(READERS),
            days: std::sync::Mutex::default(),
            detail: AtomicI64::new(i64::MAX),
        }
    }

    /// Runs `work` on the writing connection, which is thrown away unless it succeeds: a transaction that was given up on is
    /// rolled back with it.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        self.write_within(WRITE_TIMEOUT, GIVE_UP, work).await
    }

    /// The same, where each statement may take `statement` and all of it `give_up`.
    async fn write_within<T>(
        &self,
        statement: &str,
        give_up: Duration,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let done = async {
            let mut writer = self.writer.lock().await;
            let mut client = match writer.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => self.target.connect().await?,
            };
            let transaction = client.transaction().await.map_err(failed)?;
            let limit =
                format!("SET LOCAL statement_timeout = '{statement}'; SET LOCAL lock_timeout = '{WRITE_TIMEOUT}'");
            transaction.batch_execute(&limit).await.map_err(failed)?;
            let done = work(&transaction).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)?;
            *writer = Some(client);
            Ok(done)
        };
        match tokio::time::timeout(give_up, done).await {
            Ok(done) => done,
            Err(_) => Err(Error::TooSlow(
                Engine::Postgres,
                format!("no answer within {give_up:?}"),
            )),
        }
    }

    async fn read(&self, query: &Query) -> Result<Vec<Row>, Error> {
        let _turn = self.turns.acquire().await;
        let idle = locked(&self.readers).pop();
        let mut client = match idle.filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.target.connect().await?,
        };
        let transaction = client
            .build_transaction()
            .read_only(true)
            .start()
            .await
            .map_err(failed)?;
        let limit = format!("SET LOCAL statement_timeout = '{READ_TIMEOUT}'; {READING}");
        transaction.batch_execute(&limit).await.map_err(failed)?;
        let parameters: Vec<_> = query.parameters.iter().map(typed).collect();
        let rows = transaction.query_typed(&query.sql, &parameters).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        locked(&self.readers).push(client);
        rows.iter().map(|row| cells(row).map_err(failed)).collect()
    }

    async fn taking(&self, arrivals: &[Arrival], now: i64) -> Result<Vec<Answer>, Error> {
        let detail_from = now.saturating_sub(self.detail.load(Ordering::Relaxed));
        let (answers, seen) = self
            .write(async |transaction| {
                let known = locked(&self.days).clone();
                let places = places(transaction, arrivals, now).await?;
                let uncounted = count(transaction, &once(arrivals, &places), now).await?;
                let plan = plan(arrivals, places, uncounted, now, detail_from);
                let days: BTreeSet<i64> = partitions::days(&plan.rows.requests, &plan.rows.attempts).collect();
                let new: Vec<i64> = days.difference(&known).copied().collect();
                if !new.is_empty() {
                    self.make_if_can_be(transaction, &new).await?;
                }
                apply(transaction, &plan).await?;
                Ok((plan.answers, new))
            })
            .await?;
        locked(&self.days).extend(seen);
        Ok(answers)
    }

    /// Makes partitions for these days, which clean-ups make beforehand. Where that is not to be had at once, as a backup reads the table
    /// or rows of a day lie in the default partition, rows go there: nobody waits for more than a moment, and nothing is refused for it.
    async fn make_if_can_be(&self, transaction: &Transaction<'_>, days: &[i64]) -> Result<(), tokio_postgres::Error> {
        transaction
            .batch_execute(&format!("SAVEPOINT days; SET LOCAL lock_timeout = '{MOMENT}'"))
            .await?;
        match transaction.batch_execute(&partitions::make(days)).await {
            Ok(()) => {
                let end = format!("SET LOCAL lock_timeout = '{WRITE_TIMEOUT}'; RELEASE SAVEPOINT days");
                transaction.batch_execute(&end).await
            }
            Err(error) => {
                transaction.batch_execute("ROLLBACK TO SAVEPOINT days").await?;
                let error = failed(error);
                tracing::warn!(%error, ?days, "no partition can be made for a day now: its rows go to the default partition");
                Ok(())
            }
        }
    }

    /// Today's partitions and those of the next days, so that no batch has to make one.
    async fn make_ahead(&self, now: i64) -> Result<(), Error> {
        for day in partitions::ahead(now) {
            self.write(async |transaction| self.make_if_can_be(transaction, &[day]).await)
                .await?;
        }
        Ok(())
    }

    async fn migrating(&self, to: u32, now: i64) -> Result<u32, Error> {
        let migrated = self
            .write_within(MIGRATION_TIMEOUT, GIVE_UP_MIGRATING, async |transaction| {
                let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK}); {}", schema::VERSIONS);
                transaction.batch_execute(&lock).await?;
                let sql = "SELECT version, checksum FROM schema_migrations ORDER BY version";
                let rows = transaction.query_typed(sql, &[]).await?;
                let mut applied = Vec::new();
                for row in rows {
                    let version: i64 = row.try_get(0)?;
                    applied.push(Applied {
                        version: u32::try_from(version).unwrap_or(u32::MAX),
                        checksum: row.try_get(1)?,
                    });
                }
                let was = applied.iter().map(|step| step.version).max().unwrap_or(0);
                let steps = match schema::steps(&applied, to, Engine::Postgres) {
                    Ok(steps) => steps,
                    Err(refused) => return Ok(Err(refused)),
                };
                if schema::needs_all_filled(&steps) && !transaction.query_typed(fill::FROM, &[]).await?.is_empty() {
                    return Ok(Err(CannotMigrate::NotFilled));
                }
                for step in steps {
                    run_step(transaction, step, now).await?;
                }
                Ok(Ok(was))
            })
            .await?;
        locked(&self.days).clear();
        Ok(migrated?)
    }
}

impl Store for Postgres {
    fn engine(&self) -> Engine {
        Engine::Postgres
    }

    fn take(&self, arrivals: Arc<Vec<Arrival>>, now: i64) -> BoxFuture<'_, Result<Vec<Answer>, Error>> {
        Box::pin(async move { self.taking(&arrivals, now).await })
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            match tokio::time::timeout(GIVE_UP, self.read(&query)).await {
                Ok(rows) => rows,
                Err(_) => Err(Error::TooSlow(
                    Engine::Postgres,
                    format!("no answer within {GIVE_UP:?}"),
                )),
            }
        })
    }

    fn note(&self, statements: Vec<Query>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.write(async move |transaction| {
            for query in &statements {
                let parameters: Vec<_> = query.parameters.iter().map(typed).collect();
                transaction.execute_typed(&query.sql, &parameters).await?;
            }
            Ok(())
        }))
    }

    fn note_config(&self, row: Row) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.write(async move |transaction| {
            insert(
                transaction,
                &CONFIGS,
                std::slice::from_ref(&row),
                "ON CONFLICT DO NOTHING",
            )
            .await?;
            let parameters: Vec<_> = row.iter().map(typed).collect();
            for sql in configs::told_again(&row) {
                transaction.execute_typed(&sql, &parameters).await?;
            }
            Ok(())
        }))
    }

    fn migrate(&self, to: u32, now: i64) -> BoxFuture<'_, Result<u32, Error>> {
        Box::pin(self.migrating(to, now))
    }

    fn fill(&self, most: Duration) -> BoxFuture<'_, Result<Filling, Error>> {
        let began = Instant::now();
        Box::pin(fill::fill_for(self, most, move || began.elapsed()))
    }

    fn retain(&self, keep: Keep, now: i64) -> BoxFuture<'_, Retired> {
        Box::pin(self.retaining(keep, now))
    }
}

async fn places(
    transaction: &Transaction<'_>,
    arrivals: &[Arrival],
    now: i64,
) -> Result<BTreeMap<Key, Place>, tokio_postgres::Error> {
    // Sorted, each once: two services lock these rows in the same order.
    let senders: BTreeMap<Key, &Arrival> = arrivals.iter().map(|one| (Key::of(one), one)).collect();
    let column = |cell: &dyn Fn(&Key, &Arrival) -> String| -> Vec<String> {
        senders.iter().map(|(key, arrival)| cell(key, arrival)).collect()
    };
    let namespaces = column(&|key, _| key.namespace.clone());
    let pods = column(&|key, _| key.pod.clone());
    let outboxes = column(&|key, _| key.outbox.clone());
    let accounts = column(&|_, arrival| arrival.identity.service_account.clone());
    let workloads = column(&|_, arrival| kept(&arrival.batch.workload));
    let versions = column(&|_, arrival| kept(&arrival.batch.sidecar_version));
    let sql = "INSERT INTO outboxes (namespace, pod, outbox, service_account, workload, sidecar_version, first_seen, last_seen)
        SELECT n, p, o, s, w, v, $7, $7 FROM unnest($1, $2, $3, $4, $5, $6) AS t (n, p, o, s, w, v)
        ON CONFLICT (namespace, pod, outbox) DO UPDATE SET last_seen = excluded.last_seen, sidecar_version = excluded.sidecar_version
        RETURNING namespace, pod, outbox, id, through";
    let texts = Type::TEXT_ARRAY;
    let parameters: [(&(dyn ToSql + Sync), Type); 7] = [
        (&namespaces, texts.clone()),
        (&pods, texts.clone()),
        (&outboxes, texts.clone()),
        (&accounts, texts.clone()),
        (&workloads, texts.clone()),
        (&versions, texts),
        (&now, Type::INT8),
    ];
    let mut places = BTreeMap::new();
    for row in transaction.query_typed(sql, &parameters).await? {
        let key = Key {
            namespace: row.try_get(0)?,
            pod: row.try_get(1)?,
            outbox: row.try_get(2)?,
        };
        let through: i64 = row.try_get(4)?;
        let place = Place {
            id: row.try_get(3)?,
            through: u64::try_from(through).unwrap_or(0),
        };
        places.insert(key, place);
    }
    Ok(places)
}

/// Notes that these are counted; those that were not before. Another service that notes one of them just now is waited for.
async fn count(
    transaction: &Transaction<'_>,
    all: &BTreeSet<Once>,
    now: i64,
) -> Result<BTreeSet<Once>, tokio_postgres::Error> {
    if all.is_empty() {
        return Ok(BTreeSet::new());
    }
    let namespaces: Vec<&str> = all.iter().map(|once| once.namespace.as_str()).collect();
    let digests: Vec<&str> = all.iter().map(|once| once.digest.as_str()).collect();
    let sql = "INSERT INTO booked_batches (namespace, names_digest, at) SELECT n, d, $3 FROM unnest($1, $2) AS t (n, d)
        ON CONFLICT DO NOTHING RETURNING namespace, names_digest";
    let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
        (&namespaces, Type::TEXT_ARRAY),
        (&digests, Type::TEXT_ARRAY),
        (&now, Type::INT8),
    ];
    let rows = transaction.query_typed(sql, &parameters).await?;
    let noted = rows.iter().map(|row| {
        Ok(Once {
            namespace: row.try_get(0)?,
            digest: row.try_get(1)?,
        })
    });
    noted.collect()
}

async fn apply(transaction: &Transaction<'_>, plan: &Plan) -> Result<(), tokio_postgres::Error> {
    insert(transaction, &REQUESTS, &plan.rows.requests, "").await?;
    insert(transaction, &SAMPLED, &plan.rows.sampled, "").await?;
    insert(transaction, &ATTEMPTS, &plan.rows.attempts, "").await?;
    insert(transaction, &RATE_LIMITS, &plan.rows.rate_limits, "").await?;
    insert(transaction, &METRICS, &plan.rows.metrics(), &on_conflict_sum()).await?;
    if plan.through.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = plan.through.iter().map(|place| place.id).collect();
    let through = plan
        .through
        .iter()
        .map(|place| i64::try_from(place.through).unwrap_or(i64::MAX));
    let through: Vec<i64> = through.collect();
    let sql = "UPDATE outboxes SET through = t.through FROM unnest($1, $2) AS t (id, through) WHERE outboxes.id = t.id";
    transaction
        .execute_typed(sql, &[(&ids, Type::INT8_ARRAY), (&through, Type::INT8_ARRAY)])
        .await?;
    Ok(())
}

/// All rows in one statement: an array for each column.
async fn insert(
    transaction: &Transaction<'_>,
    table: &Table,
    rows: &[Row],
    then: &str,
) -> Result<(), tokio_postgres::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
    let arrays: Vec<_> = (1..=names.len()).map(|index| format!("${index}")).collect();
    let (columns, arrays) = (names.join(", "), arrays.join(", "));
    let sql = format!(
        "INSERT INTO {} ({columns}) SELECT * FROM unnest({arrays}) {then}",
        table.name
    );
    let columns: Vec<Column<'_>> = (0..table.columns.len())
        .zip(table.columns)
        .map(|(index, (_, kind))| Column::of(rows, index, *kind))
        .collect();
    let parameters: Vec<_> = columns.iter().map(Column::typed).collect();
    transaction.execute_typed(&sql, &parameters).await?;
    Ok(())
}

enum Column<'a> {
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<&'a str>>),
}

impl<'a> Column<'a> {
    fn of(rows: &'a [Row], index: usize, kind: Kind) -> Self {
        let cells = rows.iter().map(|row| row.get(index));
        match kind {
            Kind::Int => Self::Ints(cells.map(|cell| cell.and_then(Value::maybe_int)).collect()),
            Kind::Text => Self::Texts(
                cells
                    .map(|cell| match cell {
                        Some(Value::Text(text)) => Some(text.as_str()),
                        _ => None,
                    })
                    .collect(),
            ),
        }
    }

    fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Self::Ints(ints) => (ints, Type::INT8_ARRAY),
            Self::Texts(texts) => (texts, Type::TEXT_ARRAY),
        }
    }
}

fn typed(value: &Value) -> (&(dyn ToSql + Sync), Type) {
    match value {
        Value::Null => (&None::<i64>, Type::INT8),
        Value::Int(number) => (number, Type::INT8),
        Value::Text(text) => (text, Type::TEXT),
    }
}

/// Queries cast what they give to BIGINT or TEXT.
fn cells(row: &tokio_postgres::Row) -> Result<Row, tokio_postgres::Error> {
    let cell = |(index, column): (usize, &tokio_postgres::Column)| {
        let ty = column.type_();
        Ok(if *ty == Type::INT8 {
            row.try_get::<_, Option<i64>>(index)?.map_or(Value::Null, Value::Int)
        } else if *ty == Type::INT4 {
            row.try_get::<_, Option<i32>>(index)?
                .map_or(Value::Null, |number| Value::Int(number.into()))
        } else {
            row.try_get::<_, Option<String>>(index)?
                .map_or(Value::Null, Value::Text)
        })
    };
    row.columns().iter().enumerate().map(cell).collect()
}

async fn run_step(transaction: &Transaction<'_>, step: Step, now: i64) -> Result<(), tokio_postgres::Error> {
    match step {
        Step::Up(step) => {
            transaction.batch_execute(step.made(Engine::Postgres)).await?;
            let (version, checksum) = (i64::from(step.version), step.checksum(Engine::Postgres));
            let sql = "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)";
            let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
                (&version, Type::INT8),
                (&step.name, Type::TEXT),
                (&checksum, Type::TEXT),
                (&now, Type::INT8),
            ];
            transaction.execute_typed(sql, &parameters).await?;
        }
        Step::Down(step) => {
            transaction.batch_execute(step.texts(Engine::Postgres).down).await?;
            let version = i64::from(step.version);
            let sql = "DELETE FROM schema_migrations WHERE version = $1";
            transaction.execute_typed(sql, &[(&version, Type::INT8)]).await?;
        }
    }
    Ok(())
}

/// Classes 22 (data) and 23 (constraint) are refused again, as is what a trigger says (P0001); a statement that was cancelled (57014) took too
/// long; all else may pass.
#[allow(clippy::needless_pass_by_value)] // what `map_err` calls
fn failed(error: tokio_postgres::Error) -> Error {
    let said =
        |error: &tokio_postgres::error::DbError| format!("{} (SQLSTATE {})", error.message(), error.code().code());
    let code = error.code().map_or("", |code| code.code()).to_owned();
    // A server's own words may name a value of a row, never a password.
    let source = || std::error::Error::source(&error).map(|source| format!("{error}: {source}"));
    let message = error
        .as_db_error()
        .map(said)
        .or_else(source)
        .unwrap_or_else(|| error.to_string());
    let make = match code.as_str() {
        "57014" => Error::TooSlow,
        "P0001" => Error::Refused,
        code if code.starts_with("22") || code.starts_with("23") => Error::Refused,
        _ => Error::Unavailable,
    };
    make(Engine::Postgres, message)
}
