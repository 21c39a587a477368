//! What one model costs: by the length of the input, by the terms of billing, and by the day.

use super::{Cost, Rates, Unpriced};
use crate::dialect::Terms;
use crate::record::Spent;

/// Prices that depend on how long the input is: those of the highest step below it hold for all tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    base: Rates,
    /// From the lowest step to the highest: beyond so many tokens of input.
    above: Vec<(u64, Rates)>,
}

impl Scale {
    /// `above`: prices for inputs of more than so many tokens.
    pub fn new(base: Rates, mut above: Vec<(u64, Rates)>) -> Self {
        above.sort_by_key(|(tokens, _)| *tokens);
        Self { base, above }
    }

    fn at(&self, input: u64) -> &Rates {
        let step = self.above.iter().rev().find(|(tokens, _)| input > *tokens);
        step.map_or(&self.base, |(_, rates)| rates)
    }

    fn steps(&self) -> impl Iterator<Item = &Rates> {
        std::iter::once(&self.base).chain(self.above.iter().map(|(_, rates)| rates))
    }
}

/// The prices of a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Period {
    /// Seconds since 1970, UTC.
    pub from: i64,
    pub standard: Scale,
    pub flex: Option<Scale>,
    pub priority: Option<Scale>,
    pub batch: Option<Scale>,
}

/// What a model costs, now and from known days on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tariff {
    /// As the records tell it: `table:<date>` or `config`.
    version: String,
    /// What is in force.
    now: Period,
    /// What is announced, in order.
    later: Vec<Period>,
}

impl Tariff {
    pub(super) fn new(version: String, now: Period, mut later: Vec<Period>) -> Self {
        later.sort_by_key(|period| period.from);
        Self { version, now, later }
    }

    /// An author's own prices: for answers billed by the provider's standard terms.
    pub fn own(rates: Rates) -> Self {
        let standard = Scale::new(rates, Vec::new());
        let now = Period {
            standard,
            ..Period::default()
        };
        Self::new("config".into(), now, Vec::new())
    }

    /// What was spent costs. `today`: seconds since 1970, asked for only where prices will change.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn cost(&self, spent: &Spent, today: impl FnOnce() -> i64) -> Result<Cost<'_>, Unpriced> {
        let usage = spent.reported.unwrap_or_default();
        let period = if self.later.is_empty() {
            &self.now
        } else {
            self.in_force(today())
        };
        let scale = match usage.terms {
            Terms::Standard => Some(&period.standard),
            Terms::Flex => period.flex.as_ref(),
            Terms::Priority => period.priority.as_ref(),
            Terms::Batch => period.batch.as_ref(),
            Terms::Other => None,
        };
        let scale = scale.ok_or(Unpriced::Terms)?;
        let rates = scale.at(usage.input.saturating_add(spent.estimated_input));
        let estimated = rates.input.times(spent.estimated_input);
        Ok(Cost {
            reported: rates.reported(&usage).ok_or(Unpriced::Terms)?,
            estimated: estimated.plus(rates.output.times(spent.estimated_output)),
            version: &self.version,
        })
    }

    fn in_force(&self, today: i64) -> &Period {
        let begun = self.later.iter().rev().find(|period| period.from <= today);
        begun.unwrap_or(&self.now)
    }

    /// Every price in it.
    pub fn steps(&self) -> impl Iterator<Item = &Rates> {
        let periods = std::iter::once(&self.now).chain(&self.later);
        let scales = periods.flat_map(|period| {
            let tiers = [&period.flex, &period.priority, &period.batch];
            std::iter::once(&period.standard).chain(tiers.into_iter().flatten())
        });
        scales.flat_map(Scale::steps)
    }
}
