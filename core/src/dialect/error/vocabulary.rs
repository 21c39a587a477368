//! The words that each API has for our errors.

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
        Code::AuthBilling | Code::BizBudgetSpent => row((429, "insufficient_quota", Some("insufficient_quota")), (402, "billing_error"), (400, "FAILED_PRECONDITION")),
        Code::AuthAccountClosed => row((401, INVALID, Some("account_deactivated")), (403, "permission_error"), (403, "PERMISSION_DENIED")),
        Code::AuthAccessDenied | Code::BizPaused | Code::BizGuardRefused => row((403, INVALID, None), (403, "permission_error"), (403, "PERMISSION_DENIED")),
        Code::AuthPermission => row((403, INVALID, Some("missing_scope")), (403, "permission_error"), (403, "PERMISSION_DENIED")),

        Code::ValNotJson | Code::ValHttp | Code::ValProviderRefused => row((400, INVALID, None), (400, INVALID), (400, "INVALID_ARGUMENT")),
        Code::ValField => row((400, INVALID, Some("invalid_value")), (400, INVALID), (400, "INVALID_ARGUMENT")),
        Code::ValTooLarge => row((413, INVALID, None), (413, "request_too_large"), (400, "INVALID_ARGUMENT")),
        Code::ValUnsupported => row((400, INVALID, Some("unsupported_parameter")), (400, INVALID), (400, "INVALID_ARGUMENT")),
        Code::ValMethod => row((405, INVALID, Some("method_not_supported")), (405, INVALID), (405, "UNIMPLEMENTED")),
        Code::ValContextLength => row((400, INVALID, Some("context_length_exceeded")), (400, INVALID), (400, "INVALID_ARGUMENT")),

        Code::ResModelNotFound => row((404, INVALID, Some("model_not_found")), (404, "not_found_error"), (404, "NOT_FOUND")),
        Code::ResPathNotFound | Code::ResProviderNotFound => row((404, INVALID, Some("unknown_url")), (404, "not_found_error"), (404, "NOT_FOUND")),
        Code::ResJobNotFound => row((404, INVALID, None), (404, "not_found_error"), (404, "NOT_FOUND")),
        // SDKs of OpenAI and Anthropic try a 409 again, after the time that they are told, unless they are told not to.
        Code::ResJobNotDone | Code::ResJobKeyTaken => row((409, INVALID, None), (409, INVALID), (409, "ABORTED")),
        Code::SysJobsFull => row((507, "server_error", Some("server_error")), (529, "overloaded_error"), (503, "UNAVAILABLE")),
        Code::ResNotCached => row((504, INVALID, None), (504, "timeout_error"), (504, "DEADLINE_EXCEEDED")),
        Code::SysNotSupported => row((501, INVALID, Some("unknown_url")), (404, "not_found_error"), (501, "UNIMPLEMENTED")),

        Code::SysNotReady | Code::SysDraining | Code::ExtAllUnavailable => row(AWAY, (529, "overloaded_error"), (503, "UNAVAILABLE")),
        Code::SysOverloaded | Code::ExtOverloaded => row(BUSY, (529, "overloaded_error"), (503, "UNAVAILABLE")),
        Code::SysInternal => row((500, "server_error", Some("server_error")), (500, "api_error"), (500, "INTERNAL")),

        Code::ExtConnectTimeout | Code::ExtFirstTokenTimeout | Code::ExtIdleTimeout | Code::ExtTotalTimeout =>
            row(LATE, (504, "timeout_error"), (504, "DEADLINE_EXCEEDED")),
        Code::ExtAddressDenied | Code::ExtConnectRefused | Code::ExtDns | Code::ExtTls | Code::ExtReset | Code::ExtTruncated
        | Code::ExtProtocol | Code::ExtServerError | Code::ExtMalformed | Code::ExtRedirect =>
            row(FAILED, (500, "api_error"), (503, "UNAVAILABLE")),

        Code::RateLocalLimit | Code::RateProvider | Code::BizRunaway => row(LIMIT, (429, "rate_limit_error"), (429, "RESOURCE_EXHAUSTED")),
        Code::BizContentFiltered => row((400, INVALID, Some("content_filter")), (400, INVALID), (400, "INVALID_ARGUMENT")),
    }
}

/// Whose words an API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Vocabulary {
    OpenAi,
    Anthropic,
    Gemini,
}

impl Vocabulary {
    /// How an error with this code is said.
    pub(in crate::dialect) fn words(self, code: Code) -> Words {
        let said = said(code);
        let (status, kind, code) = match self {
            Self::OpenAi => said.openai,
            Self::Anthropic => (said.anthropic.0, said.anthropic.1, None),
            Self::Gemini => (said.gemini.0, said.gemini.1, None),
        };
        Words { status, kind, code }
    }
}
