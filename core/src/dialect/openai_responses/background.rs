//! Answers that are made in the background: what is told of one first is not what it will have cost.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;

use super::super::Dialect;
use crate::json;

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    status: Cow<'a, str>,
}

/// Whether this answer, which tells no usage, says that the provider goes on with it.
pub fn is_at_work(dialect: Dialect, body: &[u8]) -> bool {
    if dialect != Dialect::OpenAiResponses {
        return false;
    }
    let response = json::from_slice::<Response<'_>>(body);
    response.is_ok_and(|response| matches!(&*response.status, "queued" | "in_progress"))
}

/// Whether a stream's first event says that the provider goes on, whoever reads it.
pub(super) fn is_begun(data: &[u8]) -> bool {
    let key = b"\"background\":";
    memmem::find_iter(data, key).any(|at| {
        let value = data.get(at + key.len()..).unwrap_or_default();
        value.trim_ascii_start().starts_with(b"true")
    })
}
