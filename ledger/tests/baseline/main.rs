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

mod fill;
#[path = "../store/server.rs"]
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bowsprit_ledger::entry::{Attempt, Cost, Entry, Numbered, Request, Tokens, Turn};
use bowsprit_ledger::query::read::{self, Cursor, Filter, IdOf};
use bowsprit_ledger::query::report::{self, days};
use bowsprit_ledger::query::sums::{self, First};
use bowsprit_ledger::query::{By, Window};
use bowsprit_ledger::schema::{Engine, LATEST};
use bowsprit_ledger::service::now;
use bowsprit_ledger::store::postgres::{Postgres, Target};
use bowsprit_ledger::store::sqlite::Sqlite;
use bowsprit_ledger::store::{Arrival, Identity, Keep, Query, Store};
use bowsprit_ledger::wire::{Batch, MAX_ENTRIES, VERSION};

const DAY: i64 = 24 * 3600 * 1000;
const PODS: u64 = 50;
/// Batches of a transaction.
const GROUP: u64 = 16;
/// How often each is asked.
const TIMES: u32 = 40;

fn main() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(otherwise)
    };
    let rows = number("BOWSPRIT_LEDGER_ROWS", 40_000);
    // Over which the rows lie.
    let days = number("BOWSPRIT_LEDGER_DAYS", 7) as i64;
    let is_filled = std::env::var_os("BOWSPRIT_LEDGER_FILL").is_some();
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
                let store = Arc::new(store);
                runtime.block_on(async {
                    let made = taken("SQLite", &*store, rows, days).await;
                    asked(&*store, made, &processors).await;
                });
                println!("\nIts file: {} MiB.", std::fs::metadata(&file).unwrap().len() >> 20);
            }
            "postgres" => {
                let server = if is_filled {
                    server::Server::postgres_with(fill::SETTINGS)
                } else {
                    server::Server::postgres()
                };
                let url = server.url("postgres");
                let store = Postgres::new(Target::new(&url, None).unwrap());
                runtime.block_on(async {
                    let made = if is_filled {
                        fill::filled(&store, &url, rows, days).await
                    } else {
                        taken("PostgreSQL 15", &store, rows, days).await
                    };
                    asked(&store, made, &|| server.processors()).await;
                });
            }
            other => panic!("no engine {other}"),
        }
    }
}

/// What this process has had of the processors, by its threads that still run: of SQLite all that a question takes, however many others
/// are at work on the machine.
fn processors() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let told = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        told.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Has a store take rows as a service does; how many.
async fn taken(name: &str, store: &dyn Store, rows: u64, days: i64) -> u64 {
    let is_here = store.engine() == Engine::Sqlite;
    store.migrate(LATEST, now()).await.unwrap();
    let (began, had) = (Instant::now(), processors());
    let (mut next, mut slowest, mut last) = (vec![1_u64; PODS as usize], Duration::ZERO, (0, Duration::ZERO));
    let (first, mut made) = (now() - days * DAY, 0);
    while made < rows {
        let arrivals: Vec<_> = (0..GROUP)
            .map(|_| {
                let pod = made / MAX_ENTRIES as u64 % PODS;
                let at = first + (days * DAY) * made as i64 / rows as i64;
                let arrival = arrival(pod, next[pod as usize], at);
                next[pod as usize] += MAX_ENTRIES as u64;
                made += MAX_ENTRIES as u64;
                arrival
            })
            .collect();
        let (one, arrivals) = (Instant::now(), Arc::new(arrivals));
        // On a machine that has much else to do an answer may be late, as for the service: each entry is taken once, however often it comes.
        let answers = loop {
            match store.take(Arc::clone(&arrivals), now()).await {
                Ok(answers) => break answers,
                Err(problem) => println!("again: {problem}"),
            }
        };
        assert!(answers.iter().all(Result::is_ok));
        slowest = slowest.max(one.elapsed());
        if made >= rows * 9 / 10 && last.0 == 0 {
            last = (made, began.elapsed());
        }
    }
    let took = began.elapsed();
    let rate = |rows: u64, took: Duration| rows as f64 / took.as_secs_f64().max(0.001);
    println!("\n### {name}, {made} rows over {days} days\n");
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
    made
}

/// Asks everything of a store that has so many rows, and brings its schema back by a step and forward again.
async fn asked(store: &dyn Store, made: u64, processors: &dyn Fn() -> Duration) {
    println!("| question | rows | p50 ms | p95 ms | processor ms |\n|---|---|---|---|---|");
    let table = Table { processors };
    for (name, query) in questions(made) {
        table
            .line(name, async |turn| store.query(query(turn)).await.unwrap().len())
            .await;
    }
    for (name, which, is_of_one, days) in REPORTS {
        table
            .line(name, async |turn| {
                reported(store, which, is_of_one.then_some(turn), days).await
            })
            .await;
    }
    let (began, had) = (Instant::now(), processors());
    let days = days::judge(store, Keep::default(), now(), Duration::MAX, || Duration::ZERO)
        .await
        .unwrap();
    println!(
        "\n{days} days judged in {:.1} s, {:.1} s of a processor. After it:\n\n| question | rows | p50 ms | p95 ms | processor ms |\n|---|---|---|---|---|",
        began.elapsed().as_secs_f64(),
        processors().saturating_sub(had).as_secs_f64()
    );
    for (name, which, is_of_one, days) in REPORTS {
        if !matches!(which, Report::Usage) && !is_of_one {
            table
                .line(name, async |_| reported(store, which, None, days).await)
                .await;
        }
    }
    let began = Instant::now();
    store.migrate(LATEST - 1, now()).await.unwrap();
    let back = began.elapsed();
    store.migrate(LATEST, now()).await.unwrap();
    println!(
        "\nThe newest migration: back in {:.1} s, forward in {:.1} s.",
        back.as_secs_f64(),
        began.elapsed().saturating_sub(back).as_secs_f64()
    );
}

/// Prints how long each question took.
struct Table<'a> {
    /// What the store has had of them.
    processors: &'a dyn Fn() -> Duration,
}

impl Table<'_> {
    async fn line(&self, name: &str, ask: impl AsyncFn(u32) -> usize) {
        let (mut times, mut own, mut rows) = (Vec::new(), Vec::new(), 0);
        for turn in 0..TIMES {
            let (one, had) = (Instant::now(), (self.processors)());
            rows = ask(turn).await.max(rows);
            times.push(one.elapsed().as_secs_f64() * 1000.0);
            own.push((self.processors)().saturating_sub(had).as_secs_f64() * 1000.0);
        }
        let at = |times: &mut Vec<f64>, share: usize| {
            times.sort_by(f64::total_cmp);
            times[(times.len() - 1) * share / 100]
        };
        let (half, most) = (at(&mut times, 50), at(&mut times, 95));
        let own = at(&mut own, 50);
        println!("| {name} | {rows} | {half:.1} | {most:.1} | {own:.1} |");
    }
}

#[derive(Clone, Copy)]
enum Report {
    Sla,
    Usage,
    Access,
}

/// Each report, of one namespace or of all, and over how many days.
const REPORTS: [(&str, Report, bool, i64); 15] = [
    ("report --sla of a namespace, 24 h", Report::Sla, true, 1),
    ("report --sla of a namespace, 7 days", Report::Sla, true, 7),
    ("report --sla of a namespace, 30 days", Report::Sla, true, 30),
    ("report --sla of all, 24 h", Report::Sla, false, 1),
    ("report --sla of all, 7 days", Report::Sla, false, 7),
    ("report --sla of all, 30 days", Report::Sla, false, 30),
    ("report --usage of a namespace, 24 h", Report::Usage, true, 1),
    ("report --usage of a namespace, 30 days", Report::Usage, true, 30),
    ("report --usage of all, 24 h", Report::Usage, false, 1),
    ("report --usage of all, 7 days", Report::Usage, false, 7),
    ("report --usage of all, 30 days", Report::Usage, false, 30),
    ("report --access of a namespace, 24 h", Report::Access, true, 1),
    ("report --access of a namespace, 30 days", Report::Access, true, 30),
    ("report --access of all, 24 h", Report::Access, false, 1),
    ("report --access of all, 30 days", Report::Access, false, 30),
];

/// A report as the service makes it: how many rows it has.
async fn reported(store: &dyn Store, which: Report, turn: Option<u32>, days: i64) -> usize {
    let team = turn.map(|turn| format!("team-{}", turn % 20));
    let window = Window {
        from: now() - days * DAY,
        to: now(),
    };
    let scope = read::scope(team.as_deref(), None, window);
    match which {
        Report::Sla => {
            let sla = report::read::sla(store, &scope, By::Provider, now()).await.unwrap();
            sla.rows.len()
        }
        Report::Usage => {
            let before = report::before(window);
            let usage = report::read::usage(store, &scope, By::Workload, before).await.unwrap();
            usage.rows.len()
        }
        Report::Access => report::read::access(store, &scope).await.unwrap().rows.len(),
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
        took: (250_000 << (number % 7)) + number % (250_000 << (number % 7)),
        first_token: Some(400_000),
        overhead: 250,
        answer_bytes: 4_000,
        tokens: tokens(number),
        refused_by: if outcome == "shed" {
            format!("limit:team-{}", number % 7)
        } else {
            String::new()
        },
        would_refuse_by: if number % 100 == 50 {
            "guard:cards".to_owned()
        } else {
            String::new()
        },
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
