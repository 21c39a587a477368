//! `spend` for people and as CSV. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use bowsprit_ledger::query::{Money, Stat};

use crate::args::By;
use crate::output::csv::{self, Field};
use crate::output::units::{dollars, many, number, percent, span};
use crate::output::{Cell, Paint, Table, Tone, short};
use crate::stats::{heads, keys, none_in, sum};

/// Told and estimated.
fn whole(stat: &Stat) -> Money {
    Money(stat.cost.0.saturating_add(stat.cost_estimated.0))
}

/// The whole screen.
pub(super) fn screen(
    spent: &[Stat],
    by: By,
    (namespace, time): (Option<&str>, Duration),
    wide: bool,
    paint: Paint,
) -> String {
    if spent.is_empty() {
        return none_in(namespace, time);
    }
    let all = sum(spent);
    let place = namespace.map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
    let first = format!("{} spent in {place} in the last {}.", dollars(whole(&all)), span(time));
    let mut table = Table::new(
        heads(by)
            .iter()
            .copied()
            .chain([
                "COST",
                "SHARE",
                "ESTIMATED",
                "ATTEMPTS",
                "NO PRICE",
                "IN",
                "CACHED",
                "OUT",
            ])
            .chain(
                if wide {
                    ["CACHE WRITES", "REASONING", "A REQUEST"].as_slice()
                } else {
                    &[]
                }
                .iter()
                .copied(),
            ),
    );
    for it in spent {
        let mut cells: Vec<Cell> = keys(it, by).iter().map(|key| Cell::from(short(key))).collect();
        let share = if whole(&all).0 > 0 {
            percent(whole(it).0 as f64 / whole(&all).0 as f64)
        } else {
            String::new()
        };
        let unknown = if it.cost_unknown > 0 { Tone::Warn } else { Tone::Plain };
        cells.extend([
            dollars(whole(it)).into(),
            share.into(),
            dollars(it.cost_estimated).into(),
            number(it.attempts).into(),
            Cell::new(unknown, number(it.cost_unknown)),
            number(it.tokens.input + it.tokens.estimated_input).into(),
            number(it.tokens.cached).into(),
            number(it.tokens.output + it.tokens.estimated_output).into(),
        ]);
        if wide {
            let each = whole(it).0.checked_div(i128::from(it.requests)).map(Money);
            cells.extend([
                number(it.tokens.cache_write).into(),
                number(it.tokens.reasoning).into(),
                each.map(dollars).unwrap_or_default().into(),
            ]);
        }
        table.row(cells);
    }
    let mut text = format!("{}\n\n{}", paint.paint(Tone::Bold, &first), table.render(paint));
    if all.cost_unknown > 0 {
        let unknown = format!(
            "At least that: of {} the price of the tokens is not known (spec.models[].price sets one).",
            many(all.cost_unknown, "attempt")
        );
        let _ = writeln!(text, "{}", paint.paint(Tone::Warn, &unknown));
    }
    text
}

/// As CSV: dollars, exact.
pub(super) fn csv(spent: &[Stat], by: By) -> String {
    let cost = ["COST_USD", "ESTIMATED_COST_USD", "ATTEMPTS_OF_UNKNOWN_COST", "ATTEMPTS"];
    let heads = heads(by).iter().copied().chain(cost).chain(csv::TOKENS);
    let rows = spent.iter().map(|it| {
        let mut row: Vec<Field> = keys(it, by).iter().map(Field::from).collect();
        row.extend([
            Field::number(it.cost),
            Field::number(it.cost_estimated),
            Field::number(it.cost_unknown),
            Field::number(it.attempts),
        ]);
        row.extend(it.tokens.counts().map(Field::number));
        row
    });
    csv::table(heads, rows)
}
