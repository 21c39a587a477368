//! All budgets that a leader lends, and the marks that outlive it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::book::Budget;
use super::super::window::Window;
use super::lender::{Answer, Lender};
use super::{Ask, Loan, WRITING};

/// Budgets of one namespace that are lent at once: each team, workload, route and Job run has its own. Their marks are 200 bytes each.
pub const MOST: usize = 1_000;

/// Which budget, and whose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The namespace.
    pub namespace: String,
    /// The policy's name and its own, `shop/month`.
    pub budget: String,
    /// Who spends it together, such as `Deployment/checkout`; empty: all of the namespace.
    pub of: String,
}

/// How much of a budget may be out in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The window.
    pub window: Window,
    /// Picodollars.
    pub mark: u64,
}

/// A budget as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The window that it is of.
    pub window: Window,
    /// Picodollars.
    pub amount: u64,
    /// Of these, spent, as far as it is known.
    pub spent: u64,
    /// And of what is spent that which a leader of before may only have lent.
    pub unknown: u64,
    /// And out: spent, lent, or perhaps lent by a leader of before.
    pub out: u64,
}

impl Totals {
    /// What is spent, in whole percent of the amount.
    pub fn spent_percent(&self) -> u64 {
        self.percent(self.spent)
    }

    /// The same of what is spent for certain: a leader that is new takes more for spent, until it has heard of all who were lent to.
    pub fn certain_percent(&self) -> u64 {
        self.percent(self.spent.saturating_sub(self.unknown))
    }

    fn percent(&self, of: u64) -> u64 {
        let percent = u128::from(of) * 100 / u128::from(self.amount.max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }
}

#[derive(Debug)]
struct Open<P> {
    amount: u64,
    window: Window,
    lender: Lender<P>,
}

/// What the leadership `epoch` lends. Times are milliseconds since 1970, by the leader's clock.
#[derive(Debug)]
pub struct Treasury<P> {
    epoch: u64,
    inherited: BTreeMap<Key, Mark>,
    open: BTreeMap<Key, Open<P>>,
    is_closed: bool,
}

impl<P: Ord + Clone> Treasury<P> {
    /// Begins with the marks that are written.
    pub fn new(epoch: u64, marks: BTreeMap<Key, Mark>) -> Self {
        Self {
            epoch,
            inherited: marks,
            open: BTreeMap::new(),
            is_closed: false,
        }
    }

    /// Whose it is.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A sidecar asks; `sidecars`: how many may. `again`: the pace at which one that comes away empty asks again. None: the
    /// namespace has too many budgets at once.
    #[allow(clippy::too_many_arguments)] // each is another's business
    pub fn hear(
        &mut self,
        key: &Key,
        budget: &Budget,
        pod: &P,
        ask: &Ask,
        sidecars: usize,
        again: Duration,
        now: i64,
    ) -> Option<Loan> {
        let open = self.open(key, budget, now)?;
        let window = open.window;
        let remaining = window.ends.saturating_mul(1_000).saturating_sub(now);
        let mut loan = Loan {
            number: ask.number,
            epoch: 0,
            window,
            remaining: Duration::from_millis(u64::try_from(remaining).unwrap_or(0)),
            held: 0,
            spent: 0,
            is_pending: true,
            is_short: false,
            again: Duration::ZERO,
        };
        // What it says of another window is nothing to this one: it asks again once it knows which one runs.
        if ask.window.is_none_or(|begins| begins == window.begins) {
            match open.lender.hear(pod, ask, sidecars) {
                Answer::Behind(number) => loan.number = number,
                Answer::Pending => loan.again = WRITING,
                Answer::Held { held, is_short } => {
                    (loan.held, loan.is_short, loan.is_pending) = (held, is_short, false);
                    if is_short {
                        loan.again = again;
                    }
                }
            }
            loan.spent = open.lender.spent();
        }
        loan.epoch = self.epoch;
        Some(loan)
    }

    fn open(&mut self, key: &Key, budget: &Budget, now: i64) -> Option<&mut Open<P>> {
        let window = budget.calendar.around(now.div_euclid(1_000));
        // Time never runs back: a clock that was put back stays in the window it was in.
        let is_over = |of: Window| of.begins < window.begins || budget.calendar.around(of.begins) != of;
        let is_stale = self.open.get(key).is_some_and(|open| is_over(open.window));
        if is_stale || !self.open.contains_key(key) {
            let of = self.open.keys().filter(|other| other.namespace == key.namespace);
            if !is_stale && of.count() >= MOST {
                return None;
            }
            let inherited = self.inherited.remove(key).filter(|mark| !is_over(mark.window));
            let window = inherited.map_or(window, |mark| mark.window);
            let mark = inherited.map_or(0, |mark| mark.mark);
            let lender = Lender::new(budget.amount, self.epoch, mark);
            let amount = budget.amount;
            self.open.insert(key.clone(), Open { amount, window, lender });
        }
        let is_closed = self.is_closed;
        let open = self.open.get_mut(key)?;
        if !is_closed {
            open.amount = budget.amount;
            open.lender.reconfigure(budget.amount);
        }
        Some(open)
    }

    /// A sidecar is no more.
    pub fn gone(&mut self, namespace: &str, pod: &P) {
        let of = self.open.iter_mut().filter(|(key, _)| key.namespace == namespace);
        for (_, open) in of {
            open.lender.gone(pod);
        }
    }

    /// The namespaces of which a mark is to be written: of a window that is over none is.
    pub fn due(&self, now: i64) -> BTreeSet<&str> {
        let is_due = |open: &Open<P>| now < open.window.ends.saturating_mul(1_000) && open.lender.due().is_some();
        let due = self.open.iter().filter(|(_, open)| is_due(open));
        due.map(|(key, _)| key.namespace.as_str()).collect()
    }

    /// What is to be written of a namespace: each mark, raised where that is due. What is over is left out.
    pub fn marks(&self, namespace: &str, now: i64) -> BTreeMap<Key, Mark> {
        let open = self.open.iter().map(|(key, open)| {
            let mark = open.lender.due().unwrap_or(open.lender.mark());
            let window = open.window;
            (key, Mark { window, mark })
        });
        let inherited = self.inherited.iter().map(|(key, mark)| (key, *mark));
        let runs = |mark: &Mark| mark.mark > 0 && now < mark.window.ends.saturating_mul(1_000);
        inherited
            .chain(open)
            .filter(|(key, mark)| key.namespace == namespace && runs(mark))
            .map(|(key, mark)| (key.clone(), mark))
            .collect()
    }

    /// These are written.
    pub fn written(&mut self, marks: &BTreeMap<Key, Mark>) {
        for (key, mark) in marks {
            if let Some(open) = self.open.get_mut(key).filter(|open| open.window == mark.window) {
                open.lender.written(mark.mark);
            }
        }
    }

    /// These were found written. Where they are higher than is known here, another leader has lent.
    pub fn found(&mut self, marks: BTreeMap<Key, Mark>) {
        for (key, mark) in marks {
            match self.open.get_mut(&key) {
                Some(open) if open.window == mark.window => open.lender.overtaken(mark.mark),
                Some(_) => {}
                None => {
                    self.inherited.insert(key, mark);
                }
            }
        }
    }

    /// Lends nothing more. Returns the namespaces whose marks are now lower, and exact.
    pub fn close(&mut self) -> BTreeSet<String> {
        self.is_closed = true;
        let mut lowered = BTreeSet::new();
        for (key, open) in &mut self.open {
            let before = open.lender.mark();
            if open.lender.close() != before {
                lowered.insert(key.namespace.clone());
            }
        }
        lowered
    }

    /// Forgets what is of windows that are over.
    pub fn forget_over(&mut self, now: i64) {
        let runs = |window: Window| now < window.ends.saturating_mul(1_000);
        self.open.retain(|_, open| runs(open.window));
        self.inherited.retain(|_, mark| runs(mark.window));
    }

    /// Each budget as it stands.
    pub fn totals(&self) -> impl Iterator<Item = (&Key, Totals)> {
        self.open.iter().map(|(key, open)| (key, open.totals()))
    }

    /// One budget as it stands. None: nobody has asked for it yet.
    pub fn total(&self, key: &Key) -> Option<Totals> {
        self.open.get(key).map(Open::totals)
    }
}

impl<P: Ord + Clone> Open<P> {
    fn totals(&self) -> Totals {
        Totals {
            window: self.window,
            amount: self.amount,
            spent: self.lender.spent(),
            unknown: self.lender.unknown(),
            out: self.lender.out(),
        }
    }
}
