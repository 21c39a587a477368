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

/// One namespace with one policy, for pods that are the `shop`'s; pods named `x-...` are not known.
struct Team(Arc<UsagePolicy>);

impl Known for Team {
    fn policies(&self, namespace: &str) -> Option<Vec<Arc<UsagePolicy>>> {
        Some(if namespace == "team" {
            vec![Arc::clone(&self.0)]
        } else {
            Vec::new()
        })
    }

    fn pod(&self, _: &str, pod: &PodId) -> Option<Arc<InjectedPod>> {
        let app = if pod.name.starts_with("other-") {
            "other"
        } else {
            "shop"
        };
        let labels = [
            ("app", app),
            ("team", if pod.name == "green" { "green" } else { "blue" }),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let known = InjectedPod {
            id: pod.clone(),
            labels: Arc::new(labels.into()),
            ..InjectedPod::default()
        };
        (!pod.name.starts_with("x-")).then(|| Arc::new(known))
    }

    fn has_route(&self, _: &str, name: &str) -> bool {
        name == "smart"
    }
}

fn money(leadership: &Leadership) -> Money {
    counted(leadership, &mut Registry::default())
}

fn counted(leadership: &Leadership, registry: &mut Registry) -> Money {
    let (fleet, _heard) = Fleet::new();
    let policy: UsagePolicy = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "shop", "resourceVersion": "1"},
        "spec": {"podSelector": {"matchLabels": {"app": "shop"}}, "budgets": [
            {"name": "all", "amount": "1", "currency": "USD", "window": "Custom", "every": "2160h", "per": "Namespace"},
            {"name": "team", "amount": "1", "currency": "USD", "window": "Custom", "every": "2160h", "per": "Team", "teamLabel": "team"},
            {"name": "route", "amount": "1", "currency": "USD", "window": "Custom", "every": "2160h", "per": "Route"},
            {"name": "own", "amount": "1", "currency": "USD", "window": "Day"},
        ]},
    }))
    .unwrap();
    Money::new(
        leadership.clone(),
        fleet,
        Arc::new(Team(Arc::new(policy))),
        Metrics::register(registry),
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

#[test]
fn who_is_not_known_is_lent_nothing_and_counted() {
    let leadership = Leadership::new(Clock::new());
    let mut registry = Registry::default();
    let money = counted(&leadership, &mut registry);
    leadership.leads_for(7, Duration::from_mins(1));
    money.begin(7, BTreeMap::new());
    let asks = [ask("shop/all", 1, 5), ask("shop/team", 1, 5)];
    assert_eq!(money.ask("team", &pod("x-1"), &asks), Some(Vec::new()));
    let last = money.0.warned.load(Ordering::Relaxed);
    assert!(last > 0, "warned");
    assert_eq!(money.ask("team", &pod("x-2"), &asks[..1]), Some(Vec::new()));
    assert_eq!(money.0.warned.load(Ordering::Relaxed), last, "once in a while");
    assert_eq!(
        money.ask("team", &pod("a"), &asks[..1]).map(|loans| loans.len()),
        Some(1)
    );
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "budget_asks_total{result=\"no_pod\"} 3",
        "budget_asks_total{result=\"ok\"} 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn what_a_sidecar_claims_reaches_the_budgets_of_its_own_pod_alone() {
    let leadership = Leadership::new(Clock::new());
    let money = money(&leadership);
    leadership.leads_for(7, Duration::from_mins(1));
    money.begin(7, BTreeMap::new());
    let claims = |name: &str, budget: &str, of: &str| {
        let mut claim = ask(budget, 9, 5);
        claim.key.of = of.into();
        claim.spent = u64::MAX;
        money.ask("team", &pod(name), &[claim]).unwrap()
    };
    let lent = || {
        let of = |treasury: &mut Treasury<PodId>| {
            let all = treasury
                .totals()
                .map(|(key, totals)| (key.of.clone(), totals.spent > 0));
            all.collect::<Vec<_>>()
        };
        money.with(of).unwrap()
    };
    for stranger in ["x-1", "other-1"] {
        assert!(claims(stranger, "shop/all", "").is_empty(), "{stranger}");
    }
    for number in 0..100 {
        assert!(claims("green", "shop/route", &format!("made-up-{number}")).is_empty());
        // It is answered as it asked, so that a sidecar whose pod has another label now hears.
        let of = format!("blue-{number}");
        assert_eq!(claims("green", "shop/team", &of)[0].key.of, of);
    }
    assert_eq!(lent(), [("green".into(), true)]);
    let blue = money.ask("team", &pod("a"), &[ask("shop/team", 1, 5)]).unwrap();
    assert_eq!(blue[0].spent, 0);
    assert_eq!(lent(), [("blue".into(), false), ("green".into(), true)]);
}
