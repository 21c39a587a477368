//! Ten million rows within minutes: PostgreSQL makes them itself, the same as `arrival` has, in the tables that a service fills. It makes
//! those of the newest step of the schema by that step.

use std::time::{Duration, Instant};

use bowsprit_ledger::schema::LATEST;
use bowsprit_ledger::service::now;
use bowsprit_ledger::store::Store;
use bowsprit_ledger::wire::MAX_ENTRIES;

use super::{DAY, PODS};

/// Of a server whose rows nobody will miss.
pub(crate) const SETTINGS: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
];
/// Batches that one statement makes the rows of.
const CHUNK: u64 = 200;

const MADE: &str = include_str!("made.postgres.sql");
const ROWS: &str = include_str!("rows.postgres.sql");
const SUMS: &str = include_str!("sums.postgres.sql");

/// Fills the database and brings its schema to the newest version; how many rows.
pub(crate) async fn filled(store: &dyn Store, url: &str, rows: u64, days: i64) -> u64 {
    store.migrate(8, now()).await.unwrap();
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let run = async |sql: &str| client.batch_execute(sql).await.unwrap();
    let (began, end) = (Instant::now(), now());
    let (first, span) = (end - days * DAY, days * DAY);
    let days = first / DAY..=end / DAY + 1;
    for day in days.clone() {
        for table in ["provider_requests", "provider_logs"] {
            let (from, to) = (day * DAY, (day + 1) * DAY);
            let partition =
                format!("CREATE TABLE {table}_d{day} PARTITION OF {table} FOR VALUES FROM ({from}) TO ({to})");
            run(&partition).await;
        }
    }
    run(MADE).await;
    let outboxes = format!(
        "INSERT INTO outboxes (namespace, pod, outbox, service_account, workload, sidecar_version, through, first_seen, last_seen)
        SELECT 'team-' || pod % 20, 'app-' || pod, lpad(to_hex(pod), 32, '0'), 'app', 'Deployment/app-' || pod % 40, '0.1.0', {}, {first}, {end}
        FROM generate_series(0, {}) AS pod",
        i64::MAX,
        PODS - 1
    );
    run(&outboxes).await;
    let batches = rows.div_ceil(MAX_ENTRIES as u64);
    let mut from = 0;
    while from < batches {
        let upto = batches.min(from + CHUNK);
        let named = [
            ("$from", from.to_string()),
            ("$upto", upto.to_string()),
            ("$batches", batches.to_string()),
            ("$first", first.to_string()),
            ("$span", span.to_string()),
        ];
        let put_in = |sql: String, (name, value): &(&str, String)| sql.replace(name, value);
        run(&named.iter().fold(ROWS.to_owned(), put_in)).await;
        from = upto;
    }
    for day in days {
        run(&SUMS.replace("$day", &day.to_string())).await;
    }
    let (made, stepped) = (began.elapsed(), Instant::now());
    store.migrate(LATEST, now()).await.unwrap();
    let (stepped, filling) = (stepped.elapsed(), Instant::now());
    let sampled = store.fill(Duration::MAX).await.unwrap().rows();
    let filling = filling.elapsed();
    run("VACUUM ANALYZE").await;
    let size = "SELECT pg_size_pretty(pg_database_size(current_database()))";
    let size: String = client.query_one(size, &[]).await.unwrap().get(0);
    println!(
        "\n### PostgreSQL 15, {} rows over {} days, {size}\n\nMade by the server in {:.0} s; the newest steps of the schema took {:.1} s, and {sampled} rows that they left were filled in {:.1} s.\n",
        batches * MAX_ENTRIES as u64,
        span / DAY,
        made.as_secs_f64(),
        stepped.as_secs_f64(),
        filling.as_secs_f64()
    );
    drop(client);
    connection.await.unwrap().unwrap();
    batches * MAX_ENTRIES as u64
}
