//! `anthropic-ratelimit-unified-*`: the windows of a subscription (five hours, seven days), told with every answer.
//!
//! They say `allowed`, `allowed_warning` or `rejected`, and when the window reopens; not how many requests are left. Only
//! a rejection of a window that the whole account shares counts here: the overall status may be about one class of models
//! (`7d_sonnet` and the like), and benching the account for it would cost what the other models could still serve. And
//! where a fallback percentage is told, a share of the requests is still served: that is the 429's business.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::value::{text, time};

static STATUS: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-status");
static RESET: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-reset");
static FALLBACK: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-fallback-percentage");

/// The windows that the whole account shares, as status and reset.
static WINDOWS: [(HeaderName, HeaderName); 2] = [
    (
        HeaderName::from_static("anthropic-ratelimit-unified-5h-status"),
        HeaderName::from_static("anthropic-ratelimit-unified-5h-reset"),
    ),
    (
        HeaderName::from_static("anthropic-ratelimit-unified-7d-status"),
        HeaderName::from_static("anthropic-ratelimit-unified-7d-reset"),
    ),
];

/// Whether an answer speaks of these windows at all.
pub(super) fn is_told(headers: &HeaderMap) -> bool {
    headers.contains_key(&STATUS)
}

/// How long the account is closed, by these windows; `None` where it is open. The last window to reopen counts: all of
/// them must allow a request.
pub(super) fn closed_for(headers: &HeaderMap, wall_unix_ms: u64) -> Option<Duration> {
    let rejected = |status: &HeaderName| text(headers, status) == Some("rejected");
    if !rejected(&STATUS) || served_in_part(headers) {
        return None;
    }
    let mut told = false;
    let mut closed = None;
    for (status, reset) in &WINDOWS {
        told |= headers.contains_key(status);
        if rejected(status) {
            closed = closed.max(time(headers, reset, wall_unix_ms));
        }
    }
    if told {
        closed
    } else {
        time(headers, &RESET, wall_unix_ms)
    }
}

fn served_in_part(headers: &HeaderMap) -> bool {
    let share = text(headers, &FALLBACK).and_then(|share| share.parse::<f64>().ok());
    share.is_some_and(|share| share > 0.0)
}
