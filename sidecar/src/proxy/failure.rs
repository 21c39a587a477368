//! A failed attempt: how it ended, what it means, and what the caller hears if nothing better follows.

use std::time::Duration;

use bowsprit_core::classify::{Decision, Ended, classify};
use bowsprit_core::dialect::{ProviderError, StreamError};
use bowsprit_core::fault::{Code, ErrorKind, TransportFault};
use bowsprit_core::record::Expense;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::exchange::{End, Exchange};
use super::refuse::Refusal;
use crate::net::client::Fault;

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    /// What follows from it.
    pub decision: Decision,
    /// Its code.
    pub code: Code,
    /// How it ended.
    pub ended: Ended,
    /// What it cost.
    pub expense: Expense,
    /// What went wrong, for people; never with a key.
    pub message: String,
    /// The provider's hint when to come back.
    pub retry_after: Option<Duration>,
    /// The provider asks not to be asked again (`x-should-retry: false`).
    pub retry_forbidden: bool,
    /// What the caller hears if nothing better follows.
    pub reply: Reply,
}

/// What the caller hears of a failure.
#[derive(Debug)]
pub(super) enum Reply {
    /// An error of ours, which names the provider and tells [`Failure::message`].
    Named {
        /// The provider's own code, where OpenAI's API says it so too.
        exact: Option<&'static str>,
        /// The HTTP status, where it is not the one that the caller's API has for the code.
        status: Option<u16>,
    },
    /// The provider's own error response, which is in the caller's dialect.
    Original(StatusCode, HeaderMap, Bytes),
    /// A refusal: the provider had no part in it.
    Refused(Refusal),
}

impl Failure {
    /// Ends the exchange so. `message`: for people; `retry_after`: the provider's hint.
    pub(super) fn of(exchange: Exchange, ended: Ended, message: String, retry_after: Option<Duration>) -> Box<Self> {
        let now = exchange.now();
        let End { decision, expense } = exchange.end(now, ended, retry_after);
        Box::new(Self {
            decision,
            code: decision.code.unwrap_or(Code::SysInternal),
            ended,
            expense,
            message,
            retry_after,
            retry_forbidden: false,
            reply: Reply::Named {
                exact: None,
                status: None,
            },
        })
    }

    /// The network failed, or a deadline passed, before any content was sent.
    pub(super) fn transport(exchange: Exchange, fault: TransportFault, detail: String) -> Box<Self> {
        let ended = Ended::Transport {
            fault,
            content_sent: false,
        };
        Self::of(exchange, ended, detail, None)
    }

    /// The same, of a fault.
    pub(super) fn network(exchange: Exchange, fault: Fault) -> Box<Self> {
        Self::transport(exchange, fault.kind, fault.detail)
    }

    /// A 200 that is not what the provider's API promises.
    pub(super) fn malformed(exchange: Exchange, what: &str) -> Box<Self> {
        let ended = Ended::Status {
            status: 200,
            kind: ErrorKind::Malformed,
        };
        Self::of(exchange, ended, what.to_owned(), None)
    }

    /// A stream failed before its first content.
    pub(super) fn in_stream(exchange: Exchange, error: StreamError) -> Box<Self> {
        let in_stream = |kind| Ended::InStream {
            kind,
            content_sent: false,
        };
        match error {
            StreamError::Provider(ProviderError {
                kind,
                message,
                retry_after,
                ..
            }) => {
                let message = exchange.without_key(message);
                Self::of(exchange, in_stream(kind), message, retry_after)
            }
            StreamError::Malformed(_) => Self::of(exchange, in_stream(ErrorKind::Malformed), error.to_string(), None),
            StreamError::Truncated => Self::transport(exchange, TransportFault::Truncated, error.to_string()),
        }
    }

    /// The answer may be good, but there is no memory to hold it in. The provider is not to blame, and no other would help.
    pub(super) fn no_room(exchange: Exchange) -> Box<Self> {
        let message = "no memory to hold its answer in (--memory-budget)".to_owned();
        let reply = Reply::Named {
            exact: None,
            status: None,
        };
        Self::given_up(exchange, Code::SysOverloaded, message, reply)
    }

    /// The exchange was given up for a reason that the provider has no part in.
    pub(super) fn refused(exchange: Exchange, refusal: Refusal) -> Box<Self> {
        let message = refusal.message.clone().into_owned();
        Self::given_up(exchange, refusal.code, message, Reply::Refused(refusal))
    }

    /// The exchange ends as one whose answer is not wanted any more: the provider is not judged by it.
    fn given_up(exchange: Exchange, code: Code, message: String, reply: Reply) -> Box<Self> {
        let ended = Ended::CallerGone;
        let now = exchange.now();
        let End { expense, .. } = exchange.end(now, ended, None);
        Box::new(Self {
            decision: Decision {
                code: Some(code),
                ..classify(&ended)
            },
            code,
            ended,
            expense,
            message,
            retry_after: (code == Code::SysOverloaded).then_some(Duration::from_secs(1)),
            retry_forbidden: false,
            reply,
        })
    }
}
