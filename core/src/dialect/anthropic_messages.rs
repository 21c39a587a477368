//! `Anthropic` messages.

pub(super) mod answer;
pub(super) mod decoder;
pub(super) mod encoder;
pub(super) mod request_in;
pub(super) mod request_out;
mod thinking;

use serde_json::{Value, json};

use super::common::Finish;
use super::foreign::{Origin, mark};

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

/// The block before a tool call that brings back `Gemini`'s signature of it.
fn signed_call(signature: &str) -> Value {
    json!({ "type": "redacted_thinking", "data": mark(Origin::GeminiCall, signature) })
}
