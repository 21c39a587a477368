//! Prices per token, and what tokens cost at them.

use super::Picodollars;
use crate::dialect::Usage;

/// Prices per token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of input that was neither read from the provider's cache nor written to it.
    pub input: Picodollars,
    /// Of output.
    pub output: Picodollars,
    /// Of input read from the provider's cache.
    pub cache_read: Picodollars,
    /// Of input written to the provider's cache.
    pub cache_write: Picodollars,
    /// Of input written there for an hour instead of the usual minutes; `None`: not known.
    pub cache_write_hour: Option<Picodollars>,
    /// Of output spent on reasoning.
    pub reasoning: Picodollars,
    /// Of a search of the web that the provider makes, each; `None`: not known.
    pub web_search: Option<Picodollars>,
}

impl Rates {
    /// What these tokens cost. `None`: some of them have no price.
    pub(super) fn reported(&self, usage: &Usage) -> Option<Picodollars> {
        let hour = u64::from(usage.cache_write_hour).min(usage.cache_write);
        let hour_rate = if hour == 0 {
            Picodollars::ZERO
        } else {
            self.cache_write_hour?
        };
        let search_rate = if usage.searches == 0 {
            Picodollars::ZERO
        } else {
            self.web_search?
        };
        let plain = usage
            .input
            .saturating_sub(usage.cached)
            .saturating_sub(usage.cache_write);
        let parts = [
            self.input.times(plain),
            self.cache_read.times(usage.cached),
            self.cache_write.times(usage.cache_write - hour),
            hour_rate.times(hour),
            self.output.times(usage.output.saturating_sub(usage.reasoning)),
            self.reasoning.times(usage.reasoning.min(usage.output)),
            search_rate.times(u64::from(usage.searches)),
        ];
        Some(parts.into_iter().fold(Picodollars::ZERO, Picodollars::plus))
    }
}
