//! `Anthropic` messages.

mod answer;
mod count;
mod decoder;
mod encoder;
mod error;
mod features;
pub(super) mod language;
mod request_in;
mod request_out;
pub(super) mod rules;
mod scan;
mod strip;
mod thinking;

use crate::json::{Value, json};

use super::message::{Finish, arguments};
use super::signature::{Origin, wrap};

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::BadCall => "end_turn",
        Finish::StopSequence => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::ContextWindow => "model_context_window_exceeded",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter | Finish::Refusal => "refusal",
        Finish::Pause => "pause_turn",
    }
}

fn finish_of(reason: &str) -> Finish {
    match reason {
        "stop_sequence" => Finish::StopSequence,
        "max_tokens" => Finish::Length,
        "model_context_window_exceeded" => Finish::ContextWindow,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::Refusal,
        "pause_turn" => Finish::Pause,
        _ => Finish::Stop,
    }
}

/// The input of a tool call: an object, which servers that speak this dialect do not all know.
fn input(value: Option<&Value>) -> Value {
    match value {
        None | Some(Value::Null) => arguments(""),
        Some(Value::String(text)) => arguments(text),
        Some(value) if value.is_object() => value.clone(),
        Some(value) => arguments(&value.to_string()),
    }
}

/// The block before a tool call: it brings back `Gemini`'s signature of it, or, `begins`, tells a caller's later request
/// that another model began this round of calls ([`super::without_foreign_thoughts`]).
fn before_call(signature: Option<&str>, begins: bool) -> Option<Value> {
    let data = match signature {
        Some(signature) => wrap(Origin::GeminiCall, signature),
        None if begins => wrap(Origin::Unsigned, ""),
        None => return None,
    };
    Some(json!({ "type": "redacted_thinking", "data": data }))
}
