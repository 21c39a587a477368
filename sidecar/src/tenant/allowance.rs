//! What a tenant's requests may add to its providers' load: retries, from one budget for all of them, and hedges, by route.
//!
//! Both survive a reload. Each lock is held for arithmetic only, never across an await.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use bowsprit_core::budget::Budget;
use bowsprit_core::hedge::{Allowance, HedgeSettings};

use crate::sync::locked;

/// The retry budget, and what routes may hedge.
#[derive(Default)]
pub struct Allowances {
    budget: Mutex<Budget>,
    /// By route; empty where no route hedges.
    hedges: Mutex<HashMap<String, Allowance>>,
}

impl Allowances {
    /// The retry budget.
    pub fn budget(&self) -> MutexGuard<'_, Budget> {
        locked(&self.budget)
    }

    /// Counts a request of a route that hedges.
    pub fn may_hedge(&self, route: &str, settings: &HedgeSettings) {
        let mut hedges = locked(&self.hedges);
        match hedges.get_mut(route) {
            Some(allowance) => allowance.deposit(settings),
            None => hedges.entry(route.to_owned()).or_default().deposit(settings),
        }
    }

    /// Whether one more hedge of this route may be sent. If so, it is taken from what there is.
    pub fn hedge(&self, route: &str) -> bool {
        locked(&self.hedges).get_mut(route).is_some_and(Allowance::withdraw)
    }

    /// Forgets routes that hedge no more.
    pub fn retain_hedges(&self, keep: impl Fn(&str) -> bool) {
        locked(&self.hedges).retain(|name, _| keep(name));
    }
}
