//! The one place that reads clocks. Everything that decides gets its time as an argument.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use bowsprit_core::clock::Moment;
use http::HeaderMap;
use http::header::DATE;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822;

/// The process's monotonic clock; copies count from the same beginning.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins to count.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub fn now(self) -> Moment {
        Moment::from_start(self.0.elapsed())
    }
}

/// Seconds since 1970 by the wall clock.
pub fn unix_seconds() -> i64 {
    Timestamp::now().as_second()
}

/// By how many seconds the apiserver's clock was ahead of ours when it answered last; 0 where it was not.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// Seconds since 1970 by our clock or the apiserver's, whichever says more: what either has reached may have been given to a config.
/// A node that woke up from a snapshot or has no NTP yet is behind, and must not take right numbers for made up ones.
pub fn latest_unix_seconds() -> i64 {
    unix_seconds().saturating_add(AHEAD.load(Ordering::Relaxed))
}

/// The same in milliseconds.
pub fn latest_unix_millis() -> i64 {
    let ahead = AHEAD.load(Ordering::Relaxed).saturating_mul(1_000);
    Timestamp::now().as_millisecond().saturating_add(ahead)
}

/// Notes when the apiserver answered, by its clock.
pub fn answered(headers: &HeaderMap) {
    if let Some(ahead) = ahead(headers, unix_seconds()) {
        AHEAD.store(ahead, Ordering::Relaxed);
    }
}

/// None: the answer does not say. Within two seconds it is the way that the answer took, and not a clock.
fn ahead(headers: &HeaderMap, now: i64) -> Option<i64> {
    let date = rfc2822::DateTimeParser::new()
        .parse_timestamp(headers.get(DATE)?)
        .ok()?;
    Some(date.as_second().saturating_sub(now)).map(|ahead| if ahead > 2 { ahead } else { 0 })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_clock_that_is_behind_the_apiservers_is_seen_in_its_answers() {
        let at = |text: &'static str, now: i64| {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, HeaderValue::from_static(text));
            ahead(&headers, now)
        };
        let date = "Sun, 29 Nov 2026 08:04:07 GMT";
        let then = 1_795_939_447;
        assert_eq!(at(date, then - 3 * 86_400), Some(3 * 86_400));
        assert_eq!(at(date, then), Some(0));
        assert_eq!(at(date, then + 86_400), Some(0), "ours is ahead, and counts");
        assert_eq!((at("yesterday", then), ahead(&HeaderMap::new(), then)), (None, None));
    }
}
