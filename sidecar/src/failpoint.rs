//! Panics on demand, for tests: what a bug inside one request, or one part of the sidecar, costs must be shown, not hoped.
//!
//! Only with the cargo feature `failpoints`, which no released binary is built with; without it a call is nothing. A test
//! names the place in the header `x-bowsprit-failpoint`, or in a comment of the configuration.

use http::HeaderMap;

/// While a request is taken in.
pub const ADMIT: &str = "panic-in-admit";
/// While a provider is asked, with permits held.
pub const ATTEMPT: &str = "panic-in-attempt";
/// While an answer is relayed, after its first piece.
pub const STREAM: &str = "panic-in-stream";
/// While a configuration is loaded.
pub const LOAD: &str = "panic-in-load";

/// Whether this request is to panic here.
#[cfg(feature = "failpoints")]
pub fn asked(headers: &HeaderMap, point: &str) -> bool {
    headers.get("x-bowsprit-failpoint").is_some_and(|asked| asked == point)
}

/// Whether this request is to panic here: never.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn asked(_headers: &HeaderMap, _point: &str) -> bool {
    false
}

/// Panics where this request asks for it.
///
/// # Panics
/// That is what it is for.
#[inline]
pub fn hit(headers: &HeaderMap, point: &str) {
    assert!(!asked(headers, point), "failpoint {point}");
}

/// Panics where this text asks for it.
///
/// # Panics
/// That is what it is for.
#[inline]
pub fn hit_in(text: &str, point: &str) {
    let is_asked = cfg!(feature = "failpoints") && text.contains("x-bowsprit-failpoint") && text.contains(point);
    assert!(!is_asked, "failpoint {point}");
}
