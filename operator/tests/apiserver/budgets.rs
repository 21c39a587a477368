//! The marks of budgets that pods spend together: where those of many namespaces are, and that one that cannot be written keeps up no other.

use std::collections::BTreeMap;

use bowsprit_core::spend::shared::treasury::{Key, MOST, Mark};
use bowsprit_core::spend::window::Window;
use bowsprit_core::stream::loans::{BudgetKey, WireBorrow, WireLoan};
use bowsprit_crds::UsagePolicy;
use bowsprit_operator::money::marks::{Marks, Unwritten};
use bowsprit_operator::money::{Known, Money};
use bowsprit_operator::objects::pod::InjectedPod;
use bowsprit_operator::owner::Deployed;

use super::*;

const MAPS: &str = "/api/v1/namespaces/bowsprit-system/configmaps/";
/// What the apiserver takes.
const MOST_BYTES: usize = 1 << 20;
/// Where the first ConfigMap has no more room.
const NEARLY_FULL: usize = (960 << 10) - 10;

fn leads() -> Leadership {
    let leadership = Leadership::new(Clock::new());
    leadership.leads_for(7, Duration::from_mins(10));
    leadership
}

fn marks_at(fake: &Arc<Fake>) -> Marks {
    let client = fake.client();
    let owner = Deployed::new(&client, "bowsprit-system", "bowsprit");
    Marks::new(client, "bowsprit-system", owner)
}

fn full(namespace: &str, mark: u64) -> BTreeMap<Key, Mark> {
    let window = Window {
        begins: 1_764_374_400,
        ends: 1_766_966_400,
    };
    let of = |number: usize| {
        let key = Key {
            namespace: namespace.into(),
            budget: "nightly-jobs-of-the-warehouse/run".into(),
            of: format!("nightly-{number}/1f0c7a56-0000-4000-8000-{number:012}"),
        };
        (key, Mark { window, mark })
    };
    (0..MOST).map(of).collect()
}

/// Bytes of each ConfigMap and the namespaces in it, by its name.
fn maps(fake: &Fake) -> BTreeMap<String, (usize, Vec<String>)> {
    let of = |(path, map): (String, Value)| {
        let name = path.strip_prefix(MAPS)?.to_owned();
        let data = map["data"].as_object().cloned().unwrap_or_default();
        let bytes = data.values().map(|text| text.as_str().unwrap().len()).sum();
        Some((
            name,
            (bytes, data.into_iter().map(|(namespace, _)| namespace).collect()),
        ))
    };
    fake.objects().into_iter().filter_map(of).collect()
}

#[tokio::test]
async fn many_namespaces_full_of_budgets_have_room_and_are_read_again_by_whoever_leads_next() {
    let (fake, leadership) = (Fake::new(), leads());
    let mut marks = marks_at(&fake);
    assert_eq!(marks.read().await.unwrap(), BTreeMap::new());
    let mut all = BTreeMap::new();
    for number in 0..20 {
        let namespace = format!("team-{number:02}");
        let wanted = full(&namespace, 1_000_000_000 + number);
        marks.write(&leadership, &namespace, &wanted).await.unwrap();
        all.extend(wanted);
    }
    let maps = maps(&fake);
    assert!(maps.values().all(|(bytes, _)| *bytes < MOST_BYTES), "{maps:?}");
    assert!(maps.len() >= 4, "{maps:?}");
    // What a release that knows of one only could have kept there, it finds there.
    assert!(maps["bowsprit-budgets"].0 > MOST_BYTES / 2, "{maps:?}");
    assert!(maps["bowsprit-budgets"].1.contains(&"team-00".to_owned()), "{maps:?}");
    assert_eq!(marks_at(&fake).read().await.unwrap(), all);
    let labels = |name: &str| fake.get(&format!("{MAPS}{name}")).unwrap()["metadata"]["labels"].clone();
    assert_eq!(labels("bowsprit-budgets-1"), labels("bowsprit-budgets"));
}

#[tokio::test]
async fn what_a_release_that_knows_of_one_has_written_is_read_and_moves_when_it_grows_too_large() {
    let (fake, leadership) = (Fake::new(), leads());
    let few: BTreeMap<Key, Mark> = full("team", 41).into_iter().take(10).collect();
    let mut before = marks_at(&fake);
    before.read().await.unwrap();
    before.write(&leadership, "team", &few).await.unwrap();
    let text = fake.get(&format!("{MAPS}bowsprit-budgets")).unwrap()["data"]["team"].clone();
    let rest = "x".repeat(NEARLY_FULL - text.as_str().unwrap().len());
    // Without labels, as somebody may have restored it.
    fake.put(
        &format!("{MAPS}bowsprit-budgets"),
        json!({"data": {"team": text, "large": rest}}),
    );
    let mut marks = marks_at(&fake);
    assert_eq!(marks.read().await.unwrap(), few);
    marks.write(&leadership, "team", &full("team", 42)).await.unwrap();
    let now = maps(&fake);
    assert_eq!(now["bowsprit-budgets"].1, ["large"]);
    assert_eq!(now["bowsprit-budgets-1"].1, ["team"]);
    // Such a release has led meanwhile, and written where it knows of.
    let lower =
        json!({"large": rest, "team": text.as_str().unwrap().replace("\"picodollars\":41", "\"picodollars\":77")});
    fake.put(&format!("{MAPS}bowsprit-budgets"), json!({"data": lower}));
    let read = marks_at(&fake).read().await.unwrap();
    let (first, last) = (read.first_key_value().unwrap(), read.last_key_value().unwrap());
    assert_eq!(
        (read.len(), first.1.mark, last.1.mark),
        (MOST, 77, 42),
        "of each the higher"
    );
    assert!(matches!(
        marks.write(&leadership, "large", &full("large", 1)).await,
        Err(Unwritten::Overtaken(_))
    ));
}

/// Pods of any namespace are under one budget.
struct Anywhere;

impl Known for Anywhere {
    fn policies(&self, _: &str) -> Option<Vec<Arc<UsagePolicy>>> {
        let budget = json!({"name": "all", "amount": "1", "currency": "USD", "window": "Custom", "every": "2160h", "per": "Namespace"});
        let policy = json!({"metadata": {"name": "shop"}, "spec": {"budgets": [budget]}});
        Some(vec![Arc::new(serde_json::from_value(policy).unwrap())])
    }

    fn pod(&self, _: &str, pod: &PodId) -> Option<Arc<InjectedPod>> {
        let id = pod.clone();
        Some(Arc::new(InjectedPod {
            id,
            ..InjectedPod::default()
        }))
    }

    fn has_route(&self, _: &str, _: &str) -> bool {
        false
    }
}

/// A pod of this namespace asks for money.
fn asks(money: &Money, namespace: &str, number: u64) -> Option<WireLoan> {
    let pod = PodId {
        name: "a".into(),
        uid: format!("{namespace}-a"),
    };
    let key = BudgetKey {
        budget: "shop/all".into(),
        of: String::new(),
    };
    let ask = WireBorrow {
        key,
        number,
        run: 1,
        least: 5,
        want: 5,
        ..WireBorrow::default()
    };
    money.ask(namespace, &pod, &[ask]).and_then(|mut loans| loans.pop())
}

/// Asks in each namespace, counting from `first`, until all of `lent` hold what they wanted.
async fn until_lent(money: &Money, first: u64, namespaces: &[&str], lent: &[&str]) {
    let waited = async {
        for number in first.. {
            let loans: Vec<_> = namespaces.iter().map(|of| (of, asks(money, of, number))).collect();
            let has = |of: &&str| {
                let found = loans.iter().find(|(namespace, _)| *namespace == of);
                found.is_some_and(|(_, loan)| loan.as_ref().is_some_and(|loan| loan.held == 5))
            };
            if lent.iter().all(has) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(20), waited).await;
    assert!(outcome.is_ok(), "never all of {lent:?}");
}

fn lends(fake: &Arc<Fake>) -> (Money, tokio::task::JoinHandle<()>) {
    let (fleet, _heard) = Fleet::new();
    let money = Money::new(leads(), fleet, Arc::new(Anywhere), Metrics::new().money());
    let keeps = tokio::spawn(money.clone().keep(marks_at(fake)));
    (money, keeps)
}

#[tokio::test]
async fn a_namespace_whose_marks_are_refused_keeps_up_no_other() {
    let fake = Fake::new();
    fake.refuses(|_, object| {
        let is_refused = object["data"].get("b").is_some();
        is_refused.then(|| (413, "too large".to_owned()))
    });
    let (money, keeps) = lends(&fake);
    until_lent(&money, 1, &["a", "b", "c"], &["a", "c"]).await;
    assert!(
        asks(&money, "b", 1_000_000).unwrap().is_pending,
        "nothing is lent that is not written"
    );
    assert_eq!(maps(&fake)["bowsprit-budgets"].1, ["a", "c"]);
    fake.refuses(|_, _| None);
    until_lent(&money, 1_000_001, &["b"], &["b"]).await;
    keeps.abort();
}

/// So many bytes of marks of windows that are over.
fn over(bytes: usize) -> String {
    let marks = json!([{"budget": "shop/all", "begins": 0, "ends": 3_600, "picodollars": 42}]).to_string();
    let rest = " ".repeat(bytes - marks.len());
    marks + &rest
}

/// Waits until this ConfigMap has the marks of these namespaces.
async fn until_in(fake: &Fake, map: &str, namespaces: &[&str]) {
    let waited = async {
        while maps(fake)[map].1 != namespaces {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let outcome = tokio::time::timeout(Duration::from_secs(20), waited).await;
    assert!(outcome.is_ok(), "{:?}", maps(fake));
}

#[tokio::test]
async fn what_is_written_of_windows_that_are_over_makes_room_at_one_stroke_and_nobody_waits_for_that() {
    let fake = Fake::new();
    let past = json!({"gone": over(NEARLY_FULL / 2), "past": over(NEARLY_FULL / 2)});
    fake.put(&format!("{MAPS}bowsprit-budgets"), json!({"data": past}));
    // What is to be taken away cannot be, for now.
    fake.refuses(|_, object| {
        let data = object["data"].as_object();
        let takes_away = data.is_some_and(|data| data.values().any(Value::is_null));
        takes_away.then(|| (403, "not now".to_owned()))
    });
    let (money, keeps) = lends(&fake);
    until_lent(&money, 1, &["new"], &["new"]).await;
    assert_eq!(maps(&fake)["bowsprit-budgets"].1, ["gone", "past"]);
    assert_eq!(maps(&fake)["bowsprit-budgets-1"].1, ["new"]);
    keeps.abort();
    fake.refuses(|_, _| None);
    fake.delete(&format!("{MAPS}bowsprit-budgets-1"));
    let (money, keeps) = lends(&fake);
    until_lent(&money, 1, &["new"], &["new"]).await;
    until_in(&fake, "bowsprit-budgets", &[]).await;
    let patch = format!("PATCH {MAPS}bowsprit-budgets");
    assert_eq!(fake.writes().iter().filter(|write| **write == patch).count(), 1);
    keeps.abort();
}

#[tokio::test]
async fn where_there_is_no_place_at_all_what_is_over_goes_first() {
    let fake = Fake::new();
    for number in 0..16 {
        let name = match number {
            0 => "bowsprit-budgets".to_owned(),
            number => format!("bowsprit-budgets-{number}"),
        };
        let labels = json!({"app.kubernetes.io/managed-by": "bowsprit-operator"});
        let past = json!({format!("past-{number}"): over(NEARLY_FULL)});
        fake.put(
            &format!("{MAPS}{name}"),
            json!({"metadata": {"name": name, "labels": labels}, "data": past}),
        );
    }
    let (money, keeps) = lends(&fake);
    until_lent(&money, 1, &["new"], &["new"]).await;
    assert_eq!(maps(&fake)["bowsprit-budgets"].1, ["new"]);
    keeps.abort();
}
