//! Answers: each is read for what it says, plain and streamed alike, or is an error.
#![allow(
    clippy::format_collect,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use bowsprit_core::dialect::{AnswerContext, Dialect, Stream, StreamError, answer_problem, translate_response};
use bowsprit_core::fault::ErrorKind;
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use Dialect::{AnthropicMessages as Messages, Gemini, OpenAiChat as Chat, OpenAiResponses as Responses};

fn ctx() -> AnswerContext {
    AnswerContext {
        model: "m".into(),
        id: "0123456789abcdef".into(),
        show_thoughts: true,
        ..AnswerContext::default()
    }
}

/// What an Anthropic caller reads: thoughts, text, and the calls as (name, input).
#[derive(Debug, Default, PartialEq)]
struct Read {
    thoughts: String,
    text: String,
    calls: Vec<(String, Value)>,
    stop: String,
}

fn block(read: &mut Read, block: &Value) {
    match block["type"].as_str().unwrap() {
        "text" => read.text.push_str(block["text"].as_str().unwrap()),
        "thinking" => read.thoughts.push_str(block["thinking"].as_str().unwrap()),
        "tool_use" => read
            .calls
            .push((block["name"].as_str().unwrap().to_owned(), block["input"].clone())),
        _ => {}
    }
}

fn plain(from: Dialect, answer: &Value) -> Result<Read, ErrorKind> {
    let (body, _) = translate_response(from, Messages, answer.to_string().as_bytes(), &ctx())?;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let mut read = Read {
        stop: body["stop_reason"].as_str().unwrap().to_owned(),
        ..Read::default()
    };
    body["content"]
        .as_array()
        .unwrap()
        .iter()
        .for_each(|found| block(&mut read, found));
    Ok(read)
}

fn events(from: Dialect, to: Dialect, text: &str) -> Result<Vec<Value>, StreamError> {
    let mut stream = Stream::new(from, to, ctx(), false);
    let mut out = BytesMut::new();
    stream.push(&Bytes::copy_from_slice(text.as_bytes()), &mut out)?;
    stream.finish(&mut out)?;
    let out = String::from_utf8(out.to_vec()).unwrap();
    let data = out.lines().filter_map(|line| line.strip_prefix("data: "));
    Ok(data
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect())
}

fn streamed(from: Dialect, chunks: &[Value]) -> Result<Read, StreamError> {
    let text: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    let (mut read, mut inputs) = (Read::default(), Vec::<(u64, String)>::new());
    for event in events(from, Messages, &text)? {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                block(&mut read, &event["content_block"]);
                if event["content_block"]["type"] == "tool_use" {
                    inputs.push((event["index"].as_u64().unwrap(), String::new()));
                }
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                read.text.push_str(delta["text"].as_str().unwrap_or_default());
                read.thoughts.push_str(delta["thinking"].as_str().unwrap_or_default());
                if let Some(fragment) = delta["partial_json"].as_str() {
                    let input = inputs.iter_mut().find(|input| event["index"] == input.0).unwrap();
                    input.1.push_str(fragment);
                }
            }
            "message_delta" => event["delta"]["stop_reason"]
                .as_str()
                .unwrap()
                .clone_into(&mut read.stop),
            _ => {}
        }
    }
    for (call, (_, input)) in read.calls.iter_mut().zip(inputs) {
        call.1 = serde_json::from_str(&input).unwrap_or_else(|error| panic!("{error}: {input}"));
    }
    Ok(read)
}

fn completion(message: &Value, finish: &str) -> Value {
    json!({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": finish}]})
}

fn delta(delta: &Value) -> Value {
    json!({"id": "c", "choices": [{"index": 0, "delta": delta}]})
}

fn finish(reason: &str) -> Value {
    json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

/// Reads a message plain, and as one delta.
fn both(message: &Value) -> [Read; 2] {
    let plain = plain(Chat, &completion(message, "stop")).unwrap_or_else(|kind| panic!("{kind:?}: {message}"));
    let streamed =
        streamed(Chat, &[delta(message), finish("stop")]).unwrap_or_else(|error| panic!("{error}: {message}"));
    [plain, streamed]
}

#[test]
fn content_in_parts_is_read_part_by_part() {
    let parts = json!([
        {"type": "thinking", "thinking": [{"type": "text", "text": "Moon."}, {"type": "reference", "reference_ids": [1]}]},
        {"type": "thinking", "thinking": " Sun."},
        {"type": "text", "text": "At "}, {"type": "reference", "reference_ids": [1, 2]}, {"text": "six"}, ".",
        {"type": "surprise", "text": " Or so."},
    ]);
    for read in both(&json!({"role": "assistant", "content": parts})) {
        assert_eq!(
            (read.thoughts.as_str(), read.text.as_str()),
            ("Moon. Sun.", "At six. Or so.")
        );
    }
    for read in both(&json!({"content": [{"type": "refusal", "refusal": "No."}]})) {
        assert_eq!((read.text.as_str(), read.stop.as_str()), ("No.", "refusal"));
    }
}

#[test]
fn what_no_caller_could_be_told_is_an_error_and_never_nothing() {
    let messages = [
        json!({"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}),
        json!({"content": [{"type": "text", "text": "see"}, {"type": "hologram", "data": "AA=="}]}),
        json!({"content": 7}),
        json!({"content": "see", "images": [{"type": "image_url"}]}),
        json!({"content": null, "audio": {"id": "a", "data": "AA=="}}),
        json!({"tool_calls": [{"id": "c1", "type": "function", "function": {"arguments": "{}"}}]}),
        json!("At six."),
    ];
    for message in messages {
        assert_eq!(
            plain(Chat, &completion(&message, "stop")).err(),
            Some(ErrorKind::Malformed),
            "{message}"
        );
        let read = streamed(Chat, &[delta(&message), finish("stop")]);
        if !message.is_string() {
            assert!(matches!(read, Err(StreamError::Malformed(_))), "{message}: {read:?}");
        }
    }
    let part = json!({"holograms": [1]});
    let answer = json!({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]});
    assert_eq!(plain(Gemini, &answer).err(), Some(ErrorKind::Malformed));
    assert!(matches!(streamed(Gemini, &[answer]), Err(StreamError::Malformed(_))));
}

#[test]
fn thoughts_are_read_under_every_name_and_once() {
    let details = json!([{"type": "reasoning.text", "text": "Moon"}, {"type": "reasoning.summary", "summary": "."}, {"type": "reasoning.encrypted", "data": "AA=="}]);
    let messages = [
        json!({"reasoning_content": "Moon."}),
        json!({"reasoning": "Moon."}),
        json!({"reasoning_text": "Moon."}),
        json!({"thinking": "Moon."}),
        json!({"reasoning": {"content": "Moon."}}),
        json!({"reasoning_details": details}),
        json!({"thinking_blocks": [{"type": "thinking", "thinking": "Moon.", "signature": "s"}]}),
        json!({"reasoning": "Moon.", "reasoning_content": "Moon."}),
        json!({"reasoning": "Moon.", "reasoning_details": details}),
        json!({"reasoning_content": "Moon.", "thinking_blocks": [{"type": "thinking", "thinking": "Moon."}]}),
        json!({"reasoning_content": null, "reasoning": "Moon."}),
        json!({"reasoning_content": "", "reasoning": "Moon."}),
    ];
    for mut message in messages {
        message["content"] = "Six.".into();
        for read in both(&message) {
            assert_eq!(
                (read.thoughts.as_str(), read.text.as_str()),
                ("Moon.", "Six."),
                "{message}"
            );
        }
    }
    // Fragment by fragment, and then the signed block that repeats them; a fragment that is like the one before is none.
    let chunks = [
        delta(&json!({"reasoning_content": "Ha"})),
        delta(&json!({"reasoning_content": "Ha"})),
        delta(&json!({"thinking_blocks": [{"type": "thinking", "thinking": "HaHa", "signature": "s"}]})),
        finish("stop"),
    ];
    assert_eq!(streamed(Chat, &chunks).unwrap().thoughts, "HaHa");
    let chunks = [
        delta(&json!({"reasoning_details": [{"type": "reasoning.text", "text": "Ha"}]})),
        delta(&json!({"reasoning_details": [{"type": "reasoning.text", "text": "Ha"}]})),
        finish("stop"),
    ];
    assert_eq!(streamed(Chat, &chunks).unwrap().thoughts, "HaHa");
}

#[test]
fn arguments_are_an_object_however_they_are_said() {
    let cases = [
        (json!({"port": "Brest"}), json!({"port": "Brest"})),
        (json!("{\"port\":\"Brest\"}"), json!({"port": "Brest"})),
        (json!(null), json!({})),
        (json!(""), json!({})),
        (json!(" "), json!({})),
        (json!("null"), json!({})),
        (json!({}), json!({})),
        (json!([1]), json!({"_raw_arguments": "[1]"})),
    ];
    for (arguments, input) in cases {
        let function = json!({"name": "tide", "arguments": arguments});
        let messages = [
            json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]}),
            json!({"tool_calls": [{"index": "0", "id": 7, "function": function}]}),
            json!({"tool_calls": [{"function": function}]}),
            json!({"tool_calls": {"id": "c1", "name": "tide", "arguments": arguments}}),
            json!({"content": null, "function_call": function}),
            json!({"content": [{"type": "tool_use", "id": "c1", "name": "tide", "input": arguments}]}),
        ];
        for message in messages {
            for read in both(&message) {
                assert_eq!(read.calls, [("tide".to_owned(), input.clone())], "{message}");
                assert_eq!(read.stop, "tool_use", "{message}");
            }
        }
    }
}

#[test]
fn a_call_without_arguments_says_an_empty_object_to_every_caller() {
    let call = |arguments: &[Value]| {
        let first = json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "now"}}]});
        let later = arguments
            .iter()
            .map(|text| delta(&json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})));
        let chunks: Vec<Value> = [delta(&first)]
            .into_iter()
            .chain(later)
            .chain([finish("tool_calls")])
            .collect();
        chunks
            .iter()
            .map(|chunk| format!("data: {chunk}\n\n"))
            .collect::<String>()
    };
    let message = [
        json!({"type": "message_start", "message": {"id": "m"}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "now", "input": {}}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}),
    ];
    let message: String = message.iter().map(|event| format!("data: {event}\n\n")).collect();
    let candidate = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"now\"}}]},\"finishReason\":\"STOP\"}]}\n\n";
    let streams = [
        (Chat, call(&[])),
        (Chat, call(&[json!("")])),
        (Chat, call(&[json!(null), json!("")])),
        (Messages, message),
        (Gemini, candidate.to_owned()),
    ];
    for (from, text) in streams {
        for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
            let events = events(from, to, &text).unwrap();
            let joined: String = match to {
                Chat => events
                    .iter()
                    .filter_map(|event| event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str())
                    .collect(),
                Messages => events
                    .iter()
                    .filter_map(|event| event["delta"]["partial_json"].as_str())
                    .collect(),
                Gemini => events
                    .iter()
                    .map(|event| &event["candidates"][0]["content"]["parts"][0]["functionCall"]["args"])
                    .filter(|args| !args.is_null())
                    .map(Value::to_string)
                    .collect(),
                Responses => {
                    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
                    let done = events.iter().find_map(|event| event["arguments"].as_str());
                    assert_eq!(done, Some(deltas.as_str()));
                    deltas
                }
            };
            assert_eq!(joined, "{}", "{from} -> {to}: {text}");
        }
    }
}

#[test]
fn calls_without_id_and_number_are_told_apart_by_what_they_begin() {
    let call = |name: Option<&str>, arguments: &str| {
        let mut function = json!({ "arguments": arguments });
        if let Some(name) = name {
            function["name"] = name.into();
        }
        delta(&json!({"tool_calls": [{ "function": function }]}))
    };
    let chunks = [
        call(Some("tide"), "{\"port\":"),
        call(Some("tide"), "\"Brest\"}"),
        call(Some("tide"), "{\"port\":\"Dover\"}"),
        call(Some("now"), ""),
        call(None, "{\"utc\":true}"),
        finish("stop"),
    ];
    let read = streamed(Chat, &chunks).unwrap();
    let expected = [
        ("tide".to_owned(), json!({"port": "Brest"})),
        ("tide".to_owned(), json!({"port": "Dover"})),
        ("now".to_owned(), json!({"utc": true})),
    ];
    assert_eq!(read.calls, expected);
    // The id comes first and the name later; and an id that is another with each fragment.
    let chunks = [
        delta(&json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"arguments": "{\"a\""}}]})),
        delta(&json!({"tool_calls": [{"index": 0, "id": "c2", "function": {"arguments": ":1"}}]})),
        delta(&json!({"tool_calls": [{"index": 0, "function": {"name": "tide", "arguments": "}"}}]})),
        finish("tool_calls"),
    ];
    assert_eq!(
        streamed(Chat, &chunks).unwrap().calls,
        [("tide".to_owned(), json!({"a": 1}))]
    );
    // An object that is repeated with each chunk is meant once.
    let whole =
        delta(&json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "tide", "arguments": {"a": 1}}}]}));
    let read = streamed(Chat, &[whole.clone(), whole, finish("tool_calls")]).unwrap();
    assert_eq!(read.calls, [("tide".to_owned(), json!({"a": 1}))]);
}

#[test]
fn a_chunk_may_say_a_message_instead_of_a_delta_but_not_both() {
    let whole = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "Six."}, "finish_reason": "stop"}]});
    assert_eq!(streamed(Chat, std::slice::from_ref(&whole)).unwrap().text, "Six.");
    let read = streamed(Chat, &[delta(&json!({"content": "Six."})), whole]).unwrap();
    assert_eq!(read.text, "Six.", "what the deltas said is repeated");
    let delta = json!({"choices": [{"index": 0, "delta": {"content": "Six."}, "finish_reason": "stop"}]});
    assert_eq!(plain(Chat, &delta).unwrap().text, "Six.");
}

#[test]
fn finish_reasons_are_read_in_every_servers_words() {
    let words = [
        ("stop", "end_turn"),
        ("STOP", "end_turn"),
        ("eos_token", "end_turn"),
        ("tool_call", "end_turn"),
        ("length", "max_tokens"),
        ("MAX_TOKENS", "max_tokens"),
        ("model_length", "model_context_window_exceeded"),
        ("content_filter", "refusal"),
    ];
    for (word, stop) in words {
        assert_eq!(
            plain(Chat, &completion(&json!({"content": "x"}), word)).unwrap().stop,
            stop,
            "{word}"
        );
        let read = streamed(Chat, &[delta(&json!({"content": "x"})), finish(word)]).unwrap();
        assert_eq!(read.stop, stop, "{word}");
    }
    for (word, kind) in [
        ("error", ErrorKind::Internal),
        ("abort", ErrorKind::Internal),
        ("insufficient_system_resource", ErrorKind::Overloaded),
    ] {
        assert_eq!(
            plain(Chat, &completion(&json!({"content": "x"}), word)).err(),
            Some(kind),
            "{word}"
        );
        let read = streamed(Chat, &[delta(&json!({"content": "x"})), finish(word)]);
        assert!(
            matches!(&read, Err(StreamError::Provider(error)) if error.kind == kind),
            "{word}: {read:?}"
        );
    }
    // A call that was said and never came, in an answer of nothing else.
    assert_eq!(
        plain(Chat, &completion(&json!({"content": null}), "tool_calls")).err(),
        Some(ErrorKind::Internal)
    );
    assert!(matches!(
        streamed(Chat, &[finish("tool_calls")]),
        Err(StreamError::Provider(_))
    ));
}

#[test]
fn the_gravest_of_several_finish_reasons_counts() {
    for reasons in [["length", "stop"], ["stop", "length"]] {
        let chunks = [delta(&json!({"content": "x"})), finish(reasons[0]), finish(reasons[1])];
        assert_eq!(streamed(Chat, &chunks).unwrap().stop, "max_tokens", "{reasons:?}");
    }
}

#[test]
fn what_gemini_ran_is_told_as_text() {
    let parts = json!([
        {"text": "I ran "},
        {"executableCode": {"language": "PYTHON", "code": "print(6)"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "6\n"}},
        {},
    ]);
    let answer = json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]});
    let text = "I ran \n```python\nprint(6)\n```\n\n```\n6\n```\n";
    assert_eq!(plain(Gemini, &answer).unwrap().text, text);
    assert_eq!(streamed(Gemini, &[answer]).unwrap().text, text);
}

#[test]
fn an_input_that_came_with_its_block_is_said_once() {
    let start = |input: Value| json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "tide", "input": input}});
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":1}"}});
    let ends = [
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}),
    ];
    for events in [vec![start(json!({"a": 1}))], vec![start(json!({"a": 1})), delta]] {
        let text: String = events
            .iter()
            .chain(&ends)
            .map(|event| format!("data: {event}\n\n"))
            .collect();
        let events = self::events(Messages, Chat, &text).unwrap();
        let calls = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["tool_calls"][0].as_object());
        let arguments: String = calls
            .clone()
            .filter_map(|call| call["function"]["arguments"].as_str())
            .collect();
        assert_eq!(arguments, "{\"a\":1}");
        let ids: Vec<&Value> = calls.filter_map(|call| call.get("id")).collect();
        assert_eq!(
            ids,
            [&json!("call_0123456789abcdef_0")],
            "a call without an id is given one"
        );
    }
}

#[test]
fn a_success_that_holds_no_answer_is_an_error_by_its_kind() {
    let bodies = [
        ("", ErrorKind::Malformed),
        ("{}", ErrorKind::Malformed),
        ("[]", ErrorKind::Malformed),
        ("null", ErrorKind::Malformed),
        ("\"ok\"", ErrorKind::Malformed),
        ("<html><body>finish_reason</body></html>", ErrorKind::Malformed),
        (
            r#"{"choices":[],"candidates":[],"content":[],"output":[]}"#,
            ErrorKind::Malformed,
        ),
        (
            r#"{"choices":null,"candidates":null,"content":null,"output":null}"#,
            ErrorKind::Malformed,
        ),
        (r#"{"choices":[{}],"candidates":[{}]}"#, ErrorKind::Malformed),
        (
            r#"{"choices":[{"message":{"content":null},"finish_reason":""}],"candidates":[{"content":{},"finishReason":""}]}"#,
            ErrorKind::Malformed,
        ),
        (r#"{"detail":"it broke"}"#, ErrorKind::Internal),
        (r#"{"message":"no capacity","code":503}"#, ErrorKind::Overloaded),
        (
            r#"{"object":"error","message":"slow down","code":429}"#,
            ErrorKind::RateLimited,
        ),
        (r#"{"error":"slow down","code":"429"}"#, ErrorKind::RateLimited),
        (r#"{"error":{"message":"no","code":503}}"#, ErrorKind::Overloaded),
        (r#"[{"error":{"message":"no","code":503}}]"#, ErrorKind::Overloaded),
    ];
    for (body, kind) in bodies {
        for from in Dialect::PROVIDERS {
            assert_eq!(answer_problem(from, body.as_bytes()), Some(kind), "{from}: {body}");
            for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
                let said = translate_response(from, to, body.as_bytes(), &ctx());
                assert_eq!(said.err(), Some(kind), "{from} -> {to}: {body}");
            }
        }
    }
}

#[test]
fn an_answer_that_says_anything_or_why_it_does_not_is_one() {
    let bodies = [
        (Chat, r#"{"choices":[{"message":{"content":"x"}}]}"#),
        (
            Chat,
            r#"{"choices":[{"message":{"content":""},"finish_reason":"length"}],"error":null}"#,
        ),
        (Chat, r#"{"choices":[{"message":{"content":[{"type":"hologram"}]}}]}"#),
        (Chat, r#"{"choices":[{"text":"x"}]}"#),
        (Messages, r#"{"content":[],"stop_reason":"max_tokens"}"#),
        (
            Messages,
            r#"{"content":[{"type":"text","text":"x"}],"stop_reason":null}"#,
        ),
        (Gemini, r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#),
        (Gemini, r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#),
        (Responses, r#"{"object":"response","status":"queued","output":[]}"#),
        (Responses, r#"{"output":[{"type":"message"}],"error":null}"#),
    ];
    for (dialect, body) in bodies {
        assert_eq!(answer_problem(dialect, body.as_bytes()), None, "{dialect}: {body}");
    }
}
