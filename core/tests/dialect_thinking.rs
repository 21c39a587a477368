//! Thinking: asked for in every dialect's words, and thoughts that come back to who had them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use bowsprit_core::dialect::{
    AnswerContext, Dialect, Stream, translate_request, translate_response, without_foreign_thoughts,
};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

use Dialect::{AnthropicMessages as Anthropic, Gemini, OpenAiChat as OpenAi};
use asking::{ask, target};

#[path = "shared/asking.rs"]
mod asking;

fn send(from: Dialect, to: Dialect, model: &str, body: &Value) -> (Value, Vec<String>) {
    ask(from, to, body, &target(model)).unwrap()
}

fn openai(extra: &Value) -> Value {
    with(
        json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}),
        extra,
    )
}

fn anthropic(extra: &Value) -> Value {
    with(
        json!({"model": "m", "max_tokens": 50_000, "messages": [{"role": "user", "content": "x"}]}),
        extra,
    )
}

fn with(mut body: Value, extra: &Value) -> Value {
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

const TOOL: &str = r#"[{"type": "function", "function": {"name": "tide"}}]"#;

#[test]
fn an_effort_becomes_what_each_claude_takes() {
    let ask = |model: &str, effort: &str| {
        let (body, dropped) = send(OpenAi, Anthropic, model, &openai(&json!({"reasoning_effort": effort})));
        let effort = body["output_config"]["effort"].clone();
        (
            body["thinking"].clone(),
            effort,
            body["max_tokens"].clone(),
            !dropped.is_empty(),
        )
    };
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let adaptive = json!({"type": "adaptive"});
    let table = [
        ("claude-sonnet-4-5", "low", budget(1024), Value::Null, 5120, true),
        (
            "claude-3-7-sonnet-20250219",
            "medium",
            budget(8192),
            Value::Null,
            12288,
            true,
        ),
        (
            "claude-opus-4-20250514",
            "xhigh",
            budget(24576),
            Value::Null,
            28672,
            true,
        ),
        (
            "anthropic/claude-opus-4.6",
            "high",
            adaptive.clone(),
            json!("high"),
            4096,
            false,
        ),
        ("claude-opus-4-6", "minimal", adaptive.clone(), json!("low"), 4096, true),
        ("claude-opus-4-7", "xhigh", adaptive, json!("xhigh"), 4096, false),
        ("claude-sonnet-4-5", "none", Value::Null, Value::Null, 4096, false),
        // None of these thinks, or can be told to.
        (
            "claude-3-5-haiku-20241022",
            "high",
            Value::Null,
            Value::Null,
            4096,
            true,
        ),
        ("our-own-claude", "high", Value::Null, Value::Null, 4096, true),
        ("claude-opus-4-7", "a-new-word", Value::Null, Value::Null, 4096, true),
    ];
    for (model, effort, thinking, level, limit, noted) in table {
        assert_eq!(
            ask(model, effort),
            (thinking, level, json!(limit), noted),
            "{model} {effort}"
        );
    }
}

#[test]
fn a_budget_fits_the_callers_own_limit_or_is_left_out() {
    let ask = |limit: u64| {
        let body = openai(&json!({"reasoning_effort": "high", "max_completion_tokens": limit}));
        let (body, dropped) = send(OpenAi, Anthropic, "claude-sonnet-4-5", &body);
        assert_eq!(body["max_tokens"], limit, "never changed");
        assert_eq!(dropped, ["reasoning_effort"]);
        body["thinking"]["budget_tokens"].clone()
    };
    assert_eq!(ask(40_000), 24_576);
    assert_eq!(ask(4_000), 2_976);
    assert_eq!(ask(2_048), 1_024);
    assert_eq!(ask(2_047), Value::Null);
}

#[test]
fn what_claude_refuses_beside_thinking_is_left_out_and_said() {
    let body = openai(&json!({"reasoning_effort": "low", "temperature": 0.2, "top_p": 0.5, "top_k": 3}));
    let (sent, dropped) = send(OpenAi, Anthropic, "claude-sonnet-4-5", &body);
    assert_eq!(dropped, ["reasoning_effort", "temperature", "top_k", "top_p"]);
    assert_eq!(
        (sent.get("temperature"), sent.get("top_k"), sent.get("top_p")),
        (None, None, None)
    );
    let usual = openai(&json!({"reasoning_effort": "low", "temperature": 1, "top_p": 1}));
    assert_eq!(
        send(OpenAi, Anthropic, "claude-sonnet-4-5", &usual).1,
        ["reasoning_effort"]
    );
    let (sent, dropped) = send(
        OpenAi,
        Anthropic,
        "claude-opus-4-7",
        &openai(&json!({"temperature": 0.2})),
    );
    assert_eq!(
        (sent.get("temperature"), dropped),
        (None, vec!["temperature".to_owned()])
    );
}

#[test]
fn a_forced_tool_a_prefill_and_a_strangers_tool_calls_come_before_thinking() {
    let tools: Value = serde_json::from_str(TOOL).unwrap();
    let forced = openai(&json!({"reasoning_effort": "low", "tools": tools, "tool_choice": "required"}));
    let prefilled = openai(&json!({"reasoning_effort": "low",
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Once"}]}));
    let calls = json!([{"id": "c1", "type": "function", "function": {"name": "tide", "arguments": "{}"}}]);
    let amid = openai(
        &json!({"reasoning_effort": "low", "tools": tools, "messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": calls}, {"role": "tool", "tool_call_id": "c1", "content": "high"}]}),
    );
    for body in [&forced, &prefilled, &amid] {
        let (sent, dropped) = send(OpenAi, Anthropic, "claude-sonnet-4-5", body);
        assert_eq!(
            (sent.get("thinking"), dropped),
            (None, vec!["reasoning_effort".to_owned()]),
            "{body}"
        );
    }
    assert_eq!(
        send(OpenAi, Anthropic, "claude-sonnet-4-5", &forced).0["tool_choice"]["type"],
        "any"
    );
    // Left to itself, Claude begins wherever it is.
    assert_eq!(
        send(OpenAi, Anthropic, "claude-opus-4-6", &amid).0["thinking"]["type"],
        "adaptive"
    );
    // With its own thoughts before the calls it goes on thinking.
    let mut own = amid;
    own["messages"][1]["thinking_blocks"] = json!([{"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}]);
    assert_eq!(
        send(OpenAi, Anthropic, "claude-sonnet-4-5", &own).0["thinking"]["type"],
        "enabled"
    );
}

#[test]
fn openai_models_get_the_nearest_effort_they_know_and_no_sampling_they_refuse() {
    let ask = |model: &str, thinking: Value| {
        let (body, dropped) = send(Anthropic, OpenAi, model, &anthropic(&json!({"thinking": thinking})));
        (body["reasoning_effort"].clone(), dropped)
    };
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let noted = || vec!["thinking".to_owned()];
    assert_eq!(ask("o4-mini", budget(1024)), (json!("low"), noted()));
    assert_eq!(ask("gpt-5", budget(5000)), (json!("medium"), noted()));
    assert_eq!(ask("gpt-5", budget(31_999)), (json!("high"), noted()));
    assert_eq!(ask("openai/gpt-5.2", budget(31_999)), (json!("xhigh"), noted()));
    assert_eq!(ask("gpt-5", json!({"type": "disabled"})), (json!("minimal"), noted()));
    assert_eq!(ask("gpt-5.1", json!({"type": "disabled"})), (json!("none"), vec![]));
    assert_eq!(ask("gpt-5", json!({"type": "adaptive"})), (Value::Null, vec![]));
    // From 5.1 on they do not think unless told.
    assert_eq!(ask("gpt-5.1", json!({"type": "adaptive"})), (json!("medium"), noted()));
    assert_eq!(ask("gpt-4.1", budget(5000)), (Value::Null, noted()));
    assert_eq!(ask("gpt-4.1", json!({"type": "disabled"})), (Value::Null, vec![]));
    assert_eq!(ask("gpt-5-chat-latest", budget(5000)), (Value::Null, noted()));
    let effort = anthropic(&json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}));
    let (body, dropped) = send(Anthropic, OpenAi, "gpt-5", &effort);
    assert_eq!((&body["reasoning_effort"], dropped), (&json!("high"), vec![]));

    let warm = anthropic(&json!({"temperature": 0.3, "top_p": 0.9}));
    let dropped = |model: &str| send(Anthropic, OpenAi, model, &warm).1;
    assert_eq!(dropped("gpt-5-mini"), ["temperature", "top_p"]);
    assert_eq!(dropped("o3"), ["temperature", "top_p"]);
    assert_eq!(dropped("gpt-5.1"), Vec::<String>::new(), "it does not think unasked");
    let tool = json!([{"name": "tide", "input_schema": {"type": "object"}}]);
    let single = anthropic(&json!({"tools": tool, "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}));
    let (sent, noted) = send(Anthropic, OpenAi, "o4-mini", &single);
    assert_eq!(
        (sent.get("parallel_tool_calls"), noted),
        (None, vec!["tool_choice.disable_parallel_tool_use".to_owned()])
    );
    let stop = anthropic(&json!({"stop_sequences": ["END"]})).to_string();
    let error = translate_request(Anthropic, OpenAi, stop.as_bytes(), &target("o3")).unwrap_err();
    assert_eq!(error.path, "stop_sequences");
    assert_eq!(dropped("gpt-4o"), Vec::<String>::new());
    assert_eq!(dropped("qwen3-32b"), Vec::<String>::new());
}

#[test]
fn gemini_models_get_a_budget_in_their_range_or_a_level() {
    let ask = |model: &str, thinking: Value| {
        let (body, dropped) = send(Anthropic, Gemini, model, &anthropic(&json!({"thinking": thinking})));
        (body["generationConfig"]["thinkingConfig"].clone(), !dropped.is_empty())
    };
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let off = || json!({"type": "disabled"});
    let seen = |name: &str, value: Value| json!({name: value, "includeThoughts": true});
    assert_eq!(
        ask("gemini-2.5-flash", budget(2048)),
        (seen("thinkingBudget", json!(2048)), false)
    );
    assert_eq!(
        ask("gemini-2.5-flash", budget(30_000)),
        (seen("thinkingBudget", json!(24_576)), true)
    );
    assert_eq!(ask("gemini-2.5-pro", off()), (json!({"thinkingBudget": 128}), true));
    assert_eq!(
        ask("gemini-2.5-flash-lite", off()),
        (json!({"thinkingBudget": 0}), false)
    );
    assert_eq!(
        ask("gemini-2.5-flash", json!({"type": "adaptive"})),
        (seen("thinkingBudget", json!(-1)), false)
    );
    assert_eq!(
        ask("gemini-3-pro-preview", budget(2048)),
        (seen("thinkingLevel", json!("high")), true)
    );
    assert_eq!(
        ask("gemini-3.1-pro-preview", budget(2048)),
        (seen("thinkingLevel", json!("medium")), true)
    );
    assert_eq!(
        ask("gemini-3-flash-preview", off()),
        (json!({"thinkingLevel": "minimal"}), true)
    );
    assert_eq!(
        ask("gemini-3-flash-preview", json!({"type": "adaptive"})),
        (json!({"includeThoughts": true}), false)
    );
    assert_eq!(ask("gemini-2.0-flash", budget(2048)), (Value::Null, true));
    assert_eq!(ask("gemini-2.0-flash", off()), (Value::Null, false));
    assert_eq!(ask("mystery", budget(2048)), (Value::Null, true));
}

#[test]
fn gemini_callers_who_want_to_read_thoughts_get_them_from_claude() {
    let body = |config: Value| json!({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"thinkingConfig": config}});
    let (sent, dropped) = send(
        Gemini,
        Anthropic,
        "claude-opus-4-7",
        &body(json!({"includeThoughts": true})),
    );
    assert_eq!(sent["thinking"], json!({"type": "adaptive", "display": "summarized"}));
    assert_eq!(dropped, Vec::<String>::new());
    let (sent, _) = send(
        Gemini,
        Anthropic,
        "claude-sonnet-4-5",
        &body(json!({"thinkingBudget": 512})),
    );
    assert_eq!(sent["thinking"], json!({"type": "enabled", "budget_tokens": 1024}));
}

fn ctx(show_thoughts: bool) -> AnswerContext {
    AnswerContext {
        model: "asked-for".into(),
        id: "bow-1".into(),
        created: 1,
        include_usage: false,
        show_thoughts,
        ..AnswerContext::default()
    }
}

fn answer(from: Dialect, to: Dialect, body: &Value, show: bool) -> Value {
    let (body, _) = translate_response(from, to, body.to_string().as_bytes(), &ctx(show)).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn gemini_answer() -> Value {
    json!({"candidates": [{"finishReason": "STOP", "content": {"role": "model", "parts": [
        {"text": "Hm.", "thought": true},
        {"text": "Let me look.", "thoughtSignature": "c2lnLXRleHQ="},
        {"functionCall": {"name": "tide", "args": {}}, "thoughtSignature": "c2lnLWNhbGw="},
        {"functionCall": {"name": "wind", "args": {}}},
    ]}}], "responseId": "r1"})
}

fn kinds(content: &Value) -> Vec<String> {
    let blocks = content.as_array().unwrap();
    blocks
        .iter()
        .map(|block| block["type"].as_str().unwrap().to_owned())
        .collect()
}

/// The conversation of an Anthropic caller that goes on with results for the calls in `content`.
fn goes_on(content: &Value) -> Value {
    let results: Vec<Value> = content
        .as_array()
        .unwrap()
        .iter()
        .filter(|block| block["type"] == "tool_use")
        .map(|call| json!({"type": "tool_result", "tool_use_id": call["id"], "content": "ok"}))
        .collect();
    anthropic(&json!({"messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "content": content}, {"role": "user", "content": results}]}))
}

#[test]
fn gemini_gets_its_signatures_back_from_an_anthropic_caller() {
    let content = answer(Gemini, Anthropic, &gemini_answer(), true)["content"].clone();
    let expected = [
        "thinking",
        "text",
        "redacted_thinking",
        "redacted_thinking",
        "tool_use",
        "tool_use",
    ];
    assert_eq!(kinds(&content), expected);
    let (sent, dropped) = send(Anthropic, Gemini, "gemini-3-pro-preview", &goes_on(&content));
    let parts = &sent["contents"][1]["parts"];
    assert_eq!(parts[0], json!({"text": "Let me look."}));
    assert_eq!(parts[1], json!({"text": "", "thoughtSignature": "c2lnLXRleHQ="}));
    assert_eq!(parts[2]["thoughtSignature"], "c2lnLWNhbGw=");
    assert_eq!(parts[3].get("thoughtSignature"), None);
    assert_eq!(
        dropped,
        ["messages[1].content[0]"],
        "the text of an earlier thought is nothing to Gemini"
    );
}

#[test]
fn an_anthropic_caller_who_did_not_ask_for_thoughts_reads_text_first_and_still_carries_the_signature_of_calls() {
    let content = answer(Gemini, Anthropic, &gemini_answer(), false)["content"].clone();
    assert_eq!(kinds(&content), ["text", "redacted_thinking", "tool_use", "tool_use"]);
    let (sent, _) = send(Anthropic, Gemini, "gemini-3-pro-preview", &goes_on(&content));
    assert_eq!(sent["contents"][1]["parts"][1]["thoughtSignature"], "c2lnLWNhbGw=");
}

#[test]
fn foreign_thoughts_never_reach_anthropic_or_openai() {
    let content = answer(Gemini, Anthropic, &gemini_answer(), true)["content"].clone();
    let history = goes_on(&content);
    let sent = without_foreign_thoughts(Anthropic, "claude-sonnet-4-5", &Bytes::from(history.to_string())).body;
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(kinds(&sent["messages"][1]["content"]), ["text", "tool_use", "tool_use"]);
    assert_eq!(sent["messages"][2], history["messages"][2]);
    let (sent, _) = send(Anthropic, OpenAi, "gpt-4.1", &history);
    assert!(!sent.to_string().contains("Ym93c3ByaXQtdjE6"));
    // The same from an OpenAI caller, who got them in extension fields.
    let message = answer(Gemini, OpenAi, &gemini_answer(), true)["choices"][0]["message"].clone();
    let body = openai(&json!({"messages": [{"role": "user", "content": "x"}, message]}));
    let (sent, _) = send(OpenAi, Anthropic, "claude-sonnet-4-5", &body);
    assert_eq!(kinds(&sent["messages"][1]["content"]), ["text", "tool_use", "tool_use"]);
}

#[test]
fn a_body_without_our_mark_passes_byte_for_byte_and_one_with_it_loses_nothing_else() {
    let own = Bytes::from_static(
        br#"{ "messages" : [ {"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"EqQB"}]} ] , "x":1.50}"#,
    );
    let same = without_foreign_thoughts(Anthropic, "claude-sonnet-4-5", &own).body;
    assert_eq!(same.as_ptr(), own.as_ptr(), "not even copied");
    let content = answer(Gemini, Anthropic, &gemini_answer(), true)["content"].clone();
    let body = format!(
        r#"{{"max_tokens":5.0 , "messages":[{{"role":"user","content":"Ym93c3ByaXQtdjE6 \u00e9"}},{{"content":{},"role":"assistant"}},{{"role":"assistant","content":[{}]}}],"tail": [ ]}}"#,
        content, content[0]
    );
    let sent = without_foreign_thoughts(Anthropic, "claude-sonnet-4-5", &Bytes::from(body)).body;
    let expected = format!(
        r#"{{"max_tokens":5.0 , "messages":[{{"role":"user","content":"Ym93c3ByaXQtdjE6 \u00e9"}},{{"content":[{},{},{}],"role":"assistant"}}],"tail": [ ]}}"#,
        content[1], content[4], content[5]
    );
    assert_eq!(std::str::from_utf8(&sent).unwrap(), expected);
    let broken = Bytes::from_static(b"{\"messages\": Ym93c3ByaXQtdjE6");
    assert_eq!(
        without_foreign_thoughts(Anthropic, "m", &broken).body,
        broken,
        "the provider says what is wrong with it"
    );
}

fn claude_answer() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "stop_reason": "tool_use", "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}, {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Ahoy"}, {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {}}],
        "usage": {"input_tokens": 1, "output_tokens": 1}})
}

#[test]
fn claude_gets_its_thoughts_back_from_a_gemini_caller() {
    let content = answer(Anthropic, Gemini, &claude_answer(), true)["candidates"][0]["content"].clone();
    let result =
        json!({"role": "user", "parts": [{"functionResponse": {"id": "toolu_1", "name": "tide", "response": {}}}]});
    let history = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}, content, result],
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 2000}}});
    let (sent, _) = send(Gemini, Anthropic, "claude-sonnet-4-5", &history);
    assert_eq!(sent["messages"][1]["content"], claude_answer()["content"]);
    assert_eq!(sent["thinking"]["type"], "enabled");
    // Python's SDK holds signatures as bytes and writes them in URL-safe letters.
    let url_safe = history.to_string().replace('+', "-").replace('/', "_");
    let url_safe: Value = serde_json::from_str(&url_safe).unwrap();
    assert_eq!(
        send(Gemini, Anthropic, "claude-sonnet-4-5", &url_safe).0["messages"],
        sent["messages"]
    );
    // And Gemini itself gets neither, but what it wants in place of a signature.
    let body = Bytes::from(history.to_string());
    for (model, signature) in [
        ("gemini-3-pro-preview", json!("skip_thought_signature_validator")),
        ("gemini-2.5-flash", Value::Null),
    ] {
        let sent: Value = serde_json::from_slice(&without_foreign_thoughts(Gemini, model, &body).body).unwrap();
        let parts = sent["contents"][1]["parts"].as_array().unwrap();
        assert_eq!((parts.len(), &parts[0]["text"]), (2, &json!("Ahoy")));
        assert_eq!(
            (&parts[1]["thoughtSignature"], &parts[1]["functionCall"]["name"]),
            (&signature, &json!("tide"))
        );
    }
}

fn events(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn stream(from: Dialect, to: Dialect, show: bool, chunks: &[Value]) -> Vec<Value> {
    let mut stream = Stream::new(from, to, ctx(show), false);
    let mut out = BytesMut::new();
    for chunk in chunks {
        let name = chunk["type"].as_str().unwrap_or("message");
        let frame = Bytes::from(format!("event: {name}\ndata: {chunk}\n\n"));
        stream.push(&frame, &mut out).unwrap();
    }
    stream.finish(&mut out).unwrap();
    events(&out)
}

fn gemini_chunks() -> Vec<Value> {
    let parts = gemini_answer()["candidates"][0]["content"]["parts"].clone();
    let mut chunks: Vec<Value> = parts
        .as_array()
        .unwrap()
        .iter()
        .map(|part| json!({"candidates": [{"content": {"parts": [part]}}]}))
        .collect();
    chunks.push(json!({"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]}));
    chunks
}

/// What an SDK makes of a stream of message events.
fn gathered(events: &[Value]) -> Value {
    let mut content: Vec<Value> = Vec::new();
    for event in events {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(event["index"], content.len());
                content.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let block = &mut content[usize::try_from(event["index"].as_u64().unwrap()).unwrap()];
                for name in ["text", "thinking", "signature"] {
                    if let Some(piece) = event["delta"][name].as_str() {
                        block[name] = format!("{}{piece}", block[name].as_str().unwrap()).into();
                    }
                }
            }
            _ => {}
        }
    }
    content.into()
}

#[test]
fn a_stream_of_foreign_thoughts_adds_up_to_the_same_blocks_as_a_whole_answer() {
    for show in [true, false] {
        let streamed = gathered(&stream(Gemini, Anthropic, show, &gemini_chunks()));
        let whole = answer(Gemini, Anthropic, &gemini_answer(), show)["content"].clone();
        assert_eq!(streamed, whole, "asked for thoughts: {show}");
    }
    let chunk = |delta: Value| json!({"id": "c", "choices": [{"index": 0, "delta": delta}]});
    let mut chunks = vec![
        chunk(json!({"reasoning_content": "Hm"})),
        chunk(json!({"reasoning_content": "."})),
        chunk(json!({"content": "Ahoy"})),
        json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    ];
    let mut whole = json!({"id": "c", "choices": [{"message": {"reasoning_content": "Hm.", "content": "Ahoy"}, "finish_reason": "stop"}]});
    let mut stream = Stream::new(OpenAi, Anthropic, ctx(true), false);
    let mut out = BytesMut::new();
    for chunk in chunks.drain(..) {
        stream
            .push(&Bytes::from(format!("data: {chunk}\n\n")), &mut out)
            .unwrap();
    }
    stream.push(&Bytes::from_static(b"data: [DONE]\n\n"), &mut out).unwrap();
    whole = answer(OpenAi, Anthropic, &whole, true)["content"].clone();
    assert_eq!(gathered(&events(&out)), whole);
    assert_eq!(whole[0]["thinking"], "Hm.");
}

#[test]
fn a_streamed_thought_of_claude_comes_back_whole_from_a_gemini_caller() {
    let chunks = [
        json!({"type": "message_start", "message": {"id": "msg_1", "usage": {}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "H"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "m."}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQB"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "xyz"}}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": "Ahoy"}}),
        json!({"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {}}}),
        json!({"type": "content_block_stop", "index": 3}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}}),
        json!({"type": "message_stop"}),
    ];
    // As Google's SDK keeps the history of a chat: a content for every chunk.
    let mut contents = vec![json!({"role": "user", "parts": [{"text": "x"}]})];
    contents.extend(
        stream(Anthropic, Gemini, true, &chunks)
            .iter()
            .map(|chunk| chunk["candidates"][0]["content"].clone()),
    );
    let (sent, _) = send(Gemini, Anthropic, "claude-sonnet-4-5", &json!({"contents": contents}));
    assert_eq!(sent["messages"][1]["content"], claude_answer()["content"]);
}

#[test]
fn a_round_of_calls_that_another_model_began_goes_on_at_claude_without_thinking() {
    // A model without thoughts or signatures: only our mark tells that it was not Claude.
    let called = json!({"id": "c", "choices": [{"finish_reason": "tool_calls", "message": {"content": "Let me look.", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": "{}"}},
        {"id": "c2", "type": "function", "function": {"name": "wind", "arguments": "{}"}}]}}]});
    let content = answer(OpenAi, Anthropic, &called, true)["content"].clone();
    assert_eq!(kinds(&content), ["text", "redacted_thinking", "tool_use", "tool_use"]);
    assert_eq!(
        kinds(&answer(OpenAi, Anthropic, &called, false)["content"]),
        ["text", "tool_use", "tool_use"]
    );
    let budget = json!({"type": "enabled", "budget_tokens": 2000});
    let ask = |mut history: Value, thinking: &Value| {
        history["thinking"] = thinking.clone();
        let sent = without_foreign_thoughts(Anthropic, "claude-sonnet-4-5", &Bytes::from(history.to_string()));
        let body: Value = serde_json::from_slice(&sent.body).unwrap();
        (body["thinking"].clone(), sent.dropped)
    };
    let off = json!({"type": "disabled"});
    assert_eq!(ask(goes_on(&content), &budget), (off, vec!["thinking".to_owned()]));
    let adaptive = json!({"type": "adaptive"});
    assert_eq!(ask(goes_on(&content), &adaptive), (adaptive, vec![]));
    // Once the round is over, Claude thinks again.
    let mut over = goes_on(&content);
    let messages = over["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": "High."}));
    messages.push(json!({"role": "user", "content": "Thanks. And tomorrow?"}));
    assert_eq!(ask(over, &budget), (budget, vec![]));
}

fn claude_chunks() -> Vec<Value> {
    vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 3}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm \u{2693}"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQB"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "xyz"}}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": "Ahoy"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ]
}

fn frames(chunks: &[Value], done: bool) -> String {
    let chunks: Vec<String> = chunks.iter().map(Value::to_string).collect();
    let mut text = format!("data: {}\n\n", chunks.join("\n\ndata: "));
    if done {
        text.push_str("data: [DONE]\n\n");
    }
    text
}

fn translated(from: Dialect, to: Dialect, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = Stream::new(from, to, ctx(true), false);
    let mut out = BytesMut::new();
    for piece in pieces {
        stream.push(&Bytes::copy_from_slice(piece), &mut out).unwrap();
    }
    stream.finish(&mut out).unwrap();
    out.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn thoughts_are_the_same_however_the_stream_is_cut(cuts in proptest::collection::vec(0usize..4000, 0..12)) {
        let think = |delta: Value| json!({"id": "c", "choices": [{"index": 0, "delta": delta}]});
        let openai = [
            think(json!({"reasoning_content": "Hm \u{2693}"})),
            think(json!({"content": "Ahoy"})),
            think(json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "tide", "arguments": "{}"}}]})),
            json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
        ];
        let streams = [
            (OpenAi, frames(&openai, true)),
            (Anthropic, frames(&claude_chunks(), false)),
            (Gemini, frames(&gemini_chunks(), false)),
        ];
        for (from, text) in &streams {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut % text.len()).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            for to in Dialect::ALL.into_iter().filter(|to| to != from) {
                prop_assert_eq!(translated(*from, to, &pieces), translated(*from, to, &[text.as_bytes()]));
            }
        }
    }
}
