use super::*;
use crate::config::{Scope, load};

const CONFIG: &str = "
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: claude}
spec: {provider: Anthropic, priority: 10, credentials: [{name: main, env: A}], models: [{name: claude-sonnet, aliases: [smart]}], defaultModel: smart}
---
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: gemini}
spec: {provider: Gemini, priority: 20, credentials: [{name: main, env: G}], models: [{name: gemini-pro}], defaultModel: gemini-pro}
---
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: openai}
spec: {provider: OpenAI, priority: 30, credentials: [{name: main, env: O}]}
---
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: fast}
spec: {match: {models: [fast, 'fast-*']}, targets: [{provider: gemini, weight: 3}, {provider: openai, model: gpt-mini}], fallback: [{provider: claude}]}
";

fn order(text: &str, dialect: Dialect, model: &str, down: &[(&str, Why)], draw: f64) -> (Vec<String>, Plan) {
    let config = load(text, &Scope::Standalone).unwrap();
    let availability = |provider: &Provider, _: &str| match down.iter().find(|(name, _)| *name == provider.name) {
        Some((_, why)) => Availability::Unavailable {
            why: *why,
            retry_in: Some(Duration::from_secs(9)),
        },
        None => Availability::Available,
    };
    let plan = plan(&config, dialect, &model.into(), &availability, &mut || draw);
    let names = plan
        .candidates
        .iter()
        .map(|c| format!("{}/{}", c.provider.name, c.model))
        .collect();
    (names, plan)
}

#[test]
fn a_listed_model_goes_to_its_provider_and_then_to_the_others_by_priority() {
    let (order, plan) = order(CONFIG, Dialect::OpenAiChat, "gemini-pro", &[], 0.0);
    assert_eq!(order, ["gemini/gemini-pro", "claude/claude-sonnet"]);
    assert_eq!(
        plan.skipped,
        [Skipped {
            provider: "openai".into(),
            why: Why::NoModel,
            retry_in: None,
            rule: None
        }]
    );
}

#[test]
fn an_alias_becomes_the_providers_own_name() {
    assert_eq!(
        order(CONFIG, Dialect::OpenAiChat, "smart", &[], 0.0).0[0],
        "claude/claude-sonnet"
    );
}

#[test]
fn an_unlisted_model_passes_to_the_provider_of_the_callers_dialect_that_lists_none() {
    let (names, plan) = order(CONFIG, Dialect::OpenAiChat, "gpt-9", &[], 0.0);
    assert_eq!(names, ["openai/gpt-9", "claude/claude-sonnet", "gemini/gemini-pro"]);
    assert_eq!(plan.candidates[0].reason, Reason::PassThrough);
    let (order, _) = order(CONFIG, Dialect::Gemini, "gpt-9", &[], 0.0);
    assert!(order.is_empty(), "nobody serves it in this dialect: {order:?}");
}

#[test]
fn a_route_draws_by_weight_and_keeps_the_rest_as_fallback() {
    let low = order(CONFIG, Dialect::OpenAiChat, "fast", &[], 0.7).0;
    assert_eq!(low, ["gemini/gemini-pro", "openai/gpt-mini", "claude/claude-sonnet"]);
    let high = order(CONFIG, Dialect::OpenAiChat, "fast-today", &[], 0.8).0;
    assert_eq!(high, ["openai/gpt-mini", "gemini/gemini-pro", "claude/claude-sonnet"]);
}

#[test]
fn a_weighted_target_that_does_badly_is_taken_less_and_never_not_at_all() {
    struct Scores(f64);
    impl View for Scores {
        fn availability(&self, _: &Provider, _: &str) -> Availability {
            Availability::Available
        }
        fn score(&self, provider: &Provider) -> f64 {
            if provider.name == "gemini" { self.0 } else { 1.0 }
        }
    }
    let config = load(CONFIG, &Scope::Standalone).unwrap();
    let share = |score: f64| {
        let first = |draw: f64| {
            let plan = plan(
                &config,
                Dialect::OpenAiChat,
                &"fast".into(),
                &Scores(score),
                &mut || draw,
            );
            plan.candidates[0].provider.name == "gemini"
        };
        (0..1_000).filter(|draw| first(f64::from(*draw) / 1_000.0)).count()
    };
    // Three to one; half as good, three to two; as bad as can be, it is still found out when it is well again.
    assert_eq!([share(1.0), share(0.5), share(0.0)], [750, 600, 131]);
}

#[test]
fn named_fallbacks_are_the_whole_chain() {
    let text = CONFIG.replace(
        "defaultModel: smart}",
        "defaultModel: smart, fallbackProviders: [gemini]}",
    );
    assert_eq!(
        order(&text, Dialect::OpenAiChat, "smart", &[], 0.0).0,
        ["claude/claude-sonnet", "gemini/gemini-pro"]
    );
}

#[test]
fn who_would_fail_is_skipped_with_the_reason() {
    let (order, plan) = order(
        CONFIG,
        Dialect::OpenAiChat,
        "smart",
        &[("claude", Why::CircuitOpen)],
        0.0,
    );
    assert_eq!(order, ["gemini/gemini-pro"]);
    assert!(
        plan.skipped
            .iter()
            .any(|skipped| skipped.provider == "claude" && skipped.why == Why::CircuitOpen)
    );
}

#[test]
fn who_is_asked_for_by_name_is_asked_for_the_model_as_it_is_named_and_nobody_else_is() {
    let config = load(CONFIG, &Scope::Standalone).unwrap();
    let all = |_: &Provider, _: &str| Availability::Available;
    for (provider, model) in [("claude", "smart"), ("openai", "fast"), ("gemini", "gpt-mini")] {
        let plan = pinned(&config, provider, &model.into(), &all);
        let [only] = plan.candidates.as_slice() else {
            panic!("{plan:?}")
        };
        assert_eq!((only.provider.name.as_str(), &*only.model), (provider, model));
        assert!(only.reason == Reason::Pinned && plan.route.is_none() && plan.skipped.is_empty());
    }
    let paused = |_: &Provider, _: &str| Availability::Unavailable {
        why: Why::Paused,
        retry_in: None,
    };
    for (provider, view, why) in [
        ("claude", &paused as &dyn View, Why::Paused),
        ("mistral", &all, Why::NotHere),
    ] {
        let plan = pinned(&config, provider, &"smart".into(), view);
        assert!(plan.candidates.is_empty(), "{provider}");
        assert_eq!(plan.skipped[0].why, why);
    }
}

#[test]
fn when_nobody_is_left_the_last_resort_is_named_unless_its_breaker_is_open() {
    let soft = [("claude", Why::Unhealthy), ("gemini", Why::CircuitOpen)];
    let (names, plan) = order(CONFIG, Dialect::OpenAiChat, "smart", &soft, 0.0);
    assert_eq!(names, ["claude/claude-sonnet"]);
    assert_eq!(plan.candidates[0].reason, Reason::LastResort);
    let hard = [("claude", Why::CircuitOpen), ("gemini", Why::CircuitOpen)];
    assert!(order(CONFIG, Dialect::OpenAiChat, "smart", &hard, 0.0).0.is_empty());
}

#[test]
fn what_is_served_is_listed_once_and_without_globs() {
    let config = load(CONFIG, &Scope::Standalone).unwrap();
    assert_eq!(served(&config), ["fast", "claude-sonnet", "smart", "gemini-pro"]);
}

#[test]
fn only_a_model_that_was_named_answers_as_asked() {
    let config = load(CONFIG, &Scope::Standalone).unwrap();
    let provider = |name: &str| config.provider(name).unwrap();
    let route = config.routes.first().map(Arc::as_ref);
    let table = [
        (None, "gemini", "gemini-pro", "gemini-pro", true),
        (None, "claude", "smart", "claude-sonnet", true),
        (None, "openai", "anything", "anything", true),
        // Its default model stands in.
        (None, "claude", "gemini-pro", "claude-sonnet", false),
        (route, "openai", "fast", "gpt-mini", true),
        // The route names the provider, and the provider its default model.
        (route, "gemini", "fast", "gemini-pro", false),
        (route, "claude", "fast", "claude-sonnet", false),
    ];
    for (route, name, asked, model, expected) in table {
        let found = eligible::answers_as_asked(route, provider(name), asked, model);
        assert_eq!(found, expected, "{name} for {asked}");
    }
}

#[test]
fn a_provider_is_asked_only_for_what_its_api_has_and_with_the_model_that_was_meant() {
    use crate::call::Operation;
    use crate::dialect::embeddings::EmbeddingsApi;
    use eligible::Ineligible::{NoCount, NoEmbeddings, OtherModel};
    let config = load(CONFIG, &Scope::Standalone).unwrap();
    let (embed, count) = (Operation::Embed(EmbeddingsApi::OpenAi), Operation::Count);
    let (chat, messages, gemini) = (Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini);
    let responses = Dialect::OpenAiResponses;
    for (name, operation, caller, asked, model, found) in [
        ("claude", Operation::Generate, chat, "x", "claude-sonnet", Ok(messages)),
        ("openai", Operation::Generate, responses, "x", "x", Ok(responses)),
        ("openai", Operation::Generate, messages, "x", "x", Ok(chat)),
        ("claude", embed, chat, "smart", "claude-sonnet", Err(NoEmbeddings)),
        ("gemini", embed, chat, "x", "gemini-pro", Err(OtherModel)),
        ("gemini", embed, chat, "models/gemini-pro", "gemini-pro", Ok(gemini)),
        ("openai", embed, chat, "x", "x", Ok(chat)),
        // A count may be of another model: it is an estimate in any case.
        ("claude", count, chat, "x", "claude-sonnet", Ok(messages)),
        ("openai", count, messages, "x", "x", Ok(responses)),
        ("claude", Operation::PassThrough, messages, "", "", Ok(messages)),
    ] {
        let provider = config.provider(name).unwrap();
        let wire = eligible::wire(operation, caller, provider, None, (asked, model));
        assert_eq!(wire, found, "{name} {operation:?} {asked} {model}");
    }
    let compatible = CONFIG.replace(
        "provider: OpenAI,",
        "provider: OpenAICompatible, endpoint: {baseUrl: 'https://vllm/v1'},",
    );
    let config = load(&compatible, &Scope::Standalone).unwrap();
    let server = config.provider("openai").unwrap();
    assert_eq!(eligible::wire(count, chat, server, None, ("x", "x")), Err(NoCount));
    assert_eq!(
        eligible::wire(Operation::Generate, responses, server, None, ("x", "x")),
        Ok(chat)
    );
}

#[test]
fn a_paused_provider_is_left_out_and_never_a_last_resort() {
    let paused = ("claude", Why::Paused);
    let (order, plan) = order(
        CONFIG,
        Dialect::OpenAiChat,
        "claude-sonnet",
        &[paused, ("gemini", Why::Unhealthy)],
        0.0,
    );
    assert_eq!(order, ["gemini/gemini-pro"], "the one that is only unwell");
    assert!(plan.skipped.iter().any(|skipped| skipped.reason() == "paused"));
}
