//! `count_tokens`: a messages request without what only steers the answer.

use super::super::language::Counting;
use super::{request_in, request_out};
use crate::json::json;

/// What of a messages request is counted.
const COUNTED: &[&str] = &[
    "model",
    "system",
    "messages",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
];

pub(super) const COUNTING: Counting = Counting {
    read: request_in::decode,
    write: |request, target, dropped| {
        let mut body = request_out::encode(request, target, dropped)?;
        if let Some(object) = body.as_object_mut() {
            object.retain(|name, _| COUNTED.contains(&name.as_str()));
        }
        Ok(body)
    },
    field: "input_tokens",
    answer: |tokens| json!({ "input_tokens": tokens }),
};
