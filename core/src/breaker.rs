//! The circuit breaker of one provider and model: stop asking who cannot answer, and find out soon when they can.
//!
//! ```text
//!            failures in a row reach the threshold, or the error rate is reached
//!   Closed ──────────────────────────────────────────────────────────────────────▶ Open
//!     ▲                                                                           ▲  │ open_for has passed:
//!     │ half_open_requests probes succeeded          a probe failed or was throttled │  ▼ the next admit
//!     └──────────────────────────────────────────────────────────────────────── HalfOpen
//! ```
//!
//! - **Two signals.** Failures in a row are counted exactly: the breaker trips at the configured one, never before. The
//!   optional error rate is exact too (a ring of counts) and says nothing under `min_requests`.
//! - **A throttled answer (429)** counts towards the rate, as the caller was not served, but not as a failure in a row:
//!   it neither adds to nor ends a run. As the answer to a probe it opens the breaker again: who throttles the first
//!   request back is not ready for all of them.
//! - **Late answers do no harm.** Every change begins a new generation; a permit of an older one settles nothing.
//! - **Probes are bounded.** Half-open lets `half_open_requests` through, less those that have succeeded. A permit given
//!   back (cancelled or ignored) may be used again. A probe that is still out after `open_for` (a very long stream, a
//!   lost permit) no longer blocks the next one, so nothing can hold the breaker half-open for ever.
//! - **Adaptive** lowers the threshold of a provider that keeps falling over, never raises it: each trip halves it (not
//!   under two, nor above the configured one), and every `5 * open_for` spent closed gives one halving back. The
//!   configured count stays the upper bound, so "trips within N failures" holds either way.
//!
//! What it leaves to others: which failures count ([`crate::classify`]), health probes ([`crate::health`]), the retry
//! budget ([`crate::budget`]) and the choice of a last resort when every breaker is open ([`crate::plan`]).

use crate::clock::Moment;
use crate::window::Window;
use std::num::NonZeroU32;
use std::time::Duration;

mod report;
#[cfg(test)]
mod tests;

pub use report::{Cause, StateName, Transition, Trip};

/// When a breaker trips and how it recovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open the breaker.
    pub failure_threshold: NonZeroU32,
    /// How long it stays open before the first probe.
    pub open_for: Duration,
    /// Probes let through at once when half-open; as many must succeed to close it.
    pub half_open_requests: NonZeroU32,
    /// The error rate that opens the breaker whatever the order of its answers.
    pub error_rate: Option<ErrorRate>,
    /// Lower the threshold of a provider that keeps tripping.
    pub adaptive: bool,
}

/// A share of failed or throttled answers that opens the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRate {
    /// The share in percent, 1 to 100; what lies outside counts as the nearest of them.
    pub percent: u8,
    /// Under so many answers in the window the rate says nothing.
    pub min_requests: u32,
    /// The time over which answers are counted.
    pub window: Duration,
}

/// For tests alone: what is in force where nothing is configured, `bowsprit_crds` says.
#[cfg(test)]
impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failure_threshold: const { NonZeroU32::new(5).unwrap() },
            open_for: Duration::from_mins(1),
            half_open_requests: NonZeroU32::MIN,
            error_rate: None,
            adaptive: false,
        }
    }
}

/// How an admitted request ended, as the breaker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider answered as it should.
    Success,
    /// The provider failed.
    Failure(Trip),
    /// The provider turned the request away for its number (429).
    Throttled,
    /// The end says nothing about the provider: the caller left, or asked for something wrong.
    Ignored,
}

/// Leave to send one request. Give it back with [`Breaker::settle`] or [`Breaker::cancel`], once.
#[must_use = "a permit that is neither settled nor cancelled holds up recovery for `open_for`"]
#[derive(Debug)]
pub struct Permit {
    generation: u64,
    began: Option<Transition>,
}

impl Permit {
    /// The change from open to half-open, where this admission was the one that made it.
    pub fn transition(&self) -> Option<Transition> {
        self.began
    }
}

/// Refused: the breaker is open, or its probes are all out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// When asking again makes sense.
    pub retry_in: Duration,
}

/// What [`Rejected::retry_in`] says at most while a probe is under way: its outcome is usually known within a second.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// Spent closed, this many times `open_for` gives one halving of the adaptive threshold back.
const FORGIVE_AFTER: u32 = 5;

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        failures: u32,
        since: Moment,
    },
    Open {
        since: Moment,
    },
    HalfOpen {
        out: u32,
        succeeded: u32,
        last_admit: Moment,
    },
}

/// The breaker of one provider and model.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// Rises with every change of state, so that permits of before are known.
    generation: u64,
    /// Answers and bad answers while closed; unused without an error rate.
    window: Window,
    /// How often the adaptive threshold is halved as of the start of the current state.
    halvings: u32,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: BreakerSettings) -> Self {
        let window = window_of(&settings);
        Self {
            settings,
            state: State::Closed {
                failures: 0,
                since: Moment::ZERO,
            },
            generation: 0,
            window,
            halvings: 0,
        }
    }

    /// Asks to send one request now.
    pub fn admit(&mut self, now: Moment) -> Result<Permit, Rejected> {
        let mut began = None;
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { since } => {
                let left = self.settings.open_for.saturating_sub(now - *since);
                if !left.is_zero() {
                    return Err(Rejected { retry_in: left });
                }
                let probing = State::HalfOpen {
                    out: 1,
                    succeeded: 0,
                    last_admit: now,
                };
                began = Some(self.change(probing, Cause::OpenForPassed, now));
            }
            State::HalfOpen {
                out,
                succeeded,
                last_admit,
            } => {
                let stale = self.settings.open_for.saturating_sub(now - *last_admit);
                let room = out.saturating_add(*succeeded) < self.settings.half_open_requests.get();
                if !room && !stale.is_zero() {
                    return Err(Rejected {
                        retry_in: stale.min(PROBE_WAIT),
                    });
                }
                *out = out.saturating_add(1);
                *last_admit = now;
            }
        }
        Ok(Permit {
            generation: self.generation,
            began,
        })
    }

    /// Whether [`Self::admit`] would say yes at `now`; changes nothing.
    pub fn would_admit(&self, now: Moment) -> bool {
        self.retry_in(now).is_none()
    }

    /// How long until a request may be admitted; nothing where one may be now.
    pub fn retry_in(&self, now: Moment) -> Option<Duration> {
        let left = match self.state {
            State::Closed { .. } => return None,
            State::Open { since } => self.settings.open_for.saturating_sub(now - since),
            State::HalfOpen { out, succeeded, .. }
                if out.saturating_add(succeeded) < self.settings.half_open_requests.get() =>
            {
                return None;
            }
            State::HalfOpen { last_admit, .. } => {
                self.settings.open_for.saturating_sub(now - last_admit).min(PROBE_WAIT)
            }
        };
        (!left.is_zero()).then_some(left)
    }

    /// Gives a permit back with what came of it. A permit of an earlier generation changes nothing.
    #[allow(clippy::needless_pass_by_value)] // giving it back spends it
    pub fn settle(&mut self, permit: Permit, verdict: Verdict, now: Moment) -> Option<Transition> {
        if permit.generation != self.generation {
            return None;
        }
        match self.state {
            State::Closed { .. } => self.settle_closed(verdict, now),
            State::HalfOpen { .. } => self.settle_probe(verdict, now),
            State::Open { .. } => None, // nobody holds a permit of an open generation
        }
    }

    /// Gives a permit back unused: nothing was sent, or nobody knows what came of it.
    #[allow(clippy::needless_pass_by_value)] // giving it back spends it
    pub fn cancel(&mut self, permit: Permit) {
        if permit.generation == self.generation
            && let State::HalfOpen { out, .. } = &mut self.state
        {
            *out = out.saturating_sub(1);
        }
    }

    fn settle_closed(&mut self, verdict: Verdict, now: Moment) -> Option<Transition> {
        let threshold = self.threshold(now);
        let State::Closed { failures, .. } = &mut self.state else {
            return None;
        };
        let bad = match verdict {
            Verdict::Ignored => return None,
            Verdict::Success => {
                *failures = 0;
                false
            }
            Verdict::Failure(_) => {
                *failures = failures.saturating_add(1);
                true
            }
            Verdict::Throttled => true,
        };
        let failures = *failures;
        if let Verdict::Failure(last) = verdict
            && failures >= threshold
        {
            return Some(self.trip(Cause::Consecutive { failures, last }, now));
        }
        let rate = self.settings.error_rate?;
        self.window.add(1, u64::from(bad), now);
        let (requests, failed) = self.window.sum(now);
        let reached = failed * 100 >= u64::from(rate.percent.clamp(1, 100)) * requests;
        let trips = bad && requests >= u64::from(rate.min_requests) && reached;
        trips.then(|| self.trip(Cause::ErrorRate { failed, requests }, now))
    }

    fn settle_probe(&mut self, verdict: Verdict, now: Moment) -> Option<Transition> {
        let State::HalfOpen { out, succeeded, .. } = &mut self.state else {
            return None;
        };
        *out = out.saturating_sub(1);
        match verdict {
            Verdict::Ignored => None,
            Verdict::Failure(trip) => Some(self.change(State::Open { since: now }, Cause::ProbeFailed(trip), now)),
            Verdict::Throttled => Some(self.change(State::Open { since: now }, Cause::ProbeThrottled, now)),
            Verdict::Success => {
                *succeeded = succeeded.saturating_add(1);
                (*succeeded >= self.settings.half_open_requests.get()).then(|| {
                    self.change(
                        State::Closed {
                            failures: 0,
                            since: now,
                        },
                        Cause::Recovered,
                        now,
                    )
                })
            }
        }
    }

    fn trip(&mut self, cause: Cause, now: Moment) -> Transition {
        self.halvings = self.halvings_left(now).saturating_add(1).min(u32::BITS);
        self.change(State::Open { since: now }, cause, now)
    }

    /// The one place where the state changes.
    fn change(&mut self, to: State, cause: Cause, now: Moment) -> Transition {
        let transition = Transition {
            from: self.state.name(),
            to: to.name(),
            cause,
            at: now,
        };
        self.state = to;
        self.generation += 1;
        self.window.clear();
        transition
    }

    /// The state as seen at `now`: an open breaker whose time has passed shows as half-open, as its next admit is a probe.
    pub fn state(&self, now: Moment) -> StateName {
        match self.state {
            State::Open { since } if now - since >= self.settings.open_for => StateName::HalfOpen,
            state => state.name(),
        }
    }

    /// Failures in a row so far; zero unless closed.
    pub fn failures(&self) -> u32 {
        match self.state {
            State::Closed { failures, .. } => failures,
            State::Open { .. } | State::HalfOpen { .. } => 0,
        }
    }

    /// Failures in a row that would open it at `now`: the configured count, or less where adaptive.
    pub fn threshold(&self, now: Moment) -> u32 {
        let configured = self.settings.failure_threshold.get();
        if !self.settings.adaptive {
            return configured;
        }
        let halved = configured.checked_shr(self.halvings_left(now)).unwrap_or(0);
        halved.max(configured.min(2))
    }

    fn halvings_left(&self, now: Moment) -> u32 {
        let State::Closed { since, .. } = self.state else {
            return self.halvings;
        };
        let earned = (now - since).as_nanos() / (self.settings.open_for * FORGIVE_AFTER).as_nanos().max(1);
        self.halvings.saturating_sub(u32::try_from(earned).unwrap_or(u32::MAX))
    }

    /// Closes it by hand and forgets what was counted. Nothing to report where it was closed already.
    pub fn reset(&mut self, now: Moment) -> Option<Transition> {
        let was_closed = matches!(self.state, State::Closed { .. });
        self.halvings = 0;
        let transition = self.change(
            State::Closed {
                failures: 0,
                since: now,
            },
            Cause::Reset,
            now,
        );
        (!was_closed).then_some(transition)
    }

    /// Takes new settings and keeps the state: a shorter `open_for` counts from when it opened, a lower threshold from
    /// the next failure on. Counts of the error rate begin anew if its window changed.
    pub fn reconfigure(&mut self, settings: BreakerSettings) {
        let window = |settings: &BreakerSettings| settings.error_rate.map(|rate| rate.window);
        if window(&settings) != window(&self.settings) {
            self.window = window_of(&settings);
        }
        if let State::HalfOpen { succeeded, .. } = &mut self.state {
            // One success is always still to come, or nothing would be left to close it.
            *succeeded = (*succeeded).min(settings.half_open_requests.get() - 1);
        }
        self.settings = settings;
    }
}

impl State {
    fn name(self) -> StateName {
        match self {
            Self::Closed { .. } => StateName::Closed,
            Self::Open { .. } => StateName::Open,
            Self::HalfOpen { .. } => StateName::HalfOpen,
        }
    }
}

fn window_of(settings: &BreakerSettings) -> Window {
    Window::new(settings.error_rate.map_or(Duration::from_secs(10), |rate| rate.window))
}
