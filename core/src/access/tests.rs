use std::collections::BTreeMap;

use bowsprit_crds::access::{AccessRule, AccessRules, Enforcement};

use super::*;
use crate::call::Operation;
use crate::dialect::{Dialect, Features};

fn rule(name: &str, allow: &str) -> AccessRule {
    AccessRule {
        name: name.into(),
        allow: allow.into(),
        message: None,
    }
}

fn rules(allow: &[&str]) -> AccessRules {
    AccessRules {
        enforcement: Enforcement::Enforce,
        rules: allow.iter().map(|allow| rule("", allow)).collect(),
    }
}

fn policy(allow: &[&str]) -> Policy {
    Policy::compile("ModelRoute r", "spec.access", &rules(allow)).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Everything that is wrong with one expression.
fn refusal(allow: &str) -> String {
    match Policy::compile("ModelRoute r", "spec.access", &rules(&[allow])) {
        Ok(_) => panic!("{allow} was taken"),
        Err(problems) => problems.to_string(),
    }
}

struct World {
    labels: BTreeMap<String, String>,
    headers: Vec<(String, String)>,
}

impl World {
    fn new() -> Self {
        Self {
            labels: BTreeMap::from([
                ("team".into(), "search".into()),
                ("app.kubernetes.io/name".into(), "shop".into()),
            ]),
            headers: vec![("x-team".into(), "red".into())],
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            request: RequestFacts {
                operation: Operation::Generate,
                method: "POST",
                path: "",
                dialect: Dialect::AnthropicMessages,
                model: "claude-haiku-4-5",
                stream: true,
                max_tokens: Some(4096),
                input_tokens: 100,
                features: Features {
                    tools: true,
                    temperature: Some(0.5),
                    ..Features::default()
                },
                is_unread: false,
                pinned: Pinned::No,
            },
            caller: CallerFacts {
                pod: "shop-1",
                workload: "Deployment/shop",
                service_account: "shop",
                namespace: "retail",
                in_pod: true,
                labels: &self.labels,
                headers: &self.headers,
            },
            route: "fast",
            candidate: CandidateFacts {
                provider: "claude",
                model: "claude-haiku-4-5-20251001",
            },
        }
    }
}

/// What a rule says: true, false, or why it says nothing.
fn says(allow: &str, facts: &Facts<'_>) -> Result<bool, Fault> {
    let policy = policy(&[allow]);
    let about = policy.rules()[0].about();
    match policy.denials(about, facts).next() {
        None => Ok(true),
        Some(Denial { fault: None, .. }) => Ok(false),
        Some(Denial { fault: Some(fault), .. }) => Err(fault),
    }
}

#[test]
fn a_rule_means_what_it_means_in_cel() {
    let world = World::new();
    let facts = world.facts();
    for allow in [
        "true",
        "request.model == 'claude-haiku-4-5'",
        "request.model.startsWith(\"claude-\") && !request.model.endsWith('opus')",
        "request.model.contains('haiku')",
        "request.model.matches('^claude-(haiku|sonnet)-[0-9]')",
        r"request.model.matches(r'\d-\d$')",
        "matches(request.model, 'haiku')",
        "request.model in ['a', \"claude-haiku-4-5\"]",
        "!(request.model in [])",
        "['claude-', 'gpt-'].exists(prefix, request.model.startsWith(prefix))",
        "['claude-', '-5'].all(part, request.model.contains(part))",
        "[].all(x, false) && ![].exists(x, true)",
        "[1, 4096].exists(n, request.maxTokens == n)",
        "request.maxTokens <= 4096 && request.maxTokens > 4095",
        "request.maxTokens in [1, 4096, 3,]",
        "request.maxTokens * 2 - 1 == 8191 && request.maxTokens % 10 == 6 && -request.maxTokens == -4096",
        "request.inputTokens + request.maxTokens < 5000",
        "request.temperature == 0.5 && request.temperature <= 1 && 1 > request.temperature",
        "request.temperature * 2.0 == 1.0 && -request.temperature < 0.0",
        "has(request.temperature) && has(request.maxTokens)",
        "request.operation == 'generate' && request.dialect == 'anthropic' && request.method == 'POST'",
        "request.stream ? request.n == 1 : false",
        "request.stream == true && request.stream != false",
        "request.features.tools && !request.features.images",
        "caller.workload == 'Deployment/shop' && caller.serviceAccount == caller.labels[\"app.kubernetes.io/name\"]",
        "caller.namespace == 'retail' && caller.inPod && caller.pod.startsWith('shop-')",
        "caller.labels.team == 'search' && caller.labels['team'] == 'search'",
        "'team' in caller.labels && !('other' in caller.labels)",
        "has(caller.labels.team) && !has(caller.labels.other)",
        "size(caller.labels) == 2 && request.model.size() == 16 && size('\u{e4}\u{f6}') == 2",
        "caller.headers['x-team'] == 'red' && !('x-other' in caller.headers)",
        "route.name == \"fast\"",
        "candidate.provider == 'claude' && candidate.model.startsWith(request.model)",
        "'b' > 'a' && 'B' < 'a'",
        // A comment.
        "true // all that follows is none of it: &&",
        "\n  request.stream\n  &&\n  request.n < 2",
        "0x10 == 16 && 1e3 == 1000.0 && .5 == 0.5",
        r#"'\x41\u0042\103' == "ABC" && '\'' == "'" && r'\n' == '\\n'"#,
        "7 / 2 == 3 && -7 / 2 == -3 && -7 % 2 == -1",
        "1 + 2 * 3 == 7 && (1 + 2) * 3 == 9",
        "true || false && false",
        "false ? false : true ? true : false",
        "[0.5, 1.0].exists(x, x == request.temperature) && request.temperature in [0.5]",
    ] {
        assert_eq!(says(allow, &facts), Ok(true), "{allow}");
        assert_eq!(
            says(&format!("!({})", allow.split("//").next().unwrap()), &facts),
            Ok(false),
            "not {allow}"
        );
    }
}

#[test]
fn what_a_request_does_not_say_decides_nothing_but_what_is_said_beside_it_may() {
    let world = World::new();
    let mut facts = world.facts();
    facts.request.max_tokens = None;
    for (allow, result) in [
        ("request.maxTokens <= 10", Err(Fault::NotGiven)),
        ("!has(request.maxTokens) || request.maxTokens <= 10", Ok(true)),
        ("request.maxTokens <= 10 || true", Ok(true)),
        ("request.maxTokens <= 10 && false", Ok(false)),
        ("request.maxTokens <= 10 && true", Err(Fault::NotGiven)),
        ("request.maxTokens <= 10 || false", Err(Fault::NotGiven)),
        ("!(request.maxTokens <= 10)", Err(Fault::NotGiven)),
        ("caller.labels.other == 'x'", Err(Fault::NotGiven)),
        ("caller.headers['x-other'] == 'x'", Err(Fault::NotGiven)),
        ("request.inputTokens / (request.n - 1) > 0", Err(Fault::DivisionByZero)),
        ("request.inputTokens % (request.n - 1) > 0", Err(Fault::DivisionByZero)),
        ("request.inputTokens * 9223372036854775807 > 0", Err(Fault::Overflow)),
    ] {
        assert_eq!(says(allow, &facts), result, "{allow}");
    }
    let long = "x".repeat(MATCHED + 1);
    facts.request.model = &long;
    assert_eq!(says("request.model.matches('x')", &facts), Err(Fault::TooLong));
    facts.request.model = &long[1..];
    assert_eq!(says("request.model.matches('x')", &facts), Ok(true));
}

#[test]
fn no_rule_is_passed_by_with_a_body_that_nobody_reads() {
    let world = World::new();
    let mut facts = world.facts();
    facts.request.operation = Operation::PassThrough;
    facts.request.path = "/files";
    facts.request.features = Features::default();
    for allow in [
        "!request.features.images",
        "request.model != 'gpt-5'",
        "!has(request.maxTokens) || request.maxTokens <= 10",
        "request.n == 1",
        "!has(request.temperature)",
        "!request.stream",
        "request.inputTokens < 100",
    ] {
        assert_eq!(says(allow, &facts), Err(Fault::Unread), "{allow}");
    }
    assert_eq!(
        says("request.operation == 'passthrough' || request.n == 1", &facts),
        Ok(true)
    );
    assert_eq!(
        says("request.path == '/files' && request.method == 'POST'", &facts),
        Ok(true)
    );
    assert_eq!(says("candidate.provider == 'claude'", &facts), Ok(true));
}

#[test]
fn a_request_that_is_read_below_providers_is_under_the_rules_about_what_passes_there_and_about_what_it_is() {
    let world = World::new();
    let mut facts = world.facts();
    facts.request.dialect = Dialect::OpenAiResponses;
    facts.request.path = "/responses";
    facts.request.pinned = Pinned::To(Dialect::OpenAiChat);
    for (allow, result) in [
        // What forbids all that passes there, or all but some of it, forbids this.
        ("request.operation != 'passthrough'", Ok(false)),
        ("request.operation == 'generate'", Ok(false)),
        (
            "request.operation != 'passthrough' || request.path.startsWith('/files')",
            Ok(false),
        ),
        (
            "request.operation != 'passthrough' || request.path == '/responses'",
            Ok(true),
        ),
        (
            "request.operation != 'passthrough' || request.dialect != 'openai'",
            Ok(false),
        ),
        (
            "request.operation != 'passthrough' || request.model == 'gpt-5'",
            Ok(false),
        ),
        (
            "request.operation != 'passthrough' || caller.labels.other == 'x'",
            Err(Fault::NotGiven),
        ),
        // What let it pass because nobody could know does so no more: now it is known.
        (
            "request.operation == 'passthrough' || !request.features.tools",
            Ok(false),
        ),
        ("request.operation == 'passthrough' || request.features.tools", Ok(true)),
        ("request.operation == 'passthrough'", Ok(false)),
        ("request.model != 'claude-haiku-4-5'", Ok(false)),
        ("request.model.startsWith('claude-')", Ok(true)),
        ("request.maxTokens <= 4096 && request.stream", Ok(true)),
        ("request.dialect == 'openai_responses'", Ok(false)),
        ("request.dialect.startsWith('openai')", Ok(true)),
        ("candidate.model != 'claude-haiku-4-5-20251001'", Ok(false)),
        ("request.model != ''", Ok(true)),
    ] {
        assert_eq!(says(allow, &facts), result, "{allow}");
    }
}

#[test]
fn of_a_request_in_a_batch_that_is_kept_elsewhere_its_model_is_known_or_nothing() {
    let world = World::new();
    let mut facts = world.facts();
    facts.request.is_unread = true;
    let (named, other) = ("!request.model.startsWith('gpt-5')", "request.n == 1");
    assert_eq!(says(named, &facts), Ok(true));
    assert_eq!(says(other, &facts), Err(Fault::Unread));
    facts.request.model = "";
    for allow in [named, other] {
        assert_eq!(says(allow, &facts), Err(Fault::Unread), "{allow}");
    }
}

#[test]
fn what_has_no_meaning_is_refused_with_its_place_and_what_to_do() {
    for (allow, told) in [
        (
            "request.modle == 'x'",
            "at character 1: there is no variable request.modle: did you mean request.model?",
        ),
        (
            "true && request.max_tokens < 5",
            "at character 9: there is no variable request.max_tokens: did you mean request.maxTokens?",
        ),
        ("request.features.tool", "did you mean request.features.tools?"),
        (
            "user.name == 'x'",
            "there is no variable user.name: variables begin with request, caller, route or candidate",
        ),
        (
            "caller.uid == 'x'",
            "there is no variable caller.uid: there are caller.pod,",
        ),
        (
            "request.features",
            "request.features is a group of variables, and no value: name one of request.features.tools,",
        ),
        ("request", "request is a group of variables"),
        (
            "request.model.lower() == 'x'",
            "rules have no function \"lower\": there are startsWith",
        ),
        ("request.model.startswith('x')", "did you mean startsWith?"),
        (
            "request.model.startsWith()",
            "startsWith is not called so: write `text.startsWith(text)`",
        ),
        (
            "request.model",
            "is a string, and a rule must be true or false: compare it with something",
        ),
        ("request.maxTokens", "is an int, and a rule must be true or false"),
        (
            "request.maxTokens == '5'",
            "== has an int at its left and a string at its right",
        ),
        (
            "request.temperature == 1",
            "== has a double at its left and an int at its right: write the number with a fraction",
        ),
        ("request.maxTokens && true", "&& takes a bool, and this is an int"),
        ("!request.model", "! takes a bool, and this is a string"),
        (
            "request.operation == 'generat'",
            "it never is \"generat\": did you mean \"generate\"?",
        ),
        (
            "request.dialect in ['openai', 'claude']",
            "it never is \"claude\": there are openai, anthropic, gemini, openai_responses",
        ),
        ("request.model.size == 3", "is a string and has no fields"),
        ("caller.labels.team.x == 'a'", "has no fields"),
        ("request.model in caller", "caller is a group of variables"),
        (
            "request.model in ['a', 5]",
            "is an int in a list that is searched for a string",
        ),
        (
            "request.model in request.model",
            "in takes a list or a map at its right",
        ),
        (
            "caller.labels.exists(k, true)",
            "exists takes a list that is written there",
        ),
        ("[request.model].exists(x, true)", "only literals can be in this list"),
        ("['a'].map(x, x) == ['a']", "rules have no function \"map\""),
        ("request.model + 'x' == 'y'", "rules cannot join texts"),
        (
            "request.model.matches(caller.pod)",
            "a pattern must be written literally",
        ),
        ("request.model.matches('(')", "is no pattern that can be matched"),
        (
            "request.model.matches('(a{1000}){1000}')",
            "is no pattern that can be matched",
        ),
        (
            "caller.headers['authorization'] == 'x'",
            "the header authorization may carry a key, which no rule may see",
        ),
        ("has(caller.headers['x-api-key'])", "may carry a key"),
        ("'cookie' in caller.headers", "may carry a key"),
        (
            "caller.headers['X-Team'] == 'x'",
            "is no name of a header in lower case: write \"x-team\"",
        ),
        (
            "caller.headers[request.model] == 'x'",
            "a header must be named literally",
        ),
        ("has(request.model)", "request.model is always there"),
        (
            "request.model = 'x'",
            "at character 15: '=' is no sign of CEL: write == to compare",
        ),
        ("true & false", "write && for and"),
        ("true and false", "at character 6: \"and\" is not expected here"),
        ("request.model == 'x", "this text has no end: close it with '"),
        ("request.model == \u{201c}x\u{201d}", "write texts in straight quotes"),
        ("'\\q' == 'x'", "is no escape that CEL has"),
        ("6u == 6", "there are no unsigned numbers in rules"),
        ("99999999999999999999 == 1", "is too large"),
        ("b'x' == 'x'", "there are no bytes in rules"),
        ("null == null", "there is no null in rules"),
        ("{'a': 1}.a == 1", "there are no maps in rules"),
        ("", "ends where a value is expected"),
        ("request.", "there is no name behind the dot"),
        ("(true", "there is the end where \")\" is expected"),
        ("true ? 1 : 'x'", "? gives an int or a string"),
        ("package == 'x'", "is a word that CEL keeps for itself"),
        ("1.0 % 2.0 == 0.0", "% has a double at its left"),
        ("request.n.exists(x, true)", "exists takes a list"),
        ("['a'].exists(x, y == 'a')", "there is no variable y"),
    ] {
        let problems = refusal(allow);
        assert!(
            problems.starts_with("ModelRoute r: spec.access.rules[0].allow: "),
            "{allow}: {problems}"
        );
        assert!(problems.contains(told), "{allow}: {problems}");
    }
}

#[test]
fn a_rule_is_bounded_whatever_is_written() {
    let deep = format!("{}true{}", "(".repeat(200), ")".repeat(200));
    assert!(refusal(&deep).contains("is nested more than 24 deep"));
    let negated = format!("{}true", "!".repeat(300));
    assert!(refusal(&negated).contains("is nested more than 24 deep"));
    assert!(refusal(&"[".repeat(900)).contains("is nested more than 24 deep"));
    assert!(refusal(&"-".repeat(900)).contains("is nested more than 24 deep"));
    let wide = vec!["true"; 160].join("&&");
    assert_eq!(policy(&[&wide]).rules().len(), 1);
    assert!(refusal(&"x".repeat(LONGEST + 1)).contains("is longer than 1000 bytes"));
    assert!(refusal(&"1+".repeat(499)).contains("has more than 400 parts"));
    let items = vec!["'a'"; 60].join(",");
    let nested = format!("[{items}].exists(x, [{items}].exists(y, x == y))");
    assert!(refusal(&nested).contains("comes to more than 400 parts"));
    let pattern = format!("request.model.matches('{}')", "x".repeat(PATTERN + 1));
    assert!(refusal(&pattern).contains("longer than 200 bytes"));
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let spec = AccessRules {
        enforcement: Enforcement::Enforce,
        rules: vec![
            rule("a", "nothing"),
            rule("B", "true"),
            rule("c", "true"),
            rule("c", "true"),
        ],
    };
    let problems = Policy::compile("UsagePolicy p", "spec.access", &spec)
        .unwrap_err()
        .to_string();
    for told in [
        "rules[0].allow: at character 1",
        "rules[1].name: is \"B\"",
        "rules[3].name: is c, as another rule's",
    ] {
        assert!(problems.contains(told), "{problems}");
    }
    let none = AccessRules::default();
    let problems = Policy::compile("UsagePolicy p", "spec.access", &none)
        .unwrap_err()
        .to_string();
    assert_eq!(
        problems,
        "UsagePolicy p: spec.access.rules: is empty: write a rule, or remove it"
    );
}

#[test]
fn every_rule_must_hold_and_those_about_a_candidate_wait_for_one() {
    let world = World::new();
    let facts = world.facts();
    let mut spec = rules(&[
        "true",
        "request.n > 1",
        "request.maxTokens > 9000",
        "candidate.provider == 'gemini'",
    ]);
    spec.rules[1].message = Some("Ask for several.".into());
    let policy = Policy::compile("ModelRoute r", "spec.access", &spec).unwrap();
    let names = |about| -> Vec<String> {
        policy
            .denials(about, &facts)
            .map(|denial| denial.rule.name.to_string())
            .collect()
    };
    assert_eq!(names(About::Request), ["rule-2", "rule-3"]);
    assert_eq!(names(About::Candidate), ["rule-4"]);
    let told = policy.denials(About::Request, &facts).next().unwrap().told();
    assert_eq!(
        told,
        "the rule rule-2 of ModelRoute r does not allow this: Ask for several."
    );
}

#[test]
fn what_is_explained_is_what_is_decided_with_what_each_rule_looked_at() {
    let world = World::new();
    let facts = world.facts();
    let shadow = |allow: &[&str]| {
        let spec = AccessRules {
            enforcement: Enforcement::Shadow,
            ..rules(allow)
        };
        Policy::compile("UsagePolicy s", "spec.access", &spec).unwrap()
    };
    let counts = shadow(&["request.maxTokens > 9000"]);
    let holds = policy(&["caller.labels.team == \"search\" && !request.features.images"]);
    let denies = policy(&[
        "size(request.model) < 3",
        "caller.labels.floor == \"2\" || request.temperature > 1",
        "candidate.provider == \"gemini\"",
    ]);
    let all = [&counts, &holds, &denies];
    let candidates = ["claude", "gemini"].map(|provider| CandidateFacts { provider, model: "m" });
    let explained = explain(&all, &facts, &candidates);

    // As requests are decided.
    let mut decided: Vec<_> = all.iter().flat_map(|one| one.denials(About::Request, &facts)).collect();
    let claude = Facts {
        candidate: candidates[0],
        ..facts
    };
    decided.extend(all.iter().flat_map(|one| one.denials(About::Candidate, &claude)));
    let told: Vec<_> = explained
        .said
        .iter()
        .filter_map(Said::denial)
        .map(|it| it.told())
        .collect();
    assert_eq!(told, decided.iter().map(Denial::told).collect::<Vec<_>>());
    let refusal = explained.refusal().unwrap();
    assert_eq!(
        (refusal.rule.name.as_ref(), refusal.policy.of.as_str()),
        ("rule-1", "ModelRoute r")
    );
    assert!(explained.would_deny());
    assert_eq!(explained.left_out_by, [Some(4), None]);

    let seen = |place: usize| {
        let looked_at = &explained.said[place].looked_at;
        let words = looked_at
            .iter()
            .map(|(path, value)| format!("{path}={}", value.as_deref().unwrap_or("?")));
        words.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(seen(0), "request.maxTokens=4096");
    assert_eq!(
        seen(1),
        "caller.labels[\"team\"]=\"search\" request.features.images=false"
    );
    assert_eq!(seen(2), "request.model=\"claude-haiku-4-5\"");
    assert_eq!(seen(3), "caller.labels[\"floor\"]=? request.temperature=0.5");
    assert_eq!(explained.said[3].holds, Err(Fault::NotGiven));
    assert_eq!(
        (seen(5), explained.said[5].candidate),
        ("candidate.provider=\"gemini\"".into(), Some(1))
    );
}

#[test]
fn a_request_is_refused_where_rules_leave_nobody_and_not_where_one_is_left() {
    let world = World::new();
    let rules = policy(&["candidate.provider == \"gemini\""]);
    let of = |provider| CandidateFacts { provider, model: "m" };
    let refused =
        |candidates: &[CandidateFacts<'_>]| explain(&[&rules], &world.facts(), candidates).refusal().is_some();
    assert!(refused(&[of("claude"), of("openai")]));
    assert!(!refused(&[of("claude"), of("gemini")]));
    assert!(!refused(&[]), "nobody was there to be left out");
}

#[test]
fn a_body_is_read_only_for_rules_that_look_into_it() {
    for (allow, reads) in [
        ("request.model == 'x' && request.stream && request.maxTokens < 5", false),
        ("caller.labels.team == 'x'", false),
        ("request.features.images", true),
        ("request.n == 1", true),
        ("has(request.temperature)", true),
        ("[1].exists(x, request.n == x)", true),
    ] {
        assert_eq!(policy(&[allow]).reads_body(), reads, "{allow}");
    }
}

#[test]
fn the_page_of_rules_has_every_variable_with_its_type_and_every_function() {
    let page = include_str!("../../../docs/access.md");
    for variable in VARIABLES {
        let given = if variable.optional { ", may be missing" } else { "" };
        let values: Vec<String> = variable.values().iter().map(|value| format!("`{value}`")).collect();
        let values = if values.is_empty() {
            String::new()
        } else {
            format!(": {}", values.join(", "))
        };
        let row = format!(
            "| `{}` | {}{given} | {}{values} |",
            variable.path,
            variable.kind(),
            variable.about
        );
        assert!(page.contains(&row), "docs/access.md lacks\n{row}");
    }
    for (_, usage) in FUNCTIONS {
        assert!(page.contains(usage), "docs/access.md lacks {usage}");
    }
}

#[test]
fn the_rules_on_the_page_are_rules() {
    let page = include_str!("../../../docs/access.md");
    let table = page.split("## Copy these").nth(1).unwrap().split("## ").next().unwrap();
    let rules: Vec<String> = table
        .lines()
        .filter_map(|line| Some(line.split_once("| `")?.1.strip_suffix("` |")?.replace("\\|", "|")))
        .collect();
    assert_eq!(rules.len(), 10, "{rules:?}");
    for rule in &rules {
        policy(&[rule]);
    }
}
