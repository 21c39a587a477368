use std::collections::BTreeMap;
use std::time::Duration;

use bowsprit_crds::budgets::WithoutOperator;
use bowsprit_crds::{BudgetStatus, RunawayPod, RunawayStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::gather;
use super::judge::judge;
use super::overview::{Circuits, Missed, Money, Namespace, Object, Operators, Overview, Webhook};
use super::render::screen;
use crate::cluster::tests::answering;
use crate::output::Paint;

fn provider(name: &str, priority: u32) -> Object {
    Object {
        name: name.into(),
        what: "Anthropic".into(),
        model: "claude-sonnet-4-5".into(),
        priority: Some(priority),
        ready: Some(true),
        selected: 2,
        current: 2,
        circuits: Some(Circuits {
            closed: 2,
            ..Circuits::default()
        }),
        ..Object::default()
    }
}

fn not_ready(object: Object, reason: &str, message: &str) -> Object {
    Object {
        ready: Some(false),
        reason: reason.into(),
        message: message.into(),
        ..object
    }
}

fn cluster(namespaces: Vec<Namespace>) -> Overview {
    Overview {
        operators: Some(Operators {
            namespace: "bowsprit-system".into(),
            deployment: "bowsprit".into(),
            account: "bowsprit".into(),
            wanted: 2,
            ready: 2,
            version: "0.1.0".into(),
            leader: Some("bowsprit-5c8d-x1".into()),
        }),
        webhook: Some(Webhook {
            there: true,
            trusted: true,
            failure_policy: "Fail".into(),
            ..Webhook::default()
        }),
        namespaces,
        ..Overview::default()
    }
}

fn healthy(name: &str) -> Namespace {
    Namespace {
        name: name.into(),
        providers: vec![provider("claude", 10), provider("gemini", 20)],
        routes: vec![Object {
            name: "fast".into(),
            what: "fast".into(),
            model: "gemini, claude".into(),
            ready: Some(true),
            selected: 2,
            current: 2,
            ..Object::default()
        }],
        sidecars: 2,
        ..Namespace::default()
    }
}

fn text(overview: Overview) -> String {
    screen(&judge(overview), false, Paint(false))
}

#[test]
fn a_healthy_namespace_says_so_in_its_first_line_and_asks_for_nothing() {
    let judged = judge(cluster(vec![healthy("shop")]));
    assert!(judged.well && judged.advice.is_empty());
    insta::assert_snapshot!(screen(&judged, false, Paint(false)));
}

#[test]
fn a_policy_that_lets_nothing_pass_is_shown_with_its_reason_and_how_it_ends() {
    let mut shop = healthy("shop");
    shop.policies = vec![Object {
        name: "pause".into(),
        what: "paused: an incident".into(),
        paused: true,
        ready: Some(true),
        selected: 2,
        current: 2,
        ..Object::default()
    }];
    let text = text(cluster(vec![shop]));
    for told in ["paused: an incident", "kubectl bowsprit resume --policy pause -n shop"] {
        assert!(text.contains(told), "{text}");
    }
}

#[test]
fn a_budget_that_pods_spend_together_is_shown_with_what_is_left_and_until_when() {
    let budget = |name: &str, of: &str, spent: &str, left: &str, spent_percent| Money {
        status: BudgetStatus {
            name: name.into(),
            of: of.into(),
            amount: "250".into(),
            spent: spent.into(),
            left: left.into(),
            spent_percent,
            window_ends: Time("2026-12-01T00:00:00Z".parse().unwrap()),
            as_of: Time("2026-11-29T10:00:00Z".parse().unwrap()),
        },
        without_operator: WithoutOperator::Stop,
    };
    let mut shop = healthy("shop");
    shop.policies = vec![Object {
        name: "house".into(),
        ready: Some(true),
        selected: 2,
        current: 2,
        budgets: vec![
            budget("month", "", "12.5", "237.5", 5),
            budget("team", "search", "245.75", "4.25", 98),
        ],
        ..Object::default()
    }];
    let judged = judge(cluster(vec![shop]));
    assert!(judged.well, "nothing is broken");
    insta::assert_snapshot!(screen(&judged, false, Paint(false)));
    let json: Value = serde_json::to_value(&judged).unwrap();
    let budget = &json["namespaces"][0]["policies"][0]["budgets"][1];
    assert_eq!(
        json!([
            budget["of"],
            budget["left"],
            budget["withoutOperator"],
            budget["windowEnds"]
        ]),
        json!(["search", "4.25", "Stop", "2026-12-01T00:00:00Z"]),
        "{json:#}"
    );
}

#[test]
fn pods_that_run_away_are_shown_with_how_often_and_what_to_do() {
    let one = |pod: &str, repeats, stops| RunawayPod {
        pod: pod.into(),
        stops,
        repeats,
        since: Time("2026-11-29T10:00:00Z".parse().unwrap()),
    };
    let policy = |name: &str, pods, worst| Object {
        name: name.into(),
        ready: Some(true),
        selected: 2,
        current: 2,
        runaway: Some(RunawayStatus {
            pods,
            worst,
            as_of: Time("2026-11-29T10:05:00Z".parse().unwrap()),
        }),
        ..Object::default()
    };
    let mut shop = healthy("shop");
    shop.policies = vec![
        policy("house", 1, vec![one("web-1", 7, false)]),
        policy("loops", 12, vec![one("app-7", 4000, true), one("app-1", 12, true)]),
    ];
    let judged = judge(cluster(vec![shop]));
    assert!(judged.well, "nothing is broken");
    insta::assert_snapshot!(screen(&judged, false, Paint(false)));
    let json: Value = serde_json::to_value(&judged).unwrap();
    let runaway = &json["namespaces"][0]["policies"][1]["runaway"];
    assert_eq!(
        (&runaway["pods"], &runaway["worst"][0]["pod"]),
        (&json!(12), &json!("app-7")),
        "{json:#}"
    );
}

#[test]
fn what_is_broken_comes_with_what_to_do_about_it() {
    let mut shop = healthy("shop");
    shop.providers = vec![
        Object {
            circuits: Some(Circuits {
                closed: 1,
                open: 1,
                half_open: 0,
            }),
            ..provider("claude", 10)
        },
        not_ready(
            provider("gemini", 20),
            "KeyUnusable",
            "ResolvedRefs: app-1: main: the file /var/run/bowsprit/secrets/keys/gemini is not there",
        ),
        not_ready(
            Object {
                current: 1,
                behind: 1,
                ..provider("openai", 30)
            },
            "Pending",
            "Programmed: 1 of 2 sidecars does not have it yet: app-2",
        ),
    ];
    shop.waiting = BTreeMap::from([
        ("app-3".to_owned(), "its sidecar waits: ImagePullBackOff".to_owned()),
        ("app-4".to_owned(), "its sidecar waits: ImagePullBackOff".to_owned()),
    ]);
    shop.missed = vec![Missed {
        namespace: "shop".into(),
        pod: "old-7d9f-abc".into(),
        owner: "deployment/old".into(),
    }];
    let judged = judge(cluster(vec![shop]));
    assert!(!judged.well);
    insta::assert_snapshot!(screen(&judged, false, Paint(false)));
}

#[test]
fn an_operator_that_is_down_is_said_once_and_not_by_every_object() {
    let mut overview = cluster(vec![healthy("shop")]);
    if let Some(operators) = &mut overview.operators {
        operators.ready = 0;
    }
    overview.webhook = Some(Webhook::default());
    overview.namespaces[0].providers[0].ready = None;
    insta::assert_snapshot!(text(overview));
}

#[test]
fn nothing_there_and_nothing_permitted_are_told_apart() {
    let empty = Namespace {
        name: "default".into(),
        ..Namespace::default()
    };
    let mut overview = cluster(vec![empty]);
    overview.operators = None;
    overview.webhook = None;
    overview.unknown = vec![
        "not permitted to list deployments in namespace bowsprit-system: no\n  ask for a role with: {apiGroups: [\"apps\"]}".into(),
    ];
    insta::assert_snapshot!(text(overview));
}

#[test]
fn a_huge_fleet_fits_a_screen_and_hides_no_trouble() {
    let mut namespaces: Vec<Namespace> = (0..300).map(|number| healthy(&format!("team-{number:03}"))).collect();
    namespaces[250].providers[0] = not_ready(provider("claude", 10), "RefNotFound", "ResolvedRefs: gone");
    namespaces[251].sidecars = 9000;
    let text = text(cluster(namespaces));
    assert!(text.lines().count() < 45, "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_left_of_error_budgets_stands_beside_each_object_and_a_spent_one_is_advised_on() {
    let mut shop = healthy("shop");
    let objective = |percent, left: i64| serde_json::json!({"objective": percent, "measured": "98.000", "budgetRemainingPercent": left, "good": 98, "bad": 2});
    let status = serde_json::json!({
        "availability": objective("99", -100), "firstToken": objective("95", 60), "window": "720h",
        "sidecars": 2, "since": "2026-01-01T00:00:00Z", "asOf": "2026-01-02T00:00:00Z",
    });
    shop.providers[0].slo = Some(serde_json::from_value(status).unwrap());
    let judged = judge(cluster(vec![shop]));
    assert!(judged.well, "nothing is broken that anybody could mend now");
    insta::assert_snapshot!(screen(&judged, false, Paint(false)));
}

#[tokio::test]
async fn an_object_of_another_releases_form_is_named_and_all_others_are_shown() {
    let object = |kind: &str, name: &str, spec: Value| {
        let metadata = json!({"name": name, "namespace": "shop", "generation": 1});
        json!({"apiVersion": "bowsprit.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
    };
    let cluster = answering(
        move |request| {
            if request.uri().path().ends_with("/namespaces/shop") {
                return (
                    200,
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
                );
            }
            let items = match request.uri().path().rsplit('/').next() {
                Some("providerconfigs") => vec![object(
                    "ProviderConfig",
                    "claude",
                    json!({"provider": "Anthropic", "credentials": []}),
                )],
                Some("modelroutes") => {
                    let route = |limits: Value| json!({"match": {"models": ["m"]}, "targets": [{"provider": "claude"}], "limits": limits});
                    vec![
                        object("ModelRoute", "later", route(json!("a later form"))),
                        object("ModelRoute", "smart", route(json!([]))),
                    ]
                }
                _ => Vec::new(),
            };
            (
                200,
                json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}),
            )
        },
        Duration::from_secs(5),
    );
    let overview = gather::overview(&cluster, Some("shop")).await.unwrap();
    let names = |of: &[Object]| of.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let shop = &overview.namespaces[0];
    assert_eq!(
        (names(&shop.providers), names(&shop.routes)),
        (vec!["claude".to_owned()], vec!["later".to_owned(), "smart".to_owned()])
    );
    let [unknown] = &overview.unknown[..] else {
        panic!("{:?}", overview.unknown)
    };
    assert!(
        unknown.contains("ModelRoute later in shop says: spec.limits: "),
        "{unknown}"
    );
}
