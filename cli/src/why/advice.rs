//! What the codes mean, and what to do. Pure.

use bowsprit_core::fault::Code;
use bowsprit_ledger::entry::{ANSWERED_STALE, Turn};
use bowsprit_ledger::query::Why;
use serde::Serialize;

use super::words;
use crate::explain;

/// An error of this request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meant {
    /// Its code.
    pub(super) code: String,
    /// What it means, whose fault it is, whether it passes.
    pub(super) meaning: String,
}

/// Each code once, in the order in which they came.
pub(super) fn meant(why: &Why) -> Vec<Meant> {
    codes(why)
        .into_iter()
        .map(|code| Meant {
            meaning: explain::of(code).map_or_else(
                || "A code of another release; its `kubectl bowsprit explain` knows it.".to_owned(),
                words::meaning,
            ),
            code: code.to_owned(),
        })
        .collect()
}

fn codes(why: &Why) -> Vec<&str> {
    let request = &why.listed.request;
    let has_code = |turn: &&Turn| turn.what != "waited" && turn.what != ANSWERED_STALE;
    let turns = request.path.iter().filter(has_code);
    let turns = turns.map(|turn| turn.because.as_str());
    let attempts = why.attempts_made.iter().map(|it| it.attempt.code.as_str());
    let mut codes: Vec<&str> = Vec::new();
    for code in turns.chain(attempts).chain([request.code.as_str()]) {
        // Codes are upper case; other reasons are words.
        let is_code = code.starts_with(|first: char| first.is_ascii_uppercase());
        if is_code && !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes
}

/// What to do, the most telling first, each once.
pub(super) fn advice(why: &Why) -> Vec<String> {
    let mut advice: Vec<String> = Vec::new();
    let mut say = |what: String| {
        if !advice.contains(&what) {
            advice.push(what);
        }
    };
    let listed = &why.listed;
    let namespace = &listed.namespace;
    if listed.request.outcome == "cancelled" {
        say("The caller did not wait for it: compare its timeout with how long the attempts took.".to_owned());
    }
    for turn in listed.request.path.iter().filter(|turn| turn.what == "passed_over") {
        if let Some(what) = about(turn, namespace) {
            say(what);
        }
    }
    // The last code is the one that the caller has; remedies before it made it come to that.
    for code in codes(why).into_iter().filter_map(explain::of) {
        let limits = if code == Code::RateLocalLimit {
            limits(why)
        } else {
            Vec::new()
        };
        if limits.is_empty() {
            say(format!("{code}: {}.", code.remedy()));
        }
        for limit in limits {
            say(format!("{code}: slow down, or raise {limit}."));
        }
    }
    let attempts = || why.attempts_made.iter().map(|it| &it.attempt);
    if attempts().any(|it| it.cost.is_none() && !it.tokens_unknown) {
        say("A price is not known: give the model a price in its ProviderConfig, and its cost is told.".to_owned());
    }
    advice
}

/// The limits that were reached, each with where it stands.
fn limits(why: &Why) -> Vec<String> {
    let request = &why.listed.request;
    let named = request.refused_by.strip_prefix("limit:").map(|name| {
        let route = if request.route.is_empty() {
            String::new()
        } else {
            format!("ModelRoute {} or of ", request.route)
        };
        format!("the limit {name} in spec.limits of {route}a UsagePolicy")
    });
    let of_provider = |turn: &&Turn| turn.what == "passed_over" && turn.because == Code::RateLocalLimit.as_str();
    let of_providers = request.path.iter().filter(of_provider);
    let of_providers = of_providers.map(|turn| format!("spec.rateLimits of ProviderConfig {}", turn.provider));
    named.into_iter().chain(of_providers).collect()
}

fn about(turn: &Turn, namespace: &str) -> Option<String> {
    let provider = &turn.provider;
    Some(match turn.because.as_str() {
        "circuit_open" => format!(
            "{provider}: kubectl bowsprit circuit status {provider} -n {namespace} says whether its circuit is still open; \
             kubectl bowsprit test {provider} -n {namespace} asks it once."
        ),
        "unhealthy" | "no_headroom" | "retry_budget" => {
            format!("{provider}: kubectl bowsprit health --provider {provider} -n {namespace} says how it is now.")
        }
        "no_key" => format!(
            "{provider}: kubectl bowsprit doctor -n {namespace} says what is wrong with its Secret; \
             kubectl bowsprit health --provider {provider} -n {namespace} says which keys are set aside."
        ),
        "unsupported" => format!("{provider}: its API cannot carry this request; docs/fidelity.md says what each can."),
        _ => return None,
    })
}
