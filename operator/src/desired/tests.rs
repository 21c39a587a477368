use bowsprit_core::config::MAX_BEYOND;
use bowsprit_core::limiter::Which;
use bowsprit_core::stream::{RefusedConfig, ReportedProvider, SidecarReport};
use bowsprit_crds::Sidecars;

use super::*;
use crate::conditions::{kind, reason};
use crate::injector::References;

/// The verdicts, where the objects are carried by what is written.
trait Judge {
    fn measure(&self) -> Measure;
    fn provider(&self, name: &str, sidecars: &[SidecarSeen]) -> Option<Judged>;
    fn route(&self, name: &str, sidecars: &[SidecarSeen]) -> Option<Judged>;
}

impl Judge for Desired {
    fn measure(&self) -> Measure {
        let newest = Version {
            sequence: 7,
            revision: self.rendered.revision.clone(),
        };
        Measure {
            carried: newest.clone(),
            newest,
            late: false,
        }
    }

    fn provider(&self, name: &str, sidecars: &[SidecarSeen]) -> Option<Judged> {
        let needed = References::named_by(&provider("any", good()));
        self.judge_provider(name, &needed, sidecars, &self.measure())
    }

    fn route(&self, name: &str, sidecars: &[SidecarSeen]) -> Option<Judged> {
        self.judge_route(name, sidecars, &self.measure())
    }
}

/// Where providers may be anywhere.
fn desired(
    providers: &[Arc<ProviderConfig>],
    routes: &[Arc<ModelRoute>],
    current: Option<&Current>,
    clock: u64,
) -> Result<Desired, bowsprit_core::yaml::YamlError> {
    super::desired(
        &AllowedHosts::default(),
        of(providers, routes),
        current,
        Clocks::both(clock),
    )
}

fn of<'a>(providers: &'a [Arc<ProviderConfig>], routes: &'a [Arc<ModelRoute>]) -> Objects<'a> {
    Objects {
        providers,
        routes,
        policies: Some(&[]),
        not_understood: None,
    }
}

fn policy(name: &str, spec: serde_json::Value) -> Arc<UsagePolicy> {
    Arc::new(UsagePolicy::new(name, serde_json::from_value(spec).unwrap()))
}

/// One provider, and these policies.
fn with_policies(policies: Option<&[Arc<UsagePolicy>]>, current: Option<&Current>, clock: u64) -> Desired {
    let objects = Objects {
        policies,
        ..of(&[], &[])
    };
    let providers = [provider("a", good())];
    let objects = Objects {
        providers: &providers,
        ..objects
    };
    super::desired(&AllowedHosts::default(), objects, current, Clocks::both(clock)).unwrap()
}

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
    serde_json::json!({"provider": "OpenAI", "rateLimits": {"requestsPerMinute": 0}, "credentials": [{"name": "main", "secretKeyRef": {"name": "s", "key": "k"}}]})
}

fn written(desired: &Desired, sequence: u64) -> Current {
    Current {
        text: desired.rendered.text.clone(),
        revision: desired.rendered.revision.clone(),
        sequence,
        format: names::FORMAT_VERSION,
    }
}

fn seen(pod: &str, revision: Option<&str>) -> SidecarSeen {
    SidecarSeen {
        pod: pod.into(),
        mounted: Arc::new(References::named_by(&provider("any", good()))),
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
fn a_leader_whose_clock_is_days_behind_the_apiservers_writes_nothing_and_goes_on_counting() {
    const DAY: u64 = 86_400;
    const CLOCK: u64 = 100 * DAY;
    let objects = [provider("a", good())];
    let right = written(&desired(&objects, &[], None, CLOCK).unwrap(), CLOCK);
    let behind = |objects: &[Arc<ProviderConfig>], current: &Current, latest: u64| {
        let clock = Clocks {
            own: CLOCK - 3 * DAY,
            latest,
        };
        super::desired(&AllowedHosts::default(), of(objects, &[]), Some(current), clock)
            .unwrap()
            .write
    };
    assert_eq!(behind(&objects, &right, CLOCK + 9), None);
    let more = [provider("a", good()), provider("b", good())];
    assert_eq!(behind(&more, &right, CLOCK + 9), Some(CLOCK + 1));
    let far = Current {
        sequence: CLOCK + 10 * DAY,
        ..right
    };
    assert_eq!(
        behind(&objects, &far, CLOCK),
        Some(CLOCK - 3 * DAY),
        "neither clock has reached it"
    );
}

#[test]
fn a_key_that_was_edited_by_hand_or_is_lost_is_put_back_and_no_number_of_the_far_future_is_followed() {
    const CLOCK: u64 = 1_000_000;
    let objects = [provider("a", good())];
    let ours = written(&desired(&objects, &[], None, CLOCK).unwrap(), CLOCK);
    let write = |current: Current| desired(&objects, &[], Some(&current), CLOCK + 9).unwrap().write;
    assert_eq!(write(ours.clone()), None);
    let edited = |edit: fn(&mut Current)| {
        let mut current = ours.clone();
        edit(&mut current);
        write(current)
    };
    assert_eq!(edited(|it| it.sequence = 0), Some(CLOCK + 9), "the sequence is lost");
    assert_eq!(edited(|it| it.format = 0), Some(CLOCK + 9));
    assert_eq!(edited(|it| it.format = 99), Some(CLOCK + 9));
    assert_eq!(edited(|it| it.sequence = u64::MAX), Some(CLOCK + 9));
    assert_eq!(edited(|it| it.sequence = CLOCK + 9 + MAX_BEYOND + 1), Some(CLOCK + 9));
    assert_eq!(edited(|it| it.sequence += 60), None, "many changes in one second");
}

#[test]
fn a_provider_at_a_host_that_is_not_allowed_is_refused_and_one_that_was_served_stays() {
    let hosts = "elsewhere.example".parse().unwrap();
    let new = super::desired(&hosts, of(&[provider("a", good())], &[]), None, Clocks::both(1)).unwrap();
    let judged = new.provider("a", &[]).unwrap();
    assert!(
        !judged.verdicts[0].holds && judged.verdicts[0].message.contains("allowedHosts"),
        "{judged:?}"
    );
    assert!(!new.rendered.text.contains("name: a"), "{}", new.rendered.text);

    let current = written(&desired(&[provider("a", good())], &[], None, 1).unwrap(), 1);
    let now = super::desired(
        &hosts,
        of(&[provider("a", good())], &[]),
        Some(&current),
        Clocks::both(2),
    )
    .unwrap();
    assert_eq!(now.write, None, "what runs is not cut off");
    assert!(!now.provider("a", &[]).unwrap().verdicts[0].holds);

    let mut off = good();
    off["enabled"] = false.into();
    off["credentials"][0]["secretKeyRef"]["name"] = "not-leaked".into();
    let now = super::desired(
        &hosts,
        of(&[provider("a", off.clone())], &[]),
        Some(&current),
        Clocks::both(2),
    )
    .unwrap();
    let text = &now.rendered.text;
    assert!(
        now.write == Some(2) && text.contains("enabled: false") && text.contains("not-leaked"),
        "whatever does not move it is served: {text}"
    );
    let judged = now.provider("a", &[]).unwrap();
    assert!(!judged.verdicts[0].holds && judged.verdicts[2].reason != reason::NOT_ACCEPTED);
    off["endpoint"]["baseUrl"] = "https://models.example.com/v1".into();
    let moved = super::desired(&hosts, of(&[provider("a", off)], &[]), Some(&current), Clocks::both(2)).unwrap();
    assert_eq!(moved.write, None, "it stays where it was, as it was");
    assert_eq!(
        moved.provider("a", &[]).unwrap().verdicts[2].reason,
        reason::NOT_ACCEPTED
    );
}

#[test]
fn an_object_that_turns_bad_keeps_its_last_accepted_version() {
    let current = written(
        &desired(&[provider("a", good()), provider("b", good())], &[], None, 1).unwrap(),
        1,
    );
    let now = desired(&[provider("a", bad()), provider("b", good())], &[], Some(&current), 2).unwrap();
    assert_eq!(now.write, None, "what works is not disturbed");
    let judged = now.provider("a", &[]).unwrap();
    assert!(!judged.verdicts[0].holds);
    assert!(
        judged.verdicts[0]
            .message
            .contains("spec.rateLimits.requestsPerMinute: is 0"),
        "{judged:?}"
    );
    assert_eq!(judged.verdicts[2].reason, reason::NOT_ACCEPTED);
    assert!(
        now.provider("b", &[])
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
    let judged = now.provider("a", &[]).unwrap();
    assert!(judged.verdicts[0].holds && !judged.verdicts[1].holds);
    assert!(
        judged.verdicts[1]
            .message
            .contains("spec.fallbackProviders[0]: there is no ProviderConfig \"gone\": create it")
    );
    assert!(now.provider("b", &[]).unwrap().verdicts[1].holds);
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
    let (holds, why, message) = ready(now.route("lost", &live).unwrap());
    assert!(
        !holds && message.contains("spec.targets[0]") && message.contains("gone"),
        "{message}"
    );
    assert_eq!(why, reason::REF_NOT_FOUND);
    assert!(ready(now.route("right", &live).unwrap()).0);
    assert!(ready(now.provider("a", &live).unwrap()).0);
    let (holds, why, _) = ready(now.provider("b", &live).unwrap());
    assert_eq!((holds, why), (false, reason::INVALID));
    let behind = [seen("one", Some("older"))];
    let (holds, why, _) = ready(now.route("right", &behind).unwrap());
    assert_eq!((holds, why), (false, reason::PENDING));
}

#[test]
fn programmed_means_live_in_every_selected_sidecar() {
    let now = desired(&[provider("a", good())], &[], None, 1).unwrap();
    let revision = now.rendered.revision.clone();
    let judge = |sidecars: &[SidecarSeen]| now.provider("a", sidecars).unwrap();
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
            behind: 2,
            behind_pods: vec!["three".into(), "two".into()],
        }
    );
    assert!(
        !half.verdicts[2].holds && half.verdicts[2].message.contains("three, two"),
        "{half:?}"
    );
    assert!(judge(&[seen("one", Some(&revision))]).verdicts[2].holds);
}

#[test]
fn a_new_pod_mounts_what_sidecars_have_and_not_what_a_refused_object_names() {
    let named = |mut spec: serde_json::Value, secret: &str| {
        spec["credentials"][0]["secretKeyRef"]["name"] = secret.into();
        provider("a", spec)
    };
    let mounted = |object: &Arc<ProviderConfig>, current: Option<&Current>| -> Vec<String> {
        let object = [Arc::clone(object)];
        let specs = served_specs(&AllowedHosts::default(), &object, || current.cloned());
        let found = References::of(&specs, &BTreeMap::new());
        found.secrets.into_iter().map(|(name, _)| name).collect()
    };
    let accepted = named(good(), "old");
    let config = written(&desired(std::slice::from_ref(&accepted), &[], None, 1).unwrap(), 1);
    assert_eq!(mounted(&named(good(), "new"), Some(&config)), ["new"]);
    assert_eq!(mounted(&named(bad(), "new"), Some(&config)), ["old"]);
    assert!(mounted(&named(bad(), "new"), None).is_empty(), "it was never accepted");
    let edited = Current {
        revision: "by hand".into(),
        ..config
    };
    assert!(mounted(&named(bad(), "new"), Some(&edited)).is_empty());
}

#[test]
fn a_secret_that_running_pods_have_not_mounted_names_them_and_the_command_and_only_on_who_names_it() {
    let mut other = good();
    other["credentials"][0]["secretKeyRef"]["name"] = "new".into();
    let (old, new) = (provider("old", good()), provider("new", other));
    let now = desired(&[Arc::clone(&old), Arc::clone(&new)], &[], None, 1).unwrap();
    let revision = now.rendered.revision.clone();
    let pods = ["a", "b"].map(|pod| SidecarSeen {
        workload: Some("deployment/web".into()),
        ..seen(pod, Some(&revision))
    });
    let judge = |object: &ProviderConfig| {
        let needed = References::named_by(object);
        let judged = now.judge_provider(&object.name_any(), &needed, &pods, &now.measure());
        let [_, _, programmed, _] = judged.unwrap().verdicts;
        programmed
    };
    assert!(judge(&old).holds, "the other is untouched: {:?}", judge(&old));
    let verdict = judge(&new);
    assert_eq!((verdict.holds, verdict.reason), (false, reason::SECRET_NOT_MOUNTED));
    insta::assert_snapshot!(verdict.message, @"2 of 2 pods were made before new/k was referenced and have not mounted it: a, b: kubectl rollout restart deployment/web");
}

#[test]
fn a_sidecar_that_refused_it_is_named_with_its_reason() {
    let now = desired(&[provider("a", good())], &[], None, 1).unwrap();
    let revision = now.rendered.revision.clone();
    let refuses = |sequence: u64| {
        let mut one = seen("one", Some("older"));
        one.report = Some(Arc::new(SidecarReport {
            sequence: 3,
            revision: "older".into(),
            refused: Some(RefusedConfig {
                sequence,
                why: "ProviderConfig a: spec.x: is new: upgrade the sidecar".into(),
            }),
            ..SidecarReport::default()
        }));
        [one, seen("two", Some(&revision))]
    };
    let [_, _, programmed, ready] = now.provider("a", &refuses(7)).unwrap().verdicts;
    assert_eq!(
        (programmed.reason, ready.reason),
        (reason::SIDECAR_REFUSED, reason::SIDECAR_REFUSED)
    );
    let message = programmed.message.replace(&revision, "REVISION");
    insta::assert_snapshot!(message, @"1 of 2 sidecars refused revision REVISION: one: ProviderConfig a: spec.x: is new: upgrade the sidecar: what was live before still is");
    let [_, _, programmed, _] = now.provider("a", &refuses(6)).unwrap().verdicts;
    assert_eq!(
        programmed.reason,
        reason::PENDING,
        "what it refused is not what carries this"
    );
}

#[test]
fn a_change_of_another_object_leaves_what_is_live_live_and_a_minute_behind_is_said_with_what_to_look_at() {
    let now = desired(&[provider("a", good())], &[], None, 1).unwrap();
    let needed = References::named_by(&provider("a", good()));
    let version = |sequence, revision: &str| Version {
        sequence,
        revision: revision.into(),
    };
    let mut measure = Measure {
        carried: version(5, "r5"),
        newest: version(9, "r9"),
        late: false,
    };
    let at = |sequence| {
        let mut one = seen("one", Some("whatever"));
        one.report = Some(Arc::new(SidecarReport {
            sequence,
            ..SidecarReport::default()
        }));
        [one]
    };
    let programmed = |sequence, measure: &Measure| {
        let judged = now.judge_provider("a", &needed, &at(sequence), measure);
        let [_, _, programmed, _] = judged.unwrap().verdicts;
        (programmed.holds, programmed.reason)
    };
    assert_eq!(programmed(5, &measure), (true, reason::PROGRAMMED));
    assert_eq!(programmed(8, &measure), (true, reason::PROGRAMMED));
    assert_eq!(programmed(4, &measure), (false, reason::PENDING));
    assert_eq!(programmed(10, &measure), (false, reason::PENDING), "nobody wrote that");
    measure.late = true;
    assert_eq!(programmed(4, &measure), (false, reason::SIDECARS_BEHIND));
}

#[test]
fn pods_that_are_behind_are_named_while_they_are_ten() {
    let now = desired(&[provider("a", good())], &[], None, 1).unwrap();
    let behind = |count: usize| {
        let pods: Vec<_> = (0..count).map(|number| seen(&format!("pod-{number}"), None)).collect();
        now.provider("a", &pods).unwrap().sidecars.behind_pods.len()
    };
    assert_eq!((behind(10), behind(11)), (10, 0));
}

#[test]
fn a_selector_limits_which_sidecars_count() {
    let mut spec = good();
    spec["podSelector"] = serde_json::json!({"matchLabels": {"tier": "web"}});
    let now = desired(&[provider("a", spec)], &[], None, 1).unwrap();
    let web = SidecarSeen {
        labels: Arc::new([("tier".to_owned(), "web".to_owned())].into()),
        ..seen("web", None)
    };
    assert_eq!(
        now.provider("a", &[web, seen("db", None)]).unwrap().sidecars.selected,
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
    let judged = now.provider(
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
fn a_ca_bundle_that_is_gone_is_said_with_how_many_sidecars_go_on_with_it() {
    let mut now = desired(&[provider("a", good())], &[], None, 1).unwrap();
    let path = "ProviderConfig a: spec.endpoint.caBundleRef";
    now.note_unresolved(Problem::new(path, "there is no ConfigMap \"ca\"", "create it"));
    let sidecar = |pod: &str, status: &str| SidecarSeen {
        report: Some(Arc::new(SidecarReport {
            revision: now.rendered.revision.clone(),
            providers: vec![ReportedProvider {
                name: "a".into(),
                status: status.into(),
                ..ReportedProvider::default()
            }],
            ..SidecarReport::default()
        })),
        ..seen(pod, None)
    };
    let message = |sidecars: &[SidecarSeen]| {
        let verdict = now.provider("a", sidecars).unwrap().verdicts[1].clone();
        assert_eq!((verdict.holds, verdict.reason), (false, reason::REF_NOT_FOUND));
        verdict.message
    };
    let kept = sidecar("old", "CA bundle as it was last: CA bundle /ca/ca/ca.crt: No such");
    let without = sidecar("new", "CA bundle /ca/ca/ca.crt: No such file");
    assert!(message(&[kept, without.clone()]).contains("1 of 2 sidecars trust what the CA bundle held last"));
    assert!(!message(&[without]).contains("held last"));
}

#[test]
fn a_route_with_fields_that_are_not_in_force_says_so() {
    let spec = serde_json::json!({"match": {"models": ["m"]}, "targets": [{"provider": "a"}], "cache": {"ttl": "5m", "maxBytes": 65536, "staleOnError": true}});
    let now = desired(&[provider("a", good())], &[route("r", spec)], None, 1).unwrap();
    let judged = now.route("r", &[]).unwrap();
    assert_eq!(judged.verdicts[2].reason, reason::PARTIALLY_PROGRAMMED);
    assert!(judged.verdicts[2].message.contains("spec.cache.staleOnError"));
    assert!(now.rendered.text.contains("kind: ModelRoute"));
}

#[test]
fn a_provider_with_fields_that_are_not_in_force_is_ready_and_says_which() {
    let mut spec = good();
    spec["models"] = serde_json::json!([{
        "name": "gpt", "price": {"input": "3.00", "output": "15"}, "capabilities": ["Tools"], "limits": {"contextTokens": 200_000},
    }]);
    let now = desired(&[provider("a", spec)], &[], None, 1).unwrap();
    let judged = now.provider("a", &[]).unwrap();
    let programmed = &judged.verdicts[2];
    assert_eq!(
        (programmed.holds, programmed.reason),
        (true, reason::PARTIALLY_PROGRAMMED)
    );
    for field in ["limits.contextTokens", "capabilities"] {
        let path = format!("spec.models[].{field}");
        assert!(programmed.message.contains(&path), "{}", programmed.message);
    }
    assert!(!programmed.message.contains("price"), "{}", programmed.message);
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
    let programmed = |name: &str| now.provider(name, &[seen("pod", Some("x"))]).unwrap().verdicts[2].clone();
    let new = programmed("p-1");
    assert!(!new.holds && new.message.contains("ConfigMap"), "{new:?}");
    // Who is behind is looked at again until he is not. This is over when an object changes, which is told.
    assert_eq!(new.reason, reason::TOO_LARGE);
    let live = programmed("p-0");
    assert!(!live.message.contains("ConfigMap"), "it is there as it is: {live:?}");
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
    insta::assert_snapshot!(said(now.route("two", &[]).unwrap()), @r#"
    ModelRoute two: spec.targets[0].provider: there is no ProviderConfig "gone": create it, or correct the name
    it still goes to a
    "#);
    insta::assert_snapshot!(said(now.route("one", &[]).unwrap()), @r#"
    ModelRoute one: spec.targets[0].provider: there is no ProviderConfig "gone": create it, or correct the name
    nobody is left: every request for it is answered with an error
    "#);
    insta::assert_snapshot!(said(now.provider("a", &[]).unwrap()), @r#"
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
        now.route("r", &[]).unwrap().verdicts[1].holds,
        "its last accepted version is served"
    );
    let now = desired(&[provider("a", bad())], &routes, None, 2).unwrap();
    let [_, resolved, ..] = now.route("r", &[]).unwrap().verdicts;
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
    let [_, _, _, ready] = now.route("r", &[]).unwrap().verdicts;
    assert_eq!((ready.holds, ready.reason), (false, reason::NO_CANDIDATE));
}

#[test]
fn what_got_past_the_webhook_and_is_probably_not_meant_is_said_with_accepted() {
    let target = serde_json::json!({"match": {"models": ["m"]}, "targets": [{"provider": "a"}]});
    let routes = [route("one", target.clone()), route("two", target)];
    let now = desired(&[provider("a", good())], &routes, None, 1).unwrap();
    let [accepted, ..] = now.route("one", &[]).unwrap().verdicts;
    assert!(accepted.holds, "{accepted:?}");
    assert!(
        accepted.message.contains("is matched by ModelRoute two too"),
        "{accepted:?}"
    );
}

#[test]
fn a_policy_is_written_for_sidecars_and_stays_while_policies_are_not_known() {
    let paused = [policy(
        "stop",
        serde_json::json!({"paused": true, "pausedReason": "an incident"}),
    )];
    let first = with_policies(Some(&paused), None, 1);
    assert_eq!(first.changed, ["ProviderConfig a", "UsagePolicy stop"]);
    let current = written(&first, 1);
    let held = |desired: &Desired| desired.rendered.text.contains("an incident");
    assert!(held(&first));
    let unknown = with_policies(None, Some(&current), 2);
    assert!(
        held(&unknown) && unknown.write.is_none(),
        "a start of the operator ends no pause"
    );
    let gone = with_policies(Some(&[]), Some(&current), 2);
    assert!(!held(&gone) && gone.write.is_some());
    // One that turns wrong does not end it either.
    let wrong = [policy("stop", serde_json::json!({"pausedReason": "x"}))];
    let wrong = with_policies(Some(&wrong), Some(&current), 2);
    assert!(held(&wrong) && wrong.write.is_none());
    let [accepted, ..] = wrong.judge_policy("stop", &[], &Measure::default()).unwrap().verdicts;
    assert!(!accepted.holds && accepted.message.contains("UsagePolicy stop: spec.pausedReason"));
}

#[test]
fn a_policy_is_programmed_once_the_sidecars_that_it_selects_have_it_and_know_the_kind() {
    let spec = serde_json::json!({"paused": true, "podSelector": {"matchLabels": {"app": "chat"}}});
    let desired = with_policies(Some(&[policy("stop", spec)]), None, 1);
    let measure = desired.measure();
    let chat = |policies: Option<u32>| SidecarSeen {
        pod: "chat-1".into(),
        labels: Arc::new(BTreeMap::from([("app".to_owned(), "chat".to_owned())])),
        report: Some(Arc::new(SidecarReport {
            sequence: measure.newest.sequence,
            revision: measure.newest.revision.clone(),
            policies,
            ..SidecarReport::default()
        })),
        ..SidecarSeen::default()
    };
    let other = SidecarSeen {
        pod: "web-1".into(),
        ..SidecarSeen::default()
    };
    let judged = |sidecars: &[SidecarSeen]| desired.judge_policy("stop", sidecars, &measure).unwrap();
    let live = judged(&[chat(Some(1)), other.clone()]);
    assert_eq!(
        (live.sidecars.selected, live.verdicts[2].reason),
        (1, reason::PAUSED),
        "{live:?}"
    );
    assert!(live.verdicts[3].holds);
    let older = judged(&[chat(None), other]);
    assert_eq!(older.verdicts[2].reason, reason::PARTIALLY_PROGRAMMED);
    assert!(
        !older.verdicts[3].holds && older.verdicts[2].message.contains("chat-1"),
        "{older:?}"
    );
}

#[test]
fn an_object_that_cannot_be_read_is_served_as_it_was_last_accepted_and_says_what_is_the_matter() {
    let smart = serde_json::json!({"match": {"models": ["smart"]}, "targets": [{"provider": "a"}]});
    let first = desired(&[provider("a", good())], &[route("smart", smart)], None, 1).unwrap();
    let unread = |name: &str| {
        let metadata = kube::core::ObjectMeta {
            name: Some(name.into()),
            ..kube::core::ObjectMeta::default()
        };
        Arc::new(Unread::new(metadata, "spec.limits", "invalid type"))
    };
    let not_understood = NotUnderstood {
        routes: vec![unread("smart"), unread("new")],
        ..NotUnderstood::default()
    };
    let providers = [provider("a", good())];
    let objects = Objects {
        not_understood: Some(&not_understood),
        ..of(&providers, &[])
    };
    let current = written(&first, 1);
    let later = super::desired(&AllowedHosts::default(), objects, Some(&current), Clocks::both(2)).unwrap();
    assert_eq!((later.write, &later.rendered.text), (None, &current.text));
    let accepted = |name: &str| later.route(name, &[]).unwrap().verdicts[0].clone();
    let (smart, new) = (accepted("smart"), accepted("new"));
    assert_eq!(
        (smart.holds, smart.reason, new.reason),
        (false, reason::NOT_UNDERSTOOD, reason::NOT_UNDERSTOOD)
    );
    assert!(smart.message.starts_with("ModelRoute smart: spec.limits: ") && smart.message.contains("stays in service"));
    assert!(new.message.contains("is not in service"), "{}", new.message);
    let programmed = &later.route("smart", &[]).unwrap().verdicts[2];
    assert_eq!(programmed.reason, reason::NOT_ACCEPTED);
    assert!(
        later.provider("a", &[]).unwrap().verdicts[3].holds,
        "the others are as ever"
    );
}

#[test]
fn the_secrets_of_a_provider_that_cannot_be_read_are_those_of_its_last_accepted_version() {
    let first = desired(&[provider("a", good())], &[], None, 1).unwrap();
    let names = ["a".to_owned(), "never".to_owned()];
    let kept = kept_specs(&names, Some(&written(&first, 1)));
    assert_eq!(kept.len(), 1);
    assert_eq!(
        References::of(&kept, &BTreeMap::new()),
        References::named_by(&provider("a", good()))
    );
    assert!(kept_specs(&names, None).is_empty());
}

#[test]
fn what_a_policy_pauses_says_so_itself_and_a_switch_for_nothing_is_no_reference() {
    let spec = serde_json::json!({"pausedProviders": [{"name": "a", "reason": "it leaks"}]});
    let desired = with_policies(Some(&[policy("stop", spec)]), None, 1);
    let measure = desired.measure();
    let policy_says = desired.judge_policy("stop", &[], &measure).unwrap().verdicts;
    assert_eq!(policy_says[2].reason, reason::PAUSED, "{policy_says:?}");
    assert!(
        policy_says[2].message.ends_with("ProviderConfig a is paused: it leaks"),
        "{policy_says:?}"
    );
    let [_, _, programmed, ready] = desired
        .judge_provider("a", &References::default(), &[], &measure)
        .unwrap()
        .verdicts;
    assert_eq!(
        (ready.holds, programmed.reason),
        (true, reason::PAUSED),
        "{programmed:?}"
    );
    assert!(
        programmed.message.ends_with("UsagePolicy stop has paused it: it leaks"),
        "{programmed:?}"
    );
    let typo = serde_json::json!({"pausedProviders": [{"name": "b"}], "pausedRoutes": [{"name": "r"}]});
    let desired = with_policies(Some(&[policy("stop", typo)]), None, 1);
    let [_, resolved, ..] = desired.judge_policy("stop", &[], &desired.measure()).unwrap().verdicts;
    assert_eq!((resolved.holds, resolved.reason), (false, reason::REF_NOT_FOUND));
    assert!(
        resolved.message.contains("pausedProviders[0].name") && resolved.message.contains("pausedRoutes[0].name"),
        "{resolved:?}"
    );
}

#[test]
fn what_is_written_tells_its_shared_limits_and_those_of_what_it_replaces() {
    let fleet = |limit: &str, scope: &str| {
        let limit = serde_json::json!({"name": limit, "requestsPerMinute": 60, "scope": scope, "per": "Namespace"});
        serde_json::json!({"limits": [limit]})
    };
    let key = |name: &str| LimitKey::of_limit(name, Which::Requests);
    let shared = |name: &str| SharedLimit {
        of: key(name),
        whole: 60,
        is_apart: false,
    };
    let first = with_policies(Some(&[policy("p", fleet("one", "Fleet"))]), None, 1_000);
    assert_eq!(first.limits(), [shared("policy/p/one")]);
    assert_eq!(first.limits_before(), Some(Vec::new()), "nothing was there");
    let current = written(&first, 1_000);
    let second = with_policies(Some(&[policy("p", fleet("two", "Fleet"))]), Some(&current), 2_000);
    assert_eq!(second.limits(), [shared("policy/p/two")]);
    assert_eq!(second.limits_before(), Some(vec![key("policy/p/one")]));
    // Its policies are not known yet: those that are served stay.
    let unknown = with_policies(None, Some(&current), 2_000);
    assert_eq!(unknown.limits(), [shared("policy/p/one")]);
    let refused = with_policies(Some(&[policy("p", fleet("Two!", "Fleet"))]), Some(&current), 2_000);
    assert_eq!(refused.limits(), [shared("policy/p/one")], "its last accepted version");
    assert!(
        with_policies(Some(&[policy("p", fleet("one", "Pod"))]), None, 1)
            .limits()
            .is_empty()
    );
    let edited = Current {
        text: format!("{}# by hand\n", current.text),
        ..current.clone()
    };
    assert_eq!(with_policies(Some(&[]), Some(&edited), 2_000).limits_before(), None);
    let is_settled = |own: u64| current.is_settled(Clocks { own, latest: 9_000 });
    assert_eq!([1_119, 1_120].map(is_settled), [false, true]);
    assert!(
        !Current::default().is_settled(Clocks::both(9_000)),
        "nobody knows since when"
    );
}
