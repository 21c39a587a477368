//! What is asked, and where. Pure.

use bowsprit_core::dialect::Dialect;
use bowsprit_core::platform::{self, Endpoint, Framing};
use bowsprit_crds::{ProviderConfigSpec, ProviderKind};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

/// Enough for a word and what a model thinks before it.
const MAX_TOKENS: u32 = 256;

/// A request for a word.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    /// Who is to answer; none: whoever does.
    pub(super) provider: Option<String>,
    /// The model that is asked for.
    pub(super) model: String,
    /// The dialect of question and answer.
    pub(super) dialect: Dialect,
    /// Whether nobody else can answer.
    pub(super) pinned: bool,
    /// Whether it comes in pieces.
    pub(super) stream: bool,
    path: String,
    body: Value,
}

impl Question {
    /// The question to a provider, or to whoever serves a model.
    ///
    /// # Errors
    /// Where no model is known to ask for.
    pub(super) fn new(
        provider: Option<(&str, &ProviderConfigSpec)>,
        model: Option<&str>,
        prompt: &str,
        stream: bool,
    ) -> Result<Self, String> {
        let Some((name, spec)) = provider else {
            let model = model.ok_or("name a provider or a model")?;
            return Ok(Self::of_an_app(None, model, prompt, stream));
        };
        let first = spec.models.first().map(|model| model.name.as_str());
        // An alias is a name that apps use; the provider knows its own.
        let own = |wanted: &str| {
            let known = spec
                .models
                .iter()
                .find(|model| model.aliases.iter().any(|alias| alias == wanted));
            known.map_or(wanted.to_owned(), |model| model.name.clone())
        };
        let asked = model.or(spec.default_model.as_deref()).or(first);
        let Some(asked) = asked else {
            return Err(format!(
                "{name} has neither a defaultModel nor models: say which with --model"
            ));
        };
        if !spec.enabled {
            return Err(format!("{name} is switched off (spec.enabled): no sidecar asks it"));
        }
        if !spec.pass_through {
            return Ok(Self::of_an_app(Some(name), asked, prompt, stream));
        }
        let model = own(asked);
        let platform = platform::of(spec.provider);
        let framing = if stream { Framing::Events } else { Framing::Whole };
        let Some(path) = platform.path(Endpoint::Generate(framing), platform.dialect, &model) else {
            return Err(format!("{name} answers no conversations"));
        };
        // A base URL with a path of its own has it already; the sidecar does not double a version.
        Ok(Self {
            provider: Some(name.to_owned()),
            dialect: platform.dialect,
            pinned: true,
            stream,
            path: format!("/providers/{name}{path}"),
            body: body(platform.dialect, spec.provider, &model, prompt, stream),
            model,
        })
    }

    fn of_an_app(provider: Option<&str>, model: &str, prompt: &str, stream: bool) -> Self {
        let dialect = Dialect::OpenAiChat;
        Self {
            provider: provider.map(ToOwned::to_owned),
            model: model.to_owned(),
            dialect,
            pinned: false,
            stream,
            path: "/v1/chat/completions".to_owned(),
            body: body(dialect, ProviderKind::OpenAI, model, prompt, stream),
        }
    }

    /// As HTTP.
    pub(super) fn request(&self, port: u16) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::post(&self.path)
            .header("host", format!("127.0.0.1:{port}"))
            .header("content-type", "application/json")
            .header("user-agent", concat!("kubectl-bowsprit/", env!("CARGO_PKG_VERSION")));
        if self.dialect == Dialect::AnthropicMessages {
            request = request.header("anthropic-version", "2023-06-01");
        }
        request
            .body(Full::new(Bytes::from(self.body.to_string())))
            .map_err(|error| format!("no request can be made of this: {error}"))
    }
}

fn body(dialect: Dialect, kind: ProviderKind, model: &str, prompt: &str, stream: bool) -> Value {
    let said = json!([{"role": "user", "content": prompt}]);
    match dialect {
        Dialect::Gemini => json!({
            "contents": [{"role": "user", "parts": [{"text": prompt}]}],
            "generationConfig": {"maxOutputTokens": MAX_TOKENS},
        }),
        Dialect::AnthropicMessages => {
            json!({"model": model, "messages": said, "max_tokens": MAX_TOKENS, "stream": stream})
        }
        _ => {
            let mut body = json!({"model": model, "messages": said, "stream": stream});
            // OpenAI's newer models refuse the old name, other servers may not know the new one.
            let limit = if kind == ProviderKind::OpenAICompatible {
                "max_tokens"
            } else {
                "max_completion_tokens"
            };
            if let Some(fields) = body.as_object_mut() {
                fields.insert(limit.into(), json!(MAX_TOKENS));
                if stream {
                    fields.insert("stream_options".into(), json!({"include_usage": true}));
                }
            }
            body
        }
    }
}
