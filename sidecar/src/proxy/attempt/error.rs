//! A provider's error: by its status, or inside the status of a success.

use bowsprit_core::call::Operation;
use bowsprit_core::classify::Ended;
use bowsprit_core::dialect::{self, parse_error, success_error, tokens_of};
use bowsprit_core::fault::{Code, ErrorKind};
use bowsprit_core::headroom;
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_ENCODING;

use super::Attempt;
use crate::limits::ERROR_BODY;
use crate::net::client::AnswerBody;
use crate::proxy::collect::Collected;
use crate::proxy::deadlines::Deadlines;
use crate::proxy::exchange::Received;
use crate::proxy::failure::{Failure, Reply};
use crate::proxy::refuse::X_SHOULD_RETRY;
use crate::proxy::stopwatch::Stopwatch;
use crate::time::unix_millis;

impl Attempt<'_> {
    /// An error status, with its body. A body that broke off, or is too large to read, is still an error of that status.
    pub(super) async fn refused(
        self,
        received: Received,
        deadlines: &Deadlines,
        stopwatch: &mut Stopwatch,
    ) -> Box<Failure> {
        let Received {
            mut head,
            mut body,
            is_encoded,
        } = received;
        let whole = match self.collect(&mut body, deadlines, ERROR_BODY, stopwatch).await {
            Ok(Collected::Whole(whole)) => Some(whole),
            Ok(Collected::Part(_) | Collected::NoRoom(_)) | Err(_) => None,
        };
        let status = head.status;
        let readable = whole.as_deref().filter(|_| !is_encoded).unwrap_or_default();
        let parsed = parse_error(self.prepared.wire, status.as_u16(), readable);
        let hint = headroom::retry_after(&head.headers, unix_millis()).or(parsed.retry_after);
        let original = self.original(status, whole, &parsed.message, is_encoded);
        let exact = parsed.openai_code();
        let message = self.exchange.without_key(parsed.message);
        let unread = self.inbound.call.operation == Operation::PassThrough;
        let ended = Ended::Status {
            status: status.as_u16(),
            kind: parsed.kind,
        };
        let mut failure = Failure::of(self.exchange, ended, message, hint);
        failure.retry_forbidden = head.headers.get(X_SHOULD_RETRY).is_some_and(|word| word == "false");
        if unread && parsed.kind == ErrorKind::NotFound {
            // A path or a file that is not there is no missing model.
            failure.code = Code::ValProviderRefused;
        }
        failure.reply = match original {
            Some(body) => {
                head.headers.remove(CONTENT_ENCODING);
                Reply::Original(status, head.headers, body)
            }
            None if unread => {
                failure.message = format!(
                    "it answered {status} with a body that is withheld: it quotes the key, cannot be \
                                           read, is too large or broke off"
                );
                Reply::Named {
                    exact: None,
                    status: Some(status.as_u16()),
                }
            }
            None => Reply::Named { exact, status: None },
        };
        failure
    }

    /// The error's body, where the caller may have it as it is: it is in the caller's dialect, and does not quote our key.
    /// `message`: what it says.
    fn original(&self, status: StatusCode, body: Option<Bytes>, message: &str, is_encoded: bool) -> Option<Bytes> {
        let body = body?;
        // Searched as it is written and as it reads: JSON may write a key's slash as `\/`.
        if [&*body, message.as_bytes()]
            .into_iter()
            .any(|text| self.exchange.is_key_in(text))
        {
            return None;
        }
        // What cannot be read may quote the key.
        let is_readable = !is_encoded || body.is_empty();
        let is_answer = match self.inbound.call.operation {
            Operation::PassThrough => true,
            _ => self.prepared.same && !body.is_empty() && !status.is_redirection(),
        };
        (is_readable && is_answer).then_some(body)
    }

    /// An error with the status of a success.
    pub(super) fn in_body(mut self, kind: ErrorKind, body: &[u8]) -> Box<Failure> {
        let message = if let Some(error) = success_error(self.prepared.wire, body) {
            self.exchange.without_key(error.message)
        } else {
            // It was generated all the same, and paid for.
            let usage = dialect::usage(self.prepared.wire, body);
            self.exchange.saw(usage, tokens_of(body.len()));
            "the answer is not what the provider's API promises".to_owned()
        };
        Failure::of(self.exchange, Ended::Status { status: 200, kind }, message, None)
    }

    /// A stream was asked for in another dialect, and something else came: an error, by what it says of itself.
    pub(super) async fn no_stream(
        self,
        mut body: AnswerBody,
        deadlines: &Deadlines,
        stopwatch: &mut Stopwatch,
    ) -> Box<Failure> {
        if let Ok(Collected::Whole(whole)) = self.collect(&mut body, deadlines, ERROR_BODY, stopwatch).await
            && let Some(error) = success_error(self.prepared.wire, &whole)
        {
            return self.in_body(error.kind, &whole);
        }
        Failure::malformed(self.exchange, "a stream was asked for, and something else came")
    }
}
