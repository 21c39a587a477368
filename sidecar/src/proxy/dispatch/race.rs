//! Two attempts at once: a slow one, and beside it one at the next candidate. Whoever first has a good answer wins; the
//! other is dropped on the spot, which closes its connection and gives its place back, and its breaker learns nothing.
//!
//! A hedge is an early fallback that keeps the first attempt: if both fail, the request goes on from the hedge's
//! candidate, as if it had been fallen back to. It waits for nothing: without a place, a key, an allowance (`maxPercent`)
//! or trust in the next candidate there is none, and the first attempt is waited for alone.

use std::pin::pin;
use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::hedge;
use bowsprit_core::lifecycle::Event;
use bowsprit_core::plan::Plan;

use super::super::admit::Kind;
use super::super::attempt::{Failure, Ran, Success};
use super::super::hedges::Outcome;
use super::super::route::clip;
use super::{Candidate, InFlight, Out, Round};

/// What hedging a request comes to.
type Answer = Result<Success, Box<Failure>>;

/// Which of the two attempts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    First,
    Second,
}

/// How a race ended: who ended last, with what, and who had failed before.
struct Finish {
    last: Side,
    ran: Ran,
    failed: Option<Box<Failure>>,
}

/// What a request's route says about hedging.
pub(super) fn settings(plan: &Plan) -> Option<hedge::Settings> {
    plan.route.as_ref()?.hedge
}

impl Round<'_> {
    /// Whether this attempt is watched, and raced if it is slow: the first at its candidate, until there was a race.
    pub(super) fn may_race(&self, candidate: &Candidate) -> bool {
        settings(&self.plan).is_some()
            && self.call.kind == Kind::Generate
            && !self.story.hedged()
            && candidate.attempts == 1
    }

    /// Runs an attempt, and beside it another if it is slow. Afterwards `candidate` is the one that counts: that answered,
    /// or that the request goes on from.
    pub(super) async fn race(&mut self, candidate: &mut Candidate, out: Out) -> Answer {
        candidate.tried_keys.extend(out.key_name);
        let (result, moved_on) = Box::pin(self.run_race(candidate, out.in_flight)).await;
        if let Some(second) = moved_on {
            *candidate = second;
        }
        self.story.upstream = Some(candidate.upstream.clone());
        self.story.model = Some(candidate.model.clone());
        result
    }

    /// The result, and the hedge's candidate where that is the one that counts.
    async fn run_race(&mut self, candidate: &Candidate, in_flight: InFlight) -> (Answer, Option<Candidate>) {
        let (call, id, hold) = (self.call, self.story.id().clone(), self.holds());
        let begun = self.story.now();
        let delay = self.delay(candidate);
        let mut first = pin!(candidate.attempt(call, &id, hold, in_flight).run(self.story.pace()));
        let mut hedge = None;
        if let Some(delay) = delay {
            tokio::select! {
                biased;
                ran = &mut first => return (self.alone(candidate, ran, begun, Some(delay)), None),
                () = tokio::time::sleep(delay) => {}
            }
            self.story.waited();
            hedge = self.hedge(candidate);
        }
        let Some((second, out)) = hedge else {
            let ran = first.await;
            return (self.alone(candidate, ran, begun, delay), None);
        };
        let counted = self.app.metrics.hedges.sent(second.upstream.state.name());
        let hedged = self.story.now();
        let finish = {
            let mut other = pin!(second.attempt(call, &id, hold, out).run(self.story.pace()));
            let (side, ran) = tokio::select! {
                biased;
                ran = &mut first => (Side::First, ran),
                ran = &mut other => (Side::Second, ran),
            };
            match (ran.result, side) {
                (Ok(success), last) => Finish::won(last, success, ran.pace),
                (Err(failure), Side::First) => {
                    self.one_failed(candidate, &failure);
                    Finish {
                        last: Side::Second,
                        ran: other.await,
                        failed: Some(failure),
                    }
                }
                (Err(failure), Side::Second) => {
                    self.one_failed(&second, &failure);
                    Finish {
                        last: Side::First,
                        ran: first.as_mut().await,
                        failed: Some(failure),
                    }
                }
            }
        };
        counted.ended(finish.outcome());
        let now = finish.ran.pace.now();
        self.took(candidate, now - begun, now);
        if finish.last == Side::Second && finish.ran.result.is_ok() {
            self.took(&second, now - hedged, now);
        }
        self.settle_race(finish, second)
    }

    /// Who counts, and what follows from it.
    fn settle_race(&mut self, finish: Finish, second: Candidate) -> (Answer, Option<Candidate>) {
        let Finish { last, ran, failed } = finish;
        self.story.resume(ran.pace);
        let ended_last = match ran.result {
            Ok(success) => return (Ok(success), (last == Side::Second).then_some(second)),
            Err(failure) => failure,
        };
        let Some(ended_before) = failed else {
            return (Err(ended_last), None); // one that did not race; it says what it says
        };
        let (of_first, of_second) = match last {
            Side::First => (ended_last, ended_before),
            Side::Second => (ended_before, ended_last),
        };
        // What nobody else could do better is the answer, as it would have been without the second.
        if of_first.decision.try_next || of_first.decision.retry_same {
            (Err(of_second), Some(second))
        } else {
            (Err(of_first), None)
        }
    }

    /// An attempt that was not raced after all.
    fn alone(&mut self, candidate: &Candidate, ran: Ran, begun: Moment, delay: Option<Duration>) -> Answer {
        let now = ran.pace.now();
        let took = now - begun;
        if ran.result.is_ok() || delay.is_some_and(|delay| took >= delay) {
            self.took(candidate, took, now);
        }
        self.story.resume(ran.pace);
        ran.result
    }

    /// How long this candidate is waited for; `None`: it is not raced.
    fn delay(&self, candidate: &Candidate) -> Option<Duration> {
        let route = self.plan.route.as_ref()?;
        let settings = route.hedge?;
        if self.story.attempts() == 1 {
            self.app.ground.states.may_hedge(&route.name, &settings);
        }
        let (state, now) = (&candidate.upstream.state, self.story.now());
        (!candidate.last)
            .then(|| state.hedge_delay(&candidate.model, self.call.stream, &settings, now))
            .flatten()
    }

    /// Remembers how long an answer took, or had taken when it was given up, where anybody asks for it.
    fn took(&self, candidate: &Candidate, took: Duration, now: Moment) {
        if settings(&self.plan).is_some_and(|settings| settings.percentile.is_some()) {
            let state = &candidate.upstream.state;
            state.took(&candidate.model, self.call.stream, took, now);
        }
    }

    /// The second attempt, if the next candidate that can carry the request can take it right now.
    fn hedge(&mut self, first: &Candidate) -> Option<(Candidate, InFlight)> {
        let route = self.plan.route.clone()?;
        let candidates = first.index + 1..self.plan.candidates.len();
        let mut second = candidates
            .filter_map(|index| self.candidate(index).ok()?)
            .find(|next| !(std::sync::Arc::ptr_eq(&next.upstream, &first.upstream) && next.model == first.model))?;
        let state = second.upstream.state.clone();
        if !state.is_trusted(&second.model) {
            return None;
        }
        let lease = state.admit(&second.model, self.call.tokens, self.story.now()).ok()?;
        if !self.app.ground.states.hedge(&route.name) {
            return None;
        }
        let out = self.launch(&mut second, lease)?;
        second.tried_keys.extend(out.key_name);
        Some((second, out.in_flight))
    }

    /// One of two has failed; the other is waited for.
    fn one_failed(&mut self, candidate: &Candidate, failure: &Failure) {
        tracing::info!(
            request_id = self.story.id().as_str(),
            provider = %candidate.upstream.provider.name,
            model = %candidate.model,
            code = failure.code.as_str(),
            detail = clip(&failure.message),
            then = "wait for the other",
            "attempt failed"
        );
        self.story.tick();
        self.story.event(Event::AttemptFailed {
            code: failure.code,
            retry_in: Duration::ZERO,
        });
    }
}

impl Finish {
    fn won(last: Side, success: Success, pace: super::super::pace::Pace) -> Self {
        Self {
            last,
            ran: Ran {
                result: Ok(success),
                pace,
            },
            failed: None,
        }
    }

    /// What became of the second attempt.
    fn outcome(&self) -> Outcome {
        match (self.last, &self.ran.result, &self.failed) {
            (Side::Second, Ok(_), _) => Outcome::Won,
            (Side::First, Ok(_), None) => Outcome::Lost,
            _ => Outcome::Failed,
        }
    }
}
