//! The first sentence: what the caller got, after how long, because of what. Pure.

use bowsprit_core::record::Refuser;
use bowsprit_ledger::entry::{ANSWERED_STALE, Request, Turn};
use bowsprit_ledger::query::Why;

use super::words;
use crate::output::units::{number, took};

/// Candidates of which the sentence tells; the path tells of all.
const MOST: usize = 4;

/// The sentence.
pub(super) fn of(why: &Why) -> String {
    let request = &why.listed.request;
    let after = took(request.took);
    let causes = causes(why);
    let because = words::and(&causes);
    let http = if request.status == 0 {
        "nothing".to_owned()
    } else {
        format!("HTTP {}", request.status)
    };
    if let Some(turn) = request.path.iter().find(|turn| turn.what == ANSWERED_STALE) {
        return stale(turn, &after, &because);
    }
    if let Some(cached) = &request.cache {
        return format!(
            "The caller got a kept answer after {after}: {} had given it to the same request {} before, and nothing was spent for it.",
            cached.provider,
            words::age(cached.age)
        );
    }
    if let Some((kind, name)) = Refuser::parse(&request.refused_by) {
        return format!(
            "The caller got {http} after {after}: {} turned it away.",
            words::refuser(kind, name)
        );
    }
    match request.outcome.as_str() {
        "ok" => answered(why, &causes),
        "client_error" => format!(
            "The caller got {http} after {after}, because of its own request: {}.",
            words::error(&request.code)
        ),
        "provider_error" if causes.is_empty() => {
            format!(
                "The caller got {http} after {after}, because of {}.",
                words::error(&request.code)
            )
        }
        "provider_error" => format!("The caller got {http} after {after}, because {because}."),
        "own_error" => {
            let more = if causes.is_empty() {
                String::new()
            } else {
                format!("; {because}")
            };
            format!(
                "The caller got {http} after {after}, because of Bowsprit or its configuration: {}{more}.",
                words::error(&request.code)
            )
        }
        "shed" => shed(why, &http),
        "cancelled" => left(request, &because),
        "cut" => format!(
            "The caller got a part of the answer and not its end: it broke off after {after}, because of {} at {}.",
            words::error(&request.code),
            at(request)
        ),
        other => format!("The request ended as {other} with {http} after {after}."),
    }
}

/// A kept answer, since every candidate was down.
fn stale(turn: &Turn, after: &str, because: &str) -> String {
    let down = if because.is_empty() {
        String::new()
    } else {
        format!(": {because}")
    };
    format!(
        "The caller got an answer that was kept {} before, from {}, after {after}, since every candidate was down{down}.",
        words::age(turn.wait.into()),
        turn.provider
    )
}

fn answered(why: &Why, causes: &[String]) -> String {
    let request = &why.listed.request;
    let first = request
        .first_token
        .map(|after| format!(" (the first words after {})", took(after)))
        .unwrap_or_default();
    let got = format!(
        "The caller got the whole answer after {}{first}, from {}",
        took(request.took),
        at(request)
    );
    let hedge = why.attempts_made.iter().find(|it| it.attempt.reason == "hedge");
    let raced = match hedge {
        None => String::new(),
        Some(it) if it.attempt.outcome == "answered" => {
            let slow = why
                .attempts_made
                .iter()
                .find(|other| other.attempt.number < it.attempt.number);
            let slow = slow.map_or("the first attempt", |it| it.attempt.provider.as_str());
            format!("{slow} was slow and the hedge at {} was faster", it.attempt.provider)
        }
        Some(it) => format!("it was faster than the hedge at {}", it.attempt.provider),
    };
    let mut causes = causes.to_vec();
    if !raced.is_empty() {
        causes.push(raced);
    }
    if causes.is_empty() {
        return match request.attempts {
            0 | 1 => format!("{got}, at the first attempt."),
            more => format!("{got}, {}.", words::times(more as usize)),
        };
    }
    format!("{got}, because {}.", words::and(&causes))
}

fn shed(why: &Why, http: &str) -> String {
    let request = &why.listed.request;
    let limited = |turn: &&Turn| turn.what == "passed_over" && turn.because == request.code;
    let mut places: Vec<String> = request
        .path
        .iter()
        .filter(limited)
        .map(|turn| turn.provider.clone())
        .collect();
    places.dedup();
    let at = if places.is_empty() {
        String::new()
    } else {
        format!(" at {}", words::and(&places))
    };
    let others = causes_but(why, "passed_over", &request.code);
    let others = if others.is_empty() {
        String::new()
    } else {
        format!("; {}", words::and(&others))
    };
    format!(
        "The caller was turned away with {http} after {}, because of {}{at}{others}.",
        took(request.took),
        words::error(&request.code)
    )
}

fn left(request: &Request, because: &str) -> String {
    let when = match (request.status, request.answer_bytes, request.provider.is_empty()) {
        (0, _, true) => "before anybody was asked".to_owned(),
        (0, _, false) => format!("while {} was being asked", at(request)),
        (_, 0, _) => format!("before it was sent any of the answer of {}", at(request)),
        (_, bytes, _) => format!(
            "in the middle of the answer of {}, of which it had been sent {} bytes",
            at(request),
            number(bytes)
        ),
    };
    let until_then = if because.is_empty() {
        String::new()
    } else {
        format!("; until then {because}")
    };
    format!("The caller left after {}, {when}{until_then}.", took(request.took))
}

fn at(request: &Request) -> String {
    match (request.provider.as_str(), request.model.as_str()) {
        ("", _) => "nobody".to_owned(),
        (provider, "") => provider.to_owned(),
        (provider, model) => format!("{provider} ({model})"),
    }
}

/// What went wrong at each candidate, in the order in which it first did: the same at the same one told once.
fn causes(why: &Why) -> Vec<String> {
    causes_but(why, "", "")
}

/// The same, but for one that is told elsewhere.
fn causes_but(why: &Why, but: &str, for_that: &str) -> Vec<String> {
    let mut seen: Vec<(&str, &str, &str, usize)> = Vec::new();
    let path = why.listed.request.path.iter();
    let turns = path.map(|turn| (turn.provider.as_str(), turn.what.as_str(), turn.because.as_str()));
    let attempts = why.attempts_made.iter().filter(|it| it.attempt.outcome == "failed");
    let attempts = attempts.map(|it| (it.attempt.provider.as_str(), "failed", it.attempt.code.as_str()));
    // The path has a bound and some failures are not turns: what attempts say beyond it counts as well.
    let told: Vec<_> = turns
        .filter(|(_, what, because)| matches!(*what, "failed" | "passed_over") && (*what, *because) != (but, for_that))
        .collect();
    let beyond: Vec<_> = attempts.filter(|cause| !told.contains(cause)).collect();
    for (provider, what, because) in told.into_iter().chain(beyond) {
        match seen
            .iter_mut()
            .find(|it| (it.0, it.1, it.2) == (provider, what, because))
        {
            Some(known) => known.3 += 1,
            None => seen.push((provider, what, because, 1)),
        }
    }
    let more = seen.len().saturating_sub(MOST);
    let mut causes: Vec<String> = seen
        .into_iter()
        .take(MOST)
        .map(|(provider, what, because, count)| match what {
            "failed" if count > 1 => format!(
                "{provider} failed {} with {}",
                words::times(count),
                words::error(because)
            ),
            "failed" => format!("{provider} failed with {}", words::error(because)),
            _ => format!("{provider} was passed over ({})", words::passed_over(because)),
        })
        .collect();
    if more > 0 {
        causes.push(format!("{more} more were of no use"));
    }
    causes
}
