//! `access check` for people. Pure.

use std::fmt::Write as _;

use super::{Decision, RuleTold, Told};
use crate::output::{Cell, Paint, Table, Tone};

/// The whole screen.
pub(super) fn screen(told: &Told, wide: bool, paint: Paint) -> String {
    let mut text = first(told, paint);
    if told.rules.is_empty() {
        text.push_str("No access rule is about this request.\n");
    } else {
        let mut heads = vec!["OBJECT", "RULE", "FOR", "SAYS", "LOOKED AT"];
        if wide {
            heads.push("ALLOW");
        }
        let mut table = Table::new(heads);
        for rule in &told.rules {
            let mut cells = vec![
                rule.object.clone().into(),
                rule.rule.clone().into(),
                rule.candidate
                    .clone()
                    .unwrap_or_else(|| "the request".to_owned())
                    .into(),
                says(rule),
                looked_at(rule).into(),
            ];
            if wide {
                cells.push(rule.allow.clone().into());
            }
            table.row(cells);
        }
        text.push('\n');
        text.push_str(&table.render(paint));
    }
    for candidate in &told.candidates {
        if let Some(rule) = &candidate.left_out_by {
            let _ = writeln!(text, "{} is left out by {rule}.", candidate.provider);
        }
    }
    if told.candidates_unknown {
        let unknown = "Rules about candidates were not asked: nobody here could be sent this. --provider names one.";
        text.push_str(&(paint.paint(Tone::Warn, unknown) + "\n"));
    }
    if !told.not_selected.is_empty() {
        let names = told.not_selected.join(", ");
        let _ = writeln!(
            text,
            "Not asked, as they do not select a pod with these labels: UsagePolicy {names}."
        );
    }
    text
}

fn first(told: &Told, paint: Paint) -> String {
    let (tone, word) = match told.decision {
        Decision::Allowed => (Tone::Good, "Allowed"),
        Decision::WouldDeny => (Tone::Warn, "Allowed, and counted: a rule in shadow does not hold"),
        Decision::Denied => (Tone::Bad, "Denied"),
    };
    let mut text = paint.paint(tone, word);
    if let (Some(by), Some(message)) = (&told.refused_by, &told.message) {
        let _ = write!(text, " ({by}): {message}");
    }
    let model = if told.model.is_empty() {
        "What passes unread".to_owned()
    } else {
        format!("Model {}", told.model)
    };
    let route = if told.route.is_empty() {
        "of no ModelRoute".to_owned()
    } else {
        format!("of ModelRoute {}", told.route)
    };
    format!("{text}\n{model}, {route}.\n")
}

fn says(rule: &RuleTold) -> Cell {
    let (tone, word) = match (rule.holds, rule.undecided.is_some()) {
        (true, _) => (Tone::Good, "holds"),
        (false, true) => (Tone::Bad, "undecided"),
        (false, false) => (Tone::Bad, "no"),
    };
    let mut word = word.to_owned();
    if !rule.holds && !rule.enforced {
        return Cell::new(Tone::Warn, word + ", in shadow");
    }
    if rule.decides {
        word.push_str(", decides");
    }
    Cell::new(tone, word)
}

fn looked_at(rule: &RuleTold) -> String {
    let seen = rule.looked_at.iter().map(|seen| match &seen.value {
        Some(value) => format!("{} = {value}", seen.name),
        None => format!("{} is not given", seen.name),
    });
    seen.collect::<Vec<_>>().join(", ")
}
