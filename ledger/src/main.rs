//! Arguments, logs, run, exit code.

use std::io::Write as _;
use std::process::ExitCode;

use bowsprit_ledger::reconcile::run::reconcile;
use bowsprit_ledger::service::args::{Command, What};
use bowsprit_ledger::service::run;
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

/// `reconcile`: a line is neither 0 nor marked.
const EXIT_OPEN: u8 = 1;
/// It could not be done.
const EXIT_CANNOT: u8 = 2;

fn main() -> ExitCode {
    let command = Command::parse();
    let level = command.log_level;
    let filter = match level {
        tracing::Level::TRACE => EnvFilter::new("trace"),
        level => EnvFilter::new(format!("warn,bowsprit_ledger={level}")),
    };
    let format = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false);
    let is_table = matches!(command.what, What::Reconcile(_));
    if is_table {
        // The table has the standard output for itself.
        format.with_env_filter(filter).with_writer(std::io::stderr).init();
    } else {
        format.with_env_filter(filter).init();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    let mut closes = true;
    let done = runtime.block_on(async {
        match command.what {
            What::Serve(serve) => run::serve(*serve).await,
            What::Migrate(migrate) => run::migrate(&migrate).await.map(|was| {
                tracing::info!(was, now = migrate.to, "schema migrated");
            }),
            What::Reconcile(asked) => reconcile(&asked).await.and_then(|(table, all)| {
                closes = all;
                Ok(std::io::stdout().write_all(table.as_bytes())?)
            }),
        }
    });
    runtime.shutdown_background();
    match done {
        Ok(()) if closes => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(EXIT_OPEN),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot run");
            ExitCode::from(EXIT_CANNOT)
        }
    }
}
