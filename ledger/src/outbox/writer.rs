//! The outbox's thread: it alone touches the file. It takes what requests have queued, commits it, makes room, and answers what
//! the shipper asks. Whatever goes wrong with the file is counted, said once, and tried again; until then the queue fills, and
//! what does not fit is added up.

use std::time::Duration;

use super::lines::Most;
use super::queue::{Queue, Taken};
use super::stats::{Stats, Trouble};
use super::store::{Asked, Offer, Page, Place, Store, StoreError, set_aside};

/// How long entries are collected for one commit. With the commit itself, this is what a killed process loses at most; a slow
/// disk makes it longer, as a commit may wait for one.
pub const WINDOW: Duration = Duration::from_millis(80);
/// When to try again after trouble.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What the thread is asked to do.
pub(super) enum Command {
    /// To give the oldest entries.
    Offer(Most, Reply<Option<Offer>>),
    /// To forget what the service has, up to this sequence.
    Taken(u64),
    /// To go on from the sequence that the service expects; the reply says how many it will never get.
    Expected(u64, Reply<u64>),
    /// To read a page of entries.
    Read(Asked, Reply<Option<Page>>),
    /// To tell when everything that was there is committed, or cannot be.
    Flush(Reply<bool>),
}

/// Where an answer goes.
pub(super) type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// The thread's own.
pub(super) struct Writer<'q> {
    pub queue: &'q Queue<Command>,
    pub stats: &'q Stats,
    pub place: Place,
    pub limit: u64,
    /// Milliseconds since 1970.
    pub clock: fn() -> i64,
    pub store: Option<Store>,
}

impl Writer<'_> {
    /// Runs until the queue is closed.
    pub(super) fn run(mut self) {
        let mut taken = Taken::default();
        let mut is_well = self.attempt(|_| Ok(()));
        loop {
            let patience = (!is_well).then_some(TRY_AGAIN);
            self.queue.take(&mut taken, WINDOW, patience);
            is_well = self.commit(&mut taken);
            for command in std::mem::take(&mut taken.commands) {
                self.obey(command, is_well);
            }
            if taken.is_closed {
                return;
            }
        }
    }

    /// Commits what was taken. It stays where it is if that fails.
    fn commit(&mut self, taken: &mut Taken<Command>) -> bool {
        let now = (self.clock)();
        let mut counts = (0, 0);
        let is_well = self.attempt(|store| {
            counts.0 = store.append(&taken.queued, &taken.spilled, now)?;
            // From here on nothing of it may be written again.
            taken.written();
            counts.1 = store.make_room()?;
            Ok(())
        });
        self.stats.kept(counts.0);
        self.stats.folded(counts.1);
        is_well
    }

    fn obey(&mut self, command: Command, is_well: bool) {
        match command {
            Command::Offer(most, reply) => {
                let mut offer = None;
                self.attempt(|store| {
                    offer = store.offer(most)?;
                    Ok(())
                });
                reply(offer);
            }
            Command::Taken(through) => {
                self.attempt(|store| store.take(through));
            }
            Command::Expected(sequence, reply) => {
                let mut lost = 0;
                self.attempt(|store| {
                    lost = store.expect(sequence)?;
                    Ok(())
                });
                reply(lost);
            }
            Command::Read(asked, reply) => {
                let mut page = None;
                self.attempt(|store| {
                    page = Some(store.page(asked)?);
                    Ok(())
                });
                reply(page);
            }
            Command::Flush(reply) => reply(is_well),
        }
    }

    /// Does something with the file, which is opened where it is not. Returns whether it worked.
    fn attempt(&mut self, work: impl FnOnce(&mut Store) -> Result<(), StoreError>) -> bool {
        let result = self.opened().and_then(work);
        match result {
            Ok(()) => {
                self.stats.is_well();
                if let Some(store) = &self.store {
                    self.stats.stands(store.bytes(), store.taken());
                }
                true
            }
            Err(StoreError::NotNow(why)) => {
                self.stats.trouble(Trouble::NotWritten, &why);
                false
            }
            Err(StoreError::Broken(why)) => {
                self.stats.trouble(Trouble::Broken, &why);
                self.begin_anew();
                false
            }
        }
    }

    fn opened(&mut self) -> Result<&mut Store, StoreError> {
        if self.store.is_none() {
            let store = Store::open(&self.place, self.limit)?;
            tracing::info!(outbox = store.outbox(), bytes = store.bytes(), "ledger outbox opened");
            self.store = Some(store);
        }
        let missing = || StoreError::NotNow("it is not open".into());
        self.store.as_mut().ok_or_else(missing)
    }

    /// A file that is damaged is kept for a look, and a new one begins at the next attempt.
    fn begin_anew(&mut self) {
        self.store = None;
        let Place::Folder(folder) = &self.place else { return };
        match set_aside(folder) {
            Ok(kept) => tracing::warn!(kept = %kept.display(), "the ledger's damaged outbox is set aside"),
            Err(why) => self.stats.trouble(Trouble::NotWritten, &why.to_string()),
        }
    }
}
