//! Named limits that are counted per provider (`per: Provider`): their room is taken with the place of an attempt.
//!
//! A request takes once at each provider that it goes to, however often it is tried there, and gives back what it holds at one when
//! it has gone on to another and no attempt is out there. All of these limits are taken or none, and with the attempt's permit or not at
//! all: who waits for a limit stands in no provider's line, and who stands in a provider's line in no limit's.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::{Call, Operation};
use bowsprit_core::config::{Limit, OnLimit, Per, Route};
use bowsprit_core::cost::Picodollars;
use bowsprit_core::flow::{Refused, Skip, SkipReason};
use bowsprit_core::limiter::{Limited, Which};
use bowsprit_core::limits::limiter::Need;
use bowsprit_core::limits::set::{self, Held, Who};
use bowsprit_core::queue::Class;
use bowsprit_core::reserve::{self, Bound};

use super::super::candidate::Candidate;
use super::super::context::RequestContext;
use super::super::inbound::Inbound;
use super::super::limits::{refuse, strictest};
use super::super::refuse::Refusal;
use crate::tenant::charges::Charges;
use crate::tenant::limits::{Limits, Met, Said, Turn, Under};
use crate::tenant::snapshot::Snapshot;
use crate::time::Clock;

/// What one request has of such limits.
pub(super) struct ByProvider {
    limits: Arc<Limits>,
    clock: Clock,
    class: Class,
    /// Those that it is under, wherever it goes.
    all: Vec<Arc<Limit>>,
    /// What it holds, by provider. Its attempts there have a part in it.
    rooms: Vec<(Arc<str>, Arc<Charges>)>,
    /// What held it up when it was last refused a candidate.
    held: Option<(usize, Vec<Held>)>,
    /// Its place in the line there.
    turn: Option<(usize, Turn)>,
    /// Too many stand in that line.
    is_full: bool,
    /// The limits that held it up, by candidate.
    over: Vec<(usize, Arc<Limit>, Option<Limited>)>,
}

impl ByProvider {
    /// For a request; `None` where it is under no such limit.
    pub(super) fn of(
        (snapshot, limits): (&Snapshot, &Arc<Limits>),
        route: Option<&Route>,
        inbound: &Inbound,
        clock: Clock,
    ) -> Option<Box<Self>> {
        let policies = snapshot.config.policies.iter().flat_map(|policy| &policy.limits);
        let all = policies.chain(route.into_iter().flat_map(|route| &route.limits));
        let all = all.filter(|limit| limit.per == Per::Provider && limit.is_for(&inbound.call.model));
        let all: Vec<Arc<Limit>> = all.map(Arc::clone).collect();
        (!all.is_empty()).then(|| {
            Box::new(Self {
                limits: Arc::clone(limits),
                clock,
                class: inbound.class(route),
                all,
                rooms: Vec::new(),
                held: None,
                turn: None,
                is_full: false,
                over: Vec::new(),
            })
        })
    }

    /// Another question begins: who asks for another candidate waits for this one no more.
    /// What it holds at others, with no attempt out there, it gives back.
    pub(super) fn begin(&mut self, candidate: usize, provider: &Arc<str>) {
        self.rooms
            .retain(|(of, charges)| of == provider || Arc::strong_count(charges) > 1);
        self.held = None;
        if self.turn.as_ref().is_some_and(|(of, _)| *of != candidate) {
            self.turn = None;
        }
    }

    /// A limit of the provider's own holds the request up at this candidate: it waits for that, and for nothing here.
    pub(super) fn held_elsewhere(&mut self, candidate: usize) {
        self.turn = None;
        self.over.retain(|(of, _, _)| *of != candidate);
    }

    /// Takes room for this candidate, unless the request has it.
    pub(super) fn take(&mut self, candidate: usize, asked: &Candidate, call: &Call) -> Result<(), Refused> {
        let provider = asked.upstream.state.name();
        if self.rooms.iter().any(|(of, _)| of == provider) {
            return Ok(());
        }
        self.let_go();
        let under = |limit: &Arc<Limit>| self.limits.under(limit, Some(provider.as_bytes()));
        let under: Vec<Under> = self.all.iter().map(under).collect();
        let turn = self.turn.as_ref().map(|(_, turn)| turn);
        let who = turn.map_or(Who::Comes(self.class), Turn::who);
        let need = need(asked, call);
        match self.limits.take(&under, need, self.clock, who, Said::default()) {
            Ok(guard) => {
                self.turn = None;
                for limit in &self.all {
                    self.limits.metrics.met(&limit.full_name, Met::Admitted);
                }
                let charges = Charges {
                    bound: Bound::of(call),
                    limits: Some(guard),
                    ..Charges::default()
                };
                self.rooms.push((Arc::clone(provider), Arc::new(charges)));
                Ok(())
            }
            Err(held) => Err(self.held_up(candidate, held, &under)),
        }
    }

    fn held_up(&mut self, candidate: usize, held: Vec<Held>, under: &[Under]) -> Refused {
        let Some((by, limit)) = strictest(&held, under) else {
            return Refused::NoCredential;
        };
        let (limited, limit) = (by.limited, Arc::clone(limit));
        let refused = Refused::Over {
            limited: Limited {
                which: limited.map_or(Which::Requests, |limited| limited.which),
                retry_in: set::look_again(&held),
            },
            on_limit: limit.on_limit,
            max_wait: if self.is_full { Duration::ZERO } else { limit.max_wait },
        };
        if self.over.iter().all(|(of, _, _)| *of != candidate) && limit.on_limit == OnLimit::Fallback {
            self.limits.metrics.met(&limit.full_name, Met::Diverted);
        }
        self.over.retain(|(of, _, _)| *of != candidate);
        self.over.push((candidate, limit, limited));
        self.held = Some((candidate, held));
        refused
    }

    /// Whether it is one of these limits that the request waits for at this candidate.
    pub(super) fn is_waited_for(&self, candidate: usize) -> bool {
        self.held.as_ref().is_some_and(|(of, _)| *of == candidate)
    }

    /// Waits for its turn, `most` at most. Who joins the line looks again at once: from then on it is called.
    pub(super) async fn wait(&mut self, candidate: usize, most: Duration) {
        if let Some((_, turn)) = &self.turn {
            return turn.wait(most).await;
        }
        let Some((_, held)) = &self.held else { return };
        match self.limits.join(held, self.class) {
            Some(turn) => {
                self.turn = Some((candidate, turn));
                if let Some(limit) = self.over_at(candidate) {
                    self.limits.metrics.met(&limit.full_name, Met::Waited);
                }
            }
            None => self.is_full = true,
        }
    }

    /// Adds to the time that requests stood in line.
    pub(super) fn count_wait(&self, candidate: usize, waited: Duration) {
        if let Some(limit) = self.over_at(candidate) {
            self.limits.metrics.stood(&limit.full_name, waited);
        }
    }

    fn over_at(&self, candidate: usize) -> Option<&Arc<Limit>> {
        let at = self.over.iter().find(|(of, _, _)| *of == candidate)?;
        Some(&at.1)
    }

    /// Gives back what is held where no attempt is out.
    pub(super) fn let_go(&mut self) {
        self.rooms.retain(|(_, charges)| Arc::strong_count(charges) > 1);
    }

    /// What an attempt at this provider is charged to: what is held there, and what the request holds anywhere.
    pub(super) fn charges(&mut self, provider: &Arc<str>, request: Option<Arc<Charges>>) -> Option<Arc<Charges>> {
        let Some((_, charges)) = self.rooms.iter_mut().find(|(of, _)| of == provider) else {
            return request;
        };
        // Of a second attempt it is known already.
        if let Some(charges) = Arc::get_mut(charges) {
            charges.of_request = request;
        }
        Some(Arc::clone(charges))
    }

    /// The refusal of a request that one of these limits held up at this candidate.
    pub(super) fn refusal(&self, context: &mut RequestContext, candidate: usize) -> Option<Refusal> {
        let (_, limit, limited) = self.over.iter().find(|(of, _, _)| *of == candidate)?;
        Some(refuse(context, &self.limits, limit, *limited))
    }

    /// The same, of one that nobody could be asked for: where one of these limits has room soonest.
    pub(super) fn refusal_of_all(&self, context: &mut RequestContext) -> Option<Refusal> {
        let wait = |skip: &&Skip| match skip.reason {
            SkipReason::Limited(limited) => Some(limited.retry_in),
            _ => None,
        };
        let skips = context.flow.skips().iter().filter(|skip| wait(skip).is_some());
        let candidate = skips.min_by_key(wait)?.candidate;
        self.refusal(context, candidate)
    }
}

/// What the request may need there.
fn need(asked: &Candidate, call: &Call) -> Need {
    // Of what passes unread nobody knows, and counting tokens costs none.
    if matches!(call.operation, Operation::Count | Operation::PassThrough) {
        return Need::default();
    }
    let output = call.tokens.saturating_sub(call.input_tokens);
    let cost = reserve::most(call, |spent| {
        asked.upstream.cost(&asked.model, spent).map(|cost| cost.total())
    });
    // Whose price nobody knows counts as nothing here.
    Need::new(
        call.input_tokens,
        output,
        cost.unwrap_or_else(|_| Picodollars::default()),
    )
}
