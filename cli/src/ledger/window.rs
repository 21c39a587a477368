//! Windows of time. Pure.

use std::time::Duration;

use bowsprit_ledger::query::Window;

/// The time before a moment, milliseconds since 1970.
pub(crate) fn before(now: i64, span: Duration) -> Window {
    let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Window {
        from: now.saturating_sub(millis).max(0),
        to: now,
    }
}
