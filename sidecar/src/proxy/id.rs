//! `X-Request-ID`: the caller's where it is decent, ours otherwise; sent on, returned and logged.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
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
        Self(HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("0")))
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
}
