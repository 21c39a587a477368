//! The open loop's clock: when each request is due, and from when it is timed.
//!
//! A closed loop that meets a stall sends nothing during it and so records one slow request where callers would have
//! seen hundreds (coordinated omission). Here requests are due at fixed times whatever the answers do, and one that
//! had to wait for a free connection is timed from when it was due.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Wake-ups up to this late are the timer's own grain (tokio rounds up to 1 ms) and not held against what is measured.
const TIMER_GRAIN: Duration = Duration::from_millis(2);

/// Hands out the requests of one run, in order, to any number of connections.
#[derive(Debug)]
pub struct Pace {
    start: Instant,
    interval: Duration,
    total: u64,
    next: AtomicU64,
}

impl Pace {
    /// `per_second` requests for `length`, the first due at `start`.
    pub fn new(start: Instant, per_second: f64, length: Duration) -> Self {
        let interval = Duration::from_secs_f64(1.0 / per_second);
        let total = length.as_nanos().div_ceil(interval.as_nanos().max(1));
        Self {
            start,
            interval,
            total: u64::try_from(total).unwrap_or(u64::MAX),
            next: AtomicU64::new(0),
        }
    }

    /// When the next request is due; `None` when all have been handed out.
    pub fn take(&self) -> Option<Instant> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        (index < self.total).then(|| self.start + self.interval.mul_f64(index as f64))
    }

    /// Requests that nobody took.
    pub fn left(&self) -> u64 {
        self.total.saturating_sub(self.next.load(Ordering::Relaxed))
    }
}

/// From when a request is timed that was `due` and could be sent at `ready`: from then, if the wait was only the
/// timer's grain after a sleep (`slept`), else from when it was due.
pub fn timed_from(due: Instant, ready: Instant, slept: bool) -> Instant {
    if slept && ready.saturating_duration_since(due) <= TIMER_GRAIN {
        ready
    } else {
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_a_fixed_distance_and_then_end() {
        let start = Instant::now();
        let pace = Pace::new(start, 200.0, Duration::from_millis(20));
        let due: Vec<_> = std::iter::from_fn(|| pace.take())
            .map(|due| (due - start).as_millis())
            .collect();
        assert_eq!(due, [0, 5, 10, 15]);
        assert_eq!(pace.left(), 0);
    }

    #[test]
    fn requests_nobody_took_are_known() {
        let pace = Pace::new(Instant::now(), 1000.0, Duration::from_secs(1));
        pace.take();
        assert_eq!(pace.left(), 999);
    }

    #[test]
    fn a_request_that_waited_for_a_connection_is_timed_from_when_it_was_due() {
        let due = Instant::now();
        let late = due + Duration::from_millis(80);
        assert_eq!(timed_from(due, late, false), due);
        assert_eq!(
            timed_from(due, late, true),
            due,
            "a wake-up this late is the machine's, and counts"
        );
        let grain = due + Duration::from_millis(1);
        assert_eq!(timed_from(due, grain, true), grain);
        assert_eq!(timed_from(due, grain, false), due);
    }
}
