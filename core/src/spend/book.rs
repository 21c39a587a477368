//! Several budgets at once: what is spent of each in its window, and what is reserved for requests that are under way.
//!
//! A request is let in where the most that it may cost fits into every budget beside what is spent and reserved there: of any number
//! that come together, no more pass than fit. It reserves that under all budgets, or nothing. When it ends the reserve goes, and
//! what it did cost is charged, to the window that it ends in. So of a budget that stops
//! `spent + reserved <= amount` holds at any moment, but for what requests cost beyond their reserve.
//!
//! Time is the wall clock's, in seconds since 1970, and never runs back here: a clock that is put back stays in the window it was in.

use std::sync::Arc;

use super::window::{Calendar, Window};

/// How much may be spent over which time, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its own name.
    pub name: Arc<str>,
    /// The UsagePolicy that sets it.
    pub policy: Arc<str>,
    /// Its name among all of a sidecar: the policy's and its own, `shop/month`.
    pub full_name: Arc<str>,
    /// Picodollars, above 0.
    pub amount: u64,
    /// Its windows.
    pub calendar: Calendar,
    /// Percent of the amount at which it is told that so much is spent, rising.
    pub warn_at: Vec<u32>,
    /// What happens to a request that does not fit.
    pub beyond: Beyond,
    /// Who spends it together.
    pub per: Spenders,
    /// Of one that many spend together: whether it stops what does not fit into what is lent while the operator says nothing.
    pub stops_without_operator: bool,
}

/// Who spends a budget together. What is `of` a pod is read from its labels, and is none where they do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Spenders {
    /// Each pod for itself.
    #[default]
    Pod,
    /// All pods of a workload.
    Workload,
    /// All pods of the namespace that the policy selects.
    Namespace,
    /// All requests of a ModelRoute.
    Route,
    /// All pods with the same value of a label.
    Team {
        /// The label.
        label: Arc<str>,
        /// Its value.
        of: Option<Arc<str>>,
    },
    /// All pods of one run of a Job.
    JobRun {
        /// The Job's name and its uid.
        of: Option<Arc<str>>,
    },
}

impl Budget {
    /// The percentages that are passed where what is spent rises from `before` to `now`: the highest says it all.
    pub fn passed(&self, before: u64, now: u64) -> Option<u32> {
        let amount = u128::from(self.amount);
        let is_at = |spent: u64, percent: u32| u128::from(spent) * 100 >= amount * u128::from(percent);
        let passed = self.warn_at.iter();
        passed
            .copied()
            .filter(|mark| !is_at(before, *mark) && is_at(now, *mark))
            .max()
    }
}

/// What happens to a request that does not fit into a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It goes on, and that is counted.
    Warn,
    /// It goes to the ModelRoute of this name.
    Divert(Arc<str>),
    /// It is refused.
    Stop,
}

impl Beyond {
    /// Of two, the higher says what follows.
    pub(super) fn strictness(&self) -> u8 {
        match self {
            Self::Warn => 0,
            Self::Divert(_) => 1,
            Self::Stop => 2,
        }
    }
}

/// What a request may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// The most, in picodollars, as far as prices are known.
    pub most: u64,
    /// Somebody may be asked whose price nobody knows. Such a request is let in while anything is left, and takes what is known.
    pub is_unknown: bool,
}

/// What is reserved for a request under the budgets that there were then. Goes back with [`Book::settle`].
#[derive(Debug)]
#[must_use = "it stays reserved until it is settled"]
pub struct Reserved {
    amount: u64,
    /// Accounts that were opened later hold nothing of it.
    before: u64,
}

impl Reserved {
    /// Picodollars, under each budget.
    pub fn amount(&self) -> u64 {
        self.amount
    }
}

/// A request is let in.
#[derive(Debug)]
pub struct Taken {
    /// What is reserved for it.
    pub reserved: Reserved,
    /// The budgets that it goes beyond.
    pub over: Vec<Arc<Budget>>,
}

/// A budget as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// The budget.
    pub budget: Arc<Budget>,
    /// The window it is in.
    pub window: Window,
    /// Picodollars that are spent in it.
    pub spent: u64,
    /// Picodollars that are reserved for requests under way.
    pub reserved: u64,
}

/// A charge has brought what is spent to a percentage that is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Of the budget's amount.
    pub percent: u32,
    /// The budget as it stands now.
    pub level: Level,
}

/// What outlives a sidecar of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The budget's full name.
    pub full_name: Arc<str>,
    /// Its window.
    pub window: Window,
    /// Picodollars: what is spent, and what is under way as if it cost the most.
    pub spent: u64,
}

#[derive(Debug)]
struct Account {
    /// Counts up with each that is opened.
    id: u64,
    /// What was reserved for earlier is in its sum already, at the most: it was closed since.
    counts_from: u64,
    level: Level,
}

/// An account whose budget is gone, which may come back: a policy is pruned and applied again, a label leaves its selector and returns.
#[derive(Debug)]
struct Closed {
    kept: Kept,
    /// As of the account.
    counts_from: u64,
}

/// Budgets that are gone whose sums are remembered until their windows end; those that went last.
const MOST_CLOSED: usize = 100;

impl Account {
    /// Opens the next window, if this one is over.
    fn roll(&mut self, now: i64) {
        let level = &mut self.level;
        if now >= level.window.ends {
            level.window = level.budget.calendar.around(now);
            level.spent = 0;
        }
    }

    fn to_keep(&self) -> Kept {
        Kept {
            full_name: Arc::clone(&self.level.budget.full_name),
            window: self.level.window,
            spent: self.level.spent.saturating_add(self.level.reserved),
        }
    }

    fn fits(&self, need: Need) -> bool {
        let taken = self.level.spent.saturating_add(self.level.reserved);
        let amount = self.level.budget.amount;
        if need.is_unknown && taken >= amount {
            return false;
        }
        // What is free passes always.
        need.most == 0 || taken.saturating_add(need.most) <= amount
    }

    fn charge(&mut self, cost: u64, reached: &mut Vec<Reached>) {
        let level = &mut self.level;
        let before = level.spent;
        level.spent = before.saturating_add(cost);
        if let Some(percent) = level.budget.passed(before, level.spent) {
            reached.push(Reached {
                percent,
                level: level.clone(),
            });
        }
    }
}

/// The budgets that requests are under, all of them under each.
#[derive(Debug, Default)]
pub struct Book {
    accounts: Vec<Account>,
    closed: Vec<Closed>,
    /// How often one was opened or closed.
    opened: u64,
}

impl Book {
    /// An earlier run has spent this.
    pub fn begin_with(&mut self, kept: Vec<Kept>) {
        let closed = |kept| Closed { kept, counts_from: 0 };
        self.closed = kept.into_iter().map(closed).collect();
    }

    /// Keeps these budgets from now on. What is spent stays with a budget's name while its windows stay the same, also of one that was
    /// away; what was under way when it went counts as if it had cost the most.
    pub fn reconfigure(&mut self, budgets: &[Arc<Budget>], now: i64) {
        self.closed.retain(|closed| now < closed.kept.window.ends);
        let mut before = std::mem::take(&mut self.accounts);
        for budget in budgets {
            let at = before
                .iter()
                .position(|account| account.level.budget.full_name == budget.full_name);
            let mut account = match at {
                Some(at) => before.swap_remove(at),
                None => self.open(budget, now),
            };
            if account.level.budget.calendar != budget.calendar {
                account.level.window = budget.calendar.around(now);
                account.level.spent = 0;
            }
            account.level.budget = Arc::clone(budget);
            account.roll(now);
            self.accounts.push(account);
        }
        for account in before {
            self.close(account, now);
        }
    }

    fn close(&mut self, mut account: Account, now: i64) {
        account.roll(now);
        let kept = account.to_keep();
        if kept.spent == 0 {
            return;
        }
        self.opened += 1;
        self.closed.push(Closed {
            kept,
            counts_from: self.opened,
        });
        if self.closed.len() > MOST_CLOSED {
            self.closed.remove(0);
        }
    }

    fn open(&mut self, budget: &Arc<Budget>, now: i64) -> Account {
        let is_of = |closed: &Closed| {
            let kept = &closed.kept;
            let is_a_window = budget.calendar.around(kept.window.begins) == kept.window;
            kept.full_name == budget.full_name && is_a_window && now < kept.window.ends
        };
        let at = self.closed.iter().position(is_of);
        let closed = at.map(|at| self.closed.remove(at));
        let kept = closed.as_ref().map(|closed| &closed.kept);
        let id = self.opened;
        self.opened += 1;
        Account {
            id,
            counts_from: closed.as_ref().map_or(0, |closed| closed.counts_from),
            level: Level {
                window: kept.map_or_else(|| budget.calendar.around(now), |kept| kept.window),
                spent: kept.map_or(0, |kept| kept.spent),
                reserved: 0,
                budget: Arc::clone(budget),
            },
        }
    }

    /// Reserves what a request may cost, under all budgets or none. `is_diverted`: it goes where a budget led it already.
    ///
    /// # Errors
    /// The strictest of the budgets that hold it up, as it stands.
    pub fn take(&mut self, need: Need, is_diverted: bool, now: i64) -> Result<Taken, Level> {
        let mut over = Vec::new();
        let mut held: Option<&Level> = None;
        for account in &mut self.accounts {
            account.roll(now);
        }
        for account in self.accounts.iter().filter(|account| !account.fits(need)) {
            let level = &account.level;
            match &level.budget.beyond {
                Beyond::Warn => over.push(Arc::clone(&level.budget)),
                Beyond::Divert(_) if is_diverted => over.push(Arc::clone(&level.budget)),
                beyond if held.is_none_or(|held| beyond.strictness() > held.budget.beyond.strictness()) => {
                    held = Some(level);
                }
                _ => {}
            }
        }
        if let Some(held) = held {
            return Err(held.clone());
        }
        for account in &mut self.accounts {
            account.level.reserved = account.level.reserved.saturating_add(need.most);
        }
        let reserved = Reserved {
            amount: need.most,
            before: self.opened,
        };
        Ok(Taken { reserved, over })
    }

    /// A request has ended and did cost so much. Returns what is to be told of it.
    #[allow(clippy::needless_pass_by_value)] // giving it back spends it
    pub fn settle(&mut self, reserved: Reserved, cost: u64, now: i64) -> Vec<Reached> {
        let mut reached = Vec::new();
        for account in &mut self.accounts {
            account.roll(now);
            if account.id < reserved.before {
                account.level.reserved = account.level.reserved.saturating_sub(reserved.amount);
            }
            if account.counts_from <= reserved.before {
                account.charge(cost, &mut reached);
            }
        }
        reached
    }

    /// Nobody reserved for what did cost so much. Returns what is to be told of it.
    pub fn charge(&mut self, cost: u64, now: i64) -> Vec<Reached> {
        let mut reached = Vec::new();
        for account in &mut self.accounts {
            account.roll(now);
            account.charge(cost, &mut reached);
        }
        reached
    }

    /// Each budget as it stands.
    pub fn levels(&mut self, now: i64) -> Vec<Level> {
        let level = |account: &mut Account| {
            account.roll(now);
            account.level.clone()
        };
        self.accounts.iter_mut().map(level).collect()
    }

    /// What is to outlive this sidecar, of budgets that are gone too.
    pub fn to_keep(&self) -> Vec<Kept> {
        let closed = self.closed.iter().map(|closed| closed.kept.clone());
        self.accounts.iter().map(Account::to_keep).chain(closed).collect()
    }
}
