//! Errors of our own, said so that the caller's SDK understands them.

use std::borrow::Cow;
use std::time::Duration;

use bowsprit_core::dialect::{Dialect, ErrorView, RequestError, error_body};
use bowsprit_core::fault::Code;
use bowsprit_core::limiter::Limited;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::body::Body;
use super::context::RequestContext;
use super::own_headers::{LIMIT, identify};
use super::request_id::RequestId;

/// Tells an SDK whether its own retry makes sense.
pub const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// When to come back where a limit of our own was reached and nobody knows when there is room again.
const OVERLOAD_PASSES: Duration = Duration::from_secs(1);
/// Longest `retry-after` we answer with.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Why a request is not answered.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The taxonomy's code.
    pub code: Code,
    /// What is wrong, for people.
    pub message: Cow<'static, str>,
    /// The field it is about.
    pub param: Option<String>,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// The code in `OpenAI`'s vocabulary, where it is known more exactly than `code` says it.
    pub exact: Option<&'static str>,
    /// HTTP status, where it is not the one that the caller's API has for the code.
    pub status: Option<u16>,
    /// A header that only such a refusal has.
    aside: Option<Aside>,
    /// Whether the connection cannot be trusted any further.
    close: bool,
}

/// What only some refusals say beside their status.
#[derive(Clone, Debug)]
enum Aside {
    /// The method that is allowed (405).
    Allow(&'static str),
    /// The protocol that is served (426).
    Upgrade(&'static str),
    /// The named limit that it is by.
    Limit(Box<HeaderValue>),
}

impl Refusal {
    /// A refusal with this code and message.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            param: None,
            retry_after: (code == Code::SysOverloaded).then_some(OVERLOAD_PASSES),
            exact: None,
            status: None,
            aside: None,
            close: false,
        }
    }

    /// A bug of ours.
    pub fn internal() -> Self {
        Self::new(Code::SysInternal, "the sidecar lost track of this request")
    }

    /// A limit of the provider's `rateLimits` is reached.
    pub fn local_limit(provider: &str, limited: Limited) -> Self {
        let which = crate::tenant::provider::limit_name(limited.which);
        let text = format!("the limit rateLimits.{which} of {provider} is reached");
        Self::new(Code::RateLocalLimit, text).retry_after(Some(limited.retry_in.unwrap_or(Duration::from_secs(1))))
    }

    /// The sidecar stops.
    pub fn draining() -> Self {
        Self::new(Code::SysDraining, "the sidecar is shutting down").retry_after_seconds(1)
    }

    /// With a time to come back, if one is known.
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait.or(self.retry_after);
        self
    }

    /// With a time to come back, in seconds.
    #[must_use]
    pub fn retry_after_seconds(self, seconds: u64) -> Self {
        self.retry_after(Some(Duration::from_secs(seconds)))
    }

    /// With the method that is allowed.
    #[must_use]
    pub fn allow(mut self, method: &'static str) -> Self {
        self.aside = Some(Aside::Allow(method));
        self
    }

    /// As 426, with the protocol that is served.
    #[must_use]
    pub fn upgrade(mut self, protocol: &'static str) -> Self {
        self.status = Some(StatusCode::UPGRADE_REQUIRED.as_u16());
        self.aside = Some(Aside::Upgrade(protocol));
        self
    }

    /// With the name of the limit that it is by.
    #[must_use]
    pub fn by_limit(mut self, name: Option<HeaderValue>) -> Self {
        self.aside = name.map(|name| Aside::Limit(Box::new(name)));
        self
    }

    /// With the connection's end.
    #[must_use]
    pub fn and_close(mut self) -> Self {
        self.close = true;
        self
    }

    fn view<'a>(&'a self, id: &'a RequestId) -> ErrorView<'a> {
        ErrorView {
            code: self.code,
            message: &self.message,
            status: self.status,
            exact: self.exact,
            param: self.param.as_deref(),
            request_id: id.as_str(),
            retry_after: self.retry_after,
        }
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        let message = error.to_string();
        let mut refusal = Self::new(error.code, message);
        refusal.exact = error.openai_code();
        refusal.param = Some(error.path).filter(|path| !path.is_empty());
        refusal
    }
}

/// At most 200 characters of what a caller wrote.
pub(super) fn clip(text: &str) -> &str {
    text.char_indices()
        .nth(200)
        .map_or(text, |(at, _)| text.get(..at).unwrap_or(text))
}

/// Answers with a refusal and settles the request.
pub fn answer(context: Box<RequestContext>, refusal: &Refusal) -> Response<Body> {
    let response = bare(context.dialect(), context.id(), refusal);
    context.failed(refusal.code, response.status());
    response
}

/// The answer alone.
pub fn bare(dialect: Dialect, id: &RequestId, refusal: &Refusal) -> Response<Body> {
    let view = refusal.view(id);
    let mut response = Response::new(Body::Whole(error_body(dialect, &view)));
    *response.status_mut() =
        StatusCode::from_u16(view.status_for(dialect)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    identify(headers, dialect, id);
    headers.insert(X_SHOULD_RETRY, should_retry(refusal.code.retryable()));
    if let Some(wait) = refusal.retry_after {
        // The next window of a budget may be weeks away, and no SDK is to try again before a person has looked.
        let wait = match refusal.code {
            Code::BizBudgetSpent => HeaderValue::from(wait.as_secs()),
            _ => retry_after(wait),
        };
        headers.insert(RETRY_AFTER, wait);
    }
    match &refusal.aside {
        None => {}
        Some(Aside::Allow(method)) => {
            headers.insert(ALLOW, HeaderValue::from_static(method));
        }
        Some(Aside::Upgrade(protocol)) => {
            headers.insert(UPGRADE, HeaderValue::from_static(protocol));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        Some(Aside::Limit(name)) => {
            headers.insert(LIMIT, HeaderValue::clone(name));
        }
    }
    if refusal.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// `true` or `false`.
pub fn should_retry(yes: bool) -> HeaderValue {
    HeaderValue::from_static(if yes { "true" } else { "false" })
}

/// Whole seconds, rounded up: a caller that comes a moment too early is refused again.
pub fn retry_after(wait: Duration) -> HeaderValue {
    let wait = wait.min(MAX_RETRY_AFTER);
    HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}
