//! The closed lists of the schema, as its CHECK constraints have them. A value of a later release that is not in its list is kept as
//! [`UNKNOWN`]: the row counts, and its outbox is not held up.
//!
//! Error codes are no such list here: each release brings new ones, and they are judged nowhere in the store.

use std::borrow::Cow;

/// What a value outside of its list is kept as.
pub const UNKNOWN: &str = "unknown";
/// How requests end.
pub const REQUEST_OUTCOMES: &[&str] = &[
    "ok",
    "client_error",
    "provider_error",
    "own_error",
    "shed",
    "cancelled",
    "cut",
];
/// How attempts end.
pub const ATTEMPT_OUTCOMES: &[&str] = &["answered", "failed", "cancelled"];
/// How attempts come about.
pub const REASONS: &[&str] = &["first", "retry", "fallback", "hedge", "probe"];
/// What providers count.
pub const COUNTED: &[&str] = &["requests", "tokens", "input_tokens", "output_tokens"];
/// What callers speak; empty where a request was none.
pub const DIALECTS: &[&str] = &["", "openai", "anthropic", "gemini", "openai_responses"];

/// Kinds of rules that turn requests away, before a colon and the rule's name.
pub const REFUSERS: &[&str] = &["limit", "access", "budget", "guard", "pause"];

/// Which rule turned a request away, as the constraint has it: told by a kind that is known, or marked as of none.
pub fn refused_by(told: &str) -> Cow<'_, str> {
    let kind = told.split_once(':').map(|(kind, _)| kind);
    if told.is_empty() || kind.is_some_and(|kind| REFUSERS.contains(&kind)) {
        return Cow::Borrowed(told);
    }
    Cow::Owned([UNKNOWN, ":", told].concat())
}

/// The value, or [`UNKNOWN`].
pub fn one_of(list: &'static [&'static str], told: &str) -> &'static str {
    list.iter().find(|value| **value == told).unwrap_or(&UNKNOWN)
}

#[cfg(test)]
mod tests {
    use bowsprit_core::dialect::Dialect;
    use bowsprit_core::record::AttemptKind::{self, Fallback, First, Hedge, Probe, Retry};
    use bowsprit_core::record::{Outcome, Refuser};

    use super::*;

    #[test]
    fn the_lists_are_those_of_the_records() {
        let outcomes: Vec<_> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        assert_eq!(REQUEST_OUTCOMES, outcomes);
        let reasons = [First, Retry, Fallback, Hedge, Probe].map(AttemptKind::as_str);
        assert_eq!(REASONS, reasons);
        let dialects: Vec<_> = Dialect::ALL.iter().map(|dialect| dialect.as_str()).collect();
        assert_eq!(DIALECTS[1..], dialects);
    }

    #[test]
    fn a_rule_of_a_later_release_is_kept_and_marked() {
        for (told, kept) in [
            ("", ""),
            ("access:no-tools", "access:no-tools"),
            ("tide:low", "unknown:tide:low"),
        ] {
            assert_eq!(refused_by(told), kept);
        }
        let kinds = Refuser::ALL.map(|kind| kind.prefix().trim_end_matches(':'));
        assert_eq!(REFUSERS, kinds);
        let all: Vec<_> = kinds.iter().chain(&[UNKNOWN]).map(|kind| format!("'{kind}'")).collect();
        let list = format!("IN ({})", all.join(", "));
        for engine in [crate::schema::Engine::Sqlite, crate::schema::Engine::Postgres] {
            for step in [5, 6] {
                let step = crate::schema::MIGRATIONS[step].texts(engine).up;
                assert!(step.contains(&list), "{engine:?}: {list}");
            }
        }
    }

    #[test]
    fn the_constraints_have_the_same_lists() {
        let list = |values: &[&str]| {
            let quoted: Vec<_> = values
                .iter()
                .chain(&[UNKNOWN])
                .map(|value| format!("'{value}'"))
                .collect();
            format!("IN ({})", quoted.join(", "))
        };
        for engine in [crate::schema::Engine::Sqlite, crate::schema::Engine::Postgres] {
            let tables = crate::schema::MIGRATIONS[0].texts(engine).up;
            for (column, values) in [
                ("outcome", REQUEST_OUTCOMES),
                ("outcome", ATTEMPT_OUTCOMES),
                ("reason", REASONS),
                ("what", COUNTED),
                ("dialect", DIALECTS),
            ] {
                let check = format!("{column} TEXT NOT NULL CHECK ({column} {})", list(values));
                assert!(tables.contains(&check), "{engine:?}: {check}");
            }
        }
    }
}
