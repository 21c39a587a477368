//! The budgets of a tenant's policies, and what is spent of them. They survive a reload, and a restart where there is a folder for
//! it ([`kept`]).
//!
//! The machine is pure ([`bowsprit_core::spend`]) and lives under one lock, held for arithmetic only, never across an await. Its
//! windows are of the calendar, so it is the wall clock that they hang on.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use bowsprit_core::config::Config;
use bowsprit_core::cost::{Picodollars, Unpriced};
use bowsprit_core::record::Spent;
use bowsprit_core::spend::book::{Beyond, Book, Budget, Kept, Level, Need, Reached, Reserved};
use serde::Serialize;
use tokio::sync::Notify;

use crate::sync::locked;
use crate::time::{rfc3339, unix_seconds};

pub mod kept;
mod metrics;

pub use metrics::{BudgetMetrics, Result as Met};

/// Budgets, and what is spent of each.
pub struct Budgets {
    book: Mutex<Book>,
    /// What an earlier run of this sidecar has spent.
    before: OnceLock<Vec<Kept>>,
    /// Something is to be kept.
    changed: Notify,
    /// What is counted.
    pub metrics: BudgetMetrics,
}

impl Budgets {
    /// Without any budget yet.
    pub fn new(metrics: BudgetMetrics) -> Arc<Self> {
        Arc::new(Self {
            book: Mutex::default(),
            before: OnceLock::new(),
            changed: Notify::new(),
            metrics,
        })
    }

    /// Goes on with what an earlier run has spent. To be called before any configuration.
    pub fn begin_with(&self, kept: Vec<Kept>) {
        let _ = self.before.set(kept);
    }

    /// Takes the budgets of this configuration, and keeps what is spent of those that stay.
    pub fn fit(&self, config: &Config) {
        let all: Vec<Arc<Budget>> = config.budgets().map(Arc::clone).collect();
        let before = self.before.get().map_or(&[][..], Vec::as_slice);
        locked(&self.book).reconfigure(&all, before, unix_seconds());
        self.changed.notify_one();
    }

    /// Reserves what a request may cost under all budgets, or under none. `is_diverted`: it goes where one led it.
    ///
    /// # Errors
    /// The budget that says what follows, as it stands.
    pub fn take(self: &Arc<Self>, need: Need, is_diverted: bool) -> Result<Guard, Box<Level>> {
        let taken = locked(&self.book).take(need, is_diverted, unix_seconds());
        let taken = taken.map_err(Box::new)?;
        for budget in &taken.over {
            if budget.beyond == Beyond::Warn {
                self.metrics.met(&budget.full_name, Met::Over);
            }
        }
        self.changed.notify_one();
        Ok(Guard {
            budgets: Arc::clone(self),
            reserved: Some(taken.reserved),
            used: Mutex::default(),
        })
    }

    fn settle(&self, reserved: Reserved, cost: u64) {
        let reached = locked(&self.book).settle(reserved, cost, unix_seconds());
        self.changed.notify_one();
        for Reached { percent, level } in reached {
            tracing::warn!(
                budget = &*level.budget.full_name,
                percent,
                spent = %dollars(level.spent),
                amount = %dollars(level.budget.amount),
                window_ends = rfc3339(level.window.ends),
                "so much of a budget is spent"
            );
        }
    }

    /// Each budget for `/health`.
    pub fn report(&self) -> Vec<BudgetReport> {
        let levels = locked(&self.book).levels(unix_seconds());
        levels.iter().map(BudgetReport::of).collect()
    }

    /// How much of each is spent, as a share of its amount, for the metrics.
    pub fn observe(&self) {
        let levels = locked(&self.book).levels(unix_seconds());
        self.metrics.spent(levels.iter().map(|level| {
            let share = level.spent as f64 / level.budget.amount as f64;
            (&level.budget.full_name, share)
        }));
    }

    fn to_keep(&self) -> Vec<Kept> {
        locked(&self.book).to_keep()
    }
}

/// Picodollars as an amount of money.
pub fn dollars(picodollars: u64) -> Picodollars {
    Picodollars::new(i64::try_from(picodollars).unwrap_or(i64::MAX))
}

/// A budget at `/health`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetReport {
    /// The policy's name and its own.
    pub name: String,
    /// US dollars of a window, as decimal text.
    pub amount: String,
    /// Of these, what is spent in the window that runs.
    pub spent: String,
    /// And what is reserved for requests under way.
    pub reserved: String,
    /// When the window began.
    pub window_began: String,
    /// When the next begins.
    pub window_ends: String,
}

impl BudgetReport {
    fn of(level: &Level) -> Self {
        Self {
            name: level.budget.full_name.to_string(),
            amount: dollars(level.budget.amount).to_string(),
            spent: dollars(level.spent).to_string(),
            reserved: dollars(level.reserved).to_string(),
            window_began: rfc3339(level.window.begins),
            window_ends: rfc3339(level.window.ends),
        }
    }
}

/// What a request's attempts have cost until now.
#[derive(Default)]
struct Used {
    cost: u64,
    /// Of an attempt nobody knows what it cost.
    unknown: bool,
}

/// What is reserved for a request, once however many attempts it makes. It is shared by the request and its attempts, and the last
/// of them that ends settles it: with what all attempts cost, or, where none was made, with nothing at all.
pub struct Guard {
    budgets: Arc<Budgets>,
    reserved: Option<Reserved>,
    used: Mutex<Used>,
}

impl Guard {
    /// An attempt has ended and cost so much.
    pub fn attempt(&self, spent: &Spent, cost: Result<Picodollars, Unpriced>) {
        let mut used = locked(&self.used);
        if spent.is_nothing {
            return;
        }
        used.unknown |= cost.is_err();
        let cost = u64::try_from(cost.unwrap_or_default().get()).unwrap_or(0);
        used.cost = used.cost.saturating_add(cost);
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("reserved", &self.reserved)
            .finish_non_exhaustive()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(reserved) = self.reserved.take() else { return };
        let used = std::mem::take(&mut *locked(&self.used));
        // Where nobody knows, the reserve stands.
        let mut cost = used.cost;
        if used.unknown {
            cost = cost.saturating_add(reserved.amount());
        }
        self.budgets.settle(reserved, cost);
    }
}
