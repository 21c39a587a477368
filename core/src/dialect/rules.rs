//! What a dialect's API takes, and the words it has for errors, as data: code that serves all dialects asks these.

use super::Target;
use super::error::{ContextWords, Vocabulary};
use super::message::{Request, WebSearch};
use super::reported::Field;
use super::schema::SchemaRules;

/// The rules of one dialect. A request is said so that they hold; a provider's answer is read by them.
pub(super) struct Rules {
    /// Fields of a provider's error that may hold its code, the first that is there counts.
    pub error_codes: &'static [&'static str],
    /// The field of an answer that names its model.
    pub reported_model: &'static Field,
    /// The words of its errors.
    pub vocabulary: Vocabulary,
    /// How it says that a prompt is too long.
    pub context: ContextWords,
    /// Characters of a call's id.
    pub longest_call_id: usize,
    /// Whether a call's id takes letters, digits, `_` and `-` only.
    pub safe_call_ids: bool,
    /// Characters of a user's id.
    pub longest_user: usize,
    /// Whether a text that is only white space is refused; an empty one always is.
    pub refuses_white_space: bool,
    /// Whether a conversation has to begin with the user, and a system prompt alone is none.
    pub begins_with_user: bool,
    /// Whether a last turn of the model's own is the beginning of its answer.
    pub continues_answers: bool,
    /// Whether the result of a call that failed has to say something.
    pub errors_need_text: bool,
    /// Whether the assistant's turns may hold media.
    pub assistant_media: bool,
    /// Whether a media type is taken.
    pub takes_media: fn(&str) -> bool,
    /// Whether a URL's media type has to be told.
    pub names_media_of_urls: bool,
    /// Whether a tool may be listed twice.
    pub repeats_tools: bool,
    /// Whether a tool without arguments has to say so.
    pub tools_need_schema: bool,
    /// Whether an answer's schema may allow anything.
    pub takes_any_schema: bool,
    /// How schemas are said.
    pub schema: &'static SchemaRules,
    /// Bytes of a function's name.
    pub longest_tool_name: usize,
    /// Letters of a function's name, beside ASCII letters, digits, `_` and `-`.
    pub tool_name_letters: &'static [char],
    /// Whether a function's name begins with a letter or `_`.
    pub tool_name_begins_with_letter: bool,
    /// Whether its web search is a tool with a name, which no function can have then and a choice can name.
    pub search_is_named: bool,
    /// Whether it has a search that keeps within these bounds. What it searches is never widened.
    pub searches: fn(&WebSearch, &Target<'_>, &Request) -> bool,
}
