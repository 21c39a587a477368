//! A prompt that is too long, said as the caller's own API says it: agents look for these words to shorten a conversation.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// What stands before the limit where the message has more numbers than two.
const BEFORE_LIMIT: &[&str] = &[
    "maximum context length is ",
    "maximum prompt length is ",
    "available context size (",
    "number of tokens allowed (",
    "must be <= ",
    "must have less than ",
    "> ",
];

/// A dialect's words for such an error.
pub(in crate::dialect) struct ContextWords {
    /// The words by which its callers know one, in lower case.
    pub sign: &'static str,
    /// The whole sentence; with the tokens asked for and the most there may be, where both are known.
    pub sentence: fn(Option<(u64, u64)>) -> String,
}

/// A message about a prompt that is too long, with the caller's own words first where they are not in it.
pub(super) fn said<'m>(caller: &ContextWords, message: &'m str) -> Cow<'m, str> {
    if message.to_lowercase().contains(caller.sign) {
        return Cow::Borrowed(message);
    }
    Cow::Owned(format!("{} ({message})", (caller.sentence)(counts(message))))
}

/// Tokens that were asked for and the most there may be, where the message tells both.
fn counts(message: &str) -> Option<(u64, u64)> {
    let lower = message.to_lowercase();
    let numbers: BTreeSet<u64> = lower
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect();
    let named = BEFORE_LIMIT.iter().find_map(|before| {
        let (_, rest) = lower.split_once(before)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok()
    });
    let mut largest = numbers.iter().rev().copied();
    let Some(limit) = named else {
        let (asked, limit) = (largest.next()?, largest.next()?);
        // A count of tokens and a limit on it are of a size; a year or the name of a model beside one of them is not.
        return (limit > asked / 100).then_some((asked, limit));
    };
    let above = largest.next().filter(|number| *number > limit);
    // Prompt and answer may be told apart, and only their sum be too large.
    let sum = || {
        let mut below = numbers.iter().rev().filter(|number| **number < limit);
        let sum = below.next()?.checked_add(*below.next()?)?;
        (sum > limit).then_some(sum)
    };
    Some((above.or_else(sum)?, limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Dialect, registry};

    #[test]
    fn both_numbers_are_found_in_every_servers_words() {
        for (message, expected) in [
            (
                "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8900 in the messages, 100 in the completion).",
                Some((9000, 8192)),
            ),
            (
                "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it",
                Some((4390, 4096)),
            ),
            (
                "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
                Some((1_100_000, 1_048_576)),
            ),
            (
                "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
                Some((537_812, 131_072)),
            ),
            (
                "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
                Some((40_000, 32_768)),
            ),
            (
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 1512. Given: 1000 `inputs` tokens and 1024 `max_new_tokens`",
                Some((2024, 1512)),
            ),
            (
                "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
                Some((209_573, 200_000)),
            ),
            ("Please reduce the length of the messages or completion.", None),
            ("the maximum context length is 4096 tokens", None),
            ("model 4 says: too long by 99999999999999999999999", None),
        ] {
            assert_eq!(counts(message), expected, "{message}");
        }
    }

    #[test]
    fn the_callers_words_come_first_and_are_not_said_twice() {
        let said = |caller: Dialect, message| said(&registry::of(caller).rules.context, message).into_owned();
        let message = "provider vllm: maximum context length is 100 tokens, 120 were sent";
        assert_eq!(said(Dialect::OpenAiChat, message), message);
        assert_eq!(
            said(Dialect::AnthropicMessages, message),
            format!("prompt is too long: 120 tokens > 100 maximum ({message})")
        );
        for caller in Dialect::ALL {
            assert!(
                said(caller, "too much")
                    .to_lowercase()
                    .contains(registry::of(caller).rules.context.sign),
                "{caller}"
            );
        }
    }
}
