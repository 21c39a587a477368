//! What a translation is told beside the body, and what comes with its result.

use bowsprit_crds::model_route::OnUnsupported;
use bytes::Bytes;

use super::openai_responses::Echo;
use super::tool_names::ToolNames;

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

/// A request in the provider's dialect.
#[derive(Clone, Debug, Default)]
pub struct Translated {
    /// The body to send.
    pub body: Bytes,
    /// Paths of the caller's fields that were approximated or left out; shown in the warning header.
    pub dropped: Vec<String>,
    /// Whether the caller asked to read the model's thoughts; for [`AnswerContext::show_thoughts`].
    pub show_thoughts: bool,
    /// Of `dropped`, how many are tools that the provider cannot run.
    pub tools_left_out: u32,
    /// What the provider calls the caller's tools; for [`AnswerContext::tools`].
    pub tools: ToolNames,
}

/// What the answer must be labelled with.
#[derive(Clone, Debug, Default)]
pub struct AnswerContext {
    /// The model as the caller asked for it.
    pub model: String,
    /// Used where the provider gives no id of its own.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// Whether the caller asked for the usage chunk (`stream_options.include_usage`).
    pub include_usage: bool,
    /// Whether the caller wants to read thoughts ([`Translated::show_thoughts`]). `Anthropic` callers get none
    /// otherwise: their API gives none unasked, and programs rely on a text to come first.
    pub show_thoughts: bool,
    /// What the provider calls the caller's tools ([`Translated::tools`]).
    pub tools: ToolNames,
    /// What a Responses answer repeats of its request.
    pub echo: Echo,
}
