//! What a flow asks of this world, and what it holds of it for one request.

use super::provider::Held;
use super::request::Candidate;
use super::{Shared, shadow};
use bowsprit_core::breaker::StateName;
use bowsprit_core::clock::Moment;
use bowsprit_core::config;
use bowsprit_core::flow::{Fit, Pool, Refused};
use bowsprit_core::plan::{Availability, Why};
use std::time::Duration;

impl Shared {
    pub fn availability(&self, provider: &config::Provider, model: &str) -> Availability {
        let provider = self
            .providers
            .iter()
            .find(|known| known.config.name == provider.name)
            .unwrap();
        let model = &provider.models[provider.model(model)];
        if !model.breaker.would_admit(self.now) {
            return Availability::Unavailable {
                why: Why::CircuitOpen,
                retry_in: model.breaker.retry_in(self.now),
            };
        }
        if provider.set_aside.iter().all(|until| *until > self.now) {
            return Availability::Unavailable {
                why: Why::NoKey,
                retry_in: None,
            };
        }
        Availability::Available
    }
}

/// The world as one request's flow sees it.
pub struct View<'a> {
    pub shared: &'a mut Shared,
    pub candidates: &'a mut [Candidate],
    pub tokens: u64,
    /// Attempts that were paid for since the last attempt went out.
    pub paid: &'a mut u32,
}

impl View<'_> {
    fn usable(&self, candidate: usize, now: Moment) -> impl Iterator<Item = usize> {
        let candidate = &self.candidates[candidate];
        let set_aside = &self.shared.providers[candidate.provider].set_aside;
        let usable = (0..set_aside.len()).filter(|key| set_aside[*key] <= now && !candidate.judged.contains(key));
        usable.collect::<Vec<_>>().into_iter()
    }
}

impl Pool for View<'_> {
    fn fits(&mut self, candidate: usize) -> Fit {
        self.candidates[candidate].fit
    }

    fn acquire(&mut self, candidate: usize, now: Moment) -> Result<(), Refused> {
        assert!(self.candidates[candidate].held.is_none(), "acquired twice");
        let tried = self.candidates[candidate].tried.clone();
        let Some(credential) = self.usable(candidate, now).min_by_key(|key| tried.contains(key)) else {
            self.shared.seen.note("no credential");
            return Err(Refused::NoCredential);
        };
        let (at, model) = (self.candidates[candidate].provider, self.candidates[candidate].model);
        let shared = &mut *self.shared;
        let provider = &mut shared.providers[at];
        let must = provider.models[model].breaker_shadow.would_admit(now);
        if !must {
            assert!(!provider.models[model].breaker.would_admit(now));
            shared.seen.note("refused, open");
            return Err(Refused::CircuitOpen {
                retry_in: provider.models[model].breaker.retry_in(now),
            });
        }
        let reservation = provider
            .reserve(self.tokens, now, &mut shared.seen)
            .map_err(Refused::Limited)?;
        let model_state = &mut provider.models[model];
        let permit = model_state.breaker.admit(now).expect("the shadow admits");
        let began = model_state.breaker_shadow.state == StateName::Open;
        model_state.breaker_shadow.admit(now);
        assert_eq!(
            permit.transition().is_some(),
            began,
            "the first probe, and only it, carries the change"
        );
        let generation = model_state.breaker_shadow.generation;
        let candidate = &mut self.candidates[candidate];
        candidate.tried.push(credential);
        candidate.held = Some(Held {
            provider: at,
            model,
            permit: Some((permit, generation)),
            reservation: Some((reservation, self.tokens)),
            credential,
        });
        Ok(())
    }

    fn release(&mut self, candidate: usize, now: Moment) {
        let held = self.candidates[candidate]
            .held
            .take()
            .expect("released what was acquired");
        self.shared.give_back(held, now);
    }

    fn is_trusted(&self, candidate: usize) -> bool {
        let candidate = &self.candidates[candidate];
        self.shared.providers[candidate.provider].models[candidate.model]
            .trust
            .is_given()
    }

    fn other_credential(&self, candidate: usize, now: Moment) -> bool {
        self.usable(candidate, now).next().is_some()
    }

    fn headroom_in(&self, _candidate: usize, _now: Moment) -> Option<Duration> {
        None
    }

    fn budget_left(&mut self, _candidate: usize, now: Moment) -> bool {
        let left = self.shared.budget_shadow.remaining(now) > 0;
        assert_eq!(
            self.shared.budget.remaining(&self.shared.budget_settings, now) > 0,
            left
        );
        left
    }

    fn withdraw(&mut self, candidate: usize, now: Moment) -> bool {
        let left = self.budget_left(candidate, now);
        assert_eq!(
            self.shared.budget.withdraw(&self.shared.budget_settings, now),
            left,
            "budget and shadow disagree"
        );
        if left {
            self.shared.budget_shadow.withdraw(now);
            *self.paid += 1;
        } else {
            self.shared.seen.note("budget spent");
        }
        left
    }

    fn count_request(&mut self, repeat: bool, now: Moment) {
        let shadow: &mut shadow::Budget = &mut self.shared.budget_shadow;
        if repeat {
            self.shared.budget.spend(now);
            shadow.spend(now);
        } else {
            self.shared.budget.deposit(now);
            shadow.deposit(now);
        }
    }

    fn count_hedgeable(&mut self) {
        self.shared.hedgeable += 1;
        self.shared.allowance.deposit(&self.shared.hedging);
    }

    fn hedge_delay(&self, _candidate: usize, now: Moment) -> Option<Duration> {
        self.shared.hedging.delay(None, now)
    }

    fn withdraw_hedge(&mut self) -> bool {
        let allowed = self.shared.allowance.withdraw();
        self.shared.hedges += u64::from(allowed);
        allowed
    }
}

impl Shared {
    /// Gives all of it back unused.
    pub fn give_back(&mut self, held: Held, now: Moment) {
        let provider = &mut self.providers[held.provider];
        if let Some(permit) = held.permit {
            provider.give_permit_back(held.model, permit, None, now, &mut self.seen);
        }
        if let Some(reservation) = held.reservation {
            provider.give_room_back(reservation, None, now);
        }
    }
}
