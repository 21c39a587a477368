//! Whether the ledger closes: sum(ledger) = sum(metrics) = the provider's bill, per provider, model and kind of token, through
//! retries, hedges, callers that leave, and the sudden death of sidecar, service and database. Prints every line with its
//! difference; estimated tokens stand apart. See `tests/ledger/run`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and this one prints a table"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;

#[path = "../../../ledger/tests/service/apiserver.rs"]
#[allow(dead_code)] // users and questions are the service's own tests'
mod apiserver;
#[path = "../../../ledger/tests/store/server.rs"]
#[allow(dead_code)] // PgBouncer is the stores' own tests'
mod database;
mod limits;
mod prometheus;
mod scenarios;
mod sums;
mod traffic;
mod world;

/// Whether the ledger closes.
#[derive(clap::Parser)]
struct Args {
    /// The folder with bowsprit-sidecar and bowsprit-ledger.
    #[arg(long)]
    bin: PathBuf,
    /// Requests of each scenario.
    #[arg(long, default_value_t = 2_000)]
    requests: usize,
    /// How often the sidecar, the service and the database are killed in theirs.
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// How long PostgreSQL is away, seconds.
    #[arg(long, default_value_t = 60)]
    away: u64,
    /// The seed of what is left to chance.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Only what needs no PostgreSQL and kills nobody, with the metrics as a Prometheus has them; each line goes to this file as
    /// JSON too.
    #[arg(long, value_name = "FILE")]
    scraped: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    println!(
        "seed {}, {} requests a scenario, {} kills, PostgreSQL away for {} s",
        args.seed, args.requests, args.kills, args.away
    );
    if scenarios::all(&args).await {
        println!("\nthe ledger closes");
        ExitCode::SUCCESS
    } else {
        println!("\nTHE LEDGER DOES NOT CLOSE");
        ExitCode::FAILURE
    }
}
