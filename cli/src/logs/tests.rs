use bowsprit_ledger::entry::{Cached, Request, Tokens};
use bowsprit_ledger::query::Listed;

use super::newest_last;
use super::render::{What, csv, screen, table};
use crate::output::Paint;

fn one(at: i64, id: &str, outcome: &str, code: &str, status: u16) -> Listed {
    Listed {
        cursor: format!("{at}.1.1"),
        arrival: format!("{at}.1.1"),
        arrived: at,
        at,
        namespace: "shop".into(),
        pod: "checkout-6d5f-x2x9p".into(),
        workload: "Deployment/checkout".into(),
        request: Request {
            id: id.into(),
            asked_model: "claude-sonnet-4-5".into(),
            provider: "claude".into(),
            model: "claude-sonnet-4-5".into(),
            operation: "messages".into(),
            attempts: 1,
            outcome: outcome.into(),
            code: code.into(),
            status,
            took: 812_000,
            tokens: Tokens {
                input: 1_204,
                output: 88,
                estimated_output: if outcome == "ok" { 0 } else { 12 },
                ..Tokens::default()
            },
            ..Request::default()
        },
    }
}

/// As the ledger answers: newest first.
fn listed() -> Vec<Listed> {
    vec![
        one(1_764_354_787_300, "r-3", "cancelled", "", 0),
        one(1_764_354_787_210, "r-2", "provider_error", "EXT_OVERLOADED", 503),
        one(1_764_354_787_120, "r-1", "ok", "", 200),
    ]
}

#[test]
fn requests_with_the_newest_last() {
    let what = What {
        namespace: Some("shop"),
        ..What::default()
    };
    insta::assert_snapshot!(screen(&newest_last(listed()), what, Paint(false)));
    let none = screen(&[], What { failed: true, ..what }, Paint(false));
    assert_eq!(none, "The ledger has no request that failed of namespace shop.\n");
}

#[test]
fn a_wide_row_tells_of_the_cache_and_of_the_rule_that_refused() {
    let mut both = listed();
    both[2].request.cache = Some(Cached {
        age: 61_500,
        ..Cached::default()
    });
    both[1].request.refused_by = "budget:team".into();
    let what = What {
        namespace: Some("shop"),
        wide: true,
        ..What::default()
    };
    let text = screen(&both, what, Paint(false));
    let ends: Vec<[&str; 2]> = text
        .lines()
        .skip(2)
        .map(|line| {
            let mut cells = line
                .trim_end()
                .rsplit("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty());
            [cells.next().unwrap(), cells.next().unwrap()]
        })
        .collect();
    assert_eq!(ends, [["budget:team", "-"], ["-", "1 min 1 s"]]);
    let exact = csv(&both);
    assert!(
        exact.contains(",61500,,,0,0,,") && exact.contains(",budget:team,"),
        "{exact}"
    );
}

#[test]
fn what_comes_later_lines_up_with_what_was_there() {
    let (mut widths, what) = (Vec::new(), What::default());
    let all = newest_last(listed());
    let first = table(&all, what).render_on(Paint(false), &mut widths, true);
    let more = table(&all[..1], what).render_on(Paint(false), &mut widths, false);
    assert_eq!(more.lines().next(), first.lines().nth(1));
}

#[test]
fn csv_is_exact_and_has_a_cell_for_each_head() {
    let text = csv(&listed());
    let cells: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
    assert!(cells.iter().all(|count| *count == cells[0]), "{text}");
    assert!(
        text.contains("2025-11-28T18:33:07.120Z,shop,checkout-6d5f-x2x9p,Deployment/checkout,r-1,"),
        "{text}"
    );
}
