use std::time::Duration;

use bowsprit_ledger::entry::Tokens;
use bowsprit_ledger::query::{Money, Stat};

use super::render::{csv, screen};
use crate::args::By;
use crate::output::Paint;

const WEEK: (Option<&str>, Duration) = (None, Duration::from_hours(7 * 24));

fn spent() -> Vec<Stat> {
    let of = |name: &str, pico: i128, estimated: i128, unknown: u64| Stat {
        namespace: "shop".into(),
        name: name.into(),
        requests: 1_000,
        attempts: 1_020,
        tokens: Tokens {
            input: 1_400_000,
            cached: 220_000,
            output: 310_000,
            estimated_output: 400,
            ..Tokens::default()
        },
        cost: Money(pico),
        cost_estimated: Money(estimated),
        cost_unknown: unknown,
        ..Stat::default()
    };
    vec![
        of("Deployment/checkout", 812_450_000_000_000, 1_200_000_000_000, 0),
        of("CronJob/nightly-report", 64_100_000_000_000, 0, 12),
        of("", 30_000_000, 0, 0),
    ]
}

#[test]
fn a_week_by_workload() {
    insta::assert_snapshot!(screen(&spent(), By::Workload, WEEK, false, Paint(false)));
}

#[test]
fn csv_is_exact_to_the_picodollar() {
    let text = csv(&spent(), By::Workload);
    assert!(text.contains("shop,Deployment/checkout,812.45,1.2,0,1020,"), "{text}");
    assert!(text.contains("shop,(not told),0.00003,0,"), "{text}");
    let cells: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
    assert!(cells.iter().all(|count| *count == cells[0]), "{text}");
}
