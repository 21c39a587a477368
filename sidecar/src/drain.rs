//! Stopping without losing an answer.
//!
//! Four phases, each entered once: serving; draining (unready, no new connections, what runs may finish); cut (the
//! deadline has passed: plain requests answer 503, streams end with an error event); over (whoever has not taken that goodbye is
//! left, so that what became of its request is recorded while records are still kept). A request in flight holds a
//! [`Token`]; a connection that has carried one holds a [`Serving`] until its last byte is handed to the kernel. The
//! drain is over when the last of both is dropped.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

/// A flag that can be awaited and is never taken back.
#[derive(Debug, Default)]
struct Flag {
    up: AtomicBool,
    changed: Arc<Notify>,
}

impl Flag {
    fn raise(&self) {
        self.up.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    fn is_up(&self) -> bool {
        self.up.load(Ordering::SeqCst)
    }

    async fn raised(&self) {
        // The interest is registered before the look, so a raise in between is not missed.
        let notified = self.changed.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        // Registered once for whom it wakes: most who wait are polled several times, and each look would take a lock.
        let mut woken: Option<Waker> = None;
        poll_fn(|cx| {
            if self.is_up() {
                return Poll::Ready(());
            }
            if woken.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            woken = Some(cx.waker().clone());
            notified.as_mut().poll(cx)
        })
        .await;
    }
}

/// Shared by everything that must know whether the sidecar is stopping.
#[derive(Debug, Default)]
pub struct Drain {
    draining: Flag,
    cut: Flag,
    over: Flag,
    in_flight: AtomicUsize,
    serving: AtomicUsize,
    idle: Notify,
}

/// Held by each connection from its first request on. A request is settled when its answer is complete, which a slow
/// reader may not have taken by then; and an idle connection is closed when the drain begins.
#[derive(Debug)]
pub struct Serving(Arc<Drain>);

impl Drop for Serving {
    fn drop(&mut self) {
        if self.0.serving.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// Held by each request in flight, stream included.
#[derive(Debug)]
pub struct Token(Arc<Drain>);

impl Drop for Token {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request ended by itself.
    Clean,
    /// So many were cut at the deadline.
    Cut(usize),
}

impl Drain {
    /// Begins the drain. Idempotent.
    pub fn begin(&self) {
        self.draining.raise();
    }

    /// Ends it by force: see [`Drain::cut_signal`].
    pub fn cut(&self) {
        self.cut.raise();
    }

    /// Whether the sidecar is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.is_up()
    }

    /// Whether the deadline has passed.
    pub fn is_cut(&self) -> bool {
        self.cut.is_up()
    }

    /// Whether what was cut had its time.
    pub fn is_over(&self) -> bool {
        self.over.is_up()
    }

    /// Waits for the drain to begin.
    pub async fn draining(&self) {
        self.draining.raised().await;
    }

    /// Resolves when the deadline has passed. Boxed once per stream, so that a body can hold it.
    pub fn cut_signal(self: &Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        let drain = Arc::clone(self);
        Box::pin(async move { drain.cut.raised().await })
    }

    /// Waits for the end: a connection that is still open then is closed as it is.
    pub async fn over(&self) {
        self.over.raised().await;
    }

    /// Waits for the cut.
    pub async fn was_cut(&self) {
        self.cut.raised().await;
    }

    /// Counts a request in.
    pub fn enter(self: &Arc<Self>) -> Token {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        Token(Arc::clone(self))
    }

    /// Counts a connection in, at its first request.
    pub fn serve(self: &Arc<Self>) -> Serving {
        self.serving.fetch_add(1, Ordering::SeqCst);
        Serving(Arc::clone(self))
    }

    /// Connections that have carried a request and are open.
    pub fn connections(&self) -> usize {
        self.serving.load(Ordering::SeqCst)
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Waits until nothing is in flight and all is handed over; after `deadline` cuts what is left and gives it `grace` to
    /// say goodbye. What is left then, such as answers that nobody reads, ends without: their connections have as long to close.
    pub async fn finish(&self, deadline: Duration, grace: Duration) -> Drained {
        if tokio::time::timeout(deadline, self.until_idle()).await.is_ok() {
            return Drained::Clean;
        }
        let left = self.left();
        self.cut();
        let is_gone = tokio::time::timeout(grace, self.until_idle()).await.is_ok();
        self.over.raise();
        if !is_gone {
            let _ = tokio::time::timeout(grace, self.until_idle()).await;
        }
        Drained::Cut(left)
    }

    /// Requests that are not answered, or answers that are not handed over.
    fn left(&self) -> usize {
        self.in_flight().max(self.serving.load(Ordering::SeqCst))
    }

    async fn until_idle(&self) {
        loop {
            let notified = self.idle.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.left() == 0 {
                return;
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_when_the_last_request_does() {
        let drain = Arc::new(Drain::default());
        let token = drain.enter();
        drain.begin();
        let waiting = tokio::spawn({
            let drain = Arc::clone(&drain);
            async move { drain.finish(Duration::from_secs(25), Duration::from_secs(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(token);
        assert_eq!(waiting.await.unwrap(), Drained::Clean);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_answers_to_be_written_but_not_for_ever() {
        let drain = Arc::new(Drain::default());
        let open = drain.serve();
        drain.begin();
        let waiting = tokio::spawn({
            let drain = Arc::clone(&drain);
            async move { drain.finish(Duration::from_secs(25), Duration::from_secs(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "an answer may still be on its way");
        drop(open);
        assert_eq!(waiting.await.unwrap(), Drained::Clean);
        let stuck = drain.serve();
        let drained = drain.finish(Duration::from_secs(25), Duration::from_secs(1)).await;
        assert_eq!(drained, Drained::Cut(1), "an answer that nobody took was cut");
        drop(stuck);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_cuts_what_is_left_and_counts_it() {
        let drain = Arc::new(Drain::default());
        let token = drain.enter();
        let cut = drain.cut_signal();
        drain.begin();
        let held = tokio::spawn(async move {
            cut.await;
            drop(token);
        });
        assert_eq!(
            drain.finish(Duration::from_secs(25), Duration::from_secs(1)).await,
            Drained::Cut(1)
        );
        held.await.unwrap();
        assert_eq!(drain.in_flight(), 0);
    }
}
