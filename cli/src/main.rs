//! `kubectl bowsprit`: check a config before it is applied, and look up what an error code means.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use bowsprit_core::config::{Config, Scope, load};
use bowsprit_core::dialect::{Dialect, Words, words_for};
use bowsprit_core::fault::Code;
use clap::{Parser, Subcommand, ValueEnum};

/// Look into Bowsprit's configs and errors.
#[derive(Parser)]
#[command(name = "kubectl-bowsprit", bin_name = "kubectl bowsprit", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check files of ProviderConfigs and ModelRoutes as a sidecar would, all problems at once.
    ///
    /// Exit code 1 where something is wrong.
    Check {
        /// YAML or JSON files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// What the files are for.
        #[arg(long, value_enum, default_value_t = For::Cluster)]
        r#for: For,
    },
    /// Say what an error code means and what to do about it; without a code, list all.
    Explain {
        /// Such as `RATE_LOCAL_LIMIT`, from an error body, a log line or a metric.
        code: Option<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum For {
    /// `kubectl apply`: keys come from Secrets.
    Cluster,
    /// `bowsprit-sidecar --config`: keys may come from the environment and files.
    Standalone,
}

fn main() -> anyhow::Result<ExitCode> {
    let (text, code) = match Args::parse().command {
        Command::Check { files, r#for } => check(&files, r#for)?,
        Command::Explain { code } => explain(code.as_deref()),
    };
    // A closed pipe (`| head`) is the reader's choice and no failure.
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(code),
    }
}

fn check(files: &[PathBuf], purpose: For) -> anyhow::Result<(String, ExitCode)> {
    let mut text = String::new();
    for file in files {
        let content = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        text.push_str("---\n");
        text.push_str(&content);
        text.push('\n');
    }
    let scope = match purpose {
        For::Cluster => Scope::Cluster {
            pod_labels: std::collections::BTreeMap::new(),
        },
        For::Standalone => Scope::Standalone,
    };
    Ok(match load(&text, &scope) {
        Ok(config) => (summary(&config, files), ExitCode::SUCCESS),
        Err(problems) => (format!("{problems}\n"), ExitCode::FAILURE),
    })
}

fn summary(config: &Config, files: &[PathBuf]) -> String {
    let mut out = String::new();
    for notice in &config.notices {
        let _ = writeln!(out, "note: {notice}");
    }
    let files: Vec<_> = files.iter().map(|file| Path::display(file).to_string()).collect();
    let _ = writeln!(out, "{}: in order", files.join(", "));
    for provider in &config.providers {
        let model = provider.default_model.as_deref().unwrap_or("-");
        let (name, priority) = (&provider.name, provider.priority);
        let _ = writeln!(out, "  {priority:>4}  {name:<24} {model:<28} {}", provider.base_url);
    }
    for route in &config.routes {
        let _ = writeln!(out, "  route {:<22} {}", route.name, route.models.join(", "));
    }
    out
}

fn explain(code: Option<&str>) -> (String, ExitCode) {
    let Some(wanted) = code else {
        let list = Code::ALL.iter().fold(String::new(), |mut out, code| {
            let _ = writeln!(out, "{:<26} {}", code.as_str(), code.meaning());
            out
        });
        return (list, ExitCode::SUCCESS);
    };
    match Code::ALL.iter().find(|code| code.as_str().eq_ignore_ascii_case(wanted)) {
        Some(code) => {
            let again = if code.retryable() { "may succeed" } else { "fails again" };
            let mut text = format!(
                "{code}\n  {}\n  Fault of the {}; the same request {again}\n  What to do: {}\n",
                code.meaning(),
                code.blame().as_str(),
                code.remedy()
            );
            for caller in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini] {
                let Words { status, kind, code } = words_for(caller, *code);
                let _ = writeln!(
                    text,
                    "  {caller} callers get: HTTP {status} {kind} {}",
                    code.unwrap_or_default()
                );
            }
            (text, ExitCode::SUCCESS)
        }
        None => (
            format!("{wanted} is no code of Bowsprit; `kubectl bowsprit explain` lists them\n"),
            ExitCode::FAILURE,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn a_code_is_explained_whatever_its_case() {
        let (text, _) = explain(Some("rate_local_limit"));
        for part in [
            "RATE_LOCAL_LIMIT",
            "What to do",
            "HTTP 429 RESOURCE_EXHAUSTED",
            "rate_limit_exceeded",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(explain(Some("NOPE")).0.contains("no code"));
        assert_eq!(explain(None).0.lines().count(), Code::ALL.len());
    }
}
