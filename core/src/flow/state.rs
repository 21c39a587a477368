//! The life of one request: eight states, fourteen kinds of events, sixteen legal changes.
//!
//! ```text
//!   Idle --> Validating --> Requesting <--> Retrying --> RateLimited --> Requesting
//!                |             |   \            ^
//!                v             v    > Streaming | (nothing was sent yet)
//!           RateLimited    Completed <---+------+
//! ```
//!
//! and from each state in the middle to `Failed`. [`CHANGES`] is the whole truth. Three events change no state: a chunk
//! while `Streaming`; while `Requesting`, a second `Dispatched`, which is a hedge; and, of two attempts under way, the
//! failure of one.

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
    /// It waits for room under a limit.
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

macro_rules! events {
    ($($(#[doc = $doc:literal])* $event:ident = $text:literal,)*) => {
        /// What happens to a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Event { $($(#[doc = $doc])* $event,)* }

        impl Event {
            /// All fourteen.
            pub const ALL: [Self; 14] = [$(Self::$event,)*];

            /// The log value.
            pub fn as_str(self) -> &'static str { match self { $(Self::$event => $text,)* } }
        }
    };
}

events! {
    /// It has arrived.
    Received = "received",
    /// It is valid and planned, and the first attempt goes out; or, while one is out, a hedge at a later candidate.
    Dispatched = "dispatched",
    /// A limit is reached; it waits for room.
    Limited = "limited",
    /// There is room; the attempt goes out.
    Permitted = "permitted",
    /// It is refused before anything (more) was sent to a provider.
    Rejected = "rejected",
    /// The head of a streamed answer has arrived; of two attempts under way, it is this one that answers.
    StreamOpened = "stream_opened",
    /// Part of a streamed answer was sent on.
    Chunk = "chunk",
    /// The stream ended as its API says it must.
    StreamEnded = "stream_ended",
    /// A whole answer has arrived.
    Answered = "answered",
    /// The attempt failed, and another may follow or is still under way.
    AttemptFailed = "attempt_failed",
    /// The same candidate is tried again.
    Retried = "retried",
    /// A later candidate is tried.
    FellBack = "fell_back",
    /// The attempt failed and none will follow.
    GaveUp = "gave_up",
    /// It is ended from outside.
    Cancelled = "cancelled",
}

/// One legal change of state and the events that bring it about.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// Any of these.
    pub by: &'static [Event],
}

const fn change(from: State, to: State, by: &'static [Event]) -> Change {
    Change { from, to, by }
}

/// Every legal change.
pub const CHANGES: [Change; 16] = {
    use Event as E;
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

/// The state after `event`; `None` where the table has no such change.
pub fn after(from: State, event: Event) -> Option<State> {
    let row = CHANGES.iter().find(|row| row.from == from && row.by.contains(&event));
    row.map(|row| row.to)
}
