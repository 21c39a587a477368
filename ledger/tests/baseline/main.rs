//! How fast rows are taken and questions answered, on both engines: prints a table. `tests/ledger/baseline` runs it with many rows;
//! here it sees with few that everything in the table still works.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]
#![allow(dead_code)] // of what is shared with the tests of the stores

#[path = "../store/server.rs"]
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bowsprit_ledger::entry::{Attempt, Cost, Entry, Numbered, Request, Tokens, Turn};
use bowsprit_ledger::query::read::{self, Cursor, Filter, IdOf};
use bowsprit_ledger::query::sums::{self, First};
use bowsprit_ledger::query::{By, Window};
use bowsprit_ledger::schema::{Engine, LATEST};
use bowsprit_ledger::service::now;
use bowsprit_ledger::store::postgres::{Postgres, Target};
use bowsprit_ledger::store::sqlite::Sqlite;
use bowsprit_ledger::store::{Arrival, Identity, Query, Store};
use bowsprit_ledger::wire::{Batch, MAX_ENTRIES, VERSION};

const DAY: i64 = 24 * 3600 * 1000;
/// Over which the rows lie.
const DAYS: i64 = 7;
const PODS: u64 = 50;
/// Batches of a transaction.
const GROUP: u64 = 16;
const TIMES: u32 = 40;

fn main() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(otherwise)
    };
    let rows = number("BOWSPRIT_LEDGER_ROWS", 40_000);
    let engines = std::env::var("BOWSPRIT_LEDGER_ENGINES").unwrap_or_else(|_| "sqlite,postgres".into());
    let folder = std::env::var_os("BOWSPRIT_LEDGER_FOLDER").map_or_else(std::env::temp_dir, Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    for engine in engines.split(',') {
        match engine {
            "sqlite" => {
                let folder = tempfile::tempdir_in(&folder).unwrap();
                let file = folder.path().join("ledger.db");
                let store = runtime.block_on(async { Sqlite::open(&file).unwrap() });
                runtime.block_on(measured("SQLite", Arc::new(store), rows));
                println!("\nIts file: {} MiB.", std::fs::metadata(&file).unwrap().len() >> 20);
            }
            "postgres" => {
                let server = server::Server::postgres();
                let target = Target::new(&server.url("postgres"), None).unwrap();
                runtime.block_on(measured("PostgreSQL 15", Arc::new(Postgres::new(target)), rows));
            }
            other => panic!("no engine {other}"),
        }
    }
}

/// What this process has had of the processors, by its threads that still run: of SQLite all that a question takes, however many others
/// are at work on the machine; of a server nothing.
fn processors() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let told = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        told.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

async fn measured(name: &str, store: Arc<dyn Store>, rows: u64) {
    let is_here = store.engine() == Engine::Sqlite;
    store.migrate(LATEST, now()).await.unwrap();
    let (began, had) = (Instant::now(), processors());
    let (mut next, mut slowest, mut last) = (vec![1_u64; PODS as usize], Duration::ZERO, (0, Duration::ZERO));
    let (first, mut made) = (now() - DAYS * DAY, 0);
    while made < rows {
        let arrivals: Vec<_> = (0..GROUP)
            .map(|_| {
                let pod = made / MAX_ENTRIES as u64 % PODS;
                let at = first + (DAYS * DAY) * made as i64 / rows as i64;
                let arrival = arrival(pod, next[pod as usize], at);
                next[pod as usize] += MAX_ENTRIES as u64;
                made += MAX_ENTRIES as u64;
                arrival
            })
            .collect();
        let one = Instant::now();
        let answers = store.take(Arc::new(arrivals), now()).await.unwrap();
        assert!(answers.iter().all(Result::is_ok));
        slowest = slowest.max(one.elapsed());
        if made >= rows * 9 / 10 && last.0 == 0 {
            last = (made, began.elapsed());
        }
    }
    let took = began.elapsed();
    let rate = |rows: u64, took: Duration| rows as f64 / took.as_secs_f64().max(0.001);
    println!("\n### {name}, {made} rows over {DAYS} days\n");
    println!(
        "Ingest: {:.0} records/s over all, {:.0} over the last tenth; the slowest transaction of {} records took {:.0} ms.\n",
        rate(made, took),
        rate(made - last.0, took.saturating_sub(last.1)),
        GROUP * MAX_ENTRIES as u64,
        slowest.as_secs_f64() * 1000.0
    );
    if is_here {
        let took = processors().saturating_sub(had);
        println!(
            "By the processor's time, the making of the records included: {:.0} records/s.\n",
            rate(made, took)
        );
    }
    println!("| question | rows | p50 ms | p95 ms | processor ms |\n|---|---|---|---|---|");
    for (name, query) in questions(made) {
        let (mut times, mut own, mut rows) = (Vec::new(), Vec::new(), 0);
        for turn in 0..TIMES {
            let query = query(turn);
            let (one, had) = (Instant::now(), processors());
            rows = store.query(query).await.unwrap().len().max(rows);
            times.push(one.elapsed().as_secs_f64() * 1000.0);
            own.push(processors().saturating_sub(had).as_secs_f64() * 1000.0);
        }
        let at = |times: &mut Vec<f64>, share: usize| {
            times.sort_by(f64::total_cmp);
            times[(times.len() - 1) * share / 100]
        };
        let (half, most) = (at(&mut times, 50), at(&mut times, 95));
        let own = if is_here {
            format!("{:.1}", at(&mut own, 50))
        } else {
            "-".to_owned()
        };
        println!("| {name} | {rows} | {half:.1} | {most:.1} | {own} |");
    }
}

type Ask = Box<dyn Fn(u32) -> Query>;

fn questions(made: u64) -> Vec<(&'static str, Ask)> {
    let team = |turn: u32| Some(format!("team-{}", turn % 20));
    let provider = |turn: u32| Some(format!("provider-{}", turn % 10));
    let window = |days: i64| Window {
        from: now() - days * DAY,
        to: now(),
    };
    let list = |filter: Filter| read::requests(&Filter { number: 50, ..filter });
    let view = |name: &'static str, sql: &'static str| Query {
        name,
        sql: sql.into(),
        parameters: Vec::new(),
    };
    // A request of long ago as often as one of now.
    let id = move |turn: u32| id(u64::from(turn) * 7_919 % (made / 2));
    let sums_of = move |turn: u32, days: i64, by: By| {
        let team = team(turn);
        sums::stats(
            &read::scope(team.as_deref(), None, window(days)),
            by,
            First::Busiest,
            10_001,
        )
    };
    let all: Vec<(&'static str, Ask)> = vec![
        (
            "logs",
            Box::new(move |turn| {
                list(Filter {
                    before: Some(Cursor(now() - i64::from(turn) * DAY / 10, 0, 0)),
                    ..Filter::default()
                })
            }),
        ),
        (
            "logs of a namespace",
            Box::new(move |turn| {
                list(Filter {
                    namespace: team(turn),
                    ..Filter::default()
                })
            }),
        ),
        (
            "logs --provider",
            Box::new(move |turn| {
                list(Filter {
                    provider: provider(turn),
                    ..Filter::default()
                })
            }),
        ),
        (
            "logs --provider of a namespace",
            Box::new(move |turn| {
                list(Filter {
                    namespace: team(turn),
                    provider: provider(turn),
                    ..Filter::default()
                })
            }),
        ),
        (
            "logs --failed",
            Box::new(move |_| {
                list(Filter {
                    is_failed: true,
                    ..Filter::default()
                })
            }),
        ),
        (
            "logs --failed of a namespace",
            Box::new(move |turn| {
                list(Filter {
                    namespace: team(turn),
                    is_failed: true,
                    ..Filter::default()
                })
            }),
        ),
        (
            "why: the request",
            Box::new(move |turn| read::by_id(IdOf::Request, &id(turn), team(turn).as_deref().filter(|_| false))),
        ),
        (
            "why: its attempts",
            Box::new(move |turn| read::attempts(&id(turn), i64::from(turn) % PODS as i64 + 1)),
        ),
        (
            "why, by a provider's id",
            Box::new(move |turn| read::by_id(IdOf::Provider, &format!("msg_{}", id(turn)), None)),
        ),
        (
            "stats of a namespace, 24 h",
            Box::new(move |turn| sums_of(turn, 1, By::Model)),
        ),
        (
            "stats of a namespace, 7 days",
            Box::new(move |turn| sums_of(turn, 7, By::Model)),
        ),
        (
            "stats of all, 24 h",
            Box::new(move |_| {
                sums::stats(
                    &read::scope(None, None, window(1)),
                    By::Provider,
                    First::Busiest,
                    10_001,
                )
            }),
        ),
        (
            "stats of all, 7 days",
            Box::new(move |_| {
                sums::stats(
                    &read::scope(None, None, window(7)),
                    By::Provider,
                    First::Busiest,
                    10_001,
                )
            }),
        ),
        (
            "spend --by workload, 7 days",
            Box::new(move |_| {
                sums::stats(
                    &read::scope(None, None, window(7)),
                    By::Workload,
                    First::Busiest,
                    10_001,
                )
            }),
        ),
        (
            "quality, 7 days",
            Box::new(move |_| sums::quality(&read::scope(None, None, window(7)))),
        ),
        (
            "quality: what a provider failed with, 24 h",
            Box::new(move |turn| read::failures(None, &[&provider(turn).unwrap()], window(1))),
        ),
        (
            "view success_rate_7d",
            Box::new(move |_| {
                view(
                    "view",
                    "SELECT namespace, provider, model, CAST(requests AS BIGINT) FROM success_rate_7d",
                )
            }),
        ),
        (
            "view hourly_performance",
            Box::new(move |_| {
                view(
                    "view",
                    "SELECT hour, provider, model, CAST(attempts AS BIGINT) FROM hourly_performance",
                )
            }),
        ),
        (
            "view failed_requests, newest 100",
            Box::new(move |_| {
                view(
                    "view",
                    "SELECT request_id, ended FROM failed_requests ORDER BY at DESC LIMIT 100",
                )
            }),
        ),
    ];
    all
}

/// Spread over the index as random ids are.
fn id(number: u64) -> String {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{mixed:016x}-{number:016x}")
}

fn arrival(pod: u64, from: u64, at: i64) -> Arrival {
    // Two entries of each request: its attempt, and itself.
    let made = (from - 1) / MAX_ENTRIES as u64 * PODS + pod;
    let entries = (0..MAX_ENTRIES as u64).map(|index| {
        let number = made * (MAX_ENTRIES as u64 / 2) + index / 2;
        let entry = if index % 2 == 0 {
            attempt(number)
        } else {
            request(number)
        };
        Numbered {
            sequence: from + index,
            at: at + index as i64,
            entry,
        }
    });
    Arrival {
        identity: Identity {
            namespace: format!("team-{}", pod % 20),
            pod: format!("app-{pod}"),
            service_account: "app".into(),
        },
        batch: Batch {
            version: VERSION,
            outbox: format!("{pod:032x}"),
            from,
            to: from + MAX_ENTRIES as u64 - 1,
            entries: entries.collect(),
            sidecar_version: "0.1.0".into(),
            workload: format!("Deployment/app-{}", pod % 40),
            namespace: None,
        },
    }
}

fn outcome(number: u64) -> &'static str {
    match number % 100 {
        0 | 1 => "provider_error",
        2 => "shed",
        3 => "cancelled",
        4 => "client_error",
        _ => "ok",
    }
}

fn names(number: u64) -> [String; 3] {
    let provider = number % 10;
    [
        format!("provider-{provider}"),
        format!("model-{}-{}", provider, number % 3),
        format!("route-{}", number % 5),
    ]
}

fn tokens(number: u64) -> Tokens {
    Tokens {
        input: 500 + number % 1000,
        output: 100 + number % 300,
        cached: number % 200,
        ..Tokens::default()
    }
}

fn request(number: u64) -> Entry {
    let [provider, model, route] = names(number);
    let outcome = outcome(number);
    Entry::Request(Box::new(Request {
        id: id(number),
        trace_id: format!("{number:032x}"),
        route,
        dialect: "openai".into(),
        operation: "chat_completions".into(),
        asked_model: "chat".into(),
        provider,
        model,
        is_stream: true,
        attempts: 1,
        outcome: outcome.into(),
        code: if outcome == "ok" {
            String::new()
        } else {
            "EXT_OVERLOADED".into()
        },
        status: 200,
        took: 1_500_000 + number % 1_000_000,
        first_token: Some(400_000),
        overhead: 250,
        answer_bytes: 4_000,
        tokens: tokens(number),
        path: if outcome == "ok" {
            Vec::new()
        } else {
            vec![Turn {
                provider: "provider-1".into(),
                what: "failed".into(),
                ..Turn::default()
            }]
        },
        ..Request::default()
    }))
}

fn attempt(number: u64) -> Entry {
    let [provider, model, route] = names(number);
    let is_failed = outcome(number) == "provider_error";
    Entry::Attempt(Box::new(Attempt {
        request_id: id(number),
        trace_id: format!("{number:032x}"),
        route,
        number: 1,
        reason: "first".into(),
        reported_model: model.clone(),
        provider,
        model,
        credential: "main".into(),
        provider_request_id: format!("msg_{}", id(number)),
        operation: "chat_completions".into(),
        status: if is_failed { 529 } else { 200 },
        outcome: if is_failed { "failed" } else { "answered" }.into(),
        code: if is_failed {
            "EXT_OVERLOADED".into()
        } else {
            String::new()
        },
        took: 1_400_000,
        head: Some(300_000),
        first_token: Some(400_000),
        tokens: tokens(number),
        cost: Some(Cost {
            reported: 4_500_000_000,
            estimated: 0,
            version: "table:2026-11-01".into(),
        }),
        ..Attempt::default()
    }))
}
