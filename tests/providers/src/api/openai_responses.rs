//! OpenAI's responses, plain and as their typed events.

use serde_json::{Value, json};

use super::{Content, Rendered, Tool, halves, logprobs};
use crate::call::{Call, StreamForm};
use crate::ids::Ids;
use crate::script::Answer;
use crate::sse::{Frame, Kind};

pub(crate) fn render(call: &Call, answer: &Answer, ids: &mut Ids) -> Rendered {
    let content = Content::of(call, answer);
    let frame = Envelope {
        id: ids.hex("resp_", 48),
        created: ids.created(),
        call,
    };
    if call.stream == StreamForm::None {
        let output = items(call, &content, answer, ids);
        Rendered::Plain(frame.response(&content, answer, Some(output)))
    } else {
        Rendered::Stream(stream(&frame, &content, answer, ids))
    }
}

/// What every copy of the response object repeats.
struct Envelope<'a> {
    id: String,
    created: u64,
    call: &'a Call,
}

impl Envelope<'_> {
    /// The response object; without output it is the one in progress.
    fn response(&self, content: &Content, answer: &Answer, output: Option<Vec<Value>>) -> Value {
        let asked = |name: &str, usual: Value| self.call.body.get(name).cloned().unwrap_or(usual);
        let cut = matches!(answer.finish.as_deref(), Some("length" | "content_filter"));
        let status = match (&output, cut) {
            (None, _) => "in_progress",
            (Some(_), true) => "incomplete",
            (Some(_), false) => "completed",
        };
        let reason = if answer.finish.as_deref() == Some("length") {
            "max_output_tokens"
        } else {
            "content_filter"
        };
        let incomplete = if status == "incomplete" {
            json!({"reason": reason})
        } else {
            Value::Null
        };
        let usage = output.as_ref().map(|_| {
            json!({
                "input_tokens": content.input,
                "input_tokens_details": {
                    "cached_tokens": answer.usage.cached,
                    "cache_write_tokens": answer.usage.cache_write,
                },
                "output_tokens": content.output,
                "output_tokens_details": {"reasoning_tokens": answer.usage.reasoning},
                "total_tokens": content.input + content.output,
            })
        });
        json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": incomplete,
            "instructions": asked("instructions", Value::Null),
            "max_output_tokens": asked("max_output_tokens", Value::Null),
            "model": self.call.model,
            "output": output.unwrap_or_default(),
            "parallel_tool_calls": asked("parallel_tool_calls", json!(true)),
            "previous_response_id": asked("previous_response_id", Value::Null),
            "reasoning": {"effort": null, "summary": null},
            "service_tier": "default",
            "store": asked("store", json!(true)),
            "temperature": asked("temperature", json!(1.0)),
            "text": asked("text", json!({"format": {"type": "text"}})),
            "tool_choice": asked("tool_choice", json!("auto")),
            "tools": asked("tools", json!([])),
            "top_p": asked("top_p", json!(1.0)),
            "truncation": asked("truncation", json!("disabled")),
            "usage": usage,
            "user": asked("user", Value::Null),
            "metadata": asked("metadata", json!({})),
        })
    }
}

fn part(text: &str, logprobs: &[Value]) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": logprobs, "text": text})
}

/// Whether the request names this in `include`.
fn includes(call: &Call, what: &str) -> bool {
    let list = call.body.get("include").and_then(Value::as_array);
    list.is_some_and(|list| list.iter().any(|item| item == what))
}

/// The logprobs of pieces that begin at the place `from`, if they are asked for.
fn logprobs_of(call: &Call, pieces: &[String], from: usize) -> Vec<Value> {
    let top = call.body.get("top_logprobs").and_then(Value::as_u64).unwrap_or(0);
    if includes(call, "message.output_text.logprobs") {
        logprobs::openai(pieces, from, top)
    } else {
        Vec::new()
    }
}

/// The output items, complete: the reasoning, a message if there is text, then the function calls.
fn items(call: &Call, content: &Content, answer: &Answer, ids: &mut Ids) -> Vec<Value> {
    let mut items = Vec::new();
    if let Some(thinking) = &answer.thinking {
        let mut item = json!({"id": ids.hex("rs_", 48), "type": "reasoning", "summary": [summary(thinking)]});
        let asked = includes(call, "reasoning.encrypted_content");
        if let (Some(fields), Some(proof), true) = (item.as_object_mut(), &answer.signature, asked) {
            fields.insert("encrypted_content".to_owned(), json!(proof));
        }
        items.push(item);
    }
    if !content.text.is_empty() || content.calls.is_empty() {
        items.push(
            json!({"id": ids.hex("msg_", 48), "type": "message", "status": "completed",
            "content": [part(&content.text, &logprobs_of(call, &content.pieces, 0))], "role": "assistant"}),
        );
    }
    items.extend(content.calls.iter().map(|tool| called(tool, ids)));
    items
}

/// A call of a function, of a tool that takes text, or of the caller's own search.
fn called(tool: &Tool, ids: &mut Ids) -> Value {
    if tool.search {
        return json!({"id": ids.hex("tsc_", 48), "type": "tool_search_call", "status": "completed",
            "arguments": tool.arguments, "call_id": ids.alphanumeric("call_", 24), "execution": "client"});
    }
    let (prefix, kind, field, told) = match &tool.input {
        Some(text) => ("ctc_", "custom_tool_call", "input", text.clone()),
        None => ("fc_", "function_call", "arguments", tool.arguments.to_string()),
    };
    let mut item = json!({"id": ids.hex(prefix, 48), "type": kind, "status": "completed",
        field: told, "call_id": ids.alphanumeric("call_", 24), "name": tool.name});
    if let (Some(fields), Some(namespace)) = (item.as_object_mut(), &tool.namespace) {
        fields.insert("namespace".to_owned(), json!(namespace));
    }
    item
}

fn summary(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

/// Writes the events: each repeats its type and carries a number.
#[derive(Default)]
struct Events {
    frames: Vec<Frame>,
}

impl Events {
    fn push(&mut self, kind: Kind, event: &'static str, mut data: Value) {
        if let Some(fields) = data.as_object_mut() {
            fields.shift_insert(0, "type".to_owned(), json!(event));
            fields.shift_insert(1, "sequence_number".to_owned(), json!(self.frames.len()));
        }
        self.frames.push(Frame::event(kind, event, &data));
    }
}

fn stream(frame: &Envelope<'_>, content: &Content, answer: &Answer, ids: &mut Ids) -> Vec<Frame> {
    let mut events = Events::default();
    let begun = frame.response(content, answer, None);
    events.push(Kind::Start, "response.created", json!({"response": begun}));
    events.push(Kind::Start, "response.in_progress", json!({"response": begun}));
    let items = items(frame.call, content, answer, ids);
    for (place, item) in items.iter().enumerate() {
        let id = item.get("id").cloned().unwrap_or_default();
        // An item is announced empty and in progress, and repeated whole when it is done.
        let mut announced = item.clone();
        // A search's are an object.
        let searches = item.get("arguments").is_some_and(Value::is_object);
        let arguments = if searches { json!({}) } else { json!("") };
        for (name, value) in [
            ("status", json!("in_progress")),
            ("content", json!([])),
            ("arguments", arguments),
            ("input", json!("")),
            ("summary", json!([])),
        ] {
            if let Some(field) = announced.get_mut(name) {
                *field = value;
            }
        }
        let kind = match item.get("type").and_then(Value::as_str) {
            Some("function_call" | "custom_tool_call") => Kind::Content,
            _ => Kind::Start,
        };
        events.push(
            kind,
            "response.output_item.added",
            json!({"output_index": place, "item": announced}),
        );
        match item.get("type").and_then(Value::as_str) {
            Some("message") => text_events(&mut events, frame.call, content, place, &id),
            Some("reasoning") => reasoning_events(&mut events, answer, place, &id),
            Some("function_call") => call_events(&mut events, &ARGUMENTS, item, place),
            Some("custom_tool_call") => call_events(&mut events, &INPUT, item, place),
            _ => {}
        }
        events.push(
            Kind::Finish,
            "response.output_item.done",
            json!({"output_index": place, "item": item}),
        );
    }
    let done = frame.response(content, answer, Some(items));
    let cut = done.get("status") == Some(&json!("incomplete"));
    let event = if cut {
        "response.incomplete"
    } else {
        "response.completed"
    };
    events.push(Kind::End, event, json!({"response": done}));
    events.frames
}

fn extended(mut data: Value, more: Value) -> Value {
    if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
        data.extend(more);
    }
    data
}

fn reasoning_events(events: &mut Events, answer: &Answer, place: usize, id: &Value) {
    let at = |more: Value| extended(json!({"item_id": id, "output_index": place, "summary_index": 0}), more);
    let thinking = answer.thinking.as_deref().unwrap_or_default();
    let begun = at(json!({"part": summary("")}));
    events.push(Kind::Start, "response.reasoning_summary_part.added", begun);
    for piece in crate::sse::pieces(thinking, None) {
        let delta = at(json!({"delta": piece}));
        events.push(Kind::Content, "response.reasoning_summary_text.delta", delta);
    }
    let text = at(json!({"text": thinking}));
    events.push(Kind::Start, "response.reasoning_summary_text.done", text);
    let done = at(json!({"part": summary(thinking)}));
    events.push(Kind::Start, "response.reasoning_summary_part.done", done);
}

fn text_events(events: &mut Events, call: &Call, content: &Content, place: usize, id: &Value) {
    let at = |more: Value| extended(json!({"item_id": id, "output_index": place, "content_index": 0}), more);
    events.push(
        Kind::Start,
        "response.content_part.added",
        at(json!({"part": part("", &[])})),
    );
    for (place, piece) in content.pieces.iter().enumerate() {
        let logprobs = logprobs_of(call, std::slice::from_ref(piece), place);
        let delta = at(json!({"delta": piece, "logprobs": logprobs}));
        events.push(Kind::Content, "response.output_text.delta", delta);
    }
    let logprobs = logprobs_of(call, &content.pieces, 0);
    let done = at(json!({"text": content.text, "logprobs": logprobs}));
    events.push(Kind::Finish, "response.output_text.done", done);
    events.push(
        Kind::Finish,
        "response.content_part.done",
        at(json!({"part": part(&content.text, &logprobs)})),
    );
}

/// The field in which a call holds what it is told, and the events with a piece and with all of it.
type Told = [&'static str; 3];

const ARGUMENTS: Told = [
    "arguments",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
];
const INPUT: Told = [
    "input",
    "response.custom_tool_call_input.delta",
    "response.custom_tool_call_input.done",
];

fn call_events(events: &mut Events, told: &Told, item: &Value, place: usize) {
    let [field, delta, done] = *told;
    let of = |name: &str| item.get(name).cloned().unwrap_or_default();
    let at = |more: Value| extended(json!({"item_id": of("id"), "output_index": place}), more);
    for piece in halves(of(field).as_str().unwrap_or_default()) {
        events.push(Kind::Content, delta, at(json!({ "delta": piece })));
    }
    let name = if field == "arguments" {
        json!({"name": of("name")})
    } else {
        json!({})
    };
    let all = extended(at(name), json!({ field: of(field) }));
    events.push(Kind::Finish, done, all);
}
