//! What a sidecar keeps of its requests until the ledger service has taken it.
//!
//! A request appends its entries to a queue in memory ([`queue`]) and goes on. A thread of the outbox's own ([`writer`]) commits
//! what it finds there every [`WINDOW`] to an SQLite file ([`store`]), and gives it out in batches. There is a bound in memory
//! and one on disk; beyond either, detail becomes sums ([`sums`]): **detail may be lost, sums never**. No trouble with the file
//! reaches a request.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bowsprit_core::record::{AttemptRecord, HeadroomRecord, RequestRecord};

mod batch;
mod lines;
mod queue;
mod stats;
mod store;
mod sums;
#[cfg(test)]
mod tests;
mod text;
mod writer;

pub use batch::{Sender, body, page};
pub use lines::Most;
pub use queue::QUEUE_BYTES;
pub use stats::Counts;
pub use store::{Asked, Offer, Page, Place};
pub use writer::WINDOW;

use crate::sync::locked;
use queue::Queue;
use stats::Stats;
use writer::{Command, Writer};

/// The thread's stack: SQLite needs little of it.
const STACK: usize = 512 << 10;

/// What an outbox is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A folder that outlives the container; none: memory.
    pub folder: Option<PathBuf>,
    /// Bytes of the file beyond which the oldest entries are folded. Its log may take half as much for a moment, and a damaged
    /// file that was set aside as much again.
    pub limit: u64,
    /// Milliseconds since 1970.
    pub clock: fn() -> i64,
}

/// An outbox. Cheap to ask from a request; dropped, it writes what it has and ends.
pub struct Outbox {
    shared: Arc<Shared>,
    clock: fn() -> i64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Queue<Command>,
    stats: Stats,
}

impl Outbox {
    /// Starts the thread, which opens the file. Where no thread is to be had, everything is added up in memory.
    pub fn start(settings: Settings) -> Self {
        let shared = Arc::new(Shared::default());
        let (for_thread, clock) = (Arc::clone(&shared), settings.clock);
        let spawned = std::thread::Builder::new()
            .name("ledger".into())
            .stack_size(STACK)
            .spawn(move || {
                Writer {
                    queue: &for_thread.queue,
                    stats: &for_thread.stats,
                    place: settings.folder.map_or(Place::Memory, Place::Folder),
                    limit: settings.limit,
                    clock,
                    store: None,
                }
                .run();
            });
        Self {
            shared,
            clock,
            thread: Mutex::new(spawned.ok()),
        }
    }

    /// Keeps a request's record.
    pub fn request(&self, record: &RequestRecord<'_>) {
        let at = (self.clock)();
        let is_kept = self.shared.queue.push(
            at,
            |out| text::request(out, record),
            || Some(sums::of_request_record(at, record)),
        );
        if !is_kept {
            self.shared.stats.spilled();
        }
    }

    /// Keeps an attempt's record.
    pub fn attempt(&self, record: &AttemptRecord<'_>) {
        let at = (self.clock)();
        let is_kept = self.shared.queue.push(
            at,
            |out| text::attempt(out, record),
            || Some(sums::of_attempt_record(at, record)),
        );
        if !is_kept {
            self.shared.stats.spilled();
        }
    }

    /// Keeps what a provider says of its own limits. Where there is no room it is given up: it is no sum of anything.
    pub fn headroom(&self, record: &HeadroomRecord<'_>) {
        let at = (self.clock)();
        self.shared.queue.push(at, |out| text::headroom(out, record), || None);
    }

    /// Asks for the oldest entries that the service has not taken; `reply` is called on the outbox's thread. What was offered
    /// once is offered again the same way until it is taken.
    pub fn offer(&self, most: Most, reply: impl FnOnce(Option<Offer>) + Send + 'static) {
        self.shared.queue.ask(Command::Offer(most, Box::new(reply)));
    }

    /// The service has everything up to this sequence.
    pub fn taken(&self, through: u64) {
        self.shared.queue.ask(Command::Taken(through));
    }

    /// The service expects this sequence next. `reply` is told how many sequences it will never get, as they are here no more.
    pub fn expected(&self, sequence: u64, reply: impl FnOnce(u64) + Send + 'static) {
        self.shared.queue.ask(Command::Expected(sequence, Box::new(reply)));
    }

    /// Reads entries that are here; `reply` is called on the outbox's thread, with nothing where they cannot be read now. What was
    /// pushed before is among them.
    pub fn read(&self, asked: Asked, reply: impl FnOnce(Option<Page>) + Send + 'static) {
        self.shared.queue.ask(Command::Read(asked, Box::new(reply)));
    }

    /// `reply` is told when what was pushed before is committed (`true`), or cannot be now.
    pub fn flush(&self, reply: impl FnOnce(bool) + Send + 'static) {
        self.shared.queue.ask(Command::Flush(Box::new(reply)));
    }

    /// Counts, for metrics.
    pub fn counts(&self) -> Counts {
        self.shared.stats.counts()
    }

    /// Bytes of entries that wait in memory for the next commit.
    pub fn queued(&self) -> usize {
        self.shared.queue.queued()
    }

    /// What is wrong with the file now; none: nothing is.
    pub fn problem(&self) -> Option<String> {
        self.shared.stats.problem()
    }

    /// Writes what there is, and ends the thread.
    pub fn close(&self) {
        self.shared.queue.close();
        let thread = locked(&self.thread).take();
        if let Some(thread) = thread {
            // It has said why, if it panicked.
            let _ = thread.join();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.close();
    }
}
