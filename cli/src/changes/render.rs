//! `changes` for people and as CSV. Pure.

use bowsprit_ledger::query::AppliedConfig;

use crate::output::csv::{self, Field};
use crate::output::units::{moment, rfc3339};
use crate::output::{Cell, Paint, Table, Tone, short};

/// The whole screen.
pub(super) fn screen(changes: &[AppliedConfig], namespace: Option<&str>, paint: Paint) -> String {
    if changes.is_empty() {
        let place = namespace.map_or_else(|| "any namespace".to_owned(), |name| format!("namespace {name}"));
        return format!("The ledger has no change of {place}: it knows those that were made since it is there.\n");
    }
    let mut heads = vec!["WHEN", "OBJECT", "WHAT", "WHO", "REVISION", "IN FORCE UNTIL"];
    if namespace.is_none() {
        heads.insert(1, "NAMESPACE");
    }
    let mut table = Table::new(heads);
    for it in changes {
        let tone = if it.what == "deleted" { Tone::Warn } else { Tone::Plain };
        let until = match it.replaced_at {
            _ if it.what == "deleted" => String::new(),
            Some(at) => moment(at),
            None => "now".to_owned(),
        };
        let mut row = vec![
            moment(it.at).into(),
            short(&format!("{}/{}", it.kind, it.name)).into(),
            Cell::new(tone, it.what.clone()),
            short(&it.who).into(),
            it.revision.clone().into(),
            until.into(),
        ];
        if namespace.is_none() {
            row.insert(1, it.namespace.clone().into());
        }
        table.row(row);
    }
    table.render(paint)
}

/// As CSV.
pub(super) fn csv(changes: &[AppliedConfig]) -> String {
    let heads = [
        "AT",
        "NAMESPACE",
        "KIND",
        "NAME",
        "WHAT",
        "WHO",
        "REVISION",
        "REPLACED_AT",
    ];
    let rows = changes.iter().map(|it| {
        let mut row = vec![Field::from(rfc3339(it.at))];
        let words = [&it.namespace, &it.kind, &it.name, &it.what, &it.who, &it.revision];
        row.extend(words.map(Field::from));
        row.push(Field::maybe(it.replaced_at.map(rfc3339)));
        row
    });
    csv::table(heads, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<AppliedConfig> {
        let of = |at: i64, what: &str, who: &str, revision: &str, replaced_at| AppliedConfig {
            at,
            namespace: "shop".into(),
            kind: "ProviderConfig".into(),
            name: "claude".into(),
            what: what.into(),
            who: who.into(),
            revision: revision.into(),
            replaced_at,
        };
        let at = 1_764_354_787_000;
        vec![
            of(at + 90_000, "deleted", "ann@example.com", "", None),
            of(
                at + 60_000,
                "updated",
                "(argocd-controller)",
                "9c41d2f07aa3",
                Some(at + 90_000),
            ),
            of(at, "created", "ann@example.com", "3f9a1c04d2e7", Some(at + 60_000)),
        ]
    }

    #[test]
    fn who_applied_what_with_the_newest_first() {
        insta::assert_snapshot!(screen(&changes(), Some("shop"), Paint(false)));
        assert!(screen(&[], None, Paint(false)).contains("no change of any namespace"));
        let text = csv(&changes());
        assert!(
            text.contains(",shop,ProviderConfig,claude,created,ann@example.com,3f9a1c04d2e7,2025-11-28T"),
            "{text}"
        );
    }
}
