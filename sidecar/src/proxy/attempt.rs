//! One exchange with one provider: send, judge, and either a whole answer, the beginning of one, or a failure that
//! says what may follow.
//!
//! A plain answer is taken in whole (up to a limit) before anything is sent to the app, and a streamed one is held until
//! its first content: until then a failure can still be answered by another attempt.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::breaker::Verdict;
use bowsprit_core::classify::{Decision, Ended, KeyVerdict, classify};
use bowsprit_core::clock::Moment;
use bowsprit_core::config::Timeouts;
use bowsprit_core::dialect::{
    self, AnswerContext, Dialect, ProviderError, Pushed, Stream, StreamError, Usage, parse_error, translate_response,
};
use bowsprit_core::fault::{Code, ErrorKind, TransportFault};
use bowsprit_core::headroom;
use bowsprit_core::lifecycle::Event;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, Version, response};
use http_body_util::Full;
use tokio::time::Instant;

use super::admit::{Call, Kind};
use super::dispatch::Prepared;
use super::headers;
use super::settle::Story;
use super::stream::Started;
use crate::app::App;
use crate::keys::Chosen;
use crate::live::Upstream;
use crate::state::Lease;
use crate::time::{unix_millis, unix_now};
use crate::upstream::{Answer, AnswerBody, Fault};

/// A plain answer is held whole up to this size, so that a truncated one can be tried again; what is larger flows.
const HOLD_PLAIN: usize = 4 << 20;
/// A translated answer must be held whole; beyond this it is refused.
const MAX_TRANSLATED: usize = 64 << 20;
/// Start-up events held before the first content: pieces and bytes. Then the stream flows, come what may.
const HOLD_CHUNKS: usize = 64;
const HOLD_BYTES: usize = 256 << 10;
/// As much of an error body is read; providers' own are well below 10 KiB.
const MAX_ERROR: usize = 256 << 10;

/// A good answer.
pub(super) enum Success {
    /// All of it.
    Whole {
        /// Status and headers, cleaned.
        head: response::Parts,
        /// The body, in the caller's dialect.
        body: Bytes,
        /// What it cost.
        usage: Option<Usage>,
    },
    /// Its beginning.
    Flowing {
        /// Status and headers, cleaned.
        head: response::Parts,
        /// What there is and where the rest comes from.
        started: Box<Started>,
        /// The attempt, which ends with the relay.
        in_flight: InFlight,
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
    /// For people.
    pub message: String,
    /// The provider's hint when to come back.
    pub retry_after: Option<Duration>,
    /// The provider's own error response, if it is in the caller's dialect.
    pub original: Option<(StatusCode, HeaderMap, Bytes)>,
}

/// The times an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    timeouts: Timeouts,
    ends: Instant,
}

impl Limits {
    fn new(timeouts: Timeouts, begun: Instant) -> Self {
        Self {
            timeouts,
            ends: begun + timeouts.total,
        }
    }

    /// When to look again, after the last sign of life.
    pub fn next(&self, last: Instant) -> Instant {
        self.ends.min(last + self.timeouts.idle)
    }

    /// Which limit has passed.
    pub fn expired(&self, last: Instant, now: Instant) -> Option<TransportFault> {
        if now >= self.ends {
            Some(TransportFault::TotalTimeout)
        } else if now >= last + self.timeouts.idle {
            Some(TransportFault::IdleTimeout)
        } else {
            None
        }
    }

    /// A limit for people.
    pub fn describe(&self, fault: TransportFault) -> String {
        let (name, limit) = match fault {
            TransportFault::FirstTokenTimeout => ("firstToken", self.timeouts.first_token),
            TransportFault::IdleTimeout => ("idle", self.timeouts.idle),
            _ => ("total", self.timeouts.total),
        };
        format!("{} s (timeouts.{name})", limit.as_secs_f64())
    }
}

/// An attempt under way. Ended once by [`InFlight::finish`]; dropped, the caller has left.
pub struct InFlight {
    app: Arc<App>,
    upstream: Arc<Upstream>,
    model: Arc<str>,
    lease: Option<Lease>,
    key: Option<Chosen>,
    first_byte: Option<Duration>,
    input_tokens: u64,
}

impl InFlight {
    /// Begins.
    pub fn new(
        app: &Arc<App>,
        upstream: &Arc<Upstream>,
        model: &str,
        lease: Lease,
        key: Option<Chosen>,
        input_tokens: u64,
    ) -> Self {
        let label = upstream
            .handles
            .model(model)
            .map_or_else(|| model.into(), |handles| Arc::clone(&handles.model));
        Self {
            app: Arc::clone(app),
            upstream: Arc::clone(upstream),
            model: label,
            lease: Some(lease),
            key,
            first_byte: None,
            input_tokens,
        }
    }

    /// Judges the end and tells everyone concerned: breaker, limiter, key, health, metrics.
    pub fn finish(mut self, now: Moment, ended: Ended, usage: Option<&Usage>, hint: Option<Duration>) -> Decision {
        let decision = classify(&ended);
        let Some(lease) = self.lease.take() else {
            return decision;
        };
        let state = &self.upstream.state;
        let used = usage.map(|usage| usage.input.saturating_add(usage.output));
        // A refused attempt cost nothing; one that broke off cost what is known, else what was reserved.
        let used = if matches!(ended, Ended::Status { .. }) {
            Some(0)
        } else {
            used
        };
        lease.settle(decision.breaker, used, now);
        if let Some(key) = &self.key {
            match decision.key {
                KeyVerdict::Fine if decision.breaker == Verdict::Success => state.accept_key(key),
                KeyVerdict::Fine => {}
                KeyVerdict::SetAside => state.reject_key(key, now),
                KeyVerdict::Rotate => state.throttle_key(key, hint, now),
            }
        }
        match decision.breaker {
            Verdict::Success => state.outcome(true, self.first_byte, now),
            Verdict::Failure(_) => state.outcome(false, None, now),
            Verdict::Throttled | Verdict::Ignored => {}
        }
        let handles = self.upstream.handles.model(&self.model);
        match decision.code {
            None => {
                if let Some(handles) = handles {
                    handles.answered();
                }
            }
            Some(code) => self
                .app
                .metrics
                .traffic
                .attempt_failed(state.name(), &self.model, code.as_str()),
        }
        if let (Some(usage), Some(handles)) = (usage, handles) {
            handles.count(usage);
        }
        decision
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.abandon(self.input_tokens, self.app.clock.now());
            self.app
                .metrics
                .traffic
                .attempt_failed(self.upstream.state.name(), &self.model, "cancelled");
        }
    }
}

/// One attempt's facts.
pub(super) struct Attempt<'a> {
    /// The request.
    pub call: &'a Call,
    /// What to send.
    pub prepared: &'a Prepared,
    /// Where to.
    pub upstream: &'a Arc<Upstream>,
    /// The attempt's permit, key and clock.
    pub in_flight: InFlight,
}

impl Attempt<'_> {
    /// Makes the exchange.
    pub(super) async fn run(mut self, story: &mut Story) -> Result<Success, Box<Failure>> {
        let begun_at = story.now();
        let begun = self.in_flight.app.clock.instant(begun_at);
        let limits = Limits::new(self.upstream.provider.timeouts, begun);
        let sent = tokio::time::timeout_at(self.head_deadline(&limits, begun), self.send(story)).await;
        let now = story.waited();
        let answer = match sent {
            Ok(Ok(answer)) => answer,
            Ok(Err(fault)) => return Err(self.transport(fault.kind, fault.detail)),
            Err(_) => {
                let fault = self.late();
                return Err(self.transport(fault, format!("no answer within {}", limits.describe(fault))));
            }
        };
        self.in_flight.first_byte = Some(now - begun_at);
        let Answer { mut head, body } = answer;
        self.upstream.state.observe(&head.headers, now, unix_millis());
        let encoded = headers::is_encoded(&head.headers);
        headers::to_caller(&mut head.headers);
        // The version is each connection's own: HTTP/1.0 towards the app would hide a broken answer's missing end.
        head.version = Version::HTTP_11;
        if !head.status.is_success() {
            return Err(self.refused(head, body, &limits, encoded, story).await);
        }
        if encoded && !self.prepared.same {
            return Err(self.malformed("the answer is compressed although no compression was asked for"));
        }
        if self.call.kind == Kind::Generate && self.call.stream {
            let is_stream = headers::is_event_stream(&head.headers) || self.call.array;
            if is_stream && !encoded {
                return self.open(head, body, limits, begun, story).await;
            }
            if !self.prepared.same {
                return Err(self.malformed("a stream was asked for, and something else came"));
            }
            return Ok(self.pass(head, body, limits, VecDeque::new(), story));
        }
        if matches!(self.call.kind, Kind::Forward { .. }) && headers::is_event_stream(&head.headers) {
            return Ok(self.pass(head, body, limits, VecDeque::new(), story));
        }
        self.plain(head, body, limits, encoded, story).await
    }

    fn head_deadline(&self, limits: &Limits, begun: Instant) -> Instant {
        let first = begun + limits.timeouts.first_token;
        if self.is_stream() {
            limits.ends.min(first)
        } else {
            limits.ends
        }
    }

    fn is_stream(&self) -> bool {
        self.call.stream && self.call.kind == Kind::Generate
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

    async fn send(&self, story: &Story) -> Result<Answer, Fault> {
        let origin = match &self.upstream.origin {
            Ok(origin) => origin,
            Err(why) => return Err(Fault::new(TransportFault::Tls, why)),
        };
        let mut request = Request::new(Full::new(self.prepared.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.prepared.uri.clone();
        *request.headers_mut() = headers::to_provider(
            &self.call.headers,
            self.prepared.same,
            self.upstream,
            self.in_flight.key.as_ref(),
            story.id(),
        );
        origin.send(request, self.upstream.provider.timeouts.connect).await
    }

    /// A plain answer: held whole, or, if it is very large and needs no translation, let flow from there.
    async fn plain(
        mut self,
        head: response::Parts,
        mut body: AnswerBody,
        limits: Limits,
        encoded: bool,
        story: &mut Story,
    ) -> Result<Success, Box<Failure>> {
        let limit = if self.prepared.same { HOLD_PLAIN } else { MAX_TRANSLATED };
        let from = self.in_flight.app.clock.instant(story.now());
        let taken = take(&mut body, &limits, limit, from).await;
        story.waited();
        let whole = match taken {
            Ok(Taken::Whole(whole)) => whole,
            Ok(Taken::Part(held)) if self.prepared.same => return Ok(self.pass(head, body, limits, held, story)),
            Ok(Taken::Part(_)) => return Err(self.malformed("the answer is too large to translate")),
            Err(fault) => return Err(self.transport(fault.kind, fault.detail)),
        };
        let provider = self.upstream.provider.dialect;
        if !self.prepared.same {
            return match translate_response(provider, self.call.dialect, &whole, &self.context(story)) {
                Ok((body, usage)) => Ok(self.whole(story.now(), json(head), body, Some(usage))),
                Err(kind) => Err(self.in_body(kind, &whole)),
            };
        }
        let usage = if encoded {
            None
        } else {
            dialect::usage(provider, &whole)
        };
        if usage.is_none()
            && !encoded
            && let Some(kind) = hidden_error(provider, &whole)
        {
            return Err(self.in_body(kind, &whole));
        }
        self.in_flight.input_tokens = 0;
        Ok(self.whole(story.now(), head, whole, usage))
    }

    fn whole(self, now: Moment, head: response::Parts, body: Bytes, usage: Option<Usage>) -> Success {
        self.in_flight.finish(now, Ended::Answered, usage.as_ref(), None);
        Success::Whole { head, body, usage }
    }

    /// Lets bytes pass unread.
    fn pass(
        self,
        head: response::Parts,
        body: AnswerBody,
        limits: Limits,
        held: VecDeque<Bytes>,
        story: &mut Story,
    ) -> Success {
        story.event(Event::StreamOpened);
        let started = Started {
            body,
            watch: None,
            held,
            limits,
            ended: false,
        };
        Success::Flowing {
            head,
            started: Box::new(started),
            in_flight: self.in_flight,
        }
    }

    /// A stream: its start-up events are held until the first content.
    async fn open(
        self,
        head: response::Parts,
        mut body: AnswerBody,
        limits: Limits,
        begun: Instant,
        story: &mut Story,
    ) -> Result<Success, Box<Failure>> {
        story.event(Event::StreamOpened);
        let mut watch = Stream::new(
            self.upstream.provider.dialect,
            self.call.dialect,
            self.context(story),
            self.prepared.hide_usage,
        );
        let deadline = limits.ends.min(begun + limits.timeouts.first_token);
        let held = tokio::time::timeout_at(deadline, hold(&mut body, &mut watch)).await;
        story.waited();
        let (held, ended) = match held {
            Ok(Ok(held)) => held,
            Ok(Err(StartFault::Transport(fault))) => return Err(self.transport(fault.kind, fault.detail)),
            Ok(Err(StartFault::Stream(error))) => return Err(self.in_stream(error)),
            Err(_) => {
                let fault = self.late();
                let text = format!("no content within {}", limits.describe(fault));
                return Err(self.transport(fault, text));
            }
        };
        let head = if self.prepared.same { head } else { event_stream(head) };
        let started = Started {
            body,
            watch: Some(watch),
            held,
            limits,
            ended,
        };
        Ok(Success::Flowing {
            head,
            started: Box::new(started),
            in_flight: self.in_flight,
        })
    }

    fn context(&self, story: &Story) -> AnswerContext {
        if self.prepared.same {
            return AnswerContext::default();
        }
        AnswerContext {
            model: self.call.model.clone(),
            id: story.id().as_str().to_owned(),
            created: unix_now().as_secs(),
            include_usage: self.call.include_usage,
        }
    }

    fn fail(self, ended: Ended, message: String, retry_after: Option<Duration>) -> Box<Failure> {
        let now = self.in_flight.app.clock.now();
        let decision = self.in_flight.finish(now, ended, None, retry_after);
        let code = decision.code.unwrap_or(Code::SysInternal);
        Box::new(Failure {
            decision,
            code,
            ended,
            message,
            retry_after,
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
    fn in_body(self, kind: ErrorKind, body: &[u8]) -> Box<Failure> {
        let message = if kind == ErrorKind::Malformed {
            "the answer is not what the provider's API promises".to_owned()
        } else {
            self.clean(parse_error(self.upstream.provider.dialect, 200, body).message)
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
            StreamError::Provider(ProviderError { message, .. }) => self.clean(message),
            other => other.to_string(),
        };
        self.fail(ended, message, retry_after)
    }

    /// An error status, with its body.
    async fn refused(
        self,
        mut head: response::Parts,
        mut body: AnswerBody,
        limits: &Limits,
        encoded: bool,
        story: &mut Story,
    ) -> Box<Failure> {
        let from = self.in_flight.app.clock.instant(story.now());
        let taken = take(&mut body, limits, MAX_ERROR, from).await;
        story.waited();
        // A broken error body is still an error of that status.
        let body = match taken {
            Ok(Taken::Whole(body)) => body,
            Ok(Taken::Part(_)) | Err(_) => Bytes::new(),
        };
        let status = head.status.as_u16();
        let parsed = parse_error(
            self.upstream.provider.dialect,
            status,
            if encoded { &[] } else { &body },
        );
        let hint = headroom::retry_after(&head.headers, unix_millis()).or(parsed.retry_after);
        let leaks = self.in_flight.key.as_ref().is_some_and(|key| key.is_in(&body));
        let message = self.clean(parsed.message);
        let same = self.prepared.same;
        let mut failure = self.fail(
            Ended::Status {
                status,
                kind: parsed.kind,
            },
            message,
            hint,
        );
        if same && !leaks && !body.is_empty() && !head.status.is_redirection() {
            if !encoded {
                head.headers.remove(http::header::CONTENT_ENCODING);
            }
            failure.original = Some((head.status, head.headers, body));
        }
        failure
    }

    /// A provider's message without our key, should it quote it.
    fn clean(&self, message: String) -> String {
        match &self.in_flight.key {
            Some(key) if key.is_in(message.as_bytes()) => {
                "the provider's message quoted the key and is withheld".to_owned()
            }
            _ => message,
        }
    }
}

enum Taken {
    Whole(Bytes),
    Part(VecDeque<Bytes>),
}

/// Takes a body in, up to a limit, within the answer's times.
async fn take(body: &mut AnswerBody, limits: &Limits, limit: usize, from: Instant) -> Result<Taken, Fault> {
    let mut last = from;
    let mut held: VecDeque<Bytes> = VecDeque::new();
    let mut length = 0;
    loop {
        let Ok(next) = tokio::time::timeout_at(limits.next(last), body.data()).await else {
            let fault = limits
                .expired(last, Instant::now())
                .unwrap_or(TransportFault::IdleTimeout);
            let text = format!("nothing more arrived within {}", limits.describe(fault));
            return Err(Fault::new(fault, text));
        };
        match next {
            Some(Ok(data)) => {
                length += data.len();
                held.push_back(data);
                if length > limit {
                    return Ok(Taken::Part(held));
                }
                if body.is_end() {
                    break;
                }
                last = Instant::now();
            }
            Some(Err(fault)) => return Err(fault),
            None => break,
        }
    }
    Ok(Taken::Whole(match held.len() {
        0 => Bytes::new(),
        1 => held.pop_front().unwrap_or_default(),
        _ => {
            let mut whole = BytesMut::with_capacity(length);
            for part in &held {
                whole.extend_from_slice(part);
            }
            whole.freeze()
        }
    }))
}

enum StartFault {
    Transport(Fault),
    Stream(StreamError),
}

/// Holds what comes before the first content. Returns it, and whether the stream has ended already.
async fn hold(body: &mut AnswerBody, watch: &mut Stream) -> Result<(VecDeque<Bytes>, bool), StartFault> {
    let mut held = VecDeque::new();
    let mut out = BytesMut::new();
    let mut length = 0;
    let mut pieces = 0;
    loop {
        match body.data().await {
            Some(Ok(chunk)) => {
                let pushed = watch.push(&chunk, &mut out).map_err(StartFault::Stream)?;
                let piece = if pushed == Pushed::Same {
                    chunk
                } else {
                    out.split().freeze()
                };
                length += piece.len();
                pieces += 1;
                if !piece.is_empty() {
                    held.push_back(piece);
                }
                if watch.content_started() || pieces >= HOLD_CHUNKS || length >= HOLD_BYTES {
                    return Ok((held, false));
                }
            }
            Some(Err(fault)) => return Err(StartFault::Transport(fault)),
            None => {
                watch.finish(&mut out).map_err(StartFault::Stream)?;
                if !out.is_empty() {
                    held.push_back(out.freeze());
                }
                return Ok((held, true));
            }
        }
    }
}

/// Whether a 200 without usage is really something else: nothing, no JSON, or an error body.
fn hidden_error(provider: Dialect, body: &[u8]) -> Option<ErrorKind> {
    #[derive(serde::Deserialize)]
    struct Top {
        error: Option<serde::de::IgnoredAny>,
        r#type: Option<serde_json::Value>,
    }
    let Ok(top) = serde_json::from_slice::<Top>(body) else {
        return Some(ErrorKind::Malformed);
    };
    let is_error = top.error.is_some() || top.r#type.is_some_and(|kind| kind == "error");
    is_error.then(|| parse_error(provider, 200, body).kind)
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
