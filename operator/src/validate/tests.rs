use super::*;
use serde_json::{Value, json};

fn spec(more: &Value) -> ProviderConfigSpec {
    let mut spec = json!({
        "provider": "OpenAI", "models": [{"name": "gpt"}], "defaultModel": "gpt",
        "credentials": [{"name": "main", "secretKeyRef": {"name": "keys", "key": "a"}}],
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn provider(name: &str, more: &Value) -> Arc<ProviderConfig> {
    Arc::new(ProviderConfig::new(name, spec(more)))
}

fn route_spec(target: &str) -> ModelRouteSpec {
    serde_json::from_value(json!({"match": {"models": ["fast"]}, "targets": [{"provider": target}]})).unwrap()
}

fn known() -> Known {
    Known {
        providers: vec![
            provider("a", &json!({"priority": 1, "fallbackProviders": ["b"]})),
            provider("b", &json!({"priority": 2})),
        ],
        routes: vec![Arc::new(ModelRoute::new("fast", route_spec("a")))],
    }
}

#[test]
fn everything_that_is_wrong_is_refused_at_once() {
    let wrong =
        spec(&json!({"rateLimits": {"requestsPerMinute": 0}, "retry": {"maxAttempts": 0}, "fallbackProviders": ["c"]}));
    let judged = judge("c", &Change::Provider(Box::new(wrong)), &known());
    let all = judged.refusals.join("\n");
    for expected in [
        "spec.rateLimits.requestsPerMinute",
        "spec.retry.maxAttempts",
        "spec.fallbackProviders",
    ] {
        assert!(
            all.contains(&format!("ProviderConfig c: {expected}")),
            "{expected} is not in\n{all}"
        );
    }
}

#[test]
fn what_leads_nowhere_yet_is_accepted_with_a_warning() {
    let judged = judge("new", &Change::Route(Box::new(route_spec("later"))), &Known::default());
    assert!(judged.refusals.is_empty());
    let warnings = judged.warnings.join("\n");
    assert!(warnings.contains("there is no ProviderConfig \"later\""), "{warnings}");
    assert!(warnings.contains("no target is a ProviderConfig"), "{warnings}");
}

#[test]
fn a_budget_that_leads_to_a_route_that_is_not_there_is_accepted_with_a_warning() {
    let policy = |route: &str| {
        let budget = json!({"name": "day", "amount": "1", "currency": "USD", "window": "Day", "onExhausted": "Divert", "divertTo": route});
        let spec = serde_json::from_value(json!({"budgets": [budget]})).unwrap();
        let mut known = known();
        known.providers = vec![provider("a", &json!({"passThrough": false}))];
        judge("shop", &Change::Policy(Box::new(spec)), &known)
    };
    assert_eq!(policy("fast"), Judgement::default());
    let judged = policy("cheap");
    assert!(judged.refusals.is_empty());
    assert!(
        judged.warnings[0].starts_with("UsagePolicy shop: spec.budgets[0].divertTo: there is no ModelRoute \"cheap\"")
    );
}

#[test]
fn a_budget_beside_an_api_that_nobody_meters_is_accepted_with_a_warning() {
    let budget = json!({"name": "day", "amount": "1", "currency": "USD", "window": "Day", "onExhausted": "Stop"});
    let spec = serde_json::from_value(json!({"budgets": [budget]})).unwrap();
    let judged = judge("shop", &Change::Policy(Box::new(spec)), &known());
    assert!(judged.refusals.is_empty());
    assert_eq!(judged.warnings.len(), 1, "{judged:?}");
    let starts = "UsagePolicy shop: spec.budgets: what passes unread below /providers/NAME/ of ProviderConfig a, b is not counted";
    assert!(judged.warnings[0].starts_with(starts), "{judged:?}");
}

#[test]
fn an_object_is_told_of_itself_only_and_not_of_its_former_self() {
    let same = spec(&json!({"priority": 1, "fallbackProviders": ["b"]}));
    let judged = judge("a", &Change::Provider(Box::new(same)), &known());
    assert_eq!(judged, Judgement::default(), "its own models are not served twice");
    let rival = spec(&json!({"priority": 2}));
    let judged = judge("z", &Change::Provider(Box::new(rival)), &known());
    assert_eq!(judged.warnings.len(), 1, "{judged:?}");
    assert!(judged.warnings[0].starts_with("ProviderConfig z: spec.models: \"gpt\" is served by b too"));
}

#[test]
fn who_deletes_a_provider_is_told_who_names_it() {
    let judged = judge("b", &Change::ProviderGone, &known());
    assert_eq!((judged.refusals.len(), judged.warnings.len()), (0, 1));
    assert!(judged.warnings[0].starts_with("ProviderConfig a names ProviderConfig b"));
    let judged = judge("a", &Change::ProviderGone, &known());
    assert!(judged.warnings[0].starts_with("ModelRoute fast names ProviderConfig a"));
    assert_eq!(judge("fast", &Change::RouteGone, &known()), Judgement::default());
}

#[test]
fn the_secrets_are_asked_about_when_keys_or_where_they_go_change_and_not_otherwise() {
    let keys = BTreeSet::from(["keys".to_owned()]);
    let old = spec(&json!({}));
    assert_eq!(secrets_reached(None, &old), keys);
    assert!(secrets_reached(Some(&old), &spec(&json!({"priority": 7}))).is_empty());
    let elsewhere = spec(&json!({"endpoint": {"baseUrl": "https://example.com/v1"}}));
    assert_eq!(secrets_reached(Some(&old), &elsewhere), keys);
    let other_key = json!({"credentials": [{"name": "main", "secretKeyRef": {"name": "others", "key": "a"}}]});
    assert_eq!(
        secrets_reached(Some(&old), &spec(&other_key)),
        BTreeSet::from(["others".to_owned()])
    );
    let store = |secret: &str, limit: u32| {
        let store = json!({"redisRef": {"name": secret, "key": "url"}});
        spec(&json!({"rateLimits": {"scope": "Fleet", "requestsPerMinute": limit, "store": store}}))
    };
    let both = |secret: &str| BTreeSet::from(["keys".to_owned(), secret.to_owned()]);
    assert_eq!(secrets_reached(Some(&old), &store("limits", 5)), both("limits"));
    assert_eq!(
        secrets_reached(Some(&store("limits", 5)), &store("other", 5)),
        both("other")
    );
    assert!(secrets_reached(Some(&store("limits", 5)), &store("limits", 6)).is_empty());
}

#[test]
fn the_secret_of_a_guards_service_is_asked_about_when_it_or_where_its_key_goes_changes() {
    let guards = |url: &str, secret: &str, timeout: &str| -> Vec<Guard> {
        let guards = json!([
            {"name": "local", "applyTo": ["Request"], "words": ["bluebird"]},
            {"name": "open", "applyTo": ["Request"], "webhook": {"url": "https://open"}},
            {"name": "dlp", "applyTo": ["Request"], "webhook": {
                "url": url, "timeout": timeout, "authSecretRef": {"name": secret, "key": "token"}}},
        ]);
        serde_json::from_value(guards).unwrap()
    };
    let old = guards("https://dlp", "dlp", "1s");
    let reached = |old: &[Guard], new: &[Guard]| -> BTreeSet<String> {
        let reached = secrets_reached_by_guards(old, new);
        reached.into_iter().map(|reached| reached.secret).collect()
    };
    let named = |name: &str| BTreeSet::from([name.to_owned()]);
    assert_eq!(reached(&[], &old), named("dlp"));
    let slower = guards("https://dlp", "dlp", "2s");
    assert!(reached(&old, &slower).is_empty());
    let elsewhere = guards("https://elsewhere", "dlp", "1s");
    assert_eq!(reached(&old, &elsewhere), named("dlp"));
    let other = guards("https://dlp", "other", "1s");
    assert_eq!(reached(&old, &other), named("other"));
}
