//! What a pod's annotations change.

use super::*;

#[test]
fn annotations_override_the_settings_of_one_pod() {
    let annotations = json!({
        "bowsprit.dev/sidecar-image": "mine:2",
        "bowsprit.dev/sidecar-cpu-limit": "1",
        "bowsprit.dev/sidecar-memory-limit": "64Mi",
        "bowsprit.dev/sidecar-log-level": "debug",
        "bowsprit.dev/sidecar-drain-seconds": "7",
    });
    let after = injected(&with(plain(), "/metadata/annotations", annotations));
    let sidecar = sidecar_of(&after);
    assert_eq!(sidecar["image"], "mine:2");
    assert_eq!(sidecar["resources"]["limits"], json!({"cpu": "1", "memory": "64Mi"}));
    assert_eq!(
        sidecar["resources"]["requests"],
        json!({"cpu": "20m", "memory": "24Mi"})
    );
    assert_eq!(env_of(sidecar)["BOWSPRIT_LOG_LEVEL"], "debug");
    assert_eq!(env_of(sidecar)["BOWSPRIT_DRAIN_DEADLINE"], "7s");
}

#[test]
fn a_pod_says_itself_whether_its_sidecar_is_a_native_one_or_an_ordinary_container() {
    let asks = |native: &str| annotated("bowsprit.dev/sidecar-native", native);
    let old = Settings {
        native: false,
        ..settings()
    };
    let lists = |pod: &Value| {
        let count = |list: &str| pod["spec"][list].as_array().map_or(0, Vec::len);
        (count("initContainers"), count("containers"))
    };
    for (settings, pod, wanted) in [
        (settings(), plain(), (1, 1)),
        (settings(), asks("true"), (1, 1)),
        (settings(), asks("false"), (0, 2)),
        (old.clone(), plain(), (0, 2)),
        (old.clone(), asks("false"), (0, 2)),
        (old, asks("true"), (1, 1)),
    ] {
        let after = injected_by(&settings, &pod);
        assert_eq!(lists(&after), wanted, "{pod} where native is {}", settings.native);
        let again = inject(&super::pod(after), &settings, &references(), None).unwrap();
        assert_eq!(again, Patch::default());
    }
}

#[test]
fn an_ordinary_container_of_another_image_is_not_asked_what_that_may_not_know() {
    let annotations = json!({"bowsprit.dev/sidecar-native": "false", "bowsprit.dev/sidecar-image": "mine:2"});
    let after = injected(&with(plain(), "/metadata/annotations", annotations));
    assert!(after["spec"]["containers"][0].get("lifecycle").is_none());
    assert!(
        sidecar_of(&injected(&plain())).get("lifecycle").is_none(),
        "its probe does that"
    );
}

#[test]
fn an_app_may_end_its_sidecar_only_where_its_pod_waits_for_that() {
    let may = |native: &str, policy: &str| {
        let pod = annotated("bowsprit.dev/sidecar-native", native);
        let after = injected(&with(pod, "/spec/restartPolicy", json!(policy)));
        let mut all = containers_of(&after);
        let sidecar = all.find(|it| it["name"] == "bowsprit").unwrap();
        env_of(sidecar).contains_key("BOWSPRIT_END_ON_REQUEST")
    };
    assert!(may("false", "Never") && may("false", "OnFailure"));
    assert!(
        !may("false", "Always") && !may("true", "Never"),
        "it would be started again"
    );
}

fn containers_of(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainers", "containers"].into_iter();
    lists.flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
}

#[test]
fn sizes_of_limits_reach_the_sidecar_as_bytes() {
    let annotations = json!({
        "bowsprit.dev/sidecar-max-body": "8Mi",
        "bowsprit.dev/sidecar-max-in-flight": "64",
        "bowsprit.dev/sidecar-memory-limit": "256Mi",
        "bowsprit.dev/sidecar-memory-budget": "200Mi",
    });
    let after = injected(&with(plain(), "/metadata/annotations", annotations));
    let env = env_of(sidecar_of(&after));
    assert_eq!(env["BOWSPRIT_MAX_BODY"], "8388608");
    assert_eq!(env["BOWSPRIT_MAX_IN_FLIGHT"], "64");
    assert_eq!(env["BOWSPRIT_MEMORY_BUDGET"], "209715200");
    assert!(
        !env_of(sidecar_of(&injected(&plain()))).contains_key("BOWSPRIT_MAX_BODY"),
        "the sidecar's own default holds"
    );
}

#[test]
fn other_ports_are_the_ones_that_the_app_and_the_kubelet_use() {
    let annotations = json!({"bowsprit.dev/sidecar-app-port": "4400", "bowsprit.dev/sidecar-admin-port": "4401"});
    let before = with(plain(), "/metadata/annotations", annotations);
    // The usual ones are the app's to use then.
    let before = with(
        before,
        "/spec/containers/0/ports",
        json!([{"containerPort": 4000}, {"containerPort": 4001}]),
    );
    let after = injected(&before);
    let sidecar = sidecar_of(&after);
    assert_eq!(env_of(sidecar)["BOWSPRIT_LISTEN"], "127.0.0.1:4400");
    assert_eq!(env_of(sidecar)["BOWSPRIT_ADMIN"], "[::]:4401");
    assert_eq!(sidecar["ports"][0]["containerPort"], 4401);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(sidecar[probe]["httpGet"]["port"], 4401, "{probe}");
    }
    let env = env_of(&after["spec"]["containers"][0]);
    assert_eq!(env["OPENAI_BASE_URL"], "http://127.0.0.1:4400/v1");
    let again = inject(&pod(after), &settings(), &references(), None).unwrap();
    assert_eq!(again, Patch::default());
}

#[test]
fn a_bad_annotation_refuses_the_pod_and_names_itself() {
    for (name, value) in [
        ("bowsprit.dev/inject-env", "no"),
        ("bowsprit.dev/sidecar-native", "auto"),
        ("bowsprit.dev/sidecar-image", ""),
        ("bowsprit.dev/sidecar-image", "two words"),
        ("bowsprit.dev/sidecar-cpu-request", "much"),
        ("bowsprit.dev/sidecar-cpu-limit", "-1"),
        ("bowsprit.dev/sidecar-memory-request", "12 MB"),
        ("bowsprit.dev/sidecar-memory-limit", "0"),
        ("bowsprit.dev/sidecar-log-level", "loud"),
        ("bowsprit.dev/sidecar-drain-seconds", "0"),
        ("bowsprit.dev/sidecar-drain-seconds", "31"),
        ("bowsprit.dev/sidecar-app-port", "80"),
        ("bowsprit.dev/sidecar-app-port", "4001"),
        ("bowsprit.dev/sidecar-admin-port", "65536"),
        ("bowsprit.dev/sidecar-max-body", "32MB"),
        ("bowsprit.dev/sidecar-max-in-flight", "0"),
        ("bowsprit.dev/sidecar-memory-budget", "128Mi"),
        ("bowsprit.dev/sidecar-memory-budget", "0"),
        ("bowsprit.dev/sidecar-imgae", "x"),
    ] {
        let message = refusal(annotated(name, value));
        assert!(
            message.starts_with(&format!("metadata.annotations[{name}]: ")),
            "{message}"
        );
    }
}

#[test]
fn a_misspelt_setting_is_told_its_spelling() {
    let message = refusal(annotated("bowsprit.dev/sidecar-imgae", "x"));
    assert!(
        message.ends_with("no such setting: write bowsprit.dev/sidecar-image"),
        "{message}"
    );
}

#[test]
fn the_page_for_operators_lists_every_annotation() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md")).unwrap();
    for overrides::Setting { name, takes, default } in overrides::SETTINGS {
        let row = format!("| `bowsprit.dev/{name}` | {takes} | {default} |");
        assert!(page.contains(&row), "docs/operating.md lacks the row\n{row}");
    }
}
