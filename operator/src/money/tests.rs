use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use prometheus_client::registry::Registry;

use super::*;
use crate::time::Clock;

fn pod(name: &str) -> PodId {
    PodId {
        name: name.into(),
        uid: format!("uid-{name}"),
    }
}

fn money(leadership: &Leadership) -> Money {
    let (fleet, _heard) = Fleet::new();
    let policy: UsagePolicy = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "shop", "resourceVersion": "1"},
        "spec": {"budgets": [
            {"name": "all", "amount": "1", "currency": "USD", "window": "Custom", "every": "2160h", "per": "Namespace"},
            {"name": "own", "amount": "1", "currency": "USD", "window": "Day"},
        ]},
    }))
    .unwrap();
    let policies: Vec<Arc<UsagePolicy>> = vec![Arc::new(policy)];
    Money::new(
        leadership.clone(),
        fleet,
        Arc::new(move |namespace| {
            Some(if namespace == "team" {
                policies.clone()
            } else {
                Vec::new()
            })
        }),
        Metrics::register(&mut Registry::default()),
    )
}

fn ask(budget: &str, number: u64, want: u64) -> WireBorrow {
    WireBorrow {
        key: bowsprit_core::stream::loans::BudgetKey {
            budget: budget.into(),
            of: String::new(),
        },
        number,
        run: 1,
        least: want,
        want,
        ..WireBorrow::default()
    }
}

#[test]
fn nothing_is_lent_before_the_marks_are_read_nor_beyond_what_is_written() {
    let leadership = Leadership::new(Clock::new());
    let money = money(&leadership);
    assert_eq!(
        money.ask("team", &pod("a"), &[ask("shop/all", 1, 5)]),
        None,
        "another leads"
    );
    leadership.leads_for(7, Duration::from_mins(1));
    assert_eq!(money.ask("team", &pod("a"), &[ask("shop/all", 2, 5)]), Some(Vec::new()));
    money.begin(7, BTreeMap::new());
    let asked = |number: u64| money.ask("team", &pod("a"), &[ask("shop/all", number, 5)]).unwrap();
    let first = asked(3);
    assert!(first[0].is_pending && first[0].epoch == 7, "{first:?}");
    let marks = money
        .with(|treasury| treasury.marks("team", latest_unix_millis()))
        .unwrap();
    assert!(marks.values().next().unwrap().mark > 5);
    money.with(|treasury| treasury.written(&marks));
    assert_eq!((asked(4)[0].held, asked(5)[0].is_short), (5, false));
    for (namespace, budget) in [("team", "shop/own"), ("team", "shop/none"), ("other", "shop/all")] {
        let loans = money.ask(namespace, &pod("a"), &[ask(budget, 9, 5)]).unwrap();
        assert!(loans.is_empty(), "{namespace} {budget}");
    }
}

#[test]
fn whoever_writes_statuses_looks_at_each_tenth_that_is_spent_at_once_and_at_nothing_between() {
    const PERCENT: u64 = 10_000_000_000;
    let leadership = Leadership::new(Clock::new());
    let money = money(&leadership);
    leadership.leads_for(7, Duration::from_mins(1));
    money.begin(7, BTreeMap::new());
    let mut heard = money.0.fleet.listen();
    let mut looks = |pod_name: &str, number: u64, spent: u64| {
        let ask = WireBorrow {
            epoch: 7,
            held: spent * PERCENT,
            spent: spent * PERCENT,
            ..ask("shop/all", number, 0)
        };
        assert_eq!(money.ask("team", &pod(pod_name), &[ask]).unwrap().len(), 1);
        heard.next().now_or_never().flatten().is_some()
    };
    assert!(looks("a", 1, 0), "the first word");
    assert!(!looks("a", 2, 9));
    assert!(looks("b", 1, 3), "12 percent by both");
    assert!(!looks("b", 2, 10));
    assert!(looks("a", 3, 90), "all of it");
    assert!(!looks("a", 4, 900), "and more than that");
}
