//! What a provider says in its headers about its own limits: how much is left, and when there will be more.
//!
//! [`Headroom`] remembers the last word on each limit, so that the plan can wait or divert *before* the 429.
//! [`retry_after`] reads how long to wait *after* one. Both read every spelling in use (`headroom/value.rs`): seconds,
//! milliseconds, Go durations, Unix times, RFC 3339, HTTP dates; and both trust none of it: what makes no sense says
//! nothing, no wait is negative and none is longer than [`MAX_WAIT`].

use crate::clock::Moment;
use http::{HeaderMap, HeaderName};
use std::time::Duration;

mod date;
mod unified;
mod value;

pub use value::MAX_WAIT;
use value::{text, time};

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Requests,
    Tokens,
}

/// The headers of one limit.
struct Names {
    unit: Unit,
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
    /// The reset is the time until the bucket is *full*, so one unit is there sooner; else the end of a fixed window.
    until_full: bool,
}

macro_rules! names {
    ($unit:ident, $until_full:literal, $limit:literal, $remaining:literal, $reset:literal) => {
        Names {
            unit: Unit::$unit,
            limit: HeaderName::from_static($limit),
            remaining: HeaderName::from_static($remaining),
            reset: HeaderName::from_static($reset),
            until_full: $until_full,
        }
    };
}

/// What the names of all of them begin with.
const BRANDS: [&str; 2] = ["x-ratelimit-", "anthropic-ratelimit-"];
const LIMITS: usize = 9;

/// Every limit we know how to read: OpenAI (and who copies it), its project variant, Cerebras' windows, Anthropic.
/// Anthropic's priority tier is left out: when it is used up, requests fall back to the standard tier and are served.
static NAMES: [Names; LIMITS] = [
    names!(
        Requests,
        true,
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests"
    ),
    names!(
        Tokens,
        true,
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens"
    ),
    names!(
        Tokens,
        true,
        "x-ratelimit-limit-tokens_usage_based",
        "x-ratelimit-remaining-tokens_usage_based",
        "x-ratelimit-reset-tokens_usage_based"
    ),
    names!(
        Requests,
        false,
        "x-ratelimit-limit-requests-day",
        "x-ratelimit-remaining-requests-day",
        "x-ratelimit-reset-requests-day"
    ),
    names!(
        Tokens,
        false,
        "x-ratelimit-limit-tokens-minute",
        "x-ratelimit-remaining-tokens-minute",
        "x-ratelimit-reset-tokens-minute"
    ),
    names!(
        Requests,
        true,
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset"
    ),
    names!(
        Tokens,
        true,
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset"
    ),
    names!(
        Tokens,
        true,
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset"
    ),
    names!(
        Tokens,
        true,
        "anthropic-ratelimit-output-tokens-limit",
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset"
    ),
];

/// The last word on one limit.
#[derive(Clone, Copy, Debug)]
struct Reading {
    unit: Unit,
    remaining: u64,
    /// The limit itself, where one unit may be there before the whole is.
    of: Option<u64>,
    reset: Duration,
    at: Moment,
}

impl Reading {
    /// How long from `now` until `need` units are there; `None` where they are.
    fn wait(&self, need: u64, now: Moment) -> Option<Duration> {
        if self.remaining >= need {
            return None;
        }
        let share = match self.of {
            Some(of) if of > self.remaining => {
                (need.min(of) - self.remaining) as f64 / (of - self.remaining) as f64 // in 0..=1
            }
            _ => 1.0,
        };
        let left = self.reset.mul_f64(share).saturating_sub(now - self.at);
        (!left.is_zero()).then_some(left)
    }
}

/// How often what a provider tells of a key's limits is told on, at most.
pub const TELL_EVERY: Duration = Duration::from_mins(1);

/// What is known of one provider key's room.
#[derive(Clone, Debug, Default)]
pub struct Headroom {
    /// When it was told on last.
    told_at: Option<Moment>,
    readings: [Option<Reading>; LIMITS],
    /// A subscription's windows, where one of them is used up.
    unified: Option<Reading>,
}

impl Headroom {
    /// Takes the headers of any answer, good or bad. Limits that it does not mention keep their last word. Returns whether they are to
    /// be told on ([`limits`]): they tell of some, and it is [`TELL_EVERY`] since any were.
    pub fn observe(&mut self, headers: &HeaderMap, now: Moment, wall_unix_ms: u64) -> bool {
        // Reading the few names there are costs less than looking up every one there could be.
        let told = BRANDS.map(|brand| headers.keys().any(|name| name.as_str().starts_with(brand)));
        if !told.contains(&true) {
            return false;
        }
        for (names, slot) in NAMES.iter().zip(&mut self.readings) {
            if let Some(remaining) = count(headers, &names.remaining) {
                *slot = Some(Reading {
                    unit: names.unit,
                    remaining,
                    of: count(headers, &names.limit).filter(|_| names.until_full),
                    reset: time(headers, &names.reset, wall_unix_ms).unwrap_or_default(),
                    at: now,
                });
            }
        }
        if unified::is_told(headers) {
            self.unified = unified::closed_for(headers, wall_unix_ms).map(|reset| Reading {
                unit: Unit::Requests,
                remaining: 0,
                of: None,
                reset,
                at: now,
            });
        }
        let is_due = self.told_at.is_none_or(|told_at| now - told_at >= TELL_EVERY);
        if is_due {
            self.told_at = Some(now);
        }
        is_due
    }

    fn known(&self) -> impl Iterator<Item = &Reading> {
        self.readings.iter().chain([&self.unified]).flatten()
    }

    /// How long until the provider takes a request again, by its own word; `None` where it takes one now.
    pub fn exhausted_for(&self, now: Moment) -> Option<Duration> {
        self.short_for(1, now)
    }

    /// The same for a request of `tokens` tokens: a provider with fewer left is waited for as well. One that asks for
    /// more than the whole limit waits until the limit is whole.
    pub fn short_for(&self, tokens: u64, now: Moment) -> Option<Duration> {
        let need = |unit| if unit == Unit::Requests { 1 } else { tokens.max(1) };
        self.known()
            .filter_map(|reading| reading.wait(need(reading.unit), now))
            .max()
    }

    /// The smallest number of requests left that the provider last spoke of.
    pub fn requests_left(&self) -> Option<u64> {
        self.left(Unit::Requests)
    }

    /// The smallest number of tokens left that the provider last spoke of.
    pub fn tokens_left(&self) -> Option<u64> {
        self.left(Unit::Tokens)
    }

    fn left(&self, unit: Unit) -> Option<u64> {
        self.known()
            .filter(|reading| reading.unit == unit)
            .map(|reading| reading.remaining)
            .min()
    }
}

/// A limit as headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted: one of [`COUNTED`].
    pub what: &'static str,
    /// How much there is in a window, where that is told.
    pub limit: Option<u64>,
    /// How much of it is left.
    pub remaining: u64,
    /// Until it is whole again, where that is told.
    pub reset: Option<Duration>,
}

/// What limits count.
pub const COUNTED: [&str; 4] = ["requests", "tokens", "input_tokens", "output_tokens"];

/// The limits that headers tell of, one of each kind: where there are several, the one with the least left.
pub fn limits(headers: &HeaderMap, wall_unix_ms: u64) -> impl Iterator<Item = Limit> {
    COUNTED.into_iter().filter_map(move |what| {
        let told = NAMES
            .iter()
            .filter(|names| names.counted() == what)
            .filter_map(|names| {
                Some(Limit {
                    what,
                    limit: count(headers, &names.limit),
                    remaining: count(headers, &names.remaining)?,
                    reset: time(headers, &names.reset, wall_unix_ms),
                })
            });
        told.min_by_key(|limit| limit.remaining)
    })
}

impl Names {
    /// One of [`COUNTED`].
    fn counted(&self) -> &'static str {
        let name = self.remaining.as_str();
        match self.unit {
            Unit::Requests => "requests",
            Unit::Tokens if name.contains("input-tokens") => "input_tokens",
            Unit::Tokens if name.contains("output-tokens") => "output_tokens",
            Unit::Tokens => "tokens",
        }
    }
}

/// How long the provider asks to wait, from the headers of a 429, 503 or 529. The plainest word wins: `retry-after-ms`,
/// `x-ms-retry-after-ms`, `retry-after`, `x-ratelimit-reset`, then the longest reset of the limits that are used up, then
/// that of a subscription's windows.
/// (Gemini says it in the body: `dialect::parse_error`.)
pub fn retry_after(headers: &HeaderMap, wall_unix_ms: u64) -> Option<Duration> {
    let millis = |name| text(headers, &name).and_then(value::millis);
    millis(HeaderName::from_static("retry-after-ms"))
        .or_else(|| millis(HeaderName::from_static("x-ms-retry-after-ms")))
        .or_else(|| time(headers, &http::header::RETRY_AFTER, wall_unix_ms))
        .or_else(|| time(headers, &HeaderName::from_static("x-ratelimit-reset"), wall_unix_ms))
        .or_else(|| used_up(headers, wall_unix_ms))
        .or_else(|| unified::closed_for(headers, wall_unix_ms))
}

/// The longest reset of those limits that are used up. Where a provider tells resets but not what is left, any of them
/// may be the one; the shortest is the soonest that asking again can help.
fn used_up(headers: &HeaderMap, wall_unix_ms: u64) -> Option<Duration> {
    let resets = |used_up: bool| {
        NAMES.iter().filter_map(move |names| {
            let told = match count(headers, &names.remaining) {
                Some(remaining) => used_up && remaining == 0,
                None => !used_up,
            };
            told.then(|| time(headers, &names.reset, wall_unix_ms)).flatten()
        })
    };
    resets(true).max().or_else(|| resets(false).min())
}

/// A count; -1, as some Azure answers say, is no count.
fn count(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

#[cfg(test)]
mod tests;
