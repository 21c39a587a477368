//! Going through the candidates: a place, a key, an attempt; again, or the next; and in the end one answer.
//!
//! While nothing was sent to the app, a failure may be followed by another attempt: with another key at once, at the
//! same provider after a backoff (attempts, `retryOn` and the retry budget permitting), or at the next candidate. What
//! may follow is `classify`'s word; this file only does it.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::config::OnLimit;
use bowsprit_core::dialect::RequestError;
use bowsprit_core::fault::Code;
use bowsprit_core::lifecycle::{Event, State};
use bowsprit_core::limiter::Limited;
use bowsprit_core::plan::{self, Plan, Why};
use http::Response;

use super::admit::{Call, Kind};
use super::attempt::{Attempt, Failure, Success};
use super::in_flight::InFlight;
use super::prepare::{Prepared, prepare};
use super::refuse::{self, Refusal};
use super::story::Story;
use crate::app::App;
use crate::body::Body;
use crate::live::{Live, Upstream};
use crate::state::{Lease, Refused};

mod conclude;
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
    let view = |provider: &bowsprit_core::config::Provider, model: &str| {
        let upstream = live
            .upstreams()
            .iter()
            .find(|upstream| std::ptr::eq(Arc::as_ptr(&upstream.provider), provider));
        upstream.map_or(
            plan::Availability::Unavailable {
                why: Why::NotHere,
                retry_in: None,
            },
            |upstream| upstream.state.availability(model, call.tokens, now),
        )
    };
    plan::plan(&live.config, call.dialect, &call.model, &view, &mut fastrand::f64)
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
    blocked: Vec<Blocked>,
    dropped: Vec<String>,
}

impl Round<'_> {
    async fn run(&mut self) -> Result<Success, Stop> {
        let mut unsupported: Option<RequestError> = None;
        for index in 0..self.plan.candidates.len() {
            let Some(candidate) = self.plan.candidates.get(index) else {
                break;
            };
            let Some(upstream) = self.live.upstream(&candidate.provider).map(Arc::clone) else {
                continue;
            };
            let model = Arc::clone(&candidate.model);
            let prepared = match prepare(self.call, &upstream, &model, self.plan.route.as_deref()) {
                Ok(prepared) => prepared,
                // Another dialect may be able to carry it.
                Err(error) if error.code == Code::ValUnsupported => {
                    unsupported.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(Stop::Refuse(Box::new(error.into()))),
            };
            let candidate = Candidate {
                index,
                last: index + 1 == self.plan.candidates.len(),
                upstream,
                model,
                prepared,
            };
            if let Some(success) = self.try_candidate(&candidate).await? {
                self.dropped = candidate.prepared.dropped;
                return Ok(success);
            }
        }
        match unsupported {
            Some(error) if self.failure.is_none() && self.blocked.is_empty() => {
                Err(Stop::Refuse(Box::new(error.into())))
            }
            _ => Err(Stop::Exhausted),
        }
    }

    /// All attempts at one candidate. `None`: the next one's turn.
    async fn try_candidate(&mut self, candidate: &Candidate) -> Result<Option<Success>, Stop> {
        let state = &candidate.upstream.state;
        state.deposit(self.story.now());
        let mut tried_keys: Vec<String> = Vec::new();
        let mut attempts = 0;
        loop {
            let Some(lease) = self.place(candidate).await? else {
                return Ok(None);
            };
            let base_url = &candidate.upstream.provider.base_url;
            let Ok(key) = state.choose_key(base_url, &tried_keys, self.story.now()) else {
                drop(lease);
                self.block(candidate, None, None, "no_key");
                return Ok(None);
            };
            self.sent_out(candidate);
            attempts += 1;
            let key_name = key
                .as_ref()
                .map(|key| key.name.clone())
                .filter(|_| state.has_several_keys());
            let in_flight = InFlight::new(
                self.app,
                &candidate.upstream,
                &candidate.model,
                lease,
                key,
                self.call.input_tokens,
            )
            .forwarding(self.call.kind != Kind::Generate);
            let attempt = Attempt {
                call: self.call,
                prepared: &candidate.prepared,
                upstream: &candidate.upstream,
                in_flight,
            };
            let failure = match attempt.run(&mut self.story).await {
                Ok(success) => return Ok(Some(success)),
                Err(failure) => failure,
            };
            tried_keys.extend(key_name);
            let then = self.judge(candidate, &failure, attempts, &tried_keys);
            let code = failure.code;
            self.log_failure(candidate, &failure, &then);
            self.failure = Some(failure);
            match then {
                Then::Stop => return Err(Stop::Exhausted),
                Then::Next => {
                    if candidate.last {
                        return Err(Stop::Exhausted);
                    }
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
        let mut counted = false;
        loop {
            let now = self.story.now();
            let limited = match upstream.state.admit(&candidate.model, self.call.tokens, now) {
                Ok(lease) => return Ok(Some(lease)),
                Err(Refused::CircuitOpen(retry_in)) => {
                    self.block(candidate, None, retry_in, "circuit_open");
                    return Ok(None);
                }
                Err(Refused::Limited(limited)) => limited,
            };
            if !std::mem::replace(&mut counted, true) {
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
            // Whichever comes first: the time is up, or a request gave its place back.
            let _ = tokio::time::timeout(wait, upstream.state.freed()).await;
            let waited = self.story.waited() - now;
            upstream.state.count_wait(waited);
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
    upstream: Arc<Upstream>,
    model: Arc<str>,
    prepared: Prepared,
}
