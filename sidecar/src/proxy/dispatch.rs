//! Going through the candidates: a place, a key, an attempt; again, or the next; and in the end one answer.
//!
//! While nothing was sent to the app, a failure may be followed by another attempt: with another key at once, at the
//! same provider after a backoff (attempts, `retryOn` and the retry budget permitting), or at the next candidate. What
//! may follow is `classify`'s word; this file only does it.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::config::{OnLimit, Provider};
use bowsprit_core::dialect::RequestError;
use bowsprit_core::fault::Code;
use bowsprit_core::lifecycle::{Event, State};
use bowsprit_core::limiter::Limited;
use bowsprit_core::plan::{self, Availability, Plan, Reason, Why};
use bowsprit_crds::model_route::MidStreamFailover;
use http::Response;

use super::admit::{Call, Kind};
use super::attempt::{Attempt, Failure, Success};
use super::id::RequestId;
use super::in_flight::InFlight;
use super::prepare::{Prepared, prepare};
use super::refuse::{self, Refusal};
use super::story::Story;
use crate::app::App;
use crate::body::Body;
use crate::live::{Live, Upstream};
use crate::state::{Lease, ProviderState, Refused, Turn};

mod conclude;
mod race;
mod verdict;

pub(super) use conclude::local_limit;
use verdict::Then;

/// Attempts beyond those configured that other keys of a provider may take.
const KEY_ATTEMPTS: u32 = 20;

/// Answers an admitted request.
pub(super) async fn dispatch(app: &Arc<App>, live: &Arc<Live>, story: Box<Story>, call: Box<Call>) -> Response<Body> {
    let plan = make_plan(live, &call, story.now());
    let mut round = Round {
        app,
        live,
        call: &call,
        story,
        plan,
        failure: None,
        unsupported: None,
        blocked: Vec::new(),
        dropped: Vec::new(),
    };
    let attempts: u32 = round
        .plan
        .candidates
        .iter()
        .map(|candidate| candidate.provider.retry.max_attempts)
        .sum();
    round.story.allow_attempts(attempts.saturating_add(KEY_ATTEMPTS));
    // Dropped whole if the drain's deadline passes: the attempt's connection closes, its place is given back.
    let answered = tokio::select! {
        biased;
        answered = round.run() => answered,
        () = app.drain.was_cut() => Err(Stop::Refuse(Box::new(Refusal::draining()))),
    };
    match answered {
        Ok(success) => round.answer(success),
        Err(Stop::Refuse(refusal)) => refuse::answer(round.story, &refusal),
        Err(Stop::Exhausted) => round.give_up(),
    }
}

fn make_plan(live: &Live, call: &Call, now: Moment) -> Plan {
    let view = Standing { live, call, now };
    plan::plan(&live.config, call.dialect, &call.model, &view, &mut fastrand::f64)
}

/// The providers as they stand for this request.
struct Standing<'a> {
    live: &'a Live,
    call: &'a Call,
    now: Moment,
}

impl Standing<'_> {
    fn of(&self, provider: &Provider) -> Option<&ProviderState> {
        let mut upstreams = self.live.upstreams().iter();
        let upstream = upstreams.find(|upstream| std::ptr::eq(Arc::as_ptr(&upstream.provider), provider));
        upstream.map(|upstream| &*upstream.state)
    }
}

impl plan::View for Standing<'_> {
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

/// Why no candidate answered.
enum Stop {
    /// For a reason of the request's own.
    Refuse(Box<Refusal>),
    /// All have been tried, or could not be.
    Exhausted,
}

/// A candidate that could not be tried.
struct Blocked {
    provider: String,
    limited: Option<Limited>,
    retry_in: Option<Duration>,
}

struct Round<'a> {
    app: &'a Arc<App>,
    live: &'a Arc<Live>,
    call: &'a Call,
    story: Box<Story>,
    plan: Plan,
    failure: Option<Box<Failure>>,
    /// What a candidate of another dialect could not be asked.
    unsupported: Option<RequestError>,
    blocked: Vec<Blocked>,
    dropped: Vec<String>,
}

impl Round<'_> {
    async fn run(&mut self) -> Result<Success, Stop> {
        let mut index = 0;
        while index < self.plan.candidates.len() {
            let Some(mut candidate) = self.candidate(index)? else {
                index += 1;
                continue;
            };
            if self.may_go_to(&candidate)
                && let Some(success) = self.try_candidate(&mut candidate).await?
            {
                self.dropped = candidate.prepared.dropped;
                return Ok(success);
            }
            // A hedge may have moved on to a later one.
            index = candidate.index + 1;
        }
        match self.unsupported.take() {
            Some(error) if self.failure.is_none() && self.blocked.is_empty() => {
                Err(Stop::Refuse(Box::new(error.into())))
            }
            _ => Err(Stop::Exhausted),
        }
    }

    /// A candidate of the plan with the request as it understands it. `None`: it cannot carry it.
    fn candidate(&mut self, index: usize) -> Result<Option<Candidate>, Stop> {
        let Some(planned) = self.plan.candidates.get(index) else {
            return Ok(None);
        };
        let Some(upstream) = self.live.upstream(&planned.provider).map(Arc::clone) else {
            return Ok(None);
        };
        let model = Arc::clone(&planned.model);
        match prepare(self.call, &upstream, &model, self.plan.route.as_deref()) {
            Ok(prepared) => Ok(Some(Candidate {
                index,
                last: index + 1 == self.plan.candidates.len(),
                last_resort: planned.reason == Reason::LastResort,
                upstream,
                model,
                prepared,
                attempts: 0,
                tried_keys: Vec::new(),
            })),
            // Another dialect may be able to carry it.
            Err(error) if error.code == Code::ValUnsupported => {
                self.unsupported.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(Stop::Refuse(Box::new(error.into()))),
        }
    }

    /// Whether this candidate may be asked after another has failed: one that answers always, another while there is
    /// room in the retry budget.
    fn may_go_to(&mut self, candidate: &Candidate) -> bool {
        let state = &candidate.upstream.state;
        if self.failure.is_none() || state.is_trusted(&candidate.model) || self.withdraw(candidate) {
            return true;
        }
        self.block(candidate, None, None, "retry_budget");
        false
    }

    /// Takes one attempt from the pod's retry budget.
    fn withdraw(&self, candidate: &Candidate) -> bool {
        let settings = &candidate.upstream.provider.retry.budget;
        let taken = self.app.ground.states.budget().withdraw(settings, self.story.now());
        if !taken {
            self.app.metrics.traffic.retry_denied(candidate.upstream.state.name());
        }
        taken
    }

    /// All attempts at one candidate, and at a later one that was asked as a hedge. `None`: the next one's turn.
    async fn try_candidate(&mut self, candidate: &mut Candidate) -> Result<Option<Success>, Stop> {
        loop {
            let Some(lease) = self.place(candidate).await? else {
                return Ok(None);
            };
            let Some(out) = self.launch(candidate, lease) else {
                self.block(candidate, None, None, "no_key");
                return Ok(None);
            };
            let result = if self.may_race(candidate) {
                // Boxed: what few requests need must not weigh on all of them.
                Box::pin(self.race(candidate, out)).await
            } else {
                let hold = self.holds();
                let attempt = candidate.attempt(self.call, self.story.id(), hold, out.in_flight);
                let ran = attempt.run(self.story.pace()).await;
                self.story.resume(ran.pace);
                candidate
                    .tried_keys
                    .extend(out.key_name.filter(|_| ran.result.is_err()));
                ran.result
            };
            let failure = match result {
                Ok(success) => return Ok(Some(success)),
                Err(failure) => failure,
            };
            let state = &candidate.upstream.state;
            let then = self.judge(candidate, &failure);
            let code = failure.code;
            self.log_failure(candidate, &failure, &then);
            self.failure = Some(failure);
            match then {
                Then::Stop => return Err(Stop::Exhausted),
                Then::Next => {
                    self.app.metrics.traffic.fell_back(state.name(), code.as_str());
                    self.story.event(Event::AttemptFailed {
                        code,
                        retry_in: Duration::ZERO,
                    });
                    return Ok(None);
                }
                Then::Again(wait) => {
                    self.app.metrics.traffic.retried(state.name(), code);
                    self.story.event(Event::AttemptFailed { code, retry_in: wait });
                    if !wait.is_zero() {
                        self.sleep(wait).await;
                    }
                }
            }
        }
    }

    /// Whether streams are held until their first content, so that a failure before it can still be answered by another.
    fn holds(&self) -> bool {
        let route = self.plan.route.as_ref();
        route.is_none_or(|route| route.mid_stream_failover == MidStreamFailover::Restart)
    }

    /// Sends an attempt on its way: a key, a word to the lifecycle. `None`: no key is usable.
    fn launch(&mut self, candidate: &mut Candidate, lease: Lease) -> Option<Out> {
        let upstream = &candidate.upstream;
        let (state, base_url) = (&upstream.state, &upstream.provider.base_url);
        let now = self.story.now();
        let key = state.choose_key(base_url, &candidate.tried_keys, now).ok()?;
        let key_name = key
            .as_ref()
            .map(|key| key.name.clone())
            .filter(|_| state.has_several_keys());
        if self.story.attempts() == 0 {
            self.count_in(now);
        }
        self.sent_out(candidate);
        candidate.attempts += 1;
        let (upstream, model) = (&candidate.upstream, &candidate.model);
        Some(Out {
            in_flight: InFlight::new(self.app, upstream, model, lease, key, self.call.input_tokens)
                .forwarding(self.call.kind != Kind::Generate),
            key_name,
        })
    }

    /// Counts a request towards the retry budget. What an SDK marks as its own retry is no new request.
    fn count_in(&self, now: Moment) {
        let mut budget = self.app.ground.states.budget();
        if self.story.caller_retries() == 0 {
            budget.deposit(now);
        } else {
            budget.spend(now);
        }
    }

    /// Tells the lifecycle that an attempt goes out.
    fn sent_out(&mut self, candidate: &Candidate) {
        let index = u16::try_from(candidate.index).unwrap_or(u16::MAX);
        let again = self
            .story
            .upstream
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, &candidate.upstream));
        self.story.event(match self.story.state() {
            State::RateLimited => Event::Permitted { candidate: index },
            State::Retrying if again => Event::Retried,
            State::Retrying => Event::FellBack { candidate: index },
            _ => Event::Dispatched { candidate: index },
        });
        self.story.upstream = Some(Arc::clone(&candidate.upstream));
        self.story.model = Some(Arc::clone(&candidate.model));
    }

    /// A place at the provider, waited for if the configuration says so. `None`: there is none, try the next.
    async fn place(&mut self, candidate: &Candidate) -> Result<Option<Lease>, Stop> {
        let upstream = &candidate.upstream;
        let provider = &upstream.provider;
        let give_up_at = self.story.now() + provider.max_wait;
        let mut turn: Option<Turn> = None;
        if candidate.last_resort && provider.on_limit == OnLimit::Wait {
            self.wait_for_headroom(candidate).await;
        }
        loop {
            let now = self.story.now();
            let place = match &turn {
                None => upstream.state.admit(&candidate.model, self.call.tokens, now),
                Some(turn) => turn.admit(&candidate.model, self.call.tokens, now),
            };
            let limited = match place {
                Ok(lease) => return Ok(Some(lease)),
                Err(Refused::CircuitOpen(retry_in)) => {
                    self.block(candidate, None, retry_in, "circuit_open");
                    return Ok(None);
                }
                Err(Refused::Limited(limited)) => limited,
            };
            if turn.is_none() {
                upstream.state.count_limited(limited.which);
            }
            let left = give_up_at - now;
            let wait = match (provider.on_limit, limited.retry_in) {
                (OnLimit::Wait, Some(wait)) if wait <= left => wait,
                (OnLimit::Wait, None) if !left.is_zero() => left,
                (OnLimit::Reject, _) => return Err(Stop::Refuse(Box::new(local_limit(&provider.name, limited)))),
                _ => {
                    self.block(
                        candidate,
                        Some(limited),
                        limited.retry_in,
                        Code::RateLocalLimit.as_str(),
                    );
                    return Ok(None);
                }
            };
            if matches!(self.story.state(), State::Idle | State::Validating | State::Retrying) {
                self.story.event(Event::Limited { wait: limited.retry_in });
            }
            turn.get_or_insert_with(|| upstream.state.queue()).wait(wait).await;
            let waited = self.story.waited() - now;
            upstream.state.count_wait(waited);
        }
    }

    /// Waits until the provider takes requests again, by its own word: rather than hear the 429 that it announced.
    async fn wait_for_headroom(&mut self, candidate: &Candidate) {
        let upstream = &candidate.upstream;
        let wait = upstream.state.short_for(self.call.tokens, self.story.now());
        if let Some(wait) = wait.filter(|wait| *wait <= upstream.provider.max_wait) {
            if matches!(self.story.state(), State::Idle | State::Validating | State::Retrying) {
                self.story.event(Event::Limited { wait: Some(wait) });
            }
            self.sleep(wait).await;
        }
    }

    fn block(
        &mut self,
        candidate: &Candidate,
        limited: Option<Limited>,
        retry_in: Option<Duration>,
        why: &'static str,
    ) {
        let provider = &candidate.upstream.provider;
        tracing::debug!(request_id = self.story.id().as_str(), provider = %provider.name, why, "candidate passed over");
        if !candidate.last {
            self.app.metrics.traffic.fell_back(candidate.upstream.state.name(), why);
        }
        self.blocked.push(Blocked {
            provider: provider.name.clone(),
            limited,
            retry_in,
        });
    }

    async fn sleep(&mut self, wait: Duration) {
        tokio::time::sleep(wait).await;
        self.story.waited();
    }
}

struct Candidate {
    index: usize,
    last: bool,
    /// It would be passed over if there were anybody else.
    last_resort: bool,
    upstream: Arc<Upstream>,
    model: Arc<str>,
    prepared: Prepared,
    attempts: u32,
    /// Credentials that were used, where there are several.
    tried_keys: Vec<String>,
}

impl Candidate {
    fn attempt<'a>(&'a self, call: &'a Call, id: &'a RequestId, hold: bool, in_flight: InFlight) -> Attempt<'a> {
        Attempt {
            call,
            id,
            hold,
            prepared: &self.prepared,
            upstream: &self.upstream,
            in_flight,
        }
    }
}

/// An attempt on its way out.
struct Out {
    in_flight: InFlight,
    /// Its credential's name, where there are several.
    key_name: Option<String>,
}
