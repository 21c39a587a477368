//! A provider's message, fit to be logged and passed on.

/// Bytes of a provider's message that are kept: enough for every known one, too few to fill a log.
const MESSAGE_LIMIT: usize = 1024;

/// Shortens a message and blots out what looks like a key: providers quote the start and end of a wrong one.
pub(super) fn cleaned(message: &str) -> String {
    let mut end = message.len().min(MESSAGE_LIMIT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let mut rest = message.get(..end).unwrap_or_default();
    let mut out = String::with_capacity(rest.len());
    let mut inside = false;
    while let Some(next) = rest.chars().next() {
        let length = if inside { None } else { key_length(rest) };
        if let Some(length) = length {
            out.push_str("[key]");
            rest = rest.get(length..).unwrap_or_default();
        } else {
            out.push(next);
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
        // A key begins where a word does, whatever stands before it.
        inside = length.is_none() && is_key_character(next);
    }
    out
}

/// How long the key is that `text` begins with, if it begins with one. A key that a provider has masked in part
/// (`sk-proj-****abcd`) still tells some of it.
fn key_length(text: &str) -> Option<usize> {
    const PREFIXES: [&str; 4] = ["sk-", "AIza", "sk_", "Bearer"];
    let prefix = PREFIXES.iter().find(|prefix| text.starts_with(**prefix))?;
    let end = text
        .find(|c: char| !is_key_character(c) && c != '*' && c != '.')
        .unwrap_or(text.len());
    let key = text.get(..end)?.trim_end_matches('.');
    (key.len() > prefix.len() + 4).then_some(key.len())
}

fn is_key_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}
