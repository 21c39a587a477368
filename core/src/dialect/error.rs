//! Errors: what a provider's error says, and how ours is said to each caller.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Dialect;
use crate::fault::{Code, ErrorKind};

/// A provider's error, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    /// What it means, whatever the dialect.
    pub kind: ErrorKind,
    /// The provider's words, shortened; anything that looks like a key is blotted out.
    pub message: String,
    /// The provider's own code, type or status.
    pub code: Option<String>,
    /// How long to wait, where the body says so (`Gemini`'s `RetryInfo`).
    pub retry_after: Option<Duration>,
}

/// An error as the caller is to see it.
#[derive(Clone, Debug)]
pub struct ErrorView<'a> {
    /// Our code.
    pub code: Code,
    /// What is wrong, where, and what to do.
    pub message: &'a str,
    /// The HTTP status it goes out with.
    pub status: u16,
    /// Path of the field at fault.
    pub param: Option<&'a str>,
    /// The request's id.
    pub request_id: &'a str,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// Bytes of a provider's message that are kept: enough for every known one, too few to fill a log.
const MESSAGE_LIMIT: usize = 1024;

/// Reads a provider's error body. `status` is the HTTP status, or 200 for an error inside a stream or a success.
pub fn parse_error(provider: Dialect, status: u16, body: &[u8]) -> ProviderError {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let message = match body {
            [] => format!("HTTP {status} with an empty body"),
            _ => format!("HTTP {status} with a body that is not the API's JSON error"),
        };
        return ProviderError {
            kind: of_status(status),
            message,
            code: None,
            retry_after: None,
        };
    };
    from_value(provider, status, &value)
}

pub(super) fn from_value(provider: Dialect, status: u16, value: &Value) -> ProviderError {
    // Gemini's streams without `alt=sse`, and its OpenAI-compatible API, wrap the error in an array.
    let value = value.as_array().and_then(|array| array.first()).unwrap_or(value);
    let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let message = text("message").or_else(|| error.as_str()).unwrap_or_default();
    let code = match provider {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            text("code").or_else(|| text("type")).or_else(|| text("status"))
        }
        Dialect::AnthropicMessages => text("type"),
        Dialect::Gemini => text("status"),
    };
    // Inside a stream the only status is the one in the error itself.
    let inner = error
        .get("code")
        .and_then(Value::as_u64)
        .and_then(|code| u16::try_from(code).ok());
    let status = if status < 300 {
        inner.filter(|code| (400..600).contains(code)).unwrap_or(status)
    } else {
        status
    };
    let named = [text("code"), text("type"), text("status"), error_info_reason(error)];
    let kind = of_message(status, message)
        .or_else(|| named.into_iter().flatten().find_map(of_name))
        // `server_error` and `api_error` say no more than that something failed: OpenAI writes it into an overloaded 503,
        // Anthropic's compatible servers into a 429. A status that says more is believed.
        .filter(|kind| *kind != ErrorKind::Internal || status < 400)
        .unwrap_or_else(|| {
            if status < 300 {
                ErrorKind::Internal
            } else {
                of_status(status)
            }
        });
    let message = if message.is_empty() {
        format!("HTTP {status} without a message")
    } else {
        cleaned(message)
    };
    ProviderError {
        kind,
        message,
        code: code.map(str::to_owned),
        retry_after: retry_info(error),
    }
}

/// What a status says when the body says nothing.
fn of_status(status: u16) -> ErrorKind {
    match status {
        300..=399 => ErrorKind::Redirect,
        401 => ErrorKind::Authentication,
        402 => ErrorKind::Billing,
        403 => ErrorKind::Permission,
        404 => ErrorKind::NotFound,
        408 | 504 | 524 => ErrorKind::Timeout,
        413 => ErrorKind::TooLarge,
        429 => ErrorKind::RateLimited,
        503 | 529 => ErrorKind::Overloaded,
        400..=499 => ErrorKind::InvalidRequest,
        500..=599 => ErrorKind::Internal,
        _ => ErrorKind::Malformed,
    }
}

/// What a code, type or status name says, in any dialect. Names that only repeat the status' class
/// (`invalid_request_error`, `INVALID_ARGUMENT`) come last, so that a more exact one beside them wins.
fn of_name(name: &str) -> Option<ErrorKind> {
    Some(match name {
        "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" | "billing_error" => {
            ErrorKind::Billing
        }
        "context_length_exceeded" | "string_above_max_length" | "model_context_window_exceeded" => {
            ErrorKind::ContextLength
        }
        "content_filter" | "content_policy_violation" | "ResponsibleAIPolicyViolation" => ErrorKind::ContentFilter,
        "invalid_api_key" | "authentication_error" | "UNAUTHENTICATED" | "API_KEY_INVALID" => ErrorKind::Authentication,
        "permission_error" | "PERMISSION_DENIED" | "unsupported_country_region_territory" => ErrorKind::Permission,
        "model_not_found" | "not_found_error" | "NOT_FOUND" => ErrorKind::NotFound,
        "request_too_large" => ErrorKind::TooLarge,
        "rate_limit_exceeded" | "rate_limit_error" | "RESOURCE_EXHAUSTED" => ErrorKind::RateLimited,
        "overloaded_error" | "UNAVAILABLE" | "engine_overloaded" | "server_overloaded" => ErrorKind::Overloaded,
        "timeout_error" | "DEADLINE_EXCEEDED" | "timeout" => ErrorKind::Timeout,
        "api_error" | "server_error" | "internal_error" | "INTERNAL" | "UNKNOWN" => ErrorKind::Internal,
        _ => return None,
    })
}

const CONTEXT: &[&str] = &[
    "prompt is too long",
    "maximum context length",
    "exceed context limit",
    "exceeds the maximum number of tokens",
    "context length exceeded",
    "exceeds the available context size",
];
const BILLING: &[&str] = &["credit balance is too low", "billing to be enabled", "enable billing"];
const KEY: &[&str] = &["api key not valid", "api key expired", "api key not found"];

/// Where the three name a special case only in words.
fn of_message(status: u16, message: &str) -> Option<ErrorKind> {
    if !matches!(status, 200 | 400 | 403 | 413 | 422) {
        return None;
    }
    let lower = message.to_ascii_lowercase();
    let says = |list: &[&str]| list.iter().any(|words| lower.contains(words));
    if says(CONTEXT) {
        Some(ErrorKind::ContextLength)
    } else if says(BILLING) {
        Some(ErrorKind::Billing)
    } else if says(KEY) {
        Some(ErrorKind::Authentication)
    } else {
        None
    }
}

fn details(error: &Value) -> impl Iterator<Item = &Value> {
    error.get("details").and_then(Value::as_array).into_iter().flatten()
}

fn error_info_reason(error: &Value) -> Option<&str> {
    details(error).find_map(|detail| detail.get("reason").and_then(Value::as_str))
}

/// `RetryInfo.retryDelay`, such as `"34s"` or `"1.500s"`.
fn retry_info(error: &Value) -> Option<Duration> {
    let delay = details(error).find_map(|detail| {
        let kind = detail.get("@type")?.as_str()?;
        if kind.ends_with("google.rpc.RetryInfo") {
            detail.get("retryDelay")?.as_str()
        } else {
            None
        }
    })?;
    let seconds: f64 = delay.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Shortens a message and blots out what looks like a key: providers quote the start and end of a wrong one.
fn cleaned(message: &str) -> String {
    let mut end = message.len().min(MESSAGE_LIMIT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let mut rest = message.get(..end).unwrap_or_default();
    let mut out = String::with_capacity(rest.len());
    let mut inside = false;
    while let Some(next) = rest.chars().next() {
        let length = if inside { None } else { key_length(rest) };
        if let Some(length) = length {
            out.push_str("[key]");
            rest = rest.get(length..).unwrap_or_default();
        } else {
            out.push(next);
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
        // A key begins where a word does, whatever stands before it.
        inside = length.is_none() && is_key_character(next);
    }
    out
}

/// How long the key is that `text` begins with, if it begins with one. A key that a provider has masked in part
/// (`sk-proj-****abcd`) still tells some of it.
fn key_length(text: &str) -> Option<usize> {
    const PREFIXES: [&str; 4] = ["sk-", "AIza", "sk_", "Bearer"];
    let prefix = PREFIXES.iter().find(|prefix| text.starts_with(**prefix))?;
    let end = text
        .find(|c: char| !is_key_character(c) && c != '*' && c != '.')
        .unwrap_or(text.len());
    let key = text.get(..end)?.trim_end_matches('.');
    (key.len() > prefix.len() + 4).then_some(key.len())
}

fn is_key_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

fn openai_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

fn gemini_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 => "FAILED_PRECONDITION",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        501 => "UNIMPLEMENTED",
        502 | 503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        400..=499 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

fn openai_error(error: &ErrorView<'_>) -> Value {
    json!({
        "message": error.message,
        "type": openai_type(error.status),
        "param": error.param,
        "code": error.code.as_str(),
        "request_id": error.request_id,
    })
}

fn error_value(caller: Dialect, error: &ErrorView<'_>) -> Value {
    let code = error.code.as_str();
    match caller {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => json!({ "error": openai_error(error) }),
        Dialect::AnthropicMessages => json!({
            "type": "error",
            "error": {
                "type": anthropic_type(error.status),
                "message": error.message,
                "bowsprit_code": code,
                "param": error.param,
            },
            "request_id": error.request_id,
        }),
        Dialect::Gemini => {
            let mut details = vec![json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": code,
                "domain": "bowsprit.dev",
                "metadata": match error.param {
                    Some(param) => json!({ "requestId": error.request_id, "field": param }),
                    None => json!({ "requestId": error.request_id }),
                },
            })];
            if let Some(delay) = error.retry_after {
                details.push(json!({
                    "@type": "type.googleapis.com/google.rpc.RetryInfo",
                    "retryDelay": format!("{}s", delay.as_secs_f64()),
                }));
            }
            json!({ "error": {
                "code": error.status,
                "message": error.message,
                "status": gemini_status(error.status),
                "details": details,
            }})
        }
    }
}

/// The error body that the caller's own SDK knows, with our code in it: `OpenAI`'s `code`, `Anthropic`'s extra field
/// `bowsprit_code`, `Gemini`'s `ErrorInfo.reason`.
pub fn error_body(caller: Dialect, error: &ErrorView<'_>) -> Bytes {
    super::common::to_bytes(&error_value(caller, error))
}

/// Ends a stream that broke, as the caller's dialect says it. No end mark follows: the SDK must not take it for whole.
pub fn error_event(caller: Dialect, error: &ErrorView<'_>) -> Bytes {
    Bytes::from(match caller {
        Dialect::AnthropicMessages => format!("event: error\ndata: {}\n\n", error_value(caller, error)),
        Dialect::OpenAiChat | Dialect::Gemini => format!("data: {}\n\n", error_value(caller, error)),
        Dialect::OpenAiResponses => return responses_event(error, 0),
    })
}

/// The `error` event of a Responses stream, as number `sequence` in it. The API's schema has its fields flat; the API
/// itself sends them in `error`, which is what SDKs raise on: both are there.
pub(super) fn responses_event(error: &ErrorView<'_>, sequence: u64) -> Bytes {
    let value = json!({
        "type": "error",
        "sequence_number": sequence,
        "code": error.code.as_str(),
        "message": error.message,
        "param": error.param,
        "error": openai_error(error),
    });
    Bytes::from(format!("event: error\ndata: {value}\n\n"))
}

/// The `code` of a failed response, which is one of a list.
pub(super) fn responses_code(error: &ErrorView<'_>) -> &'static str {
    match error.status {
        429 => "rate_limit_exceeded",
        400..=499 => "invalid_prompt",
        _ => "server_error",
    }
}
