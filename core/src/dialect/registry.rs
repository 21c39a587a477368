//! Which row belongs to which dialect.

use super::language::Language;
use super::{Dialect, anthropic_messages, gemini, openai_chat, openai_responses};

/// The dialect's row.
pub(super) fn of(dialect: Dialect) -> &'static Language {
    match dialect {
        Dialect::OpenAiChat => &openai_chat::language::LANGUAGE,
        Dialect::AnthropicMessages => &anthropic_messages::language::LANGUAGE,
        Dialect::Gemini => &gemini::language::LANGUAGE,
        Dialect::OpenAiResponses => &openai_responses::language::LANGUAGE,
    }
}
