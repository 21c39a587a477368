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
    assert_eq!(env_of(sidecar)["BOWSPRIT_ADMIN"], "0.0.0.0:4401");
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
