//! The life of one request: eight states, fourteen kinds of events, sixteen legal changes.
//!
//! ```text
//!   Idle ──▶ Validating ──▶ Requesting ◀──▶ Retrying ──▶ RateLimited ──▶ Requesting
//!                │              │  ╲           ▲
//!                ▼              ▼   ▶ Streaming ┘ (nothing was sent yet)
//!           RateLimited     Completed ◀── ╱
//! ```
//!
//! and from each state in the middle to `Failed`. [`CHANGES`] is the whole truth; a change that is not in it, or that
//! breaks one of the [`Rule`]s, comes back as [`Illegal`] and leaves the machine exactly as it was. The proxy reports
//! what happened ([`Machine::on`]); ledger, metrics and logs read the [`Context`]. Nothing is allocated per event.
//!
//! Three events may be noted where they change no state: a chunk while `Streaming`; while `Requesting`, a second
//! `Dispatched`, which is a hedge (a later candidate is asked while the present one is still out); and, of two attempts
//! under way, the failure of one: the request goes on `Requesting` with the other. Whichever answers ends the other.
//!
//! The rules beyond the table, each held by a guard or by how the context is kept, each with a test of its name:
//! ends are final and come once; no attempt beyond the allowed ones, nor any wait for one; no retry after content was
//! sent; a retry stays at its candidate and waits its backoff; a fallback or a hedge goes to a later candidate, never
//! back; no more than two attempts overlap, and nobody gives up while one of them may still answer; chunks belong to the
//! stream of the present attempt; time never runs back and the times of all states add up to the whole.

use crate::clock::Moment;
use crate::fault::{Blame, Code};
use std::sync::Arc;
use std::time::Duration;

mod context;
#[cfg(test)]
mod tests;

pub use crate::record::Outcome;
pub use context::{Context, Metadata, Retry, Stream, Timings};

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Nothing has arrived.
    Idle,
    /// It is read, checked and planned.
    Validating,
    /// An attempt is under way, no answer has begun.
    Requesting,
    /// A streamed answer has begun to arrive.
    Streaming,
    /// It waits for room under a limit of ours.
    RateLimited,
    /// An attempt failed and another will follow.
    Retrying,
    /// Answered in full.
    Completed,
    /// Ended without a full answer.
    Failed,
}

impl State {
    /// All eight.
    pub const ALL: [Self; 8] = [
        Self::Idle,
        Self::Validating,
        Self::Requesting,
        Self::Streaming,
        Self::RateLimited,
        Self::Retrying,
        Self::Completed,
        Self::Failed,
    ];

    /// The metric label and log value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Validating => "validating",
            Self::Requesting => "requesting",
            Self::Streaming => "streaming",
            Self::RateLimited => "rate_limited",
            Self::Retrying => "retrying",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing follows.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// Who ended a request from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cancel {
    /// The caller left.
    Caller,
    /// The whole request ran out of time.
    Deadline,
    /// The sidecar is shutting down.
    Drain,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request has arrived.
    Received {
        /// The caller asked for a stream.
        streaming: bool,
    },
    /// It is valid and planned, and the first attempt goes out; or, while one is out, a hedge at a later candidate.
    Dispatched {
        /// The place of the provider and model in the plan.
        candidate: u16,
    },
    /// A limit of ours is reached; wait for room.
    Limited {
        /// How long, as far as known.
        wait: Option<Duration>,
    },
    /// There is room; the attempt goes out.
    Permitted {
        /// The place in the plan; a wait may end at another candidate than it began with.
        candidate: u16,
    },
    /// It is refused before anything (more) was sent to a provider.
    Rejected {
        /// Why.
        code: Code,
    },
    /// The head of a streamed answer has arrived; of two attempts under way, it is this one that answers.
    StreamOpened,
    /// Part of a streamed answer was sent on.
    Chunk {
        /// Bytes sent to the caller.
        bytes: u64,
        /// It holds content (a token, a tool call, a refusal), so there is no way back.
        content: bool,
    },
    /// The stream ended as its API says it must.
    StreamEnded,
    /// A whole answer has arrived.
    Answered {
        /// Bytes of its body.
        bytes: u64,
    },
    /// The attempt failed and another one may follow, or is still under way.
    AttemptFailed {
        /// Why.
        code: Code,
        /// The backoff before a retry at the same candidate.
        retry_in: Duration,
    },
    /// The backoff has passed; the same candidate is tried again.
    Retried,
    /// A later candidate is tried.
    FellBack {
        /// Its place in the plan.
        candidate: u16,
    },
    /// The attempt failed and none will follow.
    GaveUp {
        /// Why.
        code: Code,
    },
    /// Ended from outside.
    Cancelled(Cancel),
}

macro_rules! kinds {
    ($($kind:ident = $text:literal, $pattern:pat,)*) => {
        /// An event without its data.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventKind { $(#[doc = concat!("See [`Event::", stringify!($kind), "`].")] $kind,)* }

        impl EventKind {
            /// All fourteen.
            pub const ALL: [Self; 14] = [$(Self::$kind,)*];

            /// The log value.
            pub fn as_str(self) -> &'static str { match self { $(Self::$kind => $text,)* } }
        }

        impl Event {
            /// The event without its data.
            pub fn kind(&self) -> EventKind { match self { $($pattern => EventKind::$kind,)* } }
        }
    };
}

kinds! {
    Received = "received", Self::Received { .. },
    Dispatched = "dispatched", Self::Dispatched { .. },
    Limited = "limited", Self::Limited { .. },
    Permitted = "permitted", Self::Permitted { .. },
    Rejected = "rejected", Self::Rejected { .. },
    StreamOpened = "stream_opened", Self::StreamOpened,
    Chunk = "chunk", Self::Chunk { .. },
    StreamEnded = "stream_ended", Self::StreamEnded,
    Answered = "answered", Self::Answered { .. },
    AttemptFailed = "attempt_failed", Self::AttemptFailed { .. },
    Retried = "retried", Self::Retried,
    FellBack = "fell_back", Self::FellBack { .. },
    GaveUp = "gave_up", Self::GaveUp { .. },
    Cancelled = "cancelled", Self::Cancelled(_),
}

/// One legal change of state and the events that bring it about.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// Any of these.
    pub by: &'static [EventKind],
}

const fn change(from: State, to: State, by: &'static [EventKind]) -> Change {
    Change { from, to, by }
}

/// Every legal change; what may be noted without one stands at the head of this file. An answer from a cache goes the same
/// way as one from a provider: the cache is the candidate.
pub const CHANGES: [Change; 16] = {
    use EventKind as E;
    use State::{Completed, Failed, Idle, RateLimited, Requesting, Retrying, Streaming, Validating};
    [
        change(Idle, Validating, &[E::Received]),
        change(Validating, Requesting, &[E::Dispatched]),
        change(Validating, RateLimited, &[E::Limited]),
        change(Validating, Failed, &[E::Rejected, E::Cancelled]),
        change(RateLimited, Requesting, &[E::Permitted]),
        change(RateLimited, Failed, &[E::Rejected, E::Cancelled]),
        change(Requesting, Streaming, &[E::StreamOpened]),
        change(Requesting, Completed, &[E::Answered]),
        change(Requesting, Retrying, &[E::AttemptFailed]),
        change(Requesting, Failed, &[E::GaveUp, E::Cancelled]),
        change(Streaming, Completed, &[E::StreamEnded]),
        change(Streaming, Retrying, &[E::AttemptFailed]),
        change(Streaming, Failed, &[E::GaveUp, E::Cancelled]),
        change(Retrying, Requesting, &[E::Retried, E::FellBack]),
        change(Retrying, RateLimited, &[E::Limited]),
        change(Retrying, Failed, &[E::GaveUp, E::Cancelled]),
    ]
};

/// The rule that an illegal event breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// `Completed` and `Failed` accept nothing.
    EndsAreFinal,
    /// The state does not know the event.
    NotInTheTable,
    /// All attempts are used; neither a retry, nor a fallback, nor a wait for one may follow.
    AttemptsAreLimited,
    /// Content was sent to the caller; no other answer may follow it.
    NoRetryAfterContent,
    /// The backoff has not passed.
    BackoffIsWaitedFor,
    /// A fallback or a hedge goes to a later candidate of the plan.
    FallbackGoesForward,
    /// A wait may end at the same candidate or a later one, never an earlier one.
    NoWayBackInThePlan,
    /// One attempt may be hedged by one other, and that is all.
    TwoAtOnceAtMost,
    /// Nobody gives up while another attempt may still answer.
    AnotherIsUnderWay,
}

impl Rule {
    /// The rule in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndsAreFinal => "the request has ended",
            Self::NotInTheTable => "the state does not know the event",
            Self::AttemptsAreLimited => "all attempts are used",
            Self::NoRetryAfterContent => "content was sent to the caller",
            Self::BackoffIsWaitedFor => "the backoff has not passed",
            Self::FallbackGoesForward => "a fallback or hedge goes to a later candidate",
            Self::NoWayBackInThePlan => "an earlier candidate is not tried again",
            Self::TwoAtOnceAtMost => "two attempts are under way already",
            Self::AnotherIsUnderWay => "another attempt may still answer",
        }
    }
}

/// An event that the machine refused: a bug of the caller, to be counted and logged. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {} is illegal in state {}: {}", event.as_str(), state.as_str(), rule.as_str())]
pub struct Illegal {
    /// The state, which stays.
    pub state: State,
    /// The event.
    pub event: EventKind,
    /// The rule it breaks.
    pub rule: Rule,
}

/// The machine of one request.
#[derive(Clone, Debug)]
pub struct Machine {
    state: State,
    context: Context,
}

impl Machine {
    /// An idle machine. One attempt is allowed until [`Self::allow_attempts`] says otherwise.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self {
            state: State::Idle,
            context: Context::new(id.into()),
        }
    }

    /// Where the request is.
    pub fn state(&self) -> State {
        self.state
    }

    /// All that is known of it.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What the request is about, for ledger and logs; the machine does not read it.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.context.metadata
    }

    /// Sets how many attempts there may be in all, over all candidates; known once the request is planned. Zero counts
    /// as one, and attempts already made are never too many.
    pub fn allow_attempts(&mut self, most: u32) {
        self.context.max_attempts = most.max(1).max(self.context.attempts);
    }

    /// Takes in what happened: the new state, or why it cannot have happened.
    pub fn on(&mut self, event: Event, now: Moment) -> Result<State, Illegal> {
        // Time never runs back: what is reported late counts as now.
        let now = now.max(self.context.timings.last);
        let to = self.check(&event, now).map_err(|rule| Illegal {
            state: self.state,
            event: event.kind(),
            rule,
        })?;
        self.context.note(&event, self.state, to, now);
        self.state = to;
        Ok(to)
    }

    /// Whether the event would be accepted now; changes nothing.
    pub fn accepts(&self, event: &Event, now: Moment) -> bool {
        self.check(event, now.max(self.context.timings.last)).is_ok()
    }

    fn check(&self, event: &Event, now: Moment) -> Result<State, Rule> {
        if self.state.is_terminal() {
            return Err(Rule::EndsAreFinal);
        }
        let kind = event.kind();
        if self.is_noted(kind) {
            return self.guard(event, now).map_or(Ok(self.state), Err);
        }
        let change = CHANGES
            .iter()
            .find(|change| change.from == self.state && change.by.contains(&kind));
        let to = change.ok_or(Rule::NotInTheTable)?.to;
        self.guard(event, now).map_or(Ok(to), Err)
    }

    /// Whether the event is one that leaves the state as it is.
    fn is_noted(&self, kind: EventKind) -> bool {
        match (self.state, kind) {
            (State::Streaming, EventKind::Chunk) | (State::Requesting, EventKind::Dispatched) => true,
            (State::Requesting, EventKind::AttemptFailed) => self.context.under_way > 1,
            _ => false,
        }
    }

    /// The rules beyond the table.
    fn guard(&self, event: &Event, now: Moment) -> Option<Rule> {
        let context = &self.context;
        let broken = |broken: bool, rule| broken.then_some(rule);
        let spent = broken(context.attempts >= context.max_attempts, Rule::AttemptsAreLimited);
        let place = context.candidate;
        match *event {
            // The other attempt is the one that follows.
            Event::AttemptFailed { .. } if context.under_way > 1 => None,
            Event::AttemptFailed { .. } => broken(context.stream.content_sent, Rule::NoRetryAfterContent).or(spent),
            Event::Retried => spent.or(broken(
                context.retry.due.is_some_and(|due| now < due),
                Rule::BackoffIsWaitedFor,
            )),
            Event::Dispatched { .. } if context.under_way > 1 => Some(Rule::TwoAtOnceAtMost),
            Event::FellBack { candidate } | Event::Dispatched { candidate } => spent.or(broken(
                place.is_some_and(|place| candidate <= place),
                Rule::FallbackGoesForward,
            )),
            Event::Permitted { candidate } => spent.or(broken(
                place.is_some_and(|place| candidate < place),
                Rule::NoWayBackInThePlan,
            )),
            Event::Limited { .. } => spent,
            Event::GaveUp { .. } => broken(context.under_way > 1, Rule::AnotherIsUnderWay),
            _ => None,
        }
    }
}

/// The outcome that an end means: each request has exactly one.
fn outcome_of(event: &Event, content_sent: bool) -> Option<(Outcome, Option<Code>)> {
    let (outcome, code) = match *event {
        Event::Answered { .. } | Event::StreamEnded => return Some((Outcome::Ok, None)),
        Event::Cancelled(Cancel::Caller) => return Some((Outcome::Cancelled, None)),
        Event::Cancelled(Cancel::Deadline) => (Outcome::ProviderError, Code::ExtTotalTimeout),
        Event::Cancelled(Cancel::Drain) => (Outcome::Shed, Code::SysDraining),
        Event::Rejected {
            code: code @ (Code::RateLocalLimit | Code::SysOverloaded | Code::SysDraining),
        } => (Outcome::Shed, code),
        Event::Rejected { code } | Event::GaveUp { code } => (Outcome::of(code.blame()), code),
        _ => return None,
    };
    Some((if content_sent { Outcome::Cut } else { outcome }, Some(code)))
}

impl Outcome {
    fn of(blame: Blame) -> Self {
        match blame {
            Blame::Client => Self::ClientError,
            Blame::Provider => Self::ProviderError,
            Blame::Us => Self::OwnError,
        }
    }
}
