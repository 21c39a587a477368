//! Halves of surrogate pairs: wherever they stand and however a stream cuts them, what arrives is what joining all fragments
//! and decoding once would give. Half a pair is never an error.

#![allow(clippy::format_push_string)] // a test may allocate

use bowsprit_core::dialect::{
    AnswerContext, Dialect, Pushed, Stream, Target, peek, translate_request, translate_response, usage,
};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::Value;

use crate::seeded::holds;

/// What a text is made of, as UTF-16: characters, whole pairs, and halves.
fn texts() -> impl Strategy<Value = Vec<u16>> {
    let piece = prop_oneof![
        3 => prop::sample::select(vec!["a", "é", "\u{1f600}", " b", "\u{fffd}"])
            .prop_map(|text| text.encode_utf16().collect::<Vec<u16>>()),
        2 => (0xD800u16..0xDC00).prop_map(|high| vec![high]),
        2 => (0xDC00u16..0xE000).prop_map(|low| vec![low]),
    ];
    // A first letter, so that no text is blank.
    prop::collection::vec(piece, 0..12).prop_map(|pieces| [vec![u16::from(b'x')], pieces.concat()].concat())
}

/// A text in fragments, which may be empty.
fn fragments() -> impl Strategy<Value = Vec<Vec<u16>>> {
    (texts(), prop::collection::vec(any::<prop::sample::Index>(), 0..6)).prop_map(|(text, cuts)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|ends| text[ends[0]..ends[1]].to_vec()).collect()
    })
}

fn once(fragments: &[Vec<u16>]) -> String {
    String::from_utf16_lossy(&fragments.concat())
}

/// A JSON string in which all but ASCII is escaped, as many servers write.
fn quoted(units: &[u16]) -> String {
    let mut text = "\"".to_owned();
    for unit in units {
        match u8::try_from(*unit) {
            Ok(byte) if (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\u{unit:04x}")),
        }
    }
    text + "\""
}

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// What the fragments are of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    Text,
    Thought,
    Arguments,
}

const KINDS: [Of; 3] = [Of::Text, Of::Thought, Of::Arguments];

/// Arguments around a text, whose halves are escapes of the fragment: `{"t":"…"}`.
fn around(fragments: &[Vec<u16>]) -> Vec<Vec<u16>> {
    let mut all = vec![units("{\"t\":\"")];
    all.extend(fragments.iter().cloned());
    all.push(units("\"}"));
    all
}

fn openai_stream(of: Of, fragments: &[Vec<u16>]) -> String {
    let chunk = |delta: String, finish: &str| {
        format!(r#"data: {{"id":"c","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#) + "\n\n"
    };
    let mut out = String::new();
    if of == Of::Arguments {
        let call = r#"{"tool_calls":[{"index":0,"id":"i","type":"function","function":{"name":"f","arguments":""}}]}"#;
        out += &chunk(call.to_owned(), "null");
    }
    for fragment in fragments {
        let text = quoted(fragment);
        out += &chunk(
            match of {
                Of::Text => format!(r#"{{"content":{text}}}"#),
                Of::Thought => format!(r#"{{"reasoning_content":{text}}}"#),
                Of::Arguments => format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":{text}}}}}]}}"#),
            },
            "null",
        );
    }
    out += &chunk(
        "{}".to_owned(),
        if of == Of::Arguments {
            "\"tool_calls\""
        } else {
            "\"stop\""
        },
    );
    out += r#"data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;
    out + "\n\ndata: [DONE]\n\n"
}

fn anthropic_stream(of: Of, fragments: &[Vec<u16>]) -> String {
    let mut out = String::new();
    let mut event = |kind: &str, rest: String| {
        out += &format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
    };
    let usage = r#""usage":{"input_tokens":3,"output_tokens":5}"#;
    event(
        "message_start",
        format!(r#","message":{{"id":"m","role":"assistant","content":[],{usage}}}"#),
    );
    let (block, delta, field) = match of {
        Of::Text => (r#"{"type":"text","text":""}"#, "text_delta", "text"),
        Of::Thought => (r#"{"type":"thinking","thinking":""}"#, "thinking_delta", "thinking"),
        Of::Arguments => (
            r#"{"type":"tool_use","id":"i","name":"f","input":{}}"#,
            "input_json_delta",
            "partial_json",
        ),
    };
    event("content_block_start", format!(r#","index":0,"content_block":{block}"#));
    for fragment in fragments {
        let delta = format!(
            r#","index":0,"delta":{{"type":"{delta}","{field}":{}}}"#,
            quoted(fragment)
        );
        event("content_block_delta", delta);
    }
    event("content_block_stop", r#","index":0"#.to_owned());
    let reason = if of == Of::Arguments { "tool_use" } else { "end_turn" };
    event(
        "message_delta",
        format!(r#","delta":{{"stop_reason":"{reason}"}},{usage}"#),
    );
    event("message_stop", String::new());
    out
}

/// This dialect says a call whole, so its arguments are in one piece.
fn gemini_stream(of: Of, fragments: &[Vec<u16>]) -> String {
    let chunk = |part: String, rest: &str| {
        format!(r#"data: {{"responseId":"r","candidates":[{{"content":{{"role":"model","parts":[{part}]}}{rest}}}]"#)
    };
    let end = r#","usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":5}}"#;
    let mut out = String::new();
    if of == Of::Arguments {
        let call = format!(
            r#"{{"functionCall":{{"name":"f","args":{{"t":{}}}}}}}"#,
            quoted(&fragments.concat())
        );
        out += &(chunk(call, "") + "}\n\n");
    } else {
        for fragment in fragments {
            let thought = if of == Of::Thought { r#","thought":true"# } else { "" };
            out += &(chunk(format!(r#"{{"text":{}{thought}}}"#, quoted(fragment)), "") + "}\n\n");
        }
    }
    out + &chunk(r#"{"text":""}"#.to_owned(), r#","finishReason":"STOP""#) + end + "\n\n"
}

fn stream(provider: Dialect, of: Of, fragments: &[Vec<u16>]) -> String {
    match provider {
        Dialect::OpenAiChat if of == Of::Arguments => openai_stream(of, &around(fragments)),
        Dialect::AnthropicMessages if of == Of::Arguments => anthropic_stream(of, &around(fragments)),
        Dialect::OpenAiChat => openai_stream(of, fragments),
        Dialect::AnthropicMessages => anthropic_stream(of, fragments),
        _ => gemini_stream(of, fragments),
    }
}

fn context() -> AnswerContext {
    AnswerContext {
        model: "m".to_owned(),
        id: "id".to_owned(),
        include_usage: true,
        show_thoughts: true,
        ..AnswerContext::default()
    }
}

fn run(provider: Dialect, caller: Dialect, sent: &str, step: usize) -> (String, Stream) {
    let mut stream = Stream::new(provider, caller, context(), false);
    let mut out = BytesMut::new();
    let mut got = Vec::new();
    for chunk in sent.as_bytes().chunks(step.max(1)) {
        let chunk = Bytes::copy_from_slice(chunk);
        match stream.push(&chunk, &mut out).expect("half a pair is no error") {
            Pushed::Same => got.extend_from_slice(&chunk),
            Pushed::Rewritten => {}
        }
        got.extend_from_slice(&out.split());
    }
    stream.finish(&mut out).expect("the stream is whole");
    got.extend_from_slice(&out);
    (String::from_utf8(got).unwrap(), stream)
}

/// What the caller's program reads, its arguments as a text.
fn heard(caller: Dialect, of: Of, got: &str) -> String {
    let mut said = String::new();
    for line in got.lines() {
        let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else {
            continue;
        };
        let event: Value = serde_json::from_str(data).unwrap();
        let delta = &event["choices"][0]["delta"];
        let piece = match (caller, of) {
            (Dialect::OpenAiChat, Of::Text) => &delta["content"],
            (Dialect::OpenAiChat, Of::Thought) => &delta["reasoning_content"],
            (Dialect::OpenAiChat, Of::Arguments) => &delta["tool_calls"][0]["function"]["arguments"],
            (Dialect::AnthropicMessages, Of::Text) => &event["delta"]["text"],
            (Dialect::AnthropicMessages, Of::Thought) => &event["delta"]["thinking"],
            (Dialect::AnthropicMessages, Of::Arguments) => &event["delta"]["partial_json"],
            (Dialect::Gemini, _) => {
                let part = &event["candidates"][0]["content"]["parts"][0];
                match of {
                    Of::Arguments if part["functionCall"].is_object() => {
                        said += &part["functionCall"]["args"].to_string();
                        &Value::Null
                    }
                    Of::Thought if part["thought"] == true => &part["text"],
                    Of::Text if part["thought"] != true => &part["text"],
                    _ => &Value::Null,
                }
            }
            (Dialect::OpenAiResponses, of) => {
                let kind = match of {
                    Of::Text => "response.output_text.delta",
                    Of::Thought => "response.reasoning_summary_text.delta",
                    Of::Arguments => "response.function_call_arguments.delta",
                };
                if event["type"] == kind {
                    &event["delta"]
                } else {
                    &Value::Null
                }
            }
        };
        said += piece.as_str().unwrap_or_default();
    }
    said
}

#[test]
fn a_stream_cut_anywhere_says_what_it_says_in_one_piece() {
    holds(
        "halves in streams",
        (fragments(), prop::sample::select(KINDS.to_vec()), 1usize..400),
        |(fragments, of, step)| {
            for provider in Dialect::PROVIDERS {
                for caller in Dialect::ALL {
                    if provider == caller {
                        continue;
                    }
                    let (got, stream) = run(provider, caller, &stream(provider, of, &fragments), step);
                    let mut said = heard(caller, of, &got);
                    if of == Of::Arguments {
                        let arguments: Value = serde_json::from_str(&said).unwrap();
                        said = arguments["t"].as_str().unwrap_or_default().to_owned();
                    }
                    prop_assert_eq!(&said, &once(&fragments), "{} to {}: {}", provider, caller, got);
                    let used = stream.usage().map(|usage| (usage.input, usage.output));
                    prop_assert_eq!(used, Some((3, 5)), "{} to {}", provider, caller);
                }
            }
            Ok(())
        },
    );
}

#[test]
fn a_stream_of_the_callers_own_dialect_passes_and_is_counted() {
    holds(
        "halves in streams that pass",
        (fragments(), prop::sample::select(KINDS.to_vec())),
        |(fragments, of)| {
            for dialect in Dialect::PROVIDERS {
                let sent = stream(dialect, of, &fragments);
                let (got, stream) = run(dialect, dialect, &sent, 64);
                prop_assert_eq!(got, sent);
                prop_assert!(stream.content_started());
                prop_assert_eq!(stream.usage().map(|usage| usage.output), Some(5));
            }
            Ok(())
        },
    );
}

/// A whole answer that says and thinks the text, and calls with it; a key has it too.
fn answer(provider: Dialect, text: &[u16]) -> String {
    let (quoted_text, whole) = (quoted(text), quoted(&around(&[text.to_vec()]).concat()));
    match provider {
        Dialect::OpenAiChat => format!(
            r#"{{"id":"c",{quoted_text}:1,"choices":[{{"index":0,"finish_reason":"tool_calls","message":{{"role":"assistant",
                "content":{quoted_text},"tool_calls":[{{"id":"i","type":"function",
                "function":{{"name":"f","arguments":{whole}}}}}]}}}}],"usage":{{"prompt_tokens":3,"completion_tokens":5}}}}"#
        ),
        Dialect::AnthropicMessages => format!(
            r#"{{"id":"m","type":"message","role":"assistant",{quoted_text}:1,"content":[{{"type":"text","text":{quoted_text}}},
                {{"type":"tool_use","id":"i","name":"f","input":{{"t":{quoted_text}}}}}],"stop_reason":"tool_use",
                "usage":{{"input_tokens":3,"output_tokens":5}}}}"#
        ),
        _ => format!(
            r#"{{"responseId":"r",{quoted_text}:1,"candidates":[{{"content":{{"role":"model","parts":[{{"text":{quoted_text}}},
                {{"functionCall":{{"name":"f","args":{{"t":{quoted_text}}}}}}}]}},"finishReason":"STOP"}}],
                "usageMetadata":{{"promptTokenCount":3,"candidatesTokenCount":5}}}}"#
        ),
    }
}

/// All strings of a document, and those of the documents that are in them as text.
fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            if let Ok(inner @ Value::Object(_)) = serde_json::from_str(text) {
                strings(&inner, found);
            }
            found.push(text.clone());
        }
        Value::Array(list) => list.iter().for_each(|value| strings(value, found)),
        Value::Object(map) => map.values().for_each(|value| strings(value, found)),
        _ => {}
    }
}

fn times(text: &str, body: &[u8]) -> usize {
    let mut found = Vec::new();
    strings(&serde_json::from_slice(body).unwrap(), &mut found);
    found.iter().filter(|string| *string == text).count()
}

#[test]
fn a_whole_answer_says_each_half_as_a_replacement() {
    holds("halves in answers", texts(), |text| {
        let says = String::from_utf16_lossy(&text);
        for provider in Dialect::PROVIDERS {
            let answer = answer(provider, &text);
            prop_assert_eq!(
                usage(provider, answer.as_bytes()).map(|usage| usage.output),
                Some(5),
                "{}",
                answer
            );
            for caller in Dialect::ALL {
                if provider == caller {
                    continue;
                }
                let translated = translate_response(provider, caller, answer.as_bytes(), &context());
                let (body, used) = translated.map_err(|kind| TestCaseError::fail(format!("{kind:?}: {answer}")))?;
                prop_assert_eq!(times(&says, &body), 2, "{} to {}: {:?}", provider, caller, body);
                prop_assert_eq!(used.output, 5);
            }
        }
        Ok(())
    });
}

/// A conversation in which a user says the text, a call has it and a result brings it.
fn request(caller: Dialect, text: &[u16]) -> String {
    let (said, whole) = (quoted(text), quoted(&around(&[text.to_vec()]).concat()));
    match caller {
        Dialect::OpenAiChat => format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":{said}}},{{"role":"assistant","tool_calls":[
                {{"id":"i","type":"function","function":{{"name":"f","arguments":{whole}}}}}]}},
                {{"role":"tool","tool_call_id":"i","content":{whole}}}],{said}:1}}"#
        ),
        Dialect::AnthropicMessages => format!(
            r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":{said}}},{{"role":"assistant","content":[
                {{"type":"tool_use","id":"i","name":"f","input":{{"t":{said}}}}}]}},{{"role":"user","content":[
                {{"type":"tool_result","tool_use_id":"i","content":{whole}}}]}}],{said}:1}}"#
        ),
        Dialect::Gemini => format!(
            r#"{{"contents":[{{"role":"user","parts":[{{"text":{said}}}]}},{{"role":"model","parts":[
                {{"functionCall":{{"name":"f","args":{{"t":{said}}}}}}}]}},{{"role":"user","parts":[
                {{"functionResponse":{{"name":"f","response":{{"t":{said}}}}}}}]}}],{said}:1}}"#
        ),
        Dialect::OpenAiResponses => format!(
            r#"{{"model":"m","input":[{{"role":"user","content":{said}}},{{"type":"function_call","call_id":"i","name":"f",
                "arguments":{whole}}},{{"type":"function_call_output","call_id":"i","output":{whole}}}],{said}:1}}"#
        ),
    }
}

#[test]
fn a_request_with_halves_is_read_and_translated() {
    let target = Target {
        model: "m",
        default_max_tokens: 100,
        safety: &[],
        stream: false,
        on_unsupported: None,
        allowed_tools: true,
    };
    holds("halves in requests", texts(), |text| {
        let says = String::from_utf16_lossy(&text);
        for caller in Dialect::ALL {
            let body = request(caller, &text);
            peek(caller, body.as_bytes()).map_err(|error| TestCaseError::fail(format!("{error}: {body}")))?;
            for provider in Dialect::PROVIDERS {
                if provider == caller {
                    continue;
                }
                let translated = translate_request(caller, provider, body.as_bytes(), &target);
                let sent = translated
                    .map_err(|error| TestCaseError::fail(format!("{error}: {body}")))?
                    .body;
                prop_assert_eq!(times(&says, &sent), 3, "{} to {}: {:?}", caller, provider, sent);
            }
        }
        Ok(())
    });
}
