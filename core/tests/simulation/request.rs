//! One request on its way: it does what its flow says, and holds the flow to what was promised.

use super::Shared;
use super::pool::View;
use super::provider::Held;
use bowsprit_core::classify::{Ended, KeyVerdict, classify};
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Config, Provider};
use bowsprit_core::fault::{Code, ErrorKind, TransportFault};
use bowsprit_core::flow::retry::{Failed, Next, PATIENCE, Why};
use bowsprit_core::flow::{End, Fit, Flow, State, Step, Terms, WaitReason};
use bowsprit_core::plan::Plan;
use bowsprit_core::record::AttemptKind;
use std::sync::Arc;
use std::time::Duration;

pub struct Candidate {
    config: Arc<Provider>,
    pub provider: usize,
    pub model: usize,
    pub fit: Fit,
    pub held: Option<Held>,
    /// Credentials that were used, and those that a provider judged.
    pub tried: Vec<usize>,
    pub judged: Vec<usize>,
    attempts: u32,
}

pub struct Request {
    pub flow: Flow,
    terms: Terms,
    candidates: Vec<Candidate>,
    tokens: u64,
    stream: bool,
    content_sent: bool,
    /// Candidates whose attempts are out.
    out: Vec<usize>,
    alarm: Option<Moment>,
    /// A backoff ends then.
    due: Option<Moment>,
    /// What the last failure led to.
    next: Option<Next>,
    /// The candidate that the next attempt is at least at.
    least: usize,
    hedged: bool,
}

impl Request {
    pub fn new(
        flow: Flow,
        plan: &Plan,
        config: &Config,
        terms: Terms,
        tokens: u64,
        stream: bool,
        unfit: usize,
    ) -> Self {
        let candidate = |(index, planned): (usize, &bowsprit_core::plan::Candidate)| {
            let at = config
                .providers
                .iter()
                .position(|known| Arc::ptr_eq(known, &planned.provider))
                .unwrap();
            Candidate {
                config: Arc::clone(&planned.provider),
                provider: at,
                model: planned
                    .provider
                    .models
                    .iter()
                    .position(|model| *model.name == *planned.model)
                    .unwrap(),
                fit: match unfit {
                    0 => Fit::Invalid,
                    1..=3 if index < unfit => Fit::Unsupported,
                    _ => Fit::Fits,
                },
                held: None,
                tried: Vec::new(),
                judged: Vec::new(),
                attempts: 0,
            }
        };
        Self {
            candidates: plan.candidates.iter().enumerate().map(candidate).collect(),
            flow,
            terms,
            tokens,
            stream,
            content_sent: false,
            out: Vec::new(),
            alarm: None,
            due: None,
            next: None,
            least: 0,
            hedged: false,
        }
    }

    /// One event at a provider, or one question to the flow.
    pub fn progress(&mut self, shared: &mut Shared) {
        if self.flow.state() == State::Streaming {
            return self.stream_on(shared);
        }
        let alarm = self.alarm.is_some_and(|alarm| shared.now >= alarm);
        if !self.out.is_empty() && !alarm {
            let at = shared.rng.usize(0..self.out.len());
            self.attempt_ends(at, shared);
        }
        if self.flow.state() != State::Streaming && !self.flow.state().is_terminal() {
            self.ask(shared);
        }
    }

    fn ask(&mut self, shared: &mut Shared) {
        loop {
            let now = shared.now;
            let mut paid = 0;
            let step = {
                let mut view = View {
                    shared,
                    candidates: &mut self.candidates,
                    tokens: self.tokens,
                    paid: &mut paid,
                };
                self.flow.next(&mut view, now)
            };
            assert!(!self.content_sent, "asked what is next after content");
            match step {
                Step::Attempt {
                    candidate,
                    kind,
                    number,
                } => self.sent(candidate, kind, number, paid, shared),
                Step::Await { until } => {
                    assert_eq!(paid, 0, "paid for what was not sent");
                    assert!(!self.out.is_empty(), "awaits nothing");
                    self.alarm = until;
                    return;
                }
                Step::Ask { .. } => panic!("no limit is counted elsewhere"),
                Step::Wait { reason, most, .. } => {
                    assert_eq!(paid, 0, "paid for what was not sent");
                    assert!(!most.is_zero() && self.out.is_empty());
                    if reason == WaitReason::Backoff {
                        assert_eq!(self.due, Some(now + most), "another wait than was decided");
                    }
                    shared.seen.note("waited");
                    return;
                }
                Step::Respond(end) => {
                    assert_eq!(paid, 0, "paid for what was not sent");
                    return self.respond(end);
                }
            }
        }
    }

    fn sent(&mut self, candidate: usize, kind: AttemptKind, number: u32, paid: u32, shared: &mut Shared) {
        assert_eq!(number, self.flow.attempts());
        assert!(candidate >= self.least, "an earlier candidate is tried again");
        assert!(self.candidates[candidate].held.is_some(), "sent without a place");
        assert!(self.out.len() < 2 && !self.out.contains(&candidate));
        let known = &mut self.candidates[candidate];
        known.attempts += 1;
        assert_eq!(known.fit, Fit::Fits);
        let is_repeat = self.next.take();
        match kind {
            AttemptKind::First => assert_eq!((number, paid), (1, 0)),
            AttemptKind::Retry => {
                assert!(known.attempts > 1);
                match is_repeat {
                    Some(Next::Again(_)) => {
                        assert!(shared.now >= self.due.take().unwrap(), "the backoff has not passed");
                        assert_eq!(paid, 1, "a repeat is paid for, once, as it goes out");
                        assert!(known.attempts <= known.config.retry.max_attempts);
                        shared.seen.note("retry");
                    }
                    Some(Next::OtherCredential) => {
                        assert_eq!(paid, 0, "another credential is no repetition");
                        assert!(
                            known.attempts as usize
                                <= known.config.credentials.len() + known.config.retry.max_attempts as usize
                        );
                        shared.seen.note("other credential");
                    }
                    other => panic!("a retry after {other:?}"),
                }
            }
            AttemptKind::Fallback => {
                assert_eq!(known.attempts, 1);
                assert!(paid <= 1);
                shared.seen.note(if paid == 1 { "fallback paid" } else { "fallback" });
            }
            AttemptKind::Hedge => {
                assert!(self.out.len() == 1 && paid == 0 && !self.hedged && candidate > self.out[0]);
                self.hedged = true;
            }
            AttemptKind::Probe => panic!("a request makes no probe"),
        }
        if kind != AttemptKind::Hedge {
            self.least = candidate;
        }
        self.out.push(candidate);
    }

    /// One of the attempts that are out comes to an end.
    fn attempt_ends(&mut self, at: usize, shared: &mut Shared) {
        let candidate = self.out.remove(at);
        let provider = self.candidates[candidate].provider;
        let ended = shared.providers[provider].answer(&mut shared.rng);
        let Some(ended) = ended else {
            return self.attempt_answers(candidate, shared);
        };
        let decision = classify(&ended);
        let held = self.candidates[candidate].held.take().unwrap();
        if decision.key != KeyVerdict::Fine {
            self.candidates[candidate].judged.push(held.credential);
        }
        let now = shared.now;
        let used = shared.rng.u64(0..30_000);
        shared.providers[provider].settle(held, &decision, used, now, &mut shared.seen);
        let retry_after = (shared.rng.u32(0..3) == 0).then(|| Duration::from_millis(shared.rng.u64(0..60_000)));
        let failed = Failed {
            ended,
            decision,
            retry_after,
            retry_forbidden: shared.rng.u32(0..20) == 0,
        };
        let mut rng = fastrand::Rng::with_seed(shared.rng.u64(..));
        let mut paid = 0;
        let mut view = View {
            shared,
            candidates: &mut self.candidates,
            tokens: self.tokens,
            paid: &mut paid,
        };
        let followed = self.flow.ended(candidate, failed, &mut view, now, &mut rng);
        assert_eq!(paid, 0, "a decision costs nothing");
        let Some((next, why)) = followed else {
            assert_eq!(self.out.len(), 1, "nothing follows only while another is out");
            return;
        };
        self.judge(candidate, &failed, next, why, shared);
        self.alarm = None;
        self.next = Some(next);
    }

    /// The rules of `docs/resilience.md`, said once more and independently.
    fn judge(&mut self, ended_last: usize, failed: &Failed, next: Next, why: Why, shared: &mut Shared) {
        shared.seen.note(why.as_str());
        if self.hedged && ended_last != self.least {
            shared.seen.note("both failed");
        }
        let now = shared.now;
        match next {
            Next::Again(wait) => {
                // After a race the decision may be about the other candidate's failure: only its own is known here.
                self.due = Some(now + wait);
                if self.hedged {
                    return;
                }
                let known = &self.candidates[ended_last];
                let is_last = ended_last + 1 == self.candidates.len();
                let trusted = shared.providers[known.provider].models[known.model].trust.is_given();
                assert!(failed.decision.retry_same && !failed.retry_forbidden && self.terms.sdk_retries == 0);
                assert!(known.attempts < known.config.retry.max_attempts);
                assert!(
                    is_last || trusted,
                    "a provider that does not answer is repeated though another is at hand"
                );
                assert!(
                    wait >= failed.retry_after.unwrap_or_default(),
                    "sooner than the provider asked for"
                );
                assert!(is_last || !failed.decision.throttled || wait <= PATIENCE);
                assert!(shared.budget_shadow.remaining(now) > 0);
            }
            Next::OtherCredential => {
                if !self.hedged {
                    assert_ne!(failed.decision.key, KeyVerdict::Fine);
                }
            }
            Next::Onward | Next::Stop => {}
        }
    }

    fn attempt_answers(&mut self, candidate: usize, shared: &mut Shared) {
        if self.hedged && !self.out.is_empty() {
            let won = candidate > self.out[0];
            shared.seen.note(if won { "hedge won" } else { "hedge lost" });
        }
        let now = shared.now;
        for loser in std::mem::take(&mut self.out) {
            let held = self.candidates[loser].held.take().unwrap();
            shared.give_back(held, now);
        }
        self.flow.answered(candidate, self.stream);
        if self.stream {
            self.out = vec![candidate];
        } else {
            self.answered(candidate, shared);
        }
    }

    fn answered(&mut self, candidate: usize, shared: &mut Shared) {
        let held = self.candidates[candidate].held.take().unwrap();
        let (now, used) = (shared.now, shared.rng.u64(0..30_000));
        let provider = self.candidates[candidate].provider;
        shared.providers[provider].settle(held, &classify(&Ended::Answered), used, now, &mut shared.seen);
    }

    fn stream_on(&mut self, shared: &mut Shared) {
        let candidate = self.out[0];
        match shared.rng.u32(0..10) {
            0..6 => {
                let is_content = shared.rng.bool();
                self.content_sent |= is_content;
                self.flow.chunk(is_content);
            }
            6..9 => {
                self.answered(candidate, shared);
                self.flow.stream_ended();
            }
            _ => {
                let content_sent = true;
                let ended = if shared.rng.bool() {
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
                let decision = classify(&ended);
                assert!(
                    !decision.retry_same && !decision.try_next,
                    "the table would retry after content"
                );
                let held = self.candidates[candidate].held.take().unwrap();
                let now = shared.now;
                shared.providers[held.provider].settle(held, &decision, 100, now, &mut shared.seen);
                self.flow.stream_broke(decision.code.unwrap());
            }
        }
    }

    fn respond(&mut self, end: End) {
        match end {
            End::Failed { candidate } => {
                assert!(self.candidates[candidate].attempts > 0 && self.flow.code().is_some());
            }
            End::Answered { .. } => panic!("an answer is not asked for"),
            End::Limited { .. } => self.flow.rejected(Code::RateLocalLimit),
            End::Invalid { .. } => self.flow.rejected(Code::ValField),
            End::Unsupported => self.flow.rejected(Code::ValUnsupported),
            End::Nobody => self.flow.rejected(Code::ExtAllUnavailable),
        }
        assert!(self.flow.state().is_terminal());
    }

    /// The caller is gone, or the sidecar stops: all that is held goes back unused.
    pub fn drop_all(&mut self, shared: &mut Shared) {
        let now = shared.now;
        for candidate in &mut self.candidates {
            if let Some(held) = candidate.held.take() {
                shared.give_back(held, now);
            }
        }
        self.out.clear();
    }

    pub fn holds_nothing(&self) -> bool {
        self.candidates.iter().all(|candidate| candidate.held.is_none())
    }

    pub fn held_at(&self, provider: usize) -> usize {
        let held = self.candidates.iter().filter_map(|candidate| candidate.held.as_ref());
        held.filter(|held| held.provider == provider).count()
    }

    pub fn forget_permits(&mut self) {
        for candidate in &mut self.candidates {
            if let Some(held) = &mut candidate.held {
                held.permit = None;
            }
        }
    }
}
