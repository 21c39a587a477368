use super::*;
use crate::call::Operation;
use crate::config::{Scope, load};
use crate::kept::key::{Asked, Whose};

const ALLOWED: Allowed = Allowed {
    own_tools: true,
    any_temperature: true,
};

fn question(dialect: Dialect, body: &str, headers: &[(&str, &str)]) -> Option<Question> {
    let mut call = Call::new(dialect, Operation::Generate);
    call.model = "smart".into();
    let asked = Asked {
        route: "smart",
        operation: "o",
        call: &call,
        query: None,
        keys_in_query: None,
        caller: "",
        guards: &[],
        body: b"",
    };
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    let prefix = asked.prefix(headers, Whose::TheCallers);
    Question::of(&call, body.as_bytes(), &prefix, ALLOWED)
}

fn chat(body: &str) -> Question {
    question(Dialect::OpenAiChat, body, &[]).unwrap()
}

const BODY: &str = r#"{"model":"smart","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"what is rust made of"},{"role":"assistant","content":"iron oxide"},{"role":"user","content":"and how is it removed"}],"temperature":0}"#;

#[test]
fn all_turns_of_the_caller_are_compared_by_meaning_and_all_else_to_the_letter() {
    let known = chat(BODY);
    assert_eq!(known.texts, ["what is rust made of", "and how is it removed"]);
    let other = chat(&BODY.replace("what is rust made of", "what does rust have in it"));
    assert_eq!(known.bucket, other.bucket, "another wording of a turn");
    for (what, with) in [
        ("be brief", "be long"),
        ("iron oxide", "iron and oxygen"),
        ("\"temperature\":0", "\"temperature\":1"),
        (
            "\"temperature\":0",
            "\"temperature\":0,\"response_format\":{\"type\":\"json_object\"}",
        ),
        ("how is it removed", "how is it not removed"),
        ("what is rust made of", "what is Rust made of"),
        ("what is rust made of", ""),
        (r#"{"role":"assistant","content":"iron oxide"},"#, ""),
    ] {
        assert_ne!(known.bucket, chat(&BODY.replace(what, with)).bucket, "{with}");
    }
}

#[test]
fn it_is_its_callers() {
    let of = |key| {
        question(Dialect::OpenAiChat, BODY, &[("authorization", key)])
            .unwrap()
            .bucket
    };
    assert_ne!(of("Bearer a"), of("Bearer b"));
}

#[test]
fn in_each_api_the_callers_texts_are_found() {
    for (dialect, body) in [
        (
            Dialect::OpenAiChat,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"one"},{"type":"image_url","image_url":{"url":"u"}},{"type":"text","text":"two"}]}]}"#,
        ),
        (
            Dialect::AnthropicMessages,
            r#"{"system":"s","messages":[{"role":"user","content":"one"},{"role":"assistant","content":"a"},{"role":"user","content":[{"type":"text","text":"two"}]}]}"#,
        ),
        (
            Dialect::OpenAiResponses,
            r#"{"store":false,"input":[{"role":"user","content":"one"},{"type":"message","role":"user","content":[{"type":"input_text","text":"two"}]}]}"#,
        ),
        (
            Dialect::Gemini,
            r#"{"contents":[{"parts":[{"text":"one"}]},{"role":"model","parts":[{"text":"a"}]},{"role":"user","parts":[{"text":"two"}]}]}"#,
        ),
    ] {
        let found = question(dialect, body, &[]).unwrap();
        assert_eq!(found.texts, ["one", "two"], "{body}");
        let other = question(dialect, &body.replace("\"one\"", "\"eins zwei\""), &[]).unwrap();
        assert_ne!(found.bucket, other.bucket);
    }
    let one = question(Dialect::OpenAiResponses, r#"{"store":false,"input":"one"}"#, &[]).unwrap();
    assert_eq!(one.texts, ["one"]);
}

#[test]
fn what_acts_or_says_nothing_is_not_compared() {
    for body in [
        r#"{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}]}"#,
        r#"{"messages":[{"role":"user","content":"hi"}],"n":2}"#,
        r#"{"messages":[{"role":"user","content":"  "}]}"#,
        r#"{"messages":[{"role":"system","content":"hi"}]}"#,
        r#"{"messages":"hi"}"#,
        r#"{"input":"hi"}"#,
        "[]",
        "",
    ] {
        assert_eq!(question(Dialect::OpenAiChat, body, &[]), None, "{body}");
    }
    assert_eq!(question(Dialect::OpenAiResponses, r#"{"input":"stored"}"#, &[]), None);
}

#[test]
fn long_texts_and_early_turns_are_equal_to_the_letter_or_another_question() {
    let body = |first: &str, last: &str| {
        let turns: Vec<String> = (0..=MOST_TEXTS)
            .map(|turn| if turn == 0 { first } else { last })
            .map(|text| format!(r#"{{"role":"user","content":"{text}"}}"#))
            .collect();
        format!(r#"{{"messages":[{}]}}"#, turns.join(","))
    };
    let known = chat(&body("how is this", "how is it"));
    assert_eq!(known.texts.len(), MOST_TEXTS);
    assert_eq!(known.bucket, chat(&body("how is this", "how is that")).bucket);
    assert_ne!(known.bucket, chat(&body("how is that", "how is it")).bucket);
    let long = "so it is ".repeat(LONGEST_TEXT / 8);
    let one = chat(&body("how is this", "how is it").replace("how is this", &long));
    assert_eq!(one.texts.len(), MOST_TEXTS);
    assert_eq!(
        question(
            Dialect::OpenAiChat,
            &format!(r#"{{"messages":[{{"role":"user","content":"{long}"}}]}}"#),
            &[]
        ),
        None
    );
}

fn loaded(semantic: &str) -> Result<SemanticTerms, String> {
    let text = format!(
        "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: openai}}\nspec:\n  provider: OpenAI\n  \
         credentials: [{{name: main, env: K}}]\n  models: [{{name: m}}, {{name: vectors}}]\n---\n\
         apiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: r}}\nspec:\n  match: {{models: [smart]}}\n  \
         targets: [{{provider: openai, model: m}}]\n  cache: {{ttl: 1h, maxBytes: 1048576, semantic: {semantic}}}\n"
    );
    let config = load(&text, &Scope::Standalone).map_err(|problems| problems.to_string())?;
    Ok((**config.routes[0].semantic.as_ref().unwrap()).clone())
}

#[test]
fn what_is_not_said_is_strict_and_bounded() {
    let terms = loaded("{embeddingModel: vectors, maxBytes: 1048576}").unwrap();
    assert_eq!((terms.threshold, terms.max_wait), (950, Duration::from_millis(500)));
    assert_eq!(
        (terms.keep.max_age, terms.keep.max_bytes),
        (Duration::from_hours(1), 1 << 20)
    );
    assert!((terms.least() - 0.95).abs() < 1e-6);
    assert!(!terms.verifies(0.0), "every answer is given");
    let some = loaded("{embeddingModel: vectors, maxBytes: 65536, verifyPercent: 5}").unwrap();
    assert!(some.verifies(0.0) && some.verifies(0.049) && !some.verifies(0.05));
    let all = loaded("{embeddingModel: vectors, maxBytes: 65536, verifyPercent: 100}").unwrap();
    assert!(all.verifies(0.999_999));
    let terms = loaded("{embeddingModel: vectors, maxBytes: 65536, threshold: '1', ttl: 5m, maxWait: 1s}").unwrap();
    assert_eq!((terms.threshold, terms.keep.max_age), (1000, Duration::from_mins(5)));
}

#[test]
fn what_is_out_of_bounds_or_served_by_nobody_is_refused_with_path_and_remedy() {
    for (semantic, problem) in [
        (
            "{embeddingModel: nobodys, maxBytes: 1048576}",
            "ModelRoute r: spec.cache.semantic.embeddingModel: no ModelRoute and no ProviderConfig has the model \"nobodys\": list it",
        ),
        (
            "{embeddingModel: smart, maxBytes: 1048576}",
            "spec.cache.semantic.embeddingModel: is smart, which this route answers for itself",
        ),
        (
            "{embeddingModel: vectors, maxBytes: 7}",
            "spec.cache.semantic.maxBytes: is 7: set it to 65536",
        ),
        (
            "{embeddingModel: vectors, maxBytes: 65536, threshold: '0.5'}",
            "spec.cache.semantic.threshold: is \"0.5\": set it to \"0.8\" to \"1\"",
        ),
        (
            "{embeddingModel: vectors, maxBytes: 65536, threshold: '1.001'}",
            "spec.cache.semantic.threshold: is \"1.001\"",
        ),
        (
            "{embeddingModel: vectors, maxBytes: 65536, threshold: nearly}",
            "spec.cache.semantic.threshold: is \"nearly\"",
        ),
        (
            "{embeddingModel: vectors, maxBytes: 65536, ttl: 2h}",
            "spec.cache.semantic.ttl: is 2h: set it to 1s to the ttl of the cache",
        ),
        (
            "{embeddingModel: vectors, maxBytes: 65536, maxWait: 6s}",
            "spec.cache.semantic.maxWait: is 6s: set it to 1ms to 5s",
        ),
        (
            "{embeddingModel: vectors, maxBytes: 65536, verifyPercent: 101}",
            "spec.cache.semantic.verifyPercent: is 101: set it to 0 to 100",
        ),
    ] {
        let problems = loaded(semantic).unwrap_err();
        assert!(problems.contains(problem), "{semantic}: {problems}");
    }
}
