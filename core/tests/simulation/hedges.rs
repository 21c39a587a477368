//! A second attempt beside the first: sent when the first is slow, and one of the two is given up.

use super::{Request, World};
use bowsprit_core::breaker::Verdict;
use bowsprit_core::classify::{Ended, classify};
use bowsprit_core::lifecycle::Event;
use std::time::Duration;

impl World {
    /// Sends a hedge, if it is time and everything allows it.
    pub(super) fn hedge(&mut self, request: &mut Request) -> bool {
        let Some(delay) = self.hedging.delay(Some(&self.latencies), self.now) else {
            return false;
        };
        let place = request.machine.context().candidate.unwrap();
        let hedge = Event::Dispatched { candidate: place + 1 };
        if self.now - request.sent < delay || !request.machine.accepts(&hedge, self.now) {
            return false;
        }
        // A hedge waits for nothing: neither for a place nor for a breaker.
        let Ok(reservation) = self.second_limiter.reserve(request.tokens, self.now) else {
            return false;
        };
        let Ok(permit) = self.second_breaker.admit(self.now) else {
            self.second_limiter.cancel(reservation, self.now);
            return false;
        };
        if !self.allowance.withdraw() {
            self.seen.hedges_refused += 1;
            self.second_breaker.cancel(permit);
            self.second_limiter.cancel(reservation, self.now);
            return false;
        }
        self.hedges += 1;
        request.machine.on(hedge, self.now).unwrap();
        request.hedge = Some((permit, reservation));
        true
    }

    /// One of two attempts comes to its end: a good one wins and ends the other, a bad one leaves it alone.
    pub(super) fn progress_hedged(&mut self, mut request: Request) {
        let first_ends = self.rng.bool();
        let Some(ended) = self.answer(first_ends) else {
            return self.win(request, first_ends);
        };
        let decision = classify(&ended);
        if first_ends {
            self.give_back(&mut request, Some(decision.breaker));
            self.give_room_back(&mut request);
        } else {
            self.seen.hedges_failed += 1;
            self.give_hedge_back(&mut request, Some(decision.breaker));
        }
        let failed = Event::AttemptFailed {
            code: decision.code.unwrap(),
            retry_in: Duration::ZERO,
        };
        request.machine.on(failed, self.now).unwrap();
        assert_eq!(request.machine.context().under_way, 1);
        self.live.push(request);
    }

    fn win(&mut self, mut request: Request, first_wins: bool) {
        self.latencies.add(self.now - request.sent, self.now);
        if first_wins {
            self.seen.hedges_lost += 1;
            self.give_hedge_back(&mut request, None);
        } else {
            self.seen.hedges_won += 1;
            self.give_back(&mut request, None);
            self.give_room_back(&mut request);
        }
        if request.machine.context().streaming {
            request.machine.on(Event::StreamOpened, self.now).unwrap();
            return self.live.push(request);
        }
        let verdict = Some(classify(&Ended::Answered).breaker);
        self.give_back(&mut request, verdict);
        self.give_hedge_back(&mut request, verdict);
        self.end(request, Event::Answered { bytes: 100 });
    }

    /// Gives the second target its permit and its place back, with a verdict or unused.
    pub(super) fn give_hedge_back(&mut self, request: &mut Request, verdict: Option<Verdict>) {
        let Some((permit, reservation)) = request.hedge.take() else {
            return;
        };
        self.second_limiter.settle(reservation, Some(request.tokens), self.now);
        match verdict {
            Some(verdict) => {
                self.second_breaker.settle(permit, verdict, self.now);
            }
            None => self.second_breaker.cancel(permit),
        }
    }
}
