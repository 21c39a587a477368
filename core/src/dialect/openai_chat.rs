//! `OpenAI` chat completions, and what servers compatible with it add.

pub(super) mod answer;
pub(super) mod decoder;
pub(super) mod encoder;
pub(super) mod request_in;
pub(super) mod request_out;

use super::common::Finish;

/// Whether a model of `OpenAI`'s takes `reasoning_effort`, and `max_completion_tokens` instead of `max_tokens`. Others,
/// and most compatible servers, refuse the first and know the second only.
fn reasons(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let mut letters = name.chars();
    (letters.next() == Some('o') && letters.next().is_some_and(|c| c.is_ascii_digit())) || name.starts_with("gpt-5")
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence | Finish::Pause | Finish::BadCall => "stop",
        Finish::Length | Finish::ContextWindow => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter | Finish::Refusal => "content_filter",
    }
}

fn finish_of(reason: &str) -> Finish {
    match reason {
        "length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}
