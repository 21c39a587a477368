//! One budget in one window, as the leader lends it.

use std::collections::BTreeMap;

use super::Ask;

/// The mark rises in steps of this part of the amount. It bounds both how often it is written in a window, and what a leader that
/// dies takes out of use: what lies between what it had lent and its mark.
pub const STEPS: u64 = 24;
/// Of what is left, a sidecar is lent no more than this part of its even share ahead of need: what lies idle elsewhere when the
/// last is lent is missed by whoever wants it.
const AHEAD: u64 = 4;

/// What a borrower holds.
#[derive(Clone, Copy, Debug)]
struct Borrower {
    run: u64,
    number: u64,
    lent: u64,
    spent: u64,
}

impl Borrower {
    /// Out of the budget because of it.
    fn taken(self) -> u64 {
        self.lent.max(self.spent)
    }
}

/// What an ask comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is an older one; the newest has this number.
    Behind(u64),
    /// It may hold so much once the mark is written.
    Pending,
    /// It may hold so much. `is_short`: less than the least that was wanted.
    Held {
        /// Picodollars.
        held: u64,
        /// Less than the least that was wanted.
        is_short: bool,
    },
}

/// Lends one budget in one window to borrowers that `P` names.
#[derive(Clone, Debug)]
pub struct Lender<P> {
    amount: u64,
    epoch: u64,
    /// No more than this is out of the budget, as far as a later leader knows.
    mark: u64,
    /// What somebody wants beyond the mark.
    wanted: u64,
    /// Lent by leaders of before to whom this one has not heard of.
    unknown: u64,
    /// By borrowers that are no more. Sums are wider than what they are of, so that what one claims to have spent leaves them exact.
    gone: u128,
    borrowers: BTreeMap<P, Borrower>,
    /// Of `gone`, what those took whose pods lie there yet: a process that ends after its pod did may ask once more.
    ended: BTreeMap<P, Borrower>,
    /// The sums of what they have taken and spent.
    taken: u128,
    spent: u128,
}

impl<P: Ord + Clone> Lender<P> {
    /// For the leadership `epoch`. All below `mark` may have been lent by leaders of before; 0 where nothing was.
    pub fn new(amount: u64, epoch: u64, mark: u64) -> Self {
        Self {
            amount,
            epoch,
            mark,
            wanted: 0,
            unknown: mark,
            gone: 0,
            borrowers: BTreeMap::new(),
            ended: BTreeMap::new(),
            taken: 0,
            spent: 0,
        }
    }

    /// The amount is another now. What is lent stays lent.
    pub fn reconfigure(&mut self, amount: u64) {
        self.amount = amount;
    }

    /// Picodollars that are out of the budget: spent, lent, or perhaps lent by a leader of before.
    pub fn out(&self) -> u64 {
        narrow(self.all_out())
    }

    fn all_out(&self) -> u128 {
        u128::from(self.unknown) + self.gone + self.taken
    }

    /// Picodollars that are spent, as far as it is known.
    pub fn spent(&self) -> u64 {
        narrow(u128::from(self.unknown) + self.gone + self.spent)
    }

    /// Picodollars of these that leaders of before have lent to whom this one has not heard of: perhaps spent.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// A borrower asks; `sidecars`: how many may.
    pub fn hear(&mut self, pod: &P, ask: &Ask, sidecars: usize) -> Answer {
        self.back(pod, ask.run);
        match self.borrowers.get(pod) {
            Some(known) if known.run == ask.run => {
                if ask.number <= known.number {
                    return Answer::Behind(known.number);
                }
            }
            known => {
                let is_anew = known.is_some();
                if is_anew {
                    let _ = self.gone(pod);
                } else if ask.epoch != self.epoch {
                    // It speaks of what a leader of before has lent it.
                    self.unknown = self.unknown.saturating_sub(ask.held);
                }
            }
        }
        let mut borrower = Borrower {
            run: ask.run,
            number: ask.number,
            lent: ask.held,
            spent: ask.spent,
        };
        self.set(pod, borrower);
        let answer = self.decide(borrower, ask, sidecars);
        if let Answer::Held { held, .. } = answer {
            borrower.lent = held;
            self.set(pod, borrower);
        }
        answer
    }

    fn decide(&mut self, borrower: Borrower, ask: &Ask, sidecars: usize) -> Answer {
        let (own, held) = (borrower.taken(), ask.held);
        let others = narrow(self.all_out().saturating_sub(u128::from(own)));
        let (of_amount, of_mark) = (self.amount.saturating_sub(others), self.mark.saturating_sub(others));
        let needs = ask.least > held;
        if needs && ask.least > of_amount {
            return Answer::Held { held, is_short: true };
        }
        let left = self.amount.saturating_sub(self.out());
        let fair = own.saturating_add(left / AHEAD / u64::try_from(sidecars.max(1)).unwrap_or(u64::MAX));
        let target = ask.want.max(ask.least).min(fair.max(ask.least)).min(of_amount);
        if needs && ask.least > of_mark {
            self.wanted = self.wanted.max(others.saturating_add(ask.least));
            return Answer::Pending;
        }
        Answer::Held {
            held: target.min(of_mark).max(held),
            is_short: false,
        }
    }

    fn set(&mut self, pod: &P, borrower: Borrower) {
        let before = self.borrowers.insert(pod.clone(), borrower);
        if let Some(before) = before {
            self.forget(before);
        }
        self.taken += u128::from(borrower.taken());
        self.spent += u128::from(borrower.spent);
    }

    fn forget(&mut self, borrower: Borrower) {
        self.taken -= u128::from(borrower.taken());
        self.spent -= u128::from(borrower.spent);
    }

    /// A borrower is no more: it has spent what it held. Returns whether there was one.
    pub fn gone(&mut self, pod: &P) -> bool {
        self.ended.remove(pod);
        self.take_away(pod).is_some()
    }

    /// The same of one that may ask once more, until it is gone.
    pub fn ended(&mut self, pod: &P) -> bool {
        let Some(borrower) = self.take_away(pod) else {
            return false;
        };
        self.ended.insert(pod.clone(), borrower);
        true
    }

    fn take_away(&mut self, pod: &P) -> Option<Borrower> {
        let borrower = self.borrowers.remove(pod)?;
        self.forget(borrower);
        self.gone = self.gone.saturating_add(u128::from(borrower.taken()));
        Some(borrower)
    }

    /// One that had ended asks again: what it took is not taken twice. Of another run it is another borrower.
    fn back(&mut self, pod: &P, run: u64) {
        let Some(borrower) = self.ended.get(pod).filter(|ended| ended.run == run).copied() else {
            return;
        };
        self.ended.remove(pod);
        self.gone = self.gone.saturating_sub(u128::from(borrower.taken()));
        self.set(pod, borrower);
    }

    /// Who is not there is no more. Returns whether there was one.
    pub fn keep_only(&mut self, is_there: impl Fn(&P) -> bool) -> bool {
        self.ended.retain(|pod, _| is_there(pod));
        let away: Vec<P> = self.borrowers.keys().filter(|pod| !is_there(pod)).cloned().collect();
        for pod in &away {
            let _ = self.gone(pod);
        }
        !away.is_empty()
    }

    /// Whether all that have borrowed are no more.
    pub fn is_left(&self) -> bool {
        self.borrowers.is_empty()
    }

    /// The mark that is to be written now, if one is: ahead of need, so that few have to wait for it.
    pub fn due(&self) -> Option<u64> {
        let step = (self.amount / STEPS).max(1);
        let out = self.out();
        let is_near = out > 0 && out.saturating_add(step / 4) > self.mark;
        if !is_near && self.wanted <= self.mark {
            return None;
        }
        let next = out.max(self.wanted).saturating_add(step).min(self.amount.max(out));
        (next > self.mark).then_some(next)
    }

    /// The mark that is written.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// This mark is written.
    pub fn written(&mut self, mark: u64) {
        self.mark = self.mark.max(mark);
        if self.wanted <= self.mark {
            self.wanted = 0;
        }
    }

    /// Another leader has written this mark, and may have lent up to it.
    pub fn overtaken(&mut self, mark: u64) {
        let more = mark.saturating_sub(self.mark);
        self.unknown = self.unknown.saturating_add(more);
        self.mark = self.mark.saturating_add(more);
    }

    /// Lends nothing more: what is out is what the next leader has to know. Returns that.
    pub fn close(&mut self) -> u64 {
        self.mark = self.out();
        self.amount = self.mark;
        self.mark
    }
}

fn narrow(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}
