//! A permit for one attempt: a breaker's permission and a reservation at the limits, taken and settled together.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::breaker::{self, Rejected, Verdict};
use bowsprit_core::classify::Decision;
use bowsprit_core::clock::Moment;
use bowsprit_core::limiter::{Limited, Reservation};
use bowsprit_core::queue::Ticket;

use super::ProviderState;

impl ProviderState {
    /// Takes a place for one attempt: limits first, then the breaker, so that a probe's permit is not held by a waiter.
    /// Nobody is let in before those who wait.
    pub fn admit(self: &Arc<Self>, model: &str, tokens: u64, now: Moment) -> Result<Permit, Refused> {
        self.take_place(model, tokens, None, now)
    }

    pub(super) fn take_place(
        self: &Arc<Self>,
        model: &str,
        tokens: u64,
        ticket: Option<Ticket>,
        now: Moment,
    ) -> Result<Permit, Refused> {
        let mut machines = self.lock();
        if let Some(seen) = machines.seen(model)
            && !seen.breaker.would_admit(now)
        {
            return Err(Refused::CircuitOpen(seen.breaker.retry_in(now)));
        }
        if machines.fleet.is_some() {
            if ticket.is_none() {
                machines.came(tokens);
            }
            let over = machines.fit(now);
            if !over.is_empty() {
                self.count_lapsed(&over);
            }
        }
        let ahead = ticket.map_or(machines.line.len(), |ticket| machines.line.ahead(ticket));
        if ahead > 0 {
            return Err(Refused::Limited(machines.held_behind(ahead, now)));
        }
        let reservation = match machines.limiter.reserve(tokens, now) {
            Ok(reservation) => reservation,
            Err(limited) => return Err(Refused::Limited(limited)),
        };
        let seen = machines.model(model);
        let name = Arc::clone(&seen.name);
        match seen.breaker.admit(now) {
            Ok(permit) => {
                let half_opened = permit.transition();
                drop(machines);
                if let Some(transition) = half_opened {
                    self.tell(&name, &transition);
                }
                Ok(Permit {
                    state: Arc::clone(self),
                    model: name,
                    held: Some((permit, reservation)),
                })
            }
            Err(Rejected { retry_in }) => {
                machines.limiter.cancel(reservation, now);
                Err(Refused::CircuitOpen(Some(retry_in)))
            }
        }
    }
}

/// Why an attempt may not begin.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    /// The breaker is open for so long.
    CircuitOpen(Option<Duration>),
    /// A local limit is reached.
    Limited(Limited),
}

/// An attempt's place at a provider: a breaker permit and a reservation. Given back on drop as if never used.
pub struct Permit {
    state: Arc<ProviderState>,
    /// The breaker's name.
    model: Arc<str>,
    held: Option<(breaker::Permit, Reservation)>,
}

impl Permit {
    /// The attempt ended so. `used_tokens`: what it cost, where known. Returns the tokens that its limit was charged.
    pub fn settle(mut self, decision: &Decision, used_tokens: Option<u64>, now: Moment) -> u64 {
        let Some((permit, reservation)) = self.held.take() else {
            return 0;
        };
        let (charged, transition) = {
            let mut machines = self.state.lock();
            let charged = machines.limiter.settle(reservation, used_tokens, now);
            machines.call_first();
            let model = machines.model(&self.model);
            match decision.breaker {
                Verdict::Success => model.trust.answered(),
                Verdict::Failure(_) | Verdict::Throttled => model.trust.failed(),
                // A dead key, an unknown model: no fault of the provider's health, and yet no answer.
                Verdict::Ignored if decision.try_next => model.trust.failed(),
                Verdict::Ignored => {}
            }
            (charged, model.breaker.settle(permit, decision.breaker, now))
        };
        if let Some(transition) = transition {
            self.state.tell(&self.model, &transition);
        }
        charged
    }

    /// The caller left: the breaker learns nothing, the place is free, the tokens that were surely spent stay spent.
    /// Returns the tokens that its limit was charged.
    pub fn abandon(mut self, spent_tokens: u64, now: Moment) -> u64 {
        let Some((permit, reservation)) = self.held.take() else {
            return 0;
        };
        let mut machines = self.state.lock();
        let charged = machines.limiter.settle(reservation, Some(spent_tokens), now);
        machines.model(&self.model).breaker.cancel(permit);
        machines.call_first();
        charged
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some((permit, reservation)) = self.held.take() else {
            return;
        };
        let mut machines = self.state.lock();
        // Without a clock at hand: the machines take a moment that is past as "no time has gone by".
        machines.limiter.cancel(reservation, Moment::ZERO);
        machines.model(&self.model).breaker.cancel(permit);
        machines.call_first();
    }
}
