//! What a translation is told beside the body.

use bowsprit_crds::model_route::OnUnsupported;

/// What a translated request must say beside what the caller wrote.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The provider's name of the model.
    pub model: &'a str,
    /// Tokens; used where the target dialect requires a limit and the caller set none (`Anthropic`).
    pub default_max_tokens: u64,
    /// `Gemini` safety settings as (category, threshold).
    pub safety: &'a [(String, String)],
    /// Whether the caller wants a stream.
    pub stream: bool,
    /// ModelRoute `onUnsupported`. `Drop`: what would be refused as `VAL_UNSUPPORTED` is left out instead, and listed, where
    /// the rest still makes sense. Unset: only tools that the provider cannot run, where the model was free to choose, and
    /// what a history merely informs of. `Refuse`: these are refused too.
    pub on_unsupported: Option<OnUnsupported>,
    /// Whether the server knows the `allowed_tools` of chat completions ([`crate::platform::Platform::allowed_tools`]).
    pub allowed_tools: bool,
}
