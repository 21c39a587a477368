use std::time::Duration;

use bowsprit_ledger::query::Quality;

use super::render::{csv, screen};
use crate::output::Paint;

fn found() -> Vec<Quality> {
    vec![
        Quality {
            provider: "openai".into(),
            score: 99.97,
            attempts: 12_010,
            success: 0.9997,
            cut: 0.0,
            mean_ms: 1_204.5,
            failures: vec![("EXT_RESET".into(), 4)],
        },
        Quality {
            provider: "claude".into(),
            score: 71.2,
            attempts: 3_204,
            success: 0.91,
            cut: 0.012,
            mean_ms: 12_630.0,
            failures: vec![
                ("EXT_OVERLOADED".into(), 201),
                ("EXT_FIRST_TOKEN_TIMEOUT".into(), 55),
                ("EXT_RESET".into(), 20),
                ("RATE_PROVIDER".into(), 12),
            ],
        },
    ]
}

#[test]
fn providers_by_their_score_with_its_formula() {
    let day = (Some("shop"), Duration::from_hours(24));
    insta::assert_snapshot!(screen(&found(), day, false, Paint(false)));
    assert!(screen(&found(), day, true, Paint(false)).contains("RATE_PROVIDER 12"));
}

#[test]
fn csv_has_all_codes_in_one_cell() {
    assert_eq!(
        csv(&found()[..1]),
        "PROVIDER,SCORE,SUCCESS,CUT,MEAN_MILLISECONDS,ATTEMPTS,FAILURES\nopenai,99.97,0.9997,0,1204.5,12010,EXT_RESET=4\n"
    );
}
