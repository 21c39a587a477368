use super::*;

fn provider(name: &str, spec: serde_json::Value) -> Arc<ProviderConfig> {
    Arc::new(ProviderConfig::new(name, serde_json::from_value(spec).unwrap()))
}

fn route(name: &str, spec: serde_json::Value) -> Arc<ModelRoute> {
    Arc::new(ModelRoute::new(name, serde_json::from_value(spec).unwrap()))
}

fn good() -> serde_json::Value {
    serde_json::json!({"provider": "OpenAI", "credentials": [{"name": "main", "secretKeyRef": {"name": "s", "key": "k"}}], "defaultModel": "gpt"})
}

fn bad() -> serde_json::Value {
    serde_json::json!({"provider": "OpenAI", "rateLimits": {"scope": "Fleet"}, "credentials": [{"name": "main", "secretKeyRef": {"name": "s", "key": "k"}}]})
}

fn written(desired: &Desired, sequence: u64) -> Current {
    Current {
        text: desired.rendered.text.clone(),
        revision: desired.rendered.revision.clone(),
        sequence,
    }
}

fn seen(pod: &str, revision: Option<&str>) -> SidecarSeen {
    SidecarSeen {
        pod: pod.into(),
        report: revision.map(|revision| {
            Arc::new(SidecarReport {
                revision: revision.into(),
                ..SidecarReport::default()
            })
        }),
        ..SidecarSeen::default()
    }
}

#[test]
fn a_namespace_without_objects_gets_no_config_map() {
    assert_eq!(desired(&[], &[], None, 7).unwrap().write, None);
}

#[test]
fn the_sequence_grows_with_the_content_and_only_then() {
    let first = desired(&[provider("a", good())], &[], None, 100).unwrap();
    assert_eq!(first.write, Some(100));
    let current = written(&first, 100);
    assert_eq!(
        desired(&[provider("a", good())], &[], Some(&current), 200)
            .unwrap()
            .write,
        None
    );
    let more = [provider("a", good()), provider("b", good())];
    assert_eq!(
        desired(&more, &[], Some(&current), 50).unwrap().write,
        Some(101),
        "even where the clock went back"
    );
    assert_eq!(desired(&more, &[], Some(&current), 200).unwrap().write, Some(200));
    let emptied = desired(&[], &[], Some(&current), 200).unwrap();
    assert_eq!((emptied.write, emptied.rendered.text.as_str()), (Some(200), ""));
}

#[test]
fn a_provider_at_a_host_that_is_not_allowed_is_refused_and_one_that_was_served_stays() {
    let hosts = "elsewhere.example".parse().unwrap();
    let new = desired_at(&hosts, &[provider("a", good())], &[], None, 1).unwrap();
    let judged = new.judge_provider("a", &[]).unwrap();
    assert!(
        !judged.verdicts[0].holds && judged.verdicts[0].message.contains("allowedHosts"),
        "{judged:?}"
    );
    assert!(!new.rendered.text.contains("name: a"), "{}", new.rendered.text);

    let current = written(&desired(&[provider("a", good())], &[], None, 1).unwrap(), 1);
    let now = desired_at(&hosts, &[provider("a", good())], &[], Some(&current), 2).unwrap();
    assert_eq!(now.write, None, "what runs is not cut off");
    assert!(!now.judge_provider("a", &[]).unwrap().verdicts[0].holds);
}

#[test]
fn an_object_that_turns_bad_keeps_its_last_accepted_version() {
    let current = written(
        &desired(&[provider("a", good()), provider("b", good())], &[], None, 1).unwrap(),
        1,
    );
    let now = desired(&[provider("a", bad()), provider("b", good())], &[], Some(&current), 2).unwrap();
    assert_eq!(now.write, None, "what works is not disturbed");
    let judged = now.judge_provider("a", &[]).unwrap();
    assert!(!judged.verdicts[0].holds);
    assert!(
        judged.verdicts[0]
            .message
            .contains("spec.rateLimits.scope: Fleet is not in force"),
        "{judged:?}"
    );
    assert_eq!(judged.verdicts[2].reason, reason::NOT_ACCEPTED);
    assert!(
        now.judge_provider("b", &[])
            .unwrap()
            .verdicts
            .iter()
            .all(|verdict| verdict.holds)
    );
}

#[test]
fn an_object_that_was_never_good_is_left_out_and_an_edited_config_map_is_not_trusted() {
    let none = desired(&[provider("a", bad())], &[], None, 1).unwrap();
    assert_eq!(none.rendered.text, "");
    let mut edited = written(&desired(&[provider("a", good())], &[], None, 1).unwrap(), 1);
    edited.text = edited.text.replace("gpt", "other");
    let now = desired(&[provider("a", bad())], &[], Some(&edited), 2).unwrap();
    assert_eq!((now.rendered.text.as_str(), now.write), ("", Some(2)));
}

#[test]
fn a_reference_that_leads_nowhere_is_said_and_disturbs_nobody() {
    let mut spec = good();
    spec["fallbackProviders"] = serde_json::json!(["gone"]);
    let now = desired(&[provider("a", spec), provider("b", good())], &[], None, 1).unwrap();
    let judged = now.judge_provider("a", &[]).unwrap();
    assert!(judged.verdicts[0].holds && !judged.verdicts[1].holds);
    assert!(
        judged.verdicts[1]
            .message
            .contains("spec.fallbackProviders[0]: there is no ProviderConfig \"gone\": create it")
    );
    assert!(now.judge_provider("b", &[]).unwrap().verdicts[1].holds);
    assert!(now.rendered.text.contains("name: a"));
}

#[test]
fn ready_is_what_is_accepted_resolved_and_programmed_all_at_once() {
    let target = |name: &str| serde_json::json!({"match": {"models": ["m"]}, "targets": [{"provider": name}]});
    let routes = [route("lost", target("gone")), route("right", target("a"))];
    let now = desired(&[provider("a", good()), provider("b", bad())], &routes, None, 1).unwrap();
    let revision = now.rendered.revision.clone();
    let live = [seen("one", Some(&revision))];
    let ready = |judged: Judged| {
        let [.., ready] = judged.verdicts;
        assert_eq!(ready.kind, kind::READY);
        (ready.holds, ready.reason, ready.message)
    };
    let (holds, why, message) = ready(now.judge_route("lost", &live).unwrap());
    assert!(
        !holds && message.contains("spec.targets[0]") && message.contains("gone"),
        "{message}"
    );
    assert_eq!(why, reason::REF_NOT_FOUND);
    assert!(ready(now.judge_route("right", &live).unwrap()).0);
    assert!(ready(now.judge_provider("a", &live).unwrap()).0);
    let (holds, why, _) = ready(now.judge_provider("b", &live).unwrap());
    assert_eq!((holds, why), (false, reason::INVALID));
    let behind = [seen("one", Some("older"))];
    let (holds, why, _) = ready(now.judge_route("right", &behind).unwrap());
    assert_eq!((holds, why), (false, reason::PENDING));
}

#[test]
fn programmed_means_live_in_every_selected_sidecar() {
    let now = desired(&[provider("a", good())], &[], None, 1).unwrap();
    let revision = now.rendered.revision.clone();
    let judge = |sidecars: &[SidecarSeen]| now.judge_provider("a", sidecars).unwrap();
    assert_eq!(judge(&[]).verdicts[2].reason, reason::NO_SIDECARS);
    let half = judge(&[
        seen("one", Some(&revision)),
        seen("two", Some("older")),
        seen("three", None),
    ]);
    assert_eq!(
        half.sidecars,
        Sidecars {
            selected: 3,
            current: 1,
            behind: 2
        }
    );
    assert!(
        !half.verdicts[2].holds && half.verdicts[2].message.contains("three, two"),
        "{half:?}"
    );
    assert!(judge(&[seen("one", Some(&revision))]).verdicts[2].holds);
    let unmounted = SidecarSeen {
        not_mounted: vec!["s/k".into()],
        ..seen("old", Some(&revision))
    };
    let verdict = judge(&[unmounted]).verdicts[2].clone();
    assert!(
        !verdict.holds && verdict.message.contains("s/k") && verdict.message.contains("old"),
        "{verdict:?}"
    );
}

#[test]
fn a_selector_limits_which_sidecars_count() {
    let mut spec = good();
    spec["podSelector"] = serde_json::json!({"matchLabels": {"tier": "web"}});
    let now = desired(&[provider("a", spec)], &[], None, 1).unwrap();
    let web = SidecarSeen {
        labels: [("tier".to_owned(), "web".to_owned())].into(),
        ..seen("web", None)
    };
    assert_eq!(
        now.judge_provider("a", &[web, seen("db", None)])
            .unwrap()
            .sidecars
            .selected,
        1
    );
}

#[test]
fn breakers_and_keys_of_all_sidecars_are_summed_up() {
    let now = desired(&[provider("a", good())], &[], None, 1).unwrap();
    let report = |[closed, open, half_open]: [u32; 3], problems: &[&str]| SidecarReport {
        revision: now.rendered.revision.clone(),
        providers: vec![ReportedProvider {
            name: "a".into(),
            closed,
            open,
            half_open,
            key_problems: problems.iter().map(|text| (*text).to_owned()).collect(),
            ..ReportedProvider::default()
        }],
        ..SidecarReport::default()
    };
    let sidecar = |pod: &str, report: SidecarReport| SidecarSeen {
        report: Some(Arc::new(report)),
        ..seen(pod, None)
    };
    let judged = now.judge_provider(
        "a",
        &[
            sidecar("x", report([1, 0, 0], &[])),
            sidecar("y", report([0, 1, 0], &["main: is empty"])),
        ],
    );
    let judged = judged.unwrap();
    assert_eq!(judged.circuits.summary, "1 open, 1 closed");
    assert_eq!(judged.verdicts[1].reason, reason::KEY_UNUSABLE);
    assert!(judged.verdicts[1].message.contains("main: is empty") && judged.verdicts[1].message.contains("in y"));
}

#[test]
fn a_route_with_fields_that_are_not_in_force_says_so() {
    let spec = serde_json::json!({"match": {"models": ["m"]}, "targets": [{"provider": "a"}], "cache": {"ttl": "5m"}});
    let now = desired(&[provider("a", good())], &[route("r", spec)], None, 1).unwrap();
    let judged = now.judge_route("r", &[]).unwrap();
    assert_eq!(judged.verdicts[2].reason, reason::PARTIALLY_PROGRAMMED);
    assert!(judged.verdicts[2].message.contains("spec.cache"));
    assert!(now.rendered.text.contains("kind: ModelRoute"));
}

#[test]
fn a_provider_with_fields_that_are_not_in_force_is_ready_and_says_which() {
    let mut spec = good();
    spec["models"] = serde_json::json!([{
        "name": "gpt", "price": {"input": "3.00", "output": "15"}, "capabilities": ["Tools"], "limits": {"contextTokens": 200_000},
    }]);
    let now = desired(&[provider("a", spec)], &[], None, 1).unwrap();
    let judged = now.judge_provider("a", &[]).unwrap();
    let programmed = &judged.verdicts[2];
    assert_eq!(
        (programmed.holds, programmed.reason),
        (true, reason::PARTIALLY_PROGRAMMED)
    );
    for field in ["price", "limits.contextTokens", "capabilities"] {
        let path = format!("spec.models[].{field}");
        assert!(programmed.message.contains(&path), "{}", programmed.message);
    }
    assert!(
        judged.verdicts[3].holds,
        "it works all the same: {:?}",
        judged.verdicts[3]
    );
}

#[test]
fn more_than_a_config_map_can_hold_is_not_written_and_said() {
    let many: Vec<_> = (0..3_000)
        .map(|number| provider(&format!("p-{number}"), good()))
        .collect();
    let current = written(&desired(&many[..1], &[], None, 1).unwrap(), 1);
    let now = desired(&many, &[], Some(&current), 2).unwrap();
    assert_eq!((now.is_too_large(), now.write), (true, None));
    let judged = now.judge_provider("p-0", &[seen("pod", Some("x"))]).unwrap();
    let programmed = &judged.verdicts[2];
    assert!(
        !programmed.holds && programmed.message.contains("ConfigMap"),
        "{programmed:?}"
    );
}

#[test]
fn a_deleted_provider_is_said_on_those_that_name_it_with_who_still_serves() {
    let routes = [
        route(
            "two",
            serde_json::json!({"match": {"models": ["m"]}, "targets": [{"provider": "gone", "model": "x"}], "fallback": [{"provider": "a"}]}),
        ),
        route(
            "one",
            serde_json::json!({"match": {"models": ["n"]}, "targets": [{"provider": "gone", "model": "x"}]}),
        ),
    ];
    let mut spec = good();
    spec["fallbackProviders"] = serde_json::json!(["gone", "b"]);
    let now = desired(&[provider("a", spec), provider("b", good())], &routes, None, 1).unwrap();
    let said = |judged: Judged| {
        let [_, resolved, ..] = judged.verdicts;
        assert_eq!((resolved.holds, resolved.reason), (false, reason::REF_NOT_FOUND));
        resolved.message
    };
    insta::assert_snapshot!(said(now.judge_route("two", &[]).unwrap()), @r#"
    ModelRoute two: spec.targets[0].provider: there is no ProviderConfig "gone": create it, or correct the name
    it still goes to a
    "#);
    insta::assert_snapshot!(said(now.judge_route("one", &[]).unwrap()), @r#"
    ModelRoute one: spec.targets[0].provider: there is no ProviderConfig "gone": create it, or correct the name
    nobody is left: every request for it is answered with an error
    "#);
    insta::assert_snapshot!(said(now.judge_provider("a", &[]).unwrap()), @r#"
    ProviderConfig a: spec.fallbackProviders[0]: there is no ProviderConfig "gone": create it, or correct the name
    it still falls back to b
    "#);
}

#[test]
fn who_names_a_provider_that_turned_bad_is_ready_and_who_names_one_that_was_never_good_is_told() {
    let routes = [route(
        "r",
        serde_json::json!({"match": {"models": ["m"]}, "targets": [{"provider": "a"}]}),
    )];
    let current = written(&desired(&[provider("a", good())], &[], None, 1).unwrap(), 1);
    let now = desired(&[provider("a", bad())], &routes, Some(&current), 2).unwrap();
    assert!(
        now.judge_route("r", &[]).unwrap().verdicts[1].holds,
        "its last accepted version is served"
    );
    let now = desired(&[provider("a", bad())], &routes, None, 2).unwrap();
    let [_, resolved, ..] = now.judge_route("r", &[]).unwrap().verdicts;
    insta::assert_snapshot!(resolved.message, @r"
    ModelRoute r: spec.targets[0].provider: ProviderConfig a was never accepted: see its condition Accepted for what is wrong with it
    nobody is left: every request for it is answered with an error
    ");
}

#[test]
fn a_route_all_of_whose_targets_are_disabled_is_not_ready() {
    let mut spec = good();
    spec["enabled"] = serde_json::json!(false);
    let target = serde_json::json!({"match": {"models": ["m"]}, "targets": [{"provider": "a"}]});
    let now = desired(&[provider("a", spec)], &[route("r", target)], None, 1).unwrap();
    let [_, _, _, ready] = now.judge_route("r", &[]).unwrap().verdicts;
    assert_eq!((ready.holds, ready.reason), (false, reason::NO_CANDIDATE));
}

#[test]
fn what_got_past_the_webhook_and_is_probably_not_meant_is_said_with_accepted() {
    let target = serde_json::json!({"match": {"models": ["m"]}, "targets": [{"provider": "a"}]});
    let routes = [route("one", target.clone()), route("two", target)];
    let now = desired(&[provider("a", good())], &routes, None, 1).unwrap();
    let [accepted, ..] = now.judge_route("one", &[]).unwrap().verdicts;
    assert!(accepted.holds, "{accepted:?}");
    assert!(
        accepted.message.contains("is matched by ModelRoute two too"),
        "{accepted:?}"
    );
}
