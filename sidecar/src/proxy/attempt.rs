//! One exchange with one provider: send, judge, and either a whole answer, the beginning of one, or a failure that
//! says what may follow.
//!
//! A plain answer is collected (up to a limit) before anything is sent to the app, and a streamed one is held until
//! its first content: until then a failure can still be answered by another attempt.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::call::Operation;
use bowsprit_core::classify::{Decision, Ended, classify};
use bowsprit_core::clock::Moment;
use bowsprit_core::dialect::{
    self, AnswerContext, Echo, ProviderError, Stream, StreamError, Usage, count, embeddings, parse_error, success_error,
};
use bowsprit_core::fault::{Code, ErrorKind, TransportFault};
use bowsprit_core::headroom;
use bowsprit_core::record::Spent;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version, response};
use tokio::time::Instant;

use super::collect::{Collected, Deadlines, StartFault, collect, until_first_token};
use super::exchange::{End, Exchange, tokens_of};
use super::headers;
use super::inbound::Inbound;
use super::prepare::Prepared;
use super::refuse::X_SHOULD_RETRY;
use super::relay::Started;
use super::request_id::RequestId;
use super::stopwatch::Stopwatch;
use crate::credentials;
use crate::failpoint;
use crate::limits::{ANSWER_HELD, ANSWER_TRANSLATED, ERROR_BODY};
use crate::tenant::snapshot::Upstream;
use crate::time::{unix_millis, unix_now, until};
use crate::upstream::{Answer, AnswerBody, Fault, Outgoing};

/// Who closes an idle connection did so before our request arrived, and the news is back within a round trip. What breaks
/// off later than this broke off at work, which may have cost money.
const IDLE_CLOSE: Duration = Duration::from_secs(1);

const COMPRESSED: &str = "the answer is compressed although no compression was asked for";
const TOO_LARGE: &str = "the answer is too large to translate";

/// An answer's head, cleaned, and where its body comes from.
struct Asked {
    head: response::Parts,
    body: AnswerBody,
    /// Whether the body is compressed.
    encoded: bool,
}

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
        spent: Spent,
    },
    /// Its beginning.
    Flowing {
        /// Status and headers, cleaned.
        head: response::Parts,
        /// What there is and where the rest comes from.
        started: Box<Started>,
        /// The attempt, which ends with the relay.
        exchange: Exchange,
    },
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    /// What follows from it.
    pub decision: Decision,
    /// Its code.
    pub code: Code,
    /// How it ended.
    pub ended: Ended,
    /// The provider's own code, where `OpenAI`'s API says it so too.
    pub exact: Option<&'static str>,
    /// What it cost.
    pub spent: Spent,
    /// For people.
    pub message: String,
    /// The provider's hint when to come back.
    pub retry_after: Option<Duration>,
    /// The provider asks not to be asked again (`x-should-retry: false`).
    pub never_again: bool,
    /// The provider's own error response, if it is in the caller's dialect.
    pub original: Option<(StatusCode, HeaderMap, Bytes)>,
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
    /// Where to.
    pub upstream: &'a Arc<Upstream>,
    /// The attempt's permit, key and clock.
    pub exchange: Exchange,
}

impl Attempt<'_> {
    /// Makes the exchange.
    pub(super) async fn run(self, mut stopwatch: Stopwatch) -> Finished {
        let result = self.exchange(&mut stopwatch).await;
        Finished { result, stopwatch }
    }

    async fn exchange(mut self, stopwatch: &mut Stopwatch) -> Result<Success, Box<Failure>> {
        let begun_at = stopwatch.now();
        let begun = self.exchange.instant(begun_at);
        let deadlines = Deadlines::new(self.upstream.provider.timeouts, begun);
        let deadline = self.head_deadline(&deadlines, begun);
        let asked = match self.ask(&self.prepared.body, deadline, stopwatch).await {
            Ok(asked) => asked,
            Err(fault) => return Err(self.unanswered(fault, &deadlines)),
        };
        let Asked { head, body, encoded } = asked;
        self.exchange
            .head_came(head.status.as_u16(), stopwatch.now() - begun_at);
        if !head.status.is_success() {
            return Err(Box::pin(self.refused(head, body, &deadlines, encoded, stopwatch)).await);
        }
        if encoded && !self.prepared.same {
            return Err(self.malformed(COMPRESSED));
        }
        if self.inbound.call.is_stream() {
            let is_stream = headers::is_event_stream(&head.headers) || self.inbound.call.array;
            if is_stream && !encoded {
                return self.open(head, body, deadlines, begun, stopwatch).await;
            }
            if !self.prepared.same {
                return Err(Box::pin(self.no_stream(body, &deadlines, stopwatch)).await);
            }
            if encoded {
                return Ok(self.pass(head, body, deadlines, VecDeque::new()));
            }
            // Some servers answer so with an error, or with all of it at once: it is taken for what it is.
        }
        if self.inbound.call.operation != Operation::Generate && headers::is_event_stream(&head.headers) {
            return Ok(self.pass(head, body, deadlines, VecDeque::new()));
        }
        self.plain(head, body, deadlines, encoded, stopwatch).await
    }

    /// Sends one body and waits for the head of its answer; `Err(None)`: it came too late.
    async fn ask(&self, body: &Bytes, deadline: Instant, stopwatch: &mut Stopwatch) -> Result<Asked, Option<Fault>> {
        let sent = until(deadline, &mut false, pin!(self.send(stopwatch.now(), body))).await;
        let now = stopwatch.waited();
        let Answer { mut head, body } = match sent {
            Ok(Ok(answer)) => answer,
            Ok(Err(fault)) => return Err(Some(fault)),
            Err(_) => return Err(None),
        };
        let key = self.exchange.key();
        self.upstream.state.observe(key, &head.headers, now, unix_millis());
        let encoded = headers::is_encoded(&head.headers);
        headers::to_caller(&mut head.headers);
        credentials::scrub(&mut head.headers, self.exchange.key());
        // The version is each connection's own: HTTP/1.0 towards the app would hide a broken answer's missing end.
        head.version = Version::HTTP_11;
        Ok(Asked { head, body, encoded })
    }

    fn unanswered(self, fault: Option<Fault>, deadlines: &Deadlines) -> Box<Failure> {
        if let Some(fault) = fault {
            self.transport(fault.kind, fault.detail)
        } else {
            let fault = self.late();
            self.transport(fault, format!("no answer within {}", deadlines.describe(fault)))
        }
    }

    fn head_deadline(&self, deadlines: &Deadlines, begun: Instant) -> Instant {
        let first = begun + deadlines.timeouts.first_token;
        if self.is_stream() {
            deadlines.ends.min(first)
        } else {
            deadlines.ends
        }
    }

    fn is_stream(&self) -> bool {
        self.inbound.call.is_stream()
    }

    /// The limit that a missing head has passed.
    fn late(&self) -> TransportFault {
        let timeouts = &self.upstream.provider.timeouts;
        if self.is_stream() && timeouts.first_token < timeouts.total {
            TransportFault::FirstTokenTimeout
        } else {
            TransportFault::TotalTimeout
        }
    }

    /// Sends the request. An idle connection may turn out to be closed just as the request is written: that says nothing
    /// about the provider, so it is sent once more over a new one, as if it had been so from the start.
    async fn send(&self, begun: Moment, body: &Bytes) -> Result<Answer, Fault> {
        let origin = match &self.upstream.origin {
            Ok(origin) => origin,
            Err(why) => return Err(Fault::new(TransportFault::Tls, why)),
        };
        let connect = self.upstream.provider.timeouts.connect;
        match origin.send(self.request(body), connect).await {
            Err(fault) if fault.reused && self.exchange.now() - begun < IDLE_CLOSE => {
                tracing::debug!(request_id = self.id.as_str(), %fault, "an idle connection was closed; sent anew");
                origin.send_anew(self.request(body), connect).await
            }
            sent => sent,
        }
    }

    fn request(&self, body: &Bytes) -> Request<Outgoing> {
        let mut request = Request::new(Outgoing::from(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.prepared.uri.clone();
        failpoint::hit(&self.inbound.headers, failpoint::ATTEMPT);
        *request.headers_mut() =
            headers::to_provider(&self.inbound.headers, self.prepared.same, self.upstream, self.id);
        credentials::sign(&mut request, self.exchange.key(), &self.upstream.provider.platform.auth);
        request
    }

    /// A stream was asked for in another dialect, and something else came: an error, by what it says of itself.
    async fn no_stream(self, mut body: AnswerBody, deadlines: &Deadlines, stopwatch: &mut Stopwatch) -> Box<Failure> {
        let from = self.exchange.instant(stopwatch.now());
        let collected = collect(&mut body, deadlines, ERROR_BODY, from, self.exchange.memory()).await;
        stopwatch.waited();
        if let Ok(Collected::Whole(whole)) = collected
            && let Some(error) = success_error(self.prepared.wire, &whole)
        {
            return self.in_body(error.kind, &whole);
        }
        self.malformed("a stream was asked for, and something else came")
    }

    /// A plain answer: held whole, or, if it is very large and needs no translation, let flow from there.
    async fn plain(
        self,
        head: response::Parts,
        mut body: AnswerBody,
        deadlines: Deadlines,
        encoded: bool,
        stopwatch: &mut Stopwatch,
    ) -> Result<Success, Box<Failure>> {
        let limit = if self.prepared.same {
            ANSWER_HELD
        } else {
            ANSWER_TRANSLATED
        };
        let from = self.exchange.instant(stopwatch.now());
        let collected = collect(&mut body, &deadlines, limit, from, self.exchange.memory()).await;
        stopwatch.waited();
        let whole = match collected {
            Ok(Collected::Whole(whole)) => whole,
            Ok(Collected::Part(held) | Collected::NoRoom(held)) if self.prepared.same => {
                return Ok(self.pass(head, body, deadlines, held));
            }
            Ok(Collected::NoRoom(_)) => return Err(no_room()),
            Ok(Collected::Part(_)) => return Err(self.malformed(TOO_LARGE)),
            Err(fault) => return Err(self.transport(fault.kind, fault.detail)),
        };
        let provider = self.prepared.wire;
        if !self.prepared.same && self.prepared.more.is_empty() {
            return self.translated(head, &[whole], stopwatch.now());
        }
        if !self.prepared.same {
            // Boxed, as is every path that few requests take: what they need must not weigh on all.
            return Box::pin(self.in_parts(head, whole, &deadlines, stopwatch)).await;
        }
        let usage = if encoded {
            None
        } else {
            dialect::usage(provider, &whole)
        };
        let problem = match self.inbound.call.operation {
            _ if encoded => None,
            Operation::Generate => dialect::answer_problem(provider, &whole),
            Operation::Embed(form) => embeddings::answer_problem(form, &whole),
            Operation::Count => count::answer_problem(provider, &whole),
            Operation::PassThrough => None,
        };
        if let Some(kind) = problem {
            return Err(self.in_body(kind, &whole));
        }
        Ok(self.whole(stopwatch.now(), head, whole, usage))
    }

    /// Whole answers, one to each part of the request, said in the caller's dialect.
    fn translated(self, head: response::Parts, answers: &[Bytes], now: Moment) -> Result<Success, Box<Failure>> {
        match self.prepared.say(self.inbound, answers, &self.answer_context()) {
            Ok((body, usage)) => Ok(self.whole(now, json(head), body, usage)),
            Err(kind) => Err(self.in_body(kind, answers.first().map(Bytes::as_ref).unwrap_or_default())),
        }
    }

    /// The first answer is here: asks for the further parts of the request. A part that fails fails the attempt: half of
    /// the vectors are no answer.
    async fn in_parts(
        self,
        head: response::Parts,
        first: Bytes,
        deadlines: &Deadlines,
        stopwatch: &mut Stopwatch,
    ) -> Result<Success, Box<Failure>> {
        let mut answers = vec![first];
        for part in &self.prepared.more {
            let asked = match self.ask(part, deadlines.ends, stopwatch).await {
                Ok(asked) => asked,
                Err(fault) => return Err(self.unanswered(fault, deadlines)),
            };
            let Asked {
                head,
                mut body,
                encoded,
            } = asked;
            if !head.status.is_success() {
                return Err(self.refused(head, body, deadlines, encoded, stopwatch).await);
            }
            if encoded {
                return Err(self.malformed(COMPRESSED));
            }
            let from = self.exchange.instant(stopwatch.now());
            let collected = collect(&mut body, deadlines, ANSWER_TRANSLATED, from, self.exchange.memory()).await;
            stopwatch.waited();
            match collected {
                Ok(Collected::Whole(whole)) => answers.push(whole),
                Ok(Collected::NoRoom(_)) => return Err(no_room()),
                Ok(Collected::Part(_)) => return Err(self.malformed(TOO_LARGE)),
                Err(fault) => return Err(self.transport(fault.kind, fault.detail)),
            }
        }
        let now = stopwatch.now();
        self.translated(head, &answers, now)
    }

    fn whole(mut self, now: Moment, head: response::Parts, body: Bytes, usage: Option<Usage>) -> Success {
        self.exchange.saw(usage, tokens_of(body.len()));
        let End { spent, .. } = self.exchange.end(now, Ended::Answered, None);
        Success::Whole { head, body, spent }
    }

    /// Lets bytes pass unread.
    fn pass(self, head: response::Parts, body: AnswerBody, deadlines: Deadlines, held: VecDeque<Bytes>) -> Success {
        let started = Started {
            body,
            watch: None,
            held,
            deadlines,
            ended: false,
        };
        Success::Flowing {
            head,
            started: Box::new(started),
            exchange: self.exchange,
        }
    }

    /// A stream: its start-up events are held until the first content.
    async fn open(
        mut self,
        head: response::Parts,
        mut body: AnswerBody,
        deadlines: Deadlines,
        begun: Instant,
        stopwatch: &mut Stopwatch,
    ) -> Result<Success, Box<Failure>> {
        let mut watch = Stream::new(
            self.prepared.wire,
            self.inbound.call.dialect,
            self.answer_context(),
            self.prepared.hide_usage,
        );
        let deadline = deadlines.ends.min(begun + deadlines.timeouts.first_token);
        let head = if self.prepared.same { head } else { event_stream(head) };
        if !self.hold {
            let started = Started {
                body,
                watch: Some(watch),
                held: VecDeque::new(),
                deadlines: deadlines.until_content(deadline),
                ended: false,
            };
            return Ok(Success::Flowing {
                head,
                started: Box::new(started),
                exchange: self.exchange,
            });
        }
        let held = until(
            deadline,
            &mut false,
            pin!(until_first_token(&mut body, &mut watch, &mut self.exchange)),
        )
        .await;
        stopwatch.waited();
        let (held, ended) = match held {
            Ok(Ok(held)) => held,
            Ok(Err(StartFault::Transport(fault))) => return Err(self.transport(fault.kind, fault.detail)),
            Ok(Err(StartFault::Stream(error))) => return Err(self.in_stream(error)),
            Err(_) => {
                let fault = self.late();
                let text = format!("no content within {}", deadlines.describe(fault));
                return Err(self.transport(fault, text));
            }
        };
        let started = Started {
            body,
            watch: Some(watch),
            held,
            deadlines,
            ended,
        };
        Ok(Success::Flowing {
            head,
            started: Box::new(started),
            exchange: self.exchange,
        })
    }

    fn answer_context(&self) -> AnswerContext {
        if self.prepared.same {
            return AnswerContext::default();
        }
        AnswerContext {
            model: self.inbound.call.model.clone(),
            id: self.id.as_str().to_owned(),
            created: unix_now().as_secs(),
            include_usage: self.inbound.call.include_usage,
            show_thoughts: self.prepared.show_thoughts,
            tools: self.prepared.tools.clone(),
            echo: Echo::of(self.inbound.call.dialect, &self.inbound.body),
        }
    }

    fn fail(self, ended: Ended, message: String, retry_after: Option<Duration>) -> Box<Failure> {
        let now = self.exchange.now();
        let End { decision, spent } = self.exchange.end(now, ended, retry_after);
        let code = decision.code.unwrap_or(Code::SysInternal);
        Box::new(Failure {
            decision,
            code,
            exact: None,
            ended,
            spent,
            message,
            retry_after,
            never_again: false,
            original: None,
        })
    }

    fn transport(self, fault: TransportFault, detail: String) -> Box<Failure> {
        self.fail(
            Ended::Transport {
                fault,
                content_sent: false,
            },
            detail,
            None,
        )
    }

    fn malformed(self, what: &str) -> Box<Failure> {
        self.fail(
            Ended::Status {
                status: 200,
                kind: ErrorKind::Malformed,
            },
            what.to_owned(),
            None,
        )
    }

    /// An error with the status of a success.
    fn in_body(mut self, kind: ErrorKind, body: &[u8]) -> Box<Failure> {
        let message = if let Some(error) = success_error(self.prepared.wire, body) {
            credentials::without_key(self.exchange.key(), error.message)
        } else {
            // It was generated all the same, and paid for.
            let usage = dialect::usage(self.prepared.wire, body);
            self.exchange.saw(usage, tokens_of(body.len()));
            "the answer is not what the provider's API promises".to_owned()
        };
        self.fail(Ended::Status { status: 200, kind }, message, None)
    }

    fn in_stream(self, error: StreamError) -> Box<Failure> {
        let (ended, retry_after) = match &error {
            StreamError::Provider(error) => (
                Ended::InStream {
                    kind: error.kind,
                    content_sent: false,
                },
                error.retry_after,
            ),
            StreamError::Malformed(_) => (
                Ended::InStream {
                    kind: ErrorKind::Malformed,
                    content_sent: false,
                },
                None,
            ),
            StreamError::Truncated => (
                Ended::Transport {
                    fault: TransportFault::Truncated,
                    content_sent: false,
                },
                None,
            ),
        };
        let message = match error {
            StreamError::Provider(ProviderError { message, .. }) => {
                credentials::without_key(self.exchange.key(), message)
            }
            other => other.to_string(),
        };
        self.fail(ended, message, retry_after)
    }

    /// An error status, with its body.
    async fn refused(
        self,
        mut head: response::Parts,
        mut body: AnswerBody,
        deadlines: &Deadlines,
        encoded: bool,
        stopwatch: &mut Stopwatch,
    ) -> Box<Failure> {
        let from = self.exchange.instant(stopwatch.now());
        let collected = collect(&mut body, deadlines, ERROR_BODY, from, self.exchange.memory()).await;
        stopwatch.waited();
        // A broken error body is still an error of that status.
        let body = match collected {
            Ok(Collected::Whole(body)) => body,
            Ok(Collected::Part(_) | Collected::NoRoom(_)) | Err(_) => Bytes::new(),
        };
        let status = head.status.as_u16();
        let parsed = parse_error(self.prepared.wire, status, if encoded { &[] } else { &body });
        let hint = headroom::retry_after(&head.headers, unix_millis()).or(parsed.retry_after);
        let leaks = credentials::is_quoted(self.exchange.key(), &body);
        let exact = parsed.openai_code();
        let message = credentials::without_key(self.exchange.key(), parsed.message);
        let same = self.prepared.same;
        let never_again = head.headers.get(X_SHOULD_RETRY).is_some_and(|word| word == "false");
        let mut failure = self.fail(
            Ended::Status {
                status,
                kind: parsed.kind,
            },
            message,
            hint,
        );
        failure.exact = exact;
        failure.never_again = never_again;
        // Compressed although nothing asked for it: what cannot be read may quote the key.
        if same && !leaks && !encoded && !body.is_empty() && !head.status.is_redirection() {
            head.headers.remove(http::header::CONTENT_ENCODING);
            failure.original = Some((head.status, head.headers, body));
        }
        failure
    }
}

/// The answer may be good, but there is no memory to hold it in: nobody's fault but ours, and no reason to go elsewhere.
fn no_room() -> Box<Failure> {
    let ended = Ended::CallerGone;
    Box::new(Failure {
        decision: Decision {
            code: Some(Code::SysOverloaded),
            ..classify(&ended)
        },
        code: Code::SysOverloaded,
        exact: None,
        ended,
        spent: Spent::NOTHING,
        message: "no memory to hold its answer in (--memory-budget)".into(),
        never_again: false,
        retry_after: Some(Duration::from_secs(1)),
        original: None,
    })
}

/// A translated answer's head: whatever the provider said about the body's form is no longer true.
fn json(mut head: response::Parts) -> response::Parts {
    head.headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    head
}

fn event_stream(mut head: response::Parts) -> response::Parts {
    head.headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    head
}
