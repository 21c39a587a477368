//! `stats` for people and as CSV. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use bowsprit_ledger::entry::Tokens;
use bowsprit_ledger::query::{Money, Stat};

use crate::args::By;
use crate::output::csv::{self, Field};
use crate::output::units::{dollars, many, number, percent, span, took};
use crate::output::{Cell, Paint, Table, Tone, short};

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// What the sums are told apart by.
    pub(super) by: By,
    /// `None`: all.
    pub(super) namespace: Option<&'a str>,
    /// How long.
    pub(super) span: Duration,
}

/// The heads of the columns that tell rows apart.
pub(crate) fn heads(by: By) -> &'static [&'static str] {
    match by {
        By::Provider => &["PROVIDER"],
        By::Model => &["PROVIDER", "MODEL"],
        By::Route => &["ROUTE"],
        By::Workload => &["NAMESPACE", "WORKLOAD"],
        By::Namespace => &["NAMESPACE"],
    }
}

/// What a row is about, under [`heads`]. A name that was none is told as such, and so is what has no row of its own.
pub(crate) fn keys(stat: &Stat, by: By) -> Vec<String> {
    let or = |name: &str, none: &str| {
        if name.is_empty() {
            none.to_owned()
        } else {
            name.to_owned()
        }
    };
    if stat.more > 0 {
        let mut keys = vec![format!("(other: {})", many(stat.more, "name"))];
        keys.resize(heads(by).len(), String::new());
        return keys;
    }
    match by {
        By::Provider => vec![or(&stat.name, "(nobody asked)")],
        By::Model => vec![or(&stat.provider, "(nobody asked)"), stat.name.clone()],
        By::Route => vec![or(&stat.name, "(no route)")],
        By::Workload => vec![stat.namespace.clone(), or(&stat.name, "(not told)")],
        By::Namespace => vec![stat.name.clone()],
    }
}

/// All rows as one.
pub(crate) fn sum(stats: &[Stat]) -> Stat {
    let mut all = Stat::default();
    for it in stats {
        all.add(it);
    }
    all
}

/// What is said where there is nothing.
pub(crate) fn none_in(namespace: Option<&str>, time: Duration) -> String {
    let place = namespace.map_or_else(|| "in any namespace".to_owned(), |name| format!("in namespace {name}"));
    format!("No request ended {place} in the last {}.\n", span(time))
}

/// The whole screen.
pub(super) fn screen(stats: &[Stat], about: About<'_>, wide: bool, paint: Paint) -> String {
    if stats.is_empty() {
        return none_in(about.namespace, about.span);
    }
    let all = sum(stats);
    let place = about
        .namespace
        .map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
    let first = format!(
        "{} of {place} in the last {}: {} succeeded, {} failed.",
        many(all.requests, "request"),
        span(about.span),
        success(&all).map_or_else(|| "none".to_owned(), percent),
        number(all.failed),
    );
    let mut table = Table::new(
        heads(about.by)
            .iter()
            .copied()
            .chain([
                "REQUESTS", "SUCCESS", "FAILED", "SHED", "MISTAKEN", "LEFT", "MEAN", "ATTEMPTS", "IN", "OUT", "COST",
            ])
            .chain(if wide { WIDE } else { &[] }.iter().copied()),
    );
    for it in stats {
        row(&mut table, &keys(it, about.by), it, wide);
    }
    if stats.len() > 1 {
        let mut keys = vec!["all".to_owned()];
        keys.resize(heads(about.by).len(), String::new());
        row(&mut table, &keys, &all, wide);
    }
    let tone = if all.failed > 0 { Tone::Warn } else { Tone::Good };
    let mut text = format!("{}\n\n{}", paint.paint(tone, &first), table.render(paint));
    text.push_str(&marks(&all));
    text
}

const WIDE: &[&str] = &[
    "CACHED",
    "CACHE WRITES",
    "REASONING",
    "~IN",
    "~OUT",
    "TOKENS NOT KNOWN",
    "COST NOT KNOWN",
];

/// Succeeded, of what can: a caller's mistake and a caller that left are neither success nor failure.
fn success(stat: &Stat) -> Option<f64> {
    let judged = stat.succeeded + stat.failed + stat.shed;
    (judged > 0).then(|| stat.succeeded as f64 / judged as f64)
}

fn row(table: &mut Table, keys: &[String], it: &Stat, wide: bool) {
    let toned = |tone, count: u64| Cell::new(if count > 0 { tone } else { Tone::Plain }, number(count));
    let success = success(it).map_or_else(
        || Cell::from(""),
        |part| {
            let tone = match part {
                0.999.. => Tone::Good,
                0.95.. => Tone::Warn,
                _ => Tone::Bad,
            };
            Cell::new(tone, percent(part))
        },
    );
    let mean = it.took.checked_div(it.requests).map(took).unwrap_or_default();
    let mut cells: Vec<Cell> = keys.iter().map(|key| Cell::from(short(key))).collect();
    cells.extend([
        number(it.requests).into(),
        success,
        toned(Tone::Bad, it.failed),
        toned(Tone::Warn, it.shed),
        number(it.client_errors).into(),
        number(it.cancelled).into(),
        mean.into(),
        number(it.attempts).into(),
        tokens(it.tokens.input, it.tokens.estimated_input).into(),
        tokens(it.tokens.output, it.tokens.estimated_output).into(),
        cost(it).into(),
    ]);
    if wide {
        let Tokens {
            cached,
            cache_write,
            reasoning,
            estimated_input,
            estimated_output,
            ..
        } = it.tokens;
        let more = [
            cached,
            cache_write,
            reasoning,
            estimated_input,
            estimated_output,
            it.tokens_unknown,
            it.cost_unknown,
        ];
        cells.extend(more.map(|count| Cell::from(number(count))));
    }
    table.row(cells);
}

/// Told and estimated together; a `~` says that some are estimated.
fn tokens(told: u64, estimated: u64) -> String {
    let mark = if estimated > 0 { "~" } else { "" };
    format!("{mark}{}", number(told.saturating_add(estimated)))
}

fn cost(it: &Stat) -> String {
    let mark = match (it.cost_unknown, it.cost_estimated.0) {
        (1.., _) => ">=",
        (0, 0) => "",
        _ => "~",
    };
    format!("{mark}{}", dollars(Money(it.cost.0 + it.cost_estimated.0)))
}

/// What the marks in the table mean, of those that are in it.
fn marks(all: &Stat) -> String {
    let mut text = String::new();
    if all.tokens.estimated_input + all.tokens.estimated_output > 0 {
        text.push_str("~ in part estimated: the provider did not tell all (-o wide tells how much).\n");
    }
    if all.cost_unknown > 0 {
        let _ = writeln!(
            text,
            ">= at least: of {} the price of the tokens is not known (spec.models[].price sets one).",
            many(all.cost_unknown, "attempt")
        );
    }
    if all.tokens_unknown > 0 {
        let _ = writeln!(
            text,
            "The tokens of {} are not known at all.",
            many(all.tokens_unknown, "attempt")
        );
    }
    text
}

/// As CSV: counts, microseconds and dollars, exact.
pub(super) fn csv(stats: &[Stat], by: By) -> String {
    let counts = [
        "REQUESTS",
        "SUCCEEDED",
        "FAILED",
        "SHED",
        "CLIENT_ERRORS",
        "CANCELLED",
        "TOOK_MICROSECONDS",
        "ATTEMPTS",
    ];
    let cost = [
        "ATTEMPTS_OF_UNKNOWN_TOKENS",
        "COST_USD",
        "ESTIMATED_COST_USD",
        "ATTEMPTS_OF_UNKNOWN_COST",
    ];
    let heads = heads(by).iter().copied().chain(counts).chain(csv::TOKENS).chain(cost);
    let rows = stats.iter().map(|it| {
        let counts = [
            it.requests,
            it.succeeded,
            it.failed,
            it.shed,
            it.client_errors,
            it.cancelled,
            it.took,
            it.attempts,
        ];
        let mut row: Vec<Field> = keys(it, by).iter().map(Field::from).collect();
        row.extend(counts.map(Field::number));
        row.extend(it.tokens.counts().map(Field::number));
        row.extend([
            Field::number(it.tokens_unknown),
            Field::number(it.cost),
            Field::number(it.cost_estimated),
            Field::number(it.cost_unknown),
        ]);
        row
    });
    csv::table(heads, rows)
}
