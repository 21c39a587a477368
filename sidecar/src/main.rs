//! `bowsprit-sidecar`: arguments, logs, configuration, run, drain.

use std::process::ExitCode;

use bowsprit_sidecar::app::{self, StartError};
use bowsprit_sidecar::args::Args;
use bowsprit_sidecar::drain::Drained;
use bowsprit_sidecar::hardening;
use bowsprit_sidecar::telemetry;
use bowsprit_sidecar::until_ready::until_ready;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

/// Wrong usage or a configuration that cannot be served (sysexits.h).
const EX_USAGE: u8 = 64;
/// A bug of ours: a part that must run has ended (sysexits.h).
const EX_SOFTWARE: u8 = 70;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EX_USAGE } else { 0 });
        }
    };
    if let Some(limit) = args.until_ready {
        if until_ready(args.admin, limit) {
            return ExitCode::SUCCESS;
        }
        return fail(&format!("no valid configuration after {limit:?}: /health has why"), 1);
    }
    telemetry::start(args.log_level);
    hardening::harden(args.config_dir.is_some());
    // One thread: a sidecar shares its pod's CPU, and most serve a few hundred requests a second.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}"), 1),
    };
    let code = runtime.block_on(run(&args));
    telemetry::finish();
    code
}

async fn run(args: &Args) -> ExitCode {
    let mut running = match app::start(args) {
        Ok(running) => running,
        Err(error @ StartError::Config(_)) => return fail(&error.to_string(), EX_USAGE),
        Err(error) => return fail(&error.to_string(), 1),
    };
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return fail("cannot listen for signals", 1);
    };
    let process = std::sync::Arc::clone(&running.process);
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        () = process.ending.asked() => None,
        ended = running.part_ended() => Some(ended),
    };
    tokio::select! {
        drained = running.stop() => match (ended, drained) {
            (Some(ended), _) => fail(&ended.to_string(), EX_SOFTWARE),
            (None, Drained::Clean) => ExitCode::SUCCESS,
            (None, Drained::Cut(_)) => ExitCode::from(1),
        },
        // Asked twice: whoever asks knows what is being lost.
        _ = terminate.recv() => ExitCode::from(1),
        _ = interrupt.recv() => ExitCode::from(1),
    }
}

#[allow(clippy::print_stderr, reason = "logs may not be read by whoever typed the command")]
fn fail(message: &str, code: u8) -> ExitCode {
    eprintln!("bowsprit-sidecar: {message}");
    ExitCode::from(code)
}
