//! Our errors as chat completions say them.

use bytes::Bytes;

use super::super::error::ErrorView;
use super::super::rules::Rules;
use super::rules::RULES;
use crate::json::{Value, json};

/// The error itself, which Responses says in the same words; `caller` is who hears it.
pub(in super::super) fn object(caller: &Rules, error: &ErrorView<'_>) -> Value {
    json!({
        "message": error.message_for(caller),
        "type": caller.vocabulary.words(error.code).kind,
        "param": error.param,
        "code": error.openai_code(),
        "bowsprit_code": error.code.as_str(),
        "request_id": error.request_id,
    })
}

pub(super) fn body(error: &ErrorView<'_>) -> Value {
    json!({ "error": object(&RULES, error) })
}

pub(super) fn event(error: &ErrorView<'_>, _: u64) -> Bytes {
    Bytes::from(format!("data: {}\n\n", body(error)))
}
