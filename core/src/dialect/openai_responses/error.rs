//! Our errors as Responses say them.

use bytes::Bytes;

use super::super::error::ErrorView;
use super::super::openai_chat::error::object;
use super::rules::RULES;
use crate::fault::Code;
use crate::json::{Value, json};

pub(super) fn body(error: &ErrorView<'_>) -> Value {
    json!({ "error": object(&RULES, error) })
}

/// The `error` event of a Responses stream, as number `sequence` in it. The API's schema has its fields flat; the API
/// itself sends them in `error`, which is what SDKs raise on: both are there.
pub(super) fn event(error: &ErrorView<'_>, sequence: u64) -> Bytes {
    let value = json!({
        "type": "error",
        "sequence_number": sequence,
        "code": error.openai_code(),
        "message": error.message_for(&RULES),
        "param": error.param,
        "bowsprit_code": error.code.as_str(),
        "error": object(&RULES, error),
    });
    Bytes::from(format!("event: error\ndata: {value}\n\n"))
}

/// The `code` of a failed response, which is one of a list.
pub(super) fn code(error: &ErrorView<'_>) -> &'static str {
    match error.status_in(&RULES) {
        // No code of the list is about money.
        _ if error.code == Code::AuthBilling => "server_error",
        429 => "rate_limit_exceeded",
        400..=499 => "invalid_prompt",
        _ => "server_error",
    }
}
