//! All budgets that a request is under: those of the pod alone ([`super::book`]) and those that many spend together
//! ([`super::shared`]). It is let in under all of them, or under none.

use std::sync::Arc;

use super::book::{Beyond, Book, Budget, Need, Reached, Reserved};
use super::shared::purses::{self, Held, Look, Purses};

/// A request is let in.
#[derive(Debug)]
pub struct Taken {
    /// What is reserved for it.
    pub reserved: AllReserved,
    /// The budgets that it goes beyond.
    pub over: Vec<Arc<Budget>>,
    /// More should be asked of the operator at once.
    pub asks: bool,
}

/// What is reserved for a request under each budget. Goes back with [`Spending::settle`].
#[derive(Debug)]
#[must_use = "it stays reserved until it is settled"]
pub struct AllReserved {
    own: Reserved,
    shared: purses::Reserved,
}

impl AllReserved {
    /// Picodollars, under each budget.
    pub fn amount(&self) -> u64 {
        self.own.amount()
    }
}

/// A request is not let in.
#[derive(Debug)]
pub enum Refused {
    /// The operator is to be asked first.
    Asks,
    /// The strictest of the budgets that hold it up.
    Held(Held),
}

/// Every budget of one sidecar.
#[derive(Debug)]
pub struct Spending {
    /// Of the pod alone.
    pub book: Book,
    /// Spent together with others.
    pub purses: Purses,
}

impl Spending {
    /// Without any budget yet. `run` is another in each process.
    pub fn new(run: u64) -> Self {
        Self {
            book: Book::default(),
            purses: Purses::new(run),
        }
    }

    /// Reserves what a request of this route may cost, under all budgets or none; `now` in milliseconds since 1970. `is_diverted`:
    /// it goes where a budget led it already. `is_tired`: it has waited for the operator as long as any does.
    ///
    /// # Errors
    /// What holds it up.
    pub fn take(
        &mut self,
        need: Need,
        route: Option<&str>,
        is_diverted: bool,
        is_tired: bool,
        now: i64,
    ) -> Result<Taken, Refused> {
        let seconds = now.div_euclid(1_000);
        let Look { mut over, held, asks } = if self.purses.is_empty() {
            Look::default()
        } else {
            self.purses.look(need, route, is_diverted, is_tired, now)
        };
        let own = match self.book.take(need, is_diverted, seconds) {
            Ok(own) => own,
            Err(level) => {
                let is_stopped = held
                    .as_ref()
                    .is_some_and(|held| held.level.budget.beyond == Beyond::Stop);
                return Err(Refused::Held(match held {
                    Some(held) if is_stopped => held,
                    _ => Held {
                        level,
                        of: "".into(),
                        is_without: false,
                    },
                }));
            }
        };
        if held.is_some() || asks {
            let _ = self.book.settle(own.reserved, 0, seconds);
            return Err(match held {
                Some(held) if !asks => Refused::Held(held),
                _ => Refused::Asks,
            });
        }
        let (shared, asks) = self.purses.reserve(need, route, now);
        over.extend(own.over);
        let reserved = AllReserved {
            own: own.reserved,
            shared,
        };
        Ok(Taken { reserved, over, asks })
    }

    /// A request has ended and did cost so much. Returns what is to be told of it.
    pub fn settle(&mut self, reserved: AllReserved, cost: u64, now: i64) -> Vec<Reached> {
        let AllReserved { own, shared } = reserved;
        self.purses.settle(&shared, own.amount(), cost);
        self.book.settle(own, cost, now.div_euclid(1_000))
    }

    /// Something of this route did cost so much for which nobody reserved: it was made long ago, and cannot be held up any more.
    /// Returns what is to be told of it.
    pub fn charge(&mut self, cost: u64, route: Option<&str>, now: i64) -> Vec<Reached> {
        self.purses.charge(cost, route, now);
        self.book.charge(cost, now.div_euclid(1_000))
    }
}
