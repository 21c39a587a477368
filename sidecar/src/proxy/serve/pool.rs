//! What a request's flow asks of the providers as they stand: fitness, permits, credentials, trust, budget.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::{Call, Operation};
use bowsprit_core::classify::KeyVerdict;
use bowsprit_core::clock::Moment;
use bowsprit_core::config::Route;
use bowsprit_core::fault::Code;
use bowsprit_core::flow::{Fit, Pool, Refused};
use bowsprit_core::hedge;

use super::super::candidate::Candidate;
use super::super::failure::Failure;
use super::super::inbound::Inbound;
use super::by_provider::ByProvider;
use crate::credentials::Selected;
use crate::tenant::allowance::Allowances;
use crate::tenant::provider::{self, Asked, NoKey, Permit, ProviderState, Waiter};
use crate::tenant::snapshot::Upstream;

/// What one request has of its candidates: the permit of the next attempt, a place in a queue, the credentials that it used.
pub(super) struct ProviderPool<'a> {
    allowances: &'a Allowances,
    /// Who may be asked.
    pub(super) candidates: &'a [Candidate],
    inbound: &'a Inbound,
    route: Option<&'a Route>,
    next: Next,
    /// The place in a candidate's queue. Boxed, as few requests wait.
    waiter: Option<Box<(usize, Waiter)>>,
    /// Credentials that were used, by candidate, with the provider's verdict on each.
    used: Vec<(usize, Arc<str>, KeyVerdict)>,
    /// What it has of limits that are counted per provider; none: it is under none.
    pub(super) by_provider: Option<Box<ByProvider>>,
}

/// What there is of the next attempt, by candidate.
#[allow(
    clippy::large_enum_variant,
    reason = "each request has one, and nearly all hold a permit: a box would be an allocation more"
)]
enum Next {
    Nothing,
    /// What the store said that counts the limits. Boxed, as few have one.
    Asked(Box<(usize, Asked)>),
    /// Its permit and credential.
    Held(usize, Permit, Option<Selected>),
}

impl<'a> ProviderPool<'a> {
    /// No permit is held yet.
    pub(super) fn new(
        allowances: &'a Allowances,
        candidates: &'a [Candidate],
        inbound: &'a Inbound,
        route: Option<&'a Route>,
        by_provider: Option<Box<ByProvider>>,
    ) -> Self {
        Self {
            allowances,
            candidates,
            inbound,
            route,
            next: Next::Nothing,
            waiter: None,
            used: Vec::new(),
            by_provider,
        }
    }

    fn call(&self) -> &'a Call {
        &self.inbound.call
    }

    fn hedge(&self) -> Option<&'a hedge::HedgeSettings> {
        self.route?.hedge.as_ref()
    }

    fn state(&self, candidate: usize) -> Option<&'a Arc<ProviderState>> {
        self.candidates
            .get(candidate)
            .map(|candidate| &candidate.upstream.state)
    }

    /// The permit and credential that were acquired for this candidate's attempt.
    pub(super) fn acquired(&mut self, candidate: usize) -> Option<(Permit, Option<Selected>)> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Held(of, permit, key) if of == candidate => Some((permit, key)),
            _ => None,
        }
    }

    /// Waits in the candidate's queue until there may be room, `most` at most.
    pub(super) async fn wait_in_queue(&mut self, candidate: usize, most: Duration) {
        if let Some(limits) = &mut self.by_provider
            && limits.is_waited_for(candidate)
        {
            return limits.wait(candidate, most).await;
        }
        let Some(state) = self.state(candidate) else { return };
        let waiter = match self.waiter.take() {
            Some(waiter) if waiter.0 == candidate => waiter,
            _ => Box::new((candidate, state.queue(self.inbound.class(self.route)))),
        };
        self.waiter.insert(waiter).1.wait(most).await;
    }

    /// Asks the store that counts the candidate's limits. What it says is for the next [`Pool::acquire`].
    pub(super) async fn ask_store(&mut self, candidate: usize) {
        let Some(state) = self.state(candidate) else { return };
        let asked = state.ask(self.call().tokens).await;
        self.next = Next::Asked(Box::new((candidate, asked)));
    }

    /// Adds to the time that requests waited for room there.
    pub(super) fn count_wait(&self, candidate: usize, waited: Duration) {
        if let Some(limits) = &self.by_provider
            && limits.is_waited_for(candidate)
        {
            return limits.count_wait(candidate, waited);
        }
        if let Some(state) = self.state(candidate) {
            state.count_wait(waited);
        }
    }

    /// An attempt at this candidate failed, which says something of its credential.
    pub(super) fn failed(&mut self, candidate: usize, failure: &Failure) {
        let used = self.used.iter_mut().rev().find(|(of, _, _)| *of == candidate);
        if let Some((_, _, verdict)) = used {
            *verdict = failure.decision.key;
        }
    }

    /// The names of the credentials that were used at this candidate and whose verdict is one of those.
    fn used(&self, candidate: usize, with: impl Fn(KeyVerdict) -> bool) -> Vec<Arc<str>> {
        let used = self
            .used
            .iter()
            .filter(|(of, _, verdict)| *of == candidate && with(*verdict));
        used.map(|(_, name, _)| Arc::clone(name)).collect()
    }

    /// A credential that was not tried yet, else one that is not to blame for a failure, else one that was throttled and may
    /// have recovered.
    fn select_credential(&self, candidate: usize, upstream: &Upstream, now: Moment) -> Result<Option<Selected>, NoKey> {
        let choose = |used: &[Arc<str>]| upstream.state.choose_key(&upstream.provider.base_url, used, now);
        if self.used.is_empty() {
            return choose(&[]);
        }
        choose(&self.used(candidate, |_| true))
            .or_else(|_| choose(&self.used(candidate, |verdict| verdict != KeyVerdict::Fine)))
            .or_else(|_| {
                let is_rejected = |verdict| matches!(verdict, KeyVerdict::SetAside | KeyVerdict::SetAsideLong);
                choose(&self.used(candidate, is_rejected))
            })
    }

    fn withdraw_from_budget(&self, candidate: usize, now: Moment, only_look: bool) -> bool {
        let Some(asked) = self.candidates.get(candidate) else {
            return false;
        };
        let settings = &asked.upstream.provider.retry.budget;
        let mut budget = self.allowances.budget();
        if only_look {
            budget.remaining(settings, now) > 0
        } else {
            budget.withdraw(settings, now)
        }
    }
}

impl Pool for ProviderPool<'_> {
    fn fits(&mut self, candidate: usize) -> Fit {
        let Some(asked) = self.candidates.get(candidate) else {
            return Fit::Unsupported;
        };
        match asked.prepare(self.inbound, self.route) {
            Ok(_) => Fit::Fits,
            // Another dialect may be able to carry it.
            Err(error) if error.code == Code::ValUnsupported => Fit::Unsupported,
            Err(_) => Fit::Invalid,
        }
    }

    fn acquire(&mut self, candidate: usize, now: Moment) -> Result<(), Refused> {
        let Some(asked) = self.candidates.get(candidate) else {
            return Err(Refused::NoCredential);
        };
        let (state, tokens) = (&asked.upstream.state, self.inbound.call.tokens);
        if let Some(limits) = &mut self.by_provider {
            limits.begin(candidate, state.name());
        }
        let said = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Asked(said) if said.0 == candidate => Some(said.1),
            _ => None,
        };
        let waiter = self
            .waiter
            .as_ref()
            .filter(|waiter| waiter.0 == candidate)
            .map(|waiter| &waiter.1);
        let permit = match waiter {
            None => state.admit_as(asked.circuit(), tokens, said, &|| self.inbound.class(self.route), now),
            Some(waiter) => waiter.admit_as(asked.circuit(), tokens, said, now),
        };
        let permit = permit.map_err(|refused| match refused {
            provider::Refused::CircuitOpen(retry_in) => Refused::CircuitOpen { retry_in },
            provider::Refused::Unasked => Refused::Unasked,
            provider::Refused::Limited(limited) => {
                if waiter.is_none() {
                    state.count_limited(limited.which);
                }
                if let Some(limits) = &mut self.by_provider {
                    limits.held_elsewhere(candidate);
                }
                Refused::Limited(limited)
            }
        })?;
        self.waiter = None;
        let chosen = self.select_credential(candidate, &asked.upstream, now);
        let key = chosen.map_err(|_| Refused::NoCredential)?;
        // With the permit or not at all: where there is no room, it flows back.
        if let Some(limits) = &mut self.by_provider {
            limits.take(candidate, asked, &self.inbound.call)?;
        }
        if let Some(key) = &key
            && state.has_several_keys()
        {
            self.used.push((candidate, Arc::clone(&key.name), KeyVerdict::Fine));
        }
        self.next = Next::Held(candidate, permit, key);
        Ok(())
    }

    fn release(&mut self, _candidate: usize, _now: Moment) {
        self.next = Next::Nothing;
        if let Some(limits) = &mut self.by_provider {
            limits.let_go();
        }
    }

    fn is_trusted(&self, candidate: usize) -> bool {
        let asked = self.candidates.get(candidate);
        asked.is_some_and(|asked| asked.upstream.state.is_trusted(asked.circuit()))
    }

    fn other_credential(&self, candidate: usize, now: Moment) -> bool {
        let state = self.state(candidate);
        state
            .is_some_and(|state| state.has_other_key(&self.used(candidate, |verdict| verdict != KeyVerdict::Fine), now))
    }

    fn headroom_in(&self, candidate: usize, now: Moment) -> Option<Duration> {
        self.state(candidate)?.short_for(self.call().tokens, now)
    }

    fn budget_left(&mut self, candidate: usize, now: Moment) -> bool {
        self.withdraw_from_budget(candidate, now, true)
    }

    fn withdraw(&mut self, candidate: usize, now: Moment) -> bool {
        self.withdraw_from_budget(candidate, now, false)
    }

    fn count_request(&mut self, repeat: bool, now: Moment) {
        // What is never tried again pays nothing for what is.
        if self.call().operation == Operation::PassThrough {
            return;
        }
        let mut budget = self.allowances.budget();
        if repeat {
            budget.spend(now);
        } else {
            budget.deposit(now);
        }
    }

    fn count_hedgeable(&mut self) {
        if let (Some(route), Some(settings)) = (self.route, self.hedge()) {
            self.allowances.may_hedge(&route.name, settings);
        }
    }

    fn hedge_delay(&self, candidate: usize, now: Moment) -> Option<Duration> {
        let (asked, settings) = (self.candidates.get(candidate)?, self.hedge()?);
        asked
            .upstream
            .state
            .hedge_delay(asked.circuit(), self.call().stream, settings, now)
    }

    fn withdraw_hedge(&mut self) -> bool {
        let route = self.route;
        route.is_some_and(|route| self.allowances.hedge(&route.name))
    }
}
