//! `X-Request-ID`: the caller's where it is decent, ours otherwise; sent on, returned and logged. And the trace that the
//! caller says it belongs to.

use bowsprit_core::trace;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where a request stands in its trace.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest id taken from a caller.
const MAX: usize = 128;

/// A request's id. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's id if it is 1 to 128 visible ASCII characters, else a new one.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        match headers.get(X_REQUEST_ID) {
            Some(id) if (1..=MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic) => {
                Self(id.clone())
            }
            _ => Self::new(),
        }
    }

    /// A new one: 128 random bits in hex.
    pub fn new() -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0_u8; 32];
        let mut bits = fastrand::u128(..);
        for digit in &mut text {
            #[allow(clippy::indexing_slicing, reason = "four bits index sixteen digits")]
            let hex = HEX[usize::from((bits & 15) as u8)];
            *digit = hex;
            bits >>= 4;
        }
        // Owned as they are, so that no copy of the header copies them.
        let text = Bytes::from_owner(text);
        Self(HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static("0")))
    }

    /// The id of a request of ours that is made for that one: the other's, as far as there is room for it, and what it is for.
    pub fn of_ours(of: &str, what: &str) -> Self {
        let own: String = of.chars().take(MAX - what.len()).collect();
        HeaderValue::try_from(own + what).map_or_else(|_| Self::new(), Self)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("")
    }

    /// As a header.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// The trace id of a W3C `traceparent`: what joins our log with the caller's traces. The header itself passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    /// The caller's, if its `traceparent` is one: `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`, whatever version.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parts = headers.get(TRACEPARENT)?.to_str().ok()?.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let well_formed =
            is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
        let trace: [u8; 32] = trace.as_bytes().try_into().ok()?;
        (well_formed && trace != [b'0'; 32]).then_some(Self(trace))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}

impl From<trace::TraceId> for TraceId {
    fn from(id: trace::TraceId) -> Self {
        Self(id.hex())
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(value: &[u8]) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
        RequestId::from_headers(&headers)
    }

    #[test]
    fn a_decent_id_is_kept_and_any_other_replaced() {
        assert_eq!(from(b"abc-123").as_str(), "abc-123");
        for bad in [&b""[..], b"with space", b"\xe9", &[b'a'; 129]] {
            let id = from(bad);
            assert_eq!(id.as_str().len(), 32, "{bad:?}");
        }
        assert_ne!(RequestId::new().as_str(), RequestId::new().as_str());
    }

    #[test]
    fn a_trace_id_is_taken_from_a_well_formed_traceparent_only() {
        let from = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_str(value).unwrap());
            TraceId::from_headers(&headers).map(|id| id.as_str().to_owned())
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(from(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        assert_eq!(
            from(&format!("01-{id}-00f067aa0ba902b7-01-more")).as_deref(),
            Some(id),
            "a later version"
        );
        for bad in [
            String::new(),
            "00-4bf9-00f067aa0ba902b7-01".into(),
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-{id}-00f067aa0ba902b7"),
            format!("00-{id}\"-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(from(&bad), None, "{bad}");
        }
        assert_eq!(TraceId::from_headers(&HeaderMap::new()), None);
    }
}
