//! What a provider's error means: by its words, then its names, then its status.
//!
//! Words come first, since the names and statuses that stand beside an empty account, a closed one or a prompt that is
//! too long are those of another error at nearly every provider. What makes a key rest is read with care: a provider may
//! quote the caller's text, and no text of a caller's may take a key away.

use crate::json::Value;

use super::words::{BILLING, CLOSED_HOW, CLOSED_WHO, CONTEXT, FILTER, KEY, MODEL, NAMES, OVERLOADED, QUOTA, TOO_LARGE};
use crate::fault::ErrorKind;

/// How far into the message of a refused request words about the account count, in bytes: what stands further on may be
/// the caller's own text.
const BEGINNING: usize = 160;
/// How far apart an account and what has become of it may stand in a sentence, in bytes: room for a name or an id.
const SENTENCE: usize = 100;

/// What a status says when the body says nothing.
pub(super) fn of_status(status: u16) -> ErrorKind {
    match status {
        300..=399 => ErrorKind::Redirect,
        401 => ErrorKind::Authentication,
        402 => ErrorKind::Billing,
        403 => ErrorKind::Permission,
        404 => ErrorKind::NotFound,
        // 522 and 524 are Cloudflare's: no connection to the server behind it, no answer from it.
        408 | 504 | 522 | 524 => ErrorKind::Timeout,
        413 => ErrorKind::TooLarge,
        429 => ErrorKind::RateLimited,
        // 498 is Groq's, 529 Anthropic's.
        498 | 503 | 529 => ErrorKind::Overloaded,
        400..=499 => ErrorKind::InvalidRequest,
        500..=599 => ErrorKind::Internal,
        _ => ErrorKind::Malformed,
    }
}

/// What an error's names say, in any dialect. The more exact one wins, as [`NAMES`] has them in order: Google writes
/// `PERMISSION_DENIED` beside the reason `CONSUMER_SUSPENDED`.
pub(super) fn of_names(names: &[&str]) -> Option<ErrorKind> {
    // DashScope writes `Throttling.RateQuota`.
    let first = |name: &&str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let names: Vec<String> = names.iter().map(first).collect();
    let known = |(_, list): &&(ErrorKind, &[&str])| names.iter().any(|name| list.contains(&name.as_str()));
    NAMES.iter().find(known).map(|(kind, _)| *kind)
}

/// What an error's words say. `inner` is the message of a server behind the provider, where it is passed on: it tells
/// about the request, not about the provider's own account.
pub(super) fn of_words(status: u16, error: &Value, message: &str, inner: &str) -> Option<ErrorKind> {
    let told = format!("{message} {inner}").to_lowercase();
    if !matches!(status, 401 | 402 | 404 | 429) && says(&told, CONTEXT) {
        return Some(ErrorKind::ContextLength);
    }
    if matches!(status, 200 | 400 | 403 | 422) && says(&told, FILTER) {
        return Some(ErrorKind::ContentFilter);
    }
    let own = unquoted(&message.to_lowercase());
    let own = if matches!(status, 400 | 413 | 422) {
        beginning(&own)
    } else {
        &own
    };
    if says(own, BILLING) || says(own, QUOTA) && !is_googles(error) {
        return Some(ErrorKind::Billing);
    }
    if matches!(status, 200 | 400 | 401 | 403 | 429) && is_closed(own) {
        return Some(ErrorKind::AccountClosed);
    }
    if matches!(status, 200 | 400 | 401 | 403) && says(own, KEY) {
        return Some(ErrorKind::Authentication);
    }
    if matches!(status, 200 | 400 | 403 | 422) && says(&told, MODEL) {
        return Some(ErrorKind::NotFound);
    }
    if matches!(status, 400 | 413) && says(own, TOO_LARGE) {
        return Some(ErrorKind::TooLarge);
    }
    let busy = matches!(status, 200 | 429 | 498 | 500..=599) && says(own, OVERLOADED);
    busy.then_some(ErrorKind::Overloaded)
}

/// Whether an error is written as Google writes them: with a status of `google.rpc`.
fn is_googles(error: &Value) -> bool {
    let status = error.get("status").and_then(Value::as_str);
    status.is_some_and(|status| status == "RESOURCE_EXHAUSTED")
}

fn says(text: &str, list: &[&str]) -> bool {
    list.iter().any(|phrase| contains(text, phrase))
}

/// Whether `text` holds `phrase`, whose `*` stands for one word or a few in the same sentence.
fn contains(text: &str, phrase: &str) -> bool {
    let Some((before, after)) = phrase.split_once('*') else {
        return text.contains(phrase);
    };
    text.match_indices(before).any(|(at, _)| {
        let rest = text.get(at + before.len()..).unwrap_or_default();
        let gap = rest.find(after).and_then(|gap| rest.get(..gap));
        gap.is_some_and(|gap| gap.len() <= SENTENCE && !gap.contains(". ") && gap.split_whitespace().count() <= 1)
    })
}

/// Whether a sentence says that an account, a key or the like has come to its end.
fn is_closed(text: &str) -> bool {
    ["has been ", "have been ", "is ", "was "].iter().any(|verb| {
        text.match_indices(verb).any(|(at, _)| {
            let after = text.get(at + verb.len()..).unwrap_or_default();
            let before = text.get(..at).unwrap_or_default();
            let sentence = before.rsplit(". ").next().unwrap_or_default();
            let names = |who: &&&str| {
                let last = sentence.rfind(**who);
                last.is_some_and(|last| sentence.len() - last <= SENTENCE)
            };
            CLOSED_HOW.iter().any(|how| after.starts_with(how)) && CLOSED_WHO.iter().find(names).is_some()
        })
    })
}

fn beginning(text: &str) -> &str {
    let mut end = text.len().min(BEGINNING);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A text without what stands in quotes: there a server repeats what it was sent. An apostrophe is no quote.
fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut closing = None;
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match closing {
            Some(quote) => {
                let ends = c == quote && !(c == '\'' && rest.peek().is_some_and(|next| next.is_alphanumeric()));
                closing = closing.filter(|_| !ends);
            }
            None if matches!(c, '"' | '`') || c == '\'' && !before.is_alphanumeric() => closing = Some(c),
            None => out.push(c),
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_not_the_providers_word() {
        for (text, left) in [
            ("invalid value: 'insufficient balance'.", "invalid value: ."),
            (
                "your team doesn't have any credits",
                "your team doesn't have any credits",
            ),
            ("the `model` \"x\" is gone", "the   is gone"),
            ("an open 'quote hides the rest", "an open "),
            ("'it's here' and on", " and on"),
        ] {
            assert_eq!(unquoted(text), left);
        }
    }

    #[test]
    fn a_star_is_one_word() {
        assert!(contains("the model `x` does not exist", "model * does not exist"));
        assert!(!contains(
            "the model or the tool does not exist",
            "model * does not exist"
        ));
        assert!(!contains("no such model. it does not exist", "model * does not exist"));
    }

    #[test]
    fn every_phrase_is_in_lower_case_and_every_name_has_one_meaning() {
        let lists = [
            BILLING, QUOTA, CLOSED_HOW, CLOSED_WHO, CONTEXT, FILTER, KEY, MODEL, OVERLOADED, TOO_LARGE,
        ];
        for phrase in lists.into_iter().flatten() {
            assert_eq!(*phrase, phrase.to_lowercase());
        }
        let mut seen = std::collections::BTreeSet::new();
        for name in NAMES.iter().flat_map(|(_, names)| *names) {
            assert!(seen.insert(*name), "{name} twice");
            assert_eq!(*name, name.to_lowercase());
        }
    }
}
