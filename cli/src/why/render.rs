//! `why` for people. Pure.

use std::fmt::Write as _;

use bowsprit_ledger::entry::{Attempt, Tokens};
use bowsprit_ledger::query::Money;

use super::timeline::spans;
use super::{Story, Total};
use crate::output::units::{dollars, moment, number, took};
use crate::output::{Cell, Paint, Table, Tone, count};

/// Each request, newest first.
pub(super) fn screen(stories: &[Story], paint: Paint) -> String {
    let mut text = String::new();
    if stories.len() > 1 {
        let _ = writeln!(
            text,
            "{} have this id, the newest first.\n",
            count(stories.len(), "request")
        );
    }
    let told: Vec<String> = stories.iter().map(|story| one(story, paint)).collect();
    text + &told.join("\n")
}

fn one(story: &Story, paint: Paint) -> String {
    let listed = &story.told.listed;
    let tone = match listed.request.outcome.as_str() {
        "ok" => Tone::Good,
        "cancelled" | "client_error" => Tone::Warn,
        _ => Tone::Bad,
    };
    let mut text = format!("{}\n", paint.paint(tone, &on_one_line(&story.sentence)));
    let who = [&listed.namespace, &listed.pod, &listed.workload];
    let who: Vec<&str> = who
        .into_iter()
        .map(String::as_str)
        .filter(|it| !it.is_empty())
        .collect();
    let trace = if listed.request.trace_id.is_empty() {
        String::new()
    } else {
        format!(", trace {}", listed.request.trace_id)
    };
    let about = format!(
        "request {}{trace}, ended {}, {}",
        listed.request.id,
        moment(listed.at),
        who.join(" ")
    );
    let _ = writeln!(text, "{}", paint.paint(Tone::Dim, &on_one_line(&about)));
    let heading = |text: &mut String, what: &str| {
        let _ = writeln!(text, "\n{}", paint.paint(Tone::Bold, what));
    };

    heading(&mut text, "What happened");
    let times: Vec<String> = story.steps.iter().map(|step| took(step.after)).collect();
    let width = times.iter().map(|time| time.chars().count()).max().unwrap_or(0);
    let digits = story.steps.len().to_string().len();
    for ((place, step), time) in story.steps.iter().enumerate().zip(&times) {
        let what = paint.paint(Tone::Plain, &on_one_line(&step.what));
        let _ = writeln!(text, "  {:>digits$}. {time:>width$}  {what}", place + 1);
    }

    let attempts = attempts(story);
    if !attempts.is_empty() {
        heading(&mut text, "Attempts");
        text.push_str(&attempts.render(paint));
        let _ = writeln!(text, "  {}", cost(&story.cost, story.told.attempts_made.len()));
    }
    for note in notes(story) {
        let _ = writeln!(text, "  {}", paint.paint(Tone::Plain, &on_one_line(&note)));
    }
    if !story.meant.is_empty() {
        heading(&mut text, "What it means");
        for meant in &story.meant {
            let code = paint.paint(Tone::Warn, &on_one_line(&meant.code));
            let _ = writeln!(text, "  {code}  {}", meant.meaning);
        }
    }
    heading(&mut text, "What to do");
    if story.advice.is_empty() {
        text.push_str("  Nothing: it went as it should.\n");
    }
    if listed.request.outcome == "ok" && !story.advice.is_empty() {
        text.push_str("  Nothing for this request: it was answered. Where more of them end so:\n");
    }
    for what in &story.advice {
        let _ = writeln!(text, "  {}", paint.paint(Tone::Plain, &on_one_line(what)));
    }
    text
}

/// Names may hold anything: a line's end in one must not begin a line of ours.
fn on_one_line(text: &str) -> String {
    text.replace('\n', " ")
}

fn attempts(story: &Story) -> Table {
    let mut table = Table::new([
        "#",
        "PROVIDER",
        "MODEL",
        "KEY",
        "HOW",
        "BEGAN",
        "TOOK",
        "FIRST WORDS",
        "END",
        "HTTP",
        "IN",
        "OUT",
        "COST",
    ])
    .indented(2);
    for (it, span) in story.told.attempts_made.iter().zip(spans(&story.told)) {
        let attempt = &it.attempt;
        table.row([
            attempt.number.to_string().into(),
            attempt.provider.clone().into(),
            attempt.model.clone().into(),
            attempt.credential.clone().into(),
            attempt.reason.clone().into(),
            took(span.begin).into(),
            took(attempt.took).into(),
            attempt.first_token.map(took).unwrap_or_default().into(),
            end(attempt),
            (if attempt.status == 0 {
                String::new()
            } else {
                attempt.status.to_string()
            })
            .into(),
            tokens(attempt, |it| (it.input, it.estimated_input)).into(),
            tokens(attempt, |it| (it.output, it.estimated_output)).into(),
            cost_of(attempt),
        ]);
    }
    table
}

fn end(attempt: &Attempt) -> Cell {
    match attempt.outcome.as_str() {
        "answered" => Cell::new(Tone::Good, "answered"),
        "cancelled" => Cell::new(Tone::Dim, "given up"),
        _ if attempt.code.is_empty() => Cell::new(Tone::Bad, attempt.outcome.clone()),
        _ => Cell::new(Tone::Bad, attempt.code.clone()),
    }
}

/// A count of tokens; what is estimated of it is marked.
fn tokens(attempt: &Attempt, of: fn(&Tokens) -> (u64, u64)) -> String {
    if attempt.tokens_unknown {
        return "?".to_owned();
    }
    match of(&attempt.tokens) {
        (told, 0) => number(told),
        (0, estimated) => format!("~{}", number(estimated)),
        (told, estimated) => format!("{} +~{}", number(told), number(estimated)),
    }
}

fn cost_of(attempt: &Attempt) -> Cell {
    match &attempt.cost {
        None => Cell::new(Tone::Warn, "no price"),
        Some(_) if attempt.tokens_unknown => Cell::new(Tone::Warn, "?"),
        Some(cost) => {
            let mark = if cost.estimated == 0 { "" } else { "~" };
            let sum = Money(i128::from(cost.reported) + i128::from(cost.estimated));
            format!("{mark}{}", dollars(sum)).into()
        }
    }
}

fn cost(total: &Total, attempts: usize) -> String {
    if total.unknown == attempts {
        return "Cost: not known.".to_owned();
    }
    let sum = Money(total.reported.0 + total.estimated.0);
    let mut text = format!("Cost: ${sum}");
    if total.estimated.0 != 0 {
        let _ = write!(text, ", of which ${} is estimated (~)", total.estimated);
    }
    if !total.prices.is_empty() {
        let _ = write!(text, "; prices: {}", total.prices.join(", "));
    }
    if total.unknown > 0 {
        let _ = write!(
            text,
            "; not known of {}, so it is at least that",
            count(total.unknown, "attempt")
        );
    }
    text + "."
}

/// What else is to be known of a request.
fn notes(story: &Story) -> Vec<String> {
    let request = &story.told.listed.request;
    let mut notes = Vec::new();
    let other = story.told.attempts_made.iter().map(|it| &it.attempt);
    for attempt in other
        .clone()
        .filter(|it| !it.reported_model.is_empty() && it.reported_model != it.model)
    {
        notes.push(format!(
            "Attempt {}: {} says that {} answered.",
            attempt.number, attempt.provider, attempt.reported_model
        ));
    }
    for attempt in other.filter(|it| !it.provider_request_id.is_empty()) {
        notes.push(format!(
            "Attempt {}: {} calls it {}.",
            attempt.number, attempt.provider, attempt.provider_request_id
        ));
    }
    if request.fields_left_out > 0 {
        let tools = match request.tools_left_out {
            0 => String::new(),
            tools => format!(", {} among them", count(tools as usize, "tool")),
        };
        let fields = count(request.fields_left_out as usize, "field");
        notes.push(format!(
            "{fields} of the request that {} does not know were left out{tools}.",
            request.provider
        ));
    }
    if request.overhead > 0 {
        notes.push(format!("Bowsprit's own part of the time: {}.", took(request.overhead)));
    }
    notes
}
