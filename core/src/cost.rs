//! What attempts cost, exactly: tokens times prices, in whole picodollars.
//!
//! Prices come from the ProviderConfig's own `price` or else from the table in `core/data/prices.json`; [`Prices`] has those of
//! a provider's models ready before the first request. What is not known is said to be unknown and counted as such, never as
//! nothing: a model without a price, tokens that nobody told, an answer that was billed otherwise than by the price per token.

mod amount;
mod money;
mod prices;
mod rates;
mod table;
mod tariff;

pub use amount::{Cost, Unpriced};
pub use money::{Picodollars, PriceError};
pub use prices::Prices;
pub use rates::Rates;
pub use table::{Table, TableError, undated};
pub use tariff::{Scale, Tariff};

#[cfg(test)]
mod tests;
