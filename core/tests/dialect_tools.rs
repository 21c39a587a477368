//! Tools that not every API knows: custom ones, namespaces, those that a provider runs itself; and names that not every API
//! takes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test panics

use bowsprit_core::dialect::{
    AnswerContext, Dialect, RequestError, Stream, Target, Translated, translate_request, translate_response,
    without_allowed_tools,
};
use bowsprit_core::fault::Code;
use bowsprit_crds::model_route::OnUnsupported;
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as Chat, OpenAiResponses as Responses};
use asking::target;

#[path = "shared/asking.rs"]
mod asking;

fn model(to: Dialect) -> &'static str {
    match to {
        Anthropic => "claude-sonnet-4-5",
        Gemini => "gemini-2.5-flash",
        _ => "llama-4",
    }
}

fn translate(
    from: Dialect,
    to: Dialect,
    body: &Value,
    rule: Option<OnUnsupported>,
) -> Result<(Value, Translated), RequestError> {
    let target = Target {
        on_unsupported: rule,
        ..target(model(to))
    };
    let translated = translate_request(from, to, body.to_string().as_bytes(), &target)?;
    Ok((serde_json::from_slice(&translated.body).unwrap(), translated))
}

fn sent(from: Dialect, to: Dialect, body: &Value) -> (Value, Translated) {
    translate(from, to, body, None).unwrap_or_else(|error| panic!("{from} to {to}: {error}: {body}"))
}

fn refused(from: Dialect, to: Dialect, body: &Value, rule: Option<OnUnsupported>) -> String {
    let error = translate(from, to, body, rule).expect_err("must be refused");
    assert_eq!(error.code, Code::ValUnsupported, "{error}");
    error.path
}

fn hello(from: Dialect, extra: &Value) -> Value {
    let mut body = match from {
        Chat => json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}),
        Anthropic => json!({"model": "m", "max_tokens": 900, "messages": [{"role": "user", "content": "x"}]}),
        Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}]}),
        Responses => json!({"model": "m", "input": "x"}),
    };
    let object = body.as_object_mut().unwrap();
    object.extend(extra.as_object().unwrap().clone());
    body
}

/// The functions that a provider was told of, as (name, description, schema).
fn functions(to: Dialect, body: &Value) -> Vec<(String, String, Value)> {
    let list = match to {
        Gemini => &body["tools"][0]["functionDeclarations"],
        _ => &body["tools"],
    };
    let told = |tool: &Value| match to {
        Chat => (tool["function"].clone(), "parameters"),
        Anthropic => (tool.clone(), "input_schema"),
        _ => (tool.clone(), "parametersJsonSchema"),
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = list.as_array().cloned().unwrap_or_default();
    list.iter()
        .map(|tool| {
            let (tool, schema) = told(tool);
            (text(&tool["name"]), text(&tool["description"]), tool[schema].clone())
        })
        .collect()
}

/// An answer of the provider that calls one tool.
fn call(provider: Dialect, name: &str, arguments: &Value) -> Value {
    match provider {
        Chat => {
            json!({"id": "a", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": null,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments.to_string()}}]}}]})
        }
        Anthropic => json!({"id": "a", "type": "message", "role": "assistant", "stop_reason": "tool_use",
            "content": [{"type": "tool_use", "id": "c1", "name": name, "input": arguments}]}),
        _ => json!({"responseId": "a", "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model",
            "parts": [{"functionCall": {"id": "c1", "name": name, "args": arguments}}]}}]}),
    }
}

/// The same, streamed, with the arguments in pieces where the API has pieces.
fn streamed_call(provider: Dialect, name: &str, arguments: &Value) -> String {
    let event = |value: Value| format!("data: {value}\n\n");
    let text = arguments.to_string();
    let pieces: Vec<String> = text.chars().map(String::from).collect();
    match provider {
        Chat => {
            let chunk = |delta: Value, finish: Value| {
                event(json!({"id": "a", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
            };
            let begin = json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": name, "arguments": ""}}]});
            let mut out = chunk(begin, Value::Null);
            for piece in pieces {
                let delta = json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]});
                out += &chunk(delta, Value::Null);
            }
            out + &chunk(json!({}), json!("tool_calls")) + "data: [DONE]\n\n"
        }
        Anthropic => {
            let mut out = event(
                json!({"type": "message_start", "message": {"id": "a", "usage": {"input_tokens": 1, "output_tokens": 1}}}),
            );
            out += &event(
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "c1", "name": name, "input": {}}}),
            );
            for piece in pieces {
                out += &event(
                    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}}),
                );
            }
            out += &event(json!({"type": "content_block_stop", "index": 0}));
            out += &event(
                json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}),
            );
            out + &event(json!({"type": "message_stop"}))
        }
        _ => event(call(Gemini, name, arguments)),
    }
}

fn ctx(translated: &Translated) -> AnswerContext {
    AnswerContext {
        model: "asked-for".into(),
        id: "0123456789abcdef".into(),
        created: 1_700_000_000,
        tools: translated.tools.clone(),
        ..AnswerContext::default()
    }
}

fn answer(provider: Dialect, caller: Dialect, translated: &Translated, body: &Value) -> Value {
    let (body, _) = translate_response(provider, caller, body.to_string().as_bytes(), &ctx(translated)).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn stream(provider: Dialect, caller: Dialect, translated: &Translated, text: &str) -> Vec<Value> {
    let mut stream = Stream::new(provider, caller, ctx(translated), false);
    let mut out = BytesMut::new();
    stream.push(&Bytes::from(text.to_owned()), &mut out).unwrap();
    stream.finish(&mut out).unwrap();
    let out = String::from_utf8(out.to_vec()).unwrap();
    let data = out.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

fn custom() -> Value {
    json!({"type": "custom", "name": "patch", "description": "Edit files.",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}})
}

const PATCH: &str = "*** Begin\n+ \"quoted\" \\ \u{1F600}\n*** End";

#[test]
fn a_custom_tool_becomes_a_function_of_one_string_that_knows_its_grammar() {
    let nested = json!({"type": "custom", "custom": {"name": "patch", "description": "Edit files.",
        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /.+/"}}}});
    let pairs = [
        (Responses, Chat),
        (Responses, Anthropic),
        (Responses, Gemini),
        (Chat, Anthropic),
        (Chat, Gemini),
    ];
    for (from, to) in pairs {
        let tool = if from == Chat { &nested } else { &custom() };
        let (body, translated) = sent(from, to, &hello(from, &json!({"tools": [tool]})));
        let told = functions(to, &body);
        let [(name, description, schema)] = told.as_slice() else {
            panic!("{body}")
        };
        assert_eq!(name, "patch");
        assert!(description.starts_with("Edit files.") && description.ends_with("lark grammar:\nstart: /.+/"));
        assert_eq!(
            (&schema["properties"]["input"]["type"], &schema["required"]),
            (&json!("string"), &json!(["input"]))
        );
        // The grammar is told, and nothing holds the model to it.
        let grammar = if from == Chat {
            "tools[0].custom.format"
        } else {
            "tools[0].format"
        };
        assert_eq!(translated.dropped, [grammar]);
    }
}

#[test]
fn a_call_of_a_custom_tool_comes_back_as_its_text() {
    for provider in Dialect::PROVIDERS {
        let (_, translated) = sent(Responses, provider, &hello(Responses, &json!({"tools": [custom()]})));
        let told = call(provider, "patch", &json!({"input": PATCH}));
        let item = &answer(provider, Responses, &translated, &told)["output"][0];
        assert_eq!(
            (&item["type"], &item["name"], &item["input"], &item["call_id"]),
            (&json!("custom_tool_call"), &json!("patch"), &json!(PATCH), &json!("c1"))
        );
        let events = stream(
            provider,
            Responses,
            &translated,
            &streamed_call(provider, "patch", &json!({"input": PATCH})),
        );
        let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
        assert_eq!(
            kinds,
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.custom_tool_call_input.delta",
                "response.custom_tool_call_input.done",
                "response.output_item.done",
                "response.completed"
            ],
            "{provider}"
        );
        assert_eq!(
            (&events[3]["delta"], &events[4]["input"]),
            (&json!(PATCH), &json!(PATCH))
        );
        assert_eq!(events[5]["item"]["input"], PATCH);
        assert!(events[5]["item"]["id"].as_str().unwrap().starts_with("ctc_"));
    }
    for provider in [Anthropic, Gemini] {
        let tool = json!({"type": "custom", "custom": {"name": "patch"}});
        let (_, translated) = sent(Chat, provider, &hello(Chat, &json!({"tools": [tool]})));
        let told = call(provider, "patch", &json!({"input": PATCH}));
        let message = &answer(provider, Chat, &translated, &told)["choices"][0]["message"];
        assert_eq!(
            message["tool_calls"][0],
            json!({"id": "c1", "type": "custom", "custom": {"name": "patch", "input": PATCH}})
        );
        let chunks = stream(
            provider,
            Chat,
            &translated,
            &streamed_call(provider, "patch", &json!({"input": PATCH})),
        );
        let calls: Vec<&Value> = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0])
            .collect();
        let calls: Vec<&&Value> = calls.iter().filter(|call| !call.is_null()).collect();
        assert_eq!(calls[0]["custom"], json!({"name": "patch", "input": ""}));
        let text: String = calls
            .iter()
            .map(|call| call["custom"]["input"].as_str().unwrap())
            .collect();
        assert_eq!(text, PATCH);
    }
}

#[test]
fn a_model_that_answers_a_custom_tool_with_something_else_is_quoted() {
    let (_, translated) = sent(Responses, Anthropic, &hello(Responses, &json!({"tools": [custom()]})));
    for (arguments, text) in [
        (json!({"patch": "p"}), r#"{"patch":"p"}"#),
        (json!({"input": "p", "why": 1}), r#"{"input":"p","why":1}"#),
        (json!({"input": ["p"]}), r#"{"input":["p"]}"#),
        (json!({}), ""),
    ] {
        let item = &answer(Anthropic, Responses, &translated, &call(Anthropic, "patch", &arguments))["output"][0];
        assert_eq!(item["input"], text);
        let events = stream(
            Anthropic,
            Responses,
            &translated,
            &streamed_call(Anthropic, "patch", &arguments),
        );
        let done = events
            .iter()
            .find(|event| event["type"] == "response.custom_tool_call_input.done");
        let text = if text.is_empty() { "" } else { text };
        assert_eq!(done.unwrap()["input"], text);
    }
    let (_, translated) = sent(Responses, Chat, &hello(Responses, &json!({"tools": [custom()]})));
    let mut bare = call(Chat, "patch", &json!({}));
    bare["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = json!("*** Begin");
    assert_eq!(
        answer(Chat, Responses, &translated, &bare)["output"][0]["input"],
        "*** Begin"
    );
}

#[test]
fn a_history_of_custom_calls_goes_on_as_calls_of_the_function() {
    let input = json!([{"role": "user", "content": "x"},
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": PATCH},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"}]);
    for to in Dialect::PROVIDERS {
        let (body, _) = sent(
            Responses,
            to,
            &json!({"model": "m", "input": input, "tools": [custom()]}),
        );
        let text = body.to_string();
        let told = match to {
            Chat => body["messages"][1]["tool_calls"][0]["function"]["arguments"]
                .as_str()
                .unwrap()
                .to_owned(),
            Anthropic => body["messages"][1]["content"][0]["input"].to_string(),
            _ => body["contents"][1]["parts"][0]["functionCall"]["args"].to_string(),
        };
        assert_eq!(
            serde_json::from_str::<Value>(&told).unwrap(),
            json!({"input": PATCH}),
            "{to}"
        );
        assert!(text.contains("done"), "{text}");
    }
}

fn namespace() -> Value {
    json!({"type": "namespace", "name": "files", "description": "", "tools": [
        {"type": "function", "name": "read", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}},
        {"type": "custom", "name": "write"}]})
}

#[test]
fn the_tools_of_a_namespace_are_told_apart_and_come_back_with_it() {
    let plain = json!({"type": "function", "name": "read"});
    let taken = json!({"type": "function", "name": "files__read"});
    let body = hello(
        Responses,
        &json!({"tools": [plain, taken, namespace()], "tool_choice": {"type": "function", "name": "read", "namespace": "files"}}),
    );
    for to in Dialect::PROVIDERS {
        let (sent_body, translated) = sent(Responses, to, &body);
        let names: Vec<String> = functions(to, &sent_body).into_iter().map(|told| told.0).collect();
        assert_eq!(
            (names[0].as_str(), names[1].as_str(), names[3].as_str()),
            ("read", "files__read", "files__write")
        );
        assert!(names[2].starts_with("files__read_"), "{names:?}");
        assert!(
            sent_body.to_string().matches(&names[2]).count() == 2,
            "chosen too: {sent_body}"
        );
        let item = &answer(to, Responses, &translated, &call(to, &names[2], &json!({"path": "a"})))["output"][0];
        assert_eq!(
            (&item["type"], &item["namespace"], &item["name"], &item["arguments"]),
            (
                &json!("function_call"),
                &json!("files"),
                &json!("read"),
                &json!(r#"{"path":"a"}"#)
            )
        );
        let item = &answer(
            to,
            Responses,
            &translated,
            &call(to, "files__write", &json!({"input": "t"})),
        )["output"][0];
        assert_eq!(
            (&item["type"], &item["namespace"], &item["name"], &item["input"]),
            (
                &json!("custom_tool_call"),
                &json!("files"),
                &json!("write"),
                &json!("t")
            )
        );
        let item = &answer(to, Responses, &translated, &call(to, "read", &json!({})))["output"][0];
        assert_eq!((item.get("namespace"), &item["name"]), (None, &json!("read")));
        let events = stream(
            to,
            Responses,
            &translated,
            &streamed_call(to, &names[2], &json!({"path": "a"})),
        );
        let added = events
            .iter()
            .find(|event| event["type"] == "response.output_item.added")
            .unwrap();
        assert_eq!(
            (&added["item"]["namespace"], &added["item"]["name"]),
            (&json!("files"), &json!("read"))
        );
    }
}

#[test]
fn tools_that_an_item_of_the_input_brings_are_tools() {
    let input = json!([{"type": "additional_tools", "role": "developer", "id": "at_1", "tools": [namespace()]},
        {"role": "user", "content": "x"},
        {"type": "function_call", "call_id": "c1", "namespace": "files", "name": "read", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "here"}]}]);
    let (body, translated) = sent(Responses, Anthropic, &json!({"model": "m", "input": input}));
    assert_eq!(body["tools"][0]["name"], "files__read");
    assert_eq!(body["messages"][1]["content"][0]["name"], "files__read");
    assert!(translated.dropped.is_empty(), "{:?}", translated.dropped);
}

fn search_of_the_caller() -> Value {
    json!({"type": "tool_search", "execution": "client", "description": "Finds tools",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}})
}

#[test]
fn a_search_for_tools_that_the_caller_runs_is_a_function_and_comes_back_as_a_search() {
    let body = hello(Responses, &json!({"tools": [search_of_the_caller()]}));
    for to in Dialect::PROVIDERS {
        let (sent_body, translated) = sent(Responses, to, &body);
        let name = functions(to, &sent_body).remove(0).0;
        assert_eq!(name, "tool_search");
        assert!(translated.dropped.is_empty(), "{:?}", translated.dropped);
        let asked = json!({"query": "tide"});
        let item = &answer(to, Responses, &translated, &call(to, &name, &asked))["output"][0];
        assert_eq!(
            (&item["type"], &item["execution"], &item["arguments"]),
            (&json!("tool_search_call"), &json!("client"), &asked)
        );
        assert!(item["call_id"].is_string() && item.get("name").is_none(), "{item}");

        let events = stream(to, Responses, &translated, &streamed_call(to, &name, &asked));
        let done = events
            .iter()
            .find(|event| event["type"] == "response.output_item.done")
            .unwrap();
        assert_eq!(
            (&done["item"]["type"], &done["item"]["arguments"]),
            (&json!("tool_search_call"), &asked)
        );
        let arguments = events
            .iter()
            .filter(|event| event["type"].as_str().unwrap().contains("arguments"));
        assert_eq!(arguments.count(), 0, "a search has no events for its arguments");
    }
}

#[test]
fn what_a_search_of_the_caller_found_is_its_result_and_can_be_called() {
    let found = json!([{"type": "namespace", "name": "port", "description": "", "tools": [
        {"type": "function", "name": "tide", "description": "When it is high", "parameters": {"type": "object"}}]}]);
    let input = json!([{"role": "user", "content": "x"},
        {"type": "tool_search_call", "call_id": "c1", "execution": "client", "status": "completed", "arguments": {"query": "tide"}},
        {"type": "tool_search_output", "call_id": "c1", "execution": "client", "status": "completed", "tools": found}]);
    let body = json!({"model": "m", "input": input, "tools": [search_of_the_caller()]});
    let (sent_body, translated) = sent(Responses, Anthropic, &body);
    assert!(translated.dropped.is_empty(), "{:?}", translated.dropped);
    let names: Vec<&Value> = sent_body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert_eq!(names, ["tool_search", "port__tide"]);
    let searched = &sent_body["messages"][1]["content"][0];
    assert_eq!(
        (&searched["name"], &searched["input"]),
        (&json!("tool_search"), &json!({"query": "tide"}))
    );
    let result = sent_body["messages"][2]["content"][0].to_string();
    assert!(result.contains("port__tide: When it is high"), "{result}");
}

/// One tool for each caller that no other provider runs, and where it stands.
fn unrunnable() -> Vec<(Dialect, Value, &'static str)> {
    vec![
        (
            Responses,
            json!({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}),
            "tools[0].type",
        ),
        (
            Responses,
            json!({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}),
            "tools[0].type",
        ),
        (
            Responses,
            json!({"tools": [{"type": "computer_use_preview"}]}),
            "tools[0].type",
        ),
        (
            Responses,
            json!({"tools": [{"type": "image_generation"}]}),
            "tools[0].type",
        ),
        (
            Responses,
            json!({"tools": [{"type": "mcp", "server_label": "s", "server_url": "https://x"}]}),
            "tools[0].type",
        ),
        (
            Responses,
            json!({"tools": [{"type": "nobody_has_seen_this", "with": 1}]}),
            "tools[0].type",
        ),
        (
            Chat,
            json!({"tools": [{"type": "nobody_has_seen_this"}]}),
            "tools[0].type",
        ),
        (
            Anthropic,
            json!({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}),
            "tools[0].type",
        ),
        (
            Anthropic,
            json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}),
            "tools[0].type",
        ),
        (
            Anthropic,
            json!({"mcp_servers": [{"type": "url", "url": "https://x", "name": "s"}]}),
            "mcp_servers",
        ),
        (
            Gemini,
            json!({"tools": [{"codeExecution": {}}]}),
            "tools[0].codeExecution",
        ),
        (Gemini, json!({"tools": [{"urlContext": {}}]}), "tools[0].urlContext"),
        (
            Gemini,
            json!({"tools": [{"nobodyHasSeenThis": {}}]}),
            "tools[0].nobodyHasSeenThis",
        ),
    ]
}

#[test]
fn a_tool_that_a_provider_cannot_run_is_left_out_where_the_model_was_free() {
    for (from, extra, path) in unrunnable() {
        for to in Dialect::PROVIDERS.into_iter().filter(|to| *to != from) {
            let body = hello(from, &extra);
            let (told, translated) = sent(from, to, &body);
            assert_eq!(translated.dropped, [path], "{from} to {to}");
            assert_eq!(
                (translated.tools_left_out, told.get("tools")),
                (1, None),
                "{from} to {to}: {told}"
            );
            assert_eq!(refused(from, to, &body, Some(OnUnsupported::Refuse)), path);
            let forced = match from {
                Chat | Responses => json!({"tool_choice": "required"}),
                Anthropic => json!({"tool_choice": {"type": "any"}}),
                Gemini => json!({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
            };
            let mut forced_body = body.clone();
            forced_body
                .as_object_mut()
                .unwrap()
                .extend(forced.as_object().unwrap().clone());
            assert_eq!(refused(from, to, &forced_body, None), path);
            let (told, _) = translate(from, to, &forced_body, Some(OnUnsupported::Drop)).unwrap();
            assert_eq!((told.get("tools"), told.get("tool_choice")), (None, None));
        }
    }
}

#[test]
fn other_tools_stay_and_may_be_forced() {
    let function = json!({"type": "function", "name": "tide"});
    let tools = json!([function, {"type": "file_search"}]);
    for choice in [
        json!("auto"),
        json!("required"),
        json!({"type": "function", "name": "tide"}),
    ] {
        let body = hello(Responses, &json!({"tools": tools, "tool_choice": choice}));
        let (told, translated) = sent(Responses, Chat, &body);
        assert_eq!(
            (told["tools"].as_array().unwrap().len(), translated.dropped.as_slice()),
            (1, &["tools[1].type".to_owned()][..])
        );
        assert!(!told["tool_choice"].is_null());
    }
    let allowed = |mode: &str| json!({"type": "allowed_tools", "mode": mode, "tools": [{"type": "file_search"}]});
    let body = hello(Responses, &json!({"tools": tools, "tool_choice": allowed("auto")}));
    assert_eq!(
        sent(Responses, Chat, &body).0["tool_choice"],
        "none",
        "nothing else was allowed"
    );
    let body = hello(Responses, &json!({"tools": tools, "tool_choice": allowed("required")}));
    assert_eq!(refused(Responses, Chat, &body, None), "tools[1].type");
}

#[test]
fn a_search_of_the_web_is_asked_for_in_the_providers_words() {
    let place = json!({"city": "Brest", "country": "FR"});
    let openai = json!({"tools": [{"type": "web_search", "user_location": {"type": "approximate", "city": "Brest", "country": "FR", "region": null},
        "filters": {"allowed_domains": ["tides.org"]}}]});
    let (body, translated) = sent(Responses, Anthropic, &hello(Responses, &openai));
    assert_eq!(
        body["tools"],
        json!([{"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["tides.org"],
            "user_location": {"city": "Brest", "country": "FR", "type": "approximate"}}])
    );
    assert!(translated.dropped.is_empty(), "{:?}", translated.dropped);
    // What it searches is never widened.
    let (body, translated) = sent(Responses, Gemini, &hello(Responses, &openai));
    assert_eq!(
        (body.get("tools"), translated.dropped.as_slice()),
        (None, &["tools[0].type".to_owned()][..])
    );
    let options = json!({"web_search_options": {"user_location": {"type": "approximate", "approximate": place}}});
    let (body, translated) = sent(Chat, Gemini, &hello(Chat, &options));
    assert_eq!(body["tools"], json!([{"googleSearch": {}}]));
    assert_eq!(translated.dropped, ["web_search_options.user_location"]);
    let claude = json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}, {"name": "tide", "input_schema": {"type": "object"}}]});
    let (body, translated) = sent(Anthropic, Gemini, &hello(Anthropic, &claude));
    assert_eq!(
        (functions(Gemini, &body).len(), translated.dropped.as_slice()),
        (1, &["tools[0].type".to_owned()][..])
    );
    let google = json!({"tools": [{"googleSearch": {}}]});
    let (body, _) = sent(Gemini, Anthropic, &hello(Gemini, &google));
    assert_eq!(body["tools"][0]["name"], "web_search");
    let (body, translated) = sent(Gemini, Chat, &hello(Gemini, &google));
    assert_eq!((body.get("tools"), translated.tools_left_out), (None, 1));
    // Only what is on file, not the web.
    let offline = json!({"tools": [{"type": "web_search", "external_web_access": false}]});
    assert_eq!(
        sent(Responses, Anthropic, &hello(Responses, &offline)).1.tools_left_out,
        1
    );
}

#[test]
fn a_search_may_be_forced_where_it_has_a_name() {
    let body = hello(
        Responses,
        &json!({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}),
    );
    let (told, _) = sent(Responses, Anthropic, &body);
    assert_eq!(told["tool_choice"], json!({"type": "tool", "name": "web_search"}));
    assert_eq!(refused(Responses, Gemini, &body, None), "tools[0].type");
    // A function of that name keeps out of its way.
    let both = json!({"tools": [{"type": "web_search"}, {"type": "function", "name": "web_search"}]});
    let (told, translated) = sent(Responses, Anthropic, &hello(Responses, &both));
    let names: Vec<String> = functions(Anthropic, &told).into_iter().map(|told| told.0).collect();
    assert!(
        names[0].starts_with("web_search_") && names[1] == "web_search",
        "{names:?}"
    );
    let item = &answer(
        Anthropic,
        Responses,
        &translated,
        &call(Anthropic, &names[0], &json!({})),
    )["output"][0];
    assert_eq!(item["name"], "web_search");
}

#[test]
fn what_only_informs_is_left_out_of_a_history_and_what_says_something_is_refused() {
    let item = |item: Value| json!({"model": "m", "input": [{"role": "user", "content": "x"}, item]});
    let said = |block: Value| {
        json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "text", "text": "y"}, block]}, {"role": "user", "content": "z"}]})
    };
    let spoken = |part: Value| json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": [{"text": "y"}, part]}, {"role": "user", "parts": [{"text": "z"}]}]});
    let chat = |role: &str, part: Value| json!({"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": role, "content": [{"type": "text", "text": "y"}, part]}]});
    let informs = [
        (
            Responses,
            item(json!({"type": "web_search_call", "id": "ws", "status": "completed", "action": {}})),
            "input[1].type",
        ),
        (
            Responses,
            item(json!({"type": "code_interpreter_call", "id": "ci", "code": "1", "outputs": []})),
            "input[1].type",
        ),
        (
            Responses,
            item(json!({"type": "mcp_call", "id": "m", "arguments": "{}", "output": "o"})),
            "input[1].type",
        ),
        (
            Responses,
            item(json!({"type": "nobody_has_seen_this", "state": 1})),
            "input[1].type",
        ),
        (
            Anthropic,
            said(json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
            "messages[1].content[1].type",
        ),
        (
            Anthropic,
            said(json!({"type": "web_search_tool_result", "tool_use_id": "s", "content": []})),
            "messages[1].content[1].type",
        ),
        (
            Anthropic,
            said(json!({"type": "nobody_has_seen_this", "state": 1})),
            "messages[1].content[1].type",
        ),
        (
            Gemini,
            spoken(json!({"executableCode": {"code": "1"}})),
            "contents[1].parts[1]",
        ),
        (
            Gemini,
            spoken(json!({"codeExecutionResult": {"output": "1"}})),
            "contents[1].parts[1]",
        ),
        (
            Chat,
            chat("assistant", json!({"type": "reference", "reference_ids": [1]})),
            "messages[1].content[1].type",
        ),
    ];
    for (from, body, path) in informs {
        for to in Dialect::PROVIDERS.into_iter().filter(|to| *to != from) {
            assert_eq!(sent(from, to, &body).1.dropped, [path], "{from} to {to}: {body}");
            assert_eq!(refused(from, to, &body, Some(OnUnsupported::Refuse)), path);
        }
    }
    let says = [
        (
            Responses,
            item(json!({"type": "local_shell_call", "call_id": "c", "action": {}})),
            "input[1].type",
        ),
        (
            Responses,
            item(json!({"type": "compaction", "encrypted_content": "e"})),
            "input[1].type",
        ),
        (
            Responses,
            item(json!({"role": "user", "content": [{"type": "hologram", "data": "d"}]})),
            "input[1].content[0].type",
        ),
        (
            Anthropic,
            said(json!({"type": "shell_call", "id": "s", "input": {}})),
            "messages[1].content[1].type",
        ),
        (
            Chat,
            chat("user", json!({"type": "hologram", "data": "d"})),
            "messages[1].content[1].type",
        ),
        (
            Gemini,
            json!({"contents": [{"role": "user", "parts": [{"hologram": {}}]}]}),
            "contents[0].parts[0]",
        ),
    ];
    for (from, body, path) in says {
        for to in Dialect::PROVIDERS.into_iter().filter(|to| *to != from) {
            assert_eq!(refused(from, to, &body, None), path, "{from} to {to}");
        }
    }
}

#[test]
fn what_a_provider_tells_of_its_own_tools_is_no_broken_answer() {
    let claude = json!({"id": "a", "type": "message", "role": "assistant", "stop_reason": "end_turn", "content": [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "tides"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result", "url": "https://t", "title": "T", "encrypted_content": "e"}]},
        {"type": "text", "text": "Six.", "citations": [{"type": "web_search_result_location", "url": "https://t", "title": "T", "cited_text": "six", "encrypted_index": "i"}]}]});
    let google = json!({"responseId": "a", "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
        {"executableCode": {"code": "1", "language": "PYTHON"}}, {"codeExecutionResult": {"outcome": "OUTCOME_OK"}}, {"text": "Six."}]},
        "groundingMetadata": {"webSearchQueries": ["tides"], "groundingChunks": [{"web": {"uri": "https://t", "title": "T"}}]}}]});
    let none = Translated::default();
    for (provider, told) in [(Anthropic, claude), (Gemini, google)] {
        for caller in Dialect::ALL.into_iter().filter(|caller| *caller != provider) {
            let text = answer(provider, caller, &none, &told).to_string();
            assert!(text.contains("Six."), "{provider} to {caller}: {text}");
        }
    }
}

/// What a server that is merely compatible with `OpenAI` gets: the choice, and the names of the tools.
fn at_a_compatible_server(from: Dialect, body: &Value) -> (Value, Vec<String>) {
    let bytes = Bytes::from(body.to_string());
    let sent = if from == Chat {
        without_allowed_tools(&bytes)
    } else {
        let target = Target {
            allowed_tools: false,
            ..target("llama-4")
        };
        translate_request(from, Chat, &bytes, &target).unwrap().body
    };
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    let tools = sent["tools"].as_array().unwrap().iter();
    let names = tools.map(|tool| tool["function"]["name"].as_str().unwrap().to_owned());
    (sent["tool_choice"].clone(), names.collect())
}

#[test]
fn a_compatible_server_gets_the_oldest_spelling_of_a_choice() {
    let chat = |name: &str| json!({"type": "function", "function": {"name": name}});
    let responses = |name: &str| json!({"type": "function", "name": name});
    let all = ["a", "b", "c"];
    let ask = |from, mode: &str, names: &[&str]| {
        let extra = match from {
            Chat => json!({
                "tools": all.map(chat),
                "tool_choice": {"type": "allowed_tools", "allowed_tools":
                    {"mode": mode, "tools": names.iter().map(|name| chat(name)).collect::<Vec<_>>()}},
            }),
            Responses => json!({
                "tools": all.map(responses),
                "tool_choice": {"type": "allowed_tools", "mode": mode,
                    "tools": names.iter().map(|name| responses(name)).collect::<Vec<_>>()},
            }),
            _ => json!({
                "tools": [{"functionDeclarations": all.map(|name| json!({"name": name}))}],
                "toolConfig": {"functionCallingConfig": {
                    "mode": if mode == "required" { "ANY" } else { "AUTO" }, "allowedFunctionNames": names}},
            }),
        };
        at_a_compatible_server(from, &hello(from, &extra))
    };
    for from in [Chat, Responses, Gemini] {
        assert_eq!(
            ask(from, "required", &["b"]),
            (chat("b"), all.map(str::to_owned).to_vec()),
            "{from}"
        );
        let two = vec!["a".to_owned(), "c".to_owned()];
        assert_eq!(
            ask(from, "required", &["a", "c"]),
            (json!("required"), two.clone()),
            "{from}"
        );
        if from != Gemini {
            assert_eq!(ask(from, "auto", &["a", "c"]), (json!("auto"), two), "{from}");
            // Named alone it would have to be called.
            assert_eq!(
                ask(from, "auto", &["b"]),
                (json!("auto"), vec!["b".to_owned()]),
                "{from}"
            );
        }
    }
    let named = json!({"tools": [{"name": "a", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": "a"}});
    assert_eq!(
        at_a_compatible_server(Anthropic, &hello(Anthropic, &named)),
        (chat("a"), vec!["a".to_owned()])
    );
}

#[test]
fn only_the_choice_and_the_list_of_tools_change_in_a_body_that_passes() {
    let head = r#"{ "model":"m",  "x":[1, 2], "#;
    let tools = r#""tools" : [{"type":"function","function":{"name":"a"}}, {"type":"function","function":{"name":"b", "x":1.10}}]"#;
    let choice = r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"b"}}]}}"#;
    let kept = r#""tools" : [{"type":"function","function":{"name":"b", "x":1.10}}]"#;
    let auto = r#""tool_choice":"auto""#;
    for (before, after) in [
        (
            format!("{head}{tools}, {choice} }}"),
            format!("{head}{kept}, {auto} }}"),
        ),
        (
            format!("{head}{choice}, {tools} }}"),
            format!("{head}{auto}, {kept} }}"),
        ),
        (
            format!("{head}{tools}, \"tool_choice\":\"auto\"}}"),
            format!("{head}{tools}, \"tool_choice\":\"auto\"}}"),
        ),
        (
            format!("{head}\"tool_choice\":{{\"type\":\"allowed_tools\"}}}}"),
            format!("{head}\"tool_choice\":{{\"type\":\"allowed_tools\"}}}}"),
        ),
        (
            format!("{head}\"a\":\"\\\"allowed_tools\\\"\"}}"),
            format!("{head}\"a\":\"\\\"allowed_tools\\\"\"}}"),
        ),
    ] {
        assert_eq!(without_allowed_tools(&Bytes::from(before)), after);
    }
}
