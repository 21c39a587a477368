//! When each attempt of a request began and ended, on the request's own clock. Pure.
//!
//! The ledger has of an attempt when it ended by the node's clock, to a millisecond and never going back, and of a failure when it
//! was told, on the request's clock. The latter is exact, so it is taken where there is one.

use bowsprit_ledger::query::{ListedAttempt, Why};

/// An attempt on its request's clock, microseconds since the request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Its begin.
    pub(super) begin: u64,
    /// Its end.
    pub(super) end: u64,
}

/// The span of each attempt, in their order.
pub(super) fn spans(why: &Why) -> Vec<Span> {
    // A failure that was told belongs to the first failed attempt at its provider that has none yet.
    let failures = why.listed.request.path.iter().filter(|turn| turn.what == "failed");
    let mut told: Vec<(&str, u64)> = failures.map(|turn| (turn.provider.as_str(), turn.after)).collect();
    let mut ends: Vec<(usize, u64)> = Vec::new();
    let mut in_order: Vec<usize> = (0..why.attempts_made.len()).collect();
    in_order.sort_by_key(|index| why.attempts_made.get(*index).map(|it| (it.at, it.attempt.number)));
    for index in in_order {
        let Some(it) = why.attempts_made.get(index) else {
            continue;
        };
        let exact = (it.attempt.outcome == "failed")
            .then(|| told.iter().position(|(provider, _)| *provider == it.attempt.provider))
            .flatten()
            .map(|place| told.remove(place).1);
        ends.push((index, exact.unwrap_or_else(|| by_the_clock(why, it))));
    }
    ends.sort_unstable();
    let of = |(index, end): (usize, u64)| {
        let took = why.attempts_made.get(index).map_or(0, |it| it.attempt.took);
        let begin = end.saturating_sub(took);
        Span {
            begin,
            end: begin + took,
        }
    };
    ends.into_iter().map(of).collect()
}

fn by_the_clock(why: &Why, it: &ListedAttempt) -> u64 {
    let before_the_end = u64::try_from(why.listed.at.saturating_sub(it.at)).unwrap_or(0);
    let took = why.listed.request.took;
    took.saturating_sub(before_the_end.saturating_mul(1_000))
        .max(it.attempt.took)
}
