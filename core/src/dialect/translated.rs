//! What comes with a translated request, and what its answer needs of it.

use bytes::Bytes;

use super::openai_responses::Echo;
use super::tool_names::ToolNames;

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
