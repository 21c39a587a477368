//! Whether it closes: the ledger's tokens beside what Prometheus counted and what a provider says it billed, per provider, model and
//! kind of token. Pure; what is compared is read elsewhere.
//!
//! What providers told and what was estimated are never added up: a line is of one of them. A provider bills what it generated for an
//! answer that broke off and tells nobody; such a difference is *marked* where the ledger's estimate is at least as large. So is one
//! beside Prometheus that is within what its scrapes cannot tell: see [`prometheus`].

pub mod exposition;
pub mod prometheus;
pub mod run;
pub mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bowsprit_core::cost::undated;

use crate::query::Stat;
use prometheus::Counted;

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

/// Provider (empty: all of them), model (empty: all models of the provider) and kind.
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
            let sum = all.entry((stat.provider.clone(), stat.name.clone(), kind)).or_default();
            *sum = u64::saturating_add(*sum, count);
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
    /// The ledger's estimate beside it, of what a bill may be higher by; 0 where nothing was estimated.
    pub estimate: u64,
    /// What Prometheus may be higher by: [`prometheus::Counted::early`].
    pub early: u64,
    /// What Prometheus may be lower by: [`prometheus::Counted::unseen`].
    pub unseen: u64,
}

impl Line {
    /// The other's less the ledger's.
    pub fn drift(&self) -> i128 {
        i128::from(self.other) - i128::from(self.ledger)
    }

    /// Whether it is 0, or within what was estimated or what scrapes cannot tell.
    pub fn closes(&self) -> bool {
        let higher = i128::from(self.estimate) + i128::from(self.early);
        (-i128::from(self.unseen)..=higher).contains(&self.drift())
    }

    fn mark(&self) -> String {
        match (self.drift(), self.estimate) {
            (0, _) => String::new(),
            (..0, _) if self.closes() => format!("within {} that scrapes may have missed", self.unseen),
            (_, 0) if self.closes() => format!("within {} that may be of before", self.early),
            (_, estimate) if self.closes() => format!("within an estimate of {estimate}"),
            (1.., estimate @ 1..) => format!("does not close: beyond an estimate of {estimate}"),
            _ => "does not close".to_owned(),
        }
    }
}

/// The name that stands for those for which there is no room, in a sidecar's labels and in sums of its outbox.
const OTHER: &str = "other";

/// The ledger beside Prometheus: each line must be 0, or within what scrapes cannot tell. Estimates are counted by provider alone, and so they are compared; so are all
/// models of a provider where either side has some of them under `other`. A kind of which Prometheus has some under the provider
/// `other` is compared over all providers.
pub fn beside_prometheus(ledger: &Tokens, counted: &Counted) -> Vec<Line> {
    let prometheus = &counted.tokens;
    let both = || ledger.keys().chain(prometheus.keys());
    let bounded: BTreeSet<&str> = both()
        .filter(|(_, model, _)| model == OTHER)
        .map(|(provider, ..)| provider.as_str())
        .collect();
    let mixed: BTreeSet<Kind> = prometheus
        .keys()
        .filter(|(provider, ..)| provider == OTHER)
        .map(|(.., kind)| *kind)
        .collect();
    let place = |(provider, model, kind): &Key| {
        let is_whole =
            bounded.contains(provider.as_str()) || matches!(kind, Kind::EstimatedInput | Kind::EstimatedOutput);
        if mixed.contains(kind) {
            (String::new(), String::new(), *kind)
        } else if is_whole {
            (provider.clone(), String::new(), *kind)
        } else {
            (provider.clone(), model.clone(), *kind)
        }
    };
    let [early, unseen] = [&counted.early, &counted.unseen].map(|tokens| folded(tokens, place));
    let of = |tokens: &Tokens, key: &Key| tokens.get(key).copied().unwrap_or(0);
    let mut lines = lines(&folded(ledger, place), &folded(prometheus, place), |_| 0);
    for line in &mut lines {
        (line.early, line.unseen) = (of(&early, &line.key), of(&unseen, &line.key));
    }
    lines
}

/// The same tokens in other places, those of one place added up.
fn folded(tokens: &Tokens, place: impl Fn(&Key) -> Key) -> Tokens {
    let mut folded = Tokens::new();
    for (key, count) in tokens {
        let sum = folded.entry(place(key)).or_default();
        *sum = u64::saturating_add(*sum, *count);
    }
    folded
}

/// The ledger beside a provider's bill, of the kinds that the bill tells. A bill names the edition that answered, and the ledger what was
/// asked for: all editions of a model are one line.
pub fn beside_usage(ledger: &Tokens, provider: &str, usage: &BTreeMap<(String, Kind), u64>) -> Vec<Line> {
    let kinds: BTreeSet<Kind> = usage.keys().map(|(_, kind)| *kind).collect();
    let place = |(provider, model, kind): &Key| (provider.clone(), undated(model).unwrap_or(model).to_owned(), *kind);
    let mut ledger = folded(ledger, place);
    ledger.retain(|(of, ..), _| of == provider);
    let of_kinds = ledger.iter().filter(|((.., kind), _)| kinds.contains(kind));
    let ours: Tokens = of_kinds.map(|(key, count)| (key.clone(), *count)).collect();
    let theirs: Tokens = usage
        .iter()
        .map(|((model, kind), count)| ((provider.to_owned(), model.clone(), *kind), *count))
        .collect();
    lines(&ours, &folded(&theirs, place), |(provider, model, kind)| {
        let estimate = kind.estimate().map(|kind| (provider.clone(), model.clone(), kind));
        estimate.and_then(|key| ledger.get(&key).copied()).unwrap_or(0)
    })
}

fn lines(ledger: &Tokens, other: &Tokens, estimate: impl Fn(&Key) -> u64) -> Vec<Line> {
    let keys: BTreeSet<&Key> = ledger.keys().chain(other.keys()).collect();
    let line = |key: &Key| {
        let count = |tokens: &Tokens| tokens.get(key).copied().unwrap_or(0);
        Line {
            key: key.clone(),
            ledger: count(ledger),
            other: count(other),
            estimate: estimate(key),
            early: 0,
            unseen: 0,
        }
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
        let [provider, model] = [provider, model].map(|name| if name.is_empty() { "(all)" } else { name });
        rows.push([
            printable(provider),
            printable(model),
            kind.as_str().to_owned(),
            line.ledger.to_string(),
            line.other.to_string(),
            line.drift().to_string(),
            line.mark(),
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

    fn counted(counts: &[(&str, &str, Kind, u64)]) -> Counted {
        Counted {
            tokens: tokens(counts),
            ..Counted::default()
        }
    }

    #[test]
    fn what_scrapes_cannot_tell_is_marked_and_anything_beyond_it_does_not_close() {
        let of = |count| tokens(&[("claude", "m", Kind::Input, count)]);
        let line = |ledger| {
            let counted = Counted {
                tokens: of(100),
                early: of(5),
                unseen: of(7),
            };
            beside_prometheus(&of(ledger), &counted).remove(0)
        };
        let closes = [94, 95, 100, 107, 108].map(|ledger| line(ledger).closes());
        assert_eq!(closes, [false, true, true, true, false]);
        let marks = [94, 95, 107].map(|ledger| line(ledger).mark());
        assert_eq!(
            marks,
            [
                "does not close",
                "within 5 that may be of before",
                "within 7 that scrapes may have missed"
            ]
        );
    }

    #[test]
    fn what_is_the_same_closes_and_what_is_not_does_not() {
        let ledger = tokens(&[
            ("claude", "m", Kind::Input, 100),
            ("claude", "m", Kind::EstimatedOutput, 7),
            ("claude", "n", Kind::EstimatedOutput, 2),
        ]);
        let same = counted(&[
            ("claude", "m", Kind::Input, 100),
            ("claude", "", Kind::EstimatedOutput, 9),
        ]);
        let lines = beside_prometheus(&ledger, &same);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.drift() == 0), "{lines:?}");
        let less = counted(&[
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
        let bounded = counted(&[("claude", "m", Kind::Input, 5), ("claude", "other", Kind::Input, 6)]);
        let lines = beside_prometheus(&ledger, &bounded);
        assert_eq!((lines.len(), lines[0].ledger, lines[0].drift()), (1, 11, 0));
    }

    #[test]
    fn sums_whose_model_a_sidecar_gave_up_are_compared_with_all_of_their_provider() {
        let ledger = tokens(&[("claude", "m", Kind::Input, 5), ("claude", "other", Kind::Input, 6)]);
        let counted = counted(&[("claude", "m", Kind::Input, 9), ("claude", "n", Kind::Input, 2)]);
        let lines = beside_prometheus(&ledger, &counted);
        assert_eq!((lines.len(), lines[0].ledger, lines[0].drift()), (1, 11, 0));
    }

    #[test]
    fn a_kind_whose_provider_prometheus_gave_up_is_compared_over_all_of_them() {
        let ledger = tokens(&[
            ("claude", "m", Kind::Input, 5),
            ("claude", "m", Kind::Cached, 3),
            ("openai", "n", Kind::Cached, 4),
        ]);
        let counted = counted(&[
            ("claude", "m", Kind::Input, 5),
            ("claude", "m", Kind::Cached, 1),
            ("other", "other", Kind::Cached, 6),
        ]);
        let lines = beside_prometheus(&ledger, &counted);
        assert_eq!((lines.len(), lines[0].ledger, lines[1].ledger), (2, 7, 5));
        assert!(lines.iter().all(|line| line.drift() == 0), "{lines:?}");
        assert!(
            table("prometheus", &lines).contains("(all)     (all)"),
            "{}",
            table("prometheus", &lines)
        );
    }

    #[test]
    fn a_bill_of_editions_is_compared_with_the_model_that_was_asked_for() {
        let ledger = tokens(&[
            ("openai", "gpt-4o-mini", Kind::Output, 100),
            ("openai", "gpt-4o-mini", Kind::EstimatedOutput, 5),
            ("openai", "gpt-4o-mini-2024-07-18", Kind::Output, 10),
        ]);
        let billed = BTreeMap::from([(("gpt-4o-mini-2024-07-18".to_owned(), Kind::Output), 115)]);
        let lines = beside_usage(&ledger, "openai", &billed);
        assert_eq!((lines.len(), lines[0].drift(), lines[0].closes()), (1, 5, true));
    }

    #[test]
    fn a_higher_bill_closes_up_to_what_was_estimated_and_a_lower_one_never() {
        let ledger = tokens(&[
            ("claude", "m", Kind::Output, 100),
            ("claude", "m", Kind::EstimatedOutput, 30),
            ("other", "m", Kind::Output, 9),
        ]);
        let bill = |count: u64| BTreeMap::from([(("m".to_owned(), Kind::Output), count)]);
        let line = |count: u64| beside_usage(&ledger, "claude", &bill(count)).remove(0);
        let closes = [99, 100, 101, 130, 131].map(|count| line(count).closes());
        assert_eq!(closes, [false, true, true, true, false]);
        let marks = [100, 130, 131].map(|count| line(count).mark());
        assert_eq!(
            marks,
            [
                "",
                "within an estimate of 30",
                "does not close: beyond an estimate of 30"
            ]
        );
        assert_eq!(line(99).mark(), "does not close");
        let without = tokens(&[("claude", "m", Kind::Output, 100)]);
        assert!(!beside_usage(&without, "claude", &bill(125))[0].closes());
    }
}
