//! `top` for people and as CSV. Pure.

use bowsprit_ledger::query::{Money, Stat, Window};
use serde::Serialize;

use crate::args::By;
use crate::output::csv::{self, Field};
use crate::output::units::{dollars, moment, number, took};
use crate::output::{Cell, Paint, Table, Tone, short};
use crate::stats::{heads, keys, sum};

const SECONDS_AN_HOUR: i128 = 3_600;

/// What was looked at.
#[derive(Clone, Debug)]
pub(super) struct About {
    /// What is told apart.
    pub(super) by: By,
    /// `None`: all.
    pub(super) namespace: Option<String>,
    /// When.
    pub(super) window: Window,
}

/// A row.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    /// What it is about.
    pub(super) keys: Vec<String>,
    /// Requests that ended.
    pub(super) requests_per_second: f64,
    /// Of these, failed.
    pub(super) failed: u64,
    /// Of these, turned away.
    pub(super) shed: u64,
    /// Their mean duration, microseconds.
    pub(super) mean: Option<u64>,
    /// In.
    pub(super) input_tokens_per_second: f64,
    /// Out.
    pub(super) output_tokens_per_second: f64,
    /// At this rate.
    pub(super) dollars_per_hour: Money,
    /// Attempts whose price is not known.
    pub(super) cost_unknown: u64,
}

/// Rates, the busiest first, and their sum last where there are several.
pub(super) fn rows(stats: &[Stat], by: By, window: Window) -> Vec<Row> {
    let mut rows: Vec<Row> = stats.iter().map(|it| row(keys(it, by), it, window)).collect();
    rows.sort_by(|one, other| {
        let busy = other.requests_per_second.total_cmp(&one.requests_per_second);
        busy.then_with(|| one.keys.cmp(&other.keys))
    });
    if stats.len() > 1 {
        let mut keys = vec!["all".to_owned()];
        keys.resize(heads(by).len(), String::new());
        rows.push(row(keys, &sum(stats), window));
    }
    rows
}

fn row(keys: Vec<String>, it: &Stat, window: Window) -> Row {
    let millis = window.to.saturating_sub(window.from).max(1);
    let rate = |count: u64| count as f64 * 1e3 / millis as f64;
    let spent = it.cost.0.saturating_add(it.cost_estimated.0);
    Row {
        keys,
        requests_per_second: rate(it.requests),
        failed: it.failed,
        shed: it.shed,
        mean: it.took.checked_div(it.requests),
        input_tokens_per_second: rate(it.tokens.input.saturating_add(it.tokens.estimated_input)),
        output_tokens_per_second: rate(it.tokens.output.saturating_add(it.tokens.estimated_output)),
        dollars_per_hour: Money(spent.saturating_mul(SECONDS_AN_HOUR * 1_000) / i128::from(millis)),
        cost_unknown: it.cost_unknown,
    }
}

/// The whole screen.
pub(super) fn screen(rows: &[Row], about: &About, wide: bool, paint: Paint) -> String {
    let place = about
        .namespace
        .as_ref()
        .map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
    let seconds = about.window.to.saturating_sub(about.window.from) / 1_000;
    let first = format!("{place}, {}, over the last {seconds} s", moment(about.window.to));
    let mut text = format!("{}\n\n", paint.paint(Tone::Dim, &first));
    if rows.is_empty() {
        text.push_str("Nothing has ended.\n");
        return text;
    }
    let more: &[&str] = if wide { &["SHED", "NO PRICE"] } else { &[] };
    let mut table = Table::new(
        heads(about.by)
            .iter()
            .copied()
            .chain(["REQUESTS/S", "FAILED", "MEAN", "TOKENS IN/S", "TOKENS OUT/S", "COST/H"])
            .chain(more.iter().copied()),
    );
    for it in rows {
        let mut cells: Vec<Cell> = it.keys.iter().map(|key| Cell::from(short(key))).collect();
        let failed = if it.failed > 0 { Tone::Bad } else { Tone::Good };
        let mark = if it.cost_unknown > 0 { ">=" } else { "" };
        cells.extend([
            format!("{:.1}", it.requests_per_second).into(),
            Cell::new(failed, number(it.failed)),
            it.mean.map(took).unwrap_or_default().into(),
            number(format!("{:.0}", it.input_tokens_per_second)).into(),
            number(format!("{:.0}", it.output_tokens_per_second)).into(),
            format!("{mark}{}", dollars(it.dollars_per_hour)).into(),
        ]);
        if wide {
            cells.extend([number(it.shed), number(it.cost_unknown)].map(Cell::from));
        }
        table.row(cells);
    }
    text + &table.render(paint)
}

/// As CSV.
pub(super) fn csv(rows: &[Row], by: By) -> String {
    let heads = heads(by).iter().copied().chain([
        "REQUESTS_PER_SECOND",
        "FAILED",
        "SHED",
        "MEAN_MICROSECONDS",
        "INPUT_TOKENS_PER_SECOND",
        "OUTPUT_TOKENS_PER_SECOND",
        "USD_PER_HOUR",
        "ATTEMPTS_OF_UNKNOWN_COST",
    ]);
    let rows = rows.iter().map(|it| {
        let mut row: Vec<Field> = it.keys.iter().map(Field::from).collect();
        row.extend([
            Field::number(it.requests_per_second),
            Field::number(it.failed),
            Field::number(it.shed),
            Field::maybe(it.mean),
            Field::number(it.input_tokens_per_second),
            Field::number(it.output_tokens_per_second),
            Field::number(it.dollars_per_hour),
            Field::number(it.cost_unknown),
        ]);
        row
    });
    csv::table(heads, rows)
}
