//! One attempt of a request: its exchange, and what comes of it: a whole answer, the beginning of one, or a failure.
//!
//! A plain answer is collected (up to a limit) before anything is sent to the app, and a streamed one is held until its
//! first content ([`stream`]): until then a failure ([`error`]) can still be answered by another attempt. What passes
//! unread ([`unread`]) flows both ways at once.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use bowsprit_core::call::Operation;
use bowsprit_core::classify::Ended;
use bowsprit_core::clock::Moment;
use bowsprit_core::dialect::{self, Usage, count, embeddings, reported_model, tokens_of};
use bowsprit_core::record::Expense;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, response};

use super::batched::Arriving;
use super::collect::{Collected, collect};
use super::deadlines::Deadlines;
use super::exchange::{Exchange, Received};
use super::failure::Failure;
use super::headers::{self, Carry};
use super::inbound::Inbound;
use super::prepare::Prepared;
use super::relay::Started;
use super::request_id::{RequestId, TRACEPARENT};
use super::stopwatch::Stopwatch;
use crate::failpoint;
use crate::limits::{ANSWER_HELD, ANSWER_TRANSLATED};
use crate::net::client::{Answer, AnswerBody, Fault, Outgoing};
use crate::tenant::snapshot::Upstream;
use crate::time::until;

mod error;
mod parts;
mod stream;
mod unread;

const COMPRESSED: &str = "the answer is compressed although no compression was asked for";
const TOO_LARGE: &str = "the answer is too large to translate";

/// A good answer.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one per request, and it is taken apart at once"
)]
pub(super) enum Success {
    /// All of it.
    Whole {
        /// Status and headers, cleaned.
        head: response::Parts,
        /// The body, in the caller's dialect.
        body: Bytes,
        /// What it cost.
        expense: Expense,
    },
    /// Its beginning.
    Flowing {
        /// Status and headers, cleaned.
        head: response::Parts,
        /// What there is and where the rest comes from.
        started: Box<Started>,
        /// The exchange, which ends with the relay.
        exchange: Exchange,
    },
}

/// What an attempt came to.
pub(super) struct Finished {
    /// A good answer, or why there is none.
    pub result: Result<Success, Box<Failure>>,
    /// Its time.
    pub stopwatch: Stopwatch,
}

/// One attempt's facts.
pub(super) struct Attempt<'a> {
    /// The request.
    pub inbound: &'a Inbound,
    /// Its id.
    pub id: &'a RequestId,
    /// Whether a stream is held until its first content; else it is the answer as soon as its head is here.
    pub hold: bool,
    /// What to send.
    pub prepared: &'a Prepared,
    /// The request's body, where it is still arriving and passes unread.
    pub arriving: Option<Box<Arriving>>,
    /// Where to.
    pub upstream: &'a Arc<Upstream>,
    /// The exchange, which has begun.
    pub exchange: Exchange,
}

impl Attempt<'_> {
    /// Makes the exchange.
    pub(super) async fn run(self, mut stopwatch: Stopwatch) -> Finished {
        let result = if self.inbound.call.operation == Operation::PassThrough {
            // Boxed, as is every path that few requests take: what they need must not weigh on all.
            Box::pin(self.unread(&mut stopwatch)).await
        } else {
            self.read(&mut stopwatch).await
        };
        Finished { result, stopwatch }
    }

    /// Sends a body that is held, and reads the answer.
    #[allow(
        clippy::manual_async_fn,
        reason = "an async fn would hold its `self`, 400 bytes, twice"
    )]
    fn read(mut self, stopwatch: &mut Stopwatch) -> impl Future<Output = Result<Success, Box<Failure>>> {
        async move {
            let begun = self.exchange.instant(stopwatch.now());
            let deadlines = Deadlines::new(self.upstream.provider.timeouts, begun);
            let received = match self.ask(&self.prepared.body, &deadlines, stopwatch).await {
                Ok((answer, now)) => self.exchange.received(answer, now),
                Err(fault) => return Err(Failure::network(self.exchange, fault)),
            };
            if !received.head.status.is_success() {
                return Err(Box::pin(self.refused(received, &deadlines, stopwatch)).await);
            }
            let Received { head, body, is_encoded } = received;
            if is_encoded && !self.prepared.same {
                return Err(Failure::malformed(self.exchange, COMPRESSED));
            }
            if self.inbound.call.is_stream() {
                let is_stream = headers::is_event_stream(&head.headers) || self.inbound.call.array;
                if is_stream && !is_encoded {
                    return self.stream(head, body, deadlines, stopwatch).await;
                }
                if !self.prepared.same {
                    return Err(Box::pin(self.no_stream(body, &deadlines, stopwatch)).await);
                }
                if is_encoded {
                    return Ok(self.pass(head, body, deadlines, VecDeque::new()));
                }
                // Some servers answer so with an error, or with all of it at once: it is taken for what it is.
            }
            if self.inbound.call.operation != Operation::Generate && headers::is_event_stream(&head.headers) {
                return Ok(self.pass(head, body, deadlines, VecDeque::new()));
            }
            self.plain(head, body, deadlines, is_encoded, stopwatch).await
        }
    }

    /// Sends one body and waits for the head of its answer, until the deadline for it. Also returns when it came.
    async fn ask(
        &self,
        body: &Bytes,
        deadlines: &Deadlines,
        stopwatch: &mut Stopwatch,
    ) -> Result<(Answer, Moment), Fault> {
        let (by, fault) = deadlines.first(self.inbound.call.is_stream());
        let request = || self.request(Carry::of(self.prepared), Outgoing::from(body.clone()));
        let send = self.exchange.send(request(), || Some(request()), stopwatch.now());
        let sent = until(by, &mut false, pin!(send)).await;
        let now = stopwatch.waited();
        match sent {
            Ok(answer) => Ok((answer?, now)),
            Err(_) => Err(Fault::new(
                fault,
                format_args!("no answer within {}", deadlines.describe(fault)),
            )),
        }
    }

    fn request(&self, carry: Carry, body: Outgoing) -> Request<Outgoing> {
        let inbound = self.inbound;
        let length = match &body {
            Outgoing::Whole(body) => headers::length_of(&inbound.headers, body),
            Outgoing::Arriving(_) => None,
        };
        let mut request = Request::new(body);
        request.method_mut().clone_from(&inbound.method);
        request.uri_mut().clone_from(&self.prepared.uri);
        failpoint::hit(&inbound.headers, failpoint::ATTEMPT);
        let mut headers = headers::to_provider(&inbound.headers, carry, self.upstream, self.id);
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length);
        }
        if let Some(parent) = self.exchange.traceparent() {
            headers.insert(TRACEPARENT, parent);
        }
        *request.headers_mut() = headers;
        request
    }

    async fn collect(
        &self,
        body: &mut AnswerBody,
        deadlines: &Deadlines,
        limit: usize,
        stopwatch: &mut Stopwatch,
    ) -> Result<Collected, Fault> {
        let from = self.exchange.instant(stopwatch.now());
        let collected = collect(body, deadlines, limit, from, self.exchange.memory()).await;
        stopwatch.waited();
        collected
    }

    /// A plain answer: held whole, or, if it is very large and needs no translation, let flow from there.
    async fn plain(
        mut self,
        head: response::Parts,
        mut body: AnswerBody,
        deadlines: Deadlines,
        is_encoded: bool,
        stopwatch: &mut Stopwatch,
    ) -> Result<Success, Box<Failure>> {
        let same = self.prepared.same;
        let limit = if same { ANSWER_HELD } else { ANSWER_TRANSLATED };
        let whole = match self.collect(&mut body, &deadlines, limit, stopwatch).await {
            Ok(Collected::Whole(whole)) => whole,
            Ok(Collected::Part(held) | Collected::NoRoom(held)) if same => {
                return Ok(self.pass(head, body, deadlines, held));
            }
            Ok(Collected::NoRoom(_)) => return Err(Failure::no_room(self.exchange)),
            Ok(Collected::Part(_)) => return Err(Failure::malformed(self.exchange, TOO_LARGE)),
            Err(fault) => return Err(Failure::network(self.exchange, fault)),
        };
        if !same && self.prepared.more.is_empty() {
            return self.translated(head, &[whole], stopwatch.now());
        }
        if !same {
            return Box::pin(self.in_parts(head, whole, &deadlines, stopwatch)).await;
        }
        let provider = self.prepared.wire;
        let problem = match self.inbound.call.operation {
            _ if is_encoded => None,
            Operation::Generate => dialect::answer_problem(provider, &whole),
            Operation::Embed(form) => embeddings::answer_problem(form, &whole),
            Operation::Count => count::answer_problem(provider, &whole),
            Operation::PassThrough => None,
        };
        if let Some(kind) = problem {
            return Err(self.in_body(kind, &whole));
        }
        let usage = (!is_encoded).then(|| dialect::usage(provider, &whole)).flatten();
        if usage.is_none() && dialect::is_at_work(provider, &whole) {
            self.exchange.goes_on();
        }
        let model = (!is_encoded).then(|| reported_model(provider, &whole)).flatten();
        let expense = self.answered(stopwatch.now(), whole.len(), usage, model.as_deref());
        Ok(Success::Whole {
            head,
            body: whole,
            expense,
        })
    }

    /// Whole answers, one to each part of the request, said in the caller's dialect.
    fn translated(self, mut head: response::Parts, answers: &[Bytes], now: Moment) -> Result<Success, Box<Failure>> {
        match self.prepared.say(self.inbound, answers, &self.answer_context()) {
            Ok((body, usage)) => {
                head.headers
                    .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let model = answers
                    .first()
                    .and_then(|answer| reported_model(self.prepared.wire, answer));
                let expense = self.answered(now, body.len(), usage, model.as_deref());
                Ok(Success::Whole { head, body, expense })
            }
            Err(kind) => Err(self.in_body(kind, answers.first().map(Bytes::as_ref).unwrap_or_default())),
        }
    }

    /// Ends the exchange with a whole answer of so many bytes; returns what it cost.
    fn answered(mut self, now: Moment, bytes: usize, usage: Option<Usage>, model: Option<&str>) -> Expense {
        self.exchange.saw(usage, tokens_of(bytes));
        self.exchange.end_answer(now, Ended::Answered, model).expense
    }

    /// Lets bytes pass unread.
    fn pass(self, head: response::Parts, body: AnswerBody, deadlines: Deadlines, held: VecDeque<Bytes>) -> Success {
        self.flowing(
            head,
            Started {
                body,
                stream: None,
                held,
                deadlines,
                ended: false,
                batch: None,
            },
        )
    }

    fn flowing(self, head: response::Parts, started: Started) -> Success {
        Success::Flowing {
            head,
            started: Box::new(started),
            exchange: self.exchange,
        }
    }
}
