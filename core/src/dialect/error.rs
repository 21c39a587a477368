//! Errors: what a provider's error says, and how ours is said to each caller.
//!
//! [`super::parse_error`] reads a provider's error in whatever words its server uses (`kind`, `words`). Each
//! dialect's folder says ours in its API, in the words of `vocabulary`: its status, type and code, with our [`Code`] beside them as `bowsprit_code`.

use std::borrow::Cow;
use std::time::Duration;

use crate::json::{self, Value};

use super::rules::Rules;
use crate::fault::{Code, ErrorKind};

mod clean;
mod context;
mod kind;
mod vocabulary;
mod words;

pub(super) use context::ContextWords;
pub(super) use vocabulary::Vocabulary;
pub use vocabulary::Words;

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

impl ProviderError {
    /// The provider's code, where it is one by which `OpenAI`'s API says more exactly what is wrong with a request.
    pub fn openai_code(&self) -> Option<&'static str> {
        let code = self
            .code
            .as_deref()
            .filter(|_| self.kind == ErrorKind::InvalidRequest)?;
        words::OPENAI_EXACT.iter().copied().find(|known| *known == code)
    }
}

/// Why a stream cannot go on. What was sound before it has been appended to `out`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The provider said so inside the stream.
    Provider(ProviderError),
    /// What came is not what the provider's API promises.
    Malformed(String),
    /// It ended before all of it was there: without a finish reason, or in the middle of an event.
    Truncated,
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Provider(error) => write!(f, "the provider ended the stream with an error: {}", error.message),
            Self::Malformed(problem) => write!(f, "the provider's stream is malformed: {problem}"),
            Self::Truncated => f.write_str("the provider's stream ended before the answer did"),
        }
    }
}

impl std::error::Error for StreamError {}

impl From<ProviderError> for StreamError {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error)
    }
}

/// An error as the caller is to see it.
#[derive(Clone, Debug)]
pub struct ErrorView<'a> {
    /// Our code.
    pub code: Code,
    /// What is wrong, where, and what to do.
    pub message: &'a str,
    /// The HTTP status it goes out with, where it is not the one that the caller's API has for the code.
    pub status: Option<u16>,
    /// The code in `OpenAI`'s vocabulary, where it is known more exactly than our code says it.
    pub exact: Option<&'a str>,
    /// Path of the field at fault.
    pub param: Option<&'a str>,
    /// The request's id.
    pub request_id: &'a str,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl ErrorView<'_> {
    /// The HTTP status that it goes out with.
    pub(super) fn status_in(&self, caller: &Rules) -> u16 {
        self.status.unwrap_or_else(|| caller.vocabulary.words(self.code).status)
    }

    /// The code in `OpenAI`'s vocabulary.
    pub(super) fn openai_code(&self) -> Option<&str> {
        self.exact.or(Vocabulary::OpenAi.words(self.code).code)
    }

    /// What it says, with the caller's own words for a prompt that is too long.
    pub(super) fn message_for(&self, caller: &Rules) -> Cow<'_, str> {
        if self.code == Code::ValContextLength {
            context::said(&caller.context, self.message)
        } else {
            Cow::Borrowed(self.message)
        }
    }
}

/// Bytes of a body that is no JSON and is taken for the message.
const TEXT_LIMIT: usize = 2048;

/// Reads a provider's error body. `status` is the HTTP status, or 200 for an error inside a stream or a success.
pub(super) fn parse(provider: &Rules, status: u16, body: &[u8]) -> ProviderError {
    if let Ok(value) = json::parse(body) {
        return from_value(provider, status, &value);
    }
    // Some servers answer in words alone; pages of gateways say nothing to a caller.
    let text = std::str::from_utf8(body).map(str::trim).unwrap_or_default();
    let is_message =
        status >= 400 && !text.is_empty() && text.len() <= TEXT_LIMIT && !text.starts_with(['<', '{', '[']);
    let kind = kind::of_words(status, &Value::Null, text, "").filter(|_| is_message);
    ProviderError {
        kind: kind.unwrap_or_else(|| kind::of_status(status)),
        message: match body {
            [] => format!("HTTP {status} with an empty body"),
            _ if is_message => clean::cleaned(text),
            _ => format!("HTTP {status} with a body that is not the API's JSON error"),
        },
        code: None,
        retry_after: None,
    }
}

pub(super) fn from_value(provider: &Rules, status: u16, value: &Value) -> ProviderError {
    // Gemini's streams without `alt=sse`, and its OpenAI-compatible API, wrap the error in an array.
    let whole = value.as_array().and_then(|array| array.first()).unwrap_or(value);
    let error = error_of(whole);
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let message = message_of(error);
    let code = provider.error_codes.iter().find_map(|name| text(name));
    // Inside a stream the only status is the one in the error itself.
    let status = if status < 300 {
        inner_status(error).unwrap_or(status)
    } else {
        status
    };
    let inner = inner_message(error);
    // xAI, TGI and FastAPI's servers have their names beside the error.
    let beside = |name: &str| whole.get(name).and_then(Value::as_str);
    let named: Vec<&str> = [
        text("code"),
        text("type"),
        text("status"),
        error_info_reason(error),
        error
            .get("details")
            .and_then(|details| details.get("error_code")?.as_str()),
        beside("code"),
        beside("error_type"),
        error.get("innererror").and_then(|inner| inner.get("code")?.as_str()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let kind = kind::of_words(status, error, &message, &inner)
        .or_else(|| is_prompt_too_long(error).then_some(ErrorKind::ContextLength))
        .or_else(|| kind::of_names(&named))
        // `server_error` and `api_error` say no more than that something failed: OpenAI writes it into an overloaded 503,
        // Anthropic's compatible servers into a 429. A status that says more is believed.
        .filter(|kind| *kind != ErrorKind::Internal || status < 400)
        .unwrap_or_else(|| {
            if status < 300 {
                ErrorKind::Internal
            } else {
                kind::of_status(status)
            }
        });
    let message = match (message.is_empty(), inner.is_empty()) {
        (true, true) => format!("HTTP {status} without a message"),
        (true, false) => clean::cleaned(&inner),
        (false, true) => clean::cleaned(&message),
        (false, false) => clean::cleaned(&format!("{message}: {inner}")),
    };
    ProviderError {
        kind,
        message,
        code: code.map(str::to_owned),
        retry_after: retry_info(error),
    }
}

/// The error within a body: `error`, which gateways wrap twice, the first of `errors`, or the body itself.
fn error_of(value: &Value) -> &Value {
    let listed = || value.get("errors").and_then(Value::as_array)?.first();
    let Some(error) = value.get("error").filter(|error| !error.is_null()).or_else(listed) else {
        return value;
    };
    error.get("error").filter(|error| error.is_object()).unwrap_or(error)
}

/// What an error says for people, wherever its server puts it.
fn message_of(error: &Value) -> String {
    let listed = |list: &Value| {
        let first = list.as_array().and_then(|list| list.first())?;
        let text = first.as_str().or_else(|| first.get("msg").and_then(Value::as_str));
        text.map(str::to_owned)
    };
    let field = |name: &str| {
        let value = error.get(name).filter(|value| !value.is_null())?;
        let text = value.as_str().map(str::to_owned);
        text.or_else(|| listed(value)).or_else(|| listed(value.get("detail")?))
    };
    field("message")
        .or_else(|| error.as_str().map(str::to_owned))
        .or_else(|| listed(error))
        .or_else(|| field("detail"))
        .unwrap_or_default()
}

/// The message of the server behind a gateway, which `OpenRouter` passes on in `metadata.raw`.
fn inner_message(error: &Value) -> String {
    let raw = error.get("metadata").and_then(|metadata| metadata.get("raw"));
    let Some(raw) = raw.and_then(Value::as_str) else {
        return String::new();
    };
    let parsed = json::parse(raw.as_bytes()).ok();
    parsed.map_or_else(|| raw.to_owned(), |value| message_of(error_of(&value)))
}

/// The HTTP status that an error tells of itself: as a number, which some servers write as text.
fn inner_status(error: &Value) -> Option<u16> {
    let code = error.get("code").or_else(|| error.get("status_code"))?;
    let number = code.as_u64().or_else(|| code.as_str()?.parse().ok())?;
    u16::try_from(number).ok().filter(|code| (400..600).contains(code))
}

/// `OpenAI`'s word for any text that is too long: it is the prompt where it is the text of a message.
fn is_prompt_too_long(error: &Value) -> bool {
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    text("code") == Some("string_above_max_length")
        && text("param").is_some_and(|param| {
            ["content", ".text", "input", "output", "prompt"]
                .iter()
                .any(|end| param.ends_with(end))
        })
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
