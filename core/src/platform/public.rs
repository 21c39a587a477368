//! The vendors' own public APIs, and servers compatible with `OpenAI`'s.

use bowsprit_crds::ProviderKind;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use super::row::{AuthScheme, Endpoint, Framing, ModelPlace, Platform};
use crate::dialect::Dialect;
use crate::dialect::embeddings::EmbeddingsApi;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// An API key, or the token of a subscription.
static ANTHROPIC_KEYS: [HeaderName; 2] = [X_API_KEY, AUTHORIZATION];
/// The only version of the API that there is; SDKs send it themselves.
static ANTHROPIC_HEADERS: [(HeaderName, HeaderValue); 1] = [(
    HeaderName::from_static("anthropic-version"),
    HeaderValue::from_static("2023-06-01"),
)];
static GEMINI_KEYS: [HeaderName; 1] = [X_GOOG_API_KEY];
static OPENAI_KEYS: [HeaderName; 1] = [AUTHORIZATION];

const BEARER: AuthScheme = AuthScheme {
    header: AUTHORIZATION,
    prefix: "Bearer ",
};

/// `Anthropic` at <https://api.anthropic.com>.
pub(super) static ANTHROPIC: Platform = Platform {
    kind: ProviderKind::Anthropic,
    dialect: Dialect::AnthropicMessages,
    native: &[],
    auth: AuthScheme {
        header: X_API_KEY,
        prefix: "",
    },
    caller_keys: &ANTHROPIC_KEYS,
    headers: &ANTHROPIC_HEADERS,
    model: ModelPlace::Body,
    models: "/v1/models",
    counts: Some(Dialect::AnthropicMessages),
    allowed_tools: false,
    genai_name: "anthropic",
    genai_operation: "chat",
    path: |endpoint, _, _| match endpoint {
        Endpoint::Generate(_) => Some("/v1/messages".to_owned()),
        Endpoint::Count => Some("/v1/messages/count_tokens".to_owned()),
        Endpoint::Embed(_) => None,
    },
};

/// `Gemini` at <https://generativelanguage.googleapis.com>.
pub(super) static GEMINI: Platform = Platform {
    kind: ProviderKind::Gemini,
    dialect: Dialect::Gemini,
    native: &[],
    auth: AuthScheme {
        header: X_GOOG_API_KEY,
        prefix: "",
    },
    caller_keys: &GEMINI_KEYS,
    headers: &[],
    model: ModelPlace::Path,
    models: "/v1beta/models",
    counts: Some(Dialect::Gemini),
    allowed_tools: false,
    genai_name: "gcp.gemini",
    genai_operation: "generate_content",
    path: |endpoint, _, model| {
        let method = match endpoint {
            Endpoint::Generate(Framing::Whole) => "generateContent",
            Endpoint::Generate(Framing::Events) => "streamGenerateContent?alt=sse",
            Endpoint::Generate(Framing::Array) => "streamGenerateContent",
            Endpoint::Embed(EmbeddingsApi::OpenAi) => return None,
            Endpoint::Embed(EmbeddingsApi::One) => "embedContent",
            Endpoint::Embed(EmbeddingsApi::Batch) => "batchEmbedContents",
            Endpoint::Count => "countTokens",
        };
        Some(gemini_method(model, method))
    },
};

/// `OpenAI` at <https://api.openai.com/v1>.
pub(super) static OPENAI: Platform = Platform {
    kind: ProviderKind::OpenAI,
    dialect: Dialect::OpenAiChat,
    native: &[Dialect::OpenAiResponses],
    auth: BEARER,
    caller_keys: &OPENAI_KEYS,
    headers: &[],
    model: ModelPlace::Body,
    models: "/models",
    counts: Some(Dialect::OpenAiResponses),
    allowed_tools: true,
    genai_name: "openai",
    genai_operation: "chat",
    path: openai_path,
};

/// A server that speaks `OpenAI`'s chat completions: vLLM, Ollama, llama.cpp and others. Responses are translated for it, as
/// most have none, and it counts no tokens.
pub(super) static OPENAI_COMPATIBLE: Platform = Platform {
    kind: ProviderKind::OpenAICompatible,
    dialect: Dialect::OpenAiChat,
    native: &[],
    auth: BEARER,
    caller_keys: &OPENAI_KEYS,
    headers: &[],
    model: ModelPlace::Body,
    models: "/models",
    counts: None,
    allowed_tools: false,
    genai_name: "openai",
    genai_operation: "chat",
    path: openai_path,
};

/// Paths of `OpenAI`'s API, counted from a base URL that ends in the version.
pub(super) fn openai_path(endpoint: Endpoint, wire: Dialect, _: &str) -> Option<String> {
    let path = match endpoint {
        Endpoint::Generate(_) if wire == Dialect::OpenAiResponses => "/responses",
        Endpoint::Generate(_) => "/chat/completions",
        Endpoint::Embed(EmbeddingsApi::OpenAi) => "/embeddings",
        Endpoint::Count if wire == Dialect::OpenAiResponses => "/responses/input_tokens",
        Endpoint::Embed(EmbeddingsApi::One | EmbeddingsApi::Batch) | Endpoint::Count => return None,
    };
    Some(path.to_owned())
}

/// Path of a model's method. Tuned models are named with their collection; everything else lives under `models/`.
fn gemini_method(model: &str, method: &str) -> String {
    let bare = crate::model_name::bare(model);
    match bare.strip_prefix("tunedModels/") {
        Some(tuned) => format!("/v1beta/tunedModels/{}:{method}", path_segment(tuned)),
        None => format!("/v1beta/models/{}:{method}", path_segment(bare)),
    }
}

/// Percent-encodes all that is not unreserved, so that a model name can never add a path segment or a query.
fn path_segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'@') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    if out.bytes().all(|byte| byte == b'.') {
        out.replace('.', "%2E")
    } else {
        out
    }
}
