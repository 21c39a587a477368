//! The one place that reads clocks. Everything that decides gets its time as an argument.

use std::time::Instant;

use bowsprit_core::clock::Moment;
use k8s_openapi::jiff::Timestamp;

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
