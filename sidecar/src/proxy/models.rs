//! `GET /v1/models`, from the configuration: no provider is asked.

use bowsprit_core::config::Config;
use bowsprit_core::dialect::Dialect;
use bowsprit_core::fault::Code;
use bowsprit_core::model_name::{bare, same};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::context::RequestContext;
use super::refuse::{self, Refusal, clip};
use super::request_id::X_REQUEST_ID;
use super::route::Route;
use crate::body::Body;
use crate::tenant::snapshot::Snapshot;

/// The lists, made once per configuration.
pub struct Listings {
    entries: Vec<(String, String)>,
    openai: Bytes,
    anthropic: Bytes,
    gemini: Bytes,
}

impl Listings {
    /// The lists of this configuration.
    pub fn new(config: &Config) -> Self {
        let entries: Vec<(String, String)> = bowsprit_core::plan::served(config)
            .into_iter()
            .map(|model| {
                let owner = config.providers.iter().find(|provider| {
                    provider.serves(&model).is_some() || provider.default_model.as_ref() == Some(&model)
                });
                let owner = owner.map_or("bowsprit", |provider| provider.name.as_str()).to_owned();
                (model, owner)
            })
            .collect();
        let list = |dialect| {
            entries
                .iter()
                .map(|(model, owner)| entry(dialect, model, owner))
                .collect::<Vec<_>>()
        };
        let first = entries.first().map(|(model, _)| model);
        let last = entries.last().map(|(model, _)| model);
        let openai = json!({"object": "list", "data": list(Dialect::OpenAiChat)});
        let anthropic =
            json!({"data": list(Dialect::AnthropicMessages), "has_more": false, "first_id": first, "last_id": last});
        let gemini = json!({"models": list(Dialect::Gemini)});
        let bytes = |value: Value| Bytes::from(value.to_string());
        Self {
            openai: bytes(openai),
            anthropic: bytes(anthropic),
            gemini: bytes(gemini),
            entries,
        }
    }
}

fn entry(dialect: Dialect, model: &str, owner: &str) -> Value {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            json!({"id": model, "object": "model", "created": 0, "owned_by": owner})
        }
        Dialect::AnthropicMessages => {
            json!({"type": "model", "id": model, "display_name": model, "created_at": "1970-01-01T00:00:00Z"})
        }
        Dialect::Gemini => json!({
            "name": if model.starts_with("tunedModels/") { model.to_owned() } else { format!("models/{}", bare(model)) },
            "displayName": model,
            "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
        }),
    }
}

/// Answers from the lists.
pub fn answer(context: Box<RequestContext>, snapshot: &Snapshot, route: &Route) -> Response<Body> {
    let dialect = context.dialect();
    let body = match route {
        Route::Models { one: Some(wanted), .. } => {
            let entries = &snapshot.listings.entries;
            let exact = entries.iter().find(|(model, _)| model == wanted);
            let found = exact.or_else(|| entries.iter().find(|(model, _)| same(model, wanted)));
            if let Some((model, owner)) = found {
                Bytes::from(entry(dialect, model, owner).to_string())
            } else {
                let text = format!("no provider serves the model {:?}", clip(wanted));
                return refuse::answer(context, &Refusal::new(Code::ResModelNotFound, text));
            }
        }
        _ => match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => snapshot.listings.openai.clone(),
            Dialect::AnthropicMessages => snapshot.listings.anthropic.clone(),
            Dialect::Gemini => snapshot.listings.gemini.clone(),
        },
    };
    let bytes = body.len() as u64;
    let mut response = Response::new(Body::Whole(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(X_REQUEST_ID, context.id().header());
    context.answered_here(StatusCode::OK, bytes);
    response
}
