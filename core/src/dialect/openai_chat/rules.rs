//! What chat completions take.

use super::super::error::{ContextWords, Vocabulary};
use super::super::media::is_common;
use super::super::message::ToolChoice;
use super::super::reported::MODEL;
use super::super::rules::Rules;
use super::super::schema;

/// The rules.
pub(in super::super) static RULES: Rules = Rules {
    error_codes: &["code", "type", "status"],
    reported_model: &MODEL,
    vocabulary: Vocabulary::OpenAi,
    context: ContextWords {
        sign: "maximum context length",
        sentence: |counts| match counts {
            Some((asked, limit)) => format!(
                "This model's maximum context length is {limit} tokens. However, your messages resulted in {asked} tokens."
            ),
            None => "The messages exceed this model's maximum context length.".to_owned(),
        },
    },
    longest_call_id: 40,
    safe_call_ids: false,
    // `user` and `safety_identifier`.
    longest_user: 64,
    refuses_white_space: false,
    begins_with_user: false,
    continues_answers: false,
    errors_need_text: false,
    assistant_media: true,
    takes_media: is_common,
    names_media_of_urls: false,
    repeats_tools: true,
    tools_need_schema: false,
    takes_any_schema: false,
    schema: &schema::OPENAI,
    longest_tool_name: 64,
    tool_name_letters: &[],
    tool_name_begins_with_letter: false,
    search_is_named: false,
    searches: |search, target, request| {
        !search.is_bounded() && searches(target.model) && !matches!(request.tool_choice, Some(ToolChoice::None))
    },
};

/// `gpt-4o-search-preview`, `gpt-4o-mini-search-preview`, `gpt-5-search-api`: the models of chat completions that take
/// `web_search_options`. They search always; the others know no such option.
fn searches(model: &str) -> bool {
    let bare = model.rsplit('/').next().unwrap_or(model);
    bare.starts_with("gpt-") && bare.split('-').any(|word| word == "search")
}
