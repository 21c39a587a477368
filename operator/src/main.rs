//! Arguments, logs, run, exit code.

use std::io::Write as _;
use std::process::ExitCode;

use bowsprit_operator::args::Args;
use bowsprit_operator::hardening;
use bowsprit_operator::run::{Ended, run};
use bowsprit_operator::{selftest, telemetry};
use clap::Parser;

/// The lease went to another replica.
const EXIT_LEASE_LOST: u8 = 3;
/// A part ended that must not.
const EXIT_PART_DIED: u8 = 4;
/// The apiserver was restored from a backup.
const EXIT_REWOUND: u8 = 5;

fn main() -> ExitCode {
    // What `helm test` runs has none of an operator's settings.
    if std::env::args().nth(1).as_deref() == Some("selftest") {
        return selftest();
    }
    // Ends with code 2 and says why where a flag is wrong, before anything is bound.
    let args = Args::parse();
    telemetry::init(args.log_level);
    hardening::harden();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(args));
    // Connections that are still open are cut: what had to be finished has been.
    runtime.shutdown_background();
    match ended {
        Ok(Ended::Stopped) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Ok(Ended::LeaseLost) => {
            tracing::error!("the lease was lost: nothing was written since, and what was under way is finished");
            ExitCode::from(EXIT_LEASE_LOST)
        }
        Ok(Ended::Rewound) => {
            tracing::error!("the apiserver was restored from a backup: stopping, to begin anew from what it holds now");
            ExitCode::from(EXIT_REWOUND)
        }
        Ok(Ended::PartDied(part)) => {
            tracing::error!(part, "a part ended that must not");
            ExitCode::from(EXIT_PART_DIED)
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot run");
            ExitCode::FAILURE
        }
    }
}

fn selftest() -> ExitCode {
    let say = |line: &str| {
        let _ = writeln!(std::io::stdout(), "{line}");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(selftest::run(say)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
