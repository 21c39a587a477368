//! The models that a configuration serves, as each dialect lists them.

use bowsprit_core::config::Config;
use bowsprit_core::dialect::Dialect;
use bowsprit_core::model_name::{bare, same};
use bytes::Bytes;
use serde_json::{Value, json};

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

    /// All models, as this dialect lists them.
    pub fn all(&self, dialect: Dialect) -> Bytes {
        match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses => self.openai.clone(),
            Dialect::AnthropicMessages => self.anthropic.clone(),
            Dialect::Gemini => self.gemini.clone(),
        }
    }

    /// One model, as this dialect tells of it. Its exact name wins over another spelling of it. `None`: none is served.
    pub fn one(&self, dialect: Dialect, wanted: &str) -> Option<Bytes> {
        let exact = self.entries.iter().find(|(model, _)| model == wanted);
        let (model, owner) = exact.or_else(|| self.entries.iter().find(|(model, _)| same(model, wanted)))?;
        Some(Bytes::from(entry(dialect, model, owner).to_string()))
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
