//! Calls, results and settings that one provider takes and another would refuse.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value, // bodies are written where they are used
    missing_docs
)]

use bowsprit_core::dialect::{Dialect, RequestError};
use bowsprit_core::fault::Code;
use serde_json::{Value, json};

use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as OpenAi};
use asking::{ask, model, target};

#[path = "shared/asking.rs"]
mod asking;

fn send(from: Dialect, to: Dialect, body: &Value) -> Result<(Value, Vec<String>), RequestError> {
    ask(from, to, body, &target(model(to)))
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn calls(ids: &[&str]) -> Value {
    let calls: Vec<Value> = ids
        .iter()
        .map(|id| json!({"id": id, "type": "function", "function": {"name": "tide", "arguments": "{}"}}))
        .collect();
    json!({"role": "assistant", "content": null, "tool_calls": calls})
}

fn result(id: &str, text: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": text})
}

fn chat(messages: &[Value]) -> Value {
    json!({ "messages": messages })
}

fn with(more: Value) -> Value {
    let mut body = chat(&[user("x")]);
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The ids of calls and those of results with their texts, in order.
fn pairs(body: &Value) -> (Vec<String>, Vec<(String, String)>) {
    let (mut calls, mut results) = (Vec::new(), Vec::new());
    for block in body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|turn| turn["content"].as_array().unwrap())
    {
        let text = |name: &str| block[name].as_str().unwrap().to_owned();
        match block["type"].as_str().unwrap() {
            "tool_use" => calls.push(text("id")),
            "tool_result" => results.push((
                text("tool_use_id"),
                block["content"][0]["text"].as_str().unwrap().to_owned(),
            )),
            _ => {}
        }
    }
    (calls, results)
}

#[test]
fn ids_that_become_alike_stay_apart_and_results_find_their_call() {
    for ids in [["call:1", "call/1"], ["c1", "c1"], ["", ""], ["a b", "a_b"]] {
        let body = chat(&[
            user("x"),
            calls(&ids),
            result(ids[0], "first"),
            result(ids[1], "second"),
        ]);
        let (body, dropped) = send(OpenAi, Anthropic, &body).unwrap();
        let (calls, results) = pairs(&body);
        assert!(calls[0] != calls[1] && !calls[0].is_empty(), "{calls:?}");
        let own = |n: usize, text: &str| (calls[n].clone(), text.to_owned());
        assert_eq!(results, [own(0, "first"), own(1, "second")]);
        assert_eq!(dropped, Vec::<String>::new());
    }
}

#[test]
fn long_ids_are_cut_for_openai_and_stay_apart() {
    let long = |end: &str| format!("toolu_{}{end}", "x".repeat(60));
    let use_of = |id: String| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let result_of = |id: String| json!({"type": "tool_result", "tool_use_id": id, "content": id});
    let body = json!({"max_tokens": 9, "messages": [user("x"),
        {"role": "assistant", "content": [use_of(long("a")), use_of(long("b"))]},
        {"role": "user", "content": [result_of(long("b")), result_of(long("a"))]}]});
    let (body, _) = send(Anthropic, OpenAi, &body).unwrap();
    let made = body["messages"][1]["tool_calls"].as_array().unwrap();
    assert!(made[0]["id"] != made[1]["id"] && made.iter().all(|call| call["id"].as_str().unwrap().len() <= 40));
    assert_eq!(
        (
            &body["messages"][2]["tool_call_id"],
            &body["messages"][3]["tool_call_id"]
        ),
        (&made[1]["id"], &made[0]["id"])
    );
}

#[test]
fn a_result_that_stands_too_late_is_brought_to_its_call() {
    let said = json!({"role": "assistant", "content": "I wait."});
    let body = chat(&[
        user("x"),
        calls(&["c1"]),
        user("And?"),
        said,
        result("c1", "six"),
        user("Go on."),
    ]);
    let (body, _) = send(OpenAi, Anthropic, &body).unwrap();
    let kinds: Vec<Vec<&str>> = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|turn| {
            turn["content"]
                .as_array()
                .unwrap()
                .iter()
                .map(|block| block["type"].as_str().unwrap())
                .collect()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            vec!["text"],
            vec!["tool_use"],
            vec!["tool_result", "text"],
            vec!["text"],
            vec!["text"]
        ]
    );
}

#[test]
fn a_call_without_a_result_and_a_result_without_a_call_are_refused() {
    for to in [Anthropic, Gemini] {
        let error = send(OpenAi, to, &chat(&[user("x"), calls(&["c1"]), user("never mind")])).unwrap_err();
        assert_eq!((error.code, error.path.as_str()), (Code::ValField, "messages"));
        let twice = chat(&[user("x"), calls(&["c1"]), result("c1", "a"), result("c1", "b")]);
        let error = send(OpenAi, to, &twice).unwrap_err();
        assert_eq!((error.code, error.path.as_str()), (Code::ValField, "messages[3]"));
    }
}

#[test]
fn a_user_whose_name_is_too_long_stays_the_same_user() {
    let ask = |name: &str| {
        let body = json!({"max_tokens": 9, "messages": [user("x")], "metadata": {"user_id": name}});
        let (body, dropped) = send(Anthropic, OpenAi, &body).unwrap();
        (body["user"].as_str().unwrap().to_owned(), dropped)
    };
    let long = "u".repeat(65);
    let (name, dropped) = ask(&long);
    assert_eq!((name.len(), dropped), (64, vec!["metadata.user_id".to_owned()]));
    assert_eq!(ask(&long).0, name);
    assert_ne!(ask(&"u".repeat(66)).0, name);
    assert_eq!(ask("u-1"), ("u-1".to_owned(), vec![]));
}

#[test]
fn settings_out_of_range_are_brought_into_it_and_named() {
    let (body, dropped) = send(
        OpenAi,
        Gemini,
        &with(json!({"temperature": 3, "top_p": -1, "top_k": -1, "stop": ["", "END"]})),
    )
    .unwrap();
    assert_eq!(
        body["generationConfig"],
        json!({"temperature": 2, "topP": 0, "stopSequences": ["END"]})
    );
    assert_eq!(dropped, ["temperature", "top_p", "top_k", "stop"]);
    let error = send(OpenAi, Anthropic, &with(json!({"max_tokens": 0}))).unwrap_err();
    assert_eq!((error.code, error.path.as_str()), (Code::ValUnsupported, "max_tokens"));
}

#[test]
fn a_tool_that_is_said_twice_is_said_once() {
    let tool = json!({"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}});
    let (body, dropped) = send(OpenAi, Anthropic, &with(json!({"tools": [tool, tool]}))).unwrap();
    assert_eq!(body["tools"].as_array().unwrap().len(), 1);
    assert_eq!(dropped, ["tools[1].function.parameters"]);
}
