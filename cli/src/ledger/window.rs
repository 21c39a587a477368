//! Windows of time. Pure.

use std::io::Write as _;
use std::time::Duration;

use bowsprit_ledger::query::{MINUTES_KEPT, Window};

use crate::output::units;

/// The time before a moment, milliseconds since 1970.
pub(crate) fn before(now: i64, span: Duration) -> Window {
    let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Window {
        from: now.saturating_sub(millis).max(0),
        to: now,
    }
}

/// As far as sums can tell of it, which is said on standard error where it is more than was asked about.
pub(crate) fn told(asked: Window, now: i64) -> Window {
    let told = asked.told(now);
    let _ = std::io::stderr().lock().write_all(words(asked, told).as_bytes());
    told
}

/// What is said beside an answer of another window; nothing where it is the same, to the minute.
fn words(asked: Window, told: Window) -> String {
    const MINUTE: i64 = 60_000;
    if asked.from.saturating_sub(told.from) < MINUTE {
        return String::new();
    }
    format!(
        "From {} on: what is older than {MINUTES_KEPT} days is kept by the hour.\n",
        units::moment(told.from)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_of_an_answer_is_said_where_it_is_not_the_one_that_was_asked_about() {
        let now = 1_764_354_787_000;
        let of = |days: u64| {
            let asked = before(now, Duration::from_hours(24 * days));
            words(asked, asked.told(now))
        };
        assert_eq!(of(30), "");
        assert_eq!(
            of(60),
            "From 2025-09-29 18:00:00.000Z on: what is older than 35 days is kept by the hour.\n"
        );
    }
}
