//! All that one sidecar holds of budgets that many spend together.

use std::sync::Arc;

use super::super::book::{Beyond, Budget, Level, Need};
use super::purse::{Fit, Purse};
use super::{Ask, Loan};

/// A budget, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The budget.
    pub budget: Arc<Budget>,
    /// Who spends it together with this pod, such as `Deployment/checkout`; empty: all of the namespace.
    pub of: Arc<str>,
    /// It holds for requests of this ModelRoute alone.
    pub route: Option<Arc<str>>,
}

/// What an earlier run has spent beyond what it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The budget's full name.
    pub full_name: Arc<str>,
    /// Whose.
    pub of: Arc<str>,
    /// When the window began that it was spent in, seconds since 1970.
    pub window: i64,
    /// Picodollars.
    pub amount: u64,
}

/// What is reserved for a request in each purse that it is under.
#[derive(Debug, Default)]
pub struct Reserved(Vec<(u64, u64)>);

/// What holds a request up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The budget as it stands: `spent` is what all have spent.
    pub level: Level,
    /// Whose it is.
    pub of: Arc<str>,
    /// The operator says nothing, and the budget stops without it.
    pub is_without: bool,
}

/// How a request stands with all purses.
#[derive(Debug, Default)]
pub struct Look {
    /// The budgets that it goes beyond.
    pub over: Vec<Arc<Budget>>,
    /// The strictest that holds it up.
    pub held: Option<Held>,
    /// One has to ask first.
    pub asks: bool,
}

/// A purse as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The budget as it stands: `spent` is what all have spent.
    pub level: Level,
    /// Whose it is.
    pub of: Arc<str>,
    /// What this sidecar holds, those that it has spent included.
    pub held: u64,
    /// What it has spent itself.
    pub spent_here: u64,
    /// It goes without the operator.
    pub is_without: bool,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    of: Arc<str>,
    route: Option<Arc<str>>,
    purse: Purse,
}

/// The purses of one sidecar. Times are milliseconds since 1970.
#[derive(Debug)]
pub struct Purses {
    entries: Vec<Entry>,
    opened: u64,
    run: u64,
    owed: Vec<Owed>,
}

impl Purses {
    /// None yet. `run` is another in each process.
    pub fn new(run: u64) -> Self {
        Self {
            entries: Vec::new(),
            opened: 0,
            run,
            owed: Vec::new(),
        }
    }

    /// An earlier run owes this.
    pub fn begin_with(&mut self, owed: Vec<Owed>) {
        self.owed = owed;
    }

    /// Keeps these from now on. What is held and spent stays with a budget's name and whose it is.
    pub fn reconfigure(&mut self, wanted: &[Wanted], now: i64) {
        let mut before = std::mem::take(&mut self.entries);
        for Wanted { budget, of, route } in wanted {
            let is_it = |entry: &Entry| entry.purse.budget.full_name == budget.full_name && entry.of == *of;
            let mut entry = match before.iter().position(is_it) {
                Some(at) => before.swap_remove(at),
                None => self.open(budget, of, now),
            };
            entry.purse.budget = Arc::clone(budget);
            entry.route.clone_from(route);
            self.entries.push(entry);
        }
    }

    fn open(&mut self, budget: &Arc<Budget>, of: &Arc<str>, now: i64) -> Entry {
        let window = budget.calendar.around(now.div_euclid(1_000)).begins;
        let is_it = |owed: &&Owed| owed.full_name == budget.full_name && owed.of == *of && owed.window == window;
        let owed = self.owed.iter().find(is_it).map_or(0, |owed| owed.amount);
        let id = self.opened;
        self.opened += 1;
        Entry {
            id,
            of: Arc::clone(of),
            route: None,
            // One that is opened anew holds nothing, and must not speak for the one before it.
            purse: Purse::new(Arc::clone(budget), self.run.wrapping_add(id), owed),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How a request of this route stands with all of them. `is_tired`: it has waited for the operator as long as any does.
    pub fn look(&mut self, need: Need, route: Option<&str>, is_diverted: bool, is_tired: bool, now: i64) -> Look {
        let mut look = Look::default();
        for entry in of_route(&mut self.entries, route) {
            let fit = entry.purse.fit(need, is_tired, now);
            let budget = &entry.purse.budget;
            let is_held = match &budget.beyond {
                Beyond::Warn => false,
                Beyond::Divert(_) => !is_diverted,
                Beyond::Stop => true,
            };
            match fit {
                Fit::Fits => {}
                Fit::Asks if is_held => {
                    look.asks = true;
                    entry.purse.wait(need);
                }
                Fit::Spent if !is_held => look.over.push(Arc::clone(budget)),
                Fit::Asks | Fit::Without if !is_held => {}
                Fit::Asks | Fit::Spent | Fit::Without => {
                    let is_stricter = |held: &Held| budget.beyond.strictness() > held.level.budget.beyond.strictness();
                    if look.held.as_ref().is_none_or(is_stricter) {
                        look.held = Some(Held {
                            level: entry.purse.level(now),
                            of: Arc::clone(&entry.of),
                            is_without: fit == Fit::Without,
                        });
                    }
                }
            }
        }
        // What stops, stops; but what leads elsewhere waits for what may stop.
        if look
            .held
            .as_ref()
            .is_some_and(|held| held.level.budget.beyond == Beyond::Stop)
        {
            look.asks = false;
        }
        look
    }

    /// Reserves for a request of this route. Says whether more should be asked for at once.
    pub fn reserve(&mut self, need: Need, route: Option<&str>, now: i64) -> (Reserved, bool) {
        let mut asks = false;
        let mut reserved = Vec::new();
        for entry in of_route(&mut self.entries, route) {
            let (generation, is_low) = entry.purse.reserve(need, now);
            asks |= is_low;
            reserved.push((entry.id, generation));
        }
        (Reserved(reserved), asks)
    }

    /// A request has ended that had so much reserved, and did cost so much.
    pub fn settle(&mut self, reserved: &Reserved, amount: u64, cost: u64) {
        for (id, generation) in &reserved.0 {
            if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == *id) {
                entry.purse.settle(*generation, amount, cost);
            }
        }
    }

    /// Something of this route did cost so much for which nothing was reserved.
    pub fn charge(&mut self, cost: u64, route: Option<&str>, now: i64) {
        for entry in of_route(&mut self.entries, route) {
            entry.purse.charge(cost, now);
        }
    }

    /// What is to be asked now, of which budget and whose. `anew`: the stream has just been opened. `is_last`: the process ends.
    pub fn asks(&mut self, anew: bool, is_last: bool, now: i64) -> Vec<(Arc<str>, Arc<str>, Ask)> {
        let ask = |entry: &mut Entry| {
            let ask = entry.purse.ask(anew, is_last, now)?;
            Some((Arc::clone(&entry.purse.budget.full_name), Arc::clone(&entry.of), ask))
        };
        self.entries.iter_mut().filter_map(ask).collect()
    }

    /// Takes a loan. Returns the budget before and after, where who waits should look again.
    pub fn take(&mut self, full_name: &str, of: &str, loan: &Loan, now: i64) -> Option<(Level, Level)> {
        let is_it = |entry: &&mut Entry| *entry.purse.budget.full_name == *full_name && *entry.of == *of;
        let purse = &mut self.entries.iter_mut().find(is_it)?.purse;
        let before = purse.level(now);
        purse.take(loan, now).then(|| (before, purse.level(now)))
    }

    /// Each as it stands.
    pub fn standings(&self, now: i64) -> impl Iterator<Item = Standing> {
        self.entries.iter().map(move |entry| Standing {
            level: entry.purse.level(now),
            of: Arc::clone(&entry.of),
            held: entry.purse.held(),
            spent_here: entry.purse.spent(),
            is_without: entry.purse.is_without(),
        })
    }

    /// What is to outlive this process: what it has spent beyond what it held.
    pub fn owed(&self, now: i64) -> impl Iterator<Item = Owed> {
        let owed = move |entry: &Entry| Owed {
            full_name: Arc::clone(&entry.purse.budget.full_name),
            of: Arc::clone(&entry.of),
            window: entry.purse.level(now).window.begins,
            amount: entry.purse.owes(),
        };
        self.entries.iter().map(owed).filter(|owed| owed.amount > 0)
    }
}

fn of_route<'a>(entries: &'a mut [Entry], route: Option<&'a str>) -> impl Iterator<Item = &'a mut Entry> {
    let is_under = move |entry: &&mut Entry| entry.route.is_none() || entry.route.as_deref() == route;
    entries.iter_mut().filter(is_under)
}
