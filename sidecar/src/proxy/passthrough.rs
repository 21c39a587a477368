//! `/providers/{name}/…`: everything else that a provider's API has, as it is.
//!
//! Batches, files, images, audio: the app speaks the provider's own API, and the sidecar adds the key, keeps to the
//! limits, counts, and otherwise keeps out of it. Bodies flow both ways unread and unheld. Nothing is translated, nothing
//! goes to another provider, and nothing is tried again: a body that has begun to flow is gone. The one exception is a
//! kept connection that turns out to be dead before a byte was written to it.
//!
//! What is told here is told about these endpoints only: they have a circuit of their own ([`PASS_THROUGH`]), since a
//! files API that fails says nothing about the models, and no answer of theirs sets a key aside, since a key that may not
//! list an organization's users is a good key.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::classify::Ended;
use bowsprit_core::config::Timeouts;
use bowsprit_core::dialect::{Dialect, parse_error};
use bowsprit_core::fault::{Code, ErrorKind, TransportFault};
use bowsprit_core::flow::{End, SkipReason, Step, Terms, WaitReason};
use bowsprit_core::headroom;
use bowsprit_core::plan;
use bowsprit_core::record::AttemptKind;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, LOCATION, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, response};
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::body::Body;
use super::candidate::Candidate;
use super::collect::{Collected, Deadlines, collect};
use super::context::RequestContext;
use super::exchange::{Begin, Exchange};
use super::headers;
use super::refuse::{self, Refusal, X_SHOULD_RETRY, clip, retry_after, should_retry};
use super::relay::{Relay, Started};
use super::route::{is_websocket, realtime};
use super::serve::{Places, Prepare};
use crate::app::App;
use crate::credentials::{self, Selected};
use crate::limits::ERROR_BODY;
use crate::observe::traffic::PASS_THROUGH;
use crate::tenant::provider::Permit;
use crate::tenant::snapshot::{Snapshot, Upstream};
use crate::time::unix_millis;
use crate::upstream::{Answer, AnswerBody, Fault, Outgoing, Sending, Stalled, UploadError};

mod path;

/// Where Google's resumable uploads go on.
const X_GOOG_UPLOAD_URL: HeaderName = HeaderName::from_static("x-goog-upload-url");

/// The dialect that errors are told in: the provider's.
pub(super) fn dialect(app: &App, provider: &str) -> Option<Dialect> {
    let snapshot = app.snapshot.load();
    snapshot
        .as_ref()?
        .config
        .provider(provider)
        .map(|provider| provider.dialect)
}

/// Answers one request.
pub(super) async fn answer(
    app: Arc<App>,
    snapshot: Arc<Snapshot>,
    mut context: Box<RequestContext>,
    name: &str,
    rest: &str,
    parts: Parts,
    body: Incoming,
) -> Response<Body> {
    let Some(upstream) = snapshot
        .upstreams()
        .iter()
        .find(|upstream| upstream.provider.name == name)
    else {
        return refuse::answer(context, &unknown(&snapshot, name));
    };
    if !upstream.provider.pass_through {
        let text = format!("the ProviderConfig {name} does not allow this (spec.passThrough is false)");
        return refuse::answer(context, &Refusal::new(Code::ResPathNotFound, text));
    }
    let passing = Passing {
        app: &app,
        upstream,
        door: door(&parts.headers, name),
    };
    // Dropped whole if the drain's deadline passes: the connection to the provider closes, its place is given back.
    let answered = tokio::select! {
        biased;
        answered = passing.run(&mut context, rest, parts, body) => answered,
        () = app.drain.was_cut() => Err(Refusal::draining()),
    };
    match answered {
        Ok(answer) => passing.finish(context, answer),
        Err(refusal) => refuse::answer(context, &refusal),
    }
}

fn unknown(snapshot: &Snapshot, name: &str) -> Refusal {
    let known: Vec<&str> = snapshot
        .upstreams()
        .iter()
        .map(|upstream| upstream.provider.name.as_str())
        .collect();
    let text = if known.is_empty() {
        format!("there is no provider {:?}: none is configured for this pod", clip(name))
    } else {
        format!("there is no provider {:?}; there are {}", clip(name), known.join(", "))
    };
    Refusal::new(Code::ResProviderNotFound, text)
}

/// This sidecar's address of the provider, as the caller wrote it.
fn door(headers: &HeaderMap, name: &str) -> String {
    match headers.get(HOST).and_then(|host| host.to_str().ok()) {
        Some(host) => format!("http://{host}/providers/{name}"),
        None => format!("/providers/{name}"),
    }
}

/// A provider's answer on its way to the app.
enum Passed {
    /// All of it; with the code of an error.
    Whole(Box<response::Parts>, Bytes, Option<Code>, Option<Duration>),
    /// Its beginning.
    Flowing(Box<response::Parts>, Box<Started>, Box<Exchange>),
}

struct Passing<'a> {
    app: &'a Arc<App>,
    upstream: &'a Arc<Upstream>,
    door: String,
}

impl Passing<'_> {
    async fn run(
        &self,
        context: &mut RequestContext,
        rest: &str,
        parts: Parts,
        body: Incoming,
    ) -> Result<Passed, Refusal> {
        if is_websocket(&parts.headers) {
            return Err(realtime());
        }
        let provider = &self.upstream.provider;
        let path = path::below(provider.base_url.path(), provider.version.as_deref(), rest)
            .map_err(|why| Refusal::new(Code::ValHttp, format!("the path {:?} {why}", clip(rest))))?;
        let query = path::query(parts.uri.query());
        let uri = self
            .upstream
            .absolute(&path, query.as_deref())
            .ok_or_else(|| Refusal::new(Code::ValHttp, format!("{:?} makes no URL", clip(rest))))?;
        let limit = self.app.settings.max_upload as u64;
        if body.size_hint().lower() > limit {
            return Err(too_large(limit));
        }
        context.upstream = Some(Arc::clone(self.upstream));
        context.model = Some(PASS_THROUGH.into());
        let (permit, key) = self.place(context).await?;
        // Without the key: what these endpoints think of it decides nothing.
        let begin = Begin {
            number: 1,
            kind: AttemptKind::First,
            upstream: self.upstream,
            model: &PASS_THROUGH.into(),
            permit,
            key: None,
            is_generation: false,
            input_tokens: 0,
        };
        let mut exchange = Exchange::begin(self.app, begin);
        let has_body = !body.is_end_stream();
        let (outgoing, sending) = if has_body {
            let (outgoing, sending) = Outgoing::arriving(body, limit);
            (outgoing, Some(sending))
        } else {
            (Outgoing::from(Bytes::new()), None)
        };
        let mut request = Request::new(outgoing);
        *request.method_mut() = parts.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers::passed_on(&parts.headers, self.upstream, context.id());
        credentials::sign(&mut request, key.as_ref(), &self.upstream.provider.platform.auth);
        let begun = context.now();
        let sent = self.send(request, sending.as_ref()).await;
        let now = context.waited();
        let answer = match sent {
            Ok(answer) => answer,
            Err(Broken::App(refusal)) => return Err(refusal),
            Err(Broken::Provider(fault)) => return Err(self.fault(exchange, &fault)),
        };
        exchange.head_came(answer.head.status.as_u16(), now - begun);
        self.take_answer(answer, sending, exchange, key, context).await
    }

    /// A place and a key at the provider, waited for if the configuration says so: a flow of one candidate.
    async fn place(&self, context: &mut RequestContext) -> Result<(Permit, Option<Selected>), Refusal> {
        let provider = &self.upstream.provider;
        let model: Arc<str> = PASS_THROUGH.into();
        let candidates = [Candidate::new(self.upstream, &model)];
        let planned = plan::Candidate {
            provider: Arc::clone(provider),
            model,
            reason: plan::Reason::PassThrough,
        };
        context.flow.planned(&[planned], Terms::default());
        let mut places = Places::new(self.app, &candidates, Prepare::AsItCame);
        loop {
            match context.flow.next(&mut places, context.now()) {
                Step::Wait {
                    candidate,
                    reason: WaitReason::Limit,
                    most,
                } => {
                    let began = context.now();
                    places.wait_in_line(candidate, most).await;
                    places.count_wait(candidate, context.waited() - began);
                }
                Step::Wait { most, .. } => {
                    tokio::time::sleep(most).await;
                    context.waited();
                }
                Step::Attempt { candidate, .. } => {
                    let asked = candidates.get(candidate).ok_or_else(Refusal::internal)?;
                    context.sent(&asked.upstream, &asked.model);
                    return places.take(candidate).ok_or_else(Refusal::internal);
                }
                Step::Respond(End::Limited { limited, .. }) => {
                    return Err(Refusal::local_limit(&provider.name, limited));
                }
                Step::Respond(_) | Step::Await { .. } => return Err(self.no_place(context)),
            }
        }
    }

    fn no_place(&self, context: &RequestContext) -> Refusal {
        let name = &self.upstream.provider.name;
        let Some(skip) = context.flow.skips().last() else {
            return Refusal::internal();
        };
        match skip.reason {
            SkipReason::Limited(limited) => Refusal::local_limit(name, limited),
            SkipReason::NoCredential => {
                let text = format!("no usable key for {name}; see /health on the admin port");
                Refusal::new(Code::AuthKeyMissing, text)
            }
            reason => {
                let text = format!("{name}'s other endpoints have failed too often: {}", reason.as_str());
                let wait = skip.retry_in.unwrap_or(Duration::from_secs(1));
                Refusal::new(Code::ExtAllUnavailable, text).retry_after(Some(wait))
            }
        }
    }

    /// Sends and waits for the head of the answer. While the body flows only silence counts, as a large file takes its
    /// time; from its end on the answer has `timeouts.total`.
    async fn send(&self, request: Request<Outgoing>, sending: Option<&Sending>) -> Result<Answer, Broken> {
        let timeouts = self.upstream.provider.timeouts;
        let origin = match &self.upstream.origin {
            Ok(origin) => origin,
            Err(why) => return Err(Broken::Provider(Fault::new(TransportFault::Tls, why))),
        };
        let sent = tokio::select! {
            biased;
            sent = origin.send(request, timeouts.connect) => sent.map_err(Broken::Provider),
            broken = patience(sending, timeouts) => Err(broken),
        };
        sent.map_err(|broken| match sending.and_then(Sending::failed) {
            Some(UploadError::TooLarge) => Broken::App(too_large(self.app.settings.max_upload as u64)),
            // The caller broke off; nobody will read this answer, but the request must end as something.
            Some(_) => Broken::App(Refusal::new(Code::ValHttp, "the body broke off")),
            None => broken,
        })
    }

    async fn take_answer(
        &self,
        answer: Answer,
        sending: Option<Sending>,
        exchange: Exchange,
        key: Option<Selected>,
        context: &mut RequestContext,
    ) -> Result<Passed, Refusal> {
        let Answer { mut head, mut body } = answer;
        if let Some(sending) = sending {
            body.keep_sending(sending);
        }
        let encoded = headers::is_encoded(&head.headers);
        // The length stays, as nothing is changed: downloads can tell how far they are, and HEAD has it to say.
        let length = head.headers.get(CONTENT_LENGTH).cloned();
        let length = length.filter(|_| !head.headers.contains_key(TRANSFER_ENCODING));
        headers::to_caller(&mut head.headers);
        credentials::scrub(&mut head.headers, key.as_ref());
        self.rewrite_location(&mut head.headers);
        head.version = Version::HTTP_11;
        let deadlines = Deadlines::new(self.upstream.provider.timeouts, Instant::now());
        if head.status.is_client_error() || head.status.is_server_error() {
            return self
                .refused(head, body, encoded, &deadlines, exchange, key, context)
                .await;
        }
        if let Some(length) = length {
            head.headers.insert(CONTENT_LENGTH, length);
        }
        if body.is_end() {
            exchange.end(context.now(), Ended::Answered, None);
            return Ok(Passed::Whole(Box::new(head), Bytes::new(), None, None));
        }
        context.flow.answered(0, true);
        let started = Started {
            body,
            watch: None,
            held: VecDeque::new(),
            deadlines,
            ended: false,
        };
        Ok(Passed::Flowing(Box::new(head), Box::new(started), Box::new(exchange)))
    }

    /// An error: the caller gets it as it is, unless it quotes the key.
    #[allow(clippy::too_many_arguments, reason = "one use; they are the answer's parts")]
    async fn refused(
        &self,
        head: response::Parts,
        mut body: AnswerBody,
        encoded: bool,
        deadlines: &Deadlines,
        exchange: Exchange,
        key: Option<Selected>,
        context: &mut RequestContext,
    ) -> Result<Passed, Refusal> {
        let collected = collect(&mut body, deadlines, ERROR_BODY, Instant::now(), &self.app.memory).await;
        let now = context.waited();
        let body = match collected {
            Ok(Collected::Whole(body)) => Some(body),
            Ok(Collected::Part(_) | Collected::NoRoom(_)) | Err(_) => None,
        };
        let status = head.status.as_u16();
        let readable = body.as_deref().filter(|_| !encoded);
        let parsed = parse_error(self.upstream.provider.dialect, status, readable.unwrap_or_default());
        let hint = headroom::retry_after(&head.headers, unix_millis()).or(parsed.retry_after);
        let ended = Ended::Status {
            status,
            kind: parsed.kind,
        };
        let code = meaning(exchange.end(now, ended, hint).decision.code, parsed.kind);
        let quoted = |text: &[u8]| credentials::is_quoted(key.as_ref(), text);
        match body {
            // Compressed although nothing asked for it: what cannot be read may quote the key.
            Some(body) if !quoted(&body) && (!encoded || body.is_empty()) => {
                Ok(Passed::Whole(Box::new(head), body, Some(code), hint))
            }
            _ => {
                let why = if encoded {
                    "is compressed"
                } else {
                    "quotes the key or is too large or broken"
                };
                let text = format!(
                    "provider {} answered {status}; its body {why} and is withheld",
                    self.upstream.provider.name
                );
                let mut refusal = Refusal::new(code, text).retry_after(hint);
                refusal.status = Some(status);
                Err(refusal)
            }
        }
    }

    fn fault(&self, exchange: Exchange, fault: &Fault) -> Refusal {
        let ended = Ended::Transport {
            fault: fault.kind,
            content_sent: false,
        };
        let now = exchange.now();
        let code = exchange
            .end(now, ended, None)
            .decision
            .code
            .unwrap_or(Code::SysInternal);
        Refusal::new(
            code,
            format!("provider {}: {}", self.upstream.provider.name, fault.detail),
        )
    }

    /// A redirect is the caller's to follow, without our key: where it leads back to the provider, through here.
    fn rewrite_location(&self, headers: &mut HeaderMap) {
        let url = &self.upstream.provider.base_url;
        let origin = format!(
            "{}://{}",
            if url.is_https() { "https" } else { "http" },
            url.authority()
        );
        for name in [LOCATION, X_GOOG_UPLOAD_URL] {
            let led = headers
                .get(&name)
                .and_then(|value| path::as_the_app_reaches_it(value.to_str().ok()?, &origin, url.path(), &self.door));
            if let Some(led) = led.and_then(|led| HeaderValue::try_from(led).ok()) {
                headers.insert(name, led);
            }
        }
    }

    fn finish(&self, mut context: Box<RequestContext>, passed: Passed) -> Response<Body> {
        match passed {
            Passed::Whole(mut head, body, code, wait) => {
                headers::describe(&mut head.headers, &context, self.upstream, &[]);
                match code {
                    None => {
                        context.head_sent(head.status);
                        context.flow.answered(0, false);
                        context.completed(body.len() as u64);
                    }
                    Some(code) => {
                        head.headers.insert(X_SHOULD_RETRY, should_retry(code.retryable()));
                        if let Some(wait) = wait
                            && !head.headers.contains_key(http::header::RETRY_AFTER)
                        {
                            head.headers.insert(http::header::RETRY_AFTER, retry_after(wait));
                        }
                        context.failed(code, head.status);
                    }
                }
                Response::from_parts(*head, Body::Whole(body))
            }
            Passed::Flowing(mut head, started, exchange) => {
                headers::describe(&mut head.headers, &context, self.upstream, &[]);
                context.head_sent(head.status);
                Response::from_parts(*head, Body::Relay(Relay::new(*started, context, *exchange)))
            }
        }
    }
}

/// Who broke off.
enum Broken {
    App(Refusal),
    Provider(Fault),
}

/// Resolves when waiting for the answer's head has become pointless.
async fn patience(sending: Option<&Sending>, timeouts: Timeouts) -> Broken {
    let stalled = match sending {
        Some(sending) => sending.over_or_stalled(timeouts.idle).await,
        None => None,
    };
    let idle = timeouts.idle.as_secs_f64();
    match stalled {
        Some(Stalled::App) => {
            let mut refusal = Refusal::new(
                Code::ValHttp,
                format!("nothing of the body came for {idle} s (timeouts.idle)"),
            );
            refusal.status = Some(StatusCode::REQUEST_TIMEOUT.as_u16());
            Broken::App(refusal)
        }
        Some(Stalled::Provider) => {
            let text = format!("nothing of the body was taken for {idle} s (timeouts.idle)");
            Broken::Provider(Fault::new(TransportFault::IdleTimeout, text))
        }
        None => {
            tokio::time::sleep(timeouts.total).await;
            let text = format!("no answer within {} s (timeouts.total)", timeouts.total.as_secs_f64());
            Broken::Provider(Fault::new(TransportFault::TotalTimeout, text))
        }
    }
}

fn too_large(limit: u64) -> Refusal {
    Refusal::new(
        Code::ValTooLarge,
        format!("the body is larger than the limit of {limit} bytes (--max-upload)"),
    )
}

/// What an error means here. A path or file that is not there is no missing model.
fn meaning(code: Option<Code>, kind: ErrorKind) -> Code {
    match (kind, code) {
        (ErrorKind::NotFound, _) => Code::ValProviderRefused,
        (_, Some(code)) => code,
        (_, None) => Code::SysInternal,
    }
}
