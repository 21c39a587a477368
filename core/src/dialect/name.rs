//! The dialects there are.

use std::fmt;

/// An API that callers and providers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// `OpenAI` chat completions, and every server compatible with it.
    OpenAiChat,
    /// `Anthropic` messages.
    AnthropicMessages,
    /// `Gemini` `generateContent` and `streamGenerateContent`.
    Gemini,
    /// `OpenAI` Responses: a caller's dialect.
    OpenAiResponses,
}

impl Dialect {
    /// All of them, as callers speak them.
    pub const ALL: [Self; 4] = [
        Self::OpenAiChat,
        Self::AnthropicMessages,
        Self::Gemini,
        Self::OpenAiResponses,
    ];

    /// Those that a provider is asked in where the caller speaks another.
    pub const PROVIDERS: [Self; 3] = [Self::OpenAiChat, Self::AnthropicMessages, Self::Gemini];

    /// The metric label and log value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai",
            Self::AnthropicMessages => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAiResponses => "openai_responses",
        }
    }

    /// The dialect of the providers that this caller's SDK is made for: who speaks Responses is at home with whoever
    /// speaks chat completions.
    #[must_use]
    pub fn family(self) -> Self {
        match self {
            Self::OpenAiResponses => Self::OpenAiChat,
            other => other,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
