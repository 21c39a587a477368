//! Wake-ups that nobody needs, left out.
//!
//! hyper wakes a connection when a piece of a body is taken from it, also after the last piece, when the connection has read all there is
//! and let go of the body. Its task would be polled once more for nothing: the caller's connection and with it the whole request,
//! and the provider's connection; together that was a twentieth of a plain request.
//!
//! So both are polled with a waker of our own ([`Wakers`], [`Quietly`]), and bodies by [`poll_frame`]: whom taking a piece has woken is held
//! back until it is known whether that was the last one. A body without an announced length has no last piece before its end is read, and
//! is as it was.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming};
use pin_project_lite::pin_project;

/// Whether wakers on this thread wake.
enum Held {
    /// They do.
    No,
    /// The next one is held back.
    Nobody,
    /// This one was.
    One(Waker),
}

thread_local! {
    static HELD: Cell<Held> = const { Cell::new(Held::No) };
}

/// While it lives, one wake-up on this thread is held back; it is let go at the end, unless it was [`Holding::forgotten`].
struct Holding;

impl Holding {
    fn begin() -> Self {
        HELD.set(Held::Nobody);
        Self
    }

    fn forgotten(self) {
        HELD.set(Held::No);
        drop(self);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let Held::One(waker) = HELD.replace(Held::No) {
            waker.wake();
        }
    }
}

/// A task's waker, which can be held back.
struct Quiet(Waker);

impl Wake for Quiet {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let is_held = HELD.try_with(|held| match held.replace(Held::No) {
            Held::Nobody => {
                held.set(Held::One(self.0.clone()));
                true
            }
            other => {
                held.set(other);
                false
            }
        });
        if is_held != Ok(true) {
            self.0.wake_by_ref();
        }
    }
}

/// The waker that a connection is polled with in the place of its task's, made once for each task.
#[derive(Default)]
pub(super) struct Wakers(Option<(Waker, Waker)>);

impl Wakers {
    /// For the task that polls now.
    pub(super) fn of(&mut self, cx: &Context<'_>) -> &Waker {
        self.0.take_if(|(task, _)| !task.will_wake(cx.waker()));
        let (_, quiet) = self.0.get_or_insert_with(|| {
            let task = cx.waker().clone();
            (task.clone(), Arc::new(Quiet(task)).into())
        });
        quiet
    }
}

pin_project! {
    /// A connection's future, polled with such a waker.
    pub(super) struct Quietly<F> {
        #[pin]
        connection: F,
        wakers: Wakers,
    }
}

impl<F> Quietly<F> {
    pub(super) fn new(connection: F) -> Self {
        Self {
            connection,
            wakers: Wakers::default(),
        }
    }
}

impl<F: Future> Future for Quietly<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.connection.poll(&mut Context::from_waker(this.wakers.of(cx)))
    }
}

/// The next frame of a body. Who sends it is woken, unless this was the last of it.
pub fn poll_frame(body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
    // A stream's pieces have no need of it, and are many.
    if body.size_hint().exact().is_none() {
        return Pin::new(body).poll_frame(cx);
    }
    let holding = Holding::begin();
    let frame = Pin::new(&mut *body).poll_frame(cx);
    if body.is_end_stream() {
        holding.forgotten();
    }
    frame
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn quiet() -> (Arc<Counted>, Waker) {
        let counted = Arc::new(Counted::default());
        let task = Waker::from(Arc::clone(&counted));
        let quiet = Wakers::default().of(&Context::from_waker(&task)).clone();
        (counted, quiet)
    }

    #[test]
    fn a_wake_up_that_is_held_back_comes_at_the_end_or_never() {
        let (woken, waker) = quiet();
        let count = || woken.0.load(Ordering::Relaxed);
        waker.wake_by_ref();
        assert_eq!(count(), 1);
        let holding = Holding::begin();
        waker.wake_by_ref();
        assert_eq!(count(), 1);
        drop(holding);
        assert_eq!(count(), 2);
        let holding = Holding::begin();
        waker.wake_by_ref();
        holding.forgotten();
        assert_eq!(count(), 2);
        waker.wake();
        assert_eq!(count(), 3);
    }

    #[test]
    fn a_panic_and_another_thread_lose_none() {
        let (woken, waker) = quiet();
        let panicked = std::panic::catch_unwind(|| {
            let _holding = Holding::begin();
            waker.wake_by_ref();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.is_err());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        let holding = Holding::begin();
        let other = waker.clone();
        std::thread::spawn(move || other.wake()).join().unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        holding.forgotten();
    }

    #[test]
    fn each_task_has_its_own() {
        let mut wakers = Wakers::default();
        let mut same = Vec::new();
        let [one, two] = [(); 2].map(|()| Arc::new(Counted::default()));
        for task in [&one, &one, &two] {
            let task = Waker::from(Arc::clone(task));
            let quiet = wakers.of(&Context::from_waker(&task)).clone();
            quiet.wake_by_ref();
            same.push(quiet);
        }
        assert!(same[0].will_wake(&same[1]) && !same[1].will_wake(&same[2]));
        assert_eq!([&one, &two].map(|woken| woken.0.load(Ordering::Relaxed)), [2, 1]);
    }
}
