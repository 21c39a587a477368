//! Providers' headers: a wait is never longer than is believed, and room is never made up.

use std::time::Duration;

use bowsprit_core::clock::Moment;
use bowsprit_core::headroom::{Headroom, MAX_WAIT, retry_after};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::chance;

/// 2026-11-06T08:49:37Z, in milliseconds.
const WALL: u64 = 1_793_954_977_000;

pub(crate) fn waits(input: &[u8]) {
    let headers = read(input);
    let mut rng = chance(input);
    let wall = [WALL, 0, u64::MAX, rng.u64(..)][rng.usize(..4)];
    let now = Moment::from_start(Duration::from_secs(rng.u64(..1 << 32)));
    assert!(
        retry_after(&headers, wall).is_none_or(|wait| wait <= MAX_WAIT),
        "a wait beyond belief"
    );
    let mut headroom = Headroom::default();
    headroom.observe(&headers, now, wall);
    let later = Moment::from_start(now.since_start() + Duration::from_millis(rng.u64(..1 << 40)));
    for at in [now, later] {
        assert!(
            headroom.exhausted_for(at).is_none_or(|wait| wait <= MAX_WAIT),
            "exhausted beyond belief"
        );
        for tokens in [0, 1, u64::MAX] {
            assert!(
                headroom.short_for(tokens, at).is_none_or(|wait| wait <= MAX_WAIT),
                "short beyond belief"
            );
        }
    }
    let end = Moment::from_start(now.since_start() + MAX_WAIT + Duration::from_secs(1));
    assert_eq!(headroom.exhausted_for(end), None, "a wait that does not end");
    headroom.observe(&HeaderMap::new(), later, wall);
    let _ = (headroom.requests_left(), headroom.tokens_left());
}

/// `name: value` lines; what no header can be is left out, as hyper would have refused it.
fn read(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}
