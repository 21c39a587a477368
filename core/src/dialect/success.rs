//! Whether a success is one: a status of 200 is no answer yet.
//!
//! Servers answer with 200 and an error, in their API's form or in one of their own, with an empty list of choices, with an
//! empty object, with a page for people. Taken for an answer that would be an empty one; it is an error, so that the next
//! candidate answers. An answer that is empty, and says why it ended, is an answer.

use crate::json::{self, Map, Value, json};
use memchr::memmem;
use memchr::memmem::Finder;

use super::error::{self, ProviderError};
use super::rules::Rules;
use crate::fault::ErrorKind;

/// What is wrong with an answer that is no conversation and came with a status of success: `holds` are names of which a good one has one at its top, `inside` those
/// that tell one at a glance.
pub(super) fn other_problem(dialect: &Rules, body: &[u8], inside: &[&str], holds: &[&str]) -> Option<ErrorKind> {
    let quoted = |name: &&str| format!("\"{name}\"");
    let named = |name: String| memmem::find(body, name.as_bytes()).is_some();
    if inside.iter().map(quoted).any(named) && memmem::find(body, b"\"error\"").is_none() {
        return None;
    }
    match object(dialect, body) {
        Ok(value) => {
            let held = holds.iter().filter_map(|name| value.get(*name)).any(is_some);
            (!held).then_some(ErrorKind::Malformed)
        }
        Err(kind) => Some(kind),
    }
}

/// Reads a body that came with a status of success.
///
/// # Errors
/// What it is instead of a JSON object that is no error.
pub(super) fn object(dialect: &Rules, body: &[u8]) -> Result<Value, ErrorKind> {
    let value = json::parse(body).map_err(|_| ErrorKind::Malformed)?;
    match error_in(dialect, &value) {
        Some(error) => Err(error.kind),
        None if value.is_object() => Ok(value),
        None => Err(ErrorKind::Malformed),
    }
}

/// The error that a body or an event is, where its status says success: in the API's own form, or in one of those that
/// compatible servers and the gateways before them have, with the fields of the error beside `object` or `type`, or alone.
pub(super) fn error_in(provider: &Rules, value: &Value) -> Option<ProviderError> {
    // Gemini's streams without `alt=sse`, and its OpenAI-compatible API, wrap the error in an array.
    let value = value.as_array().and_then(|list| list.first()).unwrap_or(value);
    let fields = value.as_object()?;
    let told = fields.get("error").filter(|error| is_some(error));
    if told.is_some_and(|error| !error.is_string()) {
        return Some(error::from_value(provider, 200, value));
    }
    let says = |name: &str, words: &[&str]| {
        let text = fields.get(name).and_then(Value::as_str);
        text.is_some_and(|text| words.contains(&text))
    };
    let named = says("object", &["error"]) || says("type", &["error"]) || says("status", &["error", "fail", "failed"]);
    let message = told.or_else(|| {
        first(
            fields,
            &["message", "detail", "msg", "error_message", "error_msg", "errors"],
        )
    });
    let answers = [
        "choices",
        "candidates",
        "content",
        "output",
        "data",
        "embeddings",
        "embedding",
        "usage",
    ];
    let alone = message.is_some() && !answers.iter().any(|name| fields.get(name).is_some_and(is_some));
    if told.is_none() && !named && !alone {
        return None;
    }
    if told.is_none()
        && ["message", "detail", "errors"]
            .iter()
            .any(|name| fields.contains_key(name))
    {
        return Some(error::from_value(provider, 200, value));
    }
    let text = message.map(|message| message.as_str().map_or_else(|| message.to_string(), str::to_owned));
    let error = json!({
        "message": text,
        "code": first(fields, &["code", "status_code", "statusCode"]),
    });
    Some(error::from_value(provider, 200, &json!({ "error": error })))
}

/// Checks that an event of a stream is no error.
///
/// # Errors
/// The provider's error.
pub(super) fn no_error(provider: &Rules, data: &[u8]) -> Result<(), ProviderError> {
    let value = json::parse(data).ok();
    match value.and_then(|value| error_in(provider, &value)) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Whether a field of an error says anything: some servers write an empty one into every answer.
pub(super) fn is_some(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

fn first<'v>(fields: &'v Map, names: &[&str]) -> Option<&'v Value> {
    names
        .iter()
        .filter_map(|name| fields.get(name))
        .find(|value| is_some(value))
}

pub(super) fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn is_text(value: &Value, name: &str) -> bool {
    value
        .get(name)
        .and_then(Value::as_str)
        .is_some_and(|text| !text.is_empty())
}

/// Whether a field of the API's own, found by `key`, says why the answer ended, without reading it: nearly every one does,
/// and this proxy's own time for a request is mostly the reading.
pub(super) fn tells(key: &Finder<'_>, body: &[u8]) -> bool {
    // serde would take an array for a struct; a page for people has no business with the word.
    body.trim_ascii_start().starts_with(b"{")
        && body.trim_ascii_end().ends_with(b"}")
        && key.find_iter(body).any(|at| {
            let after = body
                .get(at + key.needle().len()..)
                .unwrap_or_default()
                .trim_ascii_start();
            let value = after.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
            value.is_some_and(|value| value.starts_with(b"\"") && !value.starts_with(b"\"\""))
        })
}
