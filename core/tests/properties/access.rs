//! Access rules: no text makes the compiler of rules fail otherwise than with a problem that has a path and a remedy, and what it
//! takes decides every request; and what a decision costs, in nanoseconds.

use std::collections::BTreeMap;
use std::time::Instant;

use bowsprit_core::access::{
    About, CallerFacts, CandidateFacts, Facts, MOST_RULES, Pinned, Policy, RequestFacts, VARIABLES,
};
use bowsprit_core::call::Operation;
use bowsprit_core::dialect::{Dialect, Features};
use bowsprit_crds::access::{AccessRule, AccessRules, Enforcement};
use proptest::prelude::*;

use crate::seeded::holds;

fn rules(texts: &[String]) -> AccessRules {
    AccessRules {
        enforcement: Enforcement::Enforce,
        rules: texts
            .iter()
            .map(|allow| AccessRule {
                name: String::new(),
                allow: allow.clone(),
                message: None,
            })
            .collect(),
    }
}

struct World {
    labels: BTreeMap<String, String>,
    headers: Vec<(String, String)>,
}

impl World {
    fn new() -> Self {
        Self {
            labels: BTreeMap::from([("team".into(), "search".into()), ("app".into(), "shop".into())]),
            headers: vec![("x-team".into(), "red".into())],
        }
    }

    fn facts(&self, operation: Operation) -> Facts<'_> {
        Facts {
            request: RequestFacts {
                operation,
                method: "POST",
                path: "",
                dialect: Dialect::AnthropicMessages,
                model: "claude-haiku-4-5-20251001",
                stream: true,
                max_tokens: Some(4096),
                input_tokens: 1000,
                features: Features::default(),
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
            candidate: CandidateFacts::default(),
        }
    }
}

/// Words of rules, in any order.
fn text() -> impl Strategy<Value = String> {
    let mut words: Vec<&'static str> = VARIABLES.iter().map(|variable| variable.path).collect();
    words.extend([
        "(",
        ")",
        "[",
        "]",
        ",",
        ".",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        "<=",
        "in",
        "?",
        ":",
        "true",
        "1",
        "0",
        "2.5",
        "'a'",
        "\"b\"",
        "has(",
        "size(",
        ".startsWith(",
        ".matches(",
        ".exists(x,",
        ".all(y,",
        "x",
        "['a']",
        "caller.labels['team']",
        "\u{e4}",
        "'",
        "\\",
        "//",
        "\n",
        "9223372036854775807",
    ]);
    let words = prop::sample::select(words);
    prop_oneof![
        prop::collection::vec(words, 0..14).prop_map(|words| words.join(" ")),
        ".{0,60}",
    ]
}

#[test]
fn any_text_is_a_rule_that_decides_or_is_refused_with_what_to_do() {
    let world = World::new();
    holds("access rules", text(), |text| {
        match Policy::compile("ModelRoute r", "spec.access", &rules(&[text])) {
            Ok(policy) => {
                for operation in [Operation::Generate, Operation::Count, Operation::PassThrough] {
                    let facts = world.facts(operation);
                    for about in [About::Request, About::Candidate] {
                        prop_assert!(policy.denials(about, &facts).count() <= 1);
                    }
                }
            }
            Err(problems) => {
                for problem in problems.0 {
                    prop_assert!(
                        problem.path.starts_with("ModelRoute r: spec.access.rules[0].allow"),
                        "{problem}"
                    );
                    prop_assert!(!problem.problem.is_empty() && !problem.remedy.is_empty(), "{problem}");
                }
            }
        }
        Ok(())
    });
}

/// What a platform team may want of an app, in five rules.
const TYPICAL: [&str; 5] = [
    "['claude-haiku', 'gemini-2.5-flash', 'gpt-4.1-mini'].exists(m, request.model.startsWith(m))",
    "has(request.maxTokens) && request.maxTokens <= 8192 && request.n == 1",
    "!request.features.providerTools && !request.features.files && !request.features.storedInput",
    "caller.workload in ['Deployment/checkout', 'Deployment/search', 'Deployment/shop'] || caller.labels.team == 'search'",
    "request.operation != 'passthrough' && request.model.matches('^(claude|gemini|gpt)-[a-z0-9.-]+$')",
];

#[test]
fn five_rules_are_decided_in_a_blink() {
    let world = World::new();
    let facts = world.facts(Operation::Generate);
    let texts: Vec<String> = TYPICAL.iter().map(|text| (*text).to_owned()).collect();
    assert!(texts.len() <= MOST_RULES);
    for (name, texts) in [
        ("five rules, one of them with a pattern", &texts[..]),
        ("four without", &texts[..4]),
    ] {
        let policy = Policy::compile("ModelRoute r", "spec.access", &rules(texts)).unwrap();
        assert_eq!(policy.denials(About::Request, &facts).count(), 0);
        let mut took: Vec<u128> = (0..20_000)
            .map(|_| {
                let begun = Instant::now();
                let denials =
                    std::hint::black_box(policy.denials(About::Request, std::hint::black_box(&facts)).count());
                let took = begun.elapsed().as_nanos();
                assert_eq!(denials, 0);
                took
            })
            .collect();
        took.sort_unstable();
        let (median, high) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        println!("{name}: {median} ns median, {high} ns p99 (promised of an optimised build: 1700)");
        // Of a build without optimisation, on a machine that does other things.
        assert!(median < 100_000, "{name}: {median} ns");
    }
}
