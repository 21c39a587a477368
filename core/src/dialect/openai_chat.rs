//! `OpenAI` chat completions, and what servers compatible with it add.

pub(super) mod answer;
pub(super) mod decoder;
pub(super) mod encoder;
pub(super) mod request_in;
pub(super) mod request_out;

use super::common::Finish;

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
