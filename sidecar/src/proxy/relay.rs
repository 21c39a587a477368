//! Relaying an answer that is still arriving, chunk by chunk.
//!
//! Each chunk goes on at once; nothing is collected. The relay ends in one of three ways: the end of a whole answer,
//! an error event in the caller's dialect (never an end mark), or, where bytes pass unread, a broken connection. Where guards
//! look into answers, all that the caller gets has gone through their sieve first, which may end the stream. If the
//! app goes away, hyper drops the body, which drops the relay, which drops the connection to the provider.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowsprit_core::classify::Ended;
use bowsprit_core::dialect::{ErrorView, Pushed, Stream, StreamError, tokens_of};
use bowsprit_core::fault::{Code, ErrorKind, TransportFault};
use bowsprit_core::guard::{Sieve, Stop};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use hyper::body::SizeHint;
use tokio::time::{Instant, Sleep};

use super::batch::Reading;
use super::context::RequestContext;
use super::deadlines::Deadlines;
use super::exchange::{End, Exchange};
use super::keep::Keeping;
use super::request_id::TraceId;
use super::sieved;
use super::windows::Services;
use crate::net::client::AnswerBody;
use crate::time::grace;

mod deciding;

/// The answer broke off where its dialect has no words for it: hyper closes the connection without the proper end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer broke off")]
pub struct Broken;

/// What the relay does next.
enum Phase {
    /// More is expected from the provider.
    Open,
    /// Everything was said.
    Done,
    /// The connection must break.
    Break,
}

/// An answer on its way from a provider to the app.
pub struct Relay {
    body: AnswerBody,
    /// Reads the answer, and translates it where the dialects differ; `None` where bytes pass unread.
    stream: Option<Stream>,
    /// What guards let pass of it; none: none looks into answers.
    sieve: Option<Box<Sieve>>,
    /// The services that are asked about it behind these; none: nobody is.
    services: Option<Box<Services>>,
    held: VecDeque<Bytes>,
    out: BytesMut,
    /// Content has come that waits for guards.
    is_content_due: bool,
    /// The provider has said everything: what is left waits for services.
    is_ending: bool,
    phase: Phase,
    deadlines: Deadlines,
    last: Instant,
    last_content: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
    cut: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    /// The results of a batch, which are read beside.
    batch: Option<Box<Reading>>,
    /// What has been given, where it may be kept.
    keeping: Option<Box<Keeping>>,
    /// `None` once the exchange and the request are closed.
    open: Option<(Box<RequestContext>, Exchange)>,
}

/// An answer that has begun, as an attempt hands it over.
pub struct Started {
    /// The rest of the answer.
    pub body: AnswerBody,
    /// Its reader, which has seen what is held; `None` where bytes pass unread.
    pub stream: Option<Stream>,
    /// What arrived before the relay began.
    pub held: VecDeque<Bytes>,
    /// Its deadlines.
    pub deadlines: Deadlines,
    /// Whether the provider has ended the answer already, and properly.
    pub ended: bool,
    /// The results of a batch, which are read beside.
    pub batch: Option<Box<Reading>>,
}

/// What looks into a stream: the sieve of the guards that look for themselves, and the services that are asked behind it.
pub(super) type Guards = (Option<Box<Sieve>>, Option<Box<Services>>);

impl Relay {
    /// Relays an answer that has begun, and closes its exchange and its request when it ends.
    pub fn new(
        started: Started,
        mut context: Box<RequestContext>,
        mut exchange: Exchange,
        keeping: Option<Box<Keeping>>,
        (sieve, services): Guards,
    ) -> Box<Self> {
        let now = Instant::now();
        let content = started.stream.as_ref().is_none_or(Stream::content_started);
        for chunk in &started.held {
            context.chunk(chunk.len() as u64, content);
        }
        if content {
            context.content_shown();
            if started.stream.is_some() {
                exchange.first_chunk(context.now());
            }
        }
        let mut relay = Box::new(Self {
            alarm: Box::pin(tokio::time::sleep_until(started.deadlines.next(now))),
            cut: context.process().drain.cut_signal(),
            body: started.body,
            stream: started.stream,
            sieve,
            services,
            held: started.held,
            out: BytesMut::new(),
            is_content_due: false,
            is_ending: false,
            phase: Phase::Open,
            deadlines: started.deadlines,
            last: now,
            last_content: content.then_some(now),
            batch: started.batch,
            keeping,
            open: Some((context, exchange)),
        });
        if relay.keeping.is_some() || relay.services.is_some() {
            for piece in std::mem::take(&mut relay.held) {
                relay.given(&piece);
                relay.held.push_back(piece);
            }
        }
        if started.ended {
            relay.end_well_when_decided();
        }
        relay
    }

    /// The next piece for the app.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(chunk) = self.held.pop_front() {
            return Poll::Ready(Some(Ok(chunk)));
        }
        loop {
            match self.phase {
                Phase::Done => return Poll::Ready(None),
                Phase::Break => {
                    self.phase = Phase::Done;
                    return Poll::Ready(Some(Err(Broken)));
                }
                Phase::Open => {}
            }
            if self.services.is_some() {
                match self.poll_services(cx) {
                    Poll::Ready(Some(chunk)) => return Poll::Ready(Some(Ok(chunk))),
                    Poll::Ready(None) => continue,
                    Poll::Pending if self.waits_for_services() => {
                        if self.cut.as_mut().poll(cx).is_pending() {
                            return Poll::Pending;
                        }
                        match self.drained() {
                            Some(chunk) => return Poll::Ready(Some(Ok(chunk))),
                            None => continue,
                        }
                    }
                    Poll::Pending => {}
                }
            }
            let next = match self.body.poll_data(cx) {
                Poll::Ready(Some(Ok(chunk))) => self.chunk(chunk),
                // After the end mark nothing of worth can follow: that the connection then broke is no news.
                Poll::Ready(Some(Err(_))) if self.is_said() => self.finish(),
                Poll::Ready(Some(Err(fault))) => self.broke(transport(fault.kind), &fault.detail),
                Poll::Ready(None) => self.finish(),
                Poll::Pending => match self.wait(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(next) => next,
                },
            };
            if let Some(chunk) = next {
                return Poll::Ready(Some(Ok(chunk)));
            }
        }
    }

    fn chunk(&mut self, chunk: Bytes) -> Option<Bytes> {
        if let Some((context, _)) = &mut self.open {
            let now = context.tick();
            self.last = context.process().clock.instant(now);
        }
        let Some(stream) = &mut self.stream else {
            self.note(chunk.len(), true);
            self.read_batch(&chunk);
            return Some(chunk);
        };
        let before = stream.chunks();
        match stream.push(&chunk, &mut self.out) {
            Ok(pushed) => {
                let content = stream.chunks() > before;
                if stream.content_started() {
                    self.deadlines.content_is_here();
                }
                if content && let Some((context, exchange)) = &mut self.open {
                    if let Some(before) = self.last_content.replace(self.last) {
                        exchange.handles().chunk(self.last.saturating_duration_since(before));
                    } else {
                        context.content_shown();
                        exchange.first_chunk(context.now());
                    }
                }
                let out = match pushed {
                    Pushed::Same => chunk,
                    Pushed::Rewritten => self.out.split().freeze(),
                };
                let out = match self.sieved(out).and_then(|out| self.windowed(out)) {
                    Ok(out) => out,
                    Err(stop) => return self.stopped(&stop),
                };
                self.is_content_due |= content;
                self.goes_out(out)
            }
            Err(error) => self.broke(in_stream(&error), &error.to_string()),
        }
    }

    /// What goes out of this, and of what came before it.
    ///
    /// # Errors
    /// A guard does not let it pass.
    fn sieved(&mut self, piece: Bytes) -> Result<Bytes, Stop> {
        let Some(sieve) = self.sieve.as_mut().filter(|_| !piece.is_empty()) else {
            return Ok(piece);
        };
        let mut out = BytesMut::new();
        Ok(match sieve.push(&piece, &mut out)? {
            Pushed::Same => piece,
            Pushed::Rewritten => out.freeze(),
        })
    }

    /// Part of the answer goes out, if it is any.
    fn goes_out(&mut self, out: Bytes) -> Option<Bytes> {
        if out.is_empty() {
            return None;
        }
        let content = std::mem::take(&mut self.is_content_due);
        self.note(out.len(), content);
        self.given(&out);
        Some(out)
    }

    /// A guard lets nothing more pass. What flowed is gone; what is held is not sent.
    fn stopped(&mut self, stop: &Stop) -> Option<Bytes> {
        self.out.clear();
        let Some((mut context, _)) = self.close(Ended::CallerGone) else {
            self.phase = Phase::Done;
            return None;
        };
        let told = sieved::stopped(&mut context, stop);
        self.say(Code::BizGuardRefused, &told, context)
    }

    /// Part of what may be a batch's results goes out.
    fn read_batch(&mut self, piece: &[u8]) {
        let Some(batch) = &mut self.batch else { return };
        // Whoever writes an answer of a known length asks for nothing behind its last byte.
        if batch.piece(piece) {
            self.book();
        }
    }

    /// The results have passed whole.
    fn book(&mut self) {
        if let (Some(batch), Some((context, _))) = (self.batch.take(), &self.open) {
            batch.end(context);
        }
    }

    /// Part of the answer goes out: it is kept, if all of it may be.
    fn given(&mut self, piece: &[u8]) {
        if let Some(services) = &mut self.services {
            services.given(piece);
        }
        if let (Some(keeping), Some((context, _))) = (&mut self.keeping, &self.open)
            && !keeping.piece(piece, context)
        {
            self.keeping = None;
        }
    }

    fn note(&mut self, bytes: usize, content: bool) {
        if let Some((context, _)) = &mut self.open {
            context.chunk(bytes as u64, content);
        }
    }

    /// The provider closed: well or too soon.
    fn finish(&mut self) -> Option<Bytes> {
        if let Some(stream) = &mut self.stream
            && let Err(error) = stream.finish(&mut self.out)
        {
            return self.broke(in_stream(&error), &error.to_string());
        }
        let mut rest = self.out.split().freeze();
        if self.sieve.is_some() {
            rest = match self.sieved_to_the_end(rest) {
                Ok(rest) => rest,
                Err(stop) => return self.stopped(&stop),
            };
        }
        if self.services.is_some() {
            rest = match self.windowed_to_the_end(rest) {
                Ok(rest) => rest,
                Err(stop) => return self.stopped(&stop),
            };
            let out = self.goes_out(rest);
            self.end_well_when_decided();
            return out;
        }
        // Where a provider has no end mark, the caller's is written only here; it counts before the record closes.
        if !rest.is_empty() {
            self.note(rest.len(), false);
        }
        self.given(&rest);
        self.end_well();
        (!rest.is_empty()).then_some(rest)
    }

    fn sieved_to_the_end(&mut self, rest: Bytes) -> Result<Bytes, Stop> {
        let mut out = BytesMut::from(&*self.sieved(rest)?);
        if let Some(sieve) = &mut self.sieve {
            sieve.finish(&mut out)?;
        }
        Ok(out.freeze())
    }

    fn end_well(&mut self) {
        self.phase = Phase::Done;
        if let Some(services) = &mut self.services {
            services.ended();
        }
        self.book();
        let keeping = self.keeping.take();
        if let Some((context, end)) = self.close(Ended::Answered) {
            if let Some(keeping) = keeping {
                keeping.end(&context, context.now(), &end.expense);
            }
            context.stream_ended();
        }
    }

    /// Ends the exchange, with what the provider has reported of its tokens until now. The request's record closes after it.
    fn close(&mut self, ended: Ended) -> Option<(Box<RequestContext>, End)> {
        let (mut context, mut exchange) = self.open.take()?;
        if let Some(sieve) = &self.sieve {
            sieved::told(&mut context, sieve);
        }
        match &self.stream {
            Some(stream) => exchange.saw(stream.usage(), stream.chunks()),
            None => exchange.saw(None, tokens_of(usize::try_from(context.bytes()).unwrap_or(usize::MAX))),
        }
        let model = self.stream.as_ref().and_then(Stream::model);
        let end = exchange.end_answer(context.tick(), ended, model);
        context.cost_was(end.expense);
        Some((context, end))
    }

    /// Whether the provider's end mark was seen.
    fn is_said(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::ended)
    }

    /// Whether the answer is whole, with an end mark or without.
    fn is_whole(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::whole)
    }

    /// Nothing has arrived: is it time to give up?
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(self.drained());
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match (
                self.deadlines.expired(self.last, now),
                grace(self.alarm.deadline(), now),
            ) {
                // One timer for the whole stream: it is set anew only when it rings, not with each chunk.
                (None, _) => self.alarm.as_mut().reset(self.deadlines.next(self.last)),
                (Some(_), Some(again)) => self.alarm.as_mut().reset(again),
                (Some(fault), None) => {
                    if self.is_whole() {
                        // The answer is there; the provider merely keeps its connection open.
                        return Poll::Ready(self.finish());
                    }
                    let text = format!("nothing more arrived within {}", self.deadlines.describe(fault));
                    return Poll::Ready(self.broke(transport(fault), &text));
                }
            }
        }
        Poll::Pending
    }

    fn drained(&mut self) -> Option<Bytes> {
        let Some((context, _)) = self.close(Ended::CallerGone) else {
            self.phase = Phase::Done;
            return None;
        };
        self.say(
            Code::SysDraining,
            "the sidecar is shutting down and the deadline has passed",
            context,
        )
    }

    /// The answer cannot be completed.
    fn broke(&mut self, ended: Ended, detail: &str) -> Option<Bytes> {
        if self.sieve.is_some() || self.services.is_some() {
            // What was sound before the break goes out, as far as it is decided, and what is held is not sent.
            let sound = self.out.split().freeze();
            match self.sieved(sound).and_then(|sound| self.windowed(sound)) {
                Ok(sound) => self.out = BytesMut::from(&*sound),
                Err(stop) => return self.stopped(&stop),
            }
        }
        let detail = match &self.open {
            Some((_, exchange)) => exchange.without_key(detail.to_owned()),
            None => String::new(),
        };
        let detail = detail.as_str();
        let Some((context, End { decision, .. })) = self.close(ended) else {
            self.phase = Phase::Done;
            return None;
        };
        let code = decision.code.unwrap_or(Code::ExtTruncated);
        tracing::info!(
            request_id = context.id().as_str(),
            trace_id = context.trace.as_deref().map(TraceId::as_str),
            code = code.as_str(),
            detail,
            "a begun answer broke off"
        );
        self.say(code, detail, context)
    }

    /// Ends with an error event, or a broken connection where bytes pass unread.
    fn say(&mut self, code: Code, message: &str, context: Box<RequestContext>) -> Option<Bytes> {
        let Some(stream) = &self.stream else {
            self.phase = Phase::Break;
            context.failed(code, StatusCode::OK);
            return None;
        };
        let view = ErrorView {
            code,
            message,
            status: None,
            exact: None,
            param: None,
            request_id: context.id().as_str(),
            retry_after: None,
        };
        let of_services = self.services.as_ref().and_then(|services| services.error_event(&view));
        let event = match (of_services, &self.sieve) {
            (Some(event), _) => event,
            (None, Some(sieve)) => sieve.error_event(&view),
            (None, None) => stream.error_event(&view),
        };
        context.failed(code, StatusCode::OK);
        // Where nothing can be said (inside half an element of a JSON array), only a broken connection tells.
        self.phase = if event.is_empty() { Phase::Break } else { Phase::Done };
        // What was sound before the break goes out with it.
        self.out.extend_from_slice(&event);
        let rest = self.out.split().freeze();
        (!rest.is_empty()).then_some(rest)
    }

    /// The length is not known before the end.
    #[allow(clippy::unused_self, reason = "the body asks its variant")]
    pub fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // An SDK closes when it has read the end, before the connection's own: that is a whole answer.
        let is_told = self.stream.as_ref().is_some_and(Stream::is_told);
        let is_given = self.held.is_empty()
            && self.sieve.as_ref().is_none_or(|sieve| sieve.is_empty())
            && self.services.as_ref().is_none_or(|services| services.is_empty());
        if self.open.is_some() && is_given && is_told {
            // Without its end mark it is whole for who heard it, and not for who hears it next.
            if !self.is_said() {
                self.keeping = None;
            }
            self.end_well();
        }
        // Otherwise the caller left; the request closes itself as it is dropped.
        self.close(Ended::CallerGone);
    }
}

/// A network fault in mid-answer.
fn transport(fault: TransportFault) -> Ended {
    Ended::Transport {
        fault,
        content_sent: true,
    }
}

/// A stream's own fault in mid-answer.
fn in_stream(error: &StreamError) -> Ended {
    match error {
        StreamError::Provider(error) => Ended::InStream {
            kind: error.kind,
            content_sent: true,
        },
        StreamError::Malformed(_) => Ended::InStream {
            kind: ErrorKind::Malformed,
            content_sent: true,
        },
        StreamError::Truncated => transport(TransportFault::Truncated),
    }
}
