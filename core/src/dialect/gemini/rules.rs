//! What `generateContent` takes.

use super::super::error::{ContextWords, Vocabulary};
use super::super::hosted::may_choose;
use super::super::reported::MODEL_VERSION;
use super::super::rules::Rules;
use super::super::schema;

/// The rules.
pub(in super::super) static RULES: Rules = Rules {
    error_codes: &["status"],
    reported_model: &MODEL_VERSION,
    vocabulary: Vocabulary::Gemini,
    context: ContextWords {
        sign: "exceeds the maximum number of tokens",
        sentence: |counts| match counts {
            Some((asked, limit)) => {
                format!("The input token count ({asked}) exceeds the maximum number of tokens allowed ({limit}).")
            }
            None => "The input token count exceeds the maximum number of tokens allowed.".to_owned(),
        },
    },
    longest_call_id: usize::MAX,
    safe_call_ids: false,
    longest_user: 256,
    refuses_white_space: false,
    begins_with_user: true,
    continues_answers: false,
    errors_need_text: false,
    assistant_media: true,
    takes_media,
    names_media_of_urls: true,
    repeats_tools: false,
    tools_need_schema: false,
    takes_any_schema: true,
    schema: &schema::GEMINI,
    // At most models.
    longest_tool_name: 64,
    tool_name_letters: &['.', ':'],
    tool_name_begins_with_letter: true,
    search_is_named: false,
    // The second generation refuses it beside functions, and none can be told to use it.
    searches: |search, _, request| {
        !search.is_bounded() && request.tools.is_empty() && may_choose(request.tool_choice.as_ref())
    },
};

fn takes_media(mime: &str) -> bool {
    ["text/", "audio/", "video/"].iter().any(|kind| mime.starts_with(kind))
        || matches!(
            mime,
            "image/png" | "image/jpeg" | "image/webp" | "image/heic" | "image/heif" | "application/pdf"
        )
}
