//! A permit for one attempt: a breaker's permission and a reservation at the limits, taken and settled together.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::breaker::{self, Rejected, Verdict};
use bowsprit_core::classify::Decision;
use bowsprit_core::clock::Moment;
use bowsprit_core::limiter::{Limited, Reservation};
use bowsprit_core::queue::{Class, Ticket};

use super::ProviderState;
use super::stored::Asked;
use crate::store::Taken;

impl ProviderState {
    /// Takes a place for one attempt: limits first, then the breaker, so that a probe's permit is not held by a waiter.
    /// Nobody is let in before those who wait and do not give way to it.
    pub fn admit(self: &Arc<Self>, model: &str, tokens: u64, now: Moment) -> Result<Permit, Refused> {
        self.admit_as(model, tokens, None, &|| Class::Interactive, now)
    }

    /// The same, with what the store said that counts the limits. `class`: asked for where somebody waits.
    ///
    /// # Errors
    /// Why there is no place.
    pub fn admit_as(
        self: &Arc<Self>,
        model: &str,
        tokens: u64,
        asked: Option<Asked>,
        class: &dyn Fn() -> Class,
        now: Moment,
    ) -> Result<Permit, Refused> {
        self.take_place(model, tokens, (Who::Comes(class), asked), now)
    }

    pub(super) fn take_place(
        self: &Arc<Self>,
        model: &str,
        tokens: u64,
        (who, asked): (Who<'_>, Option<Asked>),
        now: Moment,
    ) -> Result<Permit, Refused> {
        let mut machines = self.lock();
        if let Some(seen) = machines.seen(model)
            && !seen.breaker.would_admit(now)
        {
            return Err(Refused::CircuitOpen(seen.breaker.retry_in(now)));
        }
        if machines.fleet.is_some() {
            if who.comes() && asked.is_none() {
                machines.came(tokens);
            }
            let over = machines.fit(now);
            if !over.is_empty() {
                self.count_lapsed(&over);
            }
        }
        // Whose class may matter.
        let mut passes = None;
        let ahead = match who {
            Who::Waits(ticket) => machines.line.ahead(ticket),
            Who::Comes(_) if machines.line.is_empty() => 0,
            Who::Comes(class) => machines.line.ahead_of(*passes.insert(class())),
        };
        if ahead > 0 {
            return Err(Refused::Limited(machines.held_behind(ahead, now)));
        }
        if let Some(Asked::Unanswered(why)) = &asked {
            self.not_answered(&mut machines, *why, now);
        }
        if who.comes() && machines.goes_by_share(asked.as_ref()) {
            self.metrics.not_stored(&self.name);
        }
        let (reservation, taken) = machines.reserve(tokens, asked, now)?;
        let seen = machines.model(model);
        let name = Arc::clone(&seen.name);
        match seen.breaker.admit(now) {
            Ok(permit) => {
                let half_opened = permit.transition();
                if let Some(class) = passes {
                    machines.line.pass(class);
                }
                drop(machines);
                if let Some(transition) = half_opened {
                    self.tell(&name, &transition);
                }
                Ok(Permit {
                    state: Arc::clone(self),
                    model: name,
                    held: Some(Held {
                        permit,
                        reservation,
                        taken: taken.map(Box::new),
                    }),
                })
            }
            Err(Rejected { retry_in }) => {
                machines.limiter.cancel(reservation, now);
                if let Some(taken) = &taken {
                    machines.let_go(taken);
                }
                Err(Refused::CircuitOpen(Some(retry_in)))
            }
        }
    }
}

/// Who asks for a place.
#[derive(Clone, Copy)]
pub(super) enum Who<'a> {
    /// Somebody who has just come, of this class, which is asked for where somebody waits.
    Comes(&'a dyn Fn() -> Class),
    /// Somebody who waits.
    Waits(Ticket),
}

impl Who<'_> {
    fn comes(self) -> bool {
        matches!(self, Self::Comes(_))
    }
}

/// Why an attempt may not begin.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    /// The breaker is open for so long.
    CircuitOpen(Option<Duration>),
    /// A local limit is reached.
    Limited(Limited),
    /// A store counts the limits and was not asked: [`ProviderState::ask`].
    Unasked,
}

/// What an attempt holds.
struct Held {
    permit: breaker::Permit,
    reservation: Reservation,
    /// Where a store counts. Boxed, as few do.
    taken: Option<Box<Taken>>,
}

/// An attempt's place at a provider: a breaker permit and a reservation. Given back on drop as if never used.
pub struct Permit {
    state: Arc<ProviderState>,
    /// The breaker's name.
    model: Arc<str>,
    held: Option<Held>,
}

impl Permit {
    /// The attempt ended so. `used_tokens`: what it cost, where known. Returns the tokens that its limit was charged.
    pub fn settle(mut self, decision: &Decision, used_tokens: Option<u64>, now: Moment) -> u64 {
        let Some(held) = self.held.take() else {
            return 0;
        };
        let Held {
            permit,
            reservation,
            taken,
        } = held;
        let (charged, transition) = {
            let mut machines = self.state.lock();
            if let Some(taken) = taken {
                machines.let_go(&taken);
                taken.used(used_tokens);
            }
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
        let Some(held) = self.held.take() else {
            return 0;
        };
        let Held {
            permit,
            reservation,
            taken,
        } = held;
        let mut machines = self.state.lock();
        if let Some(taken) = taken {
            machines.let_go(&taken);
            taken.used(Some(spent_tokens));
        }
        let charged = machines.limiter.settle(reservation, Some(spent_tokens), now);
        machines.model(&self.model).breaker.cancel(permit);
        machines.call_first();
        charged
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        let Held {
            permit,
            reservation,
            taken,
        } = held;
        let mut machines = self.state.lock();
        if let Some(taken) = &taken {
            machines.let_go(taken);
        }
        // Without a clock at hand: the machines take a moment that is past as "no time has gone by".
        machines.limiter.cancel(reservation, Moment::ZERO);
        machines.model(&self.model).breaker.cancel(permit);
        machines.call_first();
    }
}
