//! What an attempt cost, or why that is not known.

use super::Picodollars;

/// What an attempt cost, in picodollars, told apart as its tokens are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost<'a> {
    /// Of the tokens that the provider told.
    pub reported: Picodollars,
    /// Of those that are estimated.
    pub estimated: Picodollars,
    /// Which prices: `table:<date>` or `config`; empty where nothing was spent.
    pub version: &'a str,
}

impl Cost<'_> {
    /// Nothing was spent.
    pub const NOTHING: Self = Cost {
        reported: Picodollars::ZERO,
        estimated: Picodollars::ZERO,
        version: "",
    };

    /// All of it.
    pub fn total(&self) -> Picodollars {
        self.reported.plus(self.estimated)
    }
}

/// Why it is not known what an attempt cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unpriced {
    /// Its tokens are not known, not even by estimate.
    Tokens,
    /// The model's price is not known.
    Model,
    /// The provider billed it otherwise than by the prices that are known: another service tier, sound or pictures, a region.
    Terms,
}

impl Unpriced {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Tokens, Self::Model, Self::Terms];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Model => "model",
            Self::Terms => "terms",
        }
    }
}
