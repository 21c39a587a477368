//! What is known of a request on its way: counts, retry state, stream state, times. The ledger's record is made of it.

use super::{Event, State, outcome_of};
use crate::clock::Moment;
use crate::fault::Code;
use crate::record::Outcome;
use std::sync::Arc;
use std::time::Duration;

/// What the request is about. The machine carries it and never reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The model as the caller named it.
    pub asked_model: Option<Arc<str>>,
    /// The `ModelRoute` that matched.
    pub route: Option<Arc<str>>,
    /// The provider of the present or last attempt.
    pub provider: Option<Arc<str>>,
    /// The model as that provider names it.
    pub model: Option<Arc<str>>,
    /// Retries that the caller's SDK says it made before (`x-stainless-retry-count`).
    pub caller_retries: u32,
}

/// The state of retrying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// The backoff ends then; `None` while no retry is pending.
    pub due: Option<Moment>,
    /// Why the last attempt failed.
    pub last_code: Option<Code>,
}

/// The state of a streamed answer: of the present attempt, but for the content, which the caller keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Its head has arrived.
    pub opened: bool,
    /// Chunks with content that were sent on.
    pub chunks: u64,
    /// The caller has content: there is no way back.
    pub content_sent: bool,
}

/// When things happened. Times are those of the events; what was reported late counts as reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// The request arrived.
    pub received: Option<Moment>,
    /// The first attempt went out.
    pub dispatched: Option<Moment>,
    /// The present or last attempt went out.
    pub attempted: Option<Moment>,
    /// The first content, or the whole of a plain answer, came from the provider.
    pub first_token: Option<Moment>,
    /// It ended.
    pub finished: Option<Moment>,
    /// The last event of any kind.
    pub(super) last: Moment,
    entered: Moment,
    in_state: [Duration; State::ALL.len()],
}

impl Timings {
    /// The time spent in a state so far, up to the last change of state. `Idle` and the ends take none.
    pub fn in_state(&self, state: State) -> Duration {
        self.in_state.get(state as usize).copied().unwrap_or_default()
    }

    /// From arrival to end; `None` before the end.
    pub fn total(&self) -> Option<Duration> {
        Some(self.finished? - self.received?)
    }

    /// From arrival to the first token.
    pub fn to_first_token(&self) -> Option<Duration> {
        Some(self.first_token? - self.received?)
    }
}

/// All that is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The request id.
    pub id: Arc<str>,
    /// The caller asked for a stream.
    pub streaming: bool,
    /// Attempts that went out.
    pub attempts: u32,
    /// Attempts allowed in all.
    pub max_attempts: u32,
    /// Attempts that went to the candidate of the attempt before.
    pub retries: u32,
    /// Attempts that went to a later candidate than the attempt before, which had failed.
    pub fallbacks: u32,
    /// Attempts that went to a later candidate while the attempt before was still out.
    pub hedges: u32,
    /// Attempts that are out now; two while a hedge runs.
    pub under_way: u32,
    /// Waits for room under a limit of ours.
    pub waits: u32,
    /// The place of the present or last attempt's candidate in the plan; of two at once, the later.
    pub candidate: Option<u16>,
    /// Bytes of the answer that were sent to the caller.
    pub bytes: u64,
    /// Retrying.
    pub retry: Retry,
    /// Streaming.
    pub stream: Stream,
    /// Times.
    pub timings: Timings,
    /// What it is about.
    pub metadata: Metadata,
    /// The error it ended with; `None` while it lives, after success and where the caller left.
    pub code: Option<Code>,
    /// How it ended; `None` while it lives.
    pub outcome: Option<Outcome>,
}

impl Context {
    pub(super) fn new(id: Arc<str>) -> Self {
        Self {
            id,
            streaming: false,
            attempts: 0,
            max_attempts: 1,
            retries: 0,
            fallbacks: 0,
            hedges: 0,
            under_way: 0,
            waits: 0,
            candidate: None,
            bytes: 0,
            retry: Retry::default(),
            stream: Stream::default(),
            timings: Timings::default(),
            metadata: Metadata::default(),
            code: None,
            outcome: None,
        }
    }

    /// Notes a legal event. Never fails: what may happen has been checked.
    pub(super) fn note(&mut self, event: &Event, from: State, to: State, now: Moment) {
        match *event {
            Event::Received { streaming } => {
                self.streaming = streaming;
                self.timings.received = Some(now);
                self.timings.entered = now;
            }
            Event::Dispatched { candidate } | Event::Permitted { candidate } | Event::FellBack { candidate } => {
                self.begin_attempt(candidate, now);
            }
            Event::Retried => self.begin_attempt(self.candidate.unwrap_or_default(), now),
            Event::Limited { .. } => self.waits += 1,
            Event::StreamOpened => {
                self.stream.opened = true;
                // The other one, if there is one, is cancelled: it answers no more.
                self.under_way = 1;
            }
            Event::Chunk { bytes, content } => {
                self.bytes = self.bytes.saturating_add(bytes);
                if content {
                    self.stream.chunks += 1;
                    self.stream.content_sent = true;
                    self.timings.first_token.get_or_insert(now);
                }
            }
            Event::Answered { bytes } => {
                self.bytes = self.bytes.saturating_add(bytes);
                self.timings.first_token.get_or_insert(now);
            }
            Event::AttemptFailed { code, retry_in } => {
                self.under_way = self.under_way.saturating_sub(1);
                self.retry = Retry {
                    due: (to == State::Retrying).then(|| now + retry_in),
                    last_code: Some(code),
                };
            }
            Event::StreamEnded | Event::Rejected { .. } | Event::GaveUp { .. } | Event::Cancelled(_) => {}
        }
        if let Some((outcome, code)) = outcome_of(event, self.stream.content_sent) {
            self.outcome = Some(outcome);
            self.code = code;
            self.timings.finished = Some(now);
            self.under_way = 0;
        }
        self.keep_time(from, to, now);
    }

    fn begin_attempt(&mut self, candidate: u16, now: Moment) {
        match self.candidate {
            None => {}
            Some(_) if self.under_way > 0 => self.hedges += 1,
            Some(before) if before == candidate => self.retries += 1,
            Some(_) => self.fallbacks += 1,
        }
        self.attempts += 1;
        self.under_way += 1;
        self.candidate = Some(candidate);
        self.retry.due = None;
        self.stream = Stream::default();
        self.timings.dispatched.get_or_insert(now);
        self.timings.attempted = Some(now);
    }

    fn keep_time(&mut self, from: State, to: State, now: Moment) {
        self.timings.last = now;
        if from != to {
            if let Some(spent) = self
                .timings
                .in_state
                .get_mut(from as usize)
                .filter(|_| from != State::Idle)
            {
                *spent += now - self.timings.entered;
            }
            self.timings.entered = now;
        }
    }
}
