//! `kubectl bowsprit`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowsprit_cli::main()
}
