//! Entries added up: what is left of detail for which there is no room. Pure: what goes in comes out, in fewer numbers.

use std::collections::BTreeMap;

use bowsprit_core::clock::micros;
use bowsprit_core::record::{AttemptRecord, RequestRecord, Spent};

use super::text::{are_tokens_unknown, clipped, priced};
use crate::entry::{Attempt, Cost, Entry, Numbered, Request, Sum, Tokens};

/// What stands for a name where there are too many.
const OTHER: &str = "other";
/// The price version of a sum over several.
const SEVERAL: &str = "several";
/// Sums that are held in memory of each grain. Beyond it new ones are of the next: by hour, by day, and at last by month without
/// models and routes. What is left are providers and outcomes, which are few.
const MOST_OF_A_GRAIN: usize = 1_024;

/// The spans that entries are added up over: each is used when the sums of the one before are too many themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// Thirty days, and all models and routes together: providers and outcomes are few.
    Month,
}

impl Grain {
    /// From fine to coarse.
    pub(super) const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::Month];

    /// Its minutes.
    pub(super) fn minutes(self) -> i64 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 24 * 60,
            Self::Month => 30 * 24 * 60,
        }
    }

    /// What the sum is counted under in this grain. The sum itself keeps its minute: it is never told to be older than what is in it.
    fn key(self, sum: &mut Sum) -> Key {
        if self == Self::Month {
            for name in [&mut sum.route, &mut sum.model] {
                OTHER.clone_into(name);
            }
        }
        Key {
            of: sum.of.clone(),
            begin: sum.minute - sum.minute.rem_euclid(self.minutes()),
            route: sum.route.clone(),
            provider: sum.provider.clone(),
            model: sum.model.clone(),
            outcome: sum.outcome.clone(),
        }
    }
}

/// Sums by what they are of.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(BTreeMap<Key, Sum>);

/// What a sum is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    of: String,
    /// Of its minute, hour, day or month.
    begin: i64,
    route: String,
    provider: String,
    model: String,
    outcome: String,
}

impl Sums {
    /// Adds one. However many there are, memory is bounded and nothing is left out.
    pub(super) fn add(&mut self, mut sum: Sum) {
        let mut most = 0;
        for grain in Grain::ALL {
            most += MOST_OF_A_GRAIN;
            let key = grain.key(&mut sum);
            if let Some(known) = self.0.get_mut(&key) {
                return absorb(known, &sum);
            }
            if self.0.len() < most || grain == Grain::Month {
                self.0.insert(key, sum);
                return;
            }
        }
    }

    /// Adds all of another's.
    pub(super) fn add_all(&mut self, others: Self) {
        others.0.into_values().for_each(|sum| self.add(sum));
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in an order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Sum> {
        self.0.values()
    }
}

/// Folds entries into sums. A sum takes the sequence and the time of the first entry that it replaces, so
/// that order stays; what tells of no request (headroom) is given up.
pub(super) fn fold(entries: impl IntoIterator<Item = Numbered>, grain: Grain) -> Vec<Numbered> {
    let mut sums: BTreeMap<Key, (u64, i64, Sum)> = BTreeMap::new();
    for Numbered { sequence, at, entry } in entries {
        let Some(mut sum) = sum_of(at, &entry) else { continue };
        let key = grain.key(&mut sum);
        match sums.get_mut(&key) {
            Some((_, _, known)) => absorb(known, &sum),
            None => drop(sums.insert(key, (sequence, at, sum))),
        }
    }
    let entry = |(sequence, at, sum)| Numbered {
        sequence,
        at,
        entry: Entry::Sum(Box::new(sum)),
    };
    let mut folded: Vec<Numbered> = sums.into_values().map(entry).collect();
    folded.sort_unstable_by_key(|entry| entry.sequence);
    folded
}

/// The minute of a time in milliseconds.
pub(super) fn minute_of(at: i64) -> i64 {
    at.div_euclid(60_000)
}

/// An entry as a sum of one.
pub(super) fn sum_of(at: i64, entry: &Entry) -> Option<Sum> {
    match entry {
        Entry::Request(request) => Some(of_request(at, request)),
        Entry::Attempt(attempt) => Some(of_attempt(at, attempt)),
        Entry::Sum(sum) => Some((**sum).clone()),
        Entry::Headroom(_) => None,
    }
}

fn of_request(at: i64, request: &Request) -> Sum {
    Sum {
        of: "request".into(),
        minute: minute_of(at),
        route: request.route.clone(),
        provider: request.provider.clone(),
        model: request.model.clone(),
        outcome: request.outcome.clone(),
        count: 1,
        took: request.took,
        tokens: request.tokens,
        ..Sum::default()
    }
}

fn of_attempt(at: i64, attempt: &Attempt) -> Sum {
    Sum {
        of: "attempt".into(),
        minute: minute_of(at),
        route: attempt.route.clone(),
        provider: attempt.provider.clone(),
        model: attempt.model.clone(),
        outcome: attempt.outcome.clone(),
        count: 1,
        took: attempt.took,
        tokens: attempt.tokens,
        tokens_unknown: u64::from(attempt.tokens_unknown),
        cost: attempt.cost.clone().unwrap_or_default(),
        cost_unknown: u64::from(attempt.is_cost_unknown()),
    }
}

/// A request's record as a sum of one: the same as of its entry.
pub(super) fn of_request_record(at: i64, record: &RequestRecord<'_>) -> Sum {
    Sum {
        of: "request".into(),
        minute: minute_of(at),
        route: clipped(record.route).into_owned(),
        provider: clipped(record.provider).into_owned(),
        model: clipped(record.model).into_owned(),
        outcome: record.outcome.as_str().into(),
        count: 1,
        took: micros(record.took),
        tokens: tokens(&record.spent),
        ..Sum::default()
    }
}

/// An attempt's record as a sum of one: the same as of its entry.
pub(super) fn of_attempt_record(at: i64, record: &AttemptRecord<'_>) -> Sum {
    let (tokens, tokens_unknown) = (tokens(&record.spent), are_tokens_unknown(record));
    let cost = priced(record).map(|cost| Cost {
        reported: cost.reported.get(),
        estimated: cost.estimated.get(),
        version: cost.version.to_owned(),
    });
    Sum {
        of: "attempt".into(),
        minute: minute_of(at),
        route: clipped(record.route).into_owned(),
        provider: clipped(record.provider).into_owned(),
        model: clipped(record.model).into_owned(),
        outcome: record.outcome.as_str().into(),
        count: 1,
        took: micros(record.took),
        tokens,
        tokens_unknown: u64::from(tokens_unknown),
        cost_unknown: u64::from(cost.is_none() && tokens.may_cost(tokens_unknown)),
        cost: cost.unwrap_or_default(),
    }
}

fn tokens(spent: &Spent) -> Tokens {
    let told = spent.reported.unwrap_or_default();
    Tokens {
        input: told.input,
        output: told.output,
        cached: told.cached,
        cache_write: told.cache_write,
        reasoning: told.reasoning,
        estimated_input: spent.estimated_input,
        estimated_output: spent.estimated_output,
    }
}

/// Adds another one of the same. Its minute is the first of what is in it.
fn absorb(sum: &mut Sum, other: &Sum) {
    sum.minute = sum.minute.min(other.minute);
    let (mine, its) = (&mut sum.tokens, &other.tokens);
    for (total, more) in [
        (&mut sum.count, other.count),
        (&mut sum.took, other.took),
        (&mut sum.tokens_unknown, other.tokens_unknown),
        (&mut sum.cost_unknown, other.cost_unknown),
        (&mut mine.input, its.input),
        (&mut mine.output, its.output),
        (&mut mine.cached, its.cached),
        (&mut mine.cache_write, its.cache_write),
        (&mut mine.reasoning, its.reasoning),
        (&mut mine.estimated_input, its.estimated_input),
        (&mut mine.estimated_output, its.estimated_output),
    ] {
        *total = total.saturating_add(more);
    }
    sum.cost.reported = sum.cost.reported.saturating_add(other.cost.reported);
    sum.cost.estimated = sum.cost.estimated.saturating_add(other.cost.estimated);
    if sum.cost.version.is_empty() {
        sum.cost.version.clone_from(&other.cost.version);
    } else if !other.cost.version.is_empty() && other.cost.version != sum.cost.version {
        SEVERAL.clone_into(&mut sum.cost.version);
    }
}
