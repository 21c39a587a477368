//! All budgets that a leader lends, and the marks that outlive it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::book::Budget;
use super::super::window::Window;
use super::lender::{Answer, Lender};
use super::{Ask, Loan, WRITING};

/// Budgets of one namespace that are known at once: each team, workload, route and Job run has its own. Their marks are 200 bytes each.
/// With what leaders of before have lent they are twice as many at the most.
pub const MOST: usize = 1_000;
/// Whoever comes once ([`Key::comes_once`]) makes room for others this long after its last pod went. The Job controller replaces a
/// pod that failed after six minutes at the latest.
pub const LINGER: Duration = Duration::from_mins(10);
/// Or this long after it was heard last, whatever became of its pods: each told then what it had spent, and tells it again if it is
/// heard once more.
pub const UNHEARD: Duration = Duration::from_hours(6);

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

impl Key {
    /// Whether it is of somebody of whom a window sees ever more: a run of a Job (`nightly/UID`, `Job/NAME`), or a pod that belongs to
    /// nothing (`Pod/NAME`). Kinds are written with a capital, names of Jobs are not; teams and routes have no slash.
    pub fn comes_once(&self) -> bool {
        let Some((before, _)) = self.of.split_once('/') else {
            return false;
        };
        matches!(before, "Pod" | "Job")
            || before.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
    }

    /// The first that there may be in a namespace.
    fn first_of(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            budget: String::new(),
            of: String::new(),
        }
    }
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
    /// When one of its pods was heard last, or was gone.
    last: i64,
}

impl<P: Ord + Clone> Open<P> {
    /// Since when nothing is to be expected of it; none: something is.
    fn over_since(&self, now: i64) -> Option<i64> {
        let wait = if self.lender.is_left() { LINGER } else { UNHEARD };
        is_past(self.last, wait, now).then_some(self.last)
    }
}

fn is_past(since: i64, wait: Duration, now: i64) -> bool {
    now.saturating_sub(since) >= i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
}

/// What the leadership `epoch` lends. Times are milliseconds since 1970, by the leader's clock.
#[derive(Debug)]
pub struct Treasury<P> {
    epoch: u64,
    /// When somebody asked first: by [`UNHEARD`] later all that hold anything have told, and by [`LINGER`] later most have.
    began: Option<i64>,
    inherited: BTreeMap<Key, Mark>,
    open: BTreeMap<Key, Open<P>>,
    is_closed: bool,
}

impl<P: Ord + Clone> Treasury<P> {
    /// Begins with the marks that are written.
    pub fn new(epoch: u64, marks: BTreeMap<Key, Mark>) -> Self {
        Self {
            epoch,
            began: None,
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
        self.began.get_or_insert(now);
        let open = self.open(key, budget, now)?;
        open.last = now;
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
            if !is_stale && !self.inherited.contains_key(key) && !self.make_room(&key.namespace, now) {
                return None;
            }
            let inherited = self.inherited.remove(key).filter(|mark| !is_over(mark.window));
            let window = inherited.map_or(window, |mark| mark.window);
            let mark = inherited.map_or(0, |mark| mark.mark);
            let lender = Lender::new(budget.amount, self.epoch, mark);
            let amount = budget.amount;
            let last = now;
            self.open.insert(
                key.clone(),
                Open {
                    amount,
                    window,
                    lender,
                    last,
                },
            );
        }
        let is_closed = self.is_closed;
        let open = self.open.get_mut(key)?;
        if !is_closed {
            open.amount = budget.amount;
            open.lender.reconfigure(budget.amount);
        }
        Some(open)
    }

    /// Whether the namespace has room for one more. Where it is full, who comes once and is over goes, the longest over first: as
    /// long as there is room a run keeps what it has spent, as a Job that was suspended goes on as the same run.
    fn make_room(&mut self, namespace: &str, now: i64) -> bool {
        let first = Key::first_of(namespace);
        let is_here = |key: &Key| key.namespace == namespace;
        let open = self.open.range(&first..).take_while(|(key, _)| is_here(key));
        let inherited = self.inherited.range(&first..).take_while(|(key, _)| is_here(key));
        let count = open.clone().count();
        let both = count + inherited.clone().count();
        // What a leader of before has lent counts once some of it may go: else whoever is new would wait for that after each change of
        // leaders. A pod that is alive and quiet may tell nothing for hours, so that only where there are twice as many it is sooner.
        let is_double = both >= 2 * MOST;
        let wait = if is_double { LINGER } else { UNHEARD };
        let since = self.began.filter(|began| is_past(*began, wait, now));
        let count = if is_double || since.is_some() { both } else { count };
        let Some(too_many) = (count + 1).checked_sub(MOST).filter(|more| *more > 0) else {
            return true;
        };
        let inherited = inherited.filter_map(|(key, _)| Some((since?, key)));
        let open = open.filter_map(|(key, open)| Some((open.over_since(now)?, key)));
        let mut over: Vec<_> = open.chain(inherited).filter(|(_, key)| key.comes_once()).collect();
        if over.len() < too_many {
            return false;
        }
        over.sort_unstable();
        let over: Vec<Key> = over.into_iter().take(too_many).map(|(_, key)| key.clone()).collect();
        for key in over {
            self.open.remove(&key);
            self.inherited.remove(&key);
        }
        true
    }

    /// A pod has ended, and lies there yet. Its sidecar may say once more what it holds.
    pub fn ended(&mut self, namespace: &str, pod: &P, now: i64) {
        self.leaves(namespace, now, |lender| lender.ended(pod));
    }

    /// A sidecar is no more.
    pub fn gone(&mut self, namespace: &str, pod: &P, now: i64) {
        self.leaves(namespace, now, |lender| lender.gone(pod));
    }

    fn leaves(&mut self, namespace: &str, now: i64, leaves: impl Fn(&mut Lender<P>) -> bool) {
        let first = Key::first_of(namespace);
        let of = self.open.range_mut(first..);
        for (_, open) in of.take_while(|(key, _)| key.namespace == namespace) {
            if leaves(&mut open.lender) {
                open.last = now;
            }
        }
    }

    /// These are all sidecars that there are.
    pub fn keep_only(&mut self, is_there: impl Fn(&P) -> bool, now: i64) {
        for open in self.open.values_mut() {
            if open.lender.keep_only(&is_there) {
                open.last = now;
            }
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
        let first = Key::first_of(namespace);
        let is_here = |key: &Key| key.namespace == namespace;
        let open = self.open.range(&first..).take_while(|(key, _)| is_here(key));
        let open = open.map(|(key, open)| {
            let mark = open.lender.due().unwrap_or(open.lender.mark());
            let window = open.window;
            (key, Mark { window, mark })
        });
        let inherited = self.inherited.range(&first..).take_while(|(key, _)| is_here(key));
        let inherited = inherited.map(|(key, mark)| (key, *mark));
        let runs = |mark: &Mark| mark.mark > 0 && now < mark.window.ends.saturating_mul(1_000);
        let all = inherited.chain(open).filter(|(_, mark)| runs(mark));
        all.map(|(key, mark)| (key.clone(), mark)).collect()
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

#[cfg(test)]
mod tests;
