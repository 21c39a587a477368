//! What an error code means.

use std::fmt::Write as _;

use bowsprit_core::dialect::{Dialect, Words, words_for};
use bowsprit_core::fault::Code;

use crate::output::Report;

/// One code, or the list.
pub(crate) fn run(code: Option<&str>) -> Report {
    let Some(wanted) = code else {
        let text = Code::ALL.iter().fold(String::new(), |mut out, code| {
            let _ = writeln!(out, "{:<26} {}", code.as_str(), code.meaning());
            out
        });
        return Report { text, well: true };
    };
    let Some(code) = of(wanted) else {
        let text = format!("{wanted} is no code of Bowsprit; `kubectl bowsprit explain` lists them\n");
        return Report { text, well: false };
    };
    let again = if code.retryable() { "may succeed" } else { "fails again" };
    let mut text = format!(
        "{code}\n  {}\n  Fault of the {}; the same request {again}\n  What to do: {}\n",
        code.meaning(),
        code.blame().as_str(),
        code.remedy()
    );
    for caller in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::Gemini] {
        let Words { status, kind, code } = words_for(caller, code);
        let _ = writeln!(
            text,
            "  {caller} callers get: HTTP {status} {kind} {}",
            code.unwrap_or_default()
        );
    }
    Report { text, well: true }
}

/// The code of this name, whatever its case.
pub(crate) fn of(wanted: &str) -> Option<Code> {
    Code::ALL
        .iter()
        .copied()
        .find(|code| code.as_str().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_explained_whatever_its_case() {
        let text = run(Some("rate_local_limit")).text;
        for part in [
            "RATE_LOCAL_LIMIT",
            "What to do",
            "HTTP 429 RESOURCE_EXHAUSTED",
            "rate_limit_exceeded",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!run(Some("NOPE")).well);
        assert_eq!(run(None).text.lines().count(), Code::ALL.len());
    }
}
