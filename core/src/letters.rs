//! Whether the members by which a request is judged are written in their own letters.
//!
//! Servers in Go take `Model` for `model`, and of the two the last: limits, budgets, rules and guards would have judged another request
//! than the one that is answered. Where any of them is in force such a body is refused. What is asked for beyond words is read by
//! [`crate::dialect::features`], which refuses its own.

use crate::dialect::{RequestError, meant, wrong};
use crate::guard::SAID;
use crate::json::{Error, Pull};

/// Members by which limits, budgets and rules go, beside those that guards look into ([`SAID`]).
const JUDGED: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    CONFIG[0],
    CONFIG[1],
    "service_tier",
];
/// Where Gemini has the bound of an answer.
const CONFIG: [&str; 2] = ["generationConfig", "generation_config"];
/// Its names there, and those of how many answers.
const BOUND: &[&str] = &[
    "maxOutputTokens",
    "max_output_tokens",
    "candidateCount",
    "candidate_count",
];

/// Refuses a body that has one of these members in other letters.
///
/// # Errors
/// It has one, or is no JSON.
pub fn check(body: &[u8]) -> Result<(), RequestError> {
    let mut found = None;
    let mut read = || -> Result<(), Error> {
        let mut pull = Pull::new(body)?;
        pull.members(&mut |name, at| {
            if CONFIG.contains(&name) {
                return at.members(&mut |name, _| {
                    found = found
                        .take()
                        .or_else(|| meant(name, BOUND).map(|meant| wrong(name, meant)));
                    Ok(())
                });
            }
            let other = || meant(name, JUDGED).or_else(|| meant(name, SAID));
            found = found.take().or_else(|| other().map(|meant| wrong(name, meant)));
            Ok(())
        })?;
        pull.end()
    };
    read().map_err(|error| RequestError::not_json(format!("is not JSON: {error}")))?;
    found.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Dialect, peek};

    const OTHERS: [(&str, &str); 9] = [
        (r#"{"model":"small","Model":"big"}"#, "Model"),
        (r#"{"model":"m","Messages":[]}"#, "Messages"),
        (r#"{"model":"m","Max_Tokens":99999}"#, "Max_Tokens"),
        (r#"{"model":"m","\u004dodel":"big"}"#, "Model"),
        ("{\"model\":\"m\",\"me\u{17f}sages\":[]}", "me\u{17f}sages"),
        ("{\"model\":\"m\",\"max_to\u{212a}ens\":1}", "max_to\u{212a}ens"),
        (r#"{"model":"m","generationconfig":{}}"#, "generationconfig"),
        (r#"{"model":"m","SystemInstruction":{}}"#, "SystemInstruction"),
        (
            r#"{"model":"m","generationConfig":{"MaxOutputTokens":9}}"#,
            "MaxOutputTokens",
        ),
    ];

    #[test]
    fn a_member_in_other_letters_is_refused_by_the_name_that_it_has() {
        for (body, name) in OTHERS {
            let error = check(body.as_bytes()).unwrap_err();
            assert_eq!(
                (error.path.as_str(), error.code.as_str()),
                (name, "VAL_FIELD"),
                "{body}"
            );
        }
    }

    #[test]
    fn every_other_name_is_the_callers_to_give() {
        for body in [
            r#"{"model":"m","messages":[{"Content":"x"}],"max_tokens":1,"X-Model":1,"models":[]}"#,
            r#"{"systemInstruction":{},"system_instruction":{},"generationConfig":{"topP":1},"generation_config":{}}"#,
            r#"{"modell":1,"mode":2,"metadata":{"Model":"big"},"\u00e9":1}"#,
            "{}",
        ] {
            assert_eq!(check(body.as_bytes()), Ok(()), "{body}");
        }
        assert!(check(b"{").is_err());
    }

    #[test]
    fn a_body_is_looked_through_only_where_it_may_have_one() {
        let may = |dialect, body: &str| peek(dialect, body.as_bytes()).unwrap().has_other_letters;
        for (body, _) in OTHERS {
            assert!(may(Dialect::Gemini, body), "{body}");
        }
        for (body, _) in &OTHERS[..6] {
            assert!(may(Dialect::OpenAiChat, body), "{body}");
        }
        let usual = r#"{"model":"m","messages":[{"Content":"x"}],"max_tokens":1,"tools":[],"top_p":1}"#;
        for dialect in [
            Dialect::OpenAiChat,
            Dialect::OpenAiResponses,
            Dialect::AnthropicMessages,
        ] {
            assert!(!may(dialect, usual), "{dialect:?}");
        }
    }
}
