//! A request's own time: the clock is read once after each wait, not for each use, and what the waits took is known.

use std::time::Duration;

use bowsprit_core::clock::Moment;

use crate::time::Clock;

/// The clock as it was read last, and what was waited for. Copied by an attempt, since two may run at once; the request
/// goes on with the stopwatch of the one that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch {
    clock: Clock,
    now: Moment,
    /// Time spent waiting for the caller's body, providers, permits and backoffs.
    waited: Duration,
}

impl Stopwatch {
    /// Begins now.
    pub(super) fn begin(clock: Clock) -> Self {
        Self {
            clock,
            now: clock.now(),
            waited: Duration::ZERO,
        }
    }

    /// Reads the clock.
    pub(super) fn tick(&mut self) -> Moment {
        self.now = self.clock.now();
        self.now
    }

    /// The clock as it was read last.
    pub(super) fn now(&self) -> Moment {
        self.now
    }

    /// A wait since the last reading has ended.
    pub(super) fn waited(&mut self) -> Moment {
        let before = self.now;
        let now = self.tick();
        self.waited += now - before;
        now
    }

    /// What all waits took.
    pub(super) fn waits(&self) -> Duration {
        self.waited
    }
}
