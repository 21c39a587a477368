//! What is made of objectives. The whole of it is in tests/alerts/slo_rules.json, where promtool fires its alerts and lets them be.

use std::path::Path;

use super::*;

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/alerts/slo_rules.json");

fn provider(name: &str, slo: &Value) -> ProviderConfig {
    serde_json::from_value(json!({
        "apiVersion": "bowsprit.dev/v1alpha1",
        "kind": "ProviderConfig",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"provider": "Anthropic", "credentials": [{"name": "main", "secretKeyRef": {"name": "a", "key": "k"}}], "slo": slo},
    }))
    .unwrap()
}

fn route(name: &str, slo: &Value) -> ModelRoute {
    serde_json::from_value(json!({
        "apiVersion": "bowsprit.dev/v1alpha1",
        "kind": "ModelRoute",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"match": {"models": ["fast"]}, "targets": [{"provider": "claude"}], "slo": slo},
    }))
    .unwrap()
}

fn made(providers: &[ProviderConfig], routes: &[ModelRoute]) -> Option<Value> {
    let labels = [("release".to_owned(), "monitoring".to_owned())];
    let providers: Vec<&ProviderConfig> = providers.iter().collect();
    let routes: Vec<&ModelRoute> = routes.iter().collect();
    rules("shop", &providers, &routes, &labels, "https://example.com/runbooks/")
}

fn alerts(rule: &Value) -> Vec<&Value> {
    let rules = rule["spec"]["groups"][1]["rules"].as_array().unwrap();
    rules.iter().filter(|rule| rule["alert"].is_string()).collect()
}

#[test]
fn the_rules_of_two_objects_are_these() {
    let claude = provider("claude", &json!({"availability": "99"}));
    let fast = route(
        "fast",
        &json!({"availability": "99.9", "firstToken": "5s", "overWindow": "168h"}),
    );
    let text = format!("{:#}\n", made(&[claude], &[fast]).unwrap());
    if std::env::var_os("BOWSPRIT_WRITE_DOCS").is_some() {
        std::fs::write(SNAPSHOT, text).unwrap();
        return;
    }
    let now = std::fs::read_to_string(SNAPSHOT).unwrap_or_default();
    assert!(
        now == text,
        "{} is not what the code says: run this test with BOWSPRIT_WRITE_DOCS=1 and commit the result",
        Path::new(SNAPSHOT).display()
    );
}

#[test]
fn no_objective_makes_no_rule() {
    assert_eq!(
        made(&[provider("claude", &Value::Null)], &[route("fast", &Value::Null)]),
        None
    );
}

#[test]
fn a_month_is_watched_by_the_burn_rates_that_everybody_knows() {
    let made = made(&[provider("claude", &json!({"availability": "99"}))], &[]).unwrap();
    let limits: Vec<String> = alerts(&made)
        .iter()
        .map(|rule| {
            rule["expr"]
                .as_str()
                .unwrap()
                .split(" > ")
                .nth(1)
                .unwrap()
                .split(" *")
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(limits, ["14.4", "6", "3", "1"]);
}

#[test]
fn an_objective_so_low_that_no_outage_would_break_it_fast_is_still_alerted_on() {
    let made = made(&[provider("claude", &json!({"availability": "50"}))], &[]).unwrap();
    for rule in alerts(&made) {
        let limit = rule["expr"].as_str().unwrap().split(" > ").nth(1).unwrap();
        let rate: f64 = limit.split(" *").next().unwrap().parse().unwrap();
        assert!(rate * 0.5 < 1.0, "{limit}: a total outage must fire it");
    }
}

#[test]
fn what_cannot_be_read_makes_no_rule_and_no_name_leaves_its_quotes() {
    assert_eq!(
        made(
            &[provider("claude", &json!({"availability": "9\"} or vector(1)"}))],
            &[]
        ),
        None
    );
    assert_eq!(made(&[provider("claude", &json!({"availability": "NaN"}))], &[]), None);
}
