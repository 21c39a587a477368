//! What Responses take. No provider is asked in them for a caller of another dialect but for a count of tokens.

use super::super::error::{ContextWords, Vocabulary};
use super::super::media::is_common;
use super::super::reported::MODEL;
use super::super::rules::Rules;
use super::super::schema;

/// The rules.
pub(in super::super) static RULES: Rules = Rules {
    error_codes: &["code", "type", "status"],
    reported_model: &MODEL,
    vocabulary: Vocabulary::OpenAi,
    context: ContextWords {
        sign: "exceeds the context window",
        sentence: |_| "Your input exceeds the context window of this model.".to_owned(),
    },
    longest_call_id: usize::MAX,
    safe_call_ids: false,
    longest_user: 256,
    refuses_white_space: false,
    begins_with_user: true,
    continues_answers: false,
    errors_need_text: false,
    assistant_media: true,
    takes_media: is_common,
    names_media_of_urls: false,
    repeats_tools: false,
    tools_need_schema: false,
    takes_any_schema: false,
    schema: &schema::OPENAI,
    longest_tool_name: 128,
    tool_name_letters: &[],
    tool_name_begins_with_letter: false,
    search_is_named: false,
    searches: |_, _, _| false,
};
