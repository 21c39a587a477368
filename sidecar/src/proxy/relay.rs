//! Relaying an answer that is still arriving, chunk by chunk.
//!
//! Each chunk goes on at once; nothing is collected. The relay ends in one of three ways ([`ending`]): the end of a whole answer,
//! an error event in the caller's dialect (never an end mark), or, where bytes pass unread, a broken connection. Where guards
//! look into answers, all that the caller gets has gone through their sieve first, which may end the stream. If the
//! app goes away, hyper drops the body, which drops the relay, which drops the connection to the provider.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowsprit_core::dialect::{Pushed, Stream};
use bowsprit_core::guard::{Sieve, Stop};
use bytes::{Bytes, BytesMut};
use hyper::body::SizeHint;
use tokio::time::{Instant, Sleep};

use super::batch::Reading;
use super::context::RequestContext;
use super::deadlines::Deadlines;
use super::exchange::Exchange;
use super::keep::Keeping;
use super::windows::Services;
use crate::net::client::AnswerBody;
use crate::time::grace;

mod deciding;
mod ending;

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
                Poll::Ready(Some(Err(fault))) => self.lost(fault.kind, &fault.detail),
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
            Err(error) => self.garbled(&error),
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

    /// Part of what may be a batch's results goes out.
    fn read_batch(&mut self, piece: &[u8]) {
        let Some(batch) = &mut self.batch else { return };
        // Whoever writes an answer of a known length asks for nothing behind its last byte.
        if batch.piece(piece) {
            self.book();
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
                    return Poll::Ready(self.lost(fault, &text));
                }
            }
        }
        Poll::Pending
    }

    /// The length is not known before the end.
    #[allow(clippy::unused_self, reason = "the body asks its variant")]
    pub fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
