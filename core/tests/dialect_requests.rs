//! Requests and whole answers: every pair, field by field.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use bowsprit_core::dialect::{
    AnswerContext, Dialect, Echo, RequestError, Target, Usage, translate_request, translate_response, usage,
};
use bowsprit_core::fault::{Code, ErrorKind};
use bowsprit_core::platform::{self, Endpoint, Framing};
use bowsprit_crds::ProviderKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as OpenAi, OpenAiResponses as Responses};
use asking::{ask, model, target};

#[path = "shared/asking.rs"]
mod asking;

fn translate_to(to: Dialect, model: &str, from: Dialect, body: &Value) -> Result<(Value, Vec<String>), RequestError> {
    let safety = [("HARM_CATEGORY_HARASSMENT".to_owned(), "BLOCK_ONLY_HIGH".to_owned())];
    let target = Target {
        safety: &safety,
        stream: true,
        ..target(model)
    };
    ask(from, to, body, &target)
}

fn translate(from: Dialect, to: Dialect, body: &Value) -> Result<(Value, Vec<String>), RequestError> {
    translate_to(to, model(to), from, body)
}

fn refused(from: Dialect, to: Dialect, body: &Value) -> (Code, String) {
    let error = translate(from, to, body).expect_err("must be refused");
    assert!(!error.problem.is_empty());
    (error.code, error.path)
}

fn openai_request() -> Value {
    json!({
        "model": "gpt-4.1", "stream": true, "stream_options": {"include_usage": true},
        "messages": [
            {"role": "system", "content": "You are a harbour master."},
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": "Weather and tide in Brest?"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Brest\"}"}},
                {"id": "functions.tide:1", "type": "function", "function": {"name": "tide", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "call_a", "content": "{\"sky\":\"clear\"}"},
            {"role": "tool", "tool_call_id": "functions.tide:1", "content": [{"type": "text", "text": "high"}]},
            {"role": "user", "content": [
                {"type": "text", "text": "And this boat?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/boat.webp?x=1"}},
            ]},
        ],
        "tools": [
            {"type": "function", "function": {"name": "weather", "description": "The weather",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}},
            {"type": "function", "function": {"name": "tide", "strict": true, "parameters": {"type": "object", "properties": {}, "additionalProperties": false}}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": false,
        "max_completion_tokens": 500, "temperature": 1.5, "top_p": 0.9, "stop": ["END", "STOP"], "seed": 7,
        "presence_penalty": 0.5, "frequency_penalty": 0, "n": 1, "user": "u-1", "reasoning_effort": "low",
        "metadata": {"team": "a"}, "store": true, "logit_bias": {"50256": -100}, "logprobs": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "boat", "strict": true, "schema": {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"], "additionalProperties": false}}},
    })
}

fn anthropic_request() -> Value {
    json!({
        "model": "claude-sonnet-4-5", "max_tokens": 1024, "stream": false,
        "system": [{"type": "text", "text": "You are a harbour master.", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": "Weather and tide in Brest?"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "They want weather.", "signature": "EqQB"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {"city": "Brest"}},
                {"type": "tool_use", "id": "toolu_02", "name": "tide", "input": {}, "extra_content": {"google": {"thought_signature": "CsQB"}}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_01", "content": [
                    {"type": "text", "text": "clear"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                ]},
                {"type": "tool_result", "tool_use_id": "toolu_02", "content": "gauge broken", "is_error": true},
                {"type": "document", "title": "chart.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
                {"type": "text", "text": "So?"},
            ]},
        ],
        "tools": [{"name": "weather", "description": "The weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}},
                  {"type": "custom", "name": "tide", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "stop_sequences": ["END"], "temperature": 0.5, "top_k": 40,
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "metadata": {"user_id": "u-1"}, "service_tier": "auto",
    })
}

fn gemini_request() -> Value {
    json!({
        "systemInstruction": {"parts": [{"text": "You are a harbour master."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Weather twice, please."}]},
            {"role": "model", "parts": [
                {"text": "Thinking.", "thought": true},
                {"functionCall": {"name": "weather", "args": {"city": "Brest"}}, "thoughtSignature": "CsQB"},
                {"functionCall": {"name": "weather", "args": {"city": "Lorient"}}},
            ]},
            {"role": "function", "parts": [
                {"functionResponse": {"name": "weather", "response": {"output": "clear"}}},
                {"functionResponse": {"name": "weather", "response": {"sky": "rain", "wind": 4}}},
            ]},
            {"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": "iVBORw0KGgo="}}, {"fileData": {"fileUri": "https://example.com/a.jpg", "mimeType": "image/jpeg"}}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "weather", "description": "The weather", "parameters": {
            "type": "OBJECT", "properties": {"city": {"type": "STRING"}, "days": {"type": "ARRAY", "items": {"type": "INTEGER"}, "maxItems": "7", "nullable": true}}, "propertyOrdering": ["city"]}}]}],
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["weather"]}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "generationConfig": {"maxOutputTokens": 256, "temperature": 0.2, "topP": 0.8, "topK": 40.0, "seed": 3, "stopSequences": ["END"],
            "candidateCount": 1, "responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "properties": {"sky": {"type": "STRING"}}},
            "thinkingConfig": {"thinkingBudget": 0}},
    })
}

fn responses_request() -> Value {
    json!({
        "model": "gpt-4.1", "stream": true, "instructions": "You are a harbour master.",
        "input": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Weather and tide in Brest?"},
            {"type": "reasoning", "id": "rs_bowsprit_1_0", "summary": [{"type": "summary_text", "text": "They want weather."}], "encrypted_content": "bowsprit.1 {\"signature\":\"EqQB\"}"},
            {"type": "reasoning", "id": "rs_bowsprit_1_1", "summary": [], "encrypted_content": "bowsprit.1 {\"signature\":\"CsQB\",\"call\":\"call_a\"}"},
            {"type": "reasoning", "id": "rs_68", "summary": [], "encrypted_content": "gAAAA"},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look.", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "call_a", "name": "weather", "arguments": "{\"city\":\"Brest\"}"},
            {"type": "function_call", "id": "fc_2", "call_id": "call_b", "name": "tide", "arguments": ""},
            {"type": "function_call_output", "call_id": "call_a", "output": "{\"sky\":\"clear\"}"},
            {"type": "function_call_output", "call_id": "call_b", "output": [{"type": "input_text", "text": "high"}, {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"}]},
            {"role": "user", "content": [
                {"type": "input_text", "text": "And this boat?"},
                {"type": "input_image", "image_url": "https://example.com/boat.webp?x=1", "detail": "low"},
                {"type": "input_file", "filename": "chart.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
            ]},
        ],
        "tools": [
            {"type": "function", "name": "weather", "description": "The weather", "strict": true,
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
            {"type": "function", "name": "tide"},
        ],
        "tool_choice": {"type": "function", "name": "weather"}, "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "boat", "strict": true, "schema": {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"], "additionalProperties": false}}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 500, "temperature": 1.5, "top_p": 0.9,
        "include": ["reasoning.encrypted_content"], "store": false, "truncation": "auto", "metadata": {"team": "a"},
        "safety_identifier": "u-1", "prompt_cache_key": "k", "service_tier": "auto",
    })
}

fn request(dialect: Dialect) -> Value {
    match dialect {
        OpenAi => openai_request(),
        Anthropic => anthropic_request(),
        Gemini => gemini_request(),
        Responses => responses_request(),
    }
}

fn openai_answer() -> Value {
    json!({"id": "chatcmpl-9", "object": "chat.completion", "created": 1, "model": "gpt-4.1-2025", "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": "Ahoy", "refusal": null, "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Brest\"}"}},
            {"id": "call_b", "type": "function", "function": {"name": "tide", "arguments": "{broken"}}]}}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29, "prompt_tokens_details": {"cached_tokens": 16}, "completion_tokens_details": {"reasoning_tokens": 4}}})
}

fn anthropic_answer() -> Value {
    json!({"id": "msg_01", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}, {"type": "redacted_thinking", "data": "xyz"},
            {"type": "text", "text": "Ahoy"}, {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {"city": "Brest"}}],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 16, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}})
}

fn gemini_answer() -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "Hm.", "thought": true}, {"text": "Ahoy"}, {"functionCall": {"name": "weather", "args": {"city": "Brest"}}, "thoughtSignature": "CsQB"}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 5, "thoughtsTokenCount": 4, "cachedContentTokenCount": 16, "totalTokenCount": 29}, "modelVersion": "gemini-2.5-flash", "responseId": "r1"})
}

fn answer(dialect: Dialect) -> Value {
    match dialect {
        OpenAi => openai_answer(),
        Anthropic => anthropic_answer(),
        Gemini => gemini_answer(),
        Responses => panic!("no provider is asked in Responses for another caller"),
    }
}

fn ctx() -> AnswerContext {
    AnswerContext {
        model: "asked-for".into(),
        id: "bow-0123456789abcdef".into(),
        created: 1_700_000_000,
        include_usage: false,
        show_thoughts: true,
        echo: Echo::of(Responses, responses_request().to_string().as_bytes()),
        ..AnswerContext::default()
    }
}

fn respond(from: Dialect, to: Dialect, body: &Value) -> Result<(Value, Usage), ErrorKind> {
    translate_response(from, to, body.to_string().as_bytes(), &ctx())
        .map(|(body, usage)| (serde_json::from_slice(&body).unwrap(), usage))
}

/// (caller, provider), as a request goes.
fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    Dialect::ALL
        .into_iter()
        .flat_map(|from| Dialect::PROVIDERS.into_iter().map(move |to| (from, to)))
        .filter(|(from, to)| from != to)
}

/// (provider, caller), as an answer goes.
fn back() -> impl Iterator<Item = (Dialect, Dialect)> {
    pairs().map(|(caller, provider)| (provider, caller))
}

const PAIRS: usize = 9;

#[test]
fn all_pairs_are_tried() {
    assert_eq!(pairs().count(), PAIRS);
}

#[test]
fn every_pair_translates_requests_as_its_snapshot_says() {
    for (from, to) in pairs() {
        let (body, dropped) = translate(from, to, &request(from)).unwrap();
        insta::assert_json_snapshot!(
            format!("request_{from}_to_{to}"),
            json!({"body": body, "dropped": dropped})
        );
    }
}

#[test]
fn every_pair_translates_answers_as_its_snapshot_says() {
    for (from, to) in back() {
        let (body, used) = respond(from, to, &answer(from)).unwrap();
        assert_eq!(
            used,
            Usage {
                input: 20,
                output: 9,
                cached: 16,
                cache_write: 0,
                reasoning: 4,
                ..Usage::default()
            }
        );
        assert_eq!(usage(to, body.to_string().as_bytes()), Some(used), "{from} -> {to}");
        assert_eq!(usage(from, answer(from).to_string().as_bytes()), Some(used), "{from}");
        insta::assert_json_snapshot!(format!("answer_{from}_to_{to}"), body);
    }
}

#[test]
fn anthropic_cache_tokens_are_part_of_the_input() {
    let body = json!({"usage": {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 1000, "output_tokens": 1}});
    let used = usage(Anthropic, body.to_string().as_bytes()).unwrap();
    assert_eq!((used.input, used.cached, used.cache_write), (1110, 100, 1000));
}

fn hello(extra: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn what_cannot_be_carried_is_refused_with_its_path() {
    let table = [
        (json!({"n": 2}), Anthropic, "n"),
        (json!({"audio": {"voice": "alloy"}}), Gemini, "audio"),
        (json!({"modalities": ["text", "audio"]}), Anthropic, "modalities"),
        (json!({"logprobs": true}), Anthropic, "logprobs"),
        (json!({"functions": []}), Anthropic, "functions"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio", "input_audio": {}}]}]}),
            Gemini,
            "messages[0].content[1].type",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}),
            Anthropic,
            "messages[0].content[0].file.file_id",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "gs://b/x.png"}}]}]}),
            Gemini,
            "messages[0].content[0].image_url.url",
        ),
    ];
    for (extra, to, path) in table {
        assert_eq!(
            refused(OpenAi, to, &hello(&extra)),
            (Code::ValUnsupported, path.to_owned())
        );
    }
    let server_tool = hello(
        &json!({"max_tokens": 5, "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "any"}}),
    );
    assert_eq!(
        refused(Anthropic, OpenAi, &server_tool),
        (Code::ValUnsupported, "tools[0].type".to_owned())
    );
    let cached = json!({"contents": [{"parts": [{"text": "x"}]}], "cachedContent": "c"});
    assert_eq!(
        refused(Gemini, OpenAi, &cached),
        (Code::ValUnsupported, "cachedContent".to_owned())
    );
    let search = json!({"contents": [{"parts": [{"text": "x"}]}], "tools": [{"googleSearch": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}});
    assert_eq!(
        refused(Gemini, OpenAi, &search),
        (Code::ValUnsupported, "tools[0].googleSearch".to_owned())
    );
}

#[test]
fn wrong_types_are_refused_with_their_path() {
    let table = [
        (json!({"messages": "hi"}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"content": "x"}]}), "messages[0].role"),
        (
            json!({"messages": [{"role": "pirate", "content": "x"}]}),
            "messages[0].role",
        ),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (
            json!({"messages": [{"role": "user", "content": 5}]}),
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}),
            "messages[0].content[0].text",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "nope", "content": "x"}]}),
            "messages[1].tool_call_id",
        ),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (json!({"stop": [1]}), "stop[0]"),
        (json!({"n": 0}), "n"),
        (
            json!({"tools": [{"type": "function", "function": {"name": 1}}]}),
            "tools[0].function.name",
        ),
        (json!({"tool_choice": "maybe"}), "tool_choice"),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": 3}}}),
            "response_format.json_schema.schema",
        ),
    ];
    for (extra, path) in table {
        for to in [Anthropic, Gemini] {
            assert_eq!(
                refused(OpenAi, to, &hello(&extra)),
                (Code::ValField, path.to_owned()),
                "{extra}"
            );
        }
    }
    for body in ["", "{", "[]", "null", "\u{0}"] {
        let error = translate_request(OpenAi, Gemini, body.as_bytes(), &target("m")).unwrap_err();
        assert_eq!(error.code, Code::ValNotJson, "{body:?}");
    }
}

#[test]
fn anthropic_gets_tool_results_first_and_closed_schemas() {
    let body = json!({
        "contents": [
            {"role": "user", "parts": [{"text": "x"}]},
            {"role": "model", "parts": [{"functionCall": {"id": "a", "name": "tide"}}]},
            {"role": "user", "parts": [{"text": "here:"}, {"functionResponse": {"id": "a", "name": "tide", "response": {"error": "gone"}}}]},
        ],
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "OBJECT"}}}},
    });
    let (body, _) = translate(Gemini, Anthropic, &body).unwrap();
    let content = &body["messages"][2]["content"];
    assert_eq!(
        (&content[0]["type"], &content[0]["is_error"], &content[1]["text"]),
        (&json!("tool_result"), &json!(true), &json!("here:"))
    );
    let schema = &body["output_config"]["format"]["schema"];
    assert_eq!(
        (
            &schema["additionalProperties"],
            &schema["properties"]["a"]["additionalProperties"]
        ),
        (&json!(false), &json!(false))
    );
}

#[test]
fn tool_choices_mean_the_same_everywhere() {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
    let ask = |to, choice: Value| {
        let (body, _) = translate(
            OpenAi,
            to,
            &hello(&json!({"tools": [tool("a"), tool("b"), tool("c")], "tool_choice": choice})),
        )
        .unwrap();
        match to {
            Gemini => (
                body["toolConfig"]["functionCallingConfig"].clone(),
                body["tools"][0]["functionDeclarations"].as_array().unwrap().len(),
            ),
            _ => (body["tool_choice"].clone(), body["tools"].as_array().unwrap().len()),
        }
    };
    let allowed =
        |mode: &str| json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [tool("a"), tool("b")]}});
    assert_eq!(ask(Anthropic, json!("auto")), (json!({"type": "auto"}), 3));
    assert_eq!(ask(Anthropic, json!("none")), (json!({"type": "none"}), 3));
    assert_eq!(ask(Anthropic, json!("required")), (json!({"type": "any"}), 3));
    assert_eq!(ask(Anthropic, allowed("required")), (json!({"type": "any"}), 2));
    assert_eq!(ask(Anthropic, allowed("auto")), (json!({"type": "auto"}), 2));
    assert_eq!(ask(Gemini, json!("none")), (json!({"mode": "NONE"}), 3));
    assert_eq!(ask(Gemini, json!("required")), (json!({"mode": "ANY"}), 3));
    assert_eq!(
        ask(Gemini, allowed("required")),
        (json!({"mode": "ANY", "allowedFunctionNames": ["a", "b"]}), 3)
    );
    assert_eq!(ask(Gemini, allowed("auto")), (json!({"mode": "AUTO"}), 2));
}

#[test]
fn what_only_loses_a_hint_is_listed() {
    let (_, dropped) = translate(OpenAi, Anthropic, &hello(&json!({"seed": 1, "frequency_penalty": 0.1, "top_p": 0.5, "temperature": 2, "brand_new": 1, "verbosity": null}))).unwrap();
    assert_eq!(
        dropped,
        ["brand_new", "temperature", "top_p", "frequency_penalty", "seed"]
    );
    let late = json!([{"role": "user", "content": "x"}, {"role": "system", "content": "y"}, {"role": "user", "content": "z", "name": "bob"}]);
    let (body, dropped) = translate(OpenAi, Anthropic, &hello(&json!({"messages": late}))).unwrap();
    assert_eq!(dropped, ["messages[1].role", "messages[2].name"]);
    assert_eq!(
        body["messages"],
        json!([{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "z"}]}])
    );
}

#[test]
fn thinking_is_asked_for_as_the_target_model_knows_it() {
    let ask = |model: &str, effort: &str| {
        let (body, dropped) =
            translate_to(Gemini, model, OpenAi, &hello(&json!({"reasoning_effort": effort}))).unwrap();
        (body["generationConfig"]["thinkingConfig"].clone(), dropped.len())
    };
    assert_eq!(ask("gemini-2.5-flash", "medium"), (json!({"thinkingBudget": 8192}), 0));
    assert_eq!(ask("gemini-2.5-flash", "none"), (json!({"thinkingBudget": 0}), 0));
    assert_eq!(ask("gemini-3-pro-preview", "low"), (json!({"thinkingLevel": "low"}), 0));
    assert_eq!(
        ask("gemini-3-pro-preview", "medium"),
        (json!({"thinkingLevel": "high"}), 1)
    );
    assert_eq!(ask("gemini-2.0-flash", "high"), (Value::Null, 1));
    let (body, _) = translate_to(OpenAi, "gpt-5-mini", Gemini, &json!({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"maxOutputTokens": 9, "thinkingConfig": {"thinkingLevel": "LOW"}}})).unwrap();
    assert_eq!(
        (&body["reasoning_effort"], &body["max_completion_tokens"]),
        (&json!("low"), &json!(9))
    );
}

#[test]
fn the_third_gemini_generation_gets_a_signature_for_every_step_of_calls() {
    let (body, _) = translate_to(Gemini, "gemini-3-pro-preview", OpenAi, &openai_request()).unwrap();
    let parts = &body["contents"][1]["parts"];
    assert_eq!(parts[0]["thoughtSignature"], "skip_thought_signature_validator");
    assert_eq!(parts[1].get("thoughtSignature"), None);
}

#[test]
fn thoughts_survive_the_way_to_the_caller_and_back() {
    let (answer, _) = respond(Anthropic, OpenAi, &anthropic_answer()).unwrap();
    let message = answer["choices"][0]["message"].clone();
    let history = json!([{"role": "user", "content": "x"}, message, {"role": "tool", "tool_call_id": "toolu_01", "content": "clear"}]);
    let (body, dropped) = translate(OpenAi, Anthropic, &hello(&json!({"messages": history}))).unwrap();
    assert_eq!(body["messages"][1]["content"], anthropic_answer()["content"]);
    assert_eq!(dropped, Vec::<String>::new());
    let (answer, _) = respond(Gemini, OpenAi, &gemini_answer()).unwrap();
    let message = answer["choices"][0]["message"].clone();
    let history = json!([{"role": "user", "content": "x"}, message]);
    let (body, _) = translate(OpenAi, Gemini, &hello(&json!({"messages": history}))).unwrap();
    assert_eq!(body["contents"][1]["parts"][1]["thoughtSignature"], "CsQB");
}

#[test]
fn withheld_answers_say_so_in_every_dialect() {
    let blocked = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5}});
    let (body, used) = respond(Gemini, OpenAi, &blocked).unwrap();
    assert_eq!(
        (&body["choices"][0]["finish_reason"], used.input),
        (&json!("content_filter"), 5)
    );
    let (body, _) = respond(Gemini, Anthropic, &blocked).unwrap();
    assert_eq!(body["stop_reason"], "refusal");
    let refusal = json!({"choices": [{"message": {"role": "assistant", "content": null, "refusal": "No."}, "finish_reason": "stop"}]});
    let (body, _) = respond(OpenAi, Anthropic, &refusal).unwrap();
    assert_eq!(
        (&body["stop_reason"], &body["content"][0]["text"]),
        (&json!("refusal"), &json!("No."))
    );
    let (body, _) = respond(OpenAi, Gemini, &refusal).unwrap();
    assert_eq!(body["candidates"][0]["finishReason"], "SAFETY");
}

#[test]
fn every_finish_reason_has_its_word() {
    let finish = |from: Dialect, reason: &str, to: Dialect| {
        let mut body = answer(from);
        match from {
            OpenAi => body["choices"][0]["message"] = json!({"role": "assistant", "content": "x"}),
            Anthropic => body["content"] = json!([{"type": "text", "text": "x"}]),
            Gemini => body["candidates"][0]["content"]["parts"] = json!([{"text": "x"}]),
            Responses => unreachable!(),
        }
        match from {
            OpenAi => body["choices"][0]["finish_reason"] = reason.into(),
            Anthropic => body["stop_reason"] = reason.into(),
            Gemini => body["candidates"][0]["finishReason"] = reason.into(),
            Responses => unreachable!(),
        }
        let (body, _) = respond(from, to, &body).unwrap();
        match to {
            OpenAi => body["choices"][0]["finish_reason"].clone(),
            Anthropic => body["stop_reason"].clone(),
            Gemini => body["candidates"][0]["finishReason"].clone(),
            Responses if body["status"] == "incomplete" => body["incomplete_details"]["reason"].clone(),
            Responses => body["status"].clone(),
        }
    };
    let table = [
        (OpenAi, "stop", Anthropic, "end_turn"),
        (OpenAi, "length", Anthropic, "max_tokens"),
        (OpenAi, "content_filter", Anthropic, "refusal"),
        (OpenAi, "length", Gemini, "MAX_TOKENS"),
        (Anthropic, "end_turn", OpenAi, "stop"),
        (Anthropic, "stop_sequence", OpenAi, "stop"),
        (Anthropic, "max_tokens", OpenAi, "length"),
        (Anthropic, "model_context_window_exceeded", OpenAi, "length"),
        (Anthropic, "refusal", OpenAi, "content_filter"),
        (Anthropic, "refusal", Gemini, "SAFETY"),
        (Gemini, "STOP", Anthropic, "end_turn"),
        (Gemini, "MAX_TOKENS", OpenAi, "length"),
        (Gemini, "RECITATION", OpenAi, "content_filter"),
        (Gemini, "SPII", Anthropic, "refusal"),
        (OpenAi, "stop", Responses, "completed"),
        (OpenAi, "length", Responses, "max_output_tokens"),
        (OpenAi, "content_filter", Responses, "content_filter"),
        (Anthropic, "stop_sequence", Responses, "completed"),
        (Anthropic, "max_tokens", Responses, "max_output_tokens"),
        (
            Anthropic,
            "model_context_window_exceeded",
            Responses,
            "max_output_tokens",
        ),
        (Anthropic, "refusal", Responses, "content_filter"),
        (Gemini, "STOP", Responses, "completed"),
        (Gemini, "MAX_TOKENS", Responses, "max_output_tokens"),
        (Gemini, "RECITATION", Responses, "content_filter"),
    ];
    for (from, reason, to, expected) in table {
        assert_eq!(finish(from, reason, to), expected, "{from} {reason} -> {to}");
    }
}

#[test]
fn a_success_that_is_none_is_told_apart() {
    let error = json!({"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}});
    assert_eq!(respond(OpenAi, Gemini, &error).unwrap_err(), ErrorKind::RateLimited);
    for from in Dialect::PROVIDERS {
        for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
            for body in [
                json!({}),
                json!([]),
                json!("x"),
                json!({"choices": [], "candidates": [], "content": 5}),
            ] {
                assert_eq!(
                    respond(from, to, &body).unwrap_err(),
                    ErrorKind::Malformed,
                    "{from} -> {to}: {body}"
                );
            }
            assert_eq!(
                translate_response(from, to, b"<html>", &ctx()).unwrap_err(),
                ErrorKind::Malformed
            );
        }
    }
    let bad_call = json!({"candidates": [{"content": {}, "finishReason": "MALFORMED_FUNCTION_CALL"}]});
    assert_eq!(respond(Gemini, OpenAi, &bad_call).unwrap_err(), ErrorKind::Internal);
}

#[test]
fn several_choices_keep_their_order() {
    let (body, _) = translate(OpenAi, Gemini, &hello(&json!({"n": 3}))).unwrap();
    assert_eq!(body["generationConfig"]["candidateCount"], 3);
    let two = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}, {"content": {"parts": [{"text": "b"}]}, "finishReason": "MAX_TOKENS", "index": 1}]});
    let (body, _) = respond(Gemini, OpenAi, &two).unwrap();
    assert_eq!(body["choices"][1]["message"]["content"], "b");
    assert_eq!(body["choices"][1]["finish_reason"], "length");
}

#[test]
fn a_model_name_cannot_leave_its_place_in_the_path() {
    for (kind, model, framing, path) in [
        (ProviderKind::OpenAI, "gpt-4.1", Framing::Events, "/chat/completions"),
        (ProviderKind::Anthropic, "x", Framing::Whole, "/v1/messages"),
        (
            ProviderKind::Gemini,
            "gemini-2.5-flash",
            Framing::Whole,
            "/v1beta/models/gemini-2.5-flash:generateContent",
        ),
        (
            ProviderKind::Gemini,
            "models/gemini-2.5-flash",
            Framing::Events,
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        ),
        (
            ProviderKind::Gemini,
            "../../v1/x?key=1#",
            Framing::Whole,
            "/v1beta/models/..%2F..%2Fv1%2Fx%3Fkey%3D1%23:generateContent",
        ),
    ] {
        let platform = platform::of(kind);
        let found = platform.path(Endpoint::Generate(framing), platform.dialect, model);
        assert_eq!(found.as_deref(), Some(path));
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z{}\\[]{0,6}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::hash_map("[a-z_]{1,8}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Replaces the value at the `at`-th node of the tree.
fn replace(value: &mut Value, at: &mut usize, with: &Value) {
    if *at == 0 {
        *value = with.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, at, with)),
        Value::Object(map) => map.values_mut().for_each(|item| replace(item, at, with)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_request_or_answer_never_panics(pair in 0usize..PAIRS, at in 0usize..120, with in any_json()) {
        let (from, to) = pairs().nth(pair).unwrap();
        let mut body = request(from);
        replace(&mut body, &mut at.clone(), &with);
        if let Err(error) = translate(from, to, &body) {
            prop_assert!(!error.to_string().is_empty());
        }
        let (from, to) = back().nth(pair).unwrap();
        let mut body = answer(from);
        replace(&mut body, &mut (at % 40), &with);
        let _ = respond(from, to, &body);
    }

    #[test]
    fn arbitrary_bytes_never_panic(pair in 0usize..PAIRS, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (from, to) = pairs().nth(pair).unwrap();
        let target = Target { model: "m", default_max_tokens: 1, safety: &[], stream: false, on_unsupported: None, allowed_tools: true };
        let _ = translate_request(from, to, &body, &target);
        let _ = translate_response(to, from, &body, &ctx());
        let _ = usage(from, &body);
    }
}

#[test]
fn an_image_in_url_safe_base64_leaves_gemini_in_the_standard_letters() {
    let body =
        json!({"contents": [{"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": "a-_b"}}]}]});
    for to in [Anthropic, OpenAi] {
        let (sent, _) = translate(Gemini, to, &body).unwrap();
        let sent = sent.to_string();
        assert!(sent.contains("a+/b") && !sent.contains("a-_b"), "{sent}");
    }
}
