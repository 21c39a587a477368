#![allow(clippy::needless_pass_by_value, reason = "json! makes owned values")]
use std::collections::BTreeMap;

use bowsprit_crds::ProviderConfig;
use serde_json::Value;

use super::*;

mod beside;
mod per_pod;

fn settings() -> Settings {
    Settings {
        image: "bowsprit-sidecar:test".into(),
        image_pull_policy: "IfNotPresent".into(),
        resources: Resources {
            cpu_request: "20m".into(),
            cpu_limit: String::new(),
            memory_request: "24Mi".into(),
            memory_limit: "128Mi".into(),
        },
        log_level: "info".into(),
        native: true,
        operator_url: Some("https://bowsprit-webhook.bowsprit-system.svc:8444".into()),
        ledger_url: None,
        keeps_ledger: true,
        tracing: None,
        version: "1.2.3".into(),
    }
}

fn references() -> References {
    let key = |name: &str, key: &str| (name.to_owned(), key.to_owned());
    References {
        secrets: [
            key("llm-keys", "claude"),
            key("llm-keys", "openai"),
            key("other", "gemini"),
        ]
        .into(),
        ca_bundles: [key("corp-ca", "ca.crt")].into(),
    }
}

fn pod(value: Value) -> Pod {
    serde_json::from_value(value).unwrap()
}

fn plain() -> Value {
    json!({"metadata": {"name": "app", "labels": {"app": "x"}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}})
}

/// The pod as the apiserver has it after the patch.
fn injected_by(settings: &Settings, before: &Value) -> Value {
    let patch = inject(&pod(before.clone()), settings, &references(), Some("abc")).unwrap();
    let mut after = before.clone();
    json_patch::patch(&mut after, &patch).unwrap();
    after
}

fn injected(before: &Value) -> Value {
    injected_by(&settings(), before)
}

fn with(mut pod: Value, path: &str, value: Value) -> Value {
    let op = vec![json!({"op": "add", "path": path, "value": value})];
    let patch: Patch = serde_json::from_value(Value::Array(op)).unwrap();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

fn annotated(name: &str, value: &str) -> Value {
    with(plain(), "/metadata/annotations", json!({name: value}))
}

fn refusal(before: Value) -> String {
    inject(&pod(before), &settings(), &References::default(), None)
        .unwrap_err()
        .to_string()
}

fn sidecar_of(pod: &Value) -> &Value {
    &pod["spec"]["initContainers"][0]
}

fn env_of(container: &Value) -> BTreeMap<String, String> {
    let env = container["env"].as_array().into_iter().flatten();
    env.map(|it| {
        (
            it["name"].as_str().unwrap().into(),
            it["value"].as_str().unwrap_or("").into(),
        )
    })
    .collect()
}

#[test]
fn a_plain_pod_gets_this_sidecar_and_nothing_else() {
    insta::assert_yaml_snapshot!(injected(&plain()));
}

#[test]
fn a_pod_of_a_namespace_without_providers_gets_no_empty_volumes() {
    let patch = inject(&pod(plain()), &settings(), &References::default(), None).unwrap();
    let text = serde_json::to_string(&patch).unwrap();
    assert!(
        !text.contains(sidecar::SECRETS_VOLUME) && !text.contains(sidecar::CA_VOLUME),
        "{text}"
    );
}

#[test]
fn a_second_call_changes_nothing() {
    let job = with(plain(), "/spec/restartPolicy", json!("Never"));
    for before in [plain(), job] {
        let once = injected(&before);
        let again = inject(&pod(once), &settings(), &references(), Some("later revision")).unwrap();
        assert_eq!(again, Patch::default());
    }
    let old = Settings {
        native: false,
        ..settings()
    };
    let once = injected_by(&old, &plain());
    assert_eq!(inject(&pod(once), &old, &references(), None).unwrap(), Patch::default());
}

#[test]
fn the_sidecar_starts_before_the_pods_own_init_containers_and_they_get_the_environment() {
    let before = with(
        plain(),
        "/spec/initContainers",
        json!([{"name": "migrate", "image": "m"}]),
    );
    let after = injected(&before);
    assert_eq!(sidecar_of(&after)["name"], "bowsprit");
    assert_eq!(sidecar_of(&after)["restartPolicy"], "Always");
    let migrate = &after["spec"]["initContainers"][1];
    assert_eq!(migrate["name"], "migrate");
    assert_eq!(env_of(migrate)["ANTHROPIC_BASE_URL"], "http://127.0.0.1:4000");
    assert!(!env_of(sidecar_of(&after)).contains_key("OPENAI_BASE_URL"));
}

#[test]
fn the_sidecar_meets_the_restricted_pod_security_standard_on_its_own() {
    let after = injected(&plain());
    let context = &sidecar_of(&after)["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(context["runAsNonRoot"], true);
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert!(
        after["spec"].get("securityContext").is_none(),
        "the pod's own context is the app's"
    );
}

#[test]
fn keys_are_mounted_into_the_sidecar_only_and_the_token_is_hidden_from_it() {
    let after = injected(&plain());
    assert!(after["spec"]["containers"][0].get("volumeMounts").is_none());
    let mounts = sidecar_of(&after)["volumeMounts"].as_array().unwrap();
    let at = |path: &str| {
        mounts
            .iter()
            .find(|mount| mount["mountPath"] == path)
            .map(|mount| &mount["name"])
    };
    assert_eq!(at(names::SECRETS_DIR).unwrap(), sidecar::SECRETS_VOLUME);
    assert_eq!(
        at("/var/run/secrets/kubernetes.io/serviceaccount").unwrap(),
        sidecar::NO_TOKEN_VOLUME
    );
    assert_eq!(at("/var/run/bowsprit/token").unwrap(), sidecar::TOKEN_VOLUME);
    assert_eq!(at(names::STATE_DIR).unwrap(), sidecar::STATE_VOLUME);
    assert!(mounts.iter().all(|mount| mount.get("subPath").is_none()));
    let written: Vec<_> = mounts.iter().filter(|mount| mount["readOnly"] != true).collect();
    assert_eq!(written.len(), 1, "only its own folder can be written to");
}

#[test]
fn without_a_stream_there_is_no_token_for_it_and_what_was_saved_is_still_kept() {
    let off = Settings {
        operator_url: None,
        ..settings()
    };
    let after = injected_by(&off, &plain());
    let text = after.to_string();
    assert!(
        !text.contains(sidecar::TOKEN_VOLUME) && !text.contains("BOWSPRIT_OPERATOR"),
        "{text}"
    );
    assert_eq!(env_of(sidecar_of(&after))["BOWSPRIT_STATE_DIR"], names::STATE_DIR);
}

#[test]
fn with_a_ledger_service_a_sidecar_knows_where_it_is_and_whom_it_runs_for() {
    let on = Settings {
        operator_url: None,
        ledger_url: Some("https://bowsprit-ledger.bowsprit-system.svc:8446".into()),
        ..settings()
    };
    let owned = |kind: &str, name: &str| {
        let owners = json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": true}]);
        let labels = json!({"pod-template-hash": "7d9f", "bowsprit.dev/inject": "true"});
        with(
            with(plain(), "/metadata/ownerReferences", owners),
            "/metadata/labels",
            labels,
        )
    };
    for (pod, workload) in [
        (owned("ReplicaSet", "checkout-7d9f"), "Deployment/checkout"),
        (owned("ReplicaSet", "bare"), "ReplicaSet/bare"),
        (owned("StatefulSet", "db-7d9f"), "StatefulSet/db-7d9f"),
        (owned("Job", "nightly-1"), "Job/nightly-1"),
    ] {
        let after = injected_by(&on, &pod);
        let env = env_of(sidecar_of(&after));
        assert_eq!(
            env["BOWSPRIT_LEDGER"],
            "https://bowsprit-ledger.bowsprit-system.svc:8446"
        );
        assert!(env["BOWSPRIT_LEDGER_DIR"].as_str().starts_with(names::STATE_DIR));
        assert_eq!(env["BOWSPRIT_WORKLOAD"], workload);
        assert!(
            after.to_string().contains(sidecar::TOKEN_VOLUME),
            "its batches carry the pod's token"
        );
    }
}

#[test]
fn without_a_ledger_service_a_sidecar_keeps_a_little_or_where_that_is_not_wanted_nothing() {
    let env = env_of(sidecar_of(&injected(&plain())));
    assert_eq!(env["BOWSPRIT_LEDGER_DIR"], names::LEDGER_DIR);
    assert_eq!(env["BOWSPRIT_LEDGER_SIZE"], "8MiB");
    assert!(!env.contains_key("BOWSPRIT_LEDGER"));
    let off = Settings {
        keeps_ledger: false,
        ..settings()
    };
    assert!(!injected_by(&off, &plain()).to_string().contains("BOWSPRIT_LEDGER"));
}

#[test]
fn with_a_collector_a_sidecar_sends_it_the_spans_of_its_pod() {
    let on = Settings {
        tracing: Some(Tracing {
            endpoint: "http://otel:4318".into(),
            sampler: "parentbased_traceidratio".into(),
            sampler_arg: "0.1".into(),
        }),
        ..settings()
    };
    let after = injected_by(&on, &plain());
    let env = env_of(sidecar_of(&after));
    assert_eq!(env["OTEL_EXPORTER_OTLP_ENDPOINT"], "http://otel:4318");
    assert_eq!(env["OTEL_TRACES_SAMPLER"], "parentbased_traceidratio");
    assert_eq!(env["OTEL_TRACES_SAMPLER_ARG"], "0.1");
    let variables = sidecar_of(&after)["env"].as_array().unwrap();
    let place = |name: &str| variables.iter().position(|variable| variable["name"] == name).unwrap();
    for name in ["POD_NAME", "POD_NAMESPACE", "NODE_NAME"] {
        assert!(env["OTEL_RESOURCE_ATTRIBUTES"].contains(&format!("$({name})")));
        assert!(
            place(name) < place("OTEL_RESOURCE_ATTRIBUTES"),
            "the kubelet puts in what stands before"
        );
    }
    assert!(!injected(&plain()).to_string().contains("OTEL_"));
}

#[test]
fn a_pod_that_an_older_injector_made_is_left_as_it_is() {
    let off = Settings {
        operator_url: None,
        ..settings()
    };
    let old = injected_by(&off, &plain());
    assert_eq!(
        inject(&pod(old), &settings(), &references(), None).unwrap(),
        Patch::default()
    );
}

#[test]
fn what_is_mounted_can_be_read_back_and_what_is_missing_is_named() {
    let after = pod(injected(&plain()));
    let mounted = References::mounted(after.spec.as_ref().unwrap());
    assert_eq!(mounted, references());
    let mut wanted = references();
    wanted.secrets.insert(("fresh".into(), "key".into()));
    assert_eq!(wanted.missing_from(&mounted), ["fresh/key"]);
}

#[test]
fn an_environment_that_the_app_sets_itself_is_kept() {
    let own = json!([{"name": "ANTHROPIC_API_KEY", "value": "sk"}, {"name": "OTHER", "value": "x"}]);
    let env = env_of(&injected(&with(plain(), "/spec/containers/0/env", own))["spec"]["containers"][0]);
    assert_eq!(env["ANTHROPIC_API_KEY"], "sk");
    assert_eq!(env["ANTHROPIC_BASE_URL"], "http://127.0.0.1:4000");
    assert_eq!(env.len(), 8);
}

#[test]
fn beside_one_key_of_the_apps_own_no_other_is_set_for_that_sdk() {
    let own = json!([{"name": "GEMINI_API_KEY", "value": "AIza"}]);
    let env = env_of(&injected(&with(plain(), "/spec/containers/0/env", own))["spec"]["containers"][0]);
    assert_eq!(env["GOOGLE_GEMINI_BASE_URL"], "http://127.0.0.1:4000");
    assert!(!env.contains_key("GOOGLE_API_KEY"), "google-genai prefers it");
}

#[test]
fn variables_from_elsewhere_that_ours_may_win_over_are_told() {
    let from = json!([{"configMapRef": {"name": "settings"}}]);
    let told = |pod_json: Value| advice(&pod(pod_json), &settings());
    let before = with(plain(), "/spec/containers/0/envFrom", from.clone());
    let said = told(before);
    assert!(said.len() == 1 && said[0].contains("envFrom"), "{said:?}");
    let alone = with(
        annotated("bowsprit.dev/inject-env", "false"),
        "/spec/containers/0/envFrom",
        from,
    );
    assert_eq!(told(alone), Vec::<String>::new());
    assert_eq!(told(plain()), Vec::<String>::new());
}

#[test]
fn a_copy_for_debugging_is_taken_though_its_labels_are_gone() {
    let mut copy = injected(&plain());
    copy["metadata"] = json!({"name": "copy"});
    let after = injected(&copy);
    assert_eq!(after["metadata"]["labels"]["bowsprit.dev/injected"], "true");
    assert_eq!(after["spec"], copy["spec"]);
}

#[test]
fn a_pod_for_windows_nodes_is_refused_however_it_says_so() {
    let term = |os: &str| json!({"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": [os]}]});
    let affinity = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let windows = [
        ("/spec/os", json!({"name": "windows"})),
        ("/spec/nodeSelector", json!({"kubernetes.io/os": "windows"})),
        ("/spec/affinity", affinity(json!([term("windows")]))),
    ];
    for (at, value) in windows {
        let before = with(plain(), at, value);
        let refused = inject(&pod(before), &settings(), &references(), None).unwrap_err();
        assert!(refused.to_string().contains("linux only"), "{at}: {refused}");
    }
    let either = with(
        plain(),
        "/spec/affinity",
        affinity(json!([term("windows"), term("linux")])),
    );
    assert_eq!(sidecar_of(&injected(&either))["name"], "bowsprit");
}

#[test]
fn an_sdk_that_the_app_points_elsewhere_is_left_alone_with_its_key() {
    let own = json!([{"name": "OPENAI_BASE_URL", "value": "https://mine"}]);
    let env = env_of(&injected(&with(plain(), "/spec/containers/0/env", own))["spec"]["containers"][0]);
    assert_eq!(env["OPENAI_BASE_URL"], "https://mine");
    assert!(
        !env.contains_key("OPENAI_API_KEY"),
        "it would win over the key of envFrom"
    );
    assert_eq!(env["GEMINI_API_KEY"], "bowsprit");
}

#[test]
fn the_environment_can_be_left_alone() {
    let after = injected(&annotated("bowsprit.dev/inject-env", "false"));
    assert!(after["spec"]["containers"][0].get("env").is_none());
    assert_eq!(sidecar_of(&after)["name"], "bowsprit");
}

#[test]
fn a_pod_that_says_no_is_left_as_it_is() {
    let before = with(plain(), "/metadata/labels", json!({"bowsprit.dev/inject": "false"}));
    assert_eq!(injected(&before), before);
}

#[test]
fn draining_ends_before_the_grace_period_does() {
    for (grace, drain) in [(30, "25s"), (120, "115s"), (5, "2s"), (1, "1s"), (0, "1s")] {
        let before = with(plain(), "/spec/terminationGracePeriodSeconds", json!(grace));
        let after = injected(&before);
        assert_eq!(
            env_of(sidecar_of(&after))["BOWSPRIT_DRAIN_DEADLINE"],
            drain,
            "grace {grace}"
        );
    }
    assert_eq!(
        env_of(sidecar_of(&injected(&plain())))["BOWSPRIT_DRAIN_DEADLINE"],
        "25s"
    );
}

#[test]
fn before_native_sidecars_an_ordinary_container_is_added_and_kubectl_still_finds_the_app() {
    let after = injected_by(
        &Settings {
            native: false,
            ..settings()
        },
        &plain(),
    );
    assert!(after["spec"].get("initContainers").is_none());
    assert_eq!(after["spec"]["containers"][0]["name"], "bowsprit");
    assert!(after["spec"]["containers"][0].get("restartPolicy").is_none());
    assert_eq!(
        after["spec"]["containers"][0]["lifecycle"]["postStart"]["exec"]["command"],
        json!(["/bowsprit-sidecar", "--until-ready", "60s"]),
        "the app's container starts after it"
    );
    assert_eq!(
        after["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"],
        "app"
    );
    assert!(env_of(&after["spec"]["containers"][1]).contains_key("OPENAI_BASE_URL"));
    assert!(!env_of(&after["spec"]["containers"][0]).contains_key("OPENAI_BASE_URL"));
}

#[test]
fn a_pod_that_cannot_work_is_refused_with_path_problem_and_remedy() {
    let host = with(plain(), "/spec/hostNetwork", json!(true));
    let ports = json!([{"containerPort": 8080}, {"containerPort": 4000}]);
    let port = with(plain(), "/spec/containers/0/ports", ports);
    let foreign = with(plain(), "/spec/containers/-", json!({"name": "bowsprit", "image": "x"}));
    insta::assert_yaml_snapshot!([refusal(host), refusal(port), refusal(foreign)]);
}

#[test]
fn only_providers_that_select_the_pod_are_mounted() {
    let provider = |name: &str, selector: Value| -> ProviderConfig {
        serde_json::from_value(json!({
            "apiVersion": "bowsprit.dev/v1alpha1", "kind": "ProviderConfig", "metadata": {"name": name},
            "spec": {
                "provider": "OpenAI", "podSelector": selector,
                "credentials": [{"name": "main", "secretKeyRef": {"name": name, "key": "key"}}],
            },
        }))
        .unwrap()
    };
    let all = [
        provider("everyone", Value::Null),
        provider("web", json!({"matchLabels": {"tier": "web"}})),
        provider("db", json!({"matchLabels": {"tier": "db"}})),
    ];
    let labels = [("tier".to_owned(), "web".to_owned())].into();
    let found: Vec<_> = References::of(all.iter().map(|object| &object.spec), &labels)
        .secrets
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(found, ["everyone", "web"]);
}
