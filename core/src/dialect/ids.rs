//! Ids of calls and answers that are made here, and those that a provider would refuse.

/// An id for a tool call of a provider that gives none: within `OpenAI`'s 40 characters and `Anthropic`'s alphabet, and
/// unique in the conversation because the answer's own id is in it.
pub(super) fn call_id(answer_id: &str, number: usize) -> String {
    format!("call_{}_{number}", token_of(answer_id))
}

/// The last 24 letters and digits of an answer's id, to make other ids of.
pub(super) fn token_of(answer_id: &str) -> String {
    let letters: Vec<char> = answer_id.chars().filter(char::is_ascii_alphanumeric).collect();
    let start = letters.len().saturating_sub(24);
    letters.into_iter().skip(start).collect()
}

/// An id in the alphabet that `Anthropic` accepts for `tool_use` blocks.
pub(super) fn safe_id(id: &str) -> String {
    id.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect()
}
