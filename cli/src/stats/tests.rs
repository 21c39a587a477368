use std::time::Duration;

use bowsprit_ledger::entry::Tokens;
use bowsprit_ledger::query::{Money, Stat};

use super::render::{About, csv, screen};
use crate::args::By;
use crate::output::Paint;

const DAY: Duration = Duration::from_hours(24);

fn about(by: By) -> About<'static> {
    About {
        by,
        namespace: Some("shop"),
        span: DAY,
    }
}

/// Sums as a day of a shop has them.
fn day() -> Vec<Stat> {
    let claude = Stat {
        name: "claude".into(),
        requests: 18_204,
        succeeded: 18_100,
        failed: 61,
        client_errors: 31,
        shed: 0,
        cancelled: 12,
        took: 18_204 * 1_310_000,
        attempts: 18_420,
        tokens: Tokens {
            input: 22_104_881,
            output: 4_310_020,
            cached: 9_000_000,
            estimated_output: 8_120,
            ..Tokens::default()
        },
        cost: Money(131_004_300_000_000),
        cost_estimated: Money(121_800_000_000),
        ..Stat::default()
    };
    let gemini = Stat {
        name: "gemini".into(),
        requests: 410,
        succeeded: 402,
        failed: 2,
        shed: 6,
        took: 410 * 812_000,
        attempts: 471,
        tokens: Tokens {
            input: 491_020,
            output: 80_211,
            ..Tokens::default()
        },
        cost: Money(1_415_885_000_000),
        cost_unknown: 4,
        tokens_unknown: 1,
        ..Stat::default()
    };
    let nobody = Stat {
        requests: 3,
        client_errors: 3,
        took: 900,
        ..Stat::default()
    };
    vec![claude, gemini, nobody]
}

#[test]
fn a_day_by_provider() {
    insta::assert_snapshot!(screen(&day(), about(By::Provider), false, Paint(false)));
}

#[test]
fn wide_tells_all_kinds_of_tokens() {
    let text = screen(&day(), about(By::Provider), true, Paint(false));
    assert!(text.contains("CACHE WRITES") && text.contains("9 000 000"), "{text}");
}

#[test]
fn nothing_is_said_in_words() {
    let text = screen(&[], about(By::Route), false, Paint(false));
    assert_eq!(text, "No request ended in namespace shop in the last 24h.\n");
}

#[test]
fn csv_is_exact_and_has_a_cell_for_each_head() {
    let text = csv(&day(), By::Model);
    let cells: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
    assert!(cells.iter().all(|count| *count == cells[0]), "{text}");
    assert!(text.starts_with("PROVIDER,MODEL,REQUESTS,SUCCEEDED,"), "{text}");
    assert!(text.contains(",131.0043,0.1218,0\n"), "{text}");
}

#[test]
fn names_beyond_an_answers_room_are_one_row_and_in_the_sum() {
    let mut stats = day();
    stats.push(Stat {
        name: "other".into(),
        requests: 40_000,
        succeeded: 40_000,
        more: 40_000,
        ..Stat::default()
    });
    let text = screen(&stats, about(By::Workload), false, Paint(false));
    assert!(text.contains("(other: 40 000 names)"), "{text}");
    assert!(text.starts_with("58 617 requests of"), "{text}");
}
