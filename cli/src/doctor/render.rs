//! `doctor` for people. Pure.

use std::fmt::Write as _;

use super::checks::{Check, State};
use crate::output::{Paint, Tone, count};

/// The whole screen.
pub(super) fn screen(checks: &[Check], paint: Paint) -> String {
    let mut text = String::new();
    for check in checks {
        let (tone, word) = match check.state {
            State::Ok => (Tone::Good, "ok"),
            State::Warn => (Tone::Warn, "warn"),
            State::Fail => (Tone::Bad, "FAIL"),
            State::Unknown => (Tone::Dim, "?"),
        };
        // Padded before it is painted.
        let word = paint.paint(tone, &format!("{word:<4}"));
        let found = paint.paint(Tone::Plain, &check.found).replace('\n', "\n        ");
        let _ = writeln!(text, "  {word}  {:<24}  {found}", check.name);
        if !check.remedy.is_empty() {
            let _ = writeln!(text, "        -> {}", paint.paint(Tone::Plain, &check.remedy));
        }
    }
    let number = |state| checks.iter().filter(|check| check.state == state).count();
    let (fail, warn, unknown) = (number(State::Fail), number(State::Warn), number(State::Unknown));
    let tone = if fail > 0 {
        Tone::Bad
    } else if warn > 0 {
        Tone::Warn
    } else {
        Tone::Good
    };
    let summary = format!(
        "{}: {fail} failed, {warn} to look at, {unknown} not seen.",
        count(checks.len(), "check")
    );
    let _ = writeln!(text, "\n{}", paint.paint(tone, &summary));
    text
}
