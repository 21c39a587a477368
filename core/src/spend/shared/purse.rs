//! What one sidecar holds of one budget that many spend together.

use std::sync::Arc;
use std::time::Duration;

use super::super::book::{Budget, Level, Need};
use super::super::window::Window;
use super::{Ask, IDLE, Loan, REPEAT, TELL};

/// Requests of the size that was wanted last for which is asked ahead.
const AHEAD: u64 = 4;
/// Milliseconds between two asks within which more is wanted at a time.
const SOON: i64 = 5_000;

/// Whether a request fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It does.
    Fits,
    /// The leader has said that there is not so much left.
    Spent,
    /// Nobody knows yet.
    Asks,
    /// The operator says nothing, and the budget does not let it pass without.
    Without,
}

/// A sidecar's part in one budget. Time is the wall clock's, in milliseconds since 1970; one that is put back makes it ask later.
#[derive(Debug)]
pub struct Purse {
    /// The budget.
    pub budget: Arc<Budget>,
    run: u64,
    number: u64,
    epoch: u64,
    window: Option<Window>,
    /// The window is one of this sidecar's own clock, as the operator says nothing.
    is_own: bool,
    /// Until then the window runs.
    until: i64,
    /// Counts windows: what was reserved in one before is nothing to this one.
    generation: u64,
    held: u64,
    spent: u64,
    reserved: u64,
    /// Of requests that were let in after the window's end, before the next was opened.
    next: Next,
    /// By all, as the leader says.
    together: u64,
    /// Of `spent`, what the leader knows, and what the last ask says.
    told: u64,
    telling: u64,
    /// The last request.
    size: u64,
    /// The largest request that waits, and all that do.
    waits: u64,
    wait_all: u64,
    /// More is wanted before anything waits.
    is_low: bool,
    /// How much more than needed is asked for.
    step: u64,
    /// A request of this size or larger has no room.
    short: Option<u64>,
    asked: Option<i64>,
    asked_for: u64,
    is_awaiting: bool,
    again: i64,
    used: i64,
    is_without: bool,
}

/// What belongs to the window that is to be opened.
#[derive(Clone, Copy, Debug, Default)]
struct Next {
    spent: u64,
    reserved: u64,
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Purse {
    /// Empty. `run` is another in each process; `owed` is what an earlier run has spent beyond what it held.
    pub fn new(budget: Arc<Budget>, run: u64, owed: u64) -> Self {
        Self {
            budget,
            run,
            number: 0,
            epoch: 0,
            window: None,
            is_own: true,
            until: i64::MIN,
            generation: 0,
            held: 0,
            spent: owed,
            reserved: 0,
            next: Next::default(),
            together: 0,
            told: 0,
            telling: 0,
            size: 0,
            waits: 0,
            wait_all: 0,
            is_low: false,
            step: 0,
            short: None,
            asked: None,
            asked_for: 0,
            is_awaiting: false,
            again: i64::MIN,
            used: i64::MIN,
            is_without: false,
        }
    }

    /// What is spent, reserved and held here, and what the leader says that all have spent.
    pub fn level(&self, now: i64) -> Level {
        let here = self.spent.saturating_sub(self.told);
        Level {
            budget: Arc::clone(&self.budget),
            window: self
                .window
                .unwrap_or_else(|| self.budget.calendar.around(now.div_euclid(1_000))),
            spent: self.together.saturating_add(here).max(self.spent),
            reserved: self.reserved,
        }
    }

    /// Picodollars that this sidecar holds, those that it has spent included.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Picodollars that this sidecar has spent.
    pub fn spent(&self) -> u64 {
        self.spent
    }

    /// Whether it goes without the operator.
    pub fn is_without(&self) -> bool {
        self.is_without
    }

    /// What it has spent or may be spending beyond what it was lent: what an earlier run owes.
    pub fn owes(&self) -> u64 {
        self.spent.saturating_add(self.reserved).saturating_sub(self.held)
    }

    fn taken(&self) -> u64 {
        self.spent.saturating_add(self.reserved)
    }

    /// Whether a request fits now. `is_tired`: one has waited for the operator as long as any does.
    pub fn fit(&mut self, need: Need, is_tired: bool, now: i64) -> Fit {
        if need.most == 0 && !need.is_unknown {
            return Fit::Fits;
        }
        let size = need.most.max(1);
        (self.used, self.size) = (now, size);
        if now < self.until {
            if self.taken().saturating_add(size) <= self.held {
                return Fit::Fits;
            }
            if self.short.is_some_and(|short| size >= short) {
                // It is asked about again, in the leader's time: somebody may have given back.
                self.waits = self.waits.max(size);
                return Fit::Spent;
            }
        }
        self.waits = self.waits.max(size);
        if !self.is_without && !is_tired {
            return Fit::Asks;
        }
        self.is_without = true;
        self.alone(size, now)
    }

    /// The operator says nothing.
    fn alone(&mut self, size: u64, now: i64) -> Fit {
        if self.budget.stops_without_operator {
            return Fit::Without;
        }
        self.roll(now);
        if self.taken().saturating_add(size) <= self.budget.amount {
            Fit::Fits
        } else {
            Fit::Spent
        }
    }

    /// Opens the window that runs by this sidecar's own clock, where it knows of none.
    fn roll(&mut self, now: i64) {
        if now < self.until {
            return;
        }
        let window = self.budget.calendar.around(now.div_euclid(1_000));
        if self.window != Some(window) {
            self.open(window, self.window.is_none());
        }
        self.is_own = true;
        self.until = window.ends.saturating_mul(1_000);
    }

    /// `goes_on`: what was spent and reserved here until now is of this window too, as nobody knew of any or only this sidecar's clock
    /// had said which.
    fn open(&mut self, window: Window, goes_on: bool) {
        self.window = Some(window);
        if !goes_on {
            let Next { spent, reserved } = std::mem::take(&mut self.next);
            self.generation += 1;
            (self.spent, self.reserved) = (spent, reserved);
        }
        self.held = 0;
        self.together = 0;
        self.told = 0;
        self.short = None;
    }

    /// Notes a request that is to wait for a loan.
    pub fn wait(&mut self, need: Need) {
        self.wait_all = self.wait_all.saturating_add(need.most.max(1));
    }

    /// Reserves for a request. Returns which window it is of, as they are counted here, and whether more should be asked for.
    pub fn reserve(&mut self, need: Need, now: i64) -> (u64, bool) {
        let is_over = self.window.is_some() && now >= self.until;
        let (generation, reserved) = if is_over {
            (self.generation + 1, &mut self.next.reserved)
        } else {
            (self.generation, &mut self.reserved)
        };
        *reserved = reserved.saturating_add(need.most);
        self.is_low = self.held.saturating_sub(self.taken()) < self.step / 2 && self.short.is_none();
        (generation, self.is_low && !self.is_awaiting)
    }

    /// A request has ended that was reserved for in this `generation`. One of a window before was counted there in full.
    pub fn settle(&mut self, generation: u64, reserved: u64, cost: u64) {
        let of = if generation == self.generation {
            (&mut self.reserved, &mut self.spent)
        } else if generation == self.generation + 1 {
            (&mut self.next.reserved, &mut self.next.spent)
        } else {
            return;
        };
        *of.0 = of.0.saturating_sub(reserved);
        *of.1 = of.1.saturating_add(cost);
    }

    /// Something did cost so much for which nothing was reserved. It is told with the next ask, as what went beyond a reserve is.
    pub fn charge(&mut self, cost: u64, now: i64) {
        // Who has asked for nothing in this window knows of none yet.
        self.roll(now);
        self.spent = self.spent.saturating_add(cost);
    }

    /// What is to be asked now. `anew`: the stream has just been opened. `is_last`: the process ends.
    pub fn ask(&mut self, anew: bool, is_last: bool, now: i64) -> Option<Ask> {
        let since = |at: i64| now.saturating_sub(at);
        let wants = self.waits > 0 || self.is_low;
        let is_idle = self.reserved == 0 && self.held > self.spent && since(self.used) >= millis(IDLE);
        let is_untold = self.spent != self.told;
        let is_quiet = self.asked.is_some_and(|asked| {
            let pause = if self.is_awaiting { REPEAT } else { TELL };
            (0..millis(pause)).contains(&since(asked))
        });
        let is_due = if wants {
            now >= self.again && !(self.is_awaiting && is_quiet)
        } else {
            (is_untold || is_idle) && !is_quiet
        };
        let is_worth = self.held > 0 || self.spent > 0 || wants;
        if !(is_due || (anew || is_last) && is_worth) {
            return None;
        }
        if is_idle || is_last {
            self.held = self.held.min(self.taken());
        }
        if wants && !self.is_awaiting {
            // Asked again so soon: more at a time.
            let is_soon = self.asked.is_some_and(|asked| since(asked) < SOON);
            let step = if is_soon {
                self.step.saturating_mul(2)
            } else {
                self.step / 2
            };
            self.step = step.max(self.size.saturating_mul(AHEAD));
        }
        let least = if self.waits > 0 {
            self.taken().saturating_add(self.waits)
        } else {
            self.held
        };
        let want = if wants && !is_last {
            let ahead = self.wait_all.max(self.waits).saturating_add(self.step);
            self.taken().saturating_add(ahead)
        } else {
            self.held
        };
        (self.asked_for, self.telling) = (self.waits, self.spent);
        self.wait_all = 0;
        self.number += 1;
        self.asked = Some(now);
        self.is_awaiting = true;
        Some(Ask {
            number: self.number,
            run: self.run,
            epoch: self.epoch,
            window: self.window.map(|window| window.begins),
            held: self.held,
            spent: self.spent,
            least: if is_last { self.held } else { least },
            want,
        })
    }

    /// Takes a loan. Says whether who waits should look again.
    pub fn take(&mut self, loan: &Loan, now: i64) -> bool {
        if loan.number > self.number {
            // Another life of this process's counter is known there.
            self.number = loan.number;
            self.is_awaiting = false;
            return false;
        }
        if loan.number < self.number || !self.is_awaiting || loan.epoch < self.epoch {
            return false;
        }
        self.is_awaiting = false;
        self.epoch = loan.epoch;
        let is_another = self.window != Some(loan.window);
        if is_another {
            // Whoever was let in after the end of a window of its own clock is of the next, which this is.
            let goes_on = self.window.is_none() || self.is_own && now < self.until;
            self.open(loan.window, goes_on);
        }
        self.is_own = false;
        self.until = now.saturating_add(millis(loan.remaining));
        self.again = now.saturating_add(millis(loan.again));
        if loan.is_pending {
            return false;
        }
        self.is_without = false;
        self.held = loan.held;
        self.together = loan.spent;
        self.told = if is_another { 0 } else { self.telling };
        self.short = loan.is_short.then_some(self.asked_for.max(1));
        self.waits = 0;
        self.is_low = false;
        true
    }
}
