//! `quality` for people and as CSV. Pure.

use std::time::Duration;

use bowsprit_ledger::query::Quality;

use crate::output::csv::{self, Field};
use crate::output::units::{number, percent, span, took};
use crate::output::{Cell, Paint, Table, Tone, short};
use crate::stats::none_in;

/// Codes that a table tells of a provider; `-o wide` tells all that the ledger does.
const SHOWN: usize = 2;
/// The ledger's formula, in words.
const FORMULA: &str = "SCORE = 100 x SUCCESS x (1 - CUT) x min(1, 10 s / MEAN). SUCCESS: attempts answered, of those answered or failed. \
CUT: answers\nthat began and did not reach their end, of the requests that it answered. MEAN: the duration of an attempt.\n";

/// The whole screen.
pub(super) fn screen(
    found: &[Quality],
    (namespace, time): (Option<&str>, Duration),
    wide: bool,
    paint: Paint,
) -> String {
    if found.is_empty() {
        return none_in(namespace, time);
    }
    let mut table = Table::new(["PROVIDER", "SCORE", "SUCCESS", "CUT", "MEAN", "ATTEMPTS", "FAILS WITH"]);
    for it in found {
        let tone = match it.score {
            99.0.. => Tone::Good,
            90.0.. => Tone::Warn,
            _ => Tone::Bad,
        };
        table.row([
            short(&it.provider).into(),
            Cell::new(tone, score(it.score)),
            percent(it.success).into(),
            percent(it.cut).into(),
            took(micros(it.mean_ms)).into(),
            number(it.attempts).into(),
            fails_with(it, wide).into(),
        ]);
    }
    let place = namespace.map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
    let first = format!("How good the providers of {place} were in the last {}:", span(time));
    let formula = paint.paint(Tone::Dim, FORMULA);
    format!(
        "{}\n\n{}\n{formula}",
        paint.paint(Tone::Bold, &first),
        table.render(paint)
    )
}

/// One place; what is not perfect is not shown as 100.
fn score(score: f64) -> String {
    if (99.95..100.0).contains(&score) {
        "99.9".to_owned()
    } else {
        format!("{score:.1}")
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A duration that was one before it was averaged.
fn micros(millis: f64) -> u64 {
    (millis * 1e3).max(0.0) as u64
}

fn fails_with(it: &Quality, wide: bool) -> String {
    let shown = if wide { it.failures.len() } else { SHOWN };
    let mut words: Vec<String> = it
        .failures
        .iter()
        .take(shown)
        .map(|(code, count)| format!("{code} {}", number(*count)))
        .collect();
    let more = it.failures.len().saturating_sub(shown);
    if more > 0 {
        words.push(format!("{more} other codes"));
    }
    words.join(", ")
}

/// As CSV.
pub(super) fn csv(found: &[Quality]) -> String {
    let heads = [
        "PROVIDER",
        "SCORE",
        "SUCCESS",
        "CUT",
        "MEAN_MILLISECONDS",
        "ATTEMPTS",
        "FAILURES",
    ];
    let rows = found.iter().map(|it| {
        let failures: Vec<String> = it
            .failures
            .iter()
            .map(|(code, count)| format!("{code}={count}"))
            .collect();
        vec![
            Field::from(&it.provider),
            Field::number(it.score),
            Field::number(it.success),
            Field::number(it.cut),
            Field::number(it.mean_ms),
            Field::number(it.attempts),
            Field::from(failures.join(" ")),
        ]
    });
    csv::table(heads, rows)
}
