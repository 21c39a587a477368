//! `kubectl bowsprit`: is it well, why not, and what to do. Looks through the apiserver only, and asks for no port of its own.
//!
//! Each verb is a file: it fetches (`cluster`, the only file that speaks to a cluster), makes a value of what it found, and
//! renders that. What decides and what renders is pure.

mod access;
pub mod args;
mod ask;
mod cache;
mod changes;
mod check;
mod circuit;
mod cluster;
mod completion;
mod diff;
mod doctor;
mod explain;
mod failure;
mod fleet;
mod forward;
mod health;
mod inject;
mod jobs;
mod ledger;
mod logs;
mod order;
mod output;
mod pause;
mod progress;
mod quality;
mod report;
mod spend;
mod stats;
mod status;
mod top;
mod uri;
mod version;
mod why;

use std::io::{self, Write as _};
use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser as _;
use failure::Failure;
use output::{Report, Screen};

/// Reads the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    // Ends with code 2 and says why where an argument is wrong.
    let args = Args::parse();
    let screen = Screen::new(args.no_color);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tell(&Failure::Wrong(format!("no runtime: {error}"))),
    };
    let done = runtime.block_on(run(args, screen));
    // A question that is still under way is not waited for.
    runtime.shutdown_background();
    match done {
        Ok(report) => print(&report),
        Err(failure) => tell(&failure),
    }
}

async fn run(args: Args, screen: Screen) -> Result<Report, Failure> {
    let cluster = &args.cluster;
    match args.command {
        Command::Status(verb) => status::run(cluster, &verb, screen).await,
        Command::Health(verb) => health::run(cluster, &verb, screen).await,
        Command::Access { verb } => access::run(cluster, &verb, screen).await,
        Command::Cache { verb } => cache::run(cluster, &verb, screen).await,
        Command::Jobs { verb } => jobs::run(cluster, &verb, screen).await,
        Command::Circuit { verb } => circuit::run(cluster, &verb, screen).await,
        Command::Pause(verb) => pause::pause(cluster, &verb, screen).await,
        Command::Resume(verb) => pause::resume(cluster, &verb, screen).await,
        Command::Test(verb) => ask::run(cluster, &verb, screen).await,
        Command::Diff(verb) => diff::run(cluster, &verb, screen).await,
        Command::Inject(verb) => inject::run(cluster, &verb, screen).await,
        Command::Stats(verb) => stats::run(cluster, &verb, screen).await,
        Command::Logs(verb) => logs::run(cluster, &verb, screen).await,
        Command::Why(verb) => why::run(cluster, &verb, screen).await,
        Command::Top(verb) => top::run(cluster, &verb, screen).await,
        Command::Spend(verb) => spend::run(cluster, &verb, screen).await,
        Command::Quality(verb) => quality::run(cluster, &verb, screen).await,
        Command::Report(verb) => report::run(cluster, &verb, screen).await,
        Command::Changes(verb) => changes::run(cluster, &verb, screen).await,
        Command::Doctor(verb) => doctor::run(cluster, &verb, screen).await,
        Command::Version(verb) => version::run(cluster, &verb, screen).await,
        Command::Check { files, r#for } => check::run(&files, r#for),
        Command::Explain { code } => Ok(explain::run(code.as_deref())),
        Command::Completion { shell } => Ok(completion::run(shell)),
        Command::Complete { words } => Ok(completion::complete(&words).await),
    }
}

fn print(report: &Report) -> ExitCode {
    // A closed pipe (`| head`) is the reader's choice and no failure.
    match io::stdout().write_all(report.text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            tell(&Failure::Wrong(format!("cannot write the output: {error}")))
        }
        _ if report.well => ExitCode::SUCCESS,
        _ => ExitCode::from(failure::WRONG),
    }
}

fn tell(failure: &Failure) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {failure}");
    ExitCode::from(failure.exit_code())
}
