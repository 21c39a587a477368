//! Which headers cross the sidecar, in both directions.

use bowsprit_crds::headers::NEVER_PASSED;
use http::header::{
    ACCEPT, ALT_SVC, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, PROXY_AUTHENTICATE, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::context::RequestContext;
use super::own_headers::{ANSWERED_AS, ANSWERED_BY, ATTEMPTS, PROVIDER_REQUEST_ID, WARNING, identify};
use super::prepare::Prepared;
use super::request_id::{RequestId, TRACEPARENT, X_REQUEST_ID};
use crate::credentials;
use crate::tenant::snapshot::Upstream;

/// Tracing headers, which cross even where the dialect changes.
const TRACE: [HeaderName; 2] = [TRACEPARENT, HeaderName::from_static("tracestate")];
/// Which parts of an answer Google's APIs give: without its usage nobody knows what it cost.
const FIELD_MASK: &str = "x-goog-fieldmask";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How much of a caller's headers goes on to a provider. Never what belongs to the connection (RFC 9110 7.6.1, and whatever
/// `Connection` names), to the caller's account (keys, cookies, organization) or to the path so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carry {
    /// The caller's own, for bytes that pass unread. Its content type, or that it has none, is the caller's business.
    Everything,
    /// The caller's own, for a body that is JSON: the provider speaks the caller's dialect.
    SameDialect,
    /// Who the caller is and which trace the request belongs to: the provider speaks another dialect.
    OtherDialect,
    /// Nothing: there is no caller, and no body.
    Nothing,
}

impl Carry {
    /// For a conversation, an embedding or a count.
    pub(super) fn of(prepared: &Prepared) -> Self {
        if prepared.same {
            Self::SameDialect
        } else {
            Self::OtherDialect
        }
    }
}

/// The headers of a request to a provider: what is carried over, what the configuration adds, and whose request it is.
/// Without a key: `credentials::sign` adds it.
pub(crate) fn to_provider(caller: &HeaderMap, carry: Carry, upstream: &Upstream, id: &RequestId) -> HeaderMap {
    let is_own = matches!(carry, Carry::Everything | Carry::SameDialect);
    // A caller's host, key, length and connection end here; host, key, id and length are ours, and some providers' APIs have a
    // header or two: a few more than came at most.
    let mut headers = HeaderMap::with_capacity(4 + if is_own { caller.len() } else { 6 });
    if is_own {
        copy_all(caller, carry, &mut headers);
        if upstream.provider.forward_caller_key {
            credentials::forward(caller, &mut headers, upstream.provider.platform);
        }
    } else {
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        copy_some(caller, &mut headers);
    }
    match carry {
        Carry::SameDialect if headers.contains_key(CONTENT_TYPE) => {}
        Carry::SameDialect | Carry::OtherDialect => {
            headers.insert(CONTENT_TYPE, JSON);
        }
        Carry::Everything | Carry::Nothing => {}
    }
    add_own(&mut headers, upstream, id);
    headers
}

/// What the configuration adds, and whose request it is.
fn add_own(headers: &mut HeaderMap, upstream: &Upstream, id: &RequestId) {
    let provider = &upstream.provider;
    for (name, value) in provider.platform.headers {
        if !headers.contains_key(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
    for (name, value) in &provider.headers {
        headers.insert(name.clone(), value.clone());
    }
    headers.insert(HOST, upstream.host.clone());
    headers.insert(X_REQUEST_ID, id.header());
}

fn copy_all(caller: &HeaderMap, carry: Carry, headers: &mut HeaderMap) {
    // `Connection: keep-alive` and nothing else is what every SDK sends: then there is nothing to look for.
    let mut named: Vec<&str> = Vec::new();
    for value in caller.get_all(CONNECTION) {
        let tokens = value.to_str().unwrap_or("").split(',').map(str::trim);
        named.extend(tokens.filter(|token| !token.is_empty() && !token.eq_ignore_ascii_case("keep-alive")));
    }
    for (name, value) in caller {
        let is_mask = carry == Carry::SameDialect && name.as_str() == FIELD_MASK;
        if !is_mask && !is_stripped(name) && !named.iter().any(|token| token.eq_ignore_ascii_case(name.as_str())) {
            headers.append(name.clone(), value.clone());
        }
    }
}

fn copy_some(caller: &HeaderMap, headers: &mut HeaderMap) {
    for name in [USER_AGENT].iter().chain(&TRACE) {
        if let Some(value) = caller.get(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// Whether a caller's header ends here.
fn is_stripped(name: &HeaderName) -> bool {
    let name = name.as_str();
    NEVER_PASSED.contains(&name)
        || matches!(
            name,
            "api-key" | "forwarded" | "openai-organization" | "openai-project" | "x-real-ip" | "x-request-id"
        )
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-bowsprit-")
}

/// What an answer's headers become: the provider's, less those of its connection and its cookies.
pub(super) fn to_caller(headers: &mut HeaderMap) {
    let named: Vec<HeaderValue> = headers
        .get_all(CONNECTION)
        .iter()
        .filter(|value| *value != "keep-alive" && *value != "close")
        .cloned()
        .collect();
    for token in named.iter().flat_map(|value| value.to_str().unwrap_or("").split(',')) {
        headers.remove(token.trim());
    }
    // Looks at the few that came, instead of a search for each of the dozen that might have.
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        headers.remove(name);
    }
    if let Some(theirs) = headers.remove(X_REQUEST_ID) {
        headers.insert(PROVIDER_REQUEST_ID, theirs);
    }
}

/// Whether a provider's header is about its own connection, or a cookie.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        CONNECTION
            | TE
            | TRAILER
            | TRANSFER_ENCODING
            | UPGRADE
            | CONTENT_LENGTH
            | SET_COOKIE
            | ALT_SVC
            | STRICT_TRANSPORT_SECURITY
            | PROXY_AUTHENTICATE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// What tells the caller who answered: provider, attempts, the model where it is not the one asked for, and what of the
/// request could not be carried.
pub(super) fn describe(headers: &mut HeaderMap, context: &RequestContext, upstream: &Upstream, dropped: &[String]) {
    headers.insert(X_REQUEST_ID, context.id().header());
    headers.insert(ANSWERED_BY, upstream.name.clone());
    if let Some(model) = context.model.as_deref().filter(|model| *model != &*context.asked)
        && let Ok(model) = HeaderValue::from_str(model)
    {
        headers.insert(ANSWERED_AS, model);
    }
    headers.insert(ATTEMPTS, digit(context.flow.attempts()));
    if !dropped.is_empty() {
        let text = format!("not carried to {}: {}", upstream.provider.name, dropped.join(", "));
        let clean: String = text
            .chars()
            .filter(|c| c.is_ascii() && !c.is_ascii_control())
            .take(1000)
            .collect();
        if let Ok(text) = HeaderValue::from_str(&clean) {
            headers.insert(WARNING, text);
        }
    }
}

/// What tells the caller of a kept answer whose request it is, and how many attempts were made before it was given.
pub(super) fn describe_kept(headers: &mut HeaderMap, context: &RequestContext) {
    identify(headers, context.dialect(), context.id());
    headers.insert(ATTEMPTS, digit(context.flow.attempts()));
}

/// A number as a header; few requests need more than nine attempts.
fn digit(number: u32) -> HeaderValue {
    const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let digit = usize::try_from(number).ok().and_then(|number| DIGITS.get(number));
    digit.map_or_else(|| HeaderValue::from(number), |digit| HeaderValue::from_static(digit))
}

/// The caller's own word for the length of a body that goes on as it came, if it is the plain number. hyper would write the same
/// anew.
pub(super) fn length_of(caller: &HeaderMap, body: &[u8]) -> Option<HeaderValue> {
    let value = caller.get(CONTENT_LENGTH)?;
    let digits = value.as_bytes();
    let is_plain = matches!(digits, [b'1'..=b'9', ..]) && digits.len() < 18 && digits.iter().all(u8::is_ascii_digit);
    let told = digits.iter().fold(0, |told, digit| told * 10 + usize::from(digit & 15));
    (is_plain && told == body.len()).then(|| value.clone())
}

/// Whether a body comes in a coding that we do not look into.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity")
}

/// Whether a body is an event stream.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}
