use std::collections::BTreeMap;

use bowsprit_ledger::entry::Tokens;
use bowsprit_ledger::query::report::{
    CacheHits, Hour, Latency, Refusals, Refused, Sla, SlaRow, Usage, UsageRow, Windows,
};
use bowsprit_ledger::query::{Money, Stat, Window};

use super::period::About;
use super::{access, sla, usage};
use crate::args::By;
use crate::output::Paint;

const NOVEMBER: i64 = 1_793_491_200_000;
const DAY: i64 = 86_400_000;

fn about(by: By) -> About<'static> {
    About {
        namespace: Some("shop"),
        by,
        window: Window {
            from: NOVEMBER,
            to: NOVEMBER + 30 * DAY,
        },
    }
}

fn month() -> Sla {
    let chat = SlaRow {
        stat: Stat {
            name: "chat".into(),
            requests: 120_400,
            succeeded: 119_700,
            failed: 240,
            shed: 60,
            client_errors: 300,
            cancelled: 100,
            ..Stat::default()
        },
        windows: Some(Windows {
            used: 31_002,
            clean: 30_911,
            down: 7,
        }),
        latency: Some(Latency {
            p50: 1_204_000,
            p95: 6_820_000,
            p99: 14_010_000,
            of: 119_700,
        }),
    };
    let batch = SlaRow {
        stat: Stat {
            name: "batch".into(),
            requests: 40,
            succeeded: 40,
            ..Stat::default()
        },
        windows: Some(Windows {
            used: 3,
            clean: 3,
            down: 0,
        }),
        latency: None,
    };
    Sla {
        from: NOVEMBER,
        to: NOVEMBER + 30 * DAY,
        grain: 60,
        rows: vec![chat, batch],
        worst: vec![Hour {
            at: NOVEMBER + 9 * DAY + 3_600_000 * 14,
            name: "chat".into(),
            good: 61,
            bad: 188,
            ..Hour::default()
        }],
        is_ranked: true,
        is_sampled: false,
    }
}

fn objectives() -> BTreeMap<String, String> {
    [("chat".to_owned(), "99.9".to_owned())].into()
}

#[test]
fn availability_with_the_worst_hours() {
    let judged = sla::Judged::new(month(), Some(&objectives()));
    insta::assert_snapshot!(sla::page(&judged, about(By::Route), false).text(Paint(false)));
    let markdown = sla::page(&judged, about(By::Route), true).markdown();
    assert!(
        markdown.contains("| chat | 120 400 | 99.75% | 300 | 99.9% | 250% |"),
        "{markdown}"
    );
}

#[test]
fn what_is_not_known_of_availability_is_said() {
    let said = |sla: Sla, objectives: Option<&BTreeMap<String, String>>, by| {
        sla::page(&sla::Judged::new(sla, objectives), about(by), false).text(Paint(false))
    };
    let many = Sla {
        is_ranked: false,
        grain: 3_600,
        ..month()
    };
    let text = said(many, None, By::Route);
    assert!(
        text.contains("No percentiles: for this service too many requests"),
        "{text}"
    );
    assert!(text.contains("minutes are not kept so long"), "{text}");
    assert!(text.contains("the right to list modelroutes"), "{text}");
    let sampled = Sla {
        is_sampled: true,
        ..month()
    };
    let text = said(sampled, None, By::Provider);
    assert!(
        text.contains("of 119 700 of the 119 740 requests that succeeded: about one of 16"),
        "{text}"
    );
    let text = said(month(), None, By::Provider);
    assert!(text.contains("--by route"), "{text}");
    assert!(text.contains("of 119 700 of the 119 740 requests"), "{text}");
    assert!(said(Sla::default(), None, By::Provider).contains("No request ended: namespace shop"));
}

#[test]
fn availability_as_csv_is_exact() {
    let judged = sla::Judged::new(month(), Some(&objectives()));
    let csv = sla::csv(&judged, By::Route);
    let rows: Vec<_> = csv.lines().skip(1).collect();
    let burn = (1.0 - 119_700.0 / 120_000.0) / (1.0 - 99.9 / 100.0);
    let chat = format!(
        "chat,120400,119700,240,60,300,100,0.9975,99.9,{burn},60,31002,30911,7,1204000,6820000,14010000,119700"
    );
    assert_eq!(rows, [chat.as_str(), "batch,40,40,0,0,0,0,1,,,60,3,3,0,,,,"]);
}

fn two_periods() -> Usage {
    let of = |name: &str, requests, cost, input, output| Stat {
        namespace: "shop".into(),
        name: name.into(),
        requests,
        attempts: requests,
        cost: Money(cost),
        tokens: Tokens {
            input,
            output,
            ..Tokens::default()
        },
        ..Stat::default()
    };
    let rows = vec![
        UsageRow {
            now: of(
                "Deployment/checkout",
                90_000,
                131_004_300_000_000,
                22_104_881,
                4_310_020,
            ),
            previous: of(
                "Deployment/checkout",
                81_000,
                120_000_000_000_000,
                20_000_000,
                4_000_000,
            ),
            cache: CacheHits {
                hits: 4_100,
                saved_tokens: 910_200,
                saved_cost: Money(5_310_000_000_000),
            },
        },
        UsageRow {
            now: Stat {
                cost_unknown: 3,
                ..of("CronJob/report", 31, 1_415_885_000_000, 491_020, 80_211)
            },
            ..UsageRow::default()
        },
        UsageRow {
            now: of("Job/once", 0, 0, 0, 0),
            previous: of("Job/once", 7, 2_000_000_000, 700, 70),
            ..UsageRow::default()
        },
    ];
    Usage {
        from: NOVEMBER,
        to: NOVEMBER + 30 * DAY,
        previous_from: NOVEMBER - 31 * DAY,
        previous_to: NOVEMBER,
        rows,
    }
}

#[test]
fn usage_beside_the_period_before() {
    insta::assert_snapshot!(usage::page(&two_periods(), about(By::Workload), false).text(Paint(false)));
    let csv = usage::csv(&two_periods(), By::Workload);
    let first = csv.lines().nth(1).unwrap();
    assert_eq!(
        first,
        "shop,Deployment/checkout,131.0043,0,90000,90000,22104881,4310020,0,0,0,0,0,0,4100,910200,5.31,120,0,81000,81000,20000000,4000000,0,0,0,0,0"
    );
}

#[test]
fn who_was_turned_away_by_which_rule() {
    let row = |refused_by: &str, code: &str, count| Refused {
        namespace: "shop".into(),
        workload: "Deployment/checkout".into(),
        service_account: "checkout".into(),
        refused_by: refused_by.into(),
        code: code.into(),
        count,
        first: NOVEMBER + DAY,
        last: NOVEMBER + 3 * DAY,
    };
    let found = Refusals {
        from: NOVEMBER,
        to: NOVEMBER + 30 * DAY,
        rows: vec![
            row("access:no-tools", "AUTH_ACCESS_DENIED", 1_204),
            row("limit:per-pod", "RATE_LOCAL_LIMIT", 11),
        ],
        refused: 1_220,
        more: 5,
        unsuccessful: 2_000,
        without_detail: 40,
        shadow: vec![row("guard:pii", "", 7)],
        would_be_refused: 7,
    };
    insta::assert_snapshot!(access::page(&found, about(By::Provider), false).text(Paint(false)));
    let csv = access::csv(&found);
    assert_eq!(
        csv.lines().nth(1).unwrap(),
        "access:no-tools,shop,Deployment/checkout,checkout,AUTH_ACCESS_DENIED,1204,2026-11-02T00:00:00.000Z,2026-11-04T00:00:00.000Z,false"
    );
    let none = access::page(&Refusals::default(), about(By::Provider), false).text(Paint(false));
    assert!(
        none.contains("0 requests turned away") && none.contains("would_deny"),
        "{none}"
    );
}

#[test]
fn a_page_of_html_needs_nothing_else_and_no_name_is_markup() {
    let mut found = two_periods();
    found.rows[0].now.name = "<script>alert('x')</script>&\"".into();
    let html = usage::page(&found, about(By::Workload), true).html("Bowsprit report");
    assert!(
        html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"),
        "{html}"
    );
    for loaded in ["http:", "https:", "src=", "href=", "url(", "<script", "@import"] {
        assert!(!html.contains(loaded), "{loaded}: {html}");
    }
    for there in [
        "<svg ",
        "<rect ",
        "prefers-color-scheme:dark",
        "&lt;script&gt;",
        "$131",
        "<th class=\"dim\">COST</th>",
    ] {
        assert!(html.contains(there), "{there}: {html}");
    }
    let text = usage::page(&found, about(By::Workload), true).text(Paint(false));
    assert!(!text.contains("svg"), "{text}");
    let nothing = usage::page(&Usage::default(), about(By::Workload), true).html("Bowsprit report");
    assert!(
        !nothing.contains("<svg") && nothing.contains("No request ended"),
        "{nothing}"
    );
}
