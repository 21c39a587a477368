//! `OpenAI` chat completions, and what servers compatible with it add.

mod answer;
mod calls;
mod decoder;
mod encoder;
pub(super) mod error;
pub(super) mod features;
pub(super) mod language;
mod plain_choice;
mod request_in;
mod request_out;
pub(super) mod rules;
mod said;
mod scan;

pub use plain_choice::without_allowed_tools;

use crate::json::Value;

use super::error::ProviderError;
use super::message::Finish;
use crate::fault::ErrorKind;

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence | Finish::Pause | Finish::BadCall => "stop",
        Finish::Length | Finish::ContextWindow => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter | Finish::Refusal => "content_filter",
    }
}

/// What a finish reason means, in the API's words and in those that compatible servers have for them.
///
/// # Errors
/// The provider's error, where the word says that it failed at the answer.
fn finish_of(reason: &str) -> Result<Finish, ProviderError> {
    Ok(match reason.to_ascii_lowercase().as_str() {
        "length" | "max_tokens" | "max_length" => Finish::Length,
        // Mistral
        "model_length" => Finish::ContextWindow,
        "tool_calls" | "tool_call" | "tool_use" | "function_call" | "function_calls" => Finish::ToolCalls,
        "content_filter" | "safety" | "sensitive" => Finish::ContentFilter,
        "refusal" => Finish::Refusal,
        "malformed_function_call" => Finish::BadCall,
        // OpenRouter and Mistral, vLLM and SGLang
        "error" | "network_error" | "abort" | "aborted" | "cancelled" => {
            return Err(failed(reason, ErrorKind::Internal));
        }
        // DeepSeek
        "insufficient_system_resource" => return Err(failed(reason, ErrorKind::Overloaded)),
        _ => Finish::Stop,
    })
}

fn failed(reason: &str, kind: ErrorKind) -> ProviderError {
    ProviderError {
        kind,
        message: format!("the provider gave the answer up (finish_reason {reason})"),
        code: Some(reason.to_owned()),
        retry_after: None,
    }
}

/// Whether a choice says anything, or why it does not.
pub(super) fn says(choice: &Value) -> bool {
    let text = |name: &str| {
        choice
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|text| !text.is_empty())
    };
    let message = ["message", "delta"].into_iter().filter_map(|name| choice.get(name));
    text("finish_reason")
        || text("text")
        || message
            .map(|message| said::read(message, &mut said::Thoughts::default()))
            .any(|said| said.is_err() || said.is_ok_and(|said| !said.is_empty()))
}
