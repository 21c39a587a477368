//! What a provider's stream says, and in which event its caller reads it.

use bowsprit_core::dialect::{AnswerContext, Dialect, Stream};
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::table;

use Dialect::{AnthropicMessages as Messages, Gemini, OpenAiChat as Chat, OpenAiResponses as Responses};

const CALLERS: [Dialect; 4] = [Chat, Messages, Gemini, Responses];

/// Marks to look for in what the caller gets.
const MARKS: [(&str, &str); 7] = [
    ("text", "T-E-X-T"),
    ("thoughts", "T-H-O-U-G-H-T"),
    ("the signature of thoughts", "c2lnbmVk"),
    ("a call's name", "n_a_m_e"),
    ("a call's arguments", "A-R-G"),
    ("the signature of a call", "Y2FsbC1zaWc="),
    ("usage", "4242"),
];

fn chunks(from: Dialect) -> Vec<Value> {
    match from {
        Chat => {
            let delta = |delta: Value| json!({"id": "c", "choices": [{"index": 0, "delta": delta}]});
            vec![
                delta(json!({"role": "assistant", "reasoning_content": "T-H-O-U-G-H-T"})),
                delta(json!({"content": "T-E-X-T"})),
                delta(
                    json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "n_a_m_e", "arguments": "{\"a\":"}}]}),
                ),
                delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"A-R-G\"}"}}]})),
                json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
                json!({"id": "c", "choices": [], "usage": {"prompt_tokens": 4242, "completion_tokens": 1}}),
            ]
        }
        Messages => vec![
            json!({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 4242, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "T-H-O-U-G-H-T"}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2lnbmVk"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "T-E-X-T"}}),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t", "name": "n_a_m_e", "input": {}}}),
            json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":\"A-R-G\"}"}}),
            json!({"type": "content_block_stop", "index": 2}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}}),
            json!({"type": "message_stop"}),
        ],
        _ => {
            let part = |part: Value| json!({"candidates": [{"content": {"parts": [part]}}], "responseId": "g"});
            vec![
                part(json!({"text": "T-H-O-U-G-H-T", "thought": true})),
                part(json!({"text": "", "thoughtSignature": "c2lnbmVk"})),
                part(json!({"text": "T-E-X-T"})),
                part(
                    json!({"functionCall": {"name": "n_a_m_e", "args": {"a": "A-R-G"}}, "thoughtSignature": "Y2FsbC1zaWc="}),
                ),
                json!({"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 4242, "candidatesTokenCount": 1}}),
            ]
        }
    }
}

fn ctx() -> AnswerContext {
    AnswerContext {
        model: "m".into(),
        id: "0123456789abcdef".into(),
        created: 1,
        include_usage: true,
        show_thoughts: true,
        ..AnswerContext::default()
    }
}

/// All events that the caller gets, and whether the stream ended well.
fn run(from: Dialect, to: Dialect, chunks: &[Value], done: bool) -> (String, bool) {
    let mut stream = Stream::new(from, to, ctx(), false);
    let mut out = BytesMut::new();
    for chunk in chunks {
        stream
            .push(&Bytes::from(format!("data: {chunk}\n\n")), &mut out)
            .unwrap();
    }
    if done && from == Chat {
        stream.push(&Bytes::from_static(b"data: [DONE]\n\n"), &mut out).unwrap();
    }
    let whole = stream.finish(&mut out).is_ok();
    (String::from_utf8(out.to_vec()).unwrap(), whole)
}

/// The text, and what our own mark in it holds: that is base64, so it does not show as it is.
fn laid_open(text: &str) -> String {
    use base64::Engine as _;
    let mut open = text.to_owned();
    if let Some(at) = text.find("Ym93c3ByaXQtdjE6") {
        let rest = &text[at..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c))
            .unwrap_or(rest.len());
        let bytes = base64::engine::general_purpose::STANDARD.decode(&rest[..end]).unwrap();
        open.push(' ');
        open.push_str(&String::from_utf8(bytes).unwrap());
    }
    open
}

fn path_of(value: &Value, mark: &str, path: &str) -> Option<String> {
    match value {
        Value::Object(map) => map.iter().find_map(|(name, value)| {
            path_of(
                value,
                mark,
                &if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                },
            )
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, value)| path_of(value, mark, &format!("{path}[{index}]"))),
        Value::String(text) => laid_open(text).contains(mark).then(|| path.to_owned()),
        Value::Number(number) => (number.to_string() == mark).then(|| path.to_owned()),
        _ => None,
    }
}

fn cell(from: Dialect, to: Dialect, mark: &str) -> String {
    if from == to {
        return "as it came".to_owned();
    }
    if !chunks(from).iter().any(|chunk| chunk.to_string().contains(mark)) {
        return "-".to_owned();
    }
    let (out, whole) = run(from, to, &chunks(from), true);
    assert!(whole, "{from} -> {to}");
    let data = out.lines().filter_map(|line| line.strip_prefix("data: "));
    let place = data
        .filter_map(|data| serde_json::from_str::<Value>(data).ok())
        .find_map(|event| {
            let path = path_of(&event, mark, "")?;
            let kind = event.get("type").and_then(Value::as_str);
            Some(kind.map_or_else(|| format!("`{path}`"), |kind| format!("`{kind}`: `{path}`")))
        });
    place.unwrap_or_else(|| "not told".to_owned())
}

pub(super) fn write(page: &mut String) {
    page.push_str(
        "\n## Streams\nEvent by event, nothing gathered but the arguments of a call for Gemini callers, whose API says calls \
         whole. The end is told once and last, however often and in whatever chunk the provider says why it stopped: with the \
         API's word for calls where there was one, and with `{}` for the arguments of a call that had none. A stream is \
         whole if every choice of it has a finish reason and the connection ended well, with or without the provider's end \
         mark. An error inside the stream, or an end before that, never ends as success: the caller gets its dialect's \
         error event.\n\n",
    );
    let mut rows = Vec::new();
    for (from, provider) in [(Chat, "OpenAI"), (Messages, "Anthropic"), (Gemini, "Gemini")] {
        for (what, mark) in MARKS {
            let cells: Vec<String> = CALLERS.iter().map(|to| cell(from, *to, mark)).collect();
            if cells.iter().all(|cell| cell == "-" || cell == "as it came") {
                continue;
            }
            let mut row = vec![provider.to_owned(), what.to_owned()];
            row.extend(cells);
            rows.push(row);
        }
        for to in CALLERS {
            let chunks = chunks(from);
            let (_, whole) = run(from, to, &chunks[..2], false);
            assert!(!whole, "{from} -> {to}: a truncated stream ended as a success");
        }
    }
    table(
        page,
        &[
            "Provider",
            "What",
            "OpenAI caller",
            "Anthropic caller",
            "Gemini caller",
            "Responses caller",
        ],
        &rows,
    );
}
