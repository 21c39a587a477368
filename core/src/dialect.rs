//! What each provider's API says.

/// An API that callers and providers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// OpenAI chat completions, and every server compatible with it.
    OpenAiChat,
    /// Anthropic messages.
    AnthropicMessages,
    /// Gemini `generateContent`.
    Gemini,
}
