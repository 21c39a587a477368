//! What is spent of budgets, in a file that outlives the container: a sidecar that starts again goes on with it.
//!
//! The file has sums and never requests. What is under way is in them at the most that it may cost, so that a sidecar which is killed
//! forgets no request that it had written of; it is written [`PAUSE`] after a change at the latest, and once more at the end, when
//! nothing is under way. No failure here is in anybody's way: it is said once, and the next change tries again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bowsprit_core::spend::book;
use bowsprit_core::spend::shared::purses::Owed;
use bowsprit_core::spend::window::Window;
use serde::{Deserialize, Serialize};

use super::Budgets;
use crate::files;

/// The file in the folder of the sidecar's own.
const FILE: &str = "budgets.json";
/// Beside it while it is written.
const UNFINISHED: &str = "budgets.json.new";
/// Between two writes. A sidecar that is killed forgets what was reserved in the last of these at the most.
const PAUSE: Duration = Duration::from_millis(200);
/// The most that the file may hold, bytes: thousands of budgets.
const MOST: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
struct File {
    budgets: Vec<Sum>,
    /// Of budgets that pods spend together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    owed: Vec<Debt>,
}

/// What was spent beyond what was lent, and is to be told.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Debt {
    name: String,
    of: String,
    window_begins: i64,
    owed_picodollars: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sum {
    name: String,
    window_begins: i64,
    window_ends: i64,
    spent_picodollars: u64,
}

/// What an earlier run has left in the folder `dir`; nothing where it left none, or where that cannot be read.
pub fn read(dir: &Path) -> (Vec<book::Kept>, Vec<Owed>) {
    let file = dir.join(FILE);
    if !file.exists() {
        return (Vec::new(), Vec::new());
    }
    let text = files::read(&file, MOST);
    let sums = text.and_then(|text| serde_json::from_str::<File>(&text).map_err(|error| error.to_string()));
    match sums {
        Ok(File { budgets, owed }) => (
            budgets.into_iter().map(Sum::into_kept).collect(),
            owed.into_iter().map(Debt::into_owed).collect(),
        ),
        Err(problem) => {
            tracing::warn!(file = %file.display(), problem, "what was spent cannot be read: budgets begin anew");
            (Vec::new(), Vec::new())
        }
    }
}

impl Debt {
    fn into_owed(self) -> Owed {
        Owed {
            full_name: self.name.into(),
            of: self.of.into(),
            window: self.window_begins,
            amount: self.owed_picodollars,
        }
    }

    fn of(owed: &Owed) -> Self {
        Self {
            name: owed.full_name.to_string(),
            of: owed.of.to_string(),
            window_begins: owed.window,
            owed_picodollars: owed.amount,
        }
    }
}

impl Sum {
    fn into_kept(self) -> book::Kept {
        book::Kept {
            full_name: self.name.into(),
            window: Window {
                begins: self.window_begins,
                ends: self.window_ends,
            },
            spent: self.spent_picodollars,
        }
    }

    fn of(kept: &book::Kept) -> Self {
        Self {
            name: kept.full_name.to_string(),
            window_begins: kept.window.begins,
            window_ends: kept.window.ends,
            spent_picodollars: kept.spent,
        }
    }
}

/// Writes what is spent into a folder.
pub struct Keeper {
    dir: PathBuf,
    budgets: Arc<Budgets>,
}

impl Keeper {
    /// Into `dir`.
    pub fn new(dir: PathBuf, budgets: Arc<Budgets>) -> Self {
        Self { dir, budgets }
    }

    /// Writes whatever changes. Ends never.
    pub async fn run(self: Arc<Self>) {
        let mut failed = false;
        loop {
            self.budgets.changed.notified().await;
            match self.write().await {
                Ok(()) => failed = false,
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(
                            dir = %self.dir.display(), %error,
                            "what is spent of budgets cannot be saved: until that works, a restart begins with what was saved last"
                        );
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes what is spent now: all of it under its name, or what was there stays.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub async fn write(&self) -> io::Result<()> {
        let (kept, owed) = self.budgets.to_keep();
        // Who has no budgets needs no file; who had some may come to have them again. What was owed and is paid is not to stay.
        if kept.is_empty() && owed.is_empty() && !self.dir.join(FILE).exists() {
            return Ok(());
        }
        let budgets = kept.iter().map(Sum::of).collect();
        let owed = owed.iter().map(Debt::of).collect();
        let unfinished = self.dir.join(UNFINISHED);
        tokio::fs::write(&unfinished, serde_json::to_vec(&File { budgets, owed })?).await?;
        tokio::fs::rename(&unfinished, self.dir.join(FILE)).await
    }
}

#[cfg(test)]
mod tests {
    use bowsprit_core::config::{Scope, load};
    use bowsprit_core::spend::book::Need;

    use super::*;
    use crate::metrics::Registry;
    use crate::tenant::budgets::BudgetMetrics;

    const DOCUMENTS: &str = "apiVersion: bowsprit.dev/v1alpha1\nkind: UsagePolicy\nmetadata: {name: shop}\nspec: {budgets: \
                             [{name: quarter, amount: '1', currency: USD, window: Custom, every: 2160h}]}\n";

    fn begun(dir: &Path) -> Arc<Budgets> {
        let budgets = Budgets::new(BudgetMetrics::register(&mut Registry::default()));
        let (kept, owed) = read(dir);
        budgets.begin_with(kept, owed);
        budgets.fit(&load(DOCUMENTS, &Scope::Standalone).unwrap());
        budgets
    }

    fn spent(budgets: &Budgets) -> (String, String) {
        let report = budgets.report().remove(0);
        (report.spent, report.reserved)
    }

    const DIME: Need = Need {
        most: 100_000_000_000,
        is_unknown: false,
    };

    #[tokio::test]
    async fn what_is_spent_and_what_is_under_way_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let budgets = begun(dir.path());
        assert_eq!(spent(&budgets), ("0".into(), "0".into()));
        let keeper = Keeper::new(dir.path().into(), Arc::clone(&budgets));
        let _under_way = budgets.try_take(DIME, None, false, false).unwrap();
        keeper.write().await.unwrap();
        assert_eq!(spent(&begun(dir.path())), ("0.1".into(), "0".into()));
    }

    #[tokio::test]
    async fn a_budget_that_is_away_is_in_the_file_too_also_where_it_was_when_the_sidecar_began() {
        let dir = tempfile::tempdir().unwrap();
        let budgets = begun(dir.path());
        let none = load("", &Scope::Standalone).unwrap();
        let _under_way = budgets.try_take(DIME, None, false, false).unwrap();
        budgets.fit(&none);
        Keeper::new(dir.path().into(), budgets).write().await.unwrap();
        let budgets = Budgets::new(BudgetMetrics::register(&mut Registry::default()));
        let (kept, owed) = read(dir.path());
        budgets.begin_with(kept, owed);
        budgets.fit(&none);
        Keeper::new(dir.path().into(), budgets).write().await.unwrap();
        assert_eq!(spent(&begun(dir.path())), ("0.1".into(), "0".into()));
    }

    #[tokio::test]
    async fn a_file_that_is_cut_anywhere_begins_anew_and_a_full_disk_leaves_what_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let budgets = begun(dir.path());
        let under_way = budgets.try_take(DIME, None, false, false).unwrap();
        let keeper = Keeper::new(dir.path().into(), Arc::clone(&budgets));
        keeper.write().await.unwrap();
        drop(under_way);
        std::os::unix::fs::symlink("/dev/full", dir.path().join(UNFINISHED)).unwrap();
        assert_eq!(keeper.write().await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(read(dir.path()).0.len(), 1);
        let file = dir.path().join(FILE);
        let whole = std::fs::read(&file).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&file, &whole[..length]).unwrap();
            assert_eq!(read(dir.path()).0, [], "{length} bytes of it");
        }
    }
}
