//! Where the ledger is kept. Two engines, one meaning: [`sqlite`] (a file on a volume, or memory) and `postgres`; one set of tests holds both to
//! it.
//!
//! What is to be written is decided by pure code ([`take`], [`rows`], [`text`]); an engine runs it in one transaction.

pub mod closed;
mod configs;
mod fill;
mod old;
mod pace;
#[cfg(feature = "service")]
pub mod postgres;
pub mod rows;
pub mod sqlite;
pub mod tables;
pub mod take;
pub mod text;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::schema::{CannotMigrate, Engine};
use crate::wire::{Batch, Refused, Taken};

/// Who sends, by its token and by nothing that a batch says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's service account.
    pub service_account: String,
}

/// A batch with its sender.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Who sends.
    pub identity: Identity,
    /// What.
    pub batch: Batch,
}

/// What becomes of a batch.
pub type Answer = Result<Taken, Refused>;

/// What a cell holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// Nothing.
    Null,
    /// A whole number.
    Int(i64),
    /// Text, as [`text::kept`] makes it.
    Text(String),
}

impl Value {
    /// The number; 0 where there is none.
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            Self::Null | Self::Text(_) => 0,
        }
    }

    /// The number, where there is one.
    pub fn maybe_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Null | Self::Text(_) => None,
        }
    }

    /// The text as it was told, before it was kept; empty where there is none.
    pub fn told(&self) -> String {
        match self {
            Self::Text(kept) => text::told(kept),
            Self::Null | Self::Int(_) => String::new(),
        }
    }
}

/// Cells in the order of the query's columns.
pub type Row = Vec<Value>;

/// A query with a name for the log of slow ones. Its parameters are `$1`, `$2`, ...: what was told never becomes part of the text.
#[derive(Clone, Debug)]
pub struct Query {
    /// For the log and the metric.
    pub name: &'static str,
    /// The same for both engines.
    pub sql: String,
    /// Its parameters.
    pub parameters: Vec<Value>,
}

/// How long what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Rows of requests, attempts and rate limits.
    pub detail: Duration,
    /// Sums over minutes.
    pub minutes: Duration,
    /// Sums over hours and days.
    pub hours: Duration,
    /// How far a silent outbox was taken. Longer than a pod may live without a request.
    pub outboxes: Duration,
}

impl Keep {
    /// The begin of the oldest sums that are kept for `age`, seconds since 1970. It is the begin of a day, so that a day's sum never
    /// tells of an hour that is gone.
    pub(crate) fn oldest_sums(age: Duration, now: i64) -> i64 {
        let oldest = now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)) / 1000;
        oldest - oldest.rem_euclid(tables::DAY)
    }
}

impl Default for Keep {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        Self {
            detail: days(30),
            minutes: days(crate::query::MINUTES_KEPT.unsigned_abs()),
            hours: days(400),
            outboxes: days(400),
        }
    }
}

/// Why a store did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, is full or is stopping: the same may succeed later.
    #[error("the {0:?} store does not answer: {1}")]
    Unavailable(Engine, String),
    /// It gave up on this, or we on it: less at a time may succeed.
    #[error("the {0:?} store takes too long: {1}")]
    TooSlow(Engine, String),
    /// It does not take this: the same fails again.
    #[error("the {0:?} store refuses it: {1}")]
    Refused(Engine, String),
    /// Its schema is not this release's.
    #[error(transparent)]
    Schema(#[from] CannotMigrate),
}

impl Error {
    /// Whether the same may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable(..) | Self::TooSlow(..))
    }
}

/// What became of a clean-up.
#[derive(Debug, Default)]
pub struct Retired {
    /// Rows and partitions that went.
    pub rows: u64,
    /// Why something is still there that is too old: the first reason of perhaps several. The next clean-up tries again.
    pub failed: Option<Error>,
    /// Rows of the smallest piece that there was since the store was slow; `None`: it never was.
    pub smallest: Option<usize>,
}

/// What became of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// There was nothing to be filled.
    Nothing,
    /// So many rows were made, and its time was over before all were: the next goes on from there.
    Part(u64),
    /// So many rows were made, and these were the last.
    All(u64),
}

impl Filling {
    /// Rows that were made.
    pub fn rows(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Part(rows) | Self::All(rows) => rows,
        }
    }
}

impl Retired {
    fn failed(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }

    /// How many went, if all that is too old did.
    pub fn all(self) -> Result<u64, Error> {
        self.failed.map_or(Ok(self.rows), Err)
    }
}

/// An engine. Times are passed in: milliseconds since 1970.
pub trait Store: Send + Sync + 'static {
    /// Which it is.
    fn engine(&self) -> Engine;

    /// Takes a group of batches in one transaction: all that is new in them, or nothing. The answers are in their order.
    fn take(&self, arrivals: Arc<Vec<Arrival>>, now: i64) -> BoxFuture<'_, Result<Vec<Answer>, Error>>;

    /// Reads.
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, Error>>;

    /// Runs these statements in one transaction: what is made of rows that are there, and can be made again.
    fn note(&self, statements: Vec<Query>) -> BoxFuture<'_, Result<(), Error>>;

    /// Notes that an object was applied; once for the same change, of which the user who asked last is kept.
    fn note_config(&self, row: Row) -> BoxFuture<'_, Result<(), Error>>;

    /// Brings the schema to a version ([`crate::schema::LATEST`] to work with it) and says the one it was at. Does not leave a part of what is
    /// to be filled to a release that would take it for all: [`CannotMigrate::NotFilled`].
    fn migrate(&self, to: u32, now: i64) -> BoxFuture<'_, Result<u32, Error>>;

    /// Makes what steps of the schema make of rows that were there before them, in pieces, each for itself: batches are taken in between.
    /// Begins no piece once it is at it for `most`, but makes one in any case. What is interrupted goes on where it was.
    fn fill(&self, most: Duration) -> BoxFuture<'_, Result<Filling, Error>>;

    /// Drops what is older than it is kept, in pieces, each for itself: batches are taken in between.
    fn retain(&self, keep: Keep, now: i64) -> BoxFuture<'_, Retired>;
}
