//! Logs: one JSON object a line, on stdout.

use tracing_subscriber::EnvFilter;

use crate::audit;

/// Starts logging at `level` (`error` to `trace`); the libraries below stay at `warn` unless `trace` is asked for. The audit log is
/// written at every level.
pub fn init(level: tracing::Level) {
    let filter = match level {
        tracing::Level::TRACE => EnvFilter::new("trace"),
        level => EnvFilter::new(format!("warn,bowsprit_operator={level},{}=info", audit::TARGET)),
    };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(filter)
        .init();
}
