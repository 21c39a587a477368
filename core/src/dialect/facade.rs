//! What the proxy asks of a dialect by its name, beside translation: how its errors are read and said, whether its answers
//! are any, what they used.

use std::borrow::Cow;

use bytes::Bytes;

use super::error::{self, ErrorView, ProviderError, Words};
use super::features::{Features, Found};
use super::message::to_bytes;
use super::{Dialect, Echo, RequestError, Usage, registry, reported, success};
use crate::fault::{Code, ErrorKind};
use crate::json::{self, Pull};

/// Reads a provider's error body. `status` is the HTTP status, or 200 for an error inside a stream or a success.
pub fn parse_error(provider: Dialect, status: u16, body: &[u8]) -> ProviderError {
    error::parse(registry::of(provider).rules, status, body)
}

/// What a body that came with a status of success says of an error.
pub fn success_error(provider: Dialect, body: &[u8]) -> Option<ProviderError> {
    success::error_in(registry::of(provider).rules, &json::parse(body).ok()?)
}

/// What is wrong with a whole answer that came with a status of success in the caller's own dialect; `None` if it holds
/// an answer, which then passes unread.
pub fn answer_problem(dialect: Dialect, body: &[u8]) -> Option<ErrorKind> {
    let language = registry::of(dialect);
    if (language.tells_end)(body) {
        return None;
    }
    match success::object(language.rules, body) {
        Ok(value) => (!(language.answers)(&value)).then_some(ErrorKind::Malformed),
        Err(kind) => Some(kind),
    }
}

/// The usage of a whole (not streamed) answer, if it tells one.
pub fn usage(dialect: Dialect, body: &[u8]) -> Option<Usage> {
    // serde would take an array for a struct, by the order of its fields.
    let object = body.trim_ascii_start().starts_with(b"{");
    object.then(|| (registry::of(dialect).usage)(body)).flatten()
}

/// The model that an answer, or an event of one, says it is of: not always the one that was asked for.
pub fn reported_model(provider: Dialect, body: &[u8]) -> Option<Cow<'_, str>> {
    reported::model(registry::of(provider).rules.reported_model, body)
}

/// How a caller's API says an error with this code.
pub fn words_for(caller: Dialect, code: Code) -> Words {
    registry::of(caller).rules.vocabulary.words(code)
}

/// The error body that the caller's own SDK knows, in its API's own words, with our code as `error.bowsprit_code`.
pub fn error_body(caller: Dialect, error: &ErrorView<'_>) -> Bytes {
    to_bytes(&(registry::of(caller).error_body)(error))
}

/// Ends a stream that broke, as the caller's dialect says it. No end mark follows: the SDK must not take it for whole.
pub fn error_event(caller: Dialect, error: &ErrorView<'_>) -> Bytes {
    error_event_at(caller, error, 0)
}

/// The same for a stream of which the caller has so many events.
pub fn error_event_at(caller: Dialect, error: &ErrorView<'_>, number: u64) -> Bytes {
    (registry::of(caller).error_event)(error, number)
}

/// A model as this dialect's callers are told of it: by its name and that of who serves it.
pub fn model_entry(caller: Dialect, name: &str, owner: &str) -> Bytes {
    to_bytes(&(registry::of(caller).model)(name, owner))
}

/// All models, as (name, who serves it), as this dialect's callers are told of them.
pub fn model_list(caller: Dialect, models: &[(String, String)]) -> Bytes {
    let language = registry::of(caller);
    let all = models
        .iter()
        .map(|(name, owner)| (language.model)(name, owner))
        .collect();
    let name = |model: Option<&(String, String)>| model.map(|(name, _)| name.clone());
    let (first, last) = (name(models.first()), name(models.last()));
    to_bytes(&(language.models)(all, first.as_deref(), last.as_deref()))
}

impl ErrorView<'_> {
    /// The HTTP status that it goes out with to this caller.
    pub fn status_for(&self, caller: Dialect) -> u16 {
        self.status_in(registry::of(caller).rules)
    }
}

impl Echo {
    /// What a caller's answers repeat of its request, which [`super::translate_request`] took.
    pub fn of(caller: Dialect, body: &[u8]) -> Self {
        (registry::of(caller).echo)(body)
    }
}

/// Reads what a request of this dialect asks for beyond words. A count of tokens is asked for in the same words.
///
/// # Errors
/// The body is no JSON, a number that has to be known is no number or given twice, or a member that is looked at is written in other
/// letters.
pub fn features(dialect: Dialect, body: &[u8]) -> Result<Features, RequestError> {
    let mut found = Found::default();
    let read = |found: &mut Found| {
        let mut pull = Pull::new(body)?;
        (registry::of(dialect).features)(&mut pull, found)?;
        pull.end()
    };
    read(&mut found).map_err(|error| RequestError::not_json(format!("is not JSON: {error}")))?;
    found.finish()
}
