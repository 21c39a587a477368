//! Reading what an outbox holds without giving it out: nothing is noted, so that it may still be folded. In pages, each bounded,
//! as the thread that writes is the one that reads.

use rusqlite::params;

use super::super::lines::{self, Cut, Most};
use super::{Offer, Store, StoreError, as_i64, as_u64};

/// Which entries are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Those after this sequence.
    pub after: u64,
    /// Those that ended since, milliseconds since 1970. Entries of one commit stay together: a few older ones may be among them.
    pub since: i64,
    /// How many at most; one always.
    pub most: Most,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, oldest first. It speaks for all sequences from the one that was asked for on.
    pub run: Offer,
    /// Whether there are more behind them.
    pub more: bool,
    /// When the oldest entry ended that is kept in detail, milliseconds since 1970; none: there is none.
    pub detail_since: Option<i64>,
    /// Whether older entries are kept as sums.
    pub has_sums: bool,
    /// The last sequence that the ledger service has: those are here no more. 0: it has none.
    pub taken: u64,
}

impl Store {
    /// Reads a page.
    pub(in super::super) fn page(&self, asked: Asked) -> Result<Page, StoreError> {
        let (mut cut, mut to, mut more) = (Cut::default(), asked.after, false);
        let select = "SELECT last, lines FROM runs WHERE last > ?1 AND at >= ?2 ORDER BY first";
        let mut runs = self.db.prepare_cached(select)?;
        let mut rows = runs.query(params![as_i64(asked.after), asked.since])?;
        while let Some(row) = rows.next()? {
            let (last, lines): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            if !cut.take(&lines, asked.after, asked.most) {
                (to, more) = (to.max(cut.last), true);
                break;
            }
            to = as_u64(last);
        }
        Ok(Page {
            run: Offer {
                outbox: self.outbox.clone(),
                from: asked.after.saturating_add(1),
                to,
                entries: cut.entries,
                joined: cut.joined,
            },
            more,
            detail_since: self.detail_since()?,
            has_sums: self.has_sums()?,
            taken: self.taken,
        })
    }

    fn detail_since(&self) -> Result<Option<i64>, StoreError> {
        let select = "SELECT lines FROM runs WHERE minutes = 0 AND last > ?1 ORDER BY first LIMIT 1";
        let mut oldest = self.db.prepare_cached(select)?;
        let mut rows = oldest.query([as_i64(self.taken)])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let run: Vec<u8> = row.get(0)?;
        let first = lines::split(&run).next().unwrap_or_default();
        let first = lines::read(first).map_err(StoreError::Broken)?;
        Ok(first.first().map(|entry| entry.at))
    }

    fn has_sums(&self) -> Result<bool, StoreError> {
        let query = "SELECT EXISTS (SELECT 1 FROM runs WHERE minutes > 0)";
        Ok(self.db.prepare_cached(query)?.query_row([], |row| row.get(0))?)
    }
}
