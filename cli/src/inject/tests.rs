use serde_json::{Value, json};

use super::compare::{added, screen};
use super::template::Template;
use super::{Added, Injected, warnings};
use crate::cluster::Answer;
use crate::output::Paint;

#[test]
fn a_workload_stands_for_the_pods_that_it_makes() {
    let deployment = json!({"kind": "Deployment", "metadata": {"name": "shop", "namespace": "prod", "labels": {"a": "b"}},
        "spec": {"template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": []}}}});
    let template = Template::of(&deployment).unwrap();
    assert_eq!(
        (template.object.as_str(), template.namespace.as_deref()),
        ("Deployment shop", Some("prod"))
    );
    assert_eq!(template.pod["metadata"]["labels"], json!({"app": "shop"}));
    assert_eq!(template.pod["metadata"]["generateName"], "shop-");
    let cron = json!({"kind": "CronJob", "metadata": {"name": "n"}, "spec": {"jobTemplate": {"spec": {"template": {"spec": {"x": 1}}}}}});
    assert_eq!(Template::of(&cron).unwrap().pod["spec"], json!({"x": 1}));
    assert_eq!(
        Template::of(&json!({"kind": "Service", "metadata": {"name": "n"}})),
        None
    );
}

fn pod(extra: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"labels": {"bowsprit.dev/inject": "true"}},
        "spec": {"containers": [{"name": "app", "image": "shop:1", "env": [{"name": "A", "value": "1"}]}],
                 "volumes": [{"name": "kube-api-access-x1"}]},
    });
    json_patch(&mut pod, extra);
    pod
}

/// RFC 7396.
fn json_patch(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    for (name, value) in fields {
        json_patch(&mut target[name], value);
    }
}

fn injected(pod: Value, added: Added) -> Injected {
    Injected {
        object: "Deployment shop".into(),
        namespace: "prod".into(),
        pod: Some(pod),
        added,
        warnings: Vec::new(),
        refused: None,
    }
}

#[test]
fn what_the_injector_adds_is_shown_and_nothing_else() {
    let before = pod(&json!({"metadata": {"labels": {"bowsprit.dev/inject": "false"}}}));
    let after = pod(&json!({
        "metadata": {"labels": {"bowsprit.dev/injected": "true"}, "annotations": {"bowsprit.dev/injected-version": "0.1.0"}},
        "spec": {
            "initContainers": [{"name": "bowsprit", "image": "bowsprit-sidecar:0.1.0"}],
            "containers": [{"name": "app", "image": "shop:1", "env": [{"name": "A", "value": "1"},
                {"name": "OPENAI_BASE_URL", "value": "http://127.0.0.1:4000/v1"}]}],
            "volumes": [{"name": "kube-api-access-y2"}, {"name": "bowsprit-config"},
                {"name": "bowsprit-secrets", "projected": {"sources": [{"secret": {"name": "keys", "items": [{"key": "claude"}]}}]}}],
        },
    }));
    let mut shown = injected(after.clone(), added(&before, &after));
    shown.warnings = vec!["no ProviderConfig of namespace prod selects this pod".into()];
    insta::assert_snapshot!(screen(&shown, Paint(false)));
}

#[test]
fn a_pod_without_a_sidecar_says_why() {
    for (label, why) in [
        (json!("True"), "only \"true\" and \"false\" are read"),
        (json!("false"), "is \"false\""),
        (json!("true"), "kubectl bowsprit doctor"),
        (json!(null), "spec.template.metadata.labels"),
    ] {
        let pod = pod(&json!({"metadata": {"labels": {"bowsprit.dev/inject": label}}}));
        let text = screen(&injected(pod, Added::default()), Paint(false));
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn the_apiservers_warnings_are_read() {
    let mut answer = Answer {
        status: 201,
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    answer
        .headers
        .append("warning", http::HeaderValue::from_static(r#"299 - "say \"true\"""#));
    assert_eq!(warnings(&answer), ["say \"true\""]);
}
