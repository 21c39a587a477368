//! One request on its way: received, limited, admitted, answered or not, retried, ended.

use super::{Mood, Request, World};
use bowsprit_core::breaker::{Permit, StateName, Verdict};
use bowsprit_core::classify::{Decision, Ended, classify};
use bowsprit_core::fault::{Code, ErrorKind, TransportFault};
use bowsprit_core::lifecycle::{Cancel, Event, Machine, State};
use std::time::Duration;

impl World {
    pub(super) fn receive(&mut self) {
        if self.live.len() >= 30 {
            return;
        }
        self.received += 1;
        let mut machine = Machine::new("r");
        let streaming = self.rng.bool();
        machine.on(Event::Received { streaming }, self.now).unwrap();
        machine.allow_attempts(self.rng.u32(1..=4));
        let mut request = Request {
            machine,
            permit: None,
            reservation: None,
            hedge: None,
            sent: self.now,
            tokens: self.rng.u64(0..20_000),
            content_sent: false,
        };
        self.allowance.deposit(&self.hedging);
        self.budget.deposit(self.now);
        self.budget_shadow.deposit(self.now);
        if self.rng.u32(0..30) == 0 {
            let code = [Code::ValNotJson, Code::AuthKeyMissing][self.rng.usize(0..2)];
            return self.end(request, Event::Rejected { code });
        }
        if !self.reserve(&mut request) {
            request.machine.on(Event::Limited { wait: None }, self.now).unwrap();
            return self.live.push(request);
        }
        self.begin(request, |candidate| Event::Dispatched { candidate });
    }

    fn reserve(&mut self, request: &mut Request) -> bool {
        let would = self.limiter.would_admit(request.tokens, self.now);
        let must = self.limiter_shadow.must_admit();
        let reserved = self.limiter.reserve(request.tokens, self.now);
        assert_eq!(would, reserved.is_ok(), "would_admit and reserve disagree");
        assert!(
            must.is_none_or(|must| must == would),
            "shadow: {must:?}, limiter: {reserved:?}"
        );
        match reserved {
            Ok(reservation) => {
                self.limiter_shadow.take(request.tokens);
                request.reservation = Some((reservation, request.tokens));
                true
            }
            Err(limited) => {
                self.seen.limited += 1;
                if let Some(wait) = limited.retry_in {
                    assert!(!wait.is_zero());
                    assert!(
                        self.limiter.would_admit(request.tokens, self.now + wait),
                        "the wait told is too short"
                    );
                }
                false
            }
        }
    }

    fn admit(&mut self) -> Option<(Permit, u64)> {
        let must = self.breaker_shadow.would_admit(self.now);
        match self.breaker.admit(self.now) {
            Ok(permit) => {
                assert!(must, "admitted while {:?}", self.breaker_shadow.state);
                let began = self.breaker_shadow.state == StateName::Open;
                self.breaker_shadow.admit(self.now);
                assert_eq!(
                    permit.transition().is_some(),
                    began,
                    "the first probe, and only it, carries the change"
                );
                Some((permit, self.breaker_shadow.generation))
            }
            Err(rejected) => {
                assert!(!must, "refused while {:?}", self.breaker_shadow.state);
                assert!(!rejected.retry_in.is_zero());
                self.seen.refused_open += 1;
                None
            }
        }
    }

    /// Sends a first or a waiting request to the first candidate, or past it where its breaker says no.
    fn begin(&mut self, mut request: Request, event: fn(u16) -> Event) {
        let place = request.machine.context().candidate.unwrap_or(0);
        request.permit = if place == 0 { self.admit() } else { None };
        let candidate = if place == 0 && request.permit.is_none() {
            1
        } else {
            place
        };
        request.machine.on(event(candidate), self.now).unwrap();
        request.sent = self.now;
        self.live.push(request);
    }

    pub(super) fn progress(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let index = self.rng.usize(0..self.live.len());
        let mut request = self.live.swap_remove(index);
        self.note(request.machine.state() as u64);
        if self.rng.u32(0..25) == 0 {
            let by = [Cancel::Caller, Cancel::Deadline, Cancel::Drain][self.rng.usize(0..3)];
            self.give_back(&mut request, None);
            self.give_hedge_back(&mut request, None);
            return self.end(request, Event::Cancelled(by));
        }
        match request.machine.state() {
            State::RateLimited => self.progress_limited(request),
            State::Requesting => self.progress_requesting(request),
            State::Streaming => self.progress_streaming(request),
            State::Retrying => self.progress_retrying(request),
            other => panic!("a live request in {other:?}"),
        }
    }

    fn progress_limited(&mut self, mut request: Request) {
        let ready = request.reservation.is_some() || self.reserve(&mut request);
        if ready {
            self.begin(request, |candidate| Event::Permitted { candidate });
        } else if self.rng.u32(0..10) == 0 {
            self.end(
                request,
                Event::Rejected {
                    code: Code::RateLocalLimit,
                },
            );
        } else {
            self.live.push(request);
        }
    }

    fn progress_requesting(&mut self, mut request: Request) {
        if request.machine.context().under_way > 1 {
            return self.progress_hedged(request);
        }
        if request.hedge.is_none() && self.hedge(&mut request) {
            return self.live.push(request);
        }
        let first = request.machine.context().candidate == Some(0);
        let answer = self.answer(first);
        if answer.is_none() {
            self.latencies.add(self.now - request.sent, self.now);
        }
        match answer {
            None if request.machine.context().streaming => {
                request.machine.on(Event::StreamOpened, self.now).unwrap();
                self.live.push(request);
            }
            None => {
                self.give_back(&mut request, Some(classify(&Ended::Answered).breaker));
                self.give_hedge_back(&mut request, Some(Verdict::Success));
                self.end(request, Event::Answered { bytes: 100 });
            }
            Some(ended) => self.fail(request, ended),
        }
    }

    fn progress_streaming(&mut self, mut request: Request) {
        match self.rng.u32(0..10) {
            0..6 => {
                let content = self.rng.bool();
                request
                    .machine
                    .on(Event::Chunk { bytes: 10, content }, self.now)
                    .unwrap();
                request.content_sent |= content;
                self.live.push(request);
            }
            6..9 => {
                self.give_back(&mut request, Some(Verdict::Success));
                self.give_hedge_back(&mut request, Some(Verdict::Success));
                self.end(request, Event::StreamEnded);
            }
            _ => {
                let content_sent = request.content_sent;
                let ended = if self.rng.bool() {
                    Ended::InStream {
                        kind: ErrorKind::Overloaded,
                        content_sent,
                    }
                } else {
                    Ended::Transport {
                        fault: TransportFault::Truncated,
                        content_sent,
                    }
                };
                self.fail(request, ended);
            }
        }
    }

    fn progress_retrying(&mut self, mut request: Request) {
        let due = request.machine.context().retry.due.unwrap();
        let place = request.machine.context().candidate.unwrap();
        if self.rng.u32(0..4) == 0 {
            request
                .machine
                .on(Event::FellBack { candidate: place + 1 }, self.now)
                .unwrap();
        } else if self.rng.u32(0..8) == 0 {
            request.machine.on(Event::Limited { wait: None }, self.now).unwrap();
        } else if self.now < due {
            assert!(
                !request.machine.accepts(&Event::Retried, self.now),
                "retried before the backoff has passed"
            );
        } else if place == 0 {
            match self.admit() {
                Some(permit) => {
                    request.permit = Some(permit);
                    request.machine.on(Event::Retried, self.now).unwrap();
                    request.sent = self.now;
                }
                None => {
                    return self.end(
                        request,
                        Event::GaveUp {
                            code: Code::ExtAllUnavailable,
                        },
                    );
                }
            }
        } else {
            request.machine.on(Event::Retried, self.now).unwrap();
        }
        self.live.push(request);
    }

    /// How the provider answers: well (`None`) or not. Later candidates always have a mixed day.
    pub(super) fn answer(&mut self, first: bool) -> Option<Ended> {
        let bad = match (first, self.mood) {
            (true, Mood::Good) => 2,
            (true, Mood::Failing) => 95,
            (true, Mood::Throttling) => 80,
            _ => 40,
        };
        if self.rng.u32(0..100) >= bad {
            return None;
        }
        let throttled = Ended::Status {
            status: 429,
            kind: ErrorKind::RateLimited,
        };
        if first && matches!(self.mood, Mood::Throttling) {
            return Some(throttled);
        }
        Some(match self.rng.u32(0..8) {
            0 => throttled,
            1 => Ended::Status {
                status: 400,
                kind: ErrorKind::InvalidRequest,
            },
            2 => Ended::Status {
                status: 401,
                kind: ErrorKind::Authentication,
            },
            3 => Ended::Status {
                status: 529,
                kind: ErrorKind::Overloaded,
            },
            4 => Ended::Transport {
                fault: TransportFault::ConnectRefused,
                content_sent: false,
            },
            5 => Ended::Transport {
                fault: TransportFault::FirstTokenTimeout,
                content_sent: false,
            },
            _ => Ended::Status {
                status: 500,
                kind: ErrorKind::Internal,
            },
        })
    }

    fn fail(&mut self, mut request: Request, ended: Ended) {
        let Decision {
            code,
            retry_same,
            try_next,
            breaker,
            ..
        } = classify(&ended);
        let code = code.unwrap();
        self.give_back(&mut request, Some(breaker));
        self.give_hedge_back(&mut request, Some(breaker));
        let failed = Event::AttemptFailed {
            code,
            retry_in: Duration::from_millis(self.rng.u64(0..2_000)),
        };
        let context = request.machine.context();
        let may = (retry_same || try_next) && context.attempts < context.max_attempts;
        assert_eq!(
            request.machine.accepts(&failed, self.now),
            context.attempts < context.max_attempts && !request.content_sent
        );
        assert!(!(may && request.content_sent), "the table would retry after content");
        if may && self.withdraw() {
            request.machine.on(failed, self.now).unwrap();
            self.live.push(request);
        } else {
            self.end(request, Event::GaveUp { code });
        }
    }

    fn withdraw(&mut self) -> bool {
        let left = self.budget_shadow.remaining(self.now) > 0;
        assert_eq!(
            self.budget.withdraw(&self.budget_settings, self.now),
            left,
            "budget and shadow disagree"
        );
        if left {
            self.budget_shadow.withdraw(self.now);
            self.seen.retries += 1;
        } else {
            self.seen.over_budget += 1;
        }
        left
    }

    /// Gives the breaker its permit back, with a verdict or unused.
    pub(super) fn give_back(&mut self, request: &mut Request, verdict: Option<Verdict>) {
        let Some((permit, generation)) = request.permit.take() else {
            return;
        };
        let before = self.breaker_shadow.state;
        self.seen.late += u64::from(generation != self.breaker_shadow.generation);
        let Some(verdict) = verdict else {
            self.breaker.cancel(permit);
            return self.breaker_shadow.cancel(generation);
        };
        let change = self.breaker.settle(permit, verdict, self.now);
        self.breaker_shadow.settle(generation, verdict, self.now);
        let after = self.breaker_shadow.state;
        assert_eq!(
            change.map(|change| (change.from, change.to)),
            (before != after).then_some((before, after))
        );
        self.seen.trips += u64::from(before == StateName::Closed && after == StateName::Open);
        self.seen.recoveries += u64::from(before == StateName::HalfOpen && after == StateName::Closed);
    }

    pub(super) fn end(&mut self, mut request: Request, event: Event) {
        assert!(
            request.permit.is_none() && request.hedge.is_none(),
            "ended with a permit in hand"
        );
        assert!(request.machine.on(event, self.now).unwrap().is_terminal());
        self.give_room_back(&mut request);
        self.sent += u64::from(request.machine.context().attempts);
        let outcome = request.machine.context().outcome.expect("every end has an outcome");
        self.seen.outcomes[outcome as usize] += 1;
        self.note(outcome as u64);
    }

    /// Gives the limiter its room back, in one of the ways there are.
    pub(super) fn give_room_back(&mut self, request: &mut Request) {
        if let Some((reservation, tokens)) = request.reservation.take() {
            match self.rng.u32(0..4) {
                0 => {
                    self.limiter.cancel(reservation, self.now);
                    self.limiter_shadow.cancel(tokens);
                }
                1 => {
                    self.limiter.settle(reservation, None, self.now);
                    self.limiter_shadow.settle(tokens, None);
                }
                _ => {
                    let used = Some(self.rng.u64(0..30_000));
                    self.limiter.settle(reservation, used, self.now);
                    self.limiter_shadow.settle(tokens, used);
                }
            }
        }
    }
}
