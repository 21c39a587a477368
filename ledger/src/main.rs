//! Arguments, logs, run, exit code.

use std::process::ExitCode;

use bowsprit_ledger::service::args::{Command, What};
use bowsprit_ledger::service::run;
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

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
    format.with_env_filter(filter).init();
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
    let done = runtime.block_on(async {
        match command.what {
            What::Serve(serve) => run::serve(*serve).await,
            What::Migrate(migrate) => run::migrate(&migrate).await.map(|was| {
                tracing::info!(was, now = migrate.to, "schema migrated");
            }),
        }
    });
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot run");
            ExitCode::FAILURE
        }
    }
}
