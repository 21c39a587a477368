//! What is seen of an outbox: counts for metrics, and words in the log when things change.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::locked;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The file cannot be written, or not be opened.
    NotWritten,
    /// The file is damaged.
    Broken,
}

/// Counts since the start, and how things stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests and attempts that were kept in detail.
    pub kept: u64,
    /// Entries that did not fit the queue and were added up.
    pub spilled: u64,
    /// Entries that were kept and then folded for room.
    pub folded: u64,
    /// Attempts to open or write the file that failed.
    pub not_written: u64,
    /// Damaged files that were set aside.
    pub broken: u64,
    /// Bytes of entries in the outbox.
    pub bytes: u64,
    /// The last sequence that the service has.
    pub taken: u64,
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Stats {
    kept: AtomicU64,
    spilled: AtomicU64,
    folded: AtomicU64,
    not_written: AtomicU64,
    broken: AtomicU64,
    bytes: AtomicU64,
    taken: AtomicU64,
    /// What was said last, until things are well again.
    said: Mutex<Option<String>>,
}

impl Stats {
    pub(super) fn kept(&self, entries: u64) {
        self.kept.fetch_add(entries, Ordering::Relaxed);
    }

    pub(super) fn spilled(&self) {
        self.spilled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn folded(&self, entries: u64) {
        self.folded.fetch_add(entries, Ordering::Relaxed);
    }

    pub(super) fn stands(&self, bytes: u64, taken: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.taken.store(taken, Ordering::Relaxed);
    }

    pub(super) fn is_well(&self) {
        let mut said = locked(&self.said);
        if said.take().is_some() {
            tracing::info!("the ledger's outbox is written again");
        }
    }

    /// Counted each time, said when it is another than before.
    pub(super) fn trouble(&self, trouble: Trouble, why: &str) {
        let (counter, what) = match trouble {
            Trouble::NotWritten => (
                &self.not_written,
                "the ledger's outbox cannot be written: until that works, entries wait in memory, and what finds no room there is added up",
            ),
            Trouble::Broken => (&self.broken, "the ledger's outbox is damaged: a new one is begun"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut said = locked(&self.said);
        if said.as_deref() != Some(why) {
            tracing::warn!(why, "{what}");
            *said = Some(why.to_owned());
        }
    }

    pub(super) fn problem(&self) -> Option<String> {
        locked(&self.said).clone()
    }

    pub(super) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            kept: of(&self.kept),
            spilled: of(&self.spilled),
            folded: of(&self.folded),
            not_written: of(&self.not_written),
            broken: of(&self.broken),
            bytes: of(&self.bytes),
            taken: of(&self.taken),
        }
    }
}
