//! How tests of translation ask, where a test is not about it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared by several test programs, none of which uses all of it"
)]

use bowsprit_core::dialect::{Dialect, RequestError, Target, translate_request};
use serde_json::Value;

/// A model that speaks this dialect.
pub(crate) fn model(to: Dialect) -> &'static str {
    match to {
        Dialect::AnthropicMessages => "claude-sonnet-4-5",
        Dialect::Gemini => "gemini-2.5-flash",
        Dialect::OpenAiChat | Dialect::OpenAiResponses => "gpt-4.1",
    }
}

/// A provider's model with the defaults of a configuration that says nothing.
pub(crate) fn target(model: &str) -> Target<'_> {
    Target {
        model,
        default_max_tokens: 4096,
        safety: &[],
        stream: false,
        on_unsupported: None,
        allowed_tools: true,
    }
}

/// The body that the provider is sent, and the fields that it is not told.
pub(crate) fn ask(
    from: Dialect,
    to: Dialect,
    body: &Value,
    target: &Target<'_>,
) -> Result<(Value, Vec<String>), RequestError> {
    let translated = translate_request(from, to, body.to_string().as_bytes(), target)?;
    Ok((serde_json::from_slice(&translated.body).unwrap(), translated.dropped))
}
