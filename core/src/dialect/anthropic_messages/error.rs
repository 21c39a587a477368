//! Our errors as messages say them.

use bytes::Bytes;

use super::super::error::ErrorView;
use super::rules::RULES;
use crate::json::{Value, json};

pub(super) fn body(error: &ErrorView<'_>) -> Value {
    json!({
        "type": "error",
        "error": {
            "type": RULES.vocabulary.words(error.code).kind,
            "message": error.message_for(&RULES),
            "bowsprit_code": error.code.as_str(),
            "param": error.param,
        },
        "request_id": error.request_id,
    })
}

pub(super) fn event(error: &ErrorView<'_>, _: u64) -> Bytes {
    Bytes::from(format!("event: error\ndata: {}\n\n", body(error)))
}
