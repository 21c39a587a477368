//! `test` for people. Pure.

use std::fmt::Write as _;

use super::answer::Told;
use crate::output::{Paint, Tone};

/// The whole screen.
pub(super) fn screen(told: &Told, paint: Paint) -> String {
    let who = told.provider.as_deref().or(told.wanted.as_deref()).unwrap_or("nobody");
    let verdict = if told.ok {
        paint.paint(Tone::Good, &format!("{who} answers."))
    } else if told.status.is_some_and(|status| (200..300).contains(&status)) {
        paint.paint(Tone::Bad, "Not as asked.")
    } else {
        paint.paint(
            Tone::Bad,
            &format!("{} does not answer.", told.wanted.as_deref().unwrap_or(&told.model)),
        )
    };
    let mut text = format!("{verdict}\n");
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "  {:<12} {}", name, paint.paint(Tone::Plain, &value));
        }
    };
    let ms = |value: Option<u128>| value.map(|value| format!("{value} ms"));
    let answered = told.answered_model.as_ref().filter(|it| **it != told.model);
    let model = match answered {
        Some(answered) => format!("{}, answered by {answered}", told.model),
        None => told.model.clone(),
    };
    line("model", Some(model));
    line(
        "way",
        Some(if told.pinned {
            format!("pod {}, this provider alone, one attempt", told.pod)
        } else {
            format!("pod {}, as an app asks: retries and fallbacks hold", told.pod)
        }),
    );
    line("status", told.status.map(|status| status.to_string()));
    line("first token", ms(told.first_token_ms));
    line("latency", ms(told.total_ms));
    let tokens = told.input_tokens.zip(told.output_tokens);
    line(
        "tokens",
        tokens.map(|(input, output)| format!("{input} in, {output} out")),
    );
    line(
        "attempts",
        told.attempts.filter(|count| *count != 1).map(|count| count.to_string()),
    );
    line("request id", told.request_id.clone());
    line("code", told.code.clone());
    line("error", told.error.clone());
    line("what to do", told.remedy.clone());
    text
}
