use std::collections::BTreeMap;
use std::time::Duration;

use bowsprit_crds::{ModelRoute, ProviderConfig, UsagePolicy};
use serde_json::json;

use super::checks::{
    Absent, By, Check, Config, Crd, Findings, Fleet, NEEDED, Named, Permission, Ref, Served, State, judge, not_after,
};
use super::render::screen;
use crate::fleet::{self, Health};
use crate::health::Seen;
use crate::output::Paint;
use crate::status::{Missed, Operators, Webhook};

const NOW: Duration = Duration::from_secs(1_700_000_000);

fn crd(lacks: &[&str]) -> Crd {
    Crd {
        serves: true,
        lacks: lacks.iter().map(ToString::to_string).collect(),
    }
}

fn healthy() -> Findings {
    let health = Health {
        status: "ok".into(),
        stream: Some(fleet::Stream {
            connected: true,
            problem: None,
        }),
        ..Health::default()
    };
    Findings {
        client: "0.2.0".into(),
        crds: Ok(BTreeMap::from([
            ("modelroutes.bowsprit.dev".into(), crd(&[])),
            ("providerconfigs.bowsprit.dev".into(), crd(&[])),
        ])),
        unread: Vec::new(),
        operators: Ok(Operators {
            namespace: "bowsprit-system".into(),
            deployment: "bowsprit".into(),
            wanted: 2,
            ready: 2,
            version: "0.2.0".into(),
            leader: Some("bowsprit-5c8d-x1".into()),
            ..Operators::default()
        }),
        webhook: Ok(Webhook {
            there: true,
            trusted: true,
            failure_policy: "Fail".into(),
            ..Webhook::default()
        }),
        dry_run: Ok(Ok(true)),
        served: Ok(vec![Served {
            pod: "bowsprit-5c8d-x1".into(),
            unreached: None,
            distrusted: None,
            not_after: Some(NOW.as_secs() + 20 * 3600),
        }]),
        permissions: Ok(NEEDED
            .iter()
            .map(|(verb, _, resource, _, _)| Permission {
                what: format!("{verb} {resource}"),
                allowed: true,
            })
            .collect()),
        sidecar_versions: Ok(BTreeMap::from([("0.1.0".into(), 3), ("0.2.0".into(), 1)])),
        missed: Ok(vec![]),
        behind: Ok(vec![]),
        configs: Ok(vec![Config {
            namespace: "shop".into(),
            there: true,
            edited: false,
        }]),
        secrets: Ok(vec![]),
        health: Ok(Fleet {
            all: 1,
            seen: vec![Seen {
                namespace: "shop".into(),
                pod: "app-1".into(),
                health: Some(health),
                silent: None,
            }],
        }),
    }
}

#[test]
fn a_healthy_installation_passes_every_check() {
    let checks = judge(&healthy(), NOW);
    assert!(checks.iter().all(|check| check.state == State::Ok), "{checks:#?}");
    insta::assert_snapshot!(screen(&checks, Paint(false)));
}

#[test]
fn crds_of_the_release_before_are_told_with_what_they_lack_where_the_operators_are_of_ours() {
    let mut findings = healthy();
    findings.crds = Ok(BTreeMap::from([
        ("modelroutes.bowsprit.dev".into(), crd(&["status.slo"])),
        ("providerconfigs.bowsprit.dev".into(), crd(&[])),
    ]));
    let check = &judge(&findings, NOW)[0];
    assert_eq!(check.state, State::Warn);
    assert!(
        check
            .found
            .contains("modelroutes.bowsprit.dev does not know status.slo"),
        "{check:?}"
    );
    assert!(check.remedy.starts_with("kubectl apply --server-side"), "{check:?}");
    findings.client = "0.3.0".into();
    assert_eq!(
        judge(&findings, NOW)[0].state,
        State::Ok,
        "they may be right for the operators"
    );
}

#[test]
fn each_thing_that_is_broken_is_found_and_comes_with_what_to_do() {
    let mut sick = healthy();
    sick.crds = Ok(BTreeMap::from([(
        "providerconfigs.bowsprit.dev".into(),
        Crd::default(),
    )]));
    sick.webhook = Ok(Webhook::default());
    sick.dry_run = Ok(Ok(false));
    sick.served = Ok(vec![Served {
        pod: "bowsprit-5c8d-x1".into(),
        unreached: None,
        distrusted: Some("invalid peer certificate: UnknownIssuer".into()),
        not_after: None,
    }]);
    sick.permissions = Ok(vec![Permission {
        what: "patch pods".into(),
        allowed: false,
    }]);
    sick.sidecar_versions = Ok(BTreeMap::from([("0.0.9".into(), 2)]));
    sick.missed = Ok(vec![Missed {
        namespace: "shop".into(),
        pod: "old-1".into(),
        owner: "deployment/old".into(),
    }]);
    sick.behind = Ok(vec![(Ref::new(Some("shop".into()), "claude"), 2)]);
    sick.configs = Ok(vec![Config {
        namespace: "shop".into(),
        there: true,
        edited: true,
    }]);
    sick.secrets = Ok(vec![
        Absent {
            secret: Ref::new(Some("shop".into()), "answers"),
            by: By::Answers("smart".into()),
        },
        Absent {
            secret: Ref::new(Some("shop".into()), "keys"),
            by: By::Credential("claude".into()),
        },
    ]);
    if let Ok(fleet) = &mut sick.health {
        fleet.seen[0].health = None;
    }
    if let Ok(operators) = &mut sick.operators {
        operators.ready = 0;
    }
    let checks = judge(&sick, NOW);
    assert!(!checks.iter().any(|check| check.state == State::Ok), "{checks:#?}");
    assert!(checks.iter().all(|check| !check.remedy.is_empty()), "{checks:#?}");
    insta::assert_snapshot!(screen(&checks, Paint(false)));
}

#[test]
fn what_may_not_be_seen_is_unknown_and_no_failure() {
    let why = "not permitted to list pods in namespace x: no\n  ask for a role with: {apiGroups: [\"\"]}".to_owned();
    let mut blind = healthy();
    blind.health = Err(why.clone());
    blind.permissions = Err(why);
    let checks = judge(&blind, NOW);
    assert!(!checks.iter().any(Check::failed));
    let unknown: Vec<_> = checks.iter().filter(|check| check.state == State::Unknown).collect();
    assert_eq!(unknown.len(), 2);
    assert!(unknown[0].remedy.contains("ask for a role with"), "{unknown:?}");
}

#[test]
fn a_certificate_that_is_overdue_is_said_before_it_ends() {
    let mut late = healthy();
    if let Ok(served) = &mut late.served {
        served[0].not_after = Some(NOW.as_secs() + 3600);
    }
    let checks = judge(&late, NOW);
    let check = checks.iter().find(|check| check.name == "certificates").unwrap();
    assert_eq!(check.state, State::Warn);
    let mut dead = healthy();
    if let Ok(served) = &mut dead.served {
        served.push(Served {
            pod: "bowsprit-2".into(),
            unreached: Some("no answer within 10s".into()),
            ..Served::default()
        });
    }
    let checks = judge(&dead, NOW);
    let check = checks.iter().find(|check| check.name == "certificates").unwrap();
    assert_eq!(check.state, State::Warn);
    assert!(
        check.found.contains("bowsprit-2") && check.found.contains("1 certificate trusted"),
        "{check:?}"
    );
    let metrics = "# TYPE x gauge\nbowsprit_operator_webhook_certificate_not_after_seconds 1700003600\n";
    assert_eq!(not_after(metrics), Some(1_700_003_600));
    assert_eq!(
        not_after("bowsprit_operator_webhook_certificate_not_after_seconds 0\n"),
        None
    );
}

#[test]
fn objects_of_another_release_are_named_and_the_other_checks_are_made() {
    let mut findings = healthy();
    let before = judge(&findings, NOW).len();
    findings.unread = vec!["ModelRoute shop/smart at spec.limits (invalid type)".into()];
    let checks = judge(&findings, NOW);
    assert_eq!(checks.len(), before + 1);
    let told = checks.iter().find(|check| check.name == "objects").unwrap();
    assert_eq!(told.state, State::Warn);
    assert!(told.found.contains("ModelRoute shop/smart at spec.limits"), "{told:?}");
}

#[test]
fn secrets_of_credentials_and_of_stores_are_looked_for_and_the_want_of_a_store_stops_nothing() {
    let provider = |name: &str, spec: serde_json::Value| -> ProviderConfig {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})).unwrap()
    };
    let key = |name: &str| json!({"name": name, "key": "url"});
    let providers = [
        provider(
            "claude",
            json!({"provider": "Anthropic", "credentials": [{"name": "main", "secretKeyRef": key("keys")}],
                "rateLimits": {"requestsPerMinute": 9, "scope": "Fleet", "store": {"redisRef": key("limits")}}}),
        ),
        provider(
            "openai",
            json!({"provider": "OpenAI", "credentials": [{"name": "main", "secretKeyRef": key("answers")}]}),
        ),
    ];
    let route = |name: &str, store: &str| -> ModelRoute {
        let cache = json!({"ttl": "1h", "maxBytes": 65536, "store": {"redisRef": key(store)}});
        let spec = json!({"match": {"models": [name]}, "targets": [{"provider": "claude"}], "cache": cache});
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})).unwrap()
    };
    let policy: UsagePolicy = serde_json::from_value(json!({"metadata": {"name": "house", "namespace": "shop"}, "spec": {
        "limits": [{"name": "all", "requestsPerMinute": 9, "scope": "Fleet", "store": {"redisRef": key("counts")}}],
        "guards": [{"name": "dlp", "applyTo": ["Request"], "webhook": {"url": "https://dlp.test/check", "authSecretRef": key("dlp")}}],
    }}))
    .unwrap();
    let Named(named) = Named::by(
        &providers,
        &[route("smart", "cache"), route("fast", "answers")],
        &[policy],
    );
    let of = |name: &str| named[&("shop".to_owned(), name.to_owned())].clone();
    assert_eq!(of("keys"), By::Credential("claude".into()));
    let store = || By::Limits("ProviderConfig claude, rateLimits.store".into());
    assert_eq!(of("limits"), store());
    assert_eq!(of("counts"), By::Limits("UsagePolicy house, limits all, store".into()));
    let key_of_guard = || By::Guard("UsagePolicy house, guards dlp, webhook.authSecretRef".into());
    assert_eq!(of("dlp"), key_of_guard());
    assert_eq!(of("cache"), By::Answers("smart".into()));
    assert_eq!(of("answers"), By::Credential("openai".into()), "who wants it the most");
    let of = |by: By| Findings {
        secrets: Ok(vec![Absent {
            secret: Ref::new(Some("shop".into()), "cache"),
            by,
        }]),
        ..healthy()
    };
    let check = |findings: &Findings| {
        let checks = judge(findings, NOW);
        checks.into_iter().find(|check| check.name == "secrets").unwrap()
    };
    let (answers, limits) = (check(&of(By::Answers("smart".into()))), check(&of(store())));
    assert_eq!(
        check(&of(key_of_guard())).state,
        State::Fail,
        "a guard that cannot ask stops requests"
    );
    assert!(answers.state == State::Warn && limits.state == State::Warn);
    assert_eq!(
        answers.found,
        "absent: shop/cache (named by ModelRoute smart, cache.store)"
    );
    assert_eq!(
        limits.found,
        "absent: shop/cache (named by ProviderConfig claude, rateLimits.store)"
    );
    for part in [
        "kubectl -n shop create secret generic cache",
        "redis://",
        "memory alone",
    ] {
        assert!(answers.remedy.contains(part), "{}", answers.remedy);
    }
}
