//! Other containers of the pod, and other webhooks that change it.

use super::*;

#[test]
fn a_container_that_another_webhook_adds_later_gets_its_environment_too() {
    let later = with(
        injected(&plain()),
        "/spec/containers/-",
        json!({"name": "late", "image": "l"}),
    );
    let after = injected(&later);
    assert_eq!(
        env_of(&after["spec"]["containers"][1])["OPENAI_BASE_URL"],
        "http://127.0.0.1:4000/v1"
    );
    assert_eq!(after["spec"]["initContainers"].as_array().unwrap().len(), 1);
}

#[test]
fn every_app_container_gets_the_environment() {
    let two =
        json!([{"name": "web", "image": "w"}, {"name": "worker", "image": "k", "env": [{"name": "A", "value": "b"}]}]);
    let after = injected(&with(plain(), "/spec/containers", two));
    for container in after["spec"]["containers"].as_array().unwrap() {
        assert_eq!(
            env_of(container)["ANTHROPIC_BASE_URL"],
            "http://127.0.0.1:4000",
            "{container}"
        );
    }
}

#[test]
fn a_sidecar_that_was_put_behind_an_init_container_goes_first_again() {
    let init = json!([{"name": "migrate", "image": "m"}]);
    let mut pod_now = injected(&with(plain(), "/spec/initContainers", init));
    let list = pod_now["spec"]["initContainers"].as_array_mut().unwrap();
    list.reverse();
    let mesh = json!({"name": "mesh", "image": "m", "restartPolicy": "Always"});
    list.insert(0, mesh.clone());
    let after = injected(&pod_now);
    let order = |pod: &Value| -> Vec<String> {
        let list = pod["spec"]["initContainers"].as_array().unwrap();
        list.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(order(&after), ["bowsprit", "mesh", "migrate"]);
    assert!(env_of(&after["spec"]["initContainers"][1]).contains_key("OPENAI_BASE_URL"));

    let mut beside = injected(&plain());
    beside["spec"]["initContainers"].as_array_mut().unwrap().insert(0, mesh);
    assert_eq!(
        order(&injected(&beside)),
        ["mesh", "bowsprit"],
        "nobody waits for it there, so nobody fights"
    );
}

#[test]
fn before_native_sidecars_init_containers_are_not_sent_to_one_that_does_not_run_yet() {
    let old = Settings {
        native: false,
        ..settings()
    };
    let init = json!([{"name": "migrate", "image": "m"}]);
    let after = injected_by(&old, &with(plain(), "/spec/initContainers", init));
    assert!(after["spec"]["initContainers"][0].get("env").is_none());
}

#[test]
fn before_native_sidecars_a_job_is_told_that_it_does_not_complete() {
    let old = Settings {
        native: false,
        ..settings()
    };
    let job = with(plain(), "/spec/restartPolicy", json!("Never"));
    let told = |job: &Value, settings: &Settings| advice(&pod(job.clone()), settings);
    assert!(told(&job, &old)[0].contains("does not complete"));
    assert!(told(&job, &old)[0].ends_with("POST http://127.0.0.1:4001/shutdown"));
    assert_eq!(told(&job, &settings()), [""; 0]);
    assert_eq!(told(&plain(), &old), [""; 0]);
    let ports = json!({"bowsprit.dev/sidecar-native": "false", "bowsprit.dev/sidecar-admin-port": "4401"});
    let asks = with(job, "/metadata/annotations", ports);
    assert!(told(&asks, &settings())[0].ends_with("POST http://127.0.0.1:4401/shutdown"));
}

#[test]
fn a_volume_of_the_sidecars_name_is_refused_and_a_second_call_is_not() {
    let own = json!([{"name": "data", "emptyDir": {}}, {"name": "bowsprit-secrets", "secret": {"secretName": "s"}}]);
    let message = refusal(with(plain(), "/spec/volumes", own));
    assert!(message.starts_with("spec.volumes[1].name: "), "{message}");
    assert!(inject(&pod(injected(&plain())), &settings(), &references(), None).is_ok());
}

#[test]
fn every_volume_that_is_made_is_among_the_names_that_are_refused() {
    for volume in sidecar::volumes(&settings(), &references()) {
        assert!(sidecar::VOLUMES.contains(&volume["name"].as_str().unwrap()), "{volume}");
    }
}

#[test]
fn a_variable_that_leads_past_the_sidecar_is_told_without_its_value() {
    let own = json!([{"name": "OPENAI_BASE_URL", "value": "https://secret@mine/v1"}, {"name": "ANTHROPIC_BASE_URL", "value": "http://localhost:4000"}]);
    let advice = advice(&pod(with(plain(), "/spec/containers/0/env", own)), &settings());
    assert_eq!(advice.len(), 1, "{advice:?}");
    assert!(
        advice[0].starts_with("OPENAI_BASE_URL of container app leads past") && !advice[0].contains("secret"),
        "{advice:?}"
    );
}
