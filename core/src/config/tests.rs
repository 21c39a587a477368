use super::*;
use crate::queue::Class;
use crate::spend::book::Spenders;

fn standalone(text: &str) -> Result<Config, Problems> {
    load(text, &Scope::Standalone)
}

fn cluster(labels: &[(&str, &str)]) -> Scope {
    let pod_labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Scope::Cluster { pod_labels }
}

fn provider(name: &str, spec: &str) -> String {
    format!("---\napiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

const OPENAI: &str = "{provider: OpenAI, credentials: [{name: main, env: OPENAI_API_KEY}]}";

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = standalone(&provider("openai", OPENAI)).unwrap();
    let provider = config.provider("openai").unwrap();
    assert_eq!(provider.base_url.to_string(), "https://api.openai.com/v1");
    assert_eq!(provider.breaker.failure_threshold.get(), 5);
    assert_eq!(provider.breaker.open_for.as_secs(), 60);
    assert_eq!(
        (provider.timeouts.connect.as_secs(), provider.timeouts.total.as_secs()),
        (2, 600)
    );
    assert_eq!(provider.retry.max_attempts, 2);
    assert_eq!(provider.credentials[0].source, KeySource::Env("OPENAI_API_KEY".into()));
    assert!(provider.health_check.is_none());
}

#[test]
fn providers_are_ordered_by_priority_then_name_and_disabled_ones_left_out() {
    let with = |name: &str, rest: &str| {
        provider(
            name,
            &format!("{{provider: OpenAI, credentials: [{{name: main, env: K}}]{rest}}}"),
        )
    };
    let text = with("b", "") + &with("a", "") + &with("last", ", priority: 200") + &with("off", ", enabled: false");
    let config = standalone(&text).unwrap();
    assert_eq!(
        config.providers.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
        ["a", "b", "last"]
    );
}

#[test]
fn all_problems_are_reported_at_once_with_their_paths() {
    let text = provider(
        "one",
        "{provider: Gemini, endpoint: {baseUrl: 'http://x'}, retry: {maxAttempts: 0}}",
    ) + &provider(
        "two",
        "{provider: OpenAI, credentials: [{name: main}], timeouts: {connect: 5}}",
    ) + &provider(
        "three",
        "{provider: OpenAI, credentials: [{name: main, env: K}], colour: red}",
    ) + "---\nkind: Pod\n";
    let problems = standalone(&text).unwrap_err().to_string();
    for expected in [
        "ProviderConfig two: spec.timeouts.connect: ",
        "ProviderConfig three: spec.colour: is no known field",
        "document 4: apiVersion is missing",
    ] {
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
    let problems = standalone(&provider(
        "one",
        "{provider: Gemini, endpoint: {baseUrl: 'http://x'}, retry: {maxAttempts: 0}}",
    ))
    .unwrap_err()
    .to_string();
    for expected in [
        "ProviderConfig one: spec.endpoint.baseUrl: sends the key and the prompts in clear text",
        "ProviderConfig one: spec.credentials: is empty",
        "ProviderConfig one: spec.retry.maxAttempts: is 0: set it to 1 to 10",
    ] {
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
}

#[test]
fn what_is_no_yaml_is_one_problem_with_its_line() {
    let problems = standalone("a: [1\n").unwrap_err();
    assert!(problems.to_string().contains("line"), "{problems}");
}

#[test]
fn in_a_cluster_keys_come_from_secrets_only_and_unknown_fields_are_a_newer_releases() {
    let problems = load(&provider("openai", OPENAI), &cluster(&[]))
        .unwrap_err()
        .to_string();
    assert!(
        problems.contains("spec.credentials[0].secretKeyRef: is required"),
        "{problems}"
    );
    let newer = "{provider: OpenAI, credentials: [{name: main, secretKeyRef: {name: s, key: k}}], novel: 1}";
    assert_eq!(
        load(&provider("openai", newer), &cluster(&[])).unwrap().providers.len(),
        1
    );
}

#[test]
fn a_reference_never_leads_out_of_its_folder() {
    for (name, key) in [("..", "k"), ("a/b", "k"), ("s", "../k"), ("", "k"), ("s", "")] {
        let spec = format!(
            "{{provider: OpenAI, credentials: [{{name: main, secretKeyRef: {{name: '{name}', key: '{key}'}}}}]}}"
        );
        assert!(load(&provider("openai", &spec), &cluster(&[])).is_err(), "{name} {key}");
    }
}

#[test]
fn a_pod_selector_keeps_a_provider_from_other_pods() {
    let spec =
        "{provider: OpenAICompatible, endpoint: {baseUrl: 'https://x'}, podSelector: {matchLabels: {tier: web}}}";
    let text = provider("web", spec);
    assert_eq!(load(&text, &cluster(&[("tier", "web")])).unwrap().providers.len(), 1);
    assert_eq!(load(&text, &cluster(&[("tier", "db")])).unwrap().providers.len(), 0);
}

#[test]
fn a_missing_fallback_is_an_error_in_a_file_and_a_notice_in_a_cluster() {
    let spec = "{provider: OpenAICompatible, endpoint: {baseUrl: 'https://x'}, fallbackProviders: [gone]}";
    let problems = standalone(&provider("a", spec)).unwrap_err().to_string();
    assert!(
        problems.contains("spec.fallbackProviders[0]: there is no ProviderConfig \"gone\""),
        "{problems}"
    );
    assert_eq!(load(&provider("a", spec), &cluster(&[])).unwrap().notices.len(), 1);
}

fn route(extra: &str) -> String {
    format!(
        "{}---\napiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: r}}\nspec: {{match: {{models: [m]}}, targets: [{{provider: openai, model: gpt}}]{extra}}}\n",
        provider("openai", OPENAI)
    )
}

#[test]
fn a_hedge_says_when_and_within_its_bounds() {
    let hedge = |text: &str| standalone(&route(&format!(", hedge: {{{text}}}")));
    for (text, problem) in [
        ("maxPercent: 5", "spec.hedge: says not when"),
        ("percentile: 30", "spec.hedge.percentile: is 30"),
        ("percentile: 100", "spec.hedge.percentile: is 100"),
        ("after: 1s, maxPercent: 0", "spec.hedge.maxPercent: is 0"),
        ("after: 1s, maxPercent: 101", "spec.hedge.maxPercent: is 101"),
    ] {
        let problems = hedge(text).unwrap_err().to_string();
        assert!(problems.contains(problem), "{text}: {problems}");
    }
    let config = hedge("after: 2s, percentile: 95").unwrap();
    let settings = config.routes[0].hedge.unwrap();
    assert_eq!(settings.after, Some(std::time::Duration::from_secs(2)));
    assert_eq!((settings.percentile, settings.max_percent), (Some(95), 5));
    assert!(config.routes[0].not_in_force.is_empty());
}

#[test]
fn a_named_limit_is_shared_as_one_count_or_by_what_a_pod_is_and_no_other_way() {
    assert!(standalone(&route("")).is_ok());
    let limited = |limit: &str| {
        let spec = format!("{{limits: [{{name: a, requestsPerMinute: 5, scope: Fleet, {limit}}}]}}");
        let policy =
            format!("apiVersion: bowsprit.dev/v1alpha1\nkind: UsagePolicy\nmetadata: {{name: p}}\nspec: {spec}\n");
        load(&policy, &cluster(&[]))
    };
    for (per, borrowers) in [
        ("", Borrowers::All),
        ("per: Pod", Borrowers::All),
        ("per: Namespace", Borrowers::All),
        ("per: Workload", Borrowers::Workload),
        ("per: ServiceAccount", Borrowers::ServiceAccount),
    ] {
        let config = limited(per).unwrap();
        let limit = &config.policies[0].limits[0];
        // One sidecar is of one workload: it has one count.
        assert!(limit.is_shared && limit.per == Per::Sidecar, "{per}");
        assert_eq!(limit.borrowers, borrowers, "{per}");
    }
    for (per, remedy) in [
        ("per: Caller, caller: {header: x-team}", "set store"),
        ("per: Model", "models"),
        ("per: Route", "each ModelRoute"),
        ("per: Provider", "ProviderConfig"),
        (
            "per: Provider, store: {redisRef: {name: s, key: url}}",
            "ProviderConfig",
        ),
    ] {
        let problems = limited(per).unwrap_err().to_string();
        assert!(
            problems.contains("limits[0].per: ") && problems.contains("over all sidecars") && problems.contains(remedy),
            "{per}: {problems}"
        );
    }
    for per in [
        "per: Namespace",
        "per: Caller, caller: {header: x-team}",
        "per: Model",
        "per: Route",
        "per: Workload",
        "per: ServiceAccount",
    ] {
        let config = limited(&format!("{per}, store: {{redisRef: {{name: s, key: url}}}}")).unwrap();
        let limit = &config.policies[0].limits[0];
        assert!(limit.is_shared && limit.store.is_some(), "{per}");
        assert_eq!(limit.per == Per::Sidecar, per == "per: Namespace");
    }
    let problems = limited("store: {redisRef: {name: s, key: ../url}, timeout: 2s}")
        .unwrap_err()
        .to_string();
    assert!(
        problems.contains("store.redisRef") && problems.contains("store.timeout"),
        "{problems}"
    );
    let problems = standalone(&route(
        ", limits: [{name: a, requestsPerMinute: 5, store: {redisRef: {name: s, key: url}}}]",
    ))
    .unwrap_err()
    .to_string();
    assert!(problems.contains("set scope to Fleet"), "{problems}");
    let problems = standalone(&route(", limits: [{name: a, requestsPerMinute: 5, scope: Fleet}]"))
        .unwrap_err()
        .to_string();
    assert!(
        problems.contains("r/a: scope: is Fleet, and there is no operator"),
        "{problems}"
    );
}

#[test]
fn operators_and_sidecars_have_one_name_for_a_limit_that_is_shared() {
    let limits = r#"[
        {"name": "a", "scope": "Fleet", "outputTokensPerMinute": 500, "costPerMinute": {"amount": "0.5", "currency": "USD"}},
        {"name": "b", "requestsPerMinute": 5},
        {"name": "c", "scope": "Fleet", "requestsPerMinute": 5, "per": "Model"},
        {"name": "d", "scope": "Fleet", "requestsPerMinute": 6, "per": "Workload"}
    ]"#;
    let limits: Vec<bowsprit_crds::limits::NamedLimit> = serde_json::from_str(limits).unwrap();
    let key = |name: &str, which| crate::stream::shares::LimitKey::of_limit(name, which);
    let (output, cost) = (crate::limiter::Which::Output, crate::limiter::Which::Cost);
    let shared = |of, whole, is_apart| SharedLimit { of, whole, is_apart };
    assert_eq!(
        Limit::shared_of_policy("all", &limits),
        [
            shared(key("policy/all/a", output), 500, false),
            shared(key("policy/all/a", cost), 500_000_000_000, false),
            shared(key("policy/all/d", crate::limiter::Which::Requests), 6, true),
        ],
        "what no sidecar takes is not lent"
    );
    assert_eq!(Limit::shared_of_route("r", &limits)[0].of, key("r/a", output));
}

#[test]
fn a_store_counts_what_sidecars_share_within_a_deadline_that_is_small() {
    let with = |limits: &str| {
        let keys = "credentials: [{name: main, secretKeyRef: {name: keys, key: a}}]";
        let spec = format!("{{provider: OpenAI, {keys}, rateLimits: {{requestsPerMinute: 5, {limits}}}}}");
        load(&provider("openai", &spec), &cluster(&[]))
    };
    let store = with("scope: Fleet, store: {redisRef: {name: redis, key: url}}").unwrap();
    let store = store.providers[0].limit_store.clone().unwrap();
    assert_eq!(store.deadline, std::time::Duration::from_millis(50));
    assert_eq!(
        store.url,
        KeySource::Secret {
            name: "redis".into(),
            key: "url".into(),
        }
    );
    for (limits, problem) in [
        (
            "store: {redisRef: {name: redis, key: url}}",
            "rateLimits.store: counts limits that sidecars share",
        ),
        (
            "scope: Fleet, store: {redisRef: {name: redis, key: url}, timeout: 2s}",
            "rateLimits.store.timeout: is 2s",
        ),
        (
            "scope: Fleet, store: {redisRef: {name: redis, key: ../url}}",
            "rateLimits.store.redisRef: has a name or key",
        ),
        ("scope: Fleet, store: {timeout: 5ms}", "redisRef"),
    ] {
        let problems = with(limits).unwrap_err().to_string();
        assert!(problems.contains(problem), "{limits}: {problems}");
    }
}

#[test]
fn what_is_rendered_is_loaded_again_whatever_the_order() {
    let objects = objects(&(provider("b", OPENAI) + &provider("a", OPENAI)), &Scope::Standalone).unwrap();
    let specs: Vec<_> = objects
        .iter()
        .filter_map(|object| match &object.kind {
            ObjectKind::Provider(spec) => Some((object.name.as_str(), &**spec)),
            ObjectKind::Route(_) | ObjectKind::Policy(_) => None,
        })
        .collect();
    let forward = render(specs.clone(), [], []).unwrap();
    let backward = render(specs.into_iter().rev(), [], []).unwrap();
    assert_eq!(forward, backward);
    let config = standalone(&forward.text).unwrap();
    assert_eq!(config.revision, forward.revision);
    assert_eq!(config.providers.len(), 2);
    assert!(
        forward.text.contains("openFor: 1m"),
        "defaults are written out:\n{}",
        forward.text
    );
}

fn addresses_of(spec: &str, scope: &Scope) -> Result<crate::address::Policy, String> {
    let text = provider("one", spec);
    match load(&text, scope) {
        Ok(config) => Ok(config.providers[0].addresses.clone()),
        Err(problems) => Err(problems.to_string()),
    }
}

#[test]
fn where_a_provider_may_be_follows_from_who_named_the_address() {
    use crate::address::{Class, Policy};
    let cluster = cluster(&[]);
    let key = "credentials: [{name: a, secretKeyRef: {name: s, key: k}}]";
    let public = Policy::new([Class::Public]);
    let well_known = format!("{{provider: OpenAI, {key}}}");
    assert_eq!(addresses_of(&well_known, &cluster), Ok(public.clone()));
    let own = "{provider: OpenAICompatible, endpoint: {baseUrl: 'https://vllm.models.svc/v1'}}";
    assert_eq!(addresses_of(own, &cluster), Ok(public.and(Class::Private)));
    assert_eq!(
        addresses_of(own, &Scope::Standalone),
        Ok(public.and(Class::Private).and(Class::Loopback))
    );
    let listed = "{provider: OpenAICompatible, endpoint: {baseUrl: 'https://x/v1', allowedAddresses: [Loopback]}}";
    assert_eq!(addresses_of(listed, &cluster), Ok(Policy::new([Class::Loopback])));
}

#[test]
fn an_address_that_is_not_allowed_is_told_before_anything_connects_to_it() {
    let cluster = cluster(&[]);
    for (url, told) in [
        (
            "http://127.0.0.1:4001",
            "is a loopback address: list Loopback in endpoint.allowedAddresses",
        ),
        ("http://[fe80::1]/v1", "is a link-local address"),
        (
            "http://169.254.169.254/latest",
            "metadata service: no configuration allows it",
        ),
    ] {
        let spec = format!("{{provider: OpenAICompatible, endpoint: {{baseUrl: '{url}', allowHttp: true}}}}");
        let problem = addresses_of(&spec, &cluster).unwrap_err();
        assert!(
            problem.contains("spec.endpoint.baseUrl") && problem.contains(told),
            "{problem}"
        );
    }
}

#[test]
fn a_provider_has_keys_of_its_own_or_takes_the_callers() {
    let callers = standalone(&provider("one", "{provider: OpenAI, forwardCallerKey: true}")).unwrap();
    assert!(callers.provider("one").unwrap().forward_caller_key);
    let both = "{provider: OpenAI, forwardCallerKey: true, credentials: [{name: main, env: K}]}";
    let problems = standalone(&provider("one", both)).unwrap_err().to_string();
    assert!(
        problems.contains("spec.forwardCallerKey: goes without credentials"),
        "{problems}"
    );
}

#[test]
fn a_base_url_that_is_no_base_is_refused_with_the_one_that_is() {
    for (kind, url, right) in [
        (
            "OpenAI",
            "https://api.openai.com/v1/chat/completions",
            "use https://api.openai.com/v1",
        ),
        ("OpenAICompatible", "https://x/v1/embeddings/", "use https://x/v1"),
        (
            "Anthropic",
            "https://api.anthropic.com/v1/messages",
            "use https://api.anthropic.com/v1",
        ),
        (
            "Gemini",
            "https://g/v1beta/models/m:generateContent",
            "use https://g/v1beta",
        ),
        ("Gemini", "https://g/v1beta/openai", "set provider to OpenAICompatible"),
        ("Anthropic", "https://a/v2", "use https://a"),
        ("OpenAI", "https://x/v1/v1", "use https://x/v1"),
    ] {
        let spec =
            format!("{{provider: {kind}, endpoint: {{baseUrl: '{url}'}}, credentials: [{{name: k, file: /k}}]}}");
        let problem = standalone(&provider("one", &spec)).unwrap_err().to_string();
        assert!(
            problem.contains("spec.endpoint.baseUrl: ") && problem.contains(right),
            "{url}: {problem}"
        );
    }
}

#[test]
fn a_header_that_the_sidecar_needs_for_itself_is_refused_with_path_and_remedy() {
    for name in [
        "Accept-Encoding",
        "authorization",
        "Content-Type",
        "TE",
        "x-bowsprit-provider",
    ] {
        let spec = format!(
            "{{provider: OpenAICompatible, endpoint: {{baseUrl: 'https://x/v1', headers: {{{name}: gzip, X-Team: search}}}}}}"
        );
        let problem = standalone(&provider("one", &spec)).unwrap_err().to_string();
        assert!(
            problem.contains(&format!("spec.endpoint.headers[{name}]: cannot be set here: remove it")),
            "{problem}"
        );
    }
}

#[test]
fn stream_usage_is_asked_for_unless_switched_off_and_exists_for_openais_api_only() {
    let read = |kind: &str, more: &str| {
        let spec = format!("{{provider: {kind}, credentials: [{{name: k, file: /k}}]{more}}}");
        standalone(&provider("one", &spec)).map(|config| config.providers[0].asks_stream_usage)
    };
    assert_eq!(read("OpenAI", ""), Ok(true));
    assert_eq!(read("OpenAI", ", streamUsage: AsIs"), Ok(false));
    let problem = read("Gemini", ", streamUsage: AsIs").unwrap_err().to_string();
    assert!(
        problem.contains("spec.streamUsage: exists for OpenAI, OpenAICompatible and AzureOpenAI only: remove it"),
        "{problem}"
    );
}

#[test]
fn what_is_allowed_and_unwise_is_told_with_path_and_remedy() {
    let provider = |name: &str, rest: &str| {
        provider(
            name,
            &format!("{{provider: OpenAI, credentials: [{{name: main, env: K}}], models: [{{name: gpt}}]{rest}}}"),
        )
    };
    let route = |name: &str, target: &str| {
        format!(
            "---\napiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: {name}}}\nspec: {{match: {{models: \
             [fast]}}, targets: [{target}]}}\n"
        )
    };
    let off = ", priority: 5, enabled: false";
    let far = ", priority: 7, endpoint: {baseUrl: 'http://models.example.com/v1', allowHttp: true}";
    let text = provider("a", "") + &provider("b", "") + &provider("off", off) + &provider("far", far);
    let text = text
        + &route("first", "{provider: a, model: gtp}")
        + &route("second", "{provider: off, model: gpt}")
        + &route("third", "{provider: b, model: gpt}").replace("fast", "slow")
        + &route(
            "fourth",
            "{provider: b, model: gpt}], staleIfError: {maxAge: 25h, maxBytes: 16777217}, fallback: [{provider: a}",
        )
        .replace("fast", "old")
        + &route(
            "fifth",
            "{provider: b, model: gpt}], cache: {ttl: 1h, maxBytes: 16777217, embeddings: {maxBytes: 16777217}, semantic: \
             {embeddingModel: e, threshold: '0.9', maxBytes: 16777217}}, fallback: [{provider: b, model: gpt}",
        )
        .replace("fast", "more");
    let config = objects(&text, &Scope::Standalone).unwrap();
    let (mut providers, mut routes) = (Vec::new(), Vec::new());
    for object in config {
        match object.kind {
            ObjectKind::Provider(spec) => {
                providers.push(Provider::from_spec(&object.name, &spec, &Scope::Standalone).unwrap());
            }
            ObjectKind::Route(spec) => routes.push(Route::from_spec(&object.name, &spec).unwrap()),
            ObjectKind::Policy(_) => {}
        }
    }
    let notes: Vec<String> = advice(&providers, &routes).iter().map(ToString::to_string).collect();
    let expected = [
        "ProviderConfig a: spec.models: \"gpt\" is served by b too, at the same priority 100: a is asked first",
        "ProviderConfig b: spec.models: \"gpt\" is served by a too",
        "ProviderConfig far: spec.endpoint.baseUrl: keys and prompts travel unencrypted",
        "ModelRoute first: spec.match.models: \"fast\" is matched by ModelRoute second too, and first is used",
        "ModelRoute first: spec.targets[0].model: \"gtp\" is not among the models of ProviderConfig a",
        "ModelRoute second: spec.match.models: \"fast\" is matched by ModelRoute first too",
        "ModelRoute second: spec.targets: no target is a ProviderConfig that is here and enabled",
        "ModelRoute fourth: spec.staleIfError.maxAge: lets answers of days ago be given as today's",
        "ModelRoute fourth: spec.staleIfError.maxBytes: is more than sidecars of the usual size keep",
        "ModelRoute fifth: spec.cache.maxBytes: is more than",
        "ModelRoute fifth: spec.cache.embeddings.maxBytes: is more than sidecars of the usual size keep: all routes together have a quarter of \
         the memory for bodies for it, 16 MiB of a sidecar of 128 MiB: set it to 16777216 (16 MiB) or less",
        "ModelRoute fifth: spec.cache.semantic.maxBytes: is more than",
    ];
    assert_eq!(notes.len(), expected.len(), "{notes:#?}");
    for (note, expected) in notes.iter().zip(expected) {
        assert!(note.starts_with(expected), "{note}\nis not\n{expected}");
    }
}

#[test]
fn a_route_says_how_urgent_its_requests_are_at_the_most() {
    let read = |more: &str| {
        let text = provider(
            "one",
            "{provider: OpenAI, credentials: [{name: main, env: K}], defaultModel: gpt}",
        ) + "---\napiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {name: r}\nspec: {match: {models: [fast]}, \
               targets: [{provider: one}]"
            + more
            + "}\n";
        standalone(&text).map(|config| config.routes[0].class)
    };
    assert_eq!(read(""), Ok(Class::Interactive));
    assert_eq!(read(", priority: Interactive"), Ok(Class::Interactive));
    assert_eq!(read(", priority: Background"), Ok(Class::Background));
    assert!(read(", priority: Tomorrow").is_err());
}

#[test]
fn answers_are_kept_within_bounds_or_not_at_all() {
    let read = |more: &str| {
        let text = provider(
            "one",
            "{provider: OpenAI, credentials: [{name: main, env: K}], defaultModel: gpt}",
        ) + "---\napiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {name: r}\nspec: {match: {models: [fast]}, \
               targets: [{provider: one}]"
            + more
            + "}\n";
        standalone(&text).map(|config| config.routes[0].stale_if_error)
    };
    assert_eq!(read(""), Ok(None));
    let terms = crate::kept::Terms {
        max_age: std::time::Duration::from_hours(1),
        max_bytes: 1 << 20,
    };
    assert_eq!(read(", staleIfError: {maxAge: 1h, maxBytes: 1048576}"), Ok(Some(terms)));
    for (more, problem) in [
        (
            "{maxAge: 500ms, maxBytes: 1048576}",
            "spec.staleIfError.maxAge: is 500ms: set it to 1s to 168h (a week)",
        ),
        ("{maxAge: 169h, maxBytes: 1048576}", "spec.staleIfError.maxAge: is 169h"),
        (
            "{maxAge: 1h, maxBytes: 1}",
            "spec.staleIfError.maxBytes: is 1: set it to 65536 (64 KiB) to 268435456 (256 MiB)",
        ),
        (
            "{maxAge: 1h, maxBytes: 999999999999}",
            "spec.staleIfError.maxBytes: is 999999999999",
        ),
        ("{maxAge: 1h}", "maxBytes"),
        ("{maxBytes: 1048576}", "maxAge"),
    ] {
        let told = read(&format!(", staleIfError: {more}")).unwrap_err().to_string();
        assert!(told.contains(problem), "{told}");
    }
}

fn policy(name: &str, spec: &str) -> String {
    format!("---\napiVersion: bowsprit.dev/v1alpha1\nkind: UsagePolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

#[test]
fn policies_that_select_this_pod_hold_by_name_and_the_others_do_not() {
    let text = policy("b", "{paused: true, pausedReason: an incident}")
        + &policy("a", "{}")
        + &policy("other", "{podSelector: {matchLabels: {app: web}}, paused: true}");
    let config = load(&text, &cluster(&[("app", "chat")])).unwrap();
    let told: Vec<_> = config
        .policies
        .iter()
        .map(|policy| (policy.name.as_str(), policy.paused.clone()))
        .collect();
    let paused = Paused {
        reason: Some("an incident".into()),
    };
    assert_eq!(told, [("a", None), ("b", Some(paused))]);
    assert_eq!(
        standalone(&text).unwrap().policies.len(),
        3,
        "a file has no pods to select"
    );
}

#[test]
fn what_a_policy_says_and_is_wrong_or_not_in_force_is_refused_with_path_and_remedy() {
    let spec = "{limits: [{name: all, requestsPerMinute: 0, concurrentRequests: 1}], access: {rules: [{name: r, allow: 'request.modle'}]}, pausedReason: x, \
                budgets: [{name: month, amount: '10', currency: USD, window: Month, per: Team}]}";
    let problems = standalone(&policy("one", spec)).unwrap_err();
    let paths: Vec<_> = problems.0.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "limits[0].requestsPerMinute",
            "budgets[0].teamLabel",
            "pausedReason",
            "access.rules[0].allow"
        ]
        .map(|field| format!("UsagePolicy one: spec.{field}"))
    );
    assert!(problems.0.iter().all(|problem| !problem.remedy.is_empty()));
    let twice = policy("one", "{}") + &policy("one", "{}");
    assert!(standalone(&twice).unwrap_err().to_string().contains("is there twice"));
}

#[test]
fn what_a_policy_pauses_is_found_by_its_name_and_a_switch_for_nothing_says_so() {
    let text = provider(
        "claude",
        "{provider: Anthropic, enabled: false, credentials: [{name: main, secretKeyRef: {name: s, key: k}}]}",
    ) + &policy(
        "b",
        "{pausedProviders: [{name: claude}, {name: cloude}], pausedRoutes: [{name: smart}]}",
    ) + &policy("a", "{pausedProviders: [{name: claude, reason: it leaks}]}");
    let config = load(&text, &cluster(&[])).unwrap();
    let (by, paused) = config.pauses_provider("claude").unwrap();
    assert_eq!((&*by.name, paused.reason.as_deref()), ("a", Some("it leaks")));
    assert!(config.pauses_provider("openai").is_none() && config.pauses_route("claude").is_none());
    assert_eq!(config.pauses_route("smart").unwrap().0.name, "b");
    let notices: Vec<_> = config.notices.iter().map(ToString::to_string).collect();
    assert!(
        notices[0].starts_with("UsagePolicy b: spec.pausedProviders[1].name: there is no ProviderConfig"),
        "{notices:?}"
    );
    assert!(
        notices[1].starts_with("UsagePolicy b: spec.pausedRoutes[0].name: there is no ModelRoute"),
        "{notices:?}"
    );
    let wrong = "{pausedProviders: [{name: a}, {name: a}], pausedRoutes: [{name: '', reason: \"two\\nlines\"}]}";
    let problems = standalone(&policy("one", wrong)).unwrap_err();
    let paths: Vec<_> = problems.0.iter().map(|problem| problem.path.as_str()).collect();
    let own = [
        "pausedProviders[1].name",
        "pausedRoutes[0].name",
        "pausedRoutes[0].reason",
    ];
    assert_eq!(paths, own.map(|field| format!("UsagePolicy one: spec.{field}")));
}

#[test]
fn a_release_without_policies_reads_a_config_that_has_some() {
    let text = provider(
        "a",
        "{provider: OpenAI, credentials: [{name: main, secretKeyRef: {name: s, key: k}}]}",
    ) + &policy("p", "{paused: true}");
    let objects = objects(&text, &cluster(&[])).unwrap();
    let (mut providers, mut policies) = (Vec::new(), Vec::new());
    for object in &objects {
        match &object.kind {
            ObjectKind::Provider(spec) => providers.push((object.name.as_str(), &**spec)),
            ObjectKind::Policy(spec) => policies.push((object.name.as_str(), &**spec)),
            ObjectKind::Route(_) => {}
        }
    }
    let rendered = render(providers, [], policies.clone()).unwrap();
    let documents = crate::yaml::documents(&rendered.text).unwrap();
    let kinds: Vec<_> = documents
        .iter()
        .map(|document| document["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["ProviderConfig"], "the kinds that it knows");
    let config = load(&rendered.text, &cluster(&[])).unwrap();
    assert_eq!((config.providers.len(), config.policies.len()), (1, 1));
    assert!(config.policies[0].paused.is_some());
    let alone = render([], [], policies).unwrap();
    assert_eq!(load(&alone.text, &cluster(&[])).unwrap().policies.len(), 1);
}

#[test]
fn the_example_of_a_policy_is_taken_without_an_unknown_field_and_stops_nothing() {
    let example = include_str!("../../../examples/usagepolicy.yaml");
    let config = standalone(example).unwrap();
    assert_eq!(config.policies.len(), 1);
    assert!(config.policies[0].paused.is_none());
    let misspelt = example.replace("paused: false", "pause: true");
    assert!(standalone(&misspelt).unwrap_err().to_string().contains("spec.pause"));
}

#[test]
fn what_is_wrong_with_a_budget_is_said_with_its_path_and_what_to_do() {
    for (fields, path, problem) in [
        ("amount: '0', window: Day", "amount", "is no amount of money above 0"),
        ("amount: '1e3', window: Day", "amount", "is no amount of money"),
        ("amount: '1000000.1', window: Day", "amount", "up to 1000000"),
        ("amount: '1', window: Custom", "every", "is missing"),
        (
            "amount: '1', window: Day, every: 6h",
            "every",
            "belongs to window: Custom",
        ),
        ("amount: '1', window: Custom, every: 59s", "every", "is not 1m to 2160h"),
        (
            "amount: '1', window: Custom, every: 2161h",
            "every",
            "is not 1m to 2160h",
        ),
        (
            "amount: '1', window: Day, timeZone: Mars/Olympus",
            "timeZone",
            "is no time zone",
        ),
        (
            "amount: '1', window: Day, warnAtPercent: [0]",
            "warnAtPercent",
            "is not 1 to 100",
        ),
        ("amount: '1', window: Day, per: Team", "teamLabel", "is missing"),
        (
            "amount: '1', window: Day, withoutOperator: Stop",
            "withoutOperator",
            "a pod holds its own budget by itself",
        ),
        (
            "amount: '1', window: Day, teamLabel: team",
            "teamLabel",
            "belongs to per: Team",
        ),
        (
            "amount: '1', window: Day, onExhausted: Divert",
            "divertTo",
            "is missing",
        ),
        (
            "amount: '1', window: Day, divertTo: cheap",
            "divertTo",
            "belongs to onExhausted: Divert",
        ),
    ] {
        let spec = format!("{{budgets: [{{name: b, currency: USD, {fields}}}]}}");
        let problems = standalone(&policy("one", &spec)).unwrap_err();
        let found = &problems.0[0];
        assert_eq!(problems.0.len(), 1, "{fields}: {problems}");
        assert_eq!(
            found.path,
            format!("UsagePolicy one: spec.budgets[0].{path}"),
            "{fields}"
        );
        assert!(
            found.problem.contains(problem) && !found.remedy.is_empty(),
            "{fields}: {found}"
        );
    }
    let spec = "{budgets: [{name: b, currency: EUR, amount: '1', window: Day}]}";
    assert!(standalone(&policy("one", spec)).is_err(), "nothing is converted");
}

#[test]
fn a_budget_is_known_by_its_policy_and_its_own_name_and_leads_to_a_route_that_is_there() {
    let spec = "{budgets: [{name: month, amount: '250', currency: USD, window: Month, timeZone: Europe/Berlin}, \
                {name: hour, amount: '0.5', currency: USD, window: Hour, warnAtPercent: [95, 80, 80], onExhausted: Divert, divertTo: cheap}]}";
    let served = provider(
        "a",
        "{provider: OpenAI, credentials: [{name: main, secretKeyRef: {name: s, key: k}}]}",
    );
    let text = served + &policy("shop", spec);
    let config = load(&text, &cluster(&[])).unwrap();
    let budgets: Vec<_> = config.budgets().collect();
    assert_eq!(&*budgets[0].full_name, "shop/month");
    assert_eq!(
        (budgets[0].amount, &budgets[0].warn_at[..]),
        (250_000_000_000_000, &[80, 95][..])
    );
    assert_eq!(
        (budgets[1].amount, &budgets[1].warn_at[..]),
        (500_000_000_000, &[80, 95][..])
    );
    let notices: Vec<_> = config.notices.iter().map(|notice| notice.path.as_str()).collect();
    assert_eq!(notices, ["UsagePolicy shop: spec.budgets[1].divertTo"]);
}

#[test]
fn who_spends_a_budget_together_with_a_pod_is_read_from_its_labels() {
    let budget =
        |name: &str, per: &str| format!("{{name: {name}, amount: '1', currency: USD, window: Day, per: {per}}}");
    let all = [
        budget("team", "Team, teamLabel: team"),
        budget("run", "JobRun"),
        budget("all", "Namespace, withoutOperator: Stop"),
    ];
    let text = policy("one", &format!("{{budgets: [{}]}}", all.join(", ")));
    let of = |labels: &[(&str, &str)]| {
        let config = load(&text, &cluster(labels)).unwrap();
        let per = |name: &str| {
            config
                .budgets()
                .find(|budget| *budget.name == *name)
                .unwrap()
                .per
                .clone()
        };
        let of = |per: Spenders| match per {
            Spenders::Team { of, .. } | Spenders::JobRun { of } => of.map(|of| of.to_string()),
            other => panic!("{other:?}"),
        };
        assert_eq!(per("all"), Spenders::Namespace);
        (of(per("team")), of(per("run")))
    };
    assert_eq!(of(&[]), (None, None));
    let labels = [
        ("team", "blue"),
        ("batch.kubernetes.io/job-name", "nightly"),
        ("batch.kubernetes.io/controller-uid", "u-1"),
    ];
    assert_eq!(of(&labels), (Some("blue".into()), Some("nightly/u-1".into())));
    let before = [("job-name", "nightly"), ("controller-uid", "u-1")];
    assert_eq!(of(&before).1.as_deref(), Some("nightly/u-1"));
    let config = load(&text, &cluster(&[])).unwrap();
    let stops: Vec<_> = config.budgets().map(|budget| budget.stops_without_operator).collect();
    assert_eq!(stops, [false, false, true]);
}

#[test]
fn a_policy_that_counts_is_told_what_is_not_counted_below_providers_unless_that_is_shut() {
    use serde_json::{Value, from_value, json};
    let provider = |name: &str, field: &str, value: bool| {
        let mut spec =
            json!({"provider": "OpenAICompatible", "endpoint": {"baseUrl": "https://p"}, "defaultModel": "m"});
        spec[field] = json!(value);
        Provider::from_spec(name, &from_value(spec).unwrap(), &Scope::Standalone).unwrap()
    };
    let open = ["a", "b", "c", "d"].map(|name| provider(name, "enabled", true));
    let shut = [provider("a", "passThrough", false), provider("b", "enabled", false)];
    let notes = |policy: Value, providers: &[Provider]| {
        let policy = Policy::from_spec("shop", &from_value(policy).unwrap()).unwrap();
        let notes = unmetered(&[policy], providers);
        notes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let budgets = json!([{"name": "day", "amount": "1", "currency": "USD", "window": "Day", "onExhausted": "Stop"}]);
    let told = notes(json!({"budgets": budgets, "runaway": {}}), &open);
    let [note] = told.as_slice() else { panic!("{told:?}") };
    assert!(
        note.starts_with("UsagePolicy shop: spec.budgets: what passes unread below /providers/NAME/"),
        "{note}"
    );
    for words in [
        "ProviderConfig a, b, c and 1 more",
        "by budgets, runaway",
        "completions of the older kind, pictures, sound, video",
        "passThrough: false",
        r#"request.model != """#,
    ] {
        assert!(note.contains(words), "{words}: {note}");
    }
    assert!(notes(json!({"budgets": budgets}), &shut).is_empty());
    let limit = |field: &str| {
        let mut limit = json!({"name": "l"});
        limit[field] = json!(5);
        notes(json!({"limits": [limit]}), &open).len()
    };
    assert_eq!((limit("tokensPerMinute"), limit("inputTokensPerMinute")), (1, 1));
    assert_eq!(limit("requestsPerMinute"), 0, "requests are counted there");
    let ruled = |rule: &str, enforcement: &str| {
        let access = json!({"enforcement": enforcement, "rules": [{"name": "r", "allow": rule}]});
        notes(json!({"budgets": budgets, "access": access}), &open).len()
    };
    // What is made up of the caller decides nothing.
    for (rule, told) in [
        (
            r#"request.operation != "passthrough" || caller.labels["team"] == "blue""#,
            1,
        ),
        (r#"caller.labels["team"] == "blue""#, 1),
        (r#"caller.namespace == "shop""#, 1),
        ("!caller.inPod", 1),
        (r#"request.operation != "passthrough" && caller.inPod"#, 0),
        // What is read is counted: only the rest has to be shut.
        (r#"request.model != """#, 0),
        (
            r#"request.operation != "passthrough" || request.path.startsWith("/files") || request.model != """#,
            0,
        ),
        (
            r#"request.operation != "passthrough" || request.path != "/chat/completions""#,
            1,
        ),
        (
            r#"request.operation != "passthrough" || !request.path.endsWith("/completions")"#,
            1,
        ),
    ] {
        assert_eq!(ruled(rule, "Enforce"), told, "{rule}");
    }
    assert_eq!(ruled(r#"request.operation != "passthrough""#, "Enforce"), 0);
    assert_eq!(ruled(r#"request.operation == "generate""#, "Enforce"), 0);
    assert_eq!(ruled(r#"request.operation != "passthrough""#, "Shadow"), 1);
    assert_eq!(
        ruled(r#"request.operation == "passthrough" || !request.stream"#, "Enforce"),
        1
    );
    // Another policy that is for all pods ends it, and one for some does not.
    let beside = |other: Value| {
        let access = json!({"rules": [{"name": "r", "allow": r#"request.operation != "passthrough""#}]});
        let all = [("shop", json!({"budgets": budgets})), ("rules", other)];
        let all = all.map(|(name, mut spec)| {
            if name == "rules" {
                spec["access"] = access.clone();
            }
            Policy::from_spec(name, &from_value(spec).unwrap()).unwrap()
        });
        unmetered(&all, &open).len()
    };
    assert_eq!(beside(json!({})), 0);
    assert_eq!(beside(json!({"podSelector": {"matchLabels": {"app": "a"}}})), 1);
}
