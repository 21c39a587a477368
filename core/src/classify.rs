//! What the end of an attempt means: one table, read from the top; the first row that matches decides.
//!
//! The same table is printed in the documentation ([`markdown`]) and tested row by row. Two rules stand above it:
//!
//! - **After content was sent, nothing is tried again**, at the same provider or another: the caller has part of an
//!   answer, and a second one would be glued to it. The rest of the row (blame, key, breaker) holds all the same.
//! - **A key that is set aside or rotated is no retry of the same request**: where the provider has another usable key,
//!   the attempt may be made with it at once, whatever `retry_same` says.
//!
//! Why a caller's mistake (400 and its kin) is ignored by the breaker and not a success: providers refuse those at their
//! front door, and the door says nothing about the models behind it. Were they successes, a stream of bad requests would
//! keep a dead provider's breaker closed.

use crate::breaker::{Trip, Verdict};
use crate::fault::{Blame, Code, ErrorKind, TransportFault};
use std::fmt::Write as _;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a complete 2xx answer.
    Answered,
    /// With an error status and the kind that its body says.
    Status {
        /// The provider's HTTP status.
        status: u16,
        /// What `dialect::parse_error` made of it.
        kind: ErrorKind,
    },
    /// With an error event inside a 200 stream.
    InStream {
        /// What the event says.
        kind: ErrorKind,
        /// Whether the caller has some of the answer already.
        content_sent: bool,
    },
    /// Without an answer, or with half of one.
    Transport {
        /// What the network did.
        fault: TransportFault,
        /// Whether the caller has some of the answer already.
        content_sent: bool,
    },
    /// The caller left first.
    CallerGone,
}

/// What becomes of the key that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyVerdict {
    /// Nothing.
    Fine,
    /// The provider does not take it: set it aside until it changes or [`KeyVerdict::rest`] has passed.
    SetAside,
    /// Its account cannot pay or is closed, which no minute mends: as `SetAside`, with a longer rest.
    SetAsideLong,
    /// It is at its limit: use another one next.
    Rotate,
}

impl KeyVerdict {
    /// The log value and the word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::SetAside => "set aside for 1 min",
            Self::SetAsideLong => "set aside for 15 min",
            Self::Rotate => "rotate",
        }
    }

    /// How long a key that is set aside rests before one request may try it again: a permission that was granted, or an
    /// account that was topped up, should not need a restart. Each try costs a request an attempt, so what takes a person
    /// and a payment is tried seldom.
    pub fn rest(self) -> Option<Duration> {
        match self {
            Self::SetAside => Some(Duration::from_mins(1)),
            Self::SetAsideLong => Some(Duration::from_mins(15)),
            Self::Fine | Self::Rotate => None,
        }
    }
}

/// What follows from the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The error's code; `None` where there is no error of ours to tell.
    pub code: Option<Code>,
    /// Whose fault it is.
    pub blame: Option<Blame>,
    /// The same provider may answer the same request after the backoff, if attempts and budget allow.
    pub retry_same: bool,
    /// Another provider may answer it.
    pub try_next: bool,
    /// The provider asked for fewer requests: heed its hint.
    pub throttled: bool,
    /// What becomes of the key.
    pub key: KeyVerdict,
    /// What the breaker is told.
    pub breaker: Verdict,
}

/// Which ends a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A complete answer.
    Answered,
    /// A status of its own, whatever the body says.
    Status(u16),
    /// What the provider says, by status or in the stream.
    Kind(ErrorKind),
    /// What the network did.
    Transport(TransportFault),
    /// The caller left.
    CallerGone,
}

impl Condition {
    /// Whether the row is about this end.
    pub fn matches(self, ended: &Ended) -> bool {
        match (self, *ended) {
            (Self::Answered, Ended::Answered) | (Self::CallerGone, Ended::CallerGone) => true,
            (Self::Status(of_row), Ended::Status { status, .. }) => of_row == status,
            (Self::Kind(of_row), Ended::Status { kind, .. } | Ended::InStream { kind, .. }) => of_row == kind,
            (Self::Transport(of_row), Ended::Transport { fault, .. }) => of_row == fault,
            _ => false,
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The condition in words.
    pub when: &'static str,
    /// The condition.
    pub condition: Condition,
    /// What follows, before any content was sent.
    pub decision: Decision,
}

const fn row(when: &'static str, condition: Condition, code: Option<Code>, again: Again, breaker: Verdict) -> Row {
    let (retry_same, try_next) = match again {
        Again::Never => (false, false),
        Again::Elsewhere => (false, true),
        Again::HereOrElsewhere => (true, true),
    };
    let key = match condition {
        Condition::Kind(ErrorKind::Authentication | ErrorKind::Permission) => KeyVerdict::SetAside,
        Condition::Kind(ErrorKind::Billing | ErrorKind::AccountClosed) => KeyVerdict::SetAsideLong,
        Condition::Kind(ErrorKind::RateLimited) => KeyVerdict::Rotate,
        _ => KeyVerdict::Fine,
    };
    let throttled = matches!(breaker, Verdict::Throttled);
    Row {
        when,
        condition,
        decision: Decision {
            code,
            blame: None,
            retry_same,
            try_next,
            throttled,
            key,
            breaker,
        },
    }
}

/// Where the request may be tried again.
#[derive(Clone, Copy)]
enum Again {
    Never,
    Elsewhere,
    HereOrElsewhere,
}

use Again::{Elsewhere, HereOrElsewhere, Never};
use Condition::{Kind, Status, Transport};

const fn fails(trip: Trip) -> Verdict {
    Verdict::Failure(trip)
}

/// The table. `decision.blame` is left out of it: it is the code's.
#[rustfmt::skip]
pub const TABLE: [Row; 32] = [
    row("2xx, complete", Condition::Answered, None, Never, Verdict::Success),
    row("caller gone", Condition::CallerGone, None, Never, Verdict::Ignored),

    // Statuses that say more than their kind.
    row("409 conflict", Status(409), Some(Code::ValProviderRefused), HereOrElsewhere, Verdict::Ignored),
    row("501 not implemented", Status(501), Some(Code::ExtServerError), Elsewhere, Verdict::Ignored),

    // The caller's mistake: the same everywhere.
    row("400, 405, 422 invalid request", Kind(ErrorKind::InvalidRequest), Some(Code::ValProviderRefused), Never, Verdict::Ignored),
    row("400 context length exceeded", Kind(ErrorKind::ContextLength), Some(Code::ValContextLength), Never, Verdict::Ignored),
    row("413 too large", Kind(ErrorKind::TooLarge), Some(Code::ValTooLarge), Never, Verdict::Ignored),
    row("content filtered", Kind(ErrorKind::ContentFilter), Some(Code::BizContentFiltered), Never, Verdict::Ignored),

    // This provider's account, key or catalogue: others may do.
    row("401 authentication", Kind(ErrorKind::Authentication), Some(Code::AuthKeyRejected), Elsewhere, Verdict::Ignored),
    row("402, credit or quota spent", Kind(ErrorKind::Billing), Some(Code::AuthBilling), Elsewhere, Verdict::Ignored),
    row("account closed, key revoked", Kind(ErrorKind::AccountClosed), Some(Code::AuthAccountClosed), Elsewhere, Verdict::Ignored),
    row("403 permission", Kind(ErrorKind::Permission), Some(Code::AuthPermission), Elsewhere, Verdict::Ignored),
    row("404 model not found", Kind(ErrorKind::NotFound), Some(Code::ResModelNotFound), Elsewhere, Verdict::Ignored),

    // The provider's state.
    row("429 rate limited", Kind(ErrorKind::RateLimited), Some(Code::RateProvider), HereOrElsewhere, Verdict::Throttled),
    row("503, 529 overloaded", Kind(ErrorKind::Overloaded), Some(Code::ExtOverloaded), HereOrElsewhere, fails(Trip::Overloaded)),
    row("500, 502, 520, other 5xx", Kind(ErrorKind::Internal), Some(Code::ExtServerError), HereOrElsewhere, fails(Trip::ServerError)),
    row("408, 504, 522, 524 timeout", Kind(ErrorKind::Timeout), Some(Code::ExtTotalTimeout), HereOrElsewhere, fails(Trip::Timeout)),
    row("answer is not what the API promises", Kind(ErrorKind::Malformed), Some(Code::ExtMalformed), HereOrElsewhere, fails(Trip::Malformed)),
    row("3xx redirect, never followed", Kind(ErrorKind::Redirect), Some(Code::ExtRedirect), Elsewhere, fails(Trip::Malformed)),

    // The network. Where our own patience ran out, a second wait at the same place is not worth it.
    row("no file descriptors left here", Transport(TransportFault::NoDescriptors), Some(Code::SysOverloaded), Never, Verdict::Ignored),
    row("address not allowed", Transport(TransportFault::Denied), Some(Code::ExtAddressDenied), Elsewhere, fails(Trip::Connect)),
    row("connection refused", Transport(TransportFault::ConnectRefused), Some(Code::ExtConnectRefused), HereOrElsewhere, fails(Trip::Connect)),
    row("connect timeout", Transport(TransportFault::ConnectTimeout), Some(Code::ExtConnectTimeout), HereOrElsewhere, fails(Trip::Connect)),
    row("name does not resolve", Transport(TransportFault::Dns), Some(Code::ExtDns), HereOrElsewhere, fails(Trip::Connect)),
    row("TLS handshake failed", Transport(TransportFault::Tls), Some(Code::ExtTls), Elsewhere, fails(Trip::Tls)),
    row("reset before the response head", Transport(TransportFault::Reset), Some(Code::ExtReset), HereOrElsewhere, fails(Trip::Broken)),
    row("body ended too soon", Transport(TransportFault::Truncated), Some(Code::ExtTruncated), HereOrElsewhere, fails(Trip::Broken)),
    row("no first token in time", Transport(TransportFault::FirstTokenTimeout), Some(Code::ExtFirstTokenTimeout), Elsewhere, fails(Trip::Timeout)),
    row("silence between two chunks", Transport(TransportFault::IdleTimeout), Some(Code::ExtIdleTimeout), Elsewhere, fails(Trip::Timeout)),
    row("attempt took too long", Transport(TransportFault::TotalTimeout), Some(Code::ExtTotalTimeout), Elsewhere, fails(Trip::Timeout)),
    row("HTTP broken by the peer", Transport(TransportFault::Protocol), Some(Code::ExtProtocol), Elsewhere, fails(Trip::Malformed)),
    row("body not in its content coding, or a compression bomb", Transport(TransportFault::Coding), Some(Code::ExtMalformed), Elsewhere, fails(Trip::Malformed)),
];

/// For a kind that is added without a row: say so and do no harm. The tests see to it that nothing comes here.
const NO_ROW: Decision = row(
    "",
    Condition::CallerGone,
    Some(Code::SysInternal),
    Never,
    Verdict::Ignored,
)
.decision;

/// Decides. Every end has a row: the tests go through all of them.
pub fn classify(ended: &Ended) -> Decision {
    let found = TABLE.iter().find(|row| row.condition.matches(ended));
    let mut decision = found.map_or(NO_ROW, |row| row.decision);
    decision.blame = decision.code.map(Code::blame);
    if let Ended::InStream { content_sent: true, .. } | Ended::Transport { content_sent: true, .. } = ended {
        decision.retry_same = false;
        decision.try_next = false;
    }
    decision
}

/// The table for the documentation.
pub fn markdown() -> String {
    let mut text = String::from(
        "| An attempt ends with | Code | Blame | Same provider again | Next provider | Key | Breaker |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let yes = |yes| if yes { "yes" } else { "no" };
    for Row { when, decision, .. } in &TABLE {
        let code = decision.code.map_or_else(|| "-".into(), |code| format!("`{code}`"));
        let blame = decision.code.map_or("-", |code| code.blame().as_str());
        let (same, next, key) = (yes(decision.retry_same), yes(decision.try_next), decision.key.as_str());
        let breaker = match decision.breaker {
            Verdict::Success => "success".into(),
            Verdict::Failure(trip) => format!("failure ({})", trip.as_str()),
            Verdict::Throttled => "throttled".into(),
            Verdict::Ignored => "ignored".into(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {when} | {code} | {blame} | {same} | {next} | {key} | {breaker} |"
        );
    }
    text.push_str("\nAfter content was sent to the caller, nothing is tried again, whatever the row says.\n");
    text
}
