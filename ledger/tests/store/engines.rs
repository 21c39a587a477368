//! A fresh store of each kind, and a way to it that passes the store by.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use bowsprit_ledger::schema::LATEST;
use bowsprit_ledger::store::postgres::{Postgres, Target};
use bowsprit_ledger::store::sqlite::Sqlite;
use bowsprit_ledger::store::{Query, Row, Store, Value};

use crate::server::Server;

/// A store with nothing in it.
pub(crate) struct Engine {
    pub(crate) store: Box<dyn Store>,
    folder: Option<tempfile::TempDir>,
    /// The server itself, where PgBouncer stands before it.
    direct: Option<String>,
    /// As the store reaches it.
    reached: Option<String>,
}

struct Servers {
    postgres: Server,
    bouncer: Server,
}

/// One server for all tests of the program; each has a database of its own.
fn servers() -> &'static Mutex<Servers> {
    static SERVERS: OnceLock<Mutex<Servers>> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let postgres = Server::postgres();
        let bouncer = postgres.bouncer();
        Mutex::new(Servers { postgres, bouncer })
    })
}

/// A new database of a server, as its connection string makes one.
pub(crate) async fn fresh_database(url: impl Fn(&str) -> String) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
    execute(&url("postgres"), &format!("CREATE DATABASE {name}"))
        .await
        .unwrap();
    name
}

async fn execute(url: &str, sql: &str) -> Result<(), String> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let done = client.batch_execute(sql).await;
    drop(client);
    let _ = connection.await;
    done.map_err(|error| format!("{error:?}"))
}

impl Engine {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("ledger.db")).unwrap();
        store.migrate(LATEST, 0).await.unwrap();
        Self {
            store: Box::new(store),
            folder: Some(folder),
            direct: None,
            reached: None,
        }
    }

    pub(crate) async fn postgres(through_bouncer: bool) -> Self {
        let (direct, bouncer) = tokio::task::spawn_blocking(|| {
            let servers = servers().lock().unwrap();
            (servers.postgres.port, servers.bouncer.port)
        })
        .await
        .unwrap();
        let at = |port: u16| {
            move |database: &str| format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable")
        };
        let name = fresh_database(at(direct)).await;
        let reached = at(if through_bouncer { bouncer } else { direct })(&name);
        let store = Postgres::new(Target::new(&reached, None).unwrap());
        store.migrate(LATEST, 0).await.unwrap();
        Self {
            store: Box::new(store),
            folder: None,
            direct: Some(at(direct)(&name)),
            reached: Some(reached),
        }
    }

    /// A second service over the same database.
    pub(crate) fn another(&self) -> Box<dyn Store> {
        match (&self.reached, &self.folder) {
            (Some(url), _) => Box::new(Postgres::new(Target::new(url, None).unwrap())),
            (None, Some(folder)) => Box::new(Sqlite::open(&folder.path().join("ledger.db")).unwrap()),
            (None, None) => unreachable!(),
        }
    }

    /// What a store never does.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), String> {
        match (&self.direct, &self.folder) {
            (Some(url), _) => execute(url, sql).await,
            (None, Some(folder)) => {
                let connection = rusqlite::Connection::open(folder.path().join("ledger.db")).unwrap();
                connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
                connection.execute_batch(sql).map_err(|error| error.to_string())
            }
            (None, None) => unreachable!(),
        }
    }

    /// Somebody who reads a table until it is dropped, as a backup does.
    pub(crate) async fn reading(&self, table: &str) -> tokio_postgres::Client {
        self.holding(&format!("LOCK TABLE {table} IN ACCESS SHARE MODE")).await
    }

    /// Somebody whose transaction is open until it is dropped.
    pub(crate) async fn holding(&self, sql: &str) -> tokio_postgres::Client {
        let url = self.direct.as_ref().unwrap();
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
        client
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.direct.is_some()
    }

    pub(crate) async fn ask(&self, sql: &str, parameters: Vec<Value>) -> Vec<Row> {
        let query = Query {
            name: "test",
            sql: sql.to_owned(),
            parameters,
        };
        self.store.query(query).await.unwrap()
    }

    /// One number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.ask(&format!("SELECT CAST(({sql}) AS BIGINT)"), Vec::new()).await[0][0].int()
    }

    /// How the engine goes about a query.
    pub(crate) async fn plan(&self, query: &Query) -> String {
        if !self.is_postgres() {
            let mut explained = query.clone();
            explained.sql = format!("EXPLAIN QUERY PLAN {}", query.sql);
            let rows = self.store.query(explained).await.unwrap();
            return rows.iter().map(|row| row[3].told() + "\n").collect();
        }
        let (client, connection) = tokio_postgres::connect(self.direct.as_ref().unwrap(), tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        // With the values written out, so that it is planned for them; on tables this small a scan would always win.
        let mut sql = query.sql.clone();
        for (index, value) in query.parameters.iter().enumerate().rev() {
            let text = match value {
                Value::Null => "NULL".to_owned(),
                Value::Int(number) => number.to_string(),
                Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
            };
            sql = sql.replace(&format!("${}", index + 1), &text);
        }
        client
            .batch_execute("SET enable_seqscan = off; SET enable_sort = on")
            .await
            .unwrap();
        let rows = client.query(&format!("EXPLAIN {sql}"), &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
    }
}
