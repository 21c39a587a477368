//! PostgreSQL is away for a while: batches are turned away with a time to come again, and taken once it is back, by itself.

use std::time::Duration;

use crate::apiserver::pods;
use crate::entries::{arrival, requests};
use crate::program::{Place, Program};
use crate::server::Server;

/// The outage: seconds in `make test`, ten minutes in `make ledger`.
fn seconds() -> u64 {
    std::env::var("BOWSPRIT_OUTAGE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5)
}

#[tokio::test]
async fn postgres_goes_away_and_comes_back_and_nothing_is_lost() {
    let mut server = tokio::task::spawn_blocking(Server::postgres).await.unwrap();
    let url = server.url("postgres");
    let program = Program::start(Place::Postgres(url.clone())).await;
    program.ship("app-1", 1, 500, 50).await;
    server.kill();

    let batch = arrival("app-1", 501, requests(501..=520, "ok")).batch;
    let request = program.http.post(program.url(bowsprit_ledger::wire::BATCHES_PATH));
    let answer = request
        .bearer_auth(pods("team", "app-1"))
        .json(&batch)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    program.until_ready(false).await;
    assert!((program.metric("store_up").await - 0.0).abs() < f64::EPSILON);
    let (status, _) = program
        .get(&crate::apiserver::users("ann"), "/v1/stats?namespace=team")
        .await;
    assert_eq!(status, 503);
    tokio::time::sleep(Duration::from_secs(seconds())).await;

    server = tokio::task::spawn_blocking(move || {
        server.start();
        server
    })
    .await
    .unwrap();
    // Nobody sends: it finds out by itself.
    program.until_ready(true).await;
    program.ship("app-1", 501, 500, 50).await;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client
        .query_one("SELECT count(*), count(DISTINCT sequence) FROM provider_requests", &[])
        .await
        .unwrap();
    assert_eq!([row.get::<_, i64>(0), row.get(1)], [1000, 1000]);
    drop(server);
}
