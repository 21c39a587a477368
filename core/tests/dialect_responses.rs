//! OpenAI Responses: what only this dialect has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use bowsprit_core::dialect::{
    AnswerContext, Dialect, Echo, ErrorView, Pushed, RequestError, Stream, StreamError, Target, Terms, Usage,
    native_responses, peek, translate_response, with_model,
};
use bowsprit_core::fault::Code;
use bowsprit_crds::model_route::OnUnsupported;
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as Chat, OpenAiResponses as Responses};
use asking::{ask, model, target};

#[path = "shared/asking.rs"]
mod asking;

fn translate(to: Dialect, body: &Value) -> Result<(Value, Vec<String>), RequestError> {
    translate_how(to, body, false)
}

fn translate_how(to: Dialect, body: &Value, drop_unsupported: bool) -> Result<(Value, Vec<String>), RequestError> {
    let target = Target {
        on_unsupported: drop_unsupported.then_some(OnUnsupported::Drop),
        ..target(model(to))
    };
    ask(Responses, to, body, &target)
}

fn hello(extra: &Value) -> Value {
    let mut body = json!({"model": "m", "input": "hello"});
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn ctx(request: &Value) -> AnswerContext {
    AnswerContext {
        model: "asked-for".into(),
        id: "0123456789abcdef0123456789abcdef".into(),
        created: 1_700_000_000,
        include_usage: false,
        show_thoughts: true,
        echo: Echo::of(Responses, request.to_string().as_bytes()),
        ..AnswerContext::default()
    }
}

fn respond(from: Dialect, body: &Value) -> Value {
    let (body, _) = translate_response(from, Responses, body.to_string().as_bytes(), &ctx(&hello(&json!({})))).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn claude(content: &Value, stop_reason: &str) -> Value {
    json!({"id": "msg_01", "type": "message", "role": "assistant", "content": content, "stop_reason": stop_reason,
        "usage": {"input_tokens": 1, "output_tokens": 1}})
}

#[test]
fn the_envelope_is_read() {
    let body =
        br#"{"input":[{"model":"decoy"}],"model":"gpt-4.1","stream":true,"max_output_tokens":99,"max_tokens":"x"}"#;
    let envelope = peek(Responses, body).unwrap();
    assert_eq!(
        (&*envelope.model, envelope.stream, envelope.max_output_tokens),
        ("gpt-4.1", true, Some(99))
    );
    assert_eq!(envelope.input_tokens_estimate, body.len() as u64 / 4);
    let changed = with_model(&Bytes::from_static(body), "gpt-5");
    assert_eq!(
        changed,
        String::from_utf8_lossy(body).replace("\"gpt-4.1\"", "\"gpt-5\"")
    );
    let error = peek(Responses, br#"{"model":"m","max_output_tokens":"many"}"#).unwrap_err();
    assert_eq!((error.code, &*error.path), (Code::ValField, "max_output_tokens"));
}

#[test]
fn what_only_openai_can_do_is_refused_with_its_path_and_a_remedy() {
    let item = |item: Value| json!({"input": [{"role": "user", "content": "x"}, item]});
    let table = [
        (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"conversation": {"id": "conv_1"}}), "conversation"),
        (json!({"prompt": {"id": "pmpt_1"}}), "prompt"),
        (json!({"background": true}), "background"),
        (
            json!({"tools": [{"type": "function", "name": "a"}, {"type": "file_search", "vector_store_ids": []}],
                "tool_choice": {"type": "file_search"}}),
            "tools[1].type",
        ),
        (
            json!({"tools": [{"type": "code_interpreter", "container": "c"}], "tool_choice": "required"}),
            "tools[0].type",
        ),
        (
            json!({"tools": [{"type": "mcp", "server_label": "s"}], "tool_choice": {"type": "mcp", "server_label": "s"}}),
            "tools[0].type",
        ),
        (json!({"tool_choice": {"type": "image_generation"}}), "tool_choice"),
        (item(json!({"type": "item_reference", "id": "msg_1"})), "input[1]"),
        (item(json!({"id": "msg_1"})), "input[1]"),
        (
            item(json!({"type": "local_shell_call", "id": "ls_1", "call_id": "c1", "action": {}})),
            "input[1].type",
        ),
        (
            item(json!({"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]})),
            "input[1].content[0].file_id",
        ),
        (
            item(json!({"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]})),
            "input[1].content[0].file_id",
        ),
        (
            item(json!({"role": "user", "content": [{"type": "input_audio"}]})),
            "input[1].content[0].type",
        ),
    ];
    for (extra, path) in table {
        for to in Dialect::PROVIDERS {
            let error = translate(to, &hello(&extra)).expect_err(path);
            assert_eq!(
                (error.code, error.path.as_str()),
                (Code::ValUnsupported, path),
                "{extra}"
            );
            assert!(error.problem.len() > 20, "{extra}: {}", error.problem);
        }
    }
}

#[test]
fn what_makes_sense_without_is_left_out_where_the_route_says_so() {
    let extra = json!({
        "background": true,
        "tools": [{"type": "file_search"}, {"type": "function", "name": "tide"}],
        "tool_choice": {"type": "file_search"},
        "include": ["message.output_text.logprobs"],
        "input": [
            {"role": "user", "content": [{"type": "input_audio"}, {"type": "input_text", "text": "x"}]},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        ],
    });
    let (body, dropped) = translate_how(Anthropic, &hello(&extra), true).unwrap();
    assert_eq!(body["tools"].as_array().unwrap().len(), 1);
    assert_eq!(
        body["messages"],
        json!([{"role": "user", "content": [{"type": "text", "text": "x"}]}])
    );
    assert_eq!(
        dropped,
        [
            "background",
            "input[0].content[0].type",
            "input[1].type",
            "tools[0].type",
            "tool_choice",
            "include"
        ]
    );
    // Without these it would be another conversation.
    for extra in [
        json!({"previous_response_id": "resp_1"}),
        json!({"conversation": "conv_1"}),
        json!({"prompt": {"id": "p"}}),
        json!({"input": [{"type": "item_reference", "id": "msg_1"}]}),
        json!({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
    ] {
        let error = translate_how(Anthropic, &hello(&extra), true).unwrap_err();
        assert_eq!(error.code, Code::ValUnsupported, "{extra}");
    }
}

#[test]
fn log_probabilities_are_asked_for_and_given_where_the_provider_has_them() {
    let both = json!({"include": ["message.output_text.logprobs"], "top_logprobs": 2});
    let (body, dropped) = translate(Chat, &hello(&both)).unwrap();
    assert_eq!(
        (&body["logprobs"], &body["top_logprobs"], dropped),
        (&json!(true), &json!(2), vec![])
    );
    let (body, _) = translate(Gemini, &hello(&both)).unwrap();
    assert_eq!(body["generationConfig"]["logprobs"], 2);
    for (extra, path) in [
        (both, "top_logprobs"),
        (json!({"include": ["message.output_text.logprobs"]}), "include"),
    ] {
        let error = translate(Anthropic, &hello(&extra)).unwrap_err();
        assert_eq!((error.code, &*error.path), (Code::ValUnsupported, path));
    }

    let said = json!([{"token": "Ahoy", "logprob": -0.5, "bytes": [65, 104, 111, 121],
        "top_logprobs": [{"token": "Ahoy", "logprob": -0.5, "bytes": [65, 104, 111, 121]}]}]);
    let logprobs = json!({"content": said, "refusal": null});
    let whole = json!({"choices": [{"message": {"content": "Ahoy"}, "logprobs": logprobs, "finish_reason": "stop"}]});
    assert_eq!(respond(Chat, &whole)["output"][0]["content"][0]["logprobs"], said);

    let text = chat_chunks(&[
        json!({"id": "c", "choices": [{"index": 0, "delta": {"content": "Ahoy"}, "logprobs": logprobs}]}),
        finish("stop"),
    ]);
    let events = events(Chat, &text);
    let response = check_items(&events);
    assert_eq!(response["output"][0]["content"][0]["logprobs"], said);
    let of = |kind: &str| events.iter().rfind(|event| event["type"] == kind).unwrap()["logprobs"].clone();
    assert_eq!(of("response.output_text.delta"), said);
    assert_eq!(of("response.output_text.done"), said);
}

#[test]
fn a_summary_is_asked_of_who_shows_thoughts_on_demand_only() {
    let config =
        |extra: &Value| translate(Gemini, &hello(extra)).unwrap().0["generationConfig"]["thinkingConfig"].clone();
    assert_eq!(
        config(&json!({"reasoning": {"summary": "auto"}})),
        json!({"includeThoughts": true})
    );
    assert_eq!(
        config(&json!({"reasoning": {"summary": "auto", "effort": "low"}})),
        json!({"thinkingBudget": 1024, "includeThoughts": true})
    );
    assert_eq!(
        config(&json!({"reasoning": {"effort": "low"}})),
        json!({"thinkingBudget": 1024})
    );
    assert_eq!(config(&json!({})), Value::Null);
}

#[test]
fn wrong_types_are_refused_with_their_path() {
    let table = [
        (json!({"input": null}), "input"),
        (json!({"input": 5}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": ["x"]}), "input[0]"),
        (json!({"input": [{"role": "pirate", "content": "x"}]}), "input[0].role"),
        (json!({"input": [{"role": "user"}]}), "input[0].content"),
        (json!({"input": [{"role": "user", "content": 5}]}), "input[0].content"),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}),
            "input[0].content[0].text",
        ),
        (
            json!({"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": {}}]}),
            "input[0].arguments",
        ),
        (
            json!({"input": [{"type": "function_call_output", "call_id": "nope", "output": "x"}]}),
            "input[0].call_id",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "JVBERi0="}]}]}),
            "input[0].content[0].file_data",
        ),
        (json!({"instructions": 5}), "instructions"),
        (json!({"max_output_tokens": -1}), "max_output_tokens"),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format.type"),
        (
            json!({"text": {"format": {"type": "json_schema"}}}),
            "text.format.schema",
        ),
        (json!({"reasoning": "high"}), "reasoning"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
        (json!({"tool_choice": "maybe"}), "tool_choice"),
        (json!({"store": "yes"}), "store"),
    ];
    for (extra, path) in table {
        for to in Dialect::PROVIDERS {
            let error = translate(to, &hello(&extra)).expect_err(path);
            assert_eq!((error.code, error.path.as_str()), (Code::ValField, path), "{extra}");
        }
    }
}

#[test]
fn tool_choices_mean_the_same_everywhere() {
    let tool = |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object"}});
    let ask = |to, choice: Value| {
        let extra = json!({"tools": [tool("a"), tool("b"), tool("c")], "tool_choice": choice});
        translate(to, &hello(&extra)).unwrap().0
    };
    let allowed = json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "a"}, {"type": "function", "name": "b"}]});
    assert_eq!(
        ask(Chat, json!({"type": "function", "name": "a"}))["tool_choice"],
        json!({"type": "function", "function": {"name": "a"}})
    );
    assert_eq!(ask(Chat, json!("none"))["tool_choice"], "none");
    assert_eq!(ask(Chat, allowed.clone())["tool_choice"]["type"], "allowed_tools");
    assert_eq!(ask(Anthropic, json!("required"))["tool_choice"], json!({"type": "any"}));
    let body = ask(Anthropic, allowed.clone());
    assert_eq!(
        (&body["tool_choice"], body["tools"].as_array().unwrap().len()),
        (&json!({"type": "any"}), 2)
    );
    assert_eq!(
        ask(Gemini, allowed)["toolConfig"]["functionCallingConfig"],
        json!({"mode": "ANY", "allowedFunctionNames": ["a", "b"]})
    );
}

#[test]
fn what_changes_nothing_is_not_listed_as_dropped() {
    let extra = json!({"store": false, "truncation": "disabled", "background": false, "top_logprobs": 0, "include": ["reasoning.encrypted_content"],
        "text": {"format": {"type": "text"}}, "reasoning": {"summary": "auto"}, "stream_options": {"include_obfuscation": false}, "user": "u"});
    let (_, dropped) = translate(Anthropic, &hello(&extra)).unwrap();
    assert_eq!(dropped, Vec::<String>::new());
    let (_, dropped) = translate(
        Anthropic,
        &hello(&json!({"store": true, "user": "a", "safety_identifier": "b", "max_tool_calls": 3, "brand_new": 1})),
    )
    .unwrap();
    assert_eq!(dropped, ["max_tool_calls", "brand_new", "user", "store"]);
}

#[test]
fn the_answer_says_everything_the_schema_asks_for() {
    let body = respond(
        Anthropic,
        &claude(&json!([{"type": "text", "text": "Ahoy"}]), "end_turn"),
    );
    for required in [
        "id",
        "object",
        "created_at",
        "error",
        "incomplete_details",
        "instructions",
        "model",
        "tools",
        "output",
        "parallel_tool_calls",
        "metadata",
        "tool_choice",
        "temperature",
        "top_p",
    ] {
        assert!(body.get(required).is_some(), "{required}");
    }
    assert_eq!(body["output"][0]["content"][0]["text"], "Ahoy");
    let ids = [&body["id"], &body["output"][0]["id"]];
    for id in ids {
        assert!(id.as_str().unwrap().len() <= 64, "OpenAI takes no longer id: {id}");
    }
}

#[test]
fn a_cut_answer_is_incomplete_and_so_is_its_last_item_only() {
    let content = json!([{"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}, {"type": "text", "text": "b"}]);
    let body = respond(Anthropic, &claude(&content, "max_tokens"));
    assert_eq!(body["status"], "incomplete");
    assert_eq!(body["incomplete_details"]["reason"], "max_output_tokens");
    let status: Vec<&str> = body["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["status"].as_str().unwrap())
        .collect();
    assert_eq!(status, ["completed", "completed", "incomplete"]);
}

#[test]
fn a_refusal_is_a_part_of_its_own() {
    let answer = json!({"choices": [{"message": {"role": "assistant", "content": null, "refusal": "No."}, "finish_reason": "stop"}]});
    let body = respond(Chat, &answer);
    assert_eq!(body["status"], "completed");
    assert_eq!(
        body["output"][0]["content"],
        json!([{"type": "refusal", "refusal": "No."}])
    );
}

#[test]
fn thoughts_survive_the_way_to_the_caller_and_back() {
    let content = json!([
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "thinking", "thinking": "", "signature": "Fa=="},
        {"type": "text", "text": "Ahoy"},
        {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {"city": "Brest"}},
    ]);
    let back = |output: &Value| {
        let mut input = vec![json!({"role": "user", "content": "x"})];
        input.extend(output.as_array().unwrap().iter().cloned());
        input.push(
            json!({"type": "function_call_output", "call_id": input.last().unwrap()["call_id"], "output": "clear"}),
        );
        hello(&json!({"input": input}))
    };
    let request = back(&respond(Anthropic, &claude(&content, "tool_use"))["output"]);
    let (body, dropped) = translate(Anthropic, &request).unwrap();
    assert_eq!((&body["messages"][1]["content"], dropped), (&content, vec![]));

    let parts = json!([{"text": "Hm.", "thought": true}, {"functionCall": {"name": "weather", "args": {"city": "Brest"}}, "thoughtSignature": "CsQB"}]);
    let answer = json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]});
    let answer = respond(Gemini, &answer);
    assert_eq!(
        answer["output"].as_array().unwrap().len(),
        2,
        "the signature goes with the thought before it: {answer}"
    );
    let (body, _) = translate(Gemini, &back(&answer["output"])).unwrap();
    let call = &body["contents"][1]["parts"][0];
    assert_eq!(
        (&call["functionCall"]["name"], &call["thoughtSignature"]),
        (&json!("weather"), &json!("CsQB"))
    );

    // And what one provider signed goes to no other.
    for to in [Gemini, Chat] {
        let (body, dropped) = translate(to, &request).unwrap();
        assert!(!body.to_string().contains("EqQB"), "{to}");
        assert!(dropped.contains(&"input[1]".to_owned()), "{to}: {dropped:?}");
    }
}

fn native(body: &str) -> String {
    let sent = native_responses(&Bytes::from(body.to_owned())).unwrap();
    String::from_utf8(sent.body.to_vec()).unwrap()
}

const OURS: &str = r#"{"type":"reasoning","id":"rs_bowsprit_1_0","summary":[],"encrypted_content":"bowsprit.1 {\"signature\":\"E\"}"}"#;

#[test]
fn openai_gets_the_callers_bytes() {
    for body in [
        r#"{"model":"m","input":"hello"}"#,
        r#"{ "model":"m", "input":[ {"role":"user","content":"what is a bowsprit?"} , {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA bowsprit"} ] }"#,
        "not JSON, bowsprit",
        r#"{"input":{"bowsprit":1}}"#,
    ] {
        let bytes = Bytes::from(body.to_owned());
        let sent = native_responses(&bytes).unwrap();
        assert_eq!(
            (sent.body.as_ptr(), sent.body.len(), sent.dropped.len()),
            (bytes.as_ptr(), bytes.len(), 0),
            "{body}"
        );
    }
}

#[test]
fn openai_never_sees_the_thoughts_of_others() {
    let table = [
        (format!("[ {OURS} ]"), "[  ]"),
        (format!("[ {OURS} , 1 ,\n2 ]"), "[ 1,2 ]"),
        (format!("[ 1 , {OURS} , 2 ]"), "[ 1,2 ]"),
        (format!("[1, {OURS},{OURS} ]"), "[1 ]"),
        (
            r#"[1,{"id":"rs_bowsprit_1","type":"reasoning","summary":[]}]"#.to_owned(),
            "[1]",
        ),
    ];
    for (input, expected) in table {
        let body = |input: &str| format!("\n{{\"z\": 1.0,\"input\" :{input}, \"model\":\"m\\u0041\" }} ");
        assert_eq!(native(&body(&input)), body(expected), "{input}");
    }
    let sent = native_responses(&Bytes::from(format!("{{\"input\":[1,{OURS}]}}"))).unwrap();
    assert_eq!(sent.dropped, ["input[1]"]);
}

#[test]
fn openai_is_not_asked_for_what_another_answered() {
    for (body, path) in [
        (
            json!({"model": "m", "input": "x", "previous_response_id": "resp_bowsprit_1"}),
            "previous_response_id",
        ),
        (
            json!({"model": "m", "input": [{"role": "user", "content": "x"}, {"type": "item_reference", "id": "msg_bowsprit_1_0"}]}),
            "input[1].id",
        ),
    ] {
        let error = native_responses(&Bytes::from(body.to_string())).unwrap_err();
        assert_eq!((error.code, &*error.path), (Code::ValUnsupported, path));
    }
}

// ---- streams

const CHAT_END: &str =
    "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";

fn chat_chunks(chunks: &[Value]) -> String {
    let events: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    events.concat() + CHAT_END
}

fn delta(delta: &Value) -> Value {
    json!({"id": "c", "choices": [{"index": 0, "delta": delta}]})
}

fn finish(reason: &str) -> Value {
    json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn call(index: u32, id: &str, name: &str, arguments: &str) -> Value {
    delta(&json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}))
}

fn arguments(index: u32, arguments: &str) -> Value {
    delta(&json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}))
}

/// The events of a stream, each checked for its form.
fn events(from: Dialect, text: &str) -> Vec<Value> {
    let mut stream = Stream::new(from, Responses, ctx(&hello(&json!({}))), false);
    let mut out = BytesMut::new();
    let pushed = stream.push(&Bytes::from(text.to_owned()), &mut out).unwrap();
    assert_eq!(pushed, Pushed::Rewritten);
    stream.finish(&mut out).unwrap();
    parsed(std::str::from_utf8(&out).unwrap(), 0)
}

fn parsed(text: &str, from: usize) -> Vec<Value> {
    let mut events = Vec::new();
    for event in text.split_terminator("\n\n") {
        let Some((name, data)) = event.split_once('\n') else {
            assert!(event.starts_with(':'), "{event}");
            continue;
        };
        let value: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(format!("event: {}", value["type"].as_str().unwrap()), name);
        assert_eq!(value["sequence_number"], from + events.len(), "{event}");
        events.push(value);
    }
    events
}

/// What the deltas of an item say, against what its `done` events and the final response say.
fn check_items(events: &[Value]) -> Value {
    let last = events.last().unwrap();
    let response = &last["response"];
    for (index, item) in response["output"].as_array().unwrap().iter().enumerate() {
        let mine: Vec<&Value> = events.iter().filter(|event| event["output_index"] == index).collect();
        assert_eq!(mine[0]["type"], "response.output_item.added");
        assert_eq!(mine[0]["item"]["id"], item["id"]);
        let done = mine.last().unwrap();
        assert_eq!(
            (&done["type"], &done["item"]),
            (&json!("response.output_item.done"), item)
        );
        let said: String = mine.iter().filter_map(|event| event["delta"].as_str()).collect();
        let whole = match item["type"].as_str().unwrap() {
            "function_call" => item["arguments"].as_str().unwrap().to_owned(),
            "reasoning" => item["summary"][0]["text"].as_str().unwrap_or_default().to_owned(),
            _ => item["content"]
                .as_array()
                .unwrap()
                .iter()
                .map(|part| part["text"].as_str().or(part["refusal"].as_str()).unwrap())
                .collect(),
        };
        assert_eq!(said, whole, "{item}");
    }
    response.clone()
}

#[test]
fn parallel_calls_keep_their_places_though_their_fragments_alternate() {
    let text = chat_chunks(&[
        delta(&json!({"content": "Let me "})),
        delta(&json!({"content": "look."})),
        call(0, "a", "weather", ""),
        call(1, "b", "tide", "{\"x\""),
        arguments(0, "{\"city\":"),
        arguments(1, ":1}"),
        arguments(0, "\"Brest\"}"),
        finish("tool_calls"),
    ]);
    let response = check_items(&events(Chat, &text));
    assert_eq!(response["status"], "completed");
    let output = &response["output"];
    assert_eq!(output[0]["content"][0]["text"], "Let me look.");
    assert_eq!(
        (&output[1]["call_id"], &output[1]["arguments"]),
        (&json!("a"), &json!("{\"city\":\"Brest\"}"))
    );
    assert_eq!(
        (&output[2]["call_id"], &output[2]["arguments"]),
        (&json!("b"), &json!("{\"x\":1}"))
    );
}

#[test]
fn a_stream_of_every_kind_of_content_ends_as_its_parts_said() {
    let text = chat_chunks(&[
        delta(&json!({"reasoning_content": "They "})),
        delta(&json!({"reasoning_content": "ask."})),
        delta(&json!({"content": "Well, "})),
        delta(&json!({"refusal": "no."})),
        call(0, "a", "tide", ""),
        delta(&json!({"content": "After."})),
        finish("stop"),
    ]);
    let response = check_items(&events(Chat, &text));
    let kinds: Vec<&str> = response["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "message"]);
    assert_eq!(response["output"][1]["content"][1]["refusal"], "no.");
    assert_eq!(response["output"][2]["arguments"], "{}");
    assert_eq!(response["output"][0]["encrypted_content"], "bowsprit.1 {}");
    assert_eq!(response["usage"]["total_tokens"], 3);
}

#[test]
fn a_cut_stream_is_incomplete_and_an_empty_one_is_whole() {
    let text = chat_chunks(&[delta(&json!({"content": "And then"})), finish("length")]);
    let all = events(Chat, &text);
    let response = check_items(&all);
    assert_eq!(all.last().unwrap()["type"], "response.incomplete");
    assert_eq!(response["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(response["output"][0]["status"], "incomplete");
    let response = check_items(&events(Chat, &chat_chunks(&[finish("stop")])));
    assert_eq!(
        (&response["status"], &response["output"]),
        (&json!("completed"), &json!([]))
    );
}

#[test]
fn a_calls_signature_streams_with_the_thought_before_it() {
    let thought = "{\"text\": \"Hm.\",\"thought\": true}";
    let signed = "{\"functionCall\": {\"id\": \"c1\",\"name\": \"tide\",\"args\": {}},\"thoughtSignature\": \"CsQB\"}";
    let stream = |parts: &str| {
        format!(
            "data: {{\"candidates\": [{{\"content\": {{\"parts\": [{parts}]}},\"finishReason\": \"STOP\",\"index\": 0}}]}}\r\n\r\n"
        )
    };
    for (parts, summary) in [
        (format!("{thought},{signed}"), json!("Hm.")),
        (signed.to_owned(), Value::Null),
    ] {
        let response = check_items(&events(Gemini, &stream(&parts)));
        let output = response["output"].as_array().unwrap();
        assert_eq!(output.len(), 2, "{response}");
        assert_eq!(output[0]["summary"][0]["text"], summary);
        assert_eq!(
            output[0]["encrypted_content"],
            "bowsprit.1 {\"signature\":\"CsQB\",\"call\":\"c1\"}"
        );
    }
}

#[test]
fn a_texts_signature_comes_after_the_text_and_goes_back_to_gemini_only() {
    let part = |part: Value, end: &str| {
        format!("data: {{\"candidates\": [{{\"content\": {{\"parts\": [{part}]}},\"index\": 0{end}}}]}}\r\n\r\n")
    };
    let text = [
        part(json!({"text": "Ahoy "}), ""),
        part(json!({"text": "there", "thoughtSignature": "CsQB"}), ""),
        part(json!({"text": "."}), ",\"finishReason\": \"STOP\""),
    ];
    let response = check_items(&events(Gemini, &text.concat()));
    let output = response["output"].as_array().unwrap();
    assert_eq!(output.len(), 2, "{response}");
    assert_eq!(output[0]["content"][0]["text"], "Ahoy there.");
    let mut input = vec![json!({"role": "user", "content": "x"})];
    input.extend(output.iter().cloned());
    input.push(json!({"role": "user", "content": "y"}));
    let request = hello(&json!({"input": input}));
    let (body, _) = translate(Gemini, &request).unwrap();
    assert_eq!(
        body["contents"][1]["parts"],
        json!([{"text": "Ahoy there."}, {"text": "", "thoughtSignature": "CsQB"}])
    );
    for to in [Anthropic, Chat] {
        let (body, dropped) = translate(to, &request).unwrap();
        let body = body.to_string();
        assert!(!body.contains("CsQB") && !body.contains("thinking"), "{to}: {body}");
        assert_eq!(dropped, Vec::<String>::new(), "{to}: no word is lost");
    }
}

fn view() -> ErrorView<'static> {
    ErrorView {
        code: Code::ExtTruncated,
        message: "the provider broke off",
        status: None,
        exact: None,
        param: None,
        request_id: "r1",
        retry_after: None,
    }
}

#[test]
fn nothing_is_held_back_before_the_first_content() {
    // The proxy holds 256 KiB at most while another provider may still be asked.
    let request = hello(&json!({"instructions": "x".repeat(300_000)}));
    let mut stream = Stream::new(Anthropic, Responses, ctx(&request), false);
    let start =
        json!({"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 1, "output_tokens": 1}}});
    let mut out = BytesMut::new();
    stream.push(&Bytes::from(sse(&start)), &mut out).unwrap();
    assert!(out.is_empty() && !stream.content_started());
    let text = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "A"}});
    stream.push(&Bytes::from(sse(&text)), &mut out).unwrap();
    assert!(out.starts_with(b"event: response.created\n") && stream.content_started());
}

#[test]
fn a_broken_stream_ends_with_the_error_and_the_failed_response() {
    let mut stream = Stream::new(Chat, Responses, ctx(&hello(&json!({}))), false);
    let mut out = BytesMut::new();
    let chunk = format!("data: {}\n\n", delta(&json!({"content": "Ahoy"})));
    stream.push(&Bytes::from(chunk), &mut out).unwrap();
    assert_eq!(stream.finish(&mut out), Err(StreamError::Truncated));
    let said = parsed(std::str::from_utf8(&out).unwrap(), 0);
    let end = stream.error_event(&view());
    let end = parsed(std::str::from_utf8(&end).unwrap(), said.len());
    assert_eq!(
        (
            &end[0]["type"],
            &end[0]["code"],
            &end[0]["error"]["code"],
            &end[0]["error"]["bowsprit_code"],
            &end[0]["message"]
        ),
        (
            &json!("error"),
            &json!("server_error"),
            &json!("server_error"),
            &json!("EXT_TRUNCATED"),
            &json!("the provider broke off")
        )
    );
    assert_eq!(end[1]["type"], "response.failed");
    assert_eq!(end[1]["response"]["status"], "failed");
    let error = &end[1]["response"]["error"];
    assert_eq!(
        (&error["code"], &error["bowsprit_code"]),
        (&json!("server_error"), &json!("EXT_TRUNCATED"))
    );
    assert_eq!(end.len(), 2);
}

#[test]
fn an_answer_that_cannot_be_repeated_at_its_end_is_an_error_and_not_endless_memory() {
    let mut stream = Stream::new(Chat, Responses, ctx(&hello(&json!({}))), false);
    let chunk = Bytes::from(format!("data: {}\n\n", delta(&json!({"content": "x".repeat(60_000)}))));
    let mut out = BytesMut::new();
    let mut pushed = 0;
    let end = loop {
        match stream.push(&chunk, &mut out) {
            Ok(_) => pushed += 1,
            Err(error) => break error,
        }
        out.clear();
        assert!(pushed < 40, "2 MiB is the limit");
    };
    assert!(matches!(end, StreamError::Malformed(text) if text.contains("2 MiB")));
}

// ---- streams of OpenAI's own

fn watch(pieces: &[&str]) -> (Stream, Result<(), StreamError>) {
    let mut stream = Stream::new(Responses, Responses, AnswerContext::default(), false);
    let mut out = BytesMut::new();
    for piece in pieces {
        match stream.push(&Bytes::copy_from_slice(piece.as_bytes()), &mut out) {
            Ok(pushed) => assert_eq!(pushed, Pushed::Same),
            Err(error) => return (stream, Err(error)),
        }
    }
    let end = stream.finish(&mut out);
    (stream, end)
}

fn sse(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
}

#[test]
fn the_hold_ends_with_the_models_first_word_or_deed() {
    let quiet = [
        json!({"type": "response.created", "response": {"error": null, "usage": null}}),
        json!({"type": "response.queued", "response": {"error": null}}),
        json!({"type": "response.in_progress", "response": {"error": null}}),
        json!({"type": "keepalive", "sequence_number": 3}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs_1", "summary": []}}),
        json!({"type": "response.reasoning_summary_part.added", "part": {"type": "summary_text", "text": ""}}),
        json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "id": "msg_1", "content": []}}),
        json!({"type": "response.content_part.added", "part": {"type": "output_text", "text": ""}}),
    ];
    let quiet: String = quiet.iter().map(sse).collect();
    assert!(!watch(&[&quiet]).0.content_started());
    for loud in [
        json!({"type": "response.output_text.delta", "delta": "A"}),
        json!({"delta": "A", "type": "response.refusal.delta"}),
        json!({"type": "response.reasoning_summary_text.delta", "delta": "A"}),
        json!({"type": "response.function_call_arguments.delta", "delta": "{"}),
        json!({"type": "response.output_item.added", "item": {"type": "function_call", "id": "fc_1"}}),
        json!({"type": "response.output_item.added", "item": {"type": "web_search_call", "id": "ws_1"}}),
        json!({"type": "response.web_search_call.searching", "item_id": "ws_1"}),
        json!({"type": "response.completed", "response": {"output": [], "usage": null}}),
    ] {
        assert!(watch(&[&quiet, &sse(&loud)]).0.content_started(), "{loud}");
    }
}

#[test]
fn an_incomplete_response_is_a_whole_answer() {
    let last = json!({"type": "response.incomplete", "response": {"status": "incomplete", "error": null, "usage": {"input_tokens": 3, "output_tokens": 4}}});
    let (stream, end) = watch(&[&sse(&last)]);
    assert_eq!(end, Ok(()));
    assert_eq!(stream.usage().map(|usage| (usage.input, usage.output)), Some((3, 4)));
}

#[test]
fn a_last_event_too_large_to_hold_still_ends_the_stream() {
    // Pictures come whole in the last event, as base64.
    let last = json!({"type": "response.completed", "sequence_number": 9, "response": {"id": "resp_1", "output": [{"type": "image_generation_call", "result": "iVBOR".repeat(500_000)}],
        "usage": {"input_tokens": 20, "input_tokens_details": {"cached_tokens": 16}, "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 29}, "user": null, "metadata": {"a": "b"}}});
    let text = sse(&last);
    let expected = Usage {
        input: 20,
        output: 9,
        cached: 16,
        cache_write: 0,
        reasoning: 4,
        // By which it is billed stands too far in front.
        terms: Terms::Other,
        ..Usage::default()
    };
    for size in [16 << 10, 999_983, text.len()] {
        let pieces: Vec<&str> = text
            .as_bytes()
            .chunks(size)
            .map(|piece| std::str::from_utf8(piece).unwrap())
            .collect();
        let (stream, end) = watch(&pieces);
        assert_eq!((end, stream.usage()), (Ok(()), Some(expected)), "by {size}");
        assert!(stream.ended() && stream.content_started());
        let (_, end) = watch(&pieces[..pieces.len() - 1]);
        assert_eq!(end, Err(StreamError::Truncated), "by {size}, cut");
    }
    let other =
        json!({"type": "response.image_generation_call.partial_image", "partial_image_b64": "iVBOR".repeat(500_000)});
    assert_eq!(watch(&[&sse(&other)]).1, Err(StreamError::Truncated));
}

#[test]
fn our_error_in_openais_stream_carries_the_next_number() {
    let begun = json!({"type": "response.created", "sequence_number": 0, "response": {}});
    let text = json!({"type": "response.output_text.delta", "sequence_number": 1, "delta": "A"});
    let failed = json!({"type": "response.failed", "sequence_number": 2, "response": {"error": {"code": "server_error", "message": "no"}}});
    let (stream, end) = watch(&[&sse(&begun), &sse(&text), &sse(&failed)]);
    assert!(matches!(end, Err(StreamError::Provider(error)) if error.message == "no"));
    let event = stream.error_event(&view());
    assert_eq!(parsed(std::str::from_utf8(&event).unwrap(), 2).len(), 1);
    let (stream, end) = watch(&[&sse(&begun), &sse(&text)]);
    assert_eq!(end, Err(StreamError::Truncated));
    let event = stream.error_event(&view());
    assert_eq!(parsed(std::str::from_utf8(&event).unwrap(), 2).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cutting_thoughts_out_keeps_all_else(ours in proptest::collection::vec(any::<bool>(), 0..8), space in "[ \n\t]{0,3}", tail in "[a-z]{0,6}") {
        let other = |index: usize| format!("{{\"role\":{space}\"user\",\"content\":\"bowsprit {index}\"}}");
        let items: Vec<String> = ours.iter().enumerate().map(|(index, ours)| if *ours { OURS.to_owned() } else { other(index) }).collect();
        let join = format!("{space},{space}");
        let body = format!("{{\"input\":{space}[{space}{}{space}],\"z\":\"{tail}\"}}", items.join(&join));
        let sent = native(&body);
        let mut expected: Value = serde_json::from_str(&body).unwrap();
        expected["input"].as_array_mut().unwrap().retain(|item| item["type"] != "reasoning");
        prop_assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), expected);
        for (index, _) in ours.iter().enumerate().filter(|(_, ours)| !**ours) {
            prop_assert!(sent.contains(&other(index)));
        }
        prop_assert!(ours.contains(&true) || sent == body);
    }

    #[test]
    fn any_chunks_give_the_same_large_event(cuts in proptest::collection::vec(0usize..1_300_000, 0..6)) {
        let last = json!({"type": "response.completed", "response": {"output": ["x".repeat(1_200_000)], "usage": {"input_tokens": 1, "output_tokens": 2}}});
        let text = sse(&last) + &sse(&json!({"type": "keepalive"}));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let (stream, end) = watch(&pieces);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(stream.usage().map(|usage| usage.output), Some(2));
    }
}
