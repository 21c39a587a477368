//! `report --access` for people and as CSV. Pure.

use bowsprit_ledger::query::report::Refusals;

use super::page::Page;
use super::period::About;
use crate::output::csv::{self, Field};
use crate::output::units::{many, moment, number, rfc3339};
use crate::output::{Table, Tone, short};

const SHADOW: &str = "What rules with enforcement: Shadow would have refused is not in the ledger: those requests passed. \
It is counted as bowsprit_access_decisions_total{decision=\"would_deny\"}.";

/// The whole page.
pub(super) fn page(found: &Refusals, about: About<'_>, wide: bool) -> Page {
    let mut page = Page::default();
    page.head(format!(
        "{} turned away by a rule: {}",
        many(found.refused, "request"),
        about.place()
    ));
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
    for row in &found.rows {
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
    page.table(table);
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
    page.note(Tone::Dim, SHADOW);
    page
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
    ];
    let rows = found.rows.iter().map(|row| {
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
        ]);
        cells
    });
    csv::table(heads, rows)
}
