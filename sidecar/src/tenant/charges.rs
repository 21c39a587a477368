//! What a request holds under limits and budgets, in one: it and its attempts share it, and the last of them that ends settles it.

use std::sync::Arc;

use bowsprit_core::cost::{Picodollars, Unpriced};
use bowsprit_core::record::Spent;

use super::{budgets, limits};

/// What is to be settled with what a request used.
#[derive(Debug, Default)]
pub struct Charges {
    /// Its room under named limits.
    pub limits: Option<limits::Guard>,
    /// What is reserved for it under budgets.
    pub budgets: Option<budgets::Guard>,
    /// Of what is held for its attempts at one provider: what it holds wherever it goes.
    pub of_request: Option<Arc<Self>>,
}

impl Charges {
    /// An attempt has ended and cost so much. `is_output_open`: it may have written more than is known.
    pub fn attempt(&self, spent: &Spent, cost: Result<Picodollars, Unpriced>, is_output_open: bool) {
        if let Some(limits) = &self.limits {
            limits.attempt(spent, cost, is_output_open);
        }
        if let Some(budgets) = &self.budgets {
            budgets.attempt(spent, cost, is_output_open);
        }
        if let Some(of_request) = &self.of_request {
            of_request.attempt(spent, cost, is_output_open);
        }
    }
}
