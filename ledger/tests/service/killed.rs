//! kill -9 of the service while batches are under way, over both engines.

use crate::program::{Place, Program};
use crate::server::Server;

const REQUESTS: u64 = 3_000;

async fn dies_again_and_again(mut program: Program, count: impl AsyncFn() -> [i64; 2]) {
    for round in 0..4 {
        let from = round * REQUESTS + 1;
        // Half way through it is killed: what was sent and not answered is sent again.
        {
            let shipping = program.ship("app-1", from, REQUESTS, 20);
            let killing = async {
                while count().await[0] < i64::try_from(from + 200).unwrap() {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                _ = shipping => panic!("all was taken before it was killed"),
                () = killing => {}
            }
        }
        program.kill_and_start().await;
        program.ship("app-1", from, REQUESTS, 20).await;
    }
    let all = i64::try_from(4 * REQUESTS).unwrap();
    assert_eq!(count().await, [all, all]);
}

#[tokio::test]
async fn over_sqlite_each_request_is_there_once() {
    let program = Program::start(Place::Sqlite).await;
    let path = program.database();
    let count = async || {
        let rows = rusqlite::Connection::open(&path).unwrap();
        rows.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        let sql = "SELECT count(*), count(DISTINCT request_id) FROM provider_requests";
        rows.query_row(sql, [], |row| Ok([row.get(0)?, row.get(1)?])).unwrap()
    };
    dies_again_and_again(program, count).await;
}

#[tokio::test]
async fn over_postgres_each_request_is_there_once() {
    let server = tokio::task::spawn_blocking(Server::postgres).await.unwrap();
    let url = server.url("postgres");
    let program = Program::start(Place::Postgres(url.clone())).await;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let count = async || {
        let sql = "SELECT count(*), count(DISTINCT request_id) FROM provider_requests";
        let row = client.query_one(sql, &[]).await.unwrap();
        [row.get(0), row.get(1)]
    };
    dies_again_and_again(program, count).await;
}
