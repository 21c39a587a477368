//! The budgets of a tenant's policies, and what is spent of them. They survive a reload, and a restart where there is a folder for
//! it ([`kept`]).
//!
//! The machine is pure ([`bowsprit_core::spend`]) and lives under one lock, held for arithmetic only, never across an await. Its
//! windows are of the calendar, so it is the wall clock that they hang on.

use std::fmt;
use std::sync::{Arc, Mutex};

use bowsprit_core::config::Config;
use bowsprit_core::cost::{Picodollars, Unpriced};
use bowsprit_core::limits::bill::Bill;
use bowsprit_core::limits::limiter;
use bowsprit_core::record::Spent;
use bowsprit_core::reserve::Most;
use bowsprit_core::spend::book::{Beyond, Budget, Kept, Level, Need, Reached, Spenders};
use bowsprit_core::spend::shared::purses::{Held, Owed, Standing};
use bowsprit_core::spend::spending::{AllReserved, Refused, Spending};
use serde::Serialize;
use tokio::sync::Notify;

use crate::sync::locked;
use crate::time::{rfc3339, unix_millis, unix_seconds};

mod borrowing;
pub mod kept;
mod metrics;
mod shared;

pub use metrics::{BudgetMetrics, Result as Met};
pub use shared::Pocket;
use shared::Shared;

/// Budgets, and what is spent of each.
pub struct Budgets {
    book: Mutex<Spending>,
    /// What is about budgets that pods spend together.
    pub shared: Shared,
    /// Something is to be kept.
    changed: Notify,
    /// What is counted.
    pub metrics: BudgetMetrics,
}

impl Budgets {
    /// Without any budget yet.
    pub fn new(metrics: BudgetMetrics) -> Arc<Self> {
        Arc::new(Self {
            book: Mutex::new(Spending::new(fastrand::u64(..))),
            shared: Shared::default(),
            changed: Notify::new(),
            metrics,
        })
    }

    /// Goes on with what an earlier run has spent. To be called before any configuration.
    pub fn begin_with(&self, kept: Vec<Kept>, owed: Vec<Owed>) {
        let mut spending = locked(&self.book);
        spending.book.begin_with(kept);
        spending.purses.begin_with(owed);
    }

    /// Takes the budgets of this configuration, and keeps what is spent of those that stay.
    pub fn fit(&self, config: &Config) {
        let own = config.budgets().filter(|budget| budget.per == Spenders::Pod);
        let own: Vec<Arc<Budget>> = own.map(Arc::clone).collect();
        let wanted = self.shared.wanted(config);
        let mut spending = locked(&self.book);
        spending.book.reconfigure(&own, unix_seconds());
        spending.purses.reconfigure(&wanted, now());
        drop(spending);
        self.shared.look_again();
        self.changed.notify_one();
    }

    /// Reserves what a request of this route may cost under all budgets, or under none. `is_diverted`: it goes where one led it.
    /// Where pods spend one together, it may have to wait for the operator first.
    ///
    /// # Errors
    /// The budget that says what follows, as it stands.
    pub async fn take(
        self: &Arc<Self>,
        need: Need,
        route: Option<&str>,
        is_diverted: bool,
    ) -> Result<Guard, Box<Held>> {
        match self.try_take(need, route, is_diverted, self.shared.is_alone()) {
            Ok(guard) => Ok(guard),
            Err(Refused::Held(held)) => Err(Box::new(held)),
            Err(Refused::Asks) => self.wait(need, route, is_diverted).await,
        }
    }

    fn try_take(
        self: &Arc<Self>,
        need: Need,
        route: Option<&str>,
        is_diverted: bool,
        is_tired: bool,
    ) -> Result<Guard, Refused> {
        let taken = locked(&self.book).take(need, route, is_diverted, is_tired, now())?;
        for budget in &taken.over {
            if budget.beyond == Beyond::Warn {
                self.metrics.met(&budget.full_name, Met::Over);
            }
        }
        if taken.asks {
            self.shared.urgent.notify_one();
        }
        self.changed.notify_one();
        Ok(Guard {
            budgets: Arc::clone(self),
            reserved: Some(taken.reserved),
            bill: Mutex::default(),
        })
    }

    fn settle(&self, reserved: AllReserved, cost: u64) {
        let reached = locked(&self.book).settle(reserved, cost, now());
        self.changed.notify_one();
        for Reached { percent, level } in reached {
            tell(percent, &level);
        }
    }

    /// Something did cost so much for which nobody reserved: what a batch used, whose results pass by.
    pub fn spend(&self, cost: Picodollars) {
        // Sums stay at the most that an i64 holds; none is given back.
        let cost = u64::try_from(cost.get().max(0)).unwrap_or(u64::MAX);
        if cost == 0 {
            return;
        }
        let reached = locked(&self.book).charge(cost, None, now());
        self.changed.notify_one();
        for Reached { percent, level } in reached {
            tell(percent, &level);
        }
    }

    /// Each budget for `/health`.
    pub fn report(&self) -> Vec<BudgetReport> {
        let mut spending = locked(&self.book);
        let own = spending.book.levels(unix_seconds());
        let shared = spending
            .purses
            .standings(now())
            .map(|standing| BudgetReport::of_all(&standing));
        own.iter().map(BudgetReport::of).chain(shared).collect()
    }

    /// How much of each is spent, as a share of its amount, for the metrics. Of one that each route has for itself, of the route
    /// that has spent most.
    pub fn observe(&self) {
        let mut spending = locked(&self.book);
        let mut levels = spending.book.levels(unix_seconds());
        levels.extend(spending.purses.standings(now()).map(|standing| standing.level));
        drop(spending);
        levels.sort_by_key(|level| level.spent);
        self.metrics.spent(levels.iter().map(|level| {
            let share = level.spent as f64 / level.budget.amount as f64;
            (&level.budget.full_name, share)
        }));
    }

    fn to_keep(&self) -> (Vec<Kept>, Vec<Owed>) {
        let spending = locked(&self.book);
        let owed = spending.purses.owed(now());
        (spending.book.to_keep(), owed.collect())
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    i64::try_from(unix_millis()).unwrap_or(i64::MAX)
}

/// So much of a budget is spent.
fn tell(percent: u32, level: &Level) {
    tracing::warn!(
        budget = &*level.budget.full_name,
        percent,
        spent = %dollars(level.spent),
        amount = %dollars(level.budget.amount),
        window_ends = rfc3339(level.window.ends),
        "so much of a budget is spent"
    );
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
    /// Of one that pods spend together, what is about this pod: `spent` is then of all.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedReport>,
}

/// A budget that pods spend together at `/health`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedReport {
    /// Who spends it together with this pod, such as `Deployment/checkout`; empty: all of the namespace.
    pub of: String,
    /// What this pod was lent in the window.
    pub lent: String,
    /// Of that, what it has spent.
    pub spent_here: String,
    /// No operator answers.
    pub is_without_operator: bool,
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
            shared: None,
        }
    }

    fn of_all(standing: &Standing) -> Self {
        Self {
            shared: Some(SharedReport {
                of: standing.of.to_string(),
                lent: dollars(standing.held).to_string(),
                spent_here: dollars(standing.spent_here).to_string(),
                is_without_operator: standing.is_without,
            }),
            ..Self::of(&standing.level)
        }
    }
}

/// What is reserved for a request, once however many attempts it makes. It is shared by the request and its attempts, and the last
/// of them that ends settles it: with what all attempts cost, or, where none was made, with nothing at all.
pub struct Guard {
    budgets: Arc<Budgets>,
    reserved: Option<AllReserved>,
    bill: Mutex<Bill>,
}

impl Guard {
    /// An attempt has ended and cost so much. `open`: it may have written more than is known, and come to this at the most.
    pub fn attempt(&self, spent: &Spent, cost: Result<Picodollars, Unpriced>, open: Option<Most>) {
        locked(&self.bill).attempt(spent, cost, open);
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
        let reserve = limiter::Need {
            cost: reserved.amount(),
            ..limiter::Need::default()
        };
        let settled = locked(&self.bill).settled(reserve);
        self.budgets.settle(reserved, settled.map_or(0, |settled| settled.cost));
    }
}
