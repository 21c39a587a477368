//! What is asked for: path and method to an operation, and the dialect to answer errors in.

use std::borrow::Cow;

use bowsprit_core::call::Operation;
use bowsprit_core::dialect::Dialect;
use bowsprit_core::dialect::embeddings::EmbeddingsApi;
use bowsprit_core::fault::Code;
use bowsprit_crds::base_url::is_version;
use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::path;
use super::refuse::{Refusal, clip};

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A conversation: planned, retried, translated.
    Generate {
        /// The caller's dialect.
        dialect: Dialect,
        /// What the URL says, for Gemini.
        in_url: Option<InUrl>,
        /// The operation in metrics and logs.
        label: &'static str,
    },
    /// Embeddings: only from the model that is asked for.
    Embed {
        /// How they are asked for.
        form: EmbeddingsApi,
        /// The model in the path, for Gemini.
        model: Option<String>,
        /// The operation in metrics and logs.
        label: &'static str,
    },
    /// A count of a conversation's tokens.
    Count {
        /// The caller's dialect.
        dialect: Dialect,
        /// The model in the path, for Gemini.
        model: Option<String>,
    },
    /// Any other endpoint of one provider, sent on unread.
    PassThrough {
        /// The provider's name.
        provider: String,
        /// The path after it.
        rest: String,
        /// The dialect until the provider is known.
        dialect: Dialect,
    },
    /// The list of models, or one of them.
    Models {
        /// The caller's dialect.
        dialect: Dialect,
        /// One model only.
        one: Option<String>,
    },
}

/// What a Gemini URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUrl {
    /// The model.
    pub model: String,
    /// `streamGenerateContent`.
    pub stream: bool,
    /// `alt=sse`; without, a streamed answer is a JSON array.
    pub sse: bool,
}

impl Route {
    /// The operation in metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Generate { label, .. } | Self::Embed { label, .. } => label,
            Self::Count { .. } => "count_tokens",
            Self::PassThrough { .. } => "passthrough",
            Self::Models { .. } => "models",
        }
    }

    /// What is to be done.
    pub fn operation(&self) -> Operation {
        match self {
            // What is asked of ourselves is no operation on a provider.
            Self::Generate { .. } | Self::Models { .. } => Operation::Generate,
            Self::Embed { form, .. } => Operation::Embed(*form),
            Self::Count { .. } => Operation::Count,
            Self::PassThrough { .. } => Operation::PassThrough,
        }
    }

    /// The caller's dialect.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Generate { dialect, .. }
            | Self::Count { dialect, .. }
            | Self::PassThrough { dialect, .. }
            | Self::Models { dialect, .. } => *dialect,
            Self::Embed { form, .. } => form.dialect(),
        }
    }
}

/// Nothing is served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteError {
    /// No such path.
    Path,
    /// The path names a response that only its provider keeps.
    Stored,
    /// The path wants this method.
    Method(&'static str),
    /// A connection that leaves HTTP.
    Realtime,
    /// The same, for what is served by POST too.
    Socket,
}

impl RouteError {
    /// As an answer.
    pub(super) fn refusal(self, parts: &Parts) -> Refusal {
        match self {
            Self::Path => Refusal::new(
                Code::ResPathNotFound,
                format!(
                    "nothing is served at {}; there are POST /v1/chat/completions, /v1/messages, \
                     /v1beta/models/{{model}}:generateContent and :streamGenerateContent, /v1/responses, /v1/embeddings, \
                     /v1/messages/count_tokens, GET /v1/models and /v1beta/models, and all of a provider's API under \
                     /providers/{{name}}/",
                    clip(parts.uri.path())
                ),
            ),
            Self::Realtime => realtime(),
            Self::Socket => no_socket(),
            Self::Stored => Refusal::new(
                Code::ResPathNotFound,
                format!(
                    "nothing is served at {}: a response is kept by the provider that gave it, if at all; ask that one, \
                     as in GET /providers/{{name}}/responses/{{id}}",
                    clip(parts.uri.path())
                ),
            ),
            Self::Method(allow) => Refusal::new(
                Code::ValMethod,
                format!("{} takes {allow}, not {}", clip(parts.uri.path()), parts.method),
            )
            .allow(allow),
        }
    }
}

/// Whether a caller wants to leave HTTP.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let asks = |name, wanted: &str| {
        headers.get_all(name).iter().any(|value| {
            value
                .to_str()
                .is_ok_and(|text| text.to_ascii_lowercase().contains(wanted))
        })
    };
    headers.contains_key(UPGRADE) && asks(UPGRADE, "websocket") && asks(CONNECTION, "upgrade")
}

/// Realtime APIs leave HTTP, and with it everything that a sidecar is for.
pub(super) fn realtime() -> Refusal {
    Refusal::new(
        Code::SysNotSupported,
        "WebSocket and realtime connections are not supported: use the HTTP API, streamed if need be, or call the \
         provider directly for this one",
    )
}

/// The Responses API speaks WebSocket too, and its clients fall back to a POST: at once on this status (RFC 9110,
/// section 15.5.22), only after several attempts on others.
fn no_socket() -> Refusal {
    Refusal::new(
        Code::SysNotSupported,
        "WebSocket connections are not supported: POST to this path, streamed if need be",
    )
    .upgrade("HTTP/1.1")
}

/// Finds the operation. The dialect is told even for an error, from path and headers, so that the caller's SDK
/// understands the error.
pub(super) fn find(parts: &Parts) -> (Dialect, Result<Route, RouteError>) {
    let path = tidy(parts.uri.path());
    let path = path.as_ref();
    if let Some(under) = path.strip_prefix("/providers/") {
        return pass_through(under, parts);
    }
    let found = generate(path)
        .or_else(|| gemini(path, parts.uri.query()))
        .or_else(|| other(path))
        .or_else(|| models(path, &parts.headers));
    match found {
        Some((route, method)) if parts.method == method => (route.dialect(), Ok(route)),
        Some((route, _)) if route.dialect() == Dialect::OpenAiResponses && is_websocket(&parts.headers) => {
            (route.dialect(), Err(RouteError::Socket))
        }
        _ if is_websocket(&parts.headers) || path == "/v1/realtime" => {
            (guess(path, &parts.headers), Err(RouteError::Realtime))
        }
        Some((route, method)) => (
            route.dialect(),
            Err(RouteError::Method(if method == Method::GET { "GET" } else { "POST" })),
        ),
        None if below_responses(path) => (Dialect::OpenAiResponses, Err(RouteError::Stored)),
        None => (guess(path, &parts.headers), Err(RouteError::Path)),
    }
}

/// A path as it was meant: SDKs and people differ in whether a base URL ends in a slash or a version, so that slashes and
/// versions come doubled at the front, and a slash at the end. Nothing else is changed, for a model's name may hold anything.
fn tidy(path: &str) -> Cow<'_, str> {
    let mut rest = path.trim_start_matches('/');
    while let Some((first, after)) = rest.split_once('/') {
        let after = after.trim_start_matches('/');
        let second = after.split('/').next().unwrap_or_default();
        if !is_version(first) || !is_version(second) {
            break;
        }
        rest = after;
    }
    if !rest.starts_with("providers/") {
        rest = rest.trim_end_matches('/');
    }
    match rest.split_once('/') {
        Some((first, after)) if is_version(first) && after.starts_with('/') => {
            Cow::Owned(format!("/{first}/{}", after.trim_start_matches('/')))
        }
        _ if path.len() == rest.len() + 1 => Cow::Borrowed(path),
        _ => Cow::Owned(format!("/{rest}")),
    }
}

fn pass_through(under: &str, parts: &Parts) -> (Dialect, Result<Route, RouteError>) {
    let (provider, rest) = under.split_at(under.find('/').unwrap_or(under.len()));
    let dialect = guess(rest, &parts.headers);
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return (
            dialect,
            Err(RouteError::Method("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
        );
    }
    let route = Route::PassThrough {
        provider: provider.to_owned(),
        rest: rest.to_owned(),
        dialect,
    };
    (dialect, Ok(route))
}

fn below_responses(path: &str) -> bool {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    path.strip_prefix("/responses/").is_some_and(|rest| !rest.is_empty())
}

fn generate(path: &str) -> Option<(Route, Method)> {
    let (dialect, label) = match path {
        "/v1/chat/completions" | "/chat/completions" => (Dialect::OpenAiChat, "chat_completions"),
        "/v1/responses" | "/responses" => (Dialect::OpenAiResponses, "responses"),
        "/v1/messages" | "/messages" => (Dialect::AnthropicMessages, "messages"),
        _ => return None,
    };
    Some((
        Route::Generate {
            dialect,
            in_url: None,
            label,
        },
        Method::POST,
    ))
}

fn gemini(path: &str, query: Option<&str>) -> Option<(Route, Method)> {
    let rest = ["/v1beta/", "/v1alpha/", "/v1/"]
        .iter()
        .find_map(|version| path.strip_prefix(version))?;
    of_model(rest, query, false)
}

/// A method of one of Gemini's models. `rest`: what follows the version. `any`: also of a model that a provider alone knows.
fn of_model(rest: &str, query: Option<&str>, any: bool) -> Option<(Route, Method)> {
    // A name may hold slashes and colons, as they are or escaped: what follows the last colon is the method.
    let rest = decode(rest)?;
    let (name, operation) = rest.rsplit_once(':')?;
    let model = match name.split_once('/')? {
        ("models", model) => model.to_owned(),
        ("tunedModels", model) if !model.is_empty() => name.to_owned(),
        ("dynamic", model) if any && !model.is_empty() => name.to_owned(),
        _ => return None,
    };
    if model.is_empty() {
        return None;
    }
    let dialect = Dialect::Gemini;
    let sse = query.is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
    let generate = |label, stream| Route::Generate {
        dialect,
        in_url: Some(InUrl {
            model: model.clone(),
            stream,
            sse,
        }),
        label,
    };
    let embed = |label, form| Route::Embed {
        form,
        model: Some(model.clone()),
        label,
    };
    let route = match operation {
        "generateContent" => generate("generate_content", false),
        "streamGenerateContent" => generate("stream_generate_content", true),
        "embedContent" => embed("embed_content", EmbeddingsApi::One),
        "batchEmbedContents" => embed("batch_embed_contents", EmbeddingsApi::Batch),
        "countTokens" => Route::Count {
            dialect,
            model: Some(model),
        },
        _ => return None,
    };
    Some((route, Method::POST))
}

fn other(path: &str) -> Option<(Route, Method)> {
    let count = |dialect| Route::Count { dialect, model: None };
    let route = match path {
        "/v1/embeddings" | "/embeddings" => Route::Embed {
            form: EmbeddingsApi::OpenAi,
            model: None,
            label: "embeddings",
        },
        "/v1/messages/count_tokens" | "/messages/count_tokens" => count(Dialect::AnthropicMessages),
        "/v1/responses/input_tokens" | "/responses/input_tokens" => count(Dialect::OpenAiResponses),
        _ => return None,
    };
    Some((route, Method::POST))
}

/// What is generated, embedded or counted at a path that is without its version, as providers know it: some make no difference between small
/// and large letters there.
pub(super) fn without_version(path: &str, query: Option<&str>) -> Option<Route> {
    let small = path.to_ascii_lowercase();
    let found = generate(&small).or_else(|| other(&small));
    let found = found.or_else(|| of_model(path.strip_prefix('/')?, query, true));
    found.map(|(route, _)| route)
}

fn models(path: &str, headers: &HeaderMap) -> Option<(Route, Method)> {
    let of_gemini = ["/v1beta/models", "/v1alpha/models"]
        .iter()
        .find_map(|list| path.strip_prefix(list));
    let (dialect, rest) = if let Some(rest) = of_gemini {
        (Dialect::Gemini, rest)
    } else {
        let rest = path
            .strip_prefix("/v1/models")
            .or_else(|| path.strip_prefix("/models"))?;
        (guess(path, headers), rest)
    };
    let one = match rest {
        "" | "/" => None,
        _ => Some(decode(rest.strip_prefix('/')?)?),
    };
    Some((Route::Models { dialect, one }, Method::GET))
}

/// The dialect of a caller whose path does not tell it.
fn guess(path: &str, headers: &HeaderMap) -> Dialect {
    if path.starts_with("/v1beta") || path.starts_with("/v1alpha") || headers.contains_key("x-goog-api-key") {
        Dialect::Gemini
    } else if headers.contains_key("anthropic-version") || path.trim_start_matches("/v1").starts_with("/messages") {
        Dialect::AnthropicMessages
    } else {
        Dialect::OpenAiChat
    }
}

/// Percent-decoding, of a path segment that must be text.
fn decode(segment: &str) -> Option<String> {
    String::from_utf8(path::unescape(segment.as_bytes())?).ok()
}

#[cfg(test)]
mod tests;
