//! Tells listeners in which namespaces something changed. A namespace that is told of again before the listener came to
//! it is told once, so a listener that is slow, or that nobody asks, holds no more than the names of the namespaces.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll};

use crate::sync::locked;
use futures::Stream;
use futures::task::AtomicWaker;

/// The namespaces that are told of. Never ends.
#[derive(Debug)]
pub struct Heard(Arc<Ear>);

/// All who listen.
#[derive(Debug, Default)]
pub(crate) struct Ears(Mutex<Vec<Weak<Ear>>>);

#[derive(Debug, Default)]
struct Ear {
    namespaces: Mutex<BTreeSet<String>>,
    waker: AtomicWaker,
}

impl Ears {
    pub(crate) fn listen(&self) -> Heard {
        let ear = Arc::new(Ear::default());
        let mut ears = locked(&self.0);
        ears.retain(|ear| ear.strong_count() > 0);
        ears.push(Arc::downgrade(&ear));
        Heard(ear)
    }

    pub(crate) fn tell(&self, namespace: &str) {
        let ears = locked(&self.0);
        for ear in ears.iter().filter_map(Weak::upgrade) {
            let mut namespaces = ear.lock();
            if !namespaces.contains(namespace) {
                namespaces.insert(namespace.to_owned());
            }
            drop(namespaces);
            ear.waker.wake();
        }
    }
}

impl Ear {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        locked(&self.namespaces)
    }
}

impl Stream for Heard {
    type Item = String;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<String>> {
        // First the waker, then the look: what is told in between wakes.
        self.0.waker.register(context.waker());
        match self.0.lock().pop_first() {
            Some(namespace) => Poll::Ready(Some(namespace)),
            None => Poll::Pending,
        }
    }
}
