//! What is to be said of a platform.

use bowsprit_crds::ProviderKind;
use http::{HeaderName, HeaderValue};

use crate::dialect::Dialect;
use crate::dialect::embeddings::EmbeddingsApi;

/// An endpoint of an API: what it is asked for there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An answer of a model's own.
    Generate(Framing),
    /// Embeddings, in this form.
    Embed(EmbeddingsApi),
    /// A count of a request's tokens.
    Count,
}

/// How an answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One JSON text.
    Whole,
    /// A stream of server-sent events.
    Events,
    /// One JSON array, element by element: `Gemini` without `alt=sse`. The same as `Events` elsewhere.
    Array,
}

/// Where a request says which model is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelPlace {
    /// In the body's `model`.
    Body,
    /// In the path. A body that passes unchanged to another model need not be touched.
    Path,
}

/// How a request shows whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthScheme {
    /// The header that a key is sent in.
    pub header: HeaderName,
    /// What stands before the key there: `Bearer ` with its space, or nothing.
    pub prefix: &'static str,
}

/// One API at one address. All of them are constants: [`super::of`] finds one.
#[derive(Debug)]
pub struct Platform {
    /// ProviderConfig `provider`.
    pub kind: ProviderKind,
    /// What is spoken with callers of every other dialect.
    pub dialect: Dialect,
    /// What is spoken with a caller of the same, beside [`Self::dialect`].
    pub native: &'static [Dialect],
    /// Where a key goes.
    pub auth: AuthScheme,
    /// Headers in which its callers' SDKs send a key, for `forwardCallerKey`.
    pub caller_keys: &'static [HeaderName],
    /// Headers that it wants, with what is sent where the caller names nothing else.
    pub headers: &'static [(HeaderName, HeaderValue)],
    /// Where the model goes in a generation request.
    pub model: ModelPlace,
    /// Path of its list of models, which is also what a probe asks for: it costs nothing.
    pub models: &'static str,
    /// The dialect in which it counts tokens; none: it does not.
    pub counts: Option<Dialect>,
    /// Whether it knows the `allowed_tools` of chat completions' `tool_choice`, which is younger than most servers.
    pub allowed_tools: bool,
    /// `gen_ai.provider.name` in `OpenTelemetry`'s semantic conventions.
    pub genai_name: &'static str,
    /// `gen_ai.operation.name` of an answer of a model's own, in the same conventions.
    pub genai_operation: &'static str,
    /// See [`Platform::path`].
    pub(super) path: fn(Endpoint, Dialect, &str) -> Option<String>,
}

impl Platform {
    /// The dialect spoken with it for a caller of that dialect.
    pub fn wire(&self, caller: Dialect) -> Dialect {
        if self.native.contains(&caller) {
            caller
        } else {
            self.dialect
        }
    }

    /// Path of an operation, spoken in `wire`, of a model; may hold a query. The model's name can add neither a segment nor
    /// a query.
    ///
    /// None: there is no such operation, or not in this dialect.
    pub fn path(&self, endpoint: Endpoint, wire: Dialect, model: &str) -> Option<String> {
        let spoken = match endpoint {
            Endpoint::Count => self.counts == Some(wire),
            Endpoint::Generate(_) | Endpoint::Embed(_) => wire == self.dialect || self.native.contains(&wire),
        };
        spoken.then(|| (self.path)(endpoint, wire, model)).flatten()
    }
}
