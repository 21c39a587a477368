//! SQLite: one file, one connection that writes, a few that read beside it (WAL). Or memory, which has one connection.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Statement, ToSql, Transaction, TransactionBehavior,
};

use super::fill::{self, Filled, Fills};
use super::old::{self, Gone, Old, Pieces};
use super::tables::{ATTEMPTS, CONFIGS, METRICS, RATE_LIMITS, REQUESTS, SAMPLED, Table, on_conflict_sum};
use super::take::{Key, Once, Place, once, plan};
use super::text::kept;
use super::{Answer, Arrival, Error, Filling, Keep, Query, Retired, Row, Store, Value, configs};
use crate::schema::{self, Applied, CannotMigrate, Engine, Step};
use crate::sync::locked;

/// Connections that read.
const READERS: usize = 4;
/// How long one waits for a lock of another process, such as a backup.
const BUSY: Duration = Duration::from_secs(5);
/// Pages that the writing connection keeps, KiB.
const WRITER_CACHE: i64 = 256 << 10;
/// Pages that each reading connection keeps, KiB.
const READER_CACHE: i64 = 32 << 10;

/// A database file.
pub struct Sqlite {
    path: PathBuf,
    inner: Arc<Inner>,
    turns: tokio::sync::Semaphore,
}

struct Inner {
    /// Whoever waits longest is next: a clean-up that takes it again and again keeps no batch from it.
    writer: tokio::sync::Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    /// None: in memory.
    path: Option<PathBuf>,
}

impl Sqlite {
    /// Opens the file or makes it. Its tables come with [`Store::migrate`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let writer = Connection::open(path).map_err(failed)?;
        writer.busy_timeout(BUSY).map_err(failed)?;
        let pragma = |name: &str, value: &dyn ToSql| writer.pragma_update(None, name, value).map_err(failed);
        pragma("journal_mode", &"WAL")?;
        // A commit is on the disk before a sidecar is told that its entries were taken.
        pragma("synchronous", &"FULL")?;
        pragma("cache_size", &-WRITER_CACHE)?;
        Ok(Self::over(writer, Some(path.to_owned())))
    }

    /// One that ends with the program. Its tables come with [`Store::migrate`].
    pub fn in_memory() -> Result<Self, Error> {
        Ok(Self::over(Connection::open_in_memory().map_err(failed)?, None))
    }

    fn over(writer: Connection, path: Option<PathBuf>) -> Self {
        writer.set_prepared_statement_cache_capacity(32);
        let inner = Inner {
            writer: tokio::sync::Mutex::new(writer),
            readers: Mutex::default(),
            path: path.clone(),
        };
        Self {
            path: path.unwrap_or_default(),
            inner: Arc::new(inner),
            turns: tokio::sync::Semaphore::new(READERS),
        }
    }

    /// The file; empty for memory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        match done {
            Ok(done) => done.map_err(failed),
            Err(_) => Err(Error::Unavailable(Engine::Sqlite, "it is stopping".into())),
        }
    }
}

impl Sqlite {
    /// `drop` says how many rows went, and where the next piece begins.
    async fn drop_piece<T: Send + 'static>(
        &self,
        drop: impl FnOnce(&Connection) -> Result<(usize, Option<T>), rusqlite::Error> + Send + 'static,
    ) -> Result<Gone<T>, Error> {
        self.work(move |inner| {
            let writer = inner.write();
            // The wait for others that write says nothing of this piece.
            let began = Instant::now();
            let (gone, next) = drop(&writer)?;
            Ok(Gone {
                rows: gone as u64,
                next,
                took: began.elapsed(),
            })
        })
        .await
    }
}

impl Inner {
    /// Waits, and is therefore not for what runs on the runtime itself.
    fn write(&self) -> tokio::sync::MutexGuard<'_, Connection> {
        self.writer.blocking_lock()
    }

    fn read(&self, query: &Query) -> Result<Vec<Row>, rusqlite::Error> {
        let Some(path) = &self.path else {
            return run(&self.write(), query);
        };
        let idle = locked(&self.readers).pop();
        let reader = idle.map_or_else(|| open_reader(path), Ok)?;
        let rows = run(&reader, query);
        locked(&self.readers).push(reader);
        rows
    }
}

fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(path, flags)?;
    reader.busy_timeout(BUSY)?;
    reader.pragma_update(None, "cache_size", -READER_CACHE)?;
    Ok(reader)
}

impl Store for Sqlite {
    fn engine(&self) -> Engine {
        Engine::Sqlite
    }

    fn take(&self, arrivals: Arc<Vec<Arrival>>, now: i64) -> BoxFuture<'_, Result<Vec<Answer>, Error>> {
        Box::pin(self.work(move |inner| {
            let mut writer = inner.write();
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let places = places(&transaction, &arrivals, now)?;
            let uncounted = count(&transaction, once(&arrivals, &places), now)?;
            let plan = plan(&arrivals, places, uncounted, now, i64::MIN);
            insert(&transaction, &REQUESTS, &plan.rows.requests)?;
            insert(&transaction, &SAMPLED, &plan.rows.sampled)?;
            insert(&transaction, &ATTEMPTS, &plan.rows.attempts)?;
            insert(&transaction, &RATE_LIMITS, &plan.rows.rate_limits)?;
            sum(&transaction, &plan.rows.metrics())?;
            advance(&transaction, &plan.through)?;
            transaction.commit()?;
            Ok(plan.answers)
        }))
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            let _turn = self.turns.acquire().await;
            self.work(move |inner| inner.read(&query)).await
        })
    }

    fn note(&self, statements: Vec<Query>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.work(move |inner| {
            let mut writer = inner.write();
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for query in &statements {
                let mut statement = transaction.prepare_cached(&query.sql)?;
                bind_named(&mut statement, &query.parameters)?;
                statement.raw_execute()?;
            }
            transaction.commit()
        }))
    }

    fn note_config(&self, row: Row) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.work(move |inner| {
            let sql = format!("{} ON CONFLICT DO NOTHING", insert_sql(&CONFIGS));
            let mut writer = inner.write();
            let transaction = writer.transaction()?;
            let mut statement = transaction.prepare_cached(&sql)?;
            bind(&mut statement, &row)?;
            drop(statement);
            for sql in configs::told_again(&row) {
                let mut statement = transaction.prepare_cached(&sql)?;
                bind_named(&mut statement, &row)?;
                statement.raw_execute()?;
            }
            transaction.commit()
        }))
    }

    fn migrate(&self, to: u32, now: i64) -> BoxFuture<'_, Result<u32, Error>> {
        Box::pin(async move {
            let was = self
                .work(move |inner| {
                    let mut writer = inner.write();
                    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
                    transaction.execute_batch(schema::VERSIONS)?;
                    let applied = applied(&transaction)?;
                    let was = applied.iter().map(|step| step.version).max().unwrap_or(0);
                    let steps = match schema::steps(&applied, to, Engine::Sqlite) {
                        Ok(steps) => steps,
                        Err(refused) => return Ok(Err(refused)),
                    };
                    if schema::needs_all_filled(&steps) && transaction.prepare(fill::FROM)?.exists(())? {
                        return Ok(Err(CannotMigrate::NotFilled));
                    }
                    for step in steps {
                        apply(&transaction, step, now)?;
                    }
                    transaction.commit()?;
                    Ok(Ok(was))
                })
                .await?;
            Ok(was?)
        })
    }

    fn fill(&self, most: Duration) -> BoxFuture<'_, Result<Filling, Error>> {
        let began = Instant::now();
        Box::pin(fill::fill_for(self, most, move || began.elapsed()))
    }

    fn retain(&self, keep: Keep, now: i64) -> BoxFuture<'_, Retired> {
        Box::pin(async move {
            let mut retired = Retired::default();
            old::drop_all(self, &old::all(keep, now, Engine::Sqlite), &mut retired).await;
            retired
        })
    }
}

impl Fills for Sqlite {
    async fn fill_piece(&self, requests: usize) -> Result<Option<Filled>, Error> {
        self.work(move |inner| {
            let mut writer = inner.write();
            let began = Instant::now();
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let one = |sql: &str, parameters: &[i64]| -> Result<Option<i64>, rusqlite::Error> {
                let parameters = rusqlite::params_from_iter(parameters);
                transaction.query_row(sql, parameters, |row| row.get(0)).optional()
            };
            let Some(from) = one(fill::FROM, &[])? else {
                return Ok(None);
            };
            let end = fill::behind(from, one(&fill::end(requests), &[from])?);
            let rows = transaction.execute(fill::SAMPLE, [from, end.unwrap_or(i64::MAX)])?;
            match end {
                Some(end) => transaction.execute(fill::NOTE, [end])?,
                None => transaction.execute(fill::DONE, [])?,
            };
            transaction.commit()?;
            Ok(Some(Filled {
                rows: rows as u64,
                took: began.elapsed(),
            }))
        })
        .await
    }
}

impl Pieces for Sqlite {
    async fn oldest(&self, old: &Old, from: i64) -> Result<Option<i64>, Error> {
        old::oldest(self, old, from).await
    }

    async fn drop_rows(&self, old: &Old, from: i64, to: i64, most: usize) -> Result<Gone<i64>, Error> {
        let Old {
            table,
            column,
            only,
            key,
            ..
        } = old;
        let sql = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table}
                WHERE {only} AND {column} >= ?1 AND {column} < ?2 ORDER BY {column} LIMIT {most})"
        );
        self.drop_piece(move |writer| {
            let gone = writer.execute(&sql, [from, to])?;
            Ok((gone, (gone >= most).then_some(from)))
        })
        .await
    }

    async fn drop_sums(&self, day: i64, after: &str, sure: bool, most: usize) -> Result<Gone<String>, Error> {
        let hours = old::hours_of(day)
            .iter()
            .map(i64::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let named = if sure {
            format!("SELECT DISTINCT names_digest FROM provider_metrics WHERE grain = 3600 AND start IN ({hours})")
        } else {
            format!("SELECT names_digest FROM provider_metrics WHERE grain = 86400 AND start = {day}")
        };
        let named = format!("{named} AND names_digest > ?1 ORDER BY names_digest LIMIT {most}");
        let last = format!("SELECT max(names_digest), count(*) FROM ({named})");
        let sql = format!(
            "DELETE FROM provider_metrics WHERE grain IN (3600, 86400) AND start IN ({hours}) AND names_digest IN ({named})"
        );
        let after = after.to_owned();
        self.drop_piece(move |writer| {
            let (last, found): (Option<String>, i64) =
                writer.query_row(&last, [&after], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let gone = writer.execute(&sql, [&after])?;
            Ok((
                gone,
                last.filter(|_| usize::try_from(found).is_ok_and(|found| found >= most)),
            ))
        })
        .await
    }
}

fn places(
    transaction: &Transaction<'_>,
    arrivals: &[Arrival],
    now: i64,
) -> Result<BTreeMap<Key, Place>, rusqlite::Error> {
    let sql = "INSERT INTO outboxes (namespace, pod, outbox, service_account, workload, sidecar_version, first_seen, last_seen)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
        ON CONFLICT (namespace, pod, outbox) DO UPDATE SET last_seen = excluded.last_seen, sidecar_version = excluded.sidecar_version
        RETURNING id, through";
    let mut statement = transaction.prepare_cached(sql)?;
    let mut places = BTreeMap::new();
    for arrival in arrivals {
        let key = Key::of(arrival);
        if places.contains_key(&key) {
            continue;
        }
        let (sender, batch) = (&arrival.identity, &arrival.batch);
        let cells = (
            &key.namespace,
            &key.pod,
            &key.outbox,
            &sender.service_account,
            kept(&batch.workload),
            kept(&batch.sidecar_version),
            now,
        );
        let place = statement.query_row(cells, |row| {
            let through: i64 = row.get(1)?;
            Ok(Place {
                id: row.get(0)?,
                through: u64::try_from(through).unwrap_or(0),
            })
        })?;
        places.insert(key, place);
    }
    Ok(places)
}

/// Notes that these are counted; those that were not before.
fn count(transaction: &Transaction<'_>, all: BTreeSet<Once>, now: i64) -> Result<BTreeSet<Once>, rusqlite::Error> {
    let sql = "INSERT INTO booked_batches (namespace, names_digest, at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    let mut uncounted = BTreeSet::new();
    for once in all {
        let mut statement = transaction.prepare_cached(sql)?;
        if statement.execute((&once.namespace, &once.digest, now))? > 0 {
            uncounted.insert(once);
        }
    }
    Ok(uncounted)
}

fn insert_sql(table: &Table) -> String {
    let names: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
    let places: Vec<_> = (1..=names.len()).map(|index| format!("?{index}")).collect();
    format!(
        "INSERT INTO {} ({}) VALUES ({})",
        table.name,
        names.join(", "),
        places.join(", ")
    )
}

fn insert(transaction: &Transaction<'_>, table: &Table, rows: &[Row]) -> Result<(), rusqlite::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut statement = transaction.prepare_cached(&insert_sql(table))?;
    rows.iter().try_for_each(|row| bind(&mut statement, row))
}

fn sum(transaction: &Transaction<'_>, rows: &[Row]) -> Result<(), rusqlite::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = format!("{} {}", insert_sql(&METRICS), on_conflict_sum());
    let mut statement = transaction.prepare_cached(&sql)?;
    rows.iter().try_for_each(|row| bind(&mut statement, row))
}

fn advance(transaction: &Transaction<'_>, through: &[Place]) -> Result<(), rusqlite::Error> {
    let mut statement = transaction.prepare_cached("UPDATE outboxes SET through = ?2 WHERE id = ?1")?;
    for place in through {
        statement.execute((place.id, i64::try_from(place.through).unwrap_or(i64::MAX)))?;
    }
    Ok(())
}

fn applied(transaction: &Transaction<'_>) -> Result<Vec<Applied>, rusqlite::Error> {
    let mut statement = transaction.prepare("SELECT version, checksum FROM schema_migrations ORDER BY version")?;
    let rows = statement.query_map((), |row| {
        Ok(Applied {
            version: row.get(0)?,
            checksum: row.get(1)?,
        })
    })?;
    rows.collect()
}

fn apply(transaction: &Transaction<'_>, step: Step, now: i64) -> Result<(), rusqlite::Error> {
    match step {
        Step::Up(step) => {
            transaction.execute_batch(step.made(Engine::Sqlite))?;
            let sql = "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (?1, ?2, ?3, ?4)";
            transaction.execute(sql, (step.version, step.name, step.checksum(Engine::Sqlite), now))?;
        }
        Step::Down(step) => {
            transaction.execute_batch(step.texts(Engine::Sqlite).down)?;
            transaction.execute("DELETE FROM schema_migrations WHERE version = ?1", [step.version])?;
        }
    }
    Ok(())
}

fn bind(statement: &mut Statement<'_>, row: &Row) -> Result<(), rusqlite::Error> {
    for (index, value) in row.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, value)?;
    }
    statement.raw_execute().map(|_| ())
}

/// SQLite numbers `$n` in the order in which they come; by name it is the same one as in PostgreSQL.
fn bind_named(statement: &mut Statement<'_>, values: &[Value]) -> Result<(), rusqlite::Error> {
    for (index, value) in values.iter().enumerate() {
        if let Some(place) = statement.parameter_index(&format!("${}", index + 1))? {
            statement.raw_bind_parameter(place, value)?;
        }
    }
    Ok(())
}

fn run(reader: &Connection, query: &Query) -> Result<Vec<Row>, rusqlite::Error> {
    let mut statement = reader.prepare_cached(&query.sql)?;
    bind_named(&mut statement, &query.parameters)?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let cells = (0..columns).map(|index| {
            Ok(match row.get_ref(index)? {
                ValueRef::Null | ValueRef::Blob(_) => Value::Null,
                ValueRef::Integer(number) => Value::Int(number),
                // Queries round where they divide; what comes is whole.
                #[allow(clippy::cast_possible_truncation)]
                ValueRef::Real(number) => Value::Int(number as i64),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
            })
        });
        all.push(cells.collect::<Result<Row, rusqlite::Error>>()?);
    }
    Ok(all)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Int(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

/// What a constraint or a type refuses is refused again; all else (locked, full, an I/O error) may pass.
#[allow(clippy::needless_pass_by_value)] // what `map_err` calls
fn failed(error: rusqlite::Error) -> Error {
    let refused = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    );
    let make = if refused { Error::Refused } else { Error::Unavailable };
    make(Engine::Sqlite, error.to_string())
}
