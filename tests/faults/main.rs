//! The fault matrix: every way in which a caller, a provider, the network or the machine misbehaves, against the real
//! `bowsprit-sidecar` as a process, seen only from outside.
//!
//! Each row is a fault and each promise of it a function whose name says what holds. `cargo test` runs the short form
//! (counts small, times reported and not judged); `make faults`, which sets `BOWSPRIT_FAULTS=full`, runs everything with
//! full counts and judges the figures against their pass lines. After every promise the harness itself checks that no
//! answer was lost (see [`bed::Bed::settled`]) and that no key left the process.
//!
//! Seeds: the run's seed is printed and taken from `BOWSPRIT_FAULTS_SEED` if that is set.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::float_cmp,        // counts are whole numbers, however they are written
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::format_collect,
    missing_docs,
    unreachable_pub
)]

mod args;
mod bed;
mod rows;
mod runner;
mod table;
mod trial;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::Args::parse(
        std::env::args().skip(1),
        std::env::var("BOWSPRIT_FAULTS").ok().as_deref(),
    ) {
        Ok(args) => args,
        Err(problem) => {
            println!("faults: {problem}");
            return ExitCode::from(2);
        }
    };
    let promises = args.choose(rows::all());
    if args.list {
        for promise in &promises {
            println!("{}: test", promise.full_name());
        }
        return ExitCode::SUCCESS;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    let started = std::time::Instant::now();
    let results = local.block_on(&runtime, runner::run(promises, &args));
    table::print(&results, args.full, started.elapsed());
    if results.iter().any(|ran| ran.is_bad(args.full)) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
