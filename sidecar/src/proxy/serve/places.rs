//! What a request's flow asks of the providers as they stand: fitness, places, credentials, trust, budget.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::{Call, Operation};
use bowsprit_core::classify::KeyVerdict;
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Provider, Route};
use bowsprit_core::fault::Code;
use bowsprit_core::flow::{Fit, Pool, Refused};
use bowsprit_core::hedge;
use bowsprit_core::plan::{self, Availability, Why};

use super::super::candidate::Candidate;
use super::super::failure::Failure;
use super::super::inbound::Inbound;
use crate::credentials::Selected;
use crate::tenant::allowance::Allowances;
use crate::tenant::provider::{self, NoKey, Permit, ProviderState, Waiter};
use crate::tenant::snapshot::{Snapshot, Upstream};

/// The providers as they stand for the plan of this request.
pub(super) struct ProviderView<'a> {
    pub snapshot: &'a Snapshot,
    pub call: &'a Call,
    pub now: Moment,
}

impl ProviderView<'_> {
    fn of(&self, provider: &Provider) -> Option<&ProviderState> {
        let mut upstreams = self.snapshot.upstreams().iter();
        let upstream = upstreams.find(|upstream| std::ptr::eq(Arc::as_ptr(&upstream.provider), provider));
        upstream.map(|upstream| &*upstream.state)
    }
}

impl plan::View for ProviderView<'_> {
    fn availability(&self, provider: &Provider, model: &str) -> Availability {
        let gone = Availability::Unavailable {
            why: Why::NotHere,
            retry_in: None,
        };
        let state = self.of(provider);
        state.map_or(gone, |state| state.availability(model, self.call.tokens, self.now))
    }

    fn score(&self, provider: &Provider) -> f64 {
        self.of(provider).map_or(0.0, |state| state.score(self.now))
    }
}

/// The places of one request.
pub(super) struct Places<'a> {
    allowances: &'a Allowances,
    candidates: &'a [Candidate],
    inbound: &'a Inbound,
    route: Option<&'a Route>,
    /// The permit and credential of the next attempt.
    held: Option<(usize, Permit, Option<Selected>)>,
    /// The place in the line of a candidate.
    turn: Option<(usize, Waiter)>,
    /// Credentials that were used, by candidate, with the provider's verdict on each.
    used: Vec<(usize, Arc<str>, KeyVerdict)>,
}

impl<'a> Places<'a> {
    /// No permit is held yet.
    pub(super) fn new(
        allowances: &'a Allowances,
        candidates: &'a [Candidate],
        inbound: &'a Inbound,
        route: Option<&'a Route>,
    ) -> Self {
        Self {
            allowances,
            candidates,
            inbound,
            route,
            held: None,
            turn: None,
            used: Vec::new(),
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

    /// The place and credential that were taken for this candidate's attempt.
    pub(super) fn take(&mut self, candidate: usize) -> Option<(Permit, Option<Selected>)> {
        let (of, permit, key) = self.held.take()?;
        (of == candidate).then_some((permit, key))
    }

    /// Waits in the candidate's line until there may be room, `most` at most.
    pub(super) async fn wait_in_line(&mut self, candidate: usize, most: Duration) {
        let Some(state) = self.state(candidate) else { return };
        let turn = match self.turn.take() {
            Some((of, turn)) if of == candidate => turn,
            _ => state.queue(),
        };
        let (_, turn) = self.turn.insert((candidate, turn));
        turn.wait(most).await;
    }

    /// Adds to the time that requests waited for room there.
    pub(super) fn count_wait(&self, candidate: usize, waited: Duration) {
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
    fn choose_key(&self, candidate: usize, upstream: &Upstream, now: Moment) -> Result<Option<Selected>, NoKey> {
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

impl Pool for Places<'_> {
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
        let (state, tokens) = (&asked.upstream.state, self.call().tokens);
        let turn = self
            .turn
            .as_ref()
            .filter(|(of, _)| *of == candidate)
            .map(|(_, turn)| turn);
        let place = match turn {
            None => state.admit(asked.circuit(), tokens, now),
            Some(turn) => turn.admit(asked.circuit(), tokens, now),
        };
        let permit = place.map_err(|refused| match refused {
            provider::Refused::CircuitOpen(retry_in) => Refused::CircuitOpen { retry_in },
            provider::Refused::Limited(limited) => {
                if turn.is_none() {
                    state.count_limited(limited.which);
                }
                Refused::Limited(limited)
            }
        })?;
        self.turn = None;
        let chosen = self.choose_key(candidate, &asked.upstream, now);
        let key = chosen.map_err(|_| Refused::NoCredential)?;
        if let Some(key) = &key
            && state.has_several_keys()
        {
            self.used.push((candidate, Arc::clone(&key.name), KeyVerdict::Fine));
        }
        self.held = Some((candidate, permit, key));
        Ok(())
    }

    fn release(&mut self, _candidate: usize, _now: Moment) {
        self.held = None;
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
