//! One header value to a wait, in every spelling that providers use.

use super::date;
use http::{HeaderMap, HeaderName};
use std::time::Duration;

/// The longest wait that is believed. Daily limits reset later than that; asking once an hour is soon enough and cheap.
pub const MAX_WAIT: Duration = Duration::from_hours(1);

/// From here on a plain number is a Unix time: as a number of seconds it would be a wait of thirty years.
const EPOCH_SECONDS: f64 = 1e9;

/// From here on it is a Unix time in milliseconds.
const EPOCH_MILLIS: f64 = 1e12;

/// Seconds (`34`, `0.5`), a Unix time in seconds or milliseconds, a Go duration (`6m0s`, `12ms`), RFC 3339, or an HTTP
/// date. `None` for what is none of these, and for negative numbers; a time in the past is no wait at all.
pub(super) fn wait(text: &str, wall_unix_ms: u64) -> Option<Duration> {
    let wait = match decimal(text) {
        Some(number) if number >= EPOCH_MILLIS => until(number / 1e3, wall_unix_ms),
        Some(number) if number >= EPOCH_SECONDS => until(number, wall_unix_ms),
        Some(seconds) => seconds_of(seconds),
        None => go_duration(text).or_else(|| {
            let unix_ms = date::parse(text, wall_unix_ms)?;
            Some(Duration::from_millis(
                u64::try_from(unix_ms).unwrap_or(0).saturating_sub(wall_unix_ms),
            ))
        })?,
    };
    Some(wait.min(MAX_WAIT))
}

/// A number of milliseconds.
pub(super) fn millis(text: &str) -> Option<Duration> {
    decimal(text).map(|millis| seconds_of(millis / 1e3).min(MAX_WAIT))
}

fn until(unix_seconds: f64, wall_unix_ms: u64) -> Duration {
    seconds_of(unix_seconds - wall_unix_ms as f64 / 1e3)
}

fn seconds_of(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, MAX_WAIT.as_secs_f64())).unwrap_or_default()
}

/// Digits with at most one point: neither signs nor exponents nor `inf`, which `f64`'s own parser would take.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain && text.bytes().any(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// Go's `time.Duration`: numbers with units, such as `1h2m3.5s`; also a bare `0`, which `decimal` has taken already.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let unit = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit)?;
        let seconds = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += decimal(number)? * seconds;
        rest = after;
    }
    (!text.is_empty()).then(|| seconds_of(total))
}

/// A header as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    std::str::from_utf8(headers.get(name)?.as_bytes()).ok().map(str::trim) // not `to_str`: Go writes `µs`
}

/// A header as a wait.
pub(super) fn time(headers: &HeaderMap, name: &HeaderName, wall_unix_ms: u64) -> Option<Duration> {
    wait(text(headers, name)?, wall_unix_ms)
}
