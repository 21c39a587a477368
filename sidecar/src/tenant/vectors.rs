//! A vector that is kept, and where it came from.

use std::sync::Arc;

use bowsprit_core::cost::Picodollars;
use bowsprit_core::kept::vector::Vector;
use http::HeaderValue;

use super::kept::Keep;

/// Where vectors came from: one for all of an answer.
#[derive(Debug)]
pub struct Source {
    /// `X-Request-ID` of the request that they answered.
    pub request_id: String,
    /// The model that was asked for.
    pub asked: Arc<str>,
    /// The model as the answer names it: its version.
    pub model: String,
    /// The ProviderConfig that gave them.
    pub provider: HeaderValue,
    /// Tokens that each was billed with on the average, and what these cost.
    pub spent: (u64, Picodollars),
}

/// A kept vector.
#[derive(Debug)]
pub struct Stored {
    /// The vector.
    pub vector: Vector,
    /// Where it came from.
    pub source: Arc<Source>,
}

impl Keep for Stored {
    fn sizes(&self) -> (usize, usize) {
        (self.vector.bytes(), self.vector.bytes())
    }

    fn is_of(&self, model: &str) -> bool {
        *model == *self.source.asked || model == self.source.model
    }

    fn is_of_another_version(&self, asked: &str, version: &str) -> bool {
        *asked == *self.source.asked && version != self.source.model
    }
}
