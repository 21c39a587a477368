//! The page of error codes, and the same as data for the tests with the official SDKs.

use std::fmt::Write as _;

use bowsprit_core::dialect::{Dialect, ErrorView, Words, error_body, words_for};
use bowsprit_core::fault::Code;

use super::GENERATED;

/// The SDKs that tests/sdk runs, at the versions that it pins; named as there.
const SDKS: [(&str, Dialect, Language); 7] = [
    ("openai python", Dialect::OpenAiChat, Language::Python),
    ("openai node", Dialect::OpenAiChat, Language::Node),
    ("responses python", Dialect::OpenAiResponses, Language::Python),
    ("responses node", Dialect::OpenAiResponses, Language::Node),
    ("anthropic python", Dialect::AnthropicMessages, Language::Python),
    ("anthropic node", Dialect::AnthropicMessages, Language::Node),
    ("google-genai python", Dialect::Gemini, Language::Python),
];

/// Callers as the page shows them; Responses has the words of chat completions.
const CALLERS: [Dialect; 3] = [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    Python,
    Node,
}

/// The exception that an SDK raises: each chooses it by the HTTP status alone.
fn raised(caller: Dialect, language: Language, status: u16) -> &'static str {
    let base = match language {
        Language::Python => "APIStatusError",
        Language::Node => "APIError",
    };
    let is_claude = caller == Dialect::AnthropicMessages;
    match status {
        400..=499 if caller == Dialect::Gemini => "ClientError",
        _ if caller == Dialect::Gemini => "ServerError",
        400 => "BadRequestError",
        401 => "AuthenticationError",
        402 if is_claude => "PaymentRequiredError",
        403 => "PermissionDeniedError",
        404 => "NotFoundError",
        413 if is_claude => "ContentTooLargeError",
        429 => "RateLimitError",
        503 if is_claude => "ServiceUnavailableError",
        504 if is_claude => "GatewayTimeoutError",
        529 if is_claude => "OverloadedError",
        500..=599 => "InternalServerError",
        _ => base,
    }
}

/// Whether an SDK tries again by itself. All but Google's read `x-should-retry`; that one goes by the status.
fn tries_again(caller: Dialect, code: Code, status: u16) -> bool {
    match caller {
        Dialect::Gemini => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
        _ => code.retryable(),
    }
}

/// `docs/errors.md`.
pub(super) fn page() -> String {
    let mut page = format!(
        "{GENERATED}# Error codes\n\nEvery error that a sidecar answers with carries one of these codes: in the body as \
         `error.bowsprit_code`, in the access log and as the label `code` of the metrics. `kubectl bowsprit explain CODE` \
         says the same.\n\nAn error that came from a provider of the caller's own dialect keeps the provider's status and \
         body, without a code of ours.\n\n| code | whose fault | again? | meaning | what to do |\n|---|---|---|---|---|\n"
    );
    for code in Code::ALL {
        let again = yes(code.retryable());
        let _ = writeln!(
            page,
            "| <a id=\"{}\"></a>`{code}` | {} | {again} | {} | {} |",
            code.as_str().to_lowercase().replace('_', "-"),
            code.blame().as_str(),
            code.meaning(),
            code.remedy(),
        );
    }
    page.push_str(
        "\n## In each API's own words\n\nStatus, type and code are those of the caller's API: HTTP status, `error.type` and \
         `error.code` for OpenAI (chat completions and Responses; `-`: its code is null), HTTP status and `error.type` for \
         Anthropic, HTTP status and `error.status` for Gemini. Where a provider or a field says more exactly what is wrong \
         (`missing_required_parameter`, `unsupported_value`), `error.code` says that. The code in a `response.failed` event is \
         one of the few that OpenAI's schema has: `rate_limit_exceeded`, `invalid_prompt` or `server_error`.\n\nThe last two \
         columns are what the official SDKs make of it, in the order OpenAI, Anthropic, Gemini, as `make conformance` sees \
         them do with these very bodies: the exception that they raise, and whether they try again by themselves. Google's \
         does so only where it is told to, and does not read `x-should-retry`.\n\n\
         | code | OpenAI | Anthropic | Gemini | SDK raises | SDK tries again |\n|---|---|---|---|---|---|\n",
    );
    for code in Code::ALL {
        let cells = CALLERS.map(|caller| said(caller, words_for(caller, *code)));
        let raises = CALLERS.map(|caller| exceptions(caller, *code));
        let again = CALLERS.map(|caller| yes(tries_again(caller, *code, words_for(caller, *code).status)));
        let _ = writeln!(
            page,
            "| `{code}` | {} | {} | {} |",
            cells.join(" | "),
            raises.join(", "),
            again.join(", ")
        );
    }
    page
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn said(caller: Dialect, words: Words) -> String {
    let Words { status, kind, code } = words;
    match code {
        Some(code) => format!("{status} `{kind}` `{code}`"),
        None if caller == Dialect::OpenAiChat => format!("{status} `{kind}` -"),
        None => format!("{status} `{kind}`"),
    }
}

/// The exceptions of an API's SDKs, once where all languages agree.
fn exceptions(caller: Dialect, code: Code) -> String {
    let status = words_for(caller, code).status;
    let [python, node] = [Language::Python, Language::Node].map(|language| raised(caller, language, status));
    if python == node {
        format!("`{python}`")
    } else {
        format!("`{python}` (Node: `{node}`)")
    }
}

/// `tests/sdk/errors.json`: what each API's callers get for each code, and what each SDK is to make of it.
pub(super) fn data() -> String {
    let rows = Code::ALL.iter().map(|code| row(*code)).collect::<Vec<_>>();
    format!("[\n{}\n]\n", rows.join(",\n"))
}

fn row(code: Code) -> String {
    let mut row = format!(
        "  {{\n    \"code\": \"{code}\",\n    \"retryable\": {}",
        code.retryable()
    );
    for caller in CALLERS {
        let view = ErrorView {
            code,
            message: "what is wrong, and what to do",
            status: None,
            exact: None,
            param: None,
            request_id: "r-1",
            retry_after: None,
        };
        let status = view.status_for(caller);
        let body = error_body(caller, &view);
        let body = String::from_utf8_lossy(&body);
        let _ = write!(row, ",\n    \"{caller}\": {{\"status\": {status}, \"body\": {body}}}");
    }
    let each = |says: &dyn Fn(Dialect, Language, u16) -> String| {
        let all = SDKS.iter().map(|(name, caller, language)| {
            let status = words_for(*caller, code).status;
            format!("\"{name}\": {}", says(*caller, *language, status))
        });
        all.collect::<Vec<_>>().join(", ")
    };
    let raises = each(&|caller, language, status| format!("\"{}\"", raised(caller, language, status)));
    let again = each(&|caller, _, status| tries_again(caller, code, status).to_string());
    let _ = write!(
        row,
        ",\n    \"raises\": {{{raises}}},\n    \"again\": {{{again}}}\n  }}"
    );
    row
}
