//! Logs: JSON lines on standard output.
//!
//! What happens seldom goes through `tracing`, requests and attempts through the access log (`observe`); both end here. No
//! line of either kind ever holds a prompt, an answer or a key: the code that logs has none of them in reach but for the
//! body, which it does not format.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::Level;

use crate::limits::LOG_WAITING;
use sink::Line;
pub use sink::Sink;

mod sink;

/// How long the last lines may take at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Standard output, for lines of both kinds.
pub fn stdout() -> &'static Sink {
    static STDOUT: OnceLock<Arc<Sink>> = OnceLock::new();
    STDOUT.get_or_init(|| Sink::start(LOG_WAITING, std::io::stdout()))
}

/// Writes out what waits, before the process ends.
pub fn finish() {
    stdout().flush(LAST_LINES);
}

/// Says where a panic happened, and not why: its message may quote what a caller wrote.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, "panic: this is a bug; please report the place");
    }));
}

/// Starts JSON logging at a level. Only our own targets above `warn`: hyper and rustls have nothing to say to operators.
pub fn start(level: Level) {
    let filter = format!("warn,bowsprit_sidecar={level},bowsprit_core={level}");
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(|| Line(stdout()))
        .try_init();
    tell_panics();
}
