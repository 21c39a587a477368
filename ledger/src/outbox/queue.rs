//! Between requests and the thread that writes: one buffer, which requests append to and the thread swaps for an empty one.
//! Nothing that a request does here waits for a disk, and it allocates nothing, but that the buffer grows at first. What does
//! not fit is added up in memory.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lines::frame;
use super::sums::Sums;
use crate::entry::Sum;
use crate::sync::locked;

/// Bytes of entries that wait for the thread at most: some six hundred requests.
pub const QUEUE_BYTES: usize = 512 << 10;
/// What is kept of the buffer's memory when it is empty.
const KEPT_BYTES: usize = 64 << 10;

/// The buffer and who waits for it.
#[derive(Debug)]
pub(super) struct Queue<C> {
    state: Mutex<State<C>>,
    news: Condvar,
}

impl<C> Default for Queue<C> {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            news: Condvar::new(),
        }
    }
}

#[derive(Debug)]
struct State<C> {
    queued: Vec<u8>,
    spilled: Sums,
    commands: Vec<C>,
    is_closed: bool,
    /// The thread has nothing to do and wants to be woken.
    is_asleep: bool,
}

impl<C> Default for State<C> {
    fn default() -> Self {
        Self {
            queued: Vec::new(),
            spilled: Sums::default(),
            commands: Vec::new(),
            is_closed: false,
            is_asleep: false,
        }
    }
}

/// What the thread has taken.
#[derive(Debug)]
pub(super) struct Taken<C> {
    /// Entries, framed.
    pub queued: Vec<u8>,
    /// Sums of those that did not fit.
    pub spilled: Sums,
    /// What it is asked to do.
    pub commands: Vec<C>,
    /// It is to end.
    pub is_closed: bool,
}

impl<C> Default for Taken<C> {
    fn default() -> Self {
        Self {
            queued: Vec::new(),
            spilled: Sums::default(),
            commands: Vec::new(),
            is_closed: false,
        }
    }
}

impl<C> Queue<C> {
    /// Puts an entry in; where there is no room, its sum, if it has one. Returns whether there was room.
    pub(super) fn push(&self, at: i64, write: impl FnOnce(&mut Vec<u8>), sum: impl FnOnce() -> Option<Sum>) -> bool {
        let mut state = self.lock();
        let has_room = state.queued.len() < QUEUE_BYTES;
        let was_small = state.queued.len() < QUEUE_BYTES / 2;
        if has_room {
            frame(&mut state.queued, at, write);
        } else if let Some(sum) = sum() {
            state.spilled.add(sum);
        }
        let is_large = was_small && state.queued.len() >= QUEUE_BYTES / 2;
        let wake = std::mem::take(&mut state.is_asleep) || is_large;
        drop(state);
        if wake {
            self.news.notify_one();
        }
        has_room
    }

    /// Asks the thread for something.
    pub(super) fn ask(&self, command: C) {
        self.lock().commands.push(command);
        self.news.notify_one();
    }

    /// Bytes of entries that wait.
    pub(super) fn queued(&self) -> usize {
        self.lock().queued.len()
    }

    /// Tells the thread to end.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.news.notify_one();
    }

    /// Waits for something to do, at most `patience` where one is given; then, where it is entries alone, `window` longer for
    /// more of them; and takes what there is. Entries stay where `taken` still holds some.
    pub(super) fn take(&self, taken: &mut Taken<C>, window: Duration, patience: Option<Duration>) {
        let mut state = self.lock();
        let until = patience.map(|patience| Instant::now() + patience);
        let is_held = !taken.queued.is_empty();
        while !state.is_urgent() && (is_held || (state.queued.is_empty() && state.spilled.is_empty())) {
            state.is_asleep = !is_held;
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => state = self.wait(state, left),
            }
        }
        state.is_asleep = false;
        let until = Instant::now() + window;
        while !is_held && !state.is_urgent() && state.queued.len() < QUEUE_BYTES / 2 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.wait(state, left);
        }
        if !is_held {
            std::mem::swap(&mut taken.queued, &mut state.queued);
        }
        taken.commands.append(&mut state.commands);
        taken.is_closed |= state.is_closed;
        let spilled = std::mem::take(&mut state.spilled);
        drop(state);
        taken.spilled.add_all(spilled);
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State<C>>, left: Duration) -> MutexGuard<'g, State<C>> {
        let waited = self.news.wait_timeout(state, left);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        locked(&self.state)
    }
}

impl<C> State<C> {
    fn is_urgent(&self) -> bool {
        self.is_closed || !self.commands.is_empty()
    }
}

impl<C> Taken<C> {
    /// Its entries are written.
    pub(super) fn written(&mut self) {
        self.queued.clear();
        self.queued.shrink_to(KEPT_BYTES);
        self.spilled = Sums::default();
    }
}
