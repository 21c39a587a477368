//! The path of a request as steps with their times. Pure.

use bowsprit_core::record::Refuser;
use bowsprit_ledger::entry::{ANSWERED_STALE, Attempt, Request, Turn};
use bowsprit_ledger::query::{Money, Why};
use serde::Serialize;

use super::timeline::{Span, spans};
use super::words;
use crate::output::count;
use crate::output::units::{number, took};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    /// Since the request's head, microseconds.
    pub(super) after: u64,
    /// What happened.
    pub(super) what: String,
}

/// What ends an attempt because of another comes after what that other did at the same time.
const CAUSE: u8 = 0;
const EFFECT: u8 = 1;

/// All steps, in order.
pub(super) fn of(why: &Why) -> Vec<Step> {
    let request = &why.listed.request;
    let spans = spans(why);
    let mut steps: Vec<(u64, u8, String)> = Vec::new();
    let mut step = |after, rank, what| steps.push((after, rank, what));
    step(0, CAUSE, asked(request));
    // A retry is a step of its own where its attempt is known.
    let retries = why.attempts_made.iter().any(|it| it.attempt.reason == "retry");
    for turn in &request.path {
        let ended = why
            .attempts_made
            .iter()
            .zip(&spans)
            .find(|(it, span)| is_told(turn, &it.attempt, **span));
        if let Some(what) = turned(turn, ended.map(|(it, _)| &it.attempt), retries) {
            let before = if turn.what == "waited" {
                u64::from(turn.wait) * 1_000
            } else {
                0
            };
            step(turn.after.saturating_sub(before), CAUSE, what);
        }
    }
    for (it, span) in why.attempts_made.iter().zip(&spans) {
        let attempt = &it.attempt;
        step(span.begin, CAUSE, sent(why, attempt));
        if let Some(first) = attempt.first_token {
            let after = span.begin.saturating_add(first).min(span.end);
            step(after, CAUSE, format!("{} sent its first words", attempt.provider));
        }
        let is_told = request.path.iter().any(|turn| is_told(turn, attempt, *span));
        match attempt.outcome.as_str() {
            "answered" => step(
                span.end,
                CAUSE,
                format!("{} had answered in full{}", attempt.provider, http(attempt)),
            ),
            "failed" if !is_told => step(span.end, CAUSE, failed(attempt)),
            "cancelled" => step(span.end, EFFECT, given_up(why, attempt, *span, &spans)),
            _ => {}
        }
    }
    if request.turns_left_out > 0 {
        let last = steps.iter().map(|it| it.0).max().unwrap_or(0);
        let turns = count(request.turns_left_out as usize, "more turn");
        steps.push((last, EFFECT, format!("{turns} that the ledger does not keep")));
    }
    // Stable: what is told at the same time stays in the order of its cause.
    steps.sort_by_key(|(after, rank, _)| (*after, *rank));
    steps.push((request.took, EFFECT, ended(request)));
    steps.into_iter().map(|(after, _, what)| Step { after, what }).collect()
}

/// Whether a turn tells how this attempt failed.
fn is_told(turn: &Turn, attempt: &Attempt, span: Span) -> bool {
    turn.what == "failed" && attempt.outcome == "failed" && turn.provider == attempt.provider && turn.after == span.end
}

fn asked(request: &Request) -> String {
    let stream = if request.is_stream { ", as a stream" } else { "" };
    let model = if request.asked_model.is_empty() {
        "no model by name".to_owned()
    } else {
        request.asked_model.clone()
    };
    let by = if request.route.is_empty() {
        "no ModelRoute names it".to_owned()
    } else {
        format!("ModelRoute {} names who answers", request.route)
    };
    let before = match request.sdk_retries {
        0 => String::new(),
        more => format!("; the caller's SDK had asked {} before", words::times(more as usize)),
    };
    format!(
        "the caller asked for {model} ({} {}{stream}); {by}{before}",
        request.dialect, request.operation
    )
}

fn turned(turn: &Turn, ended: Option<&Attempt>, retries_are_known: bool) -> Option<String> {
    let provider = &turn.provider;
    Some(match turn.what.as_str() {
        "passed_over" => format!("{provider} was passed over: {}", words::passed_over(&turn.because)),
        "failed" => {
            let then = if turn.then.is_empty() {
                "Then: the other attempt was still out".to_owned()
            } else {
                words::decided(&turn.then, provider)
            };
            let http = ended.map(http).unwrap_or_default();
            format!("{provider} failed: {}{http}. {then}", turn.because)
        }
        "waited" => format!(
            "waited {} at {provider}, {}",
            took(u64::from(turn.wait) * 1_000),
            words::waited_for(&turn.because)
        ),
        "retried" if retries_are_known => return None,
        "retried" => format!("{provider} was asked again after {}", turn.because),
        ANSWERED_STALE => format!(
            "the answer was taken that {provider} had given to the same request {} before (request {}); nothing was spent for it",
            words::age(turn.wait.into()),
            turn.because
        ),
        other => format!("{provider}: {other} {}", turn.because),
    })
}

fn sent(why: &Why, attempt: &Attempt) -> String {
    let slow = || {
        let before = why.attempts_made.iter().rfind(|it| it.attempt.number < attempt.number);
        before.map_or("the first attempt", |it| it.attempt.provider.as_str())
    };
    let (how, since) = match attempt.reason.as_str() {
        "first" => ("was asked", String::new()),
        "retry" => ("was asked again", String::new()),
        "fallback" => ("was asked instead", String::new()),
        "hedge" => ("was asked as well", format!(", since {} was slow", slow())),
        other => (other, String::new()),
    };
    let key = if attempt.credential.is_empty() {
        String::new()
    } else {
        format!(", with key {}", attempt.credential)
    };
    let Attempt {
        provider,
        model,
        number,
        ..
    } = attempt;
    format!("{provider} {how} for {model}{since} (attempt {number}{key})")
}

fn http(attempt: &Attempt) -> String {
    if attempt.status == 0 {
        String::new()
    } else {
        format!(" (HTTP {})", attempt.status)
    }
}

fn failed(attempt: &Attempt) -> String {
    format!("{} failed: {}{}", attempt.provider, attempt.code, http(attempt))
}

/// Why nobody wanted an attempt's answer any more.
fn given_up(why: &Why, attempt: &Attempt, span: Span, spans: &[Span]) -> String {
    let beside = why.attempts_made.iter().zip(spans);
    // Who was out at the same time and was kept.
    let winner = beside
        .filter(|(it, other)| {
            it.attempt.number != attempt.number && it.attempt.outcome != "cancelled" && other.end > span.begin
        })
        .map(|(it, _)| it.attempt.provider.as_str())
        .next();
    let because = match (why.listed.request.outcome.as_str(), winner) {
        ("cancelled", _) => "the caller had left".to_owned(),
        (_, Some(winner)) => format!("{winner} was faster"),
        _ => "nobody waited for it any more".to_owned(),
    };
    format!(
        "attempt {} at {} was given up: {because}",
        attempt.number, attempt.provider
    )
}

fn ended(request: &Request) -> String {
    let sent = match request.answer_bytes {
        0 => String::new(),
        bytes => format!(", {} bytes of answer", number(bytes)),
    };
    if let Some(cached) = &request.cache {
        return format!(
            "the caller had all of the answer that {} had given {} before (request {}): HTTP {}{sent}; {} tokens and ${} were not spent again",
            cached.provider,
            words::age(cached.age),
            cached.request_id,
            request.status,
            number(cached.saved_tokens),
            Money(cached.saved_cost.into())
        );
    }
    if let Some((kind, name)) = Refuser::parse(&request.refused_by) {
        return format!(
            "{} turned it away: HTTP {} {}",
            words::refuser(kind, name),
            request.status,
            request.code
        );
    }
    if request.path.iter().any(|turn| turn.what == ANSWERED_STALE) {
        return format!(
            "the caller had all of it, marked as stale: HTTP {}{sent}",
            request.status
        );
    }
    match (request.outcome.as_str(), request.status) {
        ("cancelled", _) => format!("the caller left{sent}"),
        ("cut", status) => format!(
            "the caller's answer ended with an error: HTTP {status}{sent}, then {}",
            request.code
        ),
        (_, 0) => format!("the request ended: {}", request.code),
        ("ok", status) => format!("the caller had all of it: HTTP {status}{sent}"),
        (_, status) => format!("the caller was told HTTP {status} {}", request.code),
    }
}
