//! The models that a configuration serves, as each dialect lists them.

use bowsprit_core::config::Config;
use bowsprit_core::dialect::{Dialect, model_entry, model_list};
use bowsprit_core::model_name::same;
use bytes::Bytes;

/// The lists, made once per configuration.
pub struct Listings {
    entries: Vec<(String, String)>,
    lists: [(Dialect, Bytes); Dialect::ALL.len()],
}

impl Listings {
    /// The lists of this configuration.
    pub fn new(config: &Config) -> Self {
        let entries: Vec<(String, String)> = bowsprit_core::plan::served(config)
            .into_iter()
            .map(|model| {
                let owner = config.providers.iter().find(|provider| {
                    provider.serves(&model).is_some() || provider.default_model.as_ref() == Some(&model)
                });
                let owner = owner.map_or("bowsprit", |provider| provider.name.as_str()).to_owned();
                (model, owner)
            })
            .collect();
        Self {
            lists: Dialect::ALL.map(|dialect| (dialect, model_list(dialect, &entries))),
            entries,
        }
    }

    /// All models, as this dialect lists them.
    pub fn all(&self, dialect: Dialect) -> Bytes {
        let found = self.lists.iter().find(|(known, _)| *known == dialect);
        found.map(|(_, list)| list.clone()).unwrap_or_default()
    }

    /// One model, as this dialect tells of it. Its exact name wins over another spelling of it. `None`: none is served.
    pub fn one(&self, dialect: Dialect, wanted: &str) -> Option<Bytes> {
        let exact = self.entries.iter().find(|(model, _)| model == wanted);
        let (model, owner) = exact.or_else(|| self.entries.iter().find(|(model, _)| same(model, wanted)))?;
        Some(model_entry(dialect, model, owner))
    }
}
