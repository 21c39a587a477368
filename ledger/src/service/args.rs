//! The command line. Every flag can be given as an environment variable too, which is how the chart does it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::reconcile::run::Reconcile;
use crate::schema::LATEST;

/// Keeps what became of each request and attempt.
#[derive(Clone, Debug, Parser)]
#[command(name = "bowsprit-ledger", version)]
pub struct Command {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
    /// error, warn, info, debug or trace.
    #[arg(long, global = true, env = "BOWSPRIT_LOG_LEVEL", default_value = "info")]
    pub log_level: tracing::Level,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum What {
    /// Take batches and answer questions until told to stop.
    Serve(Box<Serve>),
    /// Bring the database to a version of the schema, forward or back, and end.
    Migrate(Migrate),
    /// Hold the ledger against what Prometheus counted or a provider billed, print both, and end with 1 where it does not close.
    Reconcile(Reconcile),
}

/// Where the rows are kept: one of both.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// A SQLite file; made if it is not there.
    #[arg(
        long,
        env = "BOWSPRIT_LEDGER_SQLITE",
        value_name = "FILE",
        conflicts_with = "postgres",
        required_unless_present = "postgres"
    )]
    pub sqlite: Option<PathBuf>,
    /// A file with the connection string of a PostgreSQL database (or of PgBouncer before one), such as
    /// postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full.
    #[arg(long, env = "BOWSPRIT_LEDGER_POSTGRES", value_name = "FILE")]
    pub postgres: Option<PathBuf>,
    /// The CAs that PostgreSQL's certificate may be signed by, PEM. Needed for sslmode=verify-full.
    #[arg(long, env = "BOWSPRIT_LEDGER_POSTGRES_CA", value_name = "FILE")]
    pub postgres_ca: Option<PathBuf>,
}

/// `migrate`.
#[derive(Clone, Debug, Args)]
pub struct Migrate {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// The version; 0 removes all tables and what is in them.
    #[arg(long, default_value_t = LATEST)]
    pub to: u32,
}

/// `serve`.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// The port for batches and questions.
    #[arg(long, env = "BOWSPRIT_LEDGER_PORT", default_value_t = 8446)]
    pub port: u16,
    /// The port for health and metrics.
    #[arg(long, env = "BOWSPRIT_ADMIN_PORT", default_value_t = 8081)]
    pub admin_port: u16,
    /// The folder with tls.crt and tls.key; read again when they change.
    #[arg(
        long,
        env = "BOWSPRIT_LEDGER_TLS",
        value_name = "FOLDER",
        default_value = "/etc/bowsprit/tls"
    )]
    pub tls: PathBuf,
    /// The API server. Unset: the one of the cluster that this runs in.
    #[arg(long, env = "BOWSPRIT_APISERVER", value_name = "URL")]
    pub apiserver: Option<String>,
    /// The folder with ca.crt and token for the API server.
    #[arg(
        long,
        env = "BOWSPRIT_APISERVER_CREDENTIALS",
        value_name = "FOLDER",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount"
    )]
    pub apiserver_credentials: PathBuf,
    /// Who may send what was applied: the operators' service account, as NAMESPACE/NAME. Empty: nobody.
    #[arg(
        long,
        env = "BOWSPRIT_LEDGER_OPERATOR",
        value_name = "NAMESPACE/NAME",
        default_value = ""
    )]
    pub operator: String,
    /// Days that requests and attempts are kept one by one.
    #[arg(long, env = "BOWSPRIT_LEDGER_KEEP_DETAIL_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub keep_detail_days: u64,
    /// Days that sums over hours and days are kept.
    #[arg(long, env = "BOWSPRIT_LEDGER_KEEP_SUMS_DAYS", default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub keep_sums_days: u64,
    /// A Prometheus that scrapes the sidecars, such as http://prometheus:9090: the ledger is held against it, and what differs is a metric.
    /// Empty: it is not.
    #[arg(long, env = "BOWSPRIT_LEDGER_PROMETHEUS", value_name = "URL", default_value = "")]
    pub prometheus: String,
    /// From one such comparison to the next, seconds.
    #[arg(long, env = "BOWSPRIT_LEDGER_RECONCILE_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub reconcile_seconds: u64,
    /// A query that takes longer is logged, milliseconds.
    #[arg(long, env = "BOWSPRIT_LEDGER_SLOW_QUERY_MS", default_value_t = 200)]
    pub slow_query_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_is_needed_and_only_one() {
        let parse = |flags: &[&str]| Command::try_parse_from([&["bowsprit-ledger"], flags].concat());
        assert!(parse(&["serve", "--sqlite", "f"]).is_ok());
        assert!(parse(&["migrate", "--to", "0", "--postgres", "f"]).is_ok());
        assert!(parse(&["serve"]).is_err());
        assert!(parse(&["serve", "--sqlite", "f", "--postgres", "g"]).is_err());
    }
}
