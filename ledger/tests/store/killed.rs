//! kill -9 of PostgreSQL while batches are taken: nothing is lost, nothing is there twice, and it goes on by itself.

use std::time::{Duration, Instant};

use bowsprit_ledger::schema::LATEST;
use bowsprit_ledger::store::Store as _;
use bowsprit_ledger::store::postgres::{Postgres, Target};

use crate::engines::fresh_database;
use crate::entries::{NOW, arrival, group, requests};
use crate::server::Server;

const PER_BATCH: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_dies_again_and_again_and_each_entry_is_there_once() {
    let mut server = tokio::task::spawn_blocking(Server::postgres).await.unwrap();
    let database = fresh_database(|name| server.url(name)).await;
    let store = std::sync::Arc::new(Postgres::new(Target::new(&server.url(&database), None).unwrap()));
    store.migrate(LATEST, NOW).await.unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let sender = {
        let (store, stop) = (std::sync::Arc::clone(&store), std::sync::Arc::clone(&stop));
        tokio::spawn(async move {
            // As a sidecar does: the next batch only once this one was taken, however often it must be sent.
            let (mut next, mut failures) = (1, 0_u32);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let batch = arrival("app-1", next, requests(next..next + PER_BATCH, "ok"));
                match store.take(group([batch]), NOW).await {
                    Ok(answers) => next = answers[0].as_ref().unwrap().through + 1,
                    Err(error) => {
                        assert!(error.may_pass(), "{error}");
                        failures += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
            (next - 1, failures)
        })
    };
    let stored = async || {
        let query = bowsprit_ledger::store::Query {
            name: "test",
            sql: "SELECT CAST(count(*) AS BIGINT), CAST(count(DISTINCT sequence) AS BIGINT), CAST(coalesce(max(sequence), 0) AS BIGINT)
                FROM provider_requests"
                .into(),
            parameters: Vec::new(),
        };
        loop {
            match store.query(query.clone()).await {
                Ok(rows) => return [rows[0][0].int(), rows[0][1].int(), rows[0][2].int()],
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    for _ in 0..3 {
        let (before, deadline) = (stored().await[0], Instant::now() + Duration::from_secs(30));
        while stored().await[0] < before + 500 {
            assert!(Instant::now() < deadline, "it does not go on");
        }
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            server.start();
            server
        })
        .await
        .unwrap();
    }
    let before = stored().await[0];
    let deadline = Instant::now() + Duration::from_secs(30);
    while stored().await[0] < before + 500 {
        assert!(Instant::now() < deadline, "it does not go on");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (sent, failures) = sender.await.unwrap();
    assert!(failures > 0, "it was killed between two batches each time: no proof");
    let sent = i64::try_from(sent).unwrap();
    assert_eq!(stored().await, [sent, sent, sent]);
}
