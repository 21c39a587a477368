//! `report --usage` for people and as CSV. Pure.

use bowsprit_ledger::entry::Tokens;
use bowsprit_ledger::query::report::{CacheHits, Usage, UsageRow};
use bowsprit_ledger::query::{Money, Stat, Window};

use super::html::Bar;
use super::page::Page;
use super::period::{About, written};
use crate::args::By;
use crate::output::csv::{self, Field};
use crate::output::units::{dollars, many, number};
use crate::output::{Cell, Table, Tone, short};
use crate::stats::{heads, keys};

/// Told and estimated.
fn cost(stat: &Stat) -> Money {
    Money(stat.cost.0.saturating_add(stat.cost_estimated.0))
}

fn input(tokens: &Tokens) -> u64 {
    tokens.input.saturating_add(tokens.estimated_input)
}

fn output(tokens: &Tokens) -> u64 {
    tokens.output.saturating_add(tokens.estimated_output)
}

/// The whole page.
pub(super) fn page(found: &Usage, about: About<'_>, wide: bool) -> Page {
    let mut page = Page::default();
    if found.rows.is_empty() {
        page.note(Tone::Plain, about.nothing());
        return page;
    }
    let before = Window {
        from: found.previous_from,
        to: found.previous_to,
    };
    page.head(format!("Usage of {}", about.place()));
    let mut columns: Vec<&str> = heads(about.by).to_vec();
    columns.extend([
        "COST",
        "BEFORE",
        "CHANGE",
        "REQUESTS",
        "BEFORE",
        "IN",
        "BEFORE",
        "OUT",
        "BEFORE",
        "CACHE HITS",
        "SAVED",
    ]);
    if wide {
        columns.extend([
            "ESTIMATED",
            "CACHED IN",
            "REASONING",
            "ATTEMPTS",
            "NO PRICE",
            "TOKENS SAVED",
        ]);
    }
    let mut table = Table::new(columns);
    let mut all = UsageRow::default();
    for row in &found.rows {
        all.now.add(&row.now);
        all.previous.add(&row.previous);
        all.cache = together(all.cache, row.cache);
        table.row(cells(&keys(&row.now, about.by), row, wide));
    }
    if found.rows.len() > 1 {
        let mut keys = vec!["all".to_owned()];
        keys.resize(heads(about.by).len(), String::new());
        table.row(cells(&keys, &all, wide));
    }
    page.bars(found.rows.iter().map(|row| Bar {
        label: keys(&row.now, about.by).join(" "),
        value: cost(&row.now).0 as f64,
        told: dollars(cost(&row.now)),
    }));
    page.table(table);
    page.note(Tone::Dim, format!("BEFORE: {}.", written(before)));
    if all.cache.hits > 0 {
        let text = "CACHE HITS: requests that got a kept answer, as far as they are kept one by one; SAVED: what it cost the first time.";
        page.note(Tone::Dim, text);
    }
    if all.now.cost_unknown > 0 {
        let text = format!(
            "At least that: of {} the price of the tokens is not known (spec.models[].price sets one).",
            many(all.now.cost_unknown, "attempt")
        );
        page.note(Tone::Warn, text);
    }
    page
}

fn together(one: CacheHits, other: CacheHits) -> CacheHits {
    CacheHits {
        hits: one.hits.saturating_add(other.hits),
        saved_tokens: one.saved_tokens.saturating_add(other.saved_tokens),
        saved_cost: Money(one.saved_cost.0.saturating_add(other.saved_cost.0)),
    }
}

fn cells(keys: &[String], row: &UsageRow, wide: bool) -> Vec<Cell> {
    let (now, before) = (&row.now, &row.previous);
    let mut cells: Vec<Cell> = keys.iter().map(|key| Cell::from(short(key))).collect();
    cells.extend([
        dollars(cost(now)).into(),
        dollars(cost(before)).into(),
        change(cost(now), cost(before)).into(),
    ]);
    let pairs = [
        (now.requests, before.requests),
        (input(&now.tokens), input(&before.tokens)),
        (output(&now.tokens), output(&before.tokens)),
    ];
    for (count, previous) in pairs {
        cells.extend([number(count).into(), number(previous).into()]);
    }
    cells.extend([number(row.cache.hits).into(), dollars(row.cache.saved_cost).into()]);
    if wide {
        let unknown = if now.cost_unknown > 0 { Tone::Warn } else { Tone::Plain };
        cells.extend([
            dollars(now.cost_estimated).into(),
            number(now.tokens.cached).into(),
            number(now.tokens.reasoning).into(),
            number(now.attempts).into(),
            Cell::new(unknown, number(now.cost_unknown)),
            number(row.cache.saved_tokens).into(),
        ]);
    }
    cells
}

/// `+12%`, `-100%`; `new` where there was nothing before.
fn change(now: Money, before: Money) -> String {
    match (now.0, before.0) {
        (now, before) if now == before => String::new(),
        (_, 0) => "new".to_owned(),
        (now, before) => {
            let part = (now as f64 - before as f64) / before as f64 * 100.0;
            if part.abs() < 10.0 {
                format!("{part:+.1}%")
            } else {
                format!("{part:+.0}%")
            }
        }
    }
}

/// As CSV: dollars, exact.
pub(super) fn csv(found: &Usage, by: By) -> String {
    const OF: [&str; 4] = ["COST_USD", "ESTIMATED_COST_USD", "REQUESTS", "ATTEMPTS"];
    let before = |head: &str| format!("PREVIOUS_{head}");
    let columns: Vec<&str> = OF.into_iter().chain(csv::TOKENS).collect();
    let previous: Vec<String> = columns.iter().map(|head| before(head)).collect();
    let heads = heads(by)
        .iter()
        .copied()
        .chain(columns.iter().copied())
        .chain(["ATTEMPTS_OF_UNKNOWN_COST", "CACHE_HITS", "SAVED_TOKENS", "SAVED_USD"])
        .chain(previous.iter().map(String::as_str));
    let sums = |stat: &Stat| {
        let mut cells = vec![
            Field::number(stat.cost),
            Field::number(stat.cost_estimated),
            Field::number(stat.requests),
            Field::number(stat.attempts),
        ];
        cells.extend(stat.tokens.counts().map(Field::number));
        cells
    };
    let rows = found.rows.iter().map(|row| {
        let mut cells: Vec<Field> = keys(&row.now, by).iter().map(Field::from).collect();
        cells.extend(sums(&row.now));
        cells.extend([
            Field::number(row.now.cost_unknown),
            Field::number(row.cache.hits),
            Field::number(row.cache.saved_tokens),
            Field::number(row.cache.saved_cost),
        ]);
        cells.extend(sums(&row.previous));
        cells
    });
    csv::table(heads, rows)
}
