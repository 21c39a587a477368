//! Our errors in each caller's own words.

use std::borrow::Cow;

use crate::json::{Map, Value, json};
use bytes::Bytes;

use super::{ErrorView, context};
use crate::dialect::Dialect;
use crate::dialect::message::to_bytes;
use crate::fault::Code;

/// How a caller's API says an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// The HTTP status.
    pub status: u16,
    /// `error.type` of `OpenAI` and `Anthropic`, `error.status` of `Gemini`.
    pub kind: &'static str,
    /// `error.code` of `OpenAI`, which has none for some errors; `Anthropic` and `Gemini` have no second word.
    pub code: Option<&'static str>,
}

/// The words of the three vocabularies for one code; Responses has `OpenAI`'s.
struct Said {
    openai: (u16, &'static str, Option<&'static str>),
    anthropic: (u16, &'static str),
    gemini: (u16, &'static str),
}

/// The table. `OpenAI`'s words are those of its guide to error codes and of what its API is seen to send; `Anthropic` has
/// a status for each of its types; `Gemini`'s are the codes of `google.rpc` and their statuses.
#[rustfmt::skip]
fn said(code: Code) -> Said {
    const INVALID: &str = "invalid_request_error";
    const FAILED: (u16, &str, Option<&str>) = (502, "server_error", Some("server_error"));
    const LATE: (u16, &str, Option<&str>) = (504, "server_error", Some("server_error"));
    const AWAY: (u16, &str, Option<&str>) = (503, "service_unavailable_error", Some("server_error"));
    const BUSY: (u16, &str, Option<&str>) = (503, "service_unavailable_error", Some("server_is_overloaded"));
    const LIMIT: (u16, &str, Option<&str>) = (429, "rate_limit_error", Some("rate_limit_exceeded"));
    let row = |openai, anthropic, gemini| Said { openai, anthropic, gemini };
    match code {
        Code::AuthKeyMissing => row(AWAY, (500, "api_error"), (503, "UNAVAILABLE")),
        Code::AuthKeyRejected => row((401, INVALID, Some("invalid_api_key")), (401, "authentication_error"), (401, "UNAUTHENTICATED")),
        // A 429 at OpenAI; `x-should-retry` keeps its SDKs from trying again.
        Code::AuthBilling => row((429, "insufficient_quota", Some("insufficient_quota")), (402, "billing_error"), (400, "FAILED_PRECONDITION")),
        Code::AuthAccountClosed => row((401, INVALID, Some("account_deactivated")), (403, "permission_error"), (403, "PERMISSION_DENIED")),
        Code::AuthPermission => row((403, INVALID, Some("missing_scope")), (403, "permission_error"), (403, "PERMISSION_DENIED")),

        Code::ValNotJson | Code::ValHttp | Code::ValProviderRefused => row((400, INVALID, None), (400, INVALID), (400, "INVALID_ARGUMENT")),
        Code::ValField => row((400, INVALID, Some("invalid_value")), (400, INVALID), (400, "INVALID_ARGUMENT")),
        Code::ValTooLarge => row((413, INVALID, None), (413, "request_too_large"), (400, "INVALID_ARGUMENT")),
        Code::ValUnsupported => row((400, INVALID, Some("unsupported_parameter")), (400, INVALID), (400, "INVALID_ARGUMENT")),
        Code::ValMethod => row((405, INVALID, Some("method_not_supported")), (405, INVALID), (405, "UNIMPLEMENTED")),
        Code::ValContextLength => row((400, INVALID, Some("context_length_exceeded")), (400, INVALID), (400, "INVALID_ARGUMENT")),

        Code::ResModelNotFound => row((404, INVALID, Some("model_not_found")), (404, "not_found_error"), (404, "NOT_FOUND")),
        Code::ResPathNotFound | Code::ResProviderNotFound => row((404, INVALID, Some("unknown_url")), (404, "not_found_error"), (404, "NOT_FOUND")),
        Code::SysNotSupported => row((501, INVALID, Some("unknown_url")), (404, "not_found_error"), (501, "UNIMPLEMENTED")),

        Code::SysNotReady | Code::SysDraining | Code::ExtAllUnavailable => row(AWAY, (529, "overloaded_error"), (503, "UNAVAILABLE")),
        Code::SysOverloaded | Code::ExtOverloaded => row(BUSY, (529, "overloaded_error"), (503, "UNAVAILABLE")),
        Code::SysInternal => row((500, "server_error", Some("server_error")), (500, "api_error"), (500, "INTERNAL")),

        Code::ExtConnectTimeout | Code::ExtFirstTokenTimeout | Code::ExtIdleTimeout | Code::ExtTotalTimeout =>
            row(LATE, (504, "timeout_error"), (504, "DEADLINE_EXCEEDED")),
        Code::ExtAddressDenied | Code::ExtConnectRefused | Code::ExtDns | Code::ExtTls | Code::ExtReset | Code::ExtTruncated
        | Code::ExtProtocol | Code::ExtServerError | Code::ExtMalformed | Code::ExtRedirect =>
            row(FAILED, (500, "api_error"), (503, "UNAVAILABLE")),

        Code::RateLocalLimit | Code::RateProvider => row(LIMIT, (429, "rate_limit_error"), (429, "RESOURCE_EXHAUSTED")),
        Code::BizContentFiltered => row((400, INVALID, Some("content_filter")), (400, INVALID), (400, "INVALID_ARGUMENT")),
    }
}

/// How a caller's API says an error with this code.
pub fn words_for(caller: Dialect, code: Code) -> Words {
    let Said {
        openai,
        anthropic,
        gemini,
    } = said(code);
    let (status, kind, code) = match caller {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => openai,
        Dialect::AnthropicMessages => (anthropic.0, anthropic.1, None),
        Dialect::Gemini => (gemini.0, gemini.1, None),
    };
    Words { status, kind, code }
}

impl ErrorView<'_> {
    /// The HTTP status that it goes out with to this caller.
    pub fn status_for(&self, caller: Dialect) -> u16 {
        self.status.unwrap_or_else(|| words_for(caller, self.code).status)
    }

    fn openai_code(&self) -> Option<&str> {
        self.exact.or(words_for(Dialect::OpenAiChat, self.code).code)
    }

    fn message_for(&self, caller: Dialect) -> Cow<'_, str> {
        if self.code == Code::ValContextLength {
            context::said(caller, self.message)
        } else {
            Cow::Borrowed(self.message)
        }
    }
}

fn openai_error(caller: Dialect, error: &ErrorView<'_>) -> Value {
    json!({
        "message": error.message_for(caller),
        "type": words_for(caller, error.code).kind,
        "param": error.param,
        "code": error.openai_code(),
        "bowsprit_code": error.code.as_str(),
        "request_id": error.request_id,
    })
}

fn anthropic_error(error: &ErrorView<'_>) -> Value {
    let caller = Dialect::AnthropicMessages;
    json!({
        "type": "error",
        "error": {
            "type": words_for(caller, error.code).kind,
            "message": error.message_for(caller),
            "bowsprit_code": error.code.as_str(),
            "param": error.param,
        },
        "request_id": error.request_id,
    })
}

/// `ErrorInfo.reason` holds our code too: it is where programs of Google's APIs look for a service's own.
fn gemini_error(error: &ErrorView<'_>) -> Value {
    let mut metadata = Map::new();
    metadata.insert("requestId".into(), error.request_id.into());
    if let Some(param) = error.param {
        metadata.insert("field".into(), param.into());
    }
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.code.as_str(),
        "domain": "bowsprit.dev",
        "metadata": metadata,
    })];
    if let Some(delay) = error.retry_after {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", delay.as_secs_f64()),
        }));
    }
    let caller = Dialect::Gemini;
    json!({ "error": {
        "code": error.status_for(caller),
        "message": error.message_for(caller),
        "status": words_for(caller, error.code).kind,
        "bowsprit_code": error.code.as_str(),
        "details": details,
    }})
}

fn error_value(caller: Dialect, error: &ErrorView<'_>) -> Value {
    match caller {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => json!({ "error": openai_error(caller, error) }),
        Dialect::AnthropicMessages => anthropic_error(error),
        Dialect::Gemini => gemini_error(error),
    }
}

/// The error body that the caller's own SDK knows, in its API's own words, with our code as `error.bowsprit_code`.
pub fn error_body(caller: Dialect, error: &ErrorView<'_>) -> Bytes {
    to_bytes(&error_value(caller, error))
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
pub(in crate::dialect) fn responses_event(error: &ErrorView<'_>, sequence: u64) -> Bytes {
    let caller = Dialect::OpenAiResponses;
    let value = json!({
        "type": "error",
        "sequence_number": sequence,
        "code": error.openai_code(),
        "message": error.message_for(caller),
        "param": error.param,
        "bowsprit_code": error.code.as_str(),
        "error": openai_error(caller, error),
    });
    Bytes::from(format!("event: error\ndata: {value}\n\n"))
}

/// The `code` of a failed response, which is one of a list.
pub(in crate::dialect) fn responses_code(error: &ErrorView<'_>) -> &'static str {
    match error.status_for(Dialect::OpenAiResponses) {
        // No code of the list is about money.
        _ if error.code == Code::AuthBilling => "server_error",
        429 => "rate_limit_exceeded",
        400..=499 => "invalid_prompt",
        _ => "server_error",
    }
}
