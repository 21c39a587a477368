use bowsprit_ledger::entry::Tokens;
use bowsprit_ledger::query::{Money, Stat, Window};

use super::last_minutes;
use super::render::{About, csv, rows, screen};
use crate::args::By;
use crate::output::Paint;

const WINDOW: Window = Window {
    from: 1_764_354_720_000,
    to: 1_764_354_810_000,
};

fn stats() -> Vec<Stat> {
    let of = |name: &str, requests: u64, failed: u64| Stat {
        name: name.into(),
        requests,
        failed,
        took: requests * 900_000,
        tokens: Tokens {
            input: requests * 500,
            output: requests * 120,
            ..Tokens::default()
        },
        cost: Money(i128::from(requests) * 4_000_000_000),
        ..Stat::default()
    };
    vec![of("gemini", 90, 0), of("claude", 1_800, 7)]
}

#[test]
fn rates_with_the_busiest_first() {
    let about = About {
        by: By::Provider,
        namespace: Some("shop".into()),
        window: WINDOW,
    };
    let rows = rows(&stats(), By::Provider, WINDOW);
    insta::assert_snapshot!(screen(&rows, &about, false, Paint(false)));
    // 1800 requests of 0.004 dollars in 90 s are 288 dollars an hour.
    assert!(csv(&rows, By::Provider).contains("claude,20,7,0,900000,10000,2400,288,0\n"));
    let none = screen(&[], &about, false, Paint(false));
    assert!(none.ends_with("Nothing has ended.\n"), "{none}");
}

#[test]
fn there_is_always_a_whole_minute_to_look_at() {
    for now in [1_764_354_780_000, 1_764_354_781_000, 1_764_354_839_999] {
        let window = last_minutes(now);
        assert!(window.from % 60_000 == 0 && window.to == now);
        assert!((60_000..120_000).contains(&(window.to - window.from)), "{window:?}");
    }
}
