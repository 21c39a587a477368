//! The prices of one provider's models, found before the first request.

use std::borrow::Cow;

use super::table::List;
use super::{Cost, Table, Tariff, Unpriced};
use crate::config::Provider;
use crate::record::Spent;

/// What a provider's models cost.
#[derive(Clone, Debug)]
pub struct Prices {
    /// Of all others that it may be asked for.
    list: Option<&'static List>,
    /// Of those that it lists, and of its default.
    listed: Vec<(String, Option<Cow<'static, Tariff>>)>,
}

impl Prices {
    /// Of this provider: its own `price`, or else the table's.
    pub fn of(provider: &Provider) -> Self {
        let list = Table::own().list(provider.kind);
        let list_price = |name: &str| list?.tariff(name).map(Cow::Borrowed);
        let price = |model: &crate::config::Model| {
            let own = model.price.map(|rates| Cow::Owned(Tariff::own(rates)));
            (model.name.clone(), own.or_else(|| list_price(&model.name)))
        };
        let mut listed: Vec<_> = provider.models.iter().map(price).collect();
        if let Some(default) = &provider.default_model
            && listed.iter().all(|(name, _)| name != default)
        {
            listed.push((default.clone(), list_price(default)));
        }
        Self { list, listed }
    }

    /// What was spent on this model costs. `today`: seconds since 1970, asked for only where prices will change.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn cost(&self, model: &str, spent: &Spent, today: impl FnOnce() -> i64) -> Result<Cost<'_>, Unpriced> {
        match spent.total() {
            None => return Err(Unpriced::Tokens),
            Some(0) if spent.is_nothing => return Ok(Cost::NOTHING),
            Some(_) => {}
        }
        let tariff = match self.listed.iter().find(|(name, _)| name == model) {
            Some((_, tariff)) => tariff.as_deref(),
            // Passed on by a provider that lists none.
            None => self.list.and_then(|list| list.tariff(model)),
        };
        tariff.ok_or(Unpriced::Model)?.cost(spent, today)
    }
}
