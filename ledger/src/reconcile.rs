//! Whether it closes: the ledger's tokens beside what Prometheus counted and what a provider says it billed, per provider, model and
//! kind of token. Pure; what is compared is read elsewhere.
//!
//! What providers told and what was estimated are never added up: a line is of one of them. A provider bills what it generated for an
//! answer that broke off and tells nobody; such a difference is *marked* where the ledger has an estimate that covers it.

pub mod prometheus;
pub mod run;
pub mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::query::Stat;

/// Which tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// As the provider told, its cache included.
    Input,
    /// As the provider told, reasoning included.
    Output,
    /// Of the input.
    Cached,
    /// Of the input.
    CacheWrite,
    /// Of the output.
    Reasoning,
    /// Beyond what the provider told.
    EstimatedInput,
    /// Beyond what the provider told.
    EstimatedOutput,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Input,
        Self::Output,
        Self::Cached,
        Self::CacheWrite,
        Self::Reasoning,
        Self::EstimatedInput,
        Self::EstimatedOutput,
    ];

    /// As the table has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Cached => "cached",
            Self::CacheWrite => "cache_write",
            Self::Reasoning => "reasoning",
            Self::EstimatedInput => "estimated_input",
            Self::EstimatedOutput => "estimated_output",
        }
    }

    /// What covers a bill that is higher.
    fn estimate(self) -> Option<Self> {
        match self {
            Self::Input => Some(Self::EstimatedInput),
            Self::Output => Some(Self::EstimatedOutput),
            _ => None,
        }
    }
}

/// Provider, model (empty: all models of the provider) and kind.
pub type Key = (String, String, Kind);
/// Tokens by what they are of.
pub type Tokens = BTreeMap<Key, u64>;

/// The ledger's.
pub fn of_ledger(stats: &[Stat]) -> Tokens {
    let mut all = Tokens::new();
    for stat in stats.iter().filter(|stat| stat.attempts > 0) {
        let told = stat.tokens;
        let counts = [
            told.input,
            told.output,
            told.cached,
            told.cache_write,
            told.reasoning,
            told.estimated_input,
            told.estimated_output,
        ];
        for (kind, count) in Kind::ALL.into_iter().zip(counts) {
            *all.entry((stat.provider.clone(), stat.name.clone(), kind)).or_default() += count;
        }
    }
    all
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is compared.
    pub key: Key,
    /// The ledger's.
    pub ledger: u64,
    /// The other's.
    pub other: u64,
    /// The ledger's estimate that covers the difference, where it does.
    pub marked: Option<u64>,
}

impl Line {
    /// The other's less the ledger's.
    pub fn drift(&self) -> i128 {
        i128::from(self.other) - i128::from(self.ledger)
    }

    /// Whether it is 0 or explained.
    pub fn closes(&self) -> bool {
        self.drift() == 0 || self.marked.is_some()
    }
}

/// The ledger beside Prometheus: each line must be 0. Estimates are counted by provider alone, and so they are compared; so are all
/// models of a provider where Prometheus has some of them under `other`, as its labels are bounded.
pub fn beside_prometheus(ledger: &Tokens, prometheus: &Tokens) -> Vec<Line> {
    let bounded: BTreeSet<&str> = prometheus
        .keys()
        .filter(|(_, model, _)| model == "other")
        .map(|(provider, ..)| provider.as_str())
        .collect();
    let fold = |tokens: &Tokens| {
        let mut folded = Tokens::new();
        for ((provider, model, kind), count) in tokens {
            let is_whole =
                bounded.contains(provider.as_str()) || matches!(kind, Kind::EstimatedInput | Kind::EstimatedOutput);
            let model = if is_whole { String::new() } else { model.clone() };
            *folded.entry((provider.clone(), model, *kind)).or_default() += count;
        }
        folded
    };
    lines(&fold(ledger), &fold(prometheus), |_, _| None)
}

/// The ledger beside a provider's bill, of the kinds that the bill tells.
pub fn beside_usage(ledger: &Tokens, provider: &str, usage: &BTreeMap<(String, Kind), u64>) -> Vec<Line> {
    let kinds: BTreeSet<Kind> = usage.keys().map(|(_, kind)| *kind).collect();
    let ours: Tokens = ledger
        .iter()
        .filter(|((of, _, kind), _)| of == provider && kinds.contains(kind))
        .map(|(key, count)| (key.clone(), *count))
        .collect();
    let theirs = usage
        .iter()
        .map(|((model, kind), count)| ((provider.to_owned(), model.clone(), *kind), *count))
        .collect();
    lines(&ours, &theirs, |(provider, model, kind), drift| {
        let estimate = *ledger.get(&(provider.clone(), model.clone(), kind.estimate()?))?;
        (0 < drift && estimate > 0).then_some(estimate)
    })
}

fn lines(ledger: &Tokens, other: &Tokens, covers: impl Fn(&Key, i128) -> Option<u64>) -> Vec<Line> {
    let keys: BTreeSet<&Key> = ledger.keys().chain(other.keys()).collect();
    let line = |key: &Key| {
        let count = |tokens: &Tokens| tokens.get(key).copied().unwrap_or(0);
        let mut line = Line {
            key: key.clone(),
            ledger: count(ledger),
            other: count(other),
            marked: None,
        };
        line.marked = covers(key, line.drift());
        line
    };
    keys.into_iter()
        .map(line)
        .filter(|line| line.ledger > 0 || line.other > 0)
        .collect()
}

/// The lines for a reader.
pub fn table(other: &str, lines: &[Line]) -> String {
    let mut rows = vec![["provider", "model", "tokens", "ledger", other, "drift", ""].map(str::to_owned)];
    for line in lines {
        let (provider, model, kind) = &line.key;
        let model = if model.is_empty() { "(all)" } else { model };
        let mark = match (line.drift(), line.marked) {
            (0, _) => String::new(),
            (_, Some(estimate)) => format!("beside an estimate of {estimate}"),
            (_, None) => "does not close".to_owned(),
        };
        rows.push([
            printable(provider),
            printable(model),
            kind.as_str().to_owned(),
            line.ledger.to_string(),
            line.other.to_string(),
            line.drift().to_string(),
            mark,
        ]);
    }
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut out = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Numbers stand to the right.
            let _ = if (3..6).contains(&column) {
                write!(out, "{cell:>width$}  ")
            } else {
                write!(out, "{cell:<width$}  ")
            };
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
    text
}

/// A name on a terminal: without what moves its cursor.
fn printable(name: &str) -> String {
    name.chars()
        .map(|char| if char.is_control() { '\u{fffd}' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(counts: &[(&str, &str, Kind, u64)]) -> Tokens {
        let of = |(provider, model, kind, count): &(&str, &str, Kind, u64)| {
            ((provider.to_string(), model.to_string(), *kind), *count)
        };
        counts.iter().map(of).collect()
    }

    #[test]
    fn what_is_the_same_closes_and_what_is_not_does_not() {
        let ledger = tokens(&[
            ("claude", "m", Kind::Input, 100),
            ("claude", "m", Kind::EstimatedOutput, 7),
            ("claude", "n", Kind::EstimatedOutput, 2),
        ]);
        let same = tokens(&[
            ("claude", "m", Kind::Input, 100),
            ("claude", "", Kind::EstimatedOutput, 9),
        ]);
        let lines = beside_prometheus(&ledger, &same);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.drift() == 0), "{lines:?}");
        let less = tokens(&[
            ("claude", "m", Kind::Input, 99),
            ("claude", "", Kind::EstimatedOutput, 9),
            ("gone", "m", Kind::Output, 1),
        ]);
        let open: Vec<_> = beside_prometheus(&ledger, &less)
            .into_iter()
            .filter(|line| !line.closes())
            .collect();
        assert_eq!(open.iter().map(Line::drift).collect::<Vec<_>>(), [-1, 1]);
        assert!(table("prometheus", &open).contains("does not close"));
    }

    #[test]
    fn models_that_prometheus_bounds_are_compared_together() {
        let ledger = tokens(&[("claude", "m", Kind::Input, 5), ("claude", "n", Kind::Input, 6)]);
        let bounded = tokens(&[("claude", "m", Kind::Input, 5), ("claude", "other", Kind::Input, 6)]);
        let lines = beside_prometheus(&ledger, &bounded);
        assert_eq!((lines.len(), lines[0].ledger, lines[0].drift()), (1, 11, 0));
    }

    #[test]
    fn a_higher_bill_is_marked_where_an_estimate_stands_beside_it_and_a_lower_one_never() {
        let ledger = tokens(&[
            ("claude", "m", Kind::Output, 100),
            ("claude", "m", Kind::EstimatedOutput, 30),
            ("other", "m", Kind::Output, 9),
        ]);
        let bill = |count: u64| BTreeMap::from([(("m".to_owned(), Kind::Output), count)]);
        let line = |count: u64| beside_usage(&ledger, "claude", &bill(count)).remove(0);
        assert_eq!((line(100).drift(), line(100).marked), (0, None));
        assert_eq!((line(125).drift(), line(125).marked), (25, Some(30)));
        assert!(line(125).closes());
        assert!(!line(99).closes());
        let without = tokens(&[("claude", "m", Kind::Output, 100)]);
        assert!(!beside_usage(&without, "claude", &bill(125))[0].closes());
    }
}
