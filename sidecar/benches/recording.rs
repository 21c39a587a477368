//! What recording costs the thread that serves requests, in nanoseconds: an update of a metric, and a record handed to the ledger.
//! Prints a table; docs/performance.md has one.
//!
//! `cargo bench -p bowsprit-sidecar --bench recording`

#![allow(clippy::print_stdout, clippy::expect_used, reason = "it prints a table")]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bowsprit_core::dialect::Dialect;
use bowsprit_ledger::outbox::{Outbox, Settings};
use bowsprit_sidecar::families::Families;
use bowsprit_sidecar::metrics::{ANSWER_SECONDS, Latency};
use bowsprit_sidecar::observe::AccessLog;
use tracing::Level;

#[path = "../tests/records/mod.rs"]
#[allow(dead_code, reason = "a test uses the rest")]
mod records;

/// Rounds, of which the median and the worst are shown: another process that takes the core is in the worst alone.
const ROUNDS: usize = 41;

/// Prints the nanoseconds of one call. `prepare`: before each round, which is of so many calls.
fn row(what: &str, calls: u32, mut prepare: impl FnMut(), mut call: impl FnMut()) {
    let mut each: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            prepare();
            let begun = Instant::now();
            (0..calls).for_each(|_| call());
            begun.elapsed().as_nanos() as f64 / f64::from(calls)
        })
        .collect();
    each.sort_by(f64::total_cmp);
    let at = |index: usize| each.get(index).copied().unwrap_or_default();
    println!("| {what} | {:.0} | {:.0} |", at(ROUNDS / 2), at(ROUNDS - 1));
}

fn outbox(folder: Option<PathBuf>) -> Outbox {
    Outbox::start(Settings {
        folder,
        limit: 24 << 20,
        clock: || 1_764_000_000_000,
    })
}

/// Waits until the thread has taken what there is, or cannot.
fn settle(outbox: &Outbox) {
    let (done, told) = mpsc::channel();
    outbox.flush(move |is_well| _ = done.send(is_well));
    let _ = told.recv_timeout(Duration::from_secs(30));
}

fn metrics() {
    let config = records::config();
    let families = Families::new(AccessLog::new(false, Level::INFO));
    families.sinks.fit(&config);
    let (traffic, provider) = (&families.sinks.traffic, config.providers.first().expect("one"));
    let handles = traffic.handles(provider, &families.sinks.genai);
    let (plain, traced) = (records::attempt(None), records::attempt(Some(records::span())));
    let latency = Latency::new(&ANSWER_SECONDS);
    let nothing = || {};
    row("a counter", 100_000, nothing, || traffic.taken(black_box(1_024)));
    row("two counters of a family, by handle", 100_000, nothing, || {
        traffic.begun(black_box(Dialect::OpenAiChat));
    });
    row("a histogram", 100_000, nothing, || {
        latency.observe(black_box(plain.took), None);
    });
    row("a histogram, with an exemplar", 100_000, nothing, || {
        latency.observe(black_box(plain.took), black_box(traced.span));
    });
    row("all of an attempt: 5 counters, 3 histograms", 100_000, nothing, || {
        handles.attempt(black_box(&plain));
    });
    row("all of a request: 4 counters, 2 histograms", 100_000, nothing, || {
        traffic.request(black_box(&records::request(None)));
    });
}

fn ledger() {
    let (attempt, request) = (records::attempt(None), records::request(None));
    let folder = tempfile::tempdir().expect("a folder");
    let room = outbox(Some(folder.path().join("ledger")));
    let hand_over = |outbox: &Outbox| {
        outbox.attempt(black_box(&attempt));
        outbox.request(black_box(&request));
    };
    row(
        "an attempt and a request, the queue with room",
        200,
        || settle(&room),
        || hand_over(&room),
    );
    // The thread tries again each second and gets nowhere, as with a full disk or a lock that is held.
    let stuck = || outbox(Some("/dev/null/ledger".into()));
    let mut new = stuck();
    settle(&new);
    (0..10).for_each(|_| hand_over(&new));
    row("the same, the file not to be written", 10, || (), || hand_over(&new));
    new = stuck();
    (0..5_000).for_each(|_| hand_over(&new));
    row("the same, and the queue full", 1_000, || (), || hand_over(&new));
}

fn main() {
    println!("| on the request's thread | median ns | worst ns |\n|---|--:|--:|");
    metrics();
    ledger();
}
