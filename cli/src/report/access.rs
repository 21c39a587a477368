//! `report --access` for people and as CSV. Pure.

use bowsprit_ledger::query::report::{Refusals, Refused};

use super::html::Bar;
use super::page::Page;
use super::period::About;
use crate::output::csv::{self, Field};
use crate::output::units::{many, moment, number, rfc3339};
use crate::output::{Table, Tone, short};

const SHADOW: &str = "Rules and guards with enforcement: Shadow let these pass. Of each request the first that would have refused it; \
bowsprit_access_decisions_total{decision=\"would_deny\"} and bowsprit_guard_findings_total{decision=\"would_refuse\"} count each.";

/// The whole page.
pub(super) fn page(found: &Refusals, about: About<'_>, wide: bool) -> Page {
    let mut page = Page::default();
    page.head(format!(
        "{} turned away by a rule: {}",
        many(found.refused, "request"),
        about.place()
    ));
    page.bars(bars(&found.rows));
    page.table(table(&found.rows, wide));
    if found.more > 0 {
        let text = format!(
            "{} more are not shown; the count above is of all.",
            many(found.more, "row")
        );
        page.note(Tone::Warn, text);
    }
    if found.without_detail > 0 {
        let text = format!(
            "Of the {} that did not end well, {} are in sums alone, which do not say whether a rule turned them away.",
            many(found.unsuccessful, "request"),
            number(found.without_detail)
        );
        page.note(Tone::Warn, text);
    }
    page.head(format!(
        "{} that a rule in shadow would have turned away",
        many(found.would_be_refused, "request")
    ));
    page.bars(bars(&found.shadow));
    page.table(table(&found.shadow, wide));
    page.note(Tone::Dim, SHADOW);
    page
}

/// How often each rule turned somebody away.
fn bars(rows: &[Refused]) -> Vec<Bar> {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for row in rows {
        match counts.iter_mut().find(|(rule, _)| *rule == row.refused_by) {
            Some((_, count)) => *count = count.saturating_add(row.count),
            None => counts.push((&row.refused_by, row.count)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let bar = |(rule, count): (&str, u64)| Bar {
        label: rule.to_owned(),
        value: count as f64,
        told: number(count),
    };
    counts.into_iter().map(bar).collect()
}

fn table(rows: &[Refused], wide: bool) -> Table {
    let mut columns = vec![
        "RULE",
        "NAMESPACE",
        "WORKLOAD",
        "SERVICE ACCOUNT",
        "COUNT",
        "FIRST",
        "LAST",
    ];
    if wide {
        columns.push("ERROR");
    }
    let mut table = Table::new(columns);
    for row in rows {
        let mut cells = vec![
            short(&row.refused_by).into(),
            short(&row.namespace).into(),
            short(&row.workload).into(),
            short(&row.service_account).into(),
            number(row.count).into(),
            moment(row.first).into(),
            moment(row.last).into(),
        ];
        if wide {
            cells.push(row.code.clone().into());
        }
        table.row(cells);
    }
    table
}

/// As CSV.
pub(super) fn csv(found: &Refusals) -> String {
    let heads = [
        "RULE",
        "NAMESPACE",
        "WORKLOAD",
        "SERVICE_ACCOUNT",
        "CODE",
        "COUNT",
        "FIRST",
        "LAST",
        "SHADOW",
    ];
    let refused = found.rows.iter().map(|row| (row, "false"));
    let rows = refused
        .chain(found.shadow.iter().map(|row| (row, "true")))
        .map(|(row, shadow)| {
            let words = [
                &row.refused_by,
                &row.namespace,
                &row.workload,
                &row.service_account,
                &row.code,
            ];
            let mut cells: Vec<Field> = words.map(Field::from).into();
            cells.extend([
                Field::number(row.count),
                Field::from(rfc3339(row.first)),
                Field::from(rfc3339(row.last)),
                Field::from(shadow),
            ]);
            cells
        });
    csv::table(heads, rows)
}
