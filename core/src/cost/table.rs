//! The table of list prices that comes with a release: a data file with its date, source and licence.

use std::collections::HashMap;
use std::sync::LazyLock;

use bowsprit_crds::ProviderKind;
use serde::Deserialize;

use super::tariff::Period;
use super::{Picodollars, PriceError, Rates, Scale, Tariff};
use crate::model_name;

/// How `core/data/update-prices` writes it.
static TEXT: &str = include_str!("../../data/prices.json");

#[derive(Deserialize)]
struct Raw {
    date: String,
    source: String,
    licence: String,
    models: HashMap<ProviderKind, Vec<RawModel>>,
}

#[derive(Deserialize)]
struct RawModel {
    names: Vec<String>,
    prices: Vec<RawPeriod>,
}

#[derive(Deserialize)]
struct RawPeriod {
    #[serde(default)]
    from: String,
    #[serde(flatten)]
    standard: RawScale,
    flex: Option<RawScale>,
    priority: Option<RawScale>,
    batch: Option<RawScale>,
}

#[derive(Deserialize)]
struct RawScale {
    #[serde(flatten)]
    base: RawRates,
    #[serde(default)]
    above: Vec<RawStep>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStep {
    context_tokens: u64,
    #[serde(flatten)]
    rates: RawRates,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRates {
    input: String,
    output: String,
    cache_read: Option<String>,
    cache_write: Option<String>,
    cache_write_hour: Option<String>,
    reasoning: Option<String>,
    web_searches: Option<String>,
}

/// Why a text is no table of prices.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It is not laid out as one.
    #[error("the table of prices cannot be read: {0}")]
    Layout(#[from] serde_json::Error),
    /// A model's price is none.
    #[error("the price {text:?} of {model} {error}")]
    Price {
        /// Whose.
        model: String,
        /// As it is written.
        text: String,
        /// What is wrong with it.
        error: PriceError,
    },
    /// A day is none.
    #[error("{0:?} is no day: write it as 2026-01-31")]
    Day(String),
    /// A model has no price, or a name twice.
    #[error("{0} has no price, no name, or a name that is there twice")]
    Model(String),
}

/// List prices by model.
#[derive(Debug, Default)]
pub struct Table {
    /// The day that it was taken.
    pub date: String,
    /// Where its figures are from.
    pub source: String,
    /// Under which licence.
    pub licence: String,
    tariffs: HashMap<ProviderKind, List>,
}

/// List prices of one kind of provider, by the names of its models.
#[derive(Debug, Default)]
pub(super) struct List(HashMap<String, Tariff>);

impl List {
    /// What a model costs, as the provider names it: by its name, or by that name without the day or version at its end.
    pub(super) fn tariff(&self, model: &str) -> Option<&Tariff> {
        let name = model_name::bare(model);
        self.0.get(name).or_else(|| self.0.get(undated(name)?))
    }
}

impl Table {
    /// The one that comes with this release. A test holds that it can be read; were it not so, no price would be known.
    pub fn own() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(TEXT).unwrap_or_default());
        &TABLE
    }

    /// Reads a table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let raw: Raw = serde_json::from_str(text)?;
        seconds(&raw.date)?;
        let version = format!("table:{}", raw.date);
        let mut tariffs: HashMap<ProviderKind, List> = HashMap::new();
        for (kind, models) in raw.models {
            let known = tariffs.entry(kind).or_default();
            for model in models {
                let name = model.names.first().cloned().unwrap_or_default();
                let mut periods = Vec::new();
                for period in &model.prices {
                    periods.push(period.read(&name)?);
                }
                let now = (!periods.is_empty()).then(|| periods.remove(0));
                let now = now.ok_or_else(|| TableError::Model(name.clone()))?;
                let tariff = Tariff::new(version.clone(), now, periods);
                let is_new = |(name, tariff): (String, Tariff)| known.0.insert(name, tariff).is_none();
                let names = model.names.into_iter();
                if name.is_empty() || !names.map(|name| (name, tariff.clone())).all(is_new) {
                    return Err(TableError::Model(name));
                }
            }
        }
        Ok(Self {
            date: raw.date,
            source: raw.source,
            licence: raw.licence,
            tariffs,
        })
    }

    /// What a model of this kind of provider costs, as the provider names it: by its name, or by that name without the day or
    /// version at its end. Servers that are only compatible, and deployments of a name of their own, have no list price.
    pub fn tariff(&self, kind: ProviderKind, model: &str) -> Option<&Tariff> {
        self.list(kind)?.tariff(model)
    }

    /// All that models of this kind of provider cost.
    pub(super) fn list(&self, kind: ProviderKind) -> Option<&List> {
        self.tariffs.get(&kind)
    }

    /// All of them, by name.
    pub fn tariffs(&self) -> impl Iterator<Item = (ProviderKind, &str, &Tariff)> {
        self.tariffs
            .iter()
            .map(|(kind, known)| (*kind, known))
            .flat_map(|(kind, known)| known.0.iter().map(move |(name, tariff)| (kind, name.as_str(), tariff)))
    }
}

/// A name without what says which edition it is: `-20250929`, `@20250929`, `-2025-09-29`, `-001`, `-latest`.
pub fn undated(name: &str) -> Option<&str> {
    let is_like = |text: &str, form: &str| {
        let mut pairs = text.bytes().zip(form.bytes());
        pairs.all(|(byte, like)| {
            if like == b'0' {
                byte.is_ascii_digit()
            } else {
                byte == like
            }
        })
    };
    let edition = |form: &&str| {
        let (rest, edition) = name.split_at_checked(name.len().checked_sub(form.len())?)?;
        is_like(edition, form).then(|| rest.strip_suffix(['-', '@'])).flatten()
    };
    ["latest", "0000-00-00", "00000000", "000"].iter().find_map(edition)
}

/// The beginning of a day, as seconds since 1970.
fn seconds(day: &str) -> Result<i64, TableError> {
    let wrong = || TableError::Day(day.to_owned());
    let mut parts = day.splitn(3, '-').map(str::parse::<i64>);
    let mut next = || parts.next().and_then(Result::ok).ok_or_else(wrong);
    let (year, month, date) = (next()?, next()?, next()?);
    if day.len() != 10 || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&date) {
        return Err(wrong());
    }
    // Howard Hinnant's days_from_civil: years begin in March, so that the leap day is their last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5 + date - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Ok((era * 146_097 + day_of_era - 719_468) * 86_400)
}

impl RawPeriod {
    fn read(&self, model: &str) -> Result<Period, TableError> {
        let optional = |scale: &Option<RawScale>| scale.as_ref().map(|scale| scale.read(model)).transpose();
        Ok(Period {
            from: if self.from.is_empty() { 0 } else { seconds(&self.from)? },
            standard: self.standard.read(model)?,
            flex: optional(&self.flex)?,
            priority: optional(&self.priority)?,
            batch: optional(&self.batch)?,
        })
    }
}

impl RawScale {
    fn read(&self, model: &str) -> Result<Scale, TableError> {
        let steps = self
            .above
            .iter()
            .map(|step| Ok((step.context_tokens, step.rates.read(model)?)));
        Ok(Scale::new(
            self.base.read(model)?,
            steps.collect::<Result<_, TableError>>()?,
        ))
    }
}

impl RawRates {
    fn read(&self, model: &str) -> Result<Rates, TableError> {
        let price = |text: &str| {
            Picodollars::per_token(text).map_err(|error| TableError::Price {
                model: model.to_owned(),
                text: text.to_owned(),
                error,
            })
        };
        let optional = |text: &Option<String>| text.as_deref().map(price).transpose();
        let (input, output) = (price(&self.input)?, price(&self.output)?);
        Ok(Rates {
            input,
            output,
            cache_read: optional(&self.cache_read)?.unwrap_or(input),
            cache_write: optional(&self.cache_write)?.unwrap_or(input),
            cache_write_hour: optional(&self.cache_write_hour)?,
            reasoning: optional(&self.reasoning)?.unwrap_or(output),
            // Written per thousand, and so a thousandth of a million times what a token of that price costs.
            web_search: optional(&self.web_searches)?.map(|price| price.times(1_000)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_its_edition_and_nothing_else() {
        for (name, bare) in [
            ("claude-sonnet-4-5-20250929", Some("claude-sonnet-4-5")),
            ("claude-sonnet-4-5@20250929", Some("claude-sonnet-4-5")),
            ("gpt-4.1-2025-04-14", Some("gpt-4.1")),
            ("gemini-2.0-flash-001", Some("gemini-2.0-flash")),
            ("gpt-5-chat-latest", Some("gpt-5-chat")),
            ("gpt-4o", None),
            ("claude-opus-4-1", None),
            ("gpt-4-0613", None),
            ("20250929", None),
            ("-20250929", Some("")),
            ("", None),
        ] {
            assert_eq!(undated(name), bare, "{name}");
        }
    }

    #[test]
    fn a_day_is_so_many_seconds_since_1970() {
        for (day, days) in [("1970-01-01", 0), ("2000-03-01", 11_017), ("2026-12-01", 20_788)] {
            assert_eq!(seconds(day).unwrap(), days * 86_400, "{day}");
        }
        for day in ["", "2026", "2026-13-01", "2026-1-1", "tomorrow", "2026-12-01T00:00"] {
            assert!(seconds(day).is_err(), "{day}");
        }
    }
}
