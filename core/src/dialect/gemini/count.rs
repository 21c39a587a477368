//! `countTokens`, of a whole request one level down.

use super::super::Target;
use super::super::language::Counting;
use super::{full_name, request_in, request_out};
use crate::json::json;

/// The count of a whole request, with system prompt and tools.
const WHOLE: &str = "generateContentRequest";

pub(super) const COUNTING: Counting = Counting {
    read: |value, dropped| match value.get(WHOLE) {
        None => request_in::decode(value, dropped),
        Some(inner) => request_in::decode(inner, dropped).map_err(|mut error| {
            error.path = format!("{WHOLE}.{}", error.path);
            error
        }),
    },
    write: |request, target, dropped| {
        let target = Target {
            safety: &[],
            ..target.clone()
        };
        let mut body = request_out::encode(request, &target, dropped)?;
        if let Some(object) = body.as_object_mut() {
            object.insert("model".to_owned(), full_name(target.model).into());
        }
        Ok(json!({ WHOLE: body }))
    },
    field: "totalTokens",
    answer: |tokens| json!({ "totalTokens": tokens }),
};
