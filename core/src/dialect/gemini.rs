//! `Gemini` `generateContent` and `streamGenerateContent`.

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
mod said;
mod scan;
mod schema;
mod strip;

use crate::json::{self, Value};
use bytes::Bytes;

use super::message::{Finish, to_bytes};
use super::success;
use super::thinking::gemini_generation;

/// The API's own marker for a call whose signature is not at hand, such as one that another provider's model made. The
/// third generation refuses a history without any.
pub(super) const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// Whether the model wants a thought signature on the calls in the history.
pub(super) fn signed(model: &str) -> bool {
    gemini_generation(model).is_some_and(|generation| generation >= (3, 0))
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence | Finish::ToolCalls | Finish::Pause => "STOP",
        Finish::Length | Finish::ContextWindow => "MAX_TOKENS",
        Finish::ContentFilter | Finish::Refusal => "SAFETY",
        Finish::BadCall => "MALFORMED_FUNCTION_CALL",
    }
}

/// What a finish reason means; `None` for the one that says that there is none.
fn finish_of(reason: &str) -> Option<Finish> {
    Some(match reason {
        "" | "FINISH_REASON_UNSPECIFIED" => return None,
        "MAX_TOKENS" => Finish::Length,
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "MODEL_ARMOR" => {
            Finish::ContentFilter
        }
        reason if reason.starts_with("IMAGE_") => Finish::ContentFilter,
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" | "MALFORMED_RESPONSE" => {
            Finish::BadCall
        }
        _ => Finish::Stop,
    })
}

/// The name of a model as it stands in bodies.
pub(super) fn full_name(model: &str) -> String {
    match crate::model_name::bare(model) {
        tuned if tuned.starts_with("tunedModels/") => tuned.to_owned(),
        bare => format!("models/{bare}"),
    }
}

/// Replaces the model that a body names beside the URL, as counts and batches of embeddings do; the API refuses two
/// different ones. Everything else keeps its meaning, though not its white space.
pub(super) fn with_model_inside(body: &Bytes, model: &str) -> Bytes {
    let Ok(mut value) = json::parse(body) else {
        return body.clone();
    };
    let name = full_name(model);
    let rename = |value: &mut Value| {
        if let Some(old) = value.get_mut("model") {
            *old = name.as_str().into();
        }
    };
    rename(&mut value);
    value.get_mut("generateContentRequest").map(rename);
    let requests = value.get_mut("requests").and_then(Value::as_array_mut);
    requests.into_iter().flatten().for_each(rename);
    to_bytes(&value)
}

/// Whether the prompt was blocked, which is the answer to it then.
fn blocked(value: &Value) -> bool {
    value
        .get("promptFeedback")
        .is_some_and(|feedback| success::is_text(feedback, "blockReason"))
}

/// Whether a candidate has parts, or a reason why it has none.
fn says(candidate: &Value) -> bool {
    let parts = candidate
        .get("content")
        .map_or(&[][..], |content| success::list(content, "parts"));
    !parts.is_empty() || success::is_text(candidate, "finishReason")
}
