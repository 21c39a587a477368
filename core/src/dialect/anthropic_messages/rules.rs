//! What messages take.

use super::super::error::{ContextWords, Vocabulary};
use super::super::media::is_common;
use super::super::reported::MODEL;
use super::super::rules::Rules;
use super::super::schema;

/// The rules.
pub(in super::super) static RULES: Rules = Rules {
    error_codes: &["type"],
    reported_model: &MODEL,
    vocabulary: Vocabulary::Anthropic,
    context: ContextWords {
        sign: "prompt is too long",
        sentence: |counts| match counts {
            Some((asked, limit)) => format!("prompt is too long: {asked} tokens > {limit} maximum"),
            None => "prompt is too long".to_owned(),
        },
    },
    longest_call_id: usize::MAX,
    safe_call_ids: true,
    // `metadata.user_id`.
    longest_user: 256,
    refuses_white_space: true,
    begins_with_user: true,
    continues_answers: true,
    errors_need_text: true,
    assistant_media: false,
    takes_media: is_common,
    names_media_of_urls: false,
    repeats_tools: false,
    tools_need_schema: true,
    takes_any_schema: false,
    schema: &schema::ANTHROPIC,
    // `^[a-zA-Z0-9_-]{1,128}$`.
    longest_tool_name: 128,
    tool_name_letters: &[],
    tool_name_begins_with_letter: false,
    search_is_named: true,
    searches: |search, _, _| search.allowed_domains.is_none() || search.blocked_domains.is_none(),
};
