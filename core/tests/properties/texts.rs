//! Any placement of texts that are empty or white space, from every caller to every provider: no text that the provider
//! refuses is sent, and no word is lost.

use bowsprit_core::dialect::{Dialect, translate_request};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as OpenAi, OpenAiResponses as Responses};

use super::asking::target;
use super::seeded::holds;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(String::new()),
        2 => "[ \n\t\u{a0}\u{2003}\u{1f}]{1,3}",
        3 => "[ \n]{0,2}[a-z]{1,4}[ \n]{0,2}",
    ]
}

type Turns = Vec<(bool, Vec<String>)>;

fn request(from: Dialect, system: &[String], turns: &Turns) -> Value {
    let turns = |model: &str, content: &str, part: &dyn Fn(&str, bool) -> Value| -> Value {
        turns
            .iter()
            .map(|(user, texts)| {
                let parts: Vec<Value> = texts.iter().map(|text| part(text, *user)).collect();
                json!({"role": if *user { "user" } else { model }, content: parts})
            })
            .collect::<Vec<_>>()
            .into()
    };
    let typed = |text: &str, _| json!({"type": "text", "text": text});
    match from {
        OpenAi => {
            let mut messages: Vec<Value> = system
                .iter()
                .map(|text| json!({"role": "system", "content": text}))
                .collect();
            messages.extend(turns("assistant", "content", &typed).as_array().unwrap().clone());
            json!({ "messages": messages })
        }
        Anthropic => {
            let blocks: Vec<Value> = system.iter().map(|text| typed(text, true)).collect();
            json!({"max_tokens": 9, "system": blocks, "messages": turns("assistant", "content", &typed)})
        }
        Gemini => {
            json!({"systemInstruction": {"parts": system.iter().map(|text| json!({"text": text})).collect::<Vec<_>>()},
            "contents": turns("model", "parts", &|text, _| json!({"text": text}))})
        }
        Responses => {
            let part =
                |text: &str, user: bool| json!({"type": if user { "input_text" } else { "output_text" }, "text": text});
            json!({"instructions": system.join("\n"), "input": turns("assistant", "content", &part)})
        }
    }
}

/// Every text under these names.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(text) if matches!(name.as_str(), "text" | "content" | "system") => {
                        found.push(text.clone());
                    }
                    _ => texts(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        _ => {}
    }
}

fn words(texts: &[String]) -> String {
    texts
        .join("")
        .replace("(no text)", "")
        .chars()
        .filter(char::is_ascii_lowercase)
        .collect()
}

fn taken(from: Dialect, to: Dialect, system: &[String], turns: &Turns) -> Result<(), TestCaseError> {
    let target = target(if to == Anthropic { "claude-sonnet-4-5" } else { "m" });
    let body = request(from, system, turns);
    let translated = translate_request(from, to, body.to_string().as_bytes(), &target)
        .map_err(|error| TestCaseError::fail(format!("{from} -> {to}: {error}")))?;
    let sent: Value = serde_json::from_slice(&translated.body).unwrap();
    let mut all = Vec::new();
    texts(&sent, &mut all);
    let (turns_name, model) = match to {
        Gemini => ("contents", "model"),
        _ => ("messages", "assistant"),
    };
    let list = sent[turns_name].as_array().unwrap();
    prop_assert!(!list.is_empty());
    for text in &all {
        let refused = match to {
            Anthropic => text.chars().all(|c| c.is_whitespace() || c == '\x1f'),
            Gemini => text.is_empty(),
            _ => false,
        };
        prop_assert!(!refused, "{from} -> {to}: {text:?} in {sent}");
    }
    if to != OpenAi {
        let roles: Vec<&str> = list.iter().map(|turn| turn["role"].as_str().unwrap()).collect();
        prop_assert!(
            roles[0] == "user" && roles.windows(2).all(|pair| pair[0] != pair[1]),
            "{:?}",
            roles
        );
    }
    let last = list.last().unwrap();
    let user_was_last = turns.last().is_some_and(|(user, texts)| *user && !texts.is_empty());
    prop_assert!(
        !(user_was_last && last["role"] == model),
        "the model would go on with its own words"
    );
    if to == Anthropic && last["role"] == model {
        let end = last["content"].as_array().unwrap().last().unwrap()["text"]
            .as_str()
            .unwrap();
        prop_assert!(!end.ends_with(char::is_whitespace), "{:?}", end);
    }
    let before: Vec<String> = system
        .iter()
        .chain(turns.iter().flat_map(|(_, texts)| texts))
        .cloned()
        .collect();
    prop_assert_eq!(words(&before), words(&all), "{}", sent);
    Ok(())
}

#[test]
fn any_text_is_one_that_the_provider_takes() {
    let turns = prop::collection::vec((any::<bool>(), prop::collection::vec(text(), 1..4)), 1..5);
    let request = (prop::collection::vec(text(), 0..3), turns);
    holds("texts", request, |(system, turns)| {
        for from in [OpenAi, Anthropic, Gemini, Responses] {
            for to in Dialect::PROVIDERS {
                if from != to {
                    taken(from, to, &system, &turns)?;
                }
            }
        }
        Ok(())
    });
}
