//! When a second attempt goes out beside a slow first one, and to whom.

use std::sync::Arc;

use super::{AttemptKind, Fit, Flow, Pool, Refused, Step};
use crate::clock::Moment;

impl Flow {
    /// When a second attempt goes out beside this one: the first at its candidate, until there was a hedge.
    pub(super) fn hedge_due(&self, candidate: usize, pool: &mut dyn Pool, now: Moment) -> Option<Moment> {
        self.terms.hedge?;
        if self.attempts == 1 {
            pool.count_hedgeable();
        }
        let is_first_here = self
            .candidates
            .get(candidate)
            .is_some_and(|progress| progress.attempts == 1);
        if self.hedges > 0 || !is_first_here || self.is_last(candidate) {
            return None;
        }
        Some(now + pool.hedge_delay(candidate, now)?)
    }

    /// One or two attempts are out: a hedge may be due.
    pub(super) fn out(&mut self, pool: &mut dyn Pool, now: Moment) -> Step {
        match self.hedge_due {
            Some(due) if now < due => Step::Await { until: Some(due) },
            Some(due) => {
                let hedge = self.first.and_then(|first| self.hedge(first, pool, now));
                // Asked for its place, it is still due.
                let is_asked = matches!(hedge, Some(Step::Ask { .. }));
                self.hedge_due = is_asked.then_some(due);
                hedge.unwrap_or(Step::Await { until: None })
            }
            None => Step::Await { until: None },
        }
    }

    /// The second attempt, if the next candidate that can carry the request can take it right now: a hedge waits for nothing.
    fn hedge(&mut self, first: usize, pool: &mut dyn Pool, now: Moment) -> Option<Step> {
        let second = (first + 1..self.candidates.len())
            .find(|index| !self.is_same(first, *index) && pool.fits(*index) == Fit::Fits)?;
        if !pool.is_trusted(second) {
            return None;
        }
        match pool.acquire(second, now) {
            Ok(()) => {}
            Err(Refused::Unasked) => return Some(Step::Ask { candidate: second }),
            Err(_) => return None,
        }
        if !pool.withdraw_hedge() {
            pool.release(second, now);
            return None;
        }
        self.hedges += 1;
        self.second = Some(second);
        Some(self.launched(second, AttemptKind::Hedge))
    }

    fn is_same(&self, one: usize, other: usize) -> bool {
        match (self.candidates.get(one), self.candidates.get(other)) {
            (Some(one), Some(other)) => Arc::ptr_eq(&one.provider, &other.provider) && one.model == other.model,
            _ => false,
        }
    }
}
