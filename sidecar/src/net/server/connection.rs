//! One connection, from its accept to its close.
//!
//! hyper's connection holds some 17 KiB: 8 KiB to read into, 8 KiB to write heads into, and its state. An app may keep thousands of
//! connections that carry nothing, so an idle one does without: hyper gives the socket back, and takes it again when bytes
//! arrive. That costs a request some allocations, so as many as [`limits::WARM`] idle connections of a listener stay as they are.
//! See docs/adr/0021.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use super::metrics::ServerMetrics;
use super::stalling::Stalling;
use super::watched::{HeadTimer, Open, Seen, Watched};
use crate::drain::Drain;
use crate::limits;
use crate::net::wakes::Wakers;

/// Marks a request that says in two ways where it ends.
#[derive(Clone, Copy, Debug)]
pub struct Ambiguous;

/// What all connections of a listener share.
pub(super) struct Shared {
    drain: Arc<Drain>,
    metrics: ServerMetrics,
    http: http1::Builder,
    warm: Arc<Semaphore>,
}

impl Shared {
    /// `warm`: idle connections that stay as they are.
    pub(super) fn new(drain: Arc<Drain>, metrics: ServerMetrics, warm: usize) -> Arc<Self> {
        let mut http = http1::Builder::new();
        http.header_read_timeout(limits::HEAD_DEADLINE)
            .max_buf_size(limits::HEAD_BYTES)
            .max_header_size(limits::HEAD_BYTES);
        Arc::new(Self {
            drain,
            metrics,
            http,
            warm: Arc::new(Semaphore::new(warm)),
        })
    }
}

type Io = Watched<Stalling<TcpStream>>;

/// Serves requests until the peer closes, an answer says so, or the drain begins.
pub(super) async fn serve<H, F, B>(stream: TcpStream, peer: IpAddr, shared: Arc<Shared>, handler: H)
where
    H: Fn(Request<Incoming>, IpAddr) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let _ = stream.set_nodelay(true);
    let seen = Seen::new();
    // A peer that never sends a byte has no head in time either: hyper, which asks for this, is not there yet.
    seen.expect_head(Instant::now() + limits::HEAD_DEADLINE);
    let mut io = Watched::new(Stalling::new(stream, limits::WRITE_DEADLINE), seen.clone());
    // Counted from the first request to the close: an answer is settled before its last byte is handed to the kernel.
    let serving = OnceLock::new();
    let mut service = service_fn(|mut request: Request<Incoming>| {
        serving.get_or_init(|| shared.drain.serve());
        let is_chunked = request.body().size_hint().exact().is_none();
        if is_chunked && !seen.is_plainly_chunked() {
            request.extensions_mut().insert(Ambiguous);
        }
        let open = seen.open();
        // Boxed: hyper keeps room for this future, 7 KiB of it, in every connection, idle ones too. And `map`, not an async
        // block: that would hold it twice.
        Box::pin(handler(request, peer)).map(|answer| Ok::<_, Infallible>(answer.map(|body| Watching { body, open })))
    });
    // One after the other, so that there is room for one of them.
    let over = async {
        shared.drain.draining().await;
        shared.drain.over().await;
    };
    let alarm = sleep(limits::HEAD_DEADLINE);
    tokio::pin!(over, alarm);
    let mut signals = Signals {
        drain: &shared.drain,
        over: over.as_mut(),
        is_over: false,
        alarm: alarm.as_mut(),
        woken: None,
    };
    let mut warm = None;
    loop {
        match waits(&io, &seen, &mut signals, serving.get().is_some()).await {
            Waited::Arrived => {}
            Waited::Draining => return,
            Waited::TooLong => return shared.metrics.connection_ended("header_timeout"),
        }
        seen.begin();
        let mut http = shared.http.clone();
        http.timer(HeadTimer(seen.clone()));
        // Boxed, so that an idle connection's task has no room for it.
        let connection = Box::new(http.serve_connection(TokioIo::new(io), service));
        match requests(connection, &seen, &mut signals, &mut warm, &shared.warm).await {
            Served::Idle(parts) => {
                service = parts.service;
                io = parts.io.into_inner();
                io.unread(&parts.read_buf);
            }
            Served::Ended(Ok(())) | Served::Left => return,
            Served::Ended(Err(error)) => {
                tracing::debug!(%error, "app connection ended");
                return shared.metrics.connection_failed(&error);
            }
            Served::TooLong => {
                tracing::debug!("app connection ended: no whole request head in time");
                return shared.metrics.connection_ended("header_timeout");
            }
        }
    }
}

/// What ends a connection from outside.
struct Signals<'a, D> {
    drain: &'a Drain,
    /// Wakes the task when the drain begins, and is ready when it is over.
    over: Pin<&'a mut D>,
    is_over: bool,
    /// Goes off when a head is overdue, or earlier.
    alarm: Pin<&'a mut Sleep>,
    /// Whom both wake, and whether that was while draining. To poll them again for the same one would cost each poll of the connection
    /// two locks.
    woken: Option<(Waker, bool)>,
}

impl<D: Future<Output = ()>> Signals<'_, D> {
    /// Has the task woken by both.
    fn register(&mut self, cx: &mut Context<'_>) {
        let is_draining = self.drain.is_draining();
        let is_known =
            |(waker, was_draining): &(Waker, bool)| waker.will_wake(cx.waker()) && *was_draining == is_draining;
        if !self.is_over && (self.drain.is_over() || !self.woken.as_ref().is_some_and(is_known)) {
            self.woken = Some((cx.waker().clone(), is_draining));
            let _ = self.alarm.as_mut().poll(cx);
            self.is_over = self.over.as_mut().poll(cx).is_ready();
        }
    }

    /// Whether a head that is waited for is overdue; if not, the task is woken when it is.
    fn is_too_late(&mut self, cx: &mut Context<'_>, seen: &Seen) -> bool {
        if !self.alarm.is_elapsed() {
            return false;
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let by = seen.head_by().unwrap_or(now + limits::HEAD_DEADLINE);
            if by <= now {
                return true;
            }
            self.alarm.as_mut().reset(by);
        }
        false
    }
}

enum Waited {
    Arrived,
    Draining,
    TooLong,
}

/// Until there is something to read: bytes, or the end. When the drain begins, a connection that `has_served` goes. A new one does not:
/// its first request, which may be on its way, is answered.
async fn waits<D>(io: &Io, seen: &Seen, signals: &mut Signals<'_, D>, has_served: bool) -> Waited
where
    D: Future<Output = ()>,
{
    if io.has_unread() {
        return Waited::Arrived;
    }
    poll_fn(|cx| {
        // An error of the socket is hyper's to see.
        if io.get_ref().get_ref().poll_read_ready(cx).is_ready() {
            return Poll::Ready(Waited::Arrived);
        }
        signals.register(cx);
        if signals.is_too_late(cx, seen) {
            return Poll::Ready(Waited::TooLong);
        }
        if signals.is_over || has_served && signals.drain.is_draining() {
            return Poll::Ready(Waited::Draining);
        }
        Poll::Pending
    })
    .await
}

enum Served<P> {
    /// The socket is given back.
    Idle(P),
    Ended(hyper::Result<()>),
    TooLong,
    /// The drain is over before the peer has taken all of an answer.
    Left,
}

/// Serves until the connection ends, or is idle and gives its socket back.
async fn requests<B, S, D>(
    mut connection: Box<http1::Connection<TokioIo<Io>, S>>,
    seen: &Seen,
    signals: &mut Signals<'_, D>,
    warm: &mut Option<OwnedSemaphorePermit>,
    places: &Arc<Semaphore>,
) -> Served<http1::Parts<TokioIo<Io>, S>>
where
    S: HttpService<Incoming, ResBody = B> + Unpin,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    D: Future<Output = ()>,
{
    let mut is_draining = false;
    let mut wakers = Wakers::default();
    let ended = poll_fn(|cx| {
        let quiet = &mut Context::from_waker(wakers.of(cx));
        if let Poll::Ready(ended) = connection.poll_unpin(quiet) {
            return Poll::Ready(Some(Served::Ended(ended)));
        }
        signals.register(cx);
        if signals.is_too_late(cx, seen) {
            return Poll::Ready(Some(Served::TooLong));
        }
        if signals.is_over {
            return Poll::Ready(Some(Served::Left));
        }
        if !is_draining && signals.drain.is_draining() {
            is_draining = true;
            Pin::new(&mut *connection).graceful_shutdown();
            return connection.poll_unpin(quiet).map(|ended| Some(Served::Ended(ended)));
        }
        if is_draining || !seen.is_idle() || stays_warm(warm, places) {
            return Poll::Pending;
        }
        // hyper has no method to be left between two requests but this: told to stop, it is done at once.
        Pin::new(&mut *connection).graceful_shutdown();
        match connection.poll_without_shutdown(quiet) {
            Poll::Ready(Ok(())) => Poll::Ready(None),
            Poll::Ready(Err(error)) => Poll::Ready(Some(Served::Ended(Err(error)))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    ended.unwrap_or_else(|| Served::Idle(connection.into_parts()))
}

/// A connection that became idle keeps its place among those that stay as they are.
fn stays_warm(place: &mut Option<OwnedSemaphorePermit>, places: &Arc<Semaphore>) -> bool {
    if place.is_none() {
        *place = Arc::clone(places).try_acquire_owned().ok();
    }
    place.is_some()
}

pin_project! {
    /// An answer's body; while it is there, the connection is not idle.
    struct Watching<B> {
        #[pin]
        body: B,
        open: Open,
    }
}

impl<B: Body> Body for Watching<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    /// A connection of which no idle one stays warm, answered with `size` bytes each time.
    async fn connected(size: usize) -> (TcpStream, JoinHandle<()>, Arc<Shared>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let metrics = ServerMetrics::register(&mut crate::metrics::Registry::default());
        let shared = Shared::new(Arc::default(), metrics, 0);
        let body = Bytes::from(vec![b'x'; size]);
        let handler = move |_: Request<Incoming>, _| std::future::ready(Response::new(Full::new(body.clone())));
        let serving = tokio::spawn(serve(stream, peer.ip(), Arc::clone(&shared), handler));
        (caller, serving, shared)
    }

    /// Reads one answer; the length of its body.
    async fn answer(caller: &mut TcpStream) -> usize {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(caller.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let length = head
            .split("content-length: ")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        caller.read_exact(&mut body).await.unwrap();
        body.len()
    }

    #[tokio::test]
    async fn an_idle_connection_serves_on() {
        let (mut caller, ..) = connected(5).await;
        for _ in 0..3 {
            caller.write_all(GET).await.unwrap();
            assert_eq!(answer(&mut caller).await, 5);
        }
    }

    #[tokio::test]
    async fn half_a_request_behind_another_is_not_lost() {
        let (mut caller, ..) = connected(5).await;
        let (early, late) = GET.split_at(9);
        caller.write_all(&[GET, GET, early].concat()).await.unwrap();
        assert_eq!((answer(&mut caller).await, answer(&mut caller).await), (5, 5));
        caller.write_all(late).await.unwrap();
        assert_eq!(answer(&mut caller).await, 5);
    }

    #[tokio::test]
    async fn an_answer_that_waits_for_its_reader_arrives_whole() {
        const LARGE: usize = 16 << 20;
        let (mut caller, ..) = connected(LARGE).await;
        for _ in 0..2 {
            caller.write_all(GET).await.unwrap();
            assert_eq!(answer(&mut caller).await, LARGE);
        }
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_at_its_deadline_and_when_the_drain_begins() {
        for drains in [true, false] {
            let (mut caller, serving, shared) = connected(5).await;
            caller.write_all(GET).await.unwrap();
            answer(&mut caller).await;
            if drains {
                shared.drain.begin();
            } else {
                tokio::time::pause(); // and the clock goes on by itself when nothing else can
            }
            assert_eq!(caller.read(&mut [0; 9]).await.unwrap(), 0);
            serving.await.unwrap();
            assert_eq!(shared.drain.connections(), 0);
        }
    }
}
