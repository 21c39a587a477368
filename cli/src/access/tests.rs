use clap::Parser as _;

use super::*;
use crate::args::{Args, Command};
use crate::output::Paint;

const OBJECTS: &str = r"
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: claude}
spec:
  provider: Anthropic
  priority: 1
  models: [{name: claude-haiku-4-5}, {name: claude-opus-4-5}]
  credentials: [{name: main, secretKeyRef: {name: keys, key: claude}}]
---
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: azure-eu}
spec:
  provider: OpenAI
  priority: 2
  models: [{name: gpt-5}]
  defaultModel: gpt-5
  credentials: [{name: main, secretKeyRef: {name: keys, key: openai}}]
---
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: fast}
spec:
  match: {models: [fast]}
  targets: [{provider: claude, model: claude-haiku-4-5}]
  fallback: [{provider: azure-eu, model: gpt-5}]
  access:
    rules:
      - {name: bounded, allow: has(request.maxTokens) && request.maxTokens <= 4096, message: Set max_tokens to 4096 or less.}
      - {name: legal-only, allow: candidate.provider != 'azure-eu' || caller.labels.team == 'legal'}
---
apiVersion: bowsprit.dev/v1alpha1
kind: UsagePolicy
metadata: {name: base}
spec:
  access:
    enforcement: Shadow
    rules: [{name: no-tools, allow: '!request.features.tools'}]
---
apiVersion: bowsprit.dev/v1alpha1
kind: UsagePolicy
metadata: {name: batch}
spec:
  podSelector: {matchLabels: {kind: batch}}
  access:
    rules: [{name: by-night, allow: 'false'}]
";

fn args(line: &[&str]) -> AccessCheckArgs {
    let words = ["kubectl-bowsprit", "access", "check"].iter().chain(line);
    match Args::try_parse_from(words)
        .unwrap_or_else(|error| panic!("{error}"))
        .command
    {
        Command::Access {
            verb: AccessVerb::Check(args),
        } => *args,
        other => panic!("{other:?}"),
    }
}

fn asked(line: &[&str], body: Option<&str>) -> Told {
    told(OBJECTS, &args(line), "shop", body.map(str::as_bytes)).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn a_denial_names_its_rule_and_what_each_rule_looked_at() {
    let denied = asked(
        &[
            "--model",
            "fast",
            "--max-tokens",
            "9000",
            "--feature",
            "tools",
            "--label",
            "team=shop",
        ],
        None,
    );
    assert_eq!(denied.decision, Decision::Denied);
    assert_eq!(denied.refused_by.as_deref(), Some("access:bounded"));
    insta::assert_snapshot!(render::screen(&denied, false, Paint(false)));
}

#[test]
fn rules_in_shadow_count_and_a_candidate_is_left_out_without_a_refusal() {
    let told = asked(&["--model", "fast", "--max-tokens", "100", "--feature", "tools"], None);
    assert_eq!((told.decision, told.refused_by), (Decision::WouldDeny, None));
    let left_out: Vec<_> = told
        .candidates
        .iter()
        .map(|it| (it.provider.as_str(), it.left_out_by.as_deref()))
        .collect();
    // The label is not given, so the rule cannot be decided for this provider, and does not hold.
    assert_eq!(left_out, [("claude", None), ("azure-eu", Some("access:legal-only"))]);
    let legal = asked(
        &["--model", "fast", "--max-tokens", "100", "--label", "team=legal"],
        None,
    );
    assert_eq!(legal.decision, Decision::Allowed);
    assert!(legal.candidates.iter().all(|it| it.left_out_by.is_none()));
    let only = asked(
        &["--model", "fast", "--max-tokens", "100", "--provider", "azure-eu/gpt-5"],
        None,
    );
    assert_eq!(
        only.refused_by.as_deref(),
        Some("access:legal-only"),
        "everybody is left out"
    );
}

#[test]
fn a_body_says_what_it_asks_for() {
    let body = r#"{"model": "fast", "max_tokens": 5000, "messages": [], "tools": [{"type": "function", "function": {"name": "f"}}]}"#;
    let told = asked(&["--body", "-"], Some(body));
    assert_eq!((told.model.as_str(), told.route.as_str()), ("fast", "fast"));
    assert_eq!(told.refused_by.as_deref(), Some("access:bounded"));
    let seen = |rule: &str| {
        let rule = told.rules.iter().find(|it| it.rule == rule).unwrap();
        rule.looked_at[0].value.clone().unwrap()
    };
    assert_eq!((seen("bounded"), seen("no-tools")), ("5000".into(), "true".into()));
}

#[test]
fn a_policy_holds_for_the_pods_that_it_selects() {
    let told = asked(&["--model", "claude-opus-4-5", "--label", "kind=batch"], None);
    assert_eq!(told.refused_by.as_deref(), Some("access:by-night"));
    let other = asked(&["--model", "claude-opus-4-5"], None);
    assert_eq!(
        (other.decision, other.not_selected),
        (Decision::Allowed, vec!["batch".to_owned()])
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let of = |text: &str, line: &[&str], body: Option<&[u8]>| told(text, &args(line), "shop", body).unwrap_err();
    let failure = of(OBJECTS, &[], None);
    assert!(failure.to_string().contains("--model"), "{failure}");
    let failure = of(OBJECTS, &["--body", "-"], Some(b"{"));
    assert!(failure.to_string().contains("--body"), "{failure}");
    let failure = of(
        "{kind: UsagePolicy, apiVersion: bowsprit.dev/v1alpha1, metadata: {name: x}, spec: {access: {rules: [{name: a, allow: caller.nobody}]}}}",
        &["--model", "m"],
        None,
    );
    assert!(
        failure
            .to_string()
            .contains("UsagePolicy x: spec.access.rules[0].allow"),
        "{failure}"
    );
    assert_eq!(failure.exit_code(), 2);
}

#[test]
fn the_words_of_the_command_line_are_those_of_rules() {
    use bowsprit_core::access::{OPERATIONS, VARIABLES};
    use clap::ValueEnum;
    fn words<T: ValueEnum>() -> Vec<String> {
        let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        values.map(|value| value.get_name().to_owned()).collect()
    }
    let features = VARIABLES
        .iter()
        .filter_map(|it| it.path.strip_prefix("request.features."));
    assert_eq!(words::<crate::args::Feature>(), features.collect::<Vec<_>>());
    assert_eq!(words::<crate::args::Operation>(), OPERATIONS);
    let dialects = bowsprit_core::dialect::Dialect::ALL.iter().map(|it| it.as_str());
    assert_eq!(words::<crate::args::Dialect>(), dialects.collect::<Vec<_>>());
}
