//! What a request holds under limits and budgets, in one: it and its attempts share it, and the last of them that ends settles it.

use std::sync::Arc;

use bowsprit_core::cost::{Picodollars, Unpriced};
use bowsprit_core::record::Spent;
use bowsprit_core::reserve::{Bound, Most};

use super::{budgets, limits};

/// What is to be settled with what a request used.
#[derive(Debug, Default)]
pub struct Charges {
    /// What any attempt may come to at the most.
    pub bound: Bound,
    /// Its room under named limits.
    pub limits: Option<limits::Guard>,
    /// What is reserved for it under budgets.
    pub budgets: Option<budgets::Guard>,
    /// Of what is held for its attempts at one provider: what it holds wherever it goes.
    pub of_request: Option<Arc<Self>>,
}

impl Charges {
    /// An attempt has ended and cost so much. `open`: it may have written more than is known, and come to this at the most.
    pub fn attempt(&self, spent: &Spent, cost: Result<Picodollars, Unpriced>, open: Option<Most>) {
        if let Some(limits) = &self.limits {
            limits.attempt(spent, cost, open);
        }
        if let Some(budgets) = &self.budgets {
            budgets.attempt(spent, cost, open);
        }
        if let Some(of_request) = &self.of_request {
            of_request.attempt(spent, cost, open);
        }
    }
}
