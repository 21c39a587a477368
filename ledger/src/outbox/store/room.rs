//! Keeping within the bound: the oldest detail becomes sums, and where sums alone are too many, they become sums over longer
//! spans. What the service was offered stays as it is.

use rusqlite::params;

use super::super::lines;
use super::super::sums::{Grain, fold};
use super::{Store, StoreError, as_i64, as_u64};

/// SQLite's pages, as it makes them where nobody says otherwise, bytes.
const PAGE: u64 = 4_096;

/// Bytes that a file grows by at most for a run of so many: every page that the run fills has a few bytes that it does not have, and
/// beside them there are the row's own page, the last one, and those of the tree above.
pub(super) fn most_used_by(lines: u64) -> u64 {
    lines + lines / 64 + 8 * PAGE
}

/// A run, read.
struct Run {
    first: u64,
    last: u64,
    at: i64,
    minutes: i64,
    lines: Vec<u8>,
}

impl Store {
    /// Folds until there is room again. Returns how many entries of detail became sums.
    pub(in super::super) fn make_room(&mut self) -> Result<u64, StoreError> {
        let mut folded = 0;
        // Asking how large the file is costs a fifth of a commit.
        if self.room > 0 {
            return Ok(folded);
        }
        loop {
            let pages = self.pages()?;
            self.room = self.limit.saturating_sub(pages);
            if pages <= self.limit {
                break;
            }
            let sums = self.bytes_where("minutes > 0")?;
            let are_many = sums > self.limit / 2;
            let is_done = (are_many && self.coarsen()?) || self.fold_detail(&mut folded)? || self.coarsen()?;
            // All that is left was offered, or is as short as it gets.
            if !is_done {
                break;
            }
        }
        Ok(folded)
    }

    /// Bytes of the file that are in use: what counts towards the bound, as rows leave parts of pages empty.
    fn pages(&self) -> Result<u64, StoreError> {
        let query = "SELECT (page_count - freelist_count) * page_size
            FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()";
        let bytes: i64 = self.db.prepare_cached(query)?.query_row([], |row| row.get(0))?;
        Ok(as_u64(bytes))
    }

    /// Folds the oldest detail, an eighth of the bound at once. Returns whether there was any.
    fn fold_detail(&mut self, folded: &mut u64) -> Result<bool, StoreError> {
        let detail = self.runs_where("minutes = 0", self.limit / 8)?;
        *folded += self.replace(&detail, Grain::Minute)?;
        Ok(!detail.is_empty())
    }

    /// Folds the sums into coarser ones. Returns whether that could be done.
    fn coarsen(&mut self) -> Result<bool, StoreError> {
        let all = self.runs_where("minutes > 0", u64::MAX)?;
        let finest = all.iter().map(|run| run.minutes).min().unwrap_or(0);
        let coarser = Grain::ALL.into_iter().find(|grain| grain.minutes() > finest);
        match coarser {
            Some(coarser) if !all.is_empty() => self.replace(&all, coarser).map(|_| true),
            _ => Ok(false),
        }
    }

    fn bytes_where(&self, which: &'static str) -> Result<u64, StoreError> {
        let query = format!("SELECT coalesce(sum(length(lines)), 0) FROM runs WHERE first > ?1 AND {which}");
        let bytes: i64 = self.db.query_row(&query, [as_i64(self.offered)], |row| row.get(0))?;
        Ok(as_u64(bytes))
    }

    /// The oldest runs of these that were not offered, until they are of so many bytes. Only such as follow one another.
    fn runs_where(&self, which: &'static str, bytes: u64) -> Result<Vec<Run>, StoreError> {
        let query =
            format!("SELECT first, last, at, minutes, lines FROM runs WHERE first > ?1 AND {which} ORDER BY first");
        let mut select = self.db.prepare_cached(&query)?;
        let mut rows = select.query([as_i64(self.offered)])?;
        let (mut runs, mut length) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            if length >= bytes {
                break;
            }
            let run = Run {
                first: as_u64(row.get(0)?),
                last: as_u64(row.get(1)?),
                at: row.get(2)?,
                minutes: row.get(3)?,
                lines: row.get(4)?,
            };
            length += run.lines.len() as u64;
            runs.push(run);
        }
        Ok(runs)
    }

    /// Puts one run of sums in the place of these. Returns how many entries they held.
    fn replace(&mut self, runs: &[Run], grain: Grain) -> Result<u64, StoreError> {
        let (Some(oldest), Some(newest)) = (runs.first(), runs.last()) else {
            return Ok(0);
        };
        let mut entries = Vec::new();
        for run in runs {
            entries.append(&mut lines::read(&run.lines).map_err(StoreError::Broken)?);
        }
        let count = entries.len();
        let written = lines::write(&fold(entries, grain));
        let before: usize = runs.iter().map(|run| run.lines.len()).sum();
        let change = self.db.unchecked_transaction()?;
        change.execute(
            "DELETE FROM runs WHERE first BETWEEN ?1 AND ?2",
            params![as_i64(oldest.first), as_i64(newest.first)],
        )?;
        self.insert(oldest.first, newest.last, newest.at, grain.minutes(), &written)?;
        change.commit()?;
        self.bytes = (self.bytes + written.len() as u64).saturating_sub(before as u64);
        Ok(count as u64)
    }
}
