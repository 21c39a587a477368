//! Any name of a tool: at the provider it is one that the provider takes, and no other tool's; at the caller it is what the
//! caller said.

use std::collections::HashSet;

use bowsprit_core::dialect::{
    AnswerContext, Dialect, Stream, Target, ToolNames, translate_request, translate_response,
};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::seeded::holds;
use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as Chat, OpenAiResponses as Responses};

/// Whether the provider takes this name of a function.
fn fits(provider: Dialect, name: &str) -> bool {
    let longest = if provider == Anthropic { 128 } else { 64 };
    let first = name.chars().next();
    let letter = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c) || (provider == Gemini && ".:".contains(c));
    (1..=longest).contains(&name.len())
        && name.chars().all(letter)
        && (provider != Gemini || first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_'))
}

/// A request that offers these tools, tells of a call of each, its result, and one that is offered no more, and asks for
/// the last.
fn request(caller: Dialect, names: &[String]) -> Value {
    let all = || names.iter().enumerate();
    let last = names.last().unwrap();
    match caller {
        Anthropic => json!({
            "model": "m", "max_tokens": 9,
            "messages": [{"role": "user", "content": "x"},
                {"role": "assistant", "content": all().map(|(at, name)| json!({"type": "tool_use", "id": format!("c{at}"), "name": name, "input": {}})).collect::<Vec<_>>()},
                {"role": "user", "content": all().map(|(at, _)| json!({"type": "tool_result", "tool_use_id": format!("c{at}"), "content": "r"})).collect::<Vec<_>>()}],
            "tools": names[1..].iter().map(|name| json!({"name": name, "input_schema": {"type": "object"}})).collect::<Vec<_>>(),
            "tool_choice": {"type": "tool", "name": last},
        }),
        Gemini => json!({
            "contents": [{"role": "user", "parts": [{"text": "x"}]},
                {"role": "model", "parts": all().map(|(at, name)| json!({"functionCall": {"id": format!("c{at}"), "name": name, "args": {}}})).collect::<Vec<_>>()},
                {"role": "user", "parts": all().map(|(at, name)| json!({"functionResponse": {"id": format!("c{at}"), "name": name, "response": {"output": "r"}}})).collect::<Vec<_>>()}],
            "tools": [{"functionDeclarations": names[1..].iter().map(|name| json!({"name": name})).collect::<Vec<_>>()}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [last]}},
        }),
        Chat => {
            let mut messages = vec![
                json!({"role": "user", "content": "x"}),
                json!({"role": "assistant", "content": null, "tool_calls": all().map(|(at, name)| json!({"id": format!("c{at}"), "type": "function", "function": {"name": name, "arguments": "{}"}})).collect::<Vec<_>>()}),
            ];
            messages
                .extend(all().map(|(at, _)| json!({"role": "tool", "tool_call_id": format!("c{at}"), "content": "r"})));
            json!({
                "model": "m", "messages": messages,
                "tools": names[1..].iter().map(|name| json!({"type": "function", "function": {"name": name}})).collect::<Vec<_>>(),
                "tool_choice": {"type": "function", "function": {"name": last}},
            })
        }
        Responses => {
            let mut input = vec![json!({"role": "user", "content": "x"})];
            input.extend(all().map(|(at, name)| json!({"type": "function_call", "call_id": format!("c{at}"), "name": name, "arguments": "{}"})));
            input
                .extend(all().map(
                    |(at, _)| json!({"type": "function_call_output", "call_id": format!("c{at}"), "output": "r"}),
                ));
            json!({
                "model": "m", "input": input,
                "tools": names[1..].iter().map(|name| json!({"type": "function", "name": name})).collect::<Vec<_>>(),
                "tool_choice": {"type": "function", "name": last},
            })
        }
    }
}

/// The names that the provider was told: of calls, of results where it is told any, of tools, and of the choice.
fn told(provider: Dialect, body: &Value) -> [Vec<String>; 4] {
    let each = |list: &Value, pointer: &str| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(|item| item.pointer(pointer)?.as_str())
            .map(str::to_owned)
            .collect()
    };
    match provider {
        Anthropic => [
            each(&body["messages"][1]["content"], "/name"),
            Vec::new(),
            each(&body["tools"], "/name"),
            each(&json!([body["tool_choice"]]), "/name"),
        ],
        Gemini => [
            each(&body["contents"][1]["parts"], "/functionCall/name"),
            each(&body["contents"][2]["parts"], "/functionResponse/name"),
            each(&body["tools"][0]["functionDeclarations"], "/name"),
            each(
                &json!([body["toolConfig"]["functionCallingConfig"]]),
                "/allowedFunctionNames/0",
            ),
        ],
        _ => [
            each(&body["messages"][1]["tool_calls"], "/function/name"),
            Vec::new(),
            each(&body["tools"], "/function/name"),
            each(&json!([body["tool_choice"]]), "/function/name"),
        ],
    }
}

/// A whole answer that calls one tool, and its stream.
fn call(provider: Dialect, name: &str) -> (String, String) {
    let event = |value: Value| format!("data: {value}\n\n");
    match provider {
        Anthropic => {
            let block = json!({"type": "tool_use", "id": "c", "name": name, "input": {}});
            let whole = json!({"id": "a", "type": "message", "role": "assistant", "content": [block], "stop_reason": "tool_use"});
            let stream = [
                json!({"type": "message_start", "message": {"id": "a"}}),
                json!({"type": "content_block_start", "index": 0, "content_block": block}),
                json!({"type": "content_block_stop", "index": 0}),
                json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}),
                json!({"type": "message_stop"}),
            ];
            (whole.to_string(), stream.into_iter().map(event).collect())
        }
        Gemini => {
            let part = json!({"functionCall": {"id": "c", "name": name, "args": {}}});
            let whole = json!({"responseId": "a", "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [part]}}]});
            (whole.to_string(), event(whole))
        }
        _ => {
            let function = json!({"name": name, "arguments": "{}"});
            let calls = json!([{"index": 0, "id": "c", "type": "function", "function": function}]);
            let whole = json!({"id": "a", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": calls}}]});
            let chunk = json!({"id": "a", "choices": [{"index": 0, "finish_reason": "tool_calls", "delta": {"tool_calls": calls}}]});
            (whole.to_string(), event(chunk) + "data: [DONE]\n\n")
        }
    }
}

/// Every name of a tool that the caller reads.
fn heard(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(name)) = map.get("name") {
                into.push(name.clone());
            }
            map.values().for_each(|value| heard(value, into));
        }
        Value::Array(list) => list.iter().for_each(|value| heard(value, into)),
        _ => {}
    }
}

fn ctx(tools: &ToolNames) -> AnswerContext {
    AnswerContext {
        id: "0123456789".into(),
        tools: tools.clone(),
        ..AnswerContext::default()
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_-]{1,140}",
        "[a-z0-9_./: -]{1,20}",
        "\\PC{1,300}",
        any::<String>().prop_filter("a tool has a name", |name| !name.is_empty()),
        // What mapped names look like, and what shares a readable beginning.
        "tool_[0-9a-f]{8}",
        "tool[./: ]{1,2}",
    ]
}

#[test]
fn every_name_is_the_providers_there_and_the_callers_here() {
    let names = prop::collection::hash_set(name(), 2..5).prop_map(|names| names.into_iter().collect::<Vec<_>>());
    let callers = prop::sample::select(Dialect::ALL.to_vec());
    holds("tool names", (callers, names), |(caller, names)| {
        {
            for provider in Dialect::PROVIDERS.into_iter().filter(|provider| *provider != caller) {
                let target = Target {
                    model: "m",
                    default_max_tokens: 9,
                    safety: &[],
                    stream: false,
                    on_unsupported: None,
                    allowed_tools: true,
                };
                let body = request(caller, &names).to_string();
                let translated = translate_request(caller, provider, body.as_bytes(), &target)
                    .map_err(|error| TestCaseError::fail(format!("{caller} to {provider}: {error}")))?;
                let sent: Value = serde_json::from_slice(&translated.body).unwrap();
                let [calls, results, tools, choice] = told(provider, &sent);
                prop_assert_eq!(calls.len(), names.len(), "{} to {}: {}", caller, provider, sent);
                prop_assert_eq!(
                    calls.iter().collect::<HashSet<_>>().len(),
                    names.len(),
                    "not unique: {:?}",
                    calls
                );
                prop_assert_eq!(&tools[..], &calls[1..]);
                prop_assert_eq!(&choice[..], &calls[calls.len() - 1..]);
                prop_assert!(provider != Gemini || results == calls, "{:?}", results);
                for (said, sent) in names.iter().zip(&calls) {
                    prop_assert!(fits(provider, sent), "{} refuses {:?}", provider, sent);
                    prop_assert!(said == sent || !fits(provider, said), "{:?} became {:?}", said, sent);
                    let (whole, stream) = call(provider, sent);
                    let (back, _) =
                        translate_response(provider, caller, whole.as_bytes(), &ctx(&translated.tools)).unwrap();
                    let mut names = Vec::new();
                    heard(&serde_json::from_slice(&back).unwrap(), &mut names);
                    prop_assert_eq!(&names, &vec![said.clone()], "{} from {}", caller, provider);
                    let mut streamed = Stream::new(provider, caller, ctx(&translated.tools), false);
                    let mut out = BytesMut::new();
                    streamed.push(&Bytes::from(stream), &mut out).unwrap();
                    streamed.finish(&mut out).unwrap();
                    let mut names = Vec::new();
                    let out = String::from_utf8(out.to_vec()).unwrap();
                    for data in out.lines().filter_map(|line| line.strip_prefix("data: ")) {
                        if let Ok(event) = serde_json::from_str(data) {
                            heard(&event, &mut names);
                        }
                    }
                    prop_assert!(
                        !names.is_empty() && names.iter().all(|name| name == said),
                        "{:?}: {}",
                        names,
                        out
                    );
                }
                let again = translate_request(caller, provider, body.as_bytes(), &target).unwrap();
                prop_assert_eq!(again.body, translated.body);
            }
        }
        Ok(())
    });
}
