//! The outbox's SQLite: runs of numbered lines, and how far the service has them. One row is all that one commit brought, so
//! that an entry costs its bytes and not a row. All values are bound; none is ever part of a statement.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};

use super::lines::{self, Cut, Most, Numbering};
use super::sums::Sums;
use crate::entry::Entry;

mod page;
mod room;

pub use page::{Asked, Page};

/// The layout of the tables.
const LAYOUT: i64 = 1;
/// The file in its folder.
const FILE: &str = "outbox.db";
/// What it is called when it cannot be used; only the newest such file is kept.
const BROKEN: &str = "outbox.db.broken";
/// At each start so many sequences are left out. After a crash of the node the file may lack its last commits, which the
/// service may have taken: a sequence must never stand for two entries.
const LEAP: u64 = 1 << 20;
/// How long another process's lock is waited for.
const LOCK_PATIENCE: Duration = Duration::from_millis(50);

const SET_UP: &str = "
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -256;
PRAGMA wal_autocheckpoint = 256;
PRAGMA journal_size_limit = 1048576;
";

const CREATE: &str = "
BEGIN IMMEDIATE;
CREATE TABLE about (
  id INTEGER PRIMARY KEY CHECK (id = 1), outbox TEXT NOT NULL, offered INTEGER NOT NULL, taken INTEGER NOT NULL,
  next INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE TABLE runs (
  first INTEGER PRIMARY KEY, last INTEGER NOT NULL, at INTEGER NOT NULL, minutes INTEGER NOT NULL, lines BLOB NOT NULL) STRICT;
PRAGMA user_version = 1;
";

/// Where sequences were left out, so that these are not told as lost. Not of the layout: a release that knows no such table leaves it.
const LEAPS: &str = "CREATE TABLE IF NOT EXISTS leaps (first INTEGER PRIMARY KEY) STRICT";
/// Leaps that are remembered, the newest.
const MOST_LEAPS: i64 = 4_096;

/// Where an outbox is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file in this folder.
    Folder(PathBuf),
    /// In memory: it ends with the process.
    Memory,
}

/// What is wrong with the file, or around it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreError {
    /// It holds what no outbox does.
    #[error("{0}")]
    Broken(String),
    /// It cannot be written now: no room, a lock, the folder.
    #[error("{0}")]
    NotNow(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use ErrorCode::{ConstraintViolation, DatabaseCorrupt, NotADatabase, Unknown};
        match error.sqlite_error_code() {
            // `Unknown` is a statement that does not fit the tables, no code a value that does not: they are of another make.
            None | Some(DatabaseCorrupt | NotADatabase | ConstraintViolation | Unknown) => {
                Self::Broken(error.to_string())
            }
            Some(_) => Self::NotNow(error.to_string()),
        }
    }
}

/// A run of lines for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which outbox.
    pub outbox: String,
    /// The first sequence that it speaks for.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// How many entries.
    pub entries: usize,
    /// The entries as JSON, with commas between.
    pub joined: Vec<u8>,
}

/// An open outbox.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    outbox: String,
    numbering: Numbering,
    offered: u64,
    taken: u64,
    /// Bytes of lines.
    bytes: u64,
    /// Bytes of the file beyond which they are folded.
    limit: u64,
    /// Bytes that there is room for whatever they are: until they are written, the file need not be looked at.
    room: u64,
}

/// A number as SQLite has them.
fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn as_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Store {
    /// Opens what is there, or begins.
    pub(super) fn open(place: &Place, limit: u64) -> Result<Self, StoreError> {
        let db = match place {
            Place::Memory => Connection::open_in_memory()?,
            Place::Folder(folder) => {
                let flags =
                    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                std::fs::create_dir_all(folder).map_err(|error| not_now(folder, &error))?;
                Connection::open_with_flags(folder.join(FILE), flags)?
            }
        };
        db.busy_timeout(LOCK_PATIENCE)?;
        db.execute_batch(SET_UP)?;
        let layout: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if layout == 0 && tables == 0 {
            begin(&db)?;
        } else if layout != LAYOUT {
            return Err(StoreError::Broken(format!("its layout is {layout}, not {LAYOUT}")));
        } else {
            let check: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if check != "ok" {
                return Err(StoreError::Broken(check));
            }
        }
        Self::take_up(db, limit, layout == LAYOUT)
    }

    fn take_up(db: Connection, limit: u64, is_old: bool) -> Result<Self, StoreError> {
        let about = "SELECT outbox, offered, taken, next, at FROM about WHERE id = 1";
        let (outbox, offered, taken, next, at): (String, i64, i64, i64, i64) = db.query_row(about, [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?;
        let runs = "SELECT coalesce(max(last), 0), coalesce(max(at), 0), coalesce(sum(length(lines)), 0) FROM runs";
        let (last, last_at, bytes): (i64, i64, i64) =
            db.query_row(runs, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let next = as_u64(next).max(as_u64(last) + 1);
        let mut store = Self {
            db,
            outbox,
            numbering: Numbering {
                next,
                at: at.max(last_at),
            },
            offered: as_u64(offered),
            taken: as_u64(taken),
            bytes: as_u64(bytes),
            limit,
            room: 0,
        };
        store.db.execute_batch(LEAPS)?;
        if is_old {
            store.leap(next)?;
        }
        Ok(store)
    }

    /// Leaves sequences out from `first` on.
    fn leap(&mut self, first: u64) -> Result<(), StoreError> {
        self.numbering.next = first.saturating_add(LEAP);
        let Numbering { next, at } = self.numbering;
        let change = self.db.unchecked_transaction()?;
        change.execute("INSERT OR IGNORE INTO leaps (first) VALUES (?1)", [as_i64(first)])?;
        let old = "DELETE FROM leaps WHERE first <= (SELECT first FROM leaps ORDER BY first DESC LIMIT 1 OFFSET ?1)";
        change.execute(old, [MOST_LEAPS])?;
        change.execute(
            "UPDATE about SET next = ?1, at = ?2 WHERE id = 1",
            params![as_i64(next), at],
        )?;
        change.commit()?;
        Ok(())
    }

    /// Which outbox it is.
    pub(super) fn outbox(&self) -> &str {
        &self.outbox
    }

    /// Bytes of entries in it.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last sequence that the service has.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Keeps entries, and sums of those that were not kept. All or nothing. Returns how many requests and attempts were kept.
    pub(super) fn append(&mut self, queued: &[u8], sums: &Sums, now: i64) -> Result<u64, StoreError> {
        let mut numbering = self.numbering;
        let mut written = Vec::with_capacity(queued.len() + queued.len() / 8);
        let mut kept = 0;
        for (at, text) in lines::framed(queued) {
            numbering.line(&mut written, at, text);
            kept += u64::from(super::text::is_counted(text));
        }
        for sum in sums.iter() {
            numbering.entry(&mut written, now, &Entry::Sum(Box::new(sum.clone())));
        }
        if written.is_empty() {
            return Ok(0);
        }
        self.insert(self.numbering.next, numbering.next - 1, numbering.at, 0, &written)?;
        self.numbering = numbering;
        self.bytes += written.len() as u64;
        self.room = self.room.saturating_sub(room::most_used_by(written.len() as u64));
        Ok(kept)
    }

    fn insert(&self, first: u64, last: u64, at: i64, minutes: i64, lines: &[u8]) -> Result<(), StoreError> {
        let insert = "INSERT INTO runs (first, last, at, minutes, lines) VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = params![as_i64(first), as_i64(last), at, minutes, lines];
        self.db.prepare_cached(insert)?.execute(values)?;
        Ok(())
    }

    /// The oldest entries that the service has not taken, as many as may be. From here on they are never folded: they may
    /// arrive whatever is heard of it.
    pub(super) fn offer(&mut self, most: Most) -> Result<Option<Offer>, StoreError> {
        let (mut cut, mut to) = (Cut::default(), self.taken);
        {
            let mut runs = self
                .db
                .prepare_cached("SELECT last, lines FROM runs WHERE last > ?1 ORDER BY first")?;
            let mut rows = runs.query([as_i64(self.taken)])?;
            while let Some(row) = rows.next()? {
                let (last, lines): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                if !cut.take(&lines, self.taken, most) {
                    to = to.max(cut.last);
                    break;
                }
                to = as_u64(last);
            }
        }
        if to <= self.taken {
            return Ok(None);
        }
        if to > self.offered {
            self.note_offered(to)?;
        }
        Ok(Some(Offer {
            outbox: self.outbox.clone(),
            from: self.taken + 1,
            to,
            entries: cut.entries,
            joined: cut.joined,
        }))
    }

    /// On the disk before anything goes out, and all entries with it: after a crash of the node what the service may have is neither
    /// folded nor given out under other sequences.
    fn note_offered(&mut self, to: u64) -> Result<(), StoreError> {
        let update = "UPDATE about SET offered = ?1 WHERE id = 1";
        self.db.execute_batch("PRAGMA synchronous = FULL")?;
        let noted = self.db.prepare_cached(update)?.execute([as_i64(to)]);
        self.db.execute_batch("PRAGMA synchronous = NORMAL")?;
        noted?;
        self.offered = to;
        Ok(())
    }

    /// The service has everything up to here.
    pub(super) fn take(&mut self, through: u64) -> Result<(), StoreError> {
        let through = through.min(self.numbering.next - 1);
        if through <= self.taken {
            return Ok(());
        }
        let gone = "SELECT coalesce(sum(length(lines)), 0) FROM runs WHERE last <= ?1";
        let gone: i64 = self.db.query_row(gone, [as_i64(through)], |row| row.get(0))?;
        let change = self.db.unchecked_transaction()?;
        change.execute("DELETE FROM runs WHERE last <= ?1", [as_i64(through)])?;
        let update = "UPDATE about SET taken = ?1, next = ?2, at = ?3 WHERE id = 1";
        let Numbering { next, at } = self.numbering;
        change.execute(update, params![as_i64(through), as_i64(next), at])?;
        change.commit()?;
        self.taken = through;
        self.bytes = self.bytes.saturating_sub(as_u64(gone));
        Ok(())
    }

    /// The service expects this sequence next. Returns how many sequences it will never get, of those that ever stood for something:
    /// they are here no more.
    pub(super) fn expect(&mut self, sequence: u64) -> Result<u64, StoreError> {
        if sequence == 0 || sequence > self.numbering.next {
            // It knows of more than was ever given here: another's. Begun anew under a name of its own, from the start.
            let (outbox, update) = (
                new_outbox(),
                "UPDATE about SET outbox = ?1, offered = 0, taken = 0 WHERE id = 1",
            );
            self.db.execute(update, [&outbox])?;
            (self.outbox, self.offered, self.taken) = (outbox, 0, 0);
            return Ok(0);
        }
        if sequence > self.taken {
            self.take(sequence - 1)?;
            return Ok(0);
        }
        let oldest = "SELECT min(first) FROM runs";
        let oldest: Option<i64> = self.db.query_row(oldest, [], |row| row.get(0)).optional()?.flatten();
        let oldest = oldest.map_or(self.numbering.next, as_u64);
        let update = "UPDATE about SET taken = ?1 WHERE id = 1";
        self.db.execute(update, [as_i64(sequence - 1)])?;
        self.taken = sequence - 1;
        let leaps = "SELECT count(*) FROM leaps WHERE first >= ?1 AND first < ?2";
        let leaps: i64 = self
            .db
            .query_row(leaps, [as_i64(sequence), as_i64(oldest)], |row| row.get(0))?;
        let left_out = as_u64(leaps).saturating_mul(LEAP);
        Ok(oldest.saturating_sub(sequence).saturating_sub(left_out))
    }
}

/// Makes the tables of a new outbox.
fn begin(db: &Connection) -> Result<(), StoreError> {
    db.execute_batch(CREATE)?;
    let insert = "INSERT INTO about (id, outbox, offered, taken, next, at) VALUES (1, ?1, 0, 0, 1, 0)";
    db.execute(insert, [new_outbox()])?;
    db.execute_batch("COMMIT")?;
    Ok(())
}

/// The name of a new outbox: 128 random bits in hex.
fn new_outbox() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn not_now(folder: &Path, error: &std::io::Error) -> StoreError {
    StoreError::NotNow(format!("{}: {error}", folder.display()))
}

/// Takes a file that cannot be used out of the way; the one before it goes.
pub(super) fn set_aside(folder: &Path) -> Result<PathBuf, StoreError> {
    let broken = folder.join(BROKEN);
    std::fs::rename(folder.join(FILE), &broken).map_err(|error| not_now(folder, &error))?;
    for rest in ["-wal", "-shm"] {
        // Without its file a log is of no use, and to the next file it would be poison.
        let _ = std::fs::remove_file(folder.join(format!("{FILE}{rest}")));
    }
    Ok(broken)
}
