//! What follows next for one request: wait, send an attempt, await what is out, or respond.
//!
//! A [`Flow`] owns the plan's candidates and every decision about them: who is asked, whether a place is waited for, what
//! follows a failure ([`retry`]), when a second attempt goes out beside a slow first one, what the retry budget pays for,
//! and how the request ends. It is asked [`Flow::next`] and told what happened ([`Flow::ended`], [`Flow::answered`]); it
//! sends nothing itself. What it needs of the world at one moment (a permit, trust, the budget) it takes from a [`Pool`].
//! The proxy's loop does what it says, and so does the simulation: there is one policy.
//!
//! The request's life ([`state`]) is kept by the same calls: no event can be reported that the flow has not decided, so a
//! change outside the table cannot happen.
//!
//! What always holds, each with a test of its name: ends are final and come once; nothing is tried again after content was
//! sent; no earlier candidate is tried again; no more than two attempts are out at once; an attempt is paid for when it
//! goes out, never before; a retry waits for its backoff.

use std::sync::Arc;
use std::time::Duration;

use bowsprit_crds::provider_config::OnLimit;

use crate::clock::Moment;
use crate::config::Provider;
use crate::fault::{Blame, Code};
use crate::plan::{self, Reason};
use crate::record::{AttemptKind, Outcome};

mod hedge;
pub mod moves;
mod pool;
pub mod retry;
pub mod state;
mod step;
#[cfg(test)]
mod tests;

pub use pool::{Fit, Pool, Refused};
use retry::{Failed, Next, Standing, Why};
pub use state::{CHANGES, Event, State};
pub use step::{Cancel, End, Skip, SkipReason, Step, Terms, WaitReason};

/// A candidate and what was done about it.
#[derive(Debug)]
struct Progress {
    provider: Arc<Provider>,
    model: Arc<str>,
    is_last_resort: bool,
    attempts: u32,
}

/// Where the flow stands between two questions.
#[derive(Debug)]
enum Phase {
    /// The candidate `at` is looked at.
    Choose,
    /// The candidate `at` is to be asked as soon as it has a place.
    Acquire(Acquire),
    /// One or two attempts are out.
    Out,
    /// A retry of the candidate `at` waits.
    Backoff { due: Moment },
    /// Decided.
    End(End),
}

#[derive(Clone, Copy, Debug)]
struct Acquire {
    /// A wait for a place began here.
    since: Moment,
    /// The retry budget pays.
    is_paid: bool,
    /// The provider's announced limit was waited for, or need not be.
    headroom_is_waited: bool,
}

/// One request's decisions.
#[derive(Debug)]
pub struct Flow {
    state: State,
    terms: Terms,
    candidates: Vec<Progress>,
    at: usize,
    phase: Phase,
    /// Candidates of the attempts that are out: the first, and a hedge.
    first: Option<usize>,
    second: Option<usize>,
    hedge_due: Option<Moment>,
    attempts: u32,
    hedges: u32,
    content_sent: bool,
    /// The failure that is answered with if nothing better follows.
    failure: Option<(usize, Failed)>,
    /// Of two attempts, the one that failed first.
    failed_before: Option<(usize, Failed)>,
    skips: Vec<Skip>,
    outcome: Option<Outcome>,
    code: Option<Code>,
    illegal_changes: u32,
}

impl Flow {
    /// A request that has arrived and is not planned yet.
    pub fn received() -> Self {
        let mut flow = Self {
            state: State::Idle,
            terms: Terms::default(),
            candidates: Vec::new(),
            at: 0,
            phase: Phase::Choose,
            first: None,
            second: None,
            hedge_due: None,
            attempts: 0,
            hedges: 0,
            content_sent: false,
            failure: None,
            failed_before: None,
            skips: Vec::new(),
            outcome: None,
            code: None,
            illegal_changes: 0,
        };
        flow.change(Event::Received);
        flow
    }

    /// The candidates, in order. By value, so that their list becomes the flow's own.
    pub fn planned(&mut self, candidates: Vec<plan::Candidate>, terms: Terms) {
        self.terms = terms;
        self.candidates = candidates
            .into_iter()
            .map(|candidate| Progress {
                provider: candidate.provider,
                model: candidate.model,
                is_last_resort: candidate.reason == Reason::LastResort,
                attempts: 0,
            })
            .collect();
    }

    /// What the shell does next. `now` is the time of the question.
    pub fn next(&mut self, pool: &mut dyn Pool, now: Moment) -> Step {
        loop {
            match self.phase {
                Phase::Choose => self.choose(pool, now),
                Phase::Acquire(acquire) => {
                    if let Some(step) = self.acquire(acquire, pool, now) {
                        return step;
                    }
                }
                Phase::Out => return self.out(pool, now),
                Phase::Backoff { due } if now < due => {
                    return Step::Wait {
                        candidate: self.at,
                        reason: WaitReason::Backoff,
                        most: due - now,
                    };
                }
                Phase::Backoff { .. } => self.seek_place(true, now),
                Phase::End(end) => return Step::Respond(end),
            }
        }
    }

    /// Looks at the candidate `at`: can it carry the request, and is a switch to it paid for?
    fn choose(&mut self, pool: &mut dyn Pool, now: Moment) {
        let candidate = self.at;
        if candidate >= self.candidates.len() {
            return self.exhausted();
        }
        match pool.fits(candidate) {
            Fit::Fits => {}
            Fit::Unsupported => return self.skip(SkipReason::Unsupported, None),
            Fit::Invalid => {
                self.phase = Phase::End(End::Invalid { candidate });
                return;
            }
        }
        // A switch to a candidate that answers is free: one provider's outage must not stop requests from going where they
        // are served. One to a candidate that does not answer either counts like a retry.
        let is_paid = self.failure.is_some() && !pool.is_trusted(candidate);
        if is_paid && !pool.budget_left(candidate, now) {
            return self.skip(SkipReason::RetryBudget, None);
        }
        self.seek_place(is_paid, now);
    }

    fn seek_place(&mut self, is_paid: bool, now: Moment) {
        let Some(candidate) = self.candidates.get(self.at) else {
            return self.exhausted();
        };
        self.phase = Phase::Acquire(Acquire {
            since: now,
            is_paid,
            headroom_is_waited: !(candidate.is_last_resort && candidate.provider.on_limit == OnLimit::Wait),
        });
    }

    /// Takes a place for an attempt, waiting for it where the configuration says so.
    fn acquire(&mut self, acquire: Acquire, pool: &mut dyn Pool, now: Moment) -> Option<Step> {
        let candidate = self.at;
        let provider = Arc::clone(&self.candidates.get(candidate)?.provider);
        if !acquire.headroom_is_waited {
            self.phase = Phase::Acquire(Acquire {
                headroom_is_waited: true,
                ..acquire
            });
            // Rather than hear the 429 that the provider has announced.
            let announced = pool.headroom_in(candidate, now);
            if let Some(most) = announced.filter(|wait| *wait <= provider.max_wait) {
                return Some(self.wait(WaitReason::Headroom, most));
            }
        }
        let (limited, on_limit, max_wait) = match pool.acquire(candidate, now) {
            Ok(()) if acquire.is_paid && !pool.withdraw(candidate, now) => {
                pool.release(candidate, now);
                self.skip(SkipReason::RetryBudget, None);
                return None;
            }
            Ok(()) => return Some(self.send(pool, now)),
            Err(Refused::CircuitOpen { retry_in }) => {
                self.skip(SkipReason::CircuitOpen, retry_in);
                return None;
            }
            Err(Refused::NoCredential) => {
                self.skip(SkipReason::NoCredential, None);
                return None;
            }
            Err(Refused::Unasked) => return Some(Step::Ask { candidate }),
            Err(Refused::Limited(limited)) => (limited, provider.on_limit, provider.max_wait),
            Err(Refused::Over {
                limited,
                on_limit,
                max_wait,
            }) => (limited, on_limit, max_wait),
        };
        let left = (acquire.since + max_wait) - now;
        match (on_limit, limited.retry_in) {
            (OnLimit::Wait, Some(most)) if most <= left => Some(self.wait(WaitReason::Limit, most)),
            (OnLimit::Wait, None) if !left.is_zero() => Some(self.wait(WaitReason::Limit, left)),
            (OnLimit::Reject, _) => {
                self.phase = Phase::End(End::Limited { candidate, limited });
                None
            }
            _ => {
                self.skip(SkipReason::Limited(limited), limited.retry_in);
                None
            }
        }
    }

    fn wait(&mut self, reason: WaitReason, most: Duration) -> Step {
        if matches!(self.state, State::Validating | State::Retrying) {
            self.change(Event::Limited);
        }
        Step::Wait {
            candidate: self.at,
            reason,
            most,
        }
    }

    /// An attempt at the candidate `at` goes out.
    fn send(&mut self, pool: &mut dyn Pool, now: Moment) -> Step {
        let candidate = self.at;
        if self.attempts == 0 {
            pool.count_request(self.terms.sdk_retries > 0, now);
        }
        let before = self.candidates.get(candidate).map_or(0, |progress| progress.attempts);
        let kind = match (self.attempts, before) {
            (0, _) => AttemptKind::First,
            (_, 0) => AttemptKind::Fallback,
            _ => AttemptKind::Retry,
        };
        self.change(match (self.state, kind) {
            (State::RateLimited, _) => Event::Permitted,
            (State::Retrying, AttemptKind::Retry) => Event::Retried,
            (State::Retrying, _) => Event::FellBack,
            _ => Event::Dispatched,
        });
        self.first = Some(candidate);
        self.phase = Phase::Out;
        let step = self.launched(candidate, kind);
        self.hedge_due = self.hedge_due(candidate, pool, now);
        step
    }

    fn launched(&mut self, candidate: usize, kind: AttemptKind) -> Step {
        self.attempts += 1;
        if let Some(progress) = self.candidates.get_mut(candidate) {
            progress.attempts += 1;
        }
        Step::Attempt {
            candidate,
            kind,
            number: self.attempts,
        }
    }

    fn is_last(&self, candidate: usize) -> bool {
        candidate + 1 >= self.candidates.len()
    }

    /// The candidate `at` is passed over; the next one's turn.
    fn skip(&mut self, reason: SkipReason, retry_in: Option<Duration>) {
        self.skips.push(Skip {
            candidate: self.at,
            reason,
            retry_in,
        });
        self.at += 1;
        self.phase = Phase::Choose;
    }

    /// All have been tried, or could not be.
    fn exhausted(&mut self) {
        let end = match &self.failure {
            Some((candidate, _)) => End::Failed { candidate: *candidate },
            None if !self.skips.is_empty() && self.skips.iter().all(|skip| skip.reason == SkipReason::Unsupported) => {
                End::Unsupported
            }
            None => End::Nobody,
        };
        if let Some((_, failed)) = self.failure {
            self.give_up(failed.decision.code.unwrap_or(Code::SysInternal));
        }
        self.phase = Phase::End(end);
    }

    /// An attempt failed. Returns what follows and why; nothing yet (`None`) while another attempt is out.
    pub fn ended(
        &mut self,
        candidate: usize,
        failed: Failed,
        pool: &mut dyn Pool,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Option<(Next, Why)> {
        let was_first = self.first == Some(candidate);
        if was_first {
            self.first = None;
        } else {
            self.second = None;
        }
        if self.first.is_some() || self.second.is_some() {
            self.failed_before = Some((candidate, failed));
            return None;
        }
        let (candidate, failed) = match self.failed_before.take() {
            None => (candidate, failed),
            Some(before) => {
                let (of_first, of_second) = if was_first {
                    ((candidate, failed), before)
                } else {
                    (before, (candidate, failed))
                };
                // What nobody else could do better is the answer, as it would have been without the second.
                let decision = of_first.1.decision;
                if decision.try_next || decision.retry_same {
                    of_second
                } else {
                    of_first
                }
            }
        };
        self.hedge_due = None;
        self.at = candidate;
        self.failure = Some((candidate, failed));
        let (next, why) = self.decide(candidate, &failed, pool, now, rng);
        match next {
            Next::OtherCredential => {
                self.change(Event::AttemptFailed);
                self.seek_place(false, now);
            }
            Next::Again(wait) => {
                self.change(Event::AttemptFailed);
                self.phase = Phase::Backoff { due: now + wait };
            }
            Next::Onward => {
                self.change(Event::AttemptFailed);
                self.at = candidate + 1;
                self.phase = Phase::Choose;
            }
            Next::Stop => {
                self.give_up(failed.decision.code.unwrap_or(Code::SysInternal));
                self.phase = Phase::End(End::Failed { candidate });
            }
        }
        Some((next, why))
    }

    fn decide(
        &self,
        candidate: usize,
        failed: &Failed,
        pool: &mut dyn Pool,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> (Next, Why) {
        let Some(progress) = self.candidates.get(candidate) else {
            return (Next::Stop, Why::WouldFailAgain);
        };
        let standing = Standing {
            retry: &progress.provider.retry,
            attempts: progress.attempts,
            is_last: self.is_last(candidate),
            is_trusted: pool.is_trusted(candidate),
            other_credential: pool.other_credential(candidate, now),
            sdk_retries: self.terms.sdk_retries,
            budget_left: pool.budget_left(candidate, now),
        };
        retry::decide(failed, &standing, rng)
    }

    /// This candidate answers; `is_stream`: its answer has begun, else it is here whole. Whatever else is out is dropped.
    pub fn answered(&mut self, candidate: usize, is_stream: bool) {
        self.first = None;
        self.second = None;
        self.hedge_due = None;
        self.at = candidate;
        self.phase = Phase::End(End::Answered { candidate });
        if is_stream {
            self.change(Event::StreamOpened);
        } else {
            self.change(Event::Answered);
            self.close(Outcome::Ok, None);
        }
    }

    /// Part of a streamed answer was sent on; `is_content`: a token, a tool call, a refusal.
    pub fn chunk(&mut self, is_content: bool) {
        self.content_sent |= is_content;
    }

    /// The streamed answer ended as its API says it must.
    pub fn stream_ended(&mut self) {
        self.change(Event::StreamEnded);
        self.close(Outcome::Ok, None);
    }

    /// The streamed answer broke off.
    pub fn stream_broke(&mut self, code: Code) {
        self.give_up(code);
    }

    /// The caller is told an error of this code. Where the flow itself has given up already, its end stays.
    pub fn rejected(&mut self, code: Code) {
        if !self.state.is_terminal() {
            self.give_up(code);
        }
    }

    /// Answered without any provider: from the configuration, or from a cache. That is no attempt.
    pub fn served(&mut self) {
        self.change(Event::Dispatched);
        self.change(Event::Answered);
        self.close(Outcome::Ok, None);
    }

    /// Ended from outside.
    pub fn cancelled(&mut self, by: Cancel) {
        if self.state.is_terminal() {
            return;
        }
        self.change(Event::Cancelled);
        match by {
            Cancel::Caller => self.close(Outcome::Cancelled, None),
            Cancel::Drain => self.close(Outcome::Shed, Some(Code::SysDraining)),
            Cancel::Memory => self.close(Outcome::Shed, Some(Code::SysOverloaded)),
        }
    }

    fn give_up(&mut self, code: Code) {
        self.change(match self.state {
            State::Validating | State::RateLimited => Event::Rejected,
            _ => Event::GaveUp,
        });
        self.close(outcome_of(code), Some(code));
    }

    fn close(&mut self, outcome: Outcome, code: Option<Code>) {
        let is_cut = self.content_sent && !matches!(outcome, Outcome::Ok | Outcome::Cancelled);
        self.outcome = Some(if is_cut { Outcome::Cut } else { outcome });
        self.code = code;
    }

    /// No caller can bring about a change outside the table; should one come, the state stays and the bug is counted.
    fn change(&mut self, event: Event) {
        match state::after(self.state, event) {
            Some(after) => self.state = after,
            None => self.illegal_changes += 1,
        }
    }

    /// Changes outside the table: each is a bug of Bowsprit's.
    pub fn illegal_changes(&self) -> u32 {
        self.illegal_changes
    }

    /// Where the request stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Attempts that went out.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Attempts that went out beside another.
    pub fn hedges(&self) -> u32 {
        self.hedges
    }

    /// Candidates of the plan that were passed over, in order.
    pub fn skips(&self) -> &[Skip] {
        &self.skips
    }

    /// How it ended; `None` while it lives.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// The error it ended with; `None` while it lives, after success and where the caller left.
    pub fn code(&self) -> Option<Code> {
        self.code
    }
}

/// What an error of this code means for the request.
fn outcome_of(code: Code) -> Outcome {
    match code {
        Code::RateLocalLimit | Code::SysOverloaded | Code::SysDraining => Outcome::Shed,
        code => match code.blame() {
            Blame::Client => Outcome::ClientError,
            Blame::Provider => Outcome::ProviderError,
            Blame::Us => Outcome::OwnError,
        },
    }
}
