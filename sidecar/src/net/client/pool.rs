//! Idle connections per origin, as a stack.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bowsprit_core::fault::TransportFault;
use bytes::Bytes;
use http::{Request, Response, response};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use super::decode::{Coding, Decoder};
use super::dial::Endpoint;
use super::fault::Fault;
use super::outgoing::{Outgoing, Sending};
use crate::limits::{IDLE_CONNECTION, IDLE_CONNECTIONS};
use crate::net::poll_frame;
use crate::sync::locked;

/// A connection whose last answer is read is free again within one turn of its task; longer means it is not.
const SETTLE_LIMIT: Duration = Duration::from_millis(20);

/// What the pool counts as it goes.
#[derive(Debug, Default)]
pub struct PoolCounts {
    /// Connections made.
    pub opened: Counter,
    /// Requests that went over a connection that was there.
    pub reused: Counter,
}

struct Idle {
    sender: SendRequest<Outgoing>,
    since: Instant,
}

/// One origin with its idle connections.
pub struct Origin {
    endpoint: Endpoint,
    idle: Mutex<Vec<Idle>>,
    counts: Arc<PoolCounts>,
}

/// A response whose body is still on its way.
pub struct Answer {
    /// Status and headers.
    pub head: response::Parts,
    /// The body; gives the connection back when read to its end, closes it when dropped before.
    pub body: AnswerBody,
}

impl Origin {
    /// An origin without connections yet.
    pub fn new(endpoint: Endpoint, counts: Arc<PoolCounts>) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            idle: Mutex::new(Vec::new()),
            counts,
        })
    }

    /// Sends a request over an idle connection or a new one and waits for the response head.
    ///
    /// An idle connection may have died unseen. If hyper gives the request back, not one byte of it was written, and
    /// the next connection is tried; in any other case the caller decides, as the provider may have begun to work: the
    /// fault says whether it may just as well have been closed before ([`Fault::reused`]).
    /// Dropping this future closes the connection in use, which is what cancels the provider's work. `is_out` says then whether
    /// there was any: whether the request was handed to a connection that did not give it back.
    pub async fn send(
        self: &Arc<Self>,
        request: Request<Outgoing>,
        connect_timeout: Duration,
        is_out: &AtomicBool,
    ) -> Result<Answer, Fault> {
        let mut request = request;
        loop {
            let (mut sender, reused) = match self.take().await {
                Some(sender) => (sender, true),
                // Boxed: seldom needed, and every request would hold room for a TLS handshake.
                None => (Box::pin(self.endpoint.dial(connect_timeout)).await?, false),
            };
            let used = if reused {
                &self.counts.reused
            } else {
                &self.counts.opened
            };
            used.inc();
            let before = is_out.swap(true, Ordering::Relaxed);
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.answer(response, sender)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => {
                        is_out.store(before, Ordering::Relaxed);
                        request = unsent;
                    }
                    _ => {
                        let mut fault = Fault::head(error.error());
                        fault.reused = reused && fault.kind == TransportFault::Reset;
                        return Err(fault);
                    }
                },
            }
        }
    }

    /// Sends a request over a new connection, whatever idle ones there are: they may all be closed.
    pub async fn send_anew(
        self: &Arc<Self>,
        request: Request<Outgoing>,
        connect_timeout: Duration,
    ) -> Result<Answer, Fault> {
        let mut sender = Box::pin(self.endpoint.dial(connect_timeout)).await?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok(self.answer(response, sender)),
            Err(error) => Err(Fault::head(error.error())),
        }
    }

    fn answer(self: &Arc<Self>, response: Response<Incoming>, sender: SendRequest<Outgoing>) -> Answer {
        let (head, body) = response.into_parts();
        Answer {
            head,
            body: AnswerBody::new(body, sender, Arc::clone(self)),
        }
    }

    async fn take(&self) -> Option<SendRequest<Outgoing>> {
        loop {
            let Idle { mut sender, since } = self.lock().pop()?;
            if sender.is_closed() || since.elapsed() > IDLE_CONNECTION {
                continue;
            }
            if sender.is_ready() || matches!(tokio::time::timeout(SETTLE_LIMIT, sender.ready()).await, Ok(Ok(()))) {
                return Some(sender);
            }
        }
    }

    fn put(&self, sender: SendRequest<Outgoing>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(Idle {
                sender,
                since: Instant::now(),
            });
        }
    }

    /// Closes the idle connections that nothing has come over since then.
    pub fn forget_unused_since(&self, then: Instant) {
        self.lock().retain(|idle| idle.since >= then);
    }

    fn sweep(&self) {
        self.lock()
            .retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() <= IDLE_CONNECTION);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        locked(&self.idle)
    }
}

/// A response body.
pub struct AnswerBody {
    incoming: Incoming,
    /// Undoes the body's content coding. Boxed: few answers have one.
    decoder: Option<Box<Decoder>>,
    lease: Option<(SendRequest<Outgoing>, Arc<Origin>)>,
    /// The request's body, where it was still on its way when the answer began.
    sending: Option<Sending>,
}

impl AnswerBody {
    fn new(incoming: Incoming, sender: SendRequest<Outgoing>, origin: Arc<Origin>) -> Self {
        let mut body = Self {
            incoming,
            decoder: None,
            lease: Some((sender, origin)),
            sending: None,
        };
        body.release_at_end();
        body
    }

    /// Keeps the request's body going as long as the answer does. With the answer over, what was not sent of it by then
    /// is given up, and the connection with it.
    pub fn keep_sending(&mut self, sending: Sending) {
        // An answer that has ended already gave its connection back: dropping `sending` closes it if need be.
        if self.lease.is_some() {
            self.sending = Some(sending);
        }
    }

    /// Undoes this content coding from here on.
    pub fn decode(&mut self, coding: Coding) {
        self.decoder = Some(Box::new(Decoder::new(coding)));
    }

    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        let reusable = self.sending.take().is_none_or(|sending| sending.is_done());
        if let Some((sender, origin)) = self.lease.take()
            && reusable
        {
            origin.put(sender);
        }
    }

    /// The next piece of data; `None` at the proper end. Trailers are dropped.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if self.decoder.is_none() {
            return self.poll_sent(cx);
        }
        loop {
            if let Some(piece) = self.decoder.as_mut().and_then(|decoder| decoder.piece().transpose()) {
                return Poll::Ready(Some(piece.inspect_err(|_| self.lease = None)));
            }
            match (std::task::ready!(self.poll_sent(cx)), &mut self.decoder) {
                (Some(Ok(data)), Some(decoder)) => decoder.push(data),
                (None, decoder) => {
                    let rest = decoder.take().and_then(|decoder| decoder.finish().transpose());
                    return Poll::Ready(rest);
                }
                (next, _) => return Poll::Ready(next),
            }
        }
    }

    /// The next piece as it was sent.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            return Poll::Ready(match std::task::ready!(poll_frame(&mut self.incoming, cx)) {
                Some(Ok(frame)) => match Frame::into_data(frame) {
                    Ok(data) => {
                        self.release_at_end();
                        Some(Ok(data))
                    }
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => {
                    self.lease = None;
                    Some(Err(Fault::body(&error)))
                }
                None => {
                    self.release();
                    None
                }
            });
        }
    }

    /// The next piece of data.
    pub async fn data(&mut self) -> Option<Result<Bytes, Fault>> {
        std::future::poll_fn(|cx| self.poll_data(cx)).await
    }

    /// Whether the end is already known.
    pub fn is_end(&self) -> bool {
        self.decoder.is_none() && self.incoming.is_end_stream()
    }

    /// What is known of the length.
    pub fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// All origins in use, so that a reload that does not touch an endpoint keeps its connections.
#[derive(Default)]
pub struct Origins {
    by_key: Mutex<HashMap<String, Weak<Origin>>>,
    counts: Arc<PoolCounts>,
}

impl Origins {
    /// No origins yet. Their connections are counted in `counts`.
    pub fn new(counts: Arc<PoolCounts>) -> Self {
        Self {
            by_key: Mutex::default(),
            counts,
        }
    }

    /// The origin of this key, made by `endpoint` if nobody holds it.
    pub fn get<E>(&self, key: &str, endpoint: impl FnOnce() -> Result<Endpoint, E>) -> Result<Arc<Origin>, E> {
        let mut by_key = locked(&self.by_key);
        if let Some(origin) = by_key.get(key).and_then(Weak::upgrade) {
            return Ok(origin);
        }
        let origin = Origin::new(endpoint()?, Arc::clone(&self.counts));
        by_key.insert(key.to_owned(), Arc::downgrade(&origin));
        Ok(origin)
    }

    /// Connections that wait for a request.
    pub fn idle(&self) -> usize {
        let by_key = locked(&self.by_key);
        by_key
            .values()
            .filter_map(Weak::upgrade)
            .map(|origin| origin.lock().len())
            .sum()
    }

    /// Closes connections that were idle for too long and forgets origins that no configuration names any more.
    pub fn sweep(&self) {
        let mut by_key = locked(&self.by_key);
        by_key.retain(|_, origin| origin.upgrade().inspect(|origin| origin.sweep()).is_some());
    }
}
