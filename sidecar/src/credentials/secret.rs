//! An API key: a type that cannot be printed, whose bytes only this folder can name.
//!
//! The header values are made once per key and share their bytes with every request; the bytes are wiped when the last
//! user drops them.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

/// Why a text is no key. Never contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Nothing but white space.
    #[error("is empty")]
    Empty,
    /// A byte that no header may carry.
    #[error("holds a character that no HTTP header may carry (is it a file of another kind, or two lines?)")]
    NotAHeader,
}

/// A provider key. Wiped on drop; prints as `ApiKey(..)`.
#[derive(Clone)]
pub struct ApiKey {
    /// The header values made from it, ready to send and marked sensitive.
    bearer: HeaderValue,
    bare: HeaderValue,
}

impl ApiKey {
    /// Takes the key out of a file's or variable's text: surrounding white space (editors add a newline) is not part of it.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let text = text.trim();
        if text.is_empty() {
            return Err(BadKey::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadKey::NotAHeader);
        }
        Ok(Self {
            bearer: sensitive(&["Bearer ", text])?,
            bare: sensitive(&[text])?,
        })
    }

    /// `Bearer <key>`, for `Authorization`.
    pub(super) fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }

    /// The key alone, for `x-api-key` and `x-goog-api-key`.
    pub(super) fn bare(&self) -> HeaderValue {
        self.bare.clone()
    }
}

impl ApiKey {
    /// Whether a text quotes the key.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        let key = self.bare.as_bytes();
        // Most header values are shorter than a key.
        text.len() >= key.len() && memchr::memmem::find(text, key).is_some()
    }
}

impl PartialEq for ApiKey {
    fn eq(&self, other: &Self) -> bool {
        self.bare == other.bare
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

fn sensitive(parts: &[&str]) -> Result<HeaderValue, BadKey> {
    // The exact capacity first: growing would leave copies of the key behind in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        bytes.extend_from_slice(part.as_bytes());
    }
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(Wiped(bytes))).map_err(|_| BadKey::NotAHeader)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Owner of a header value's bytes: wipes them when the last clone of the header is gone.
struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_prints() {
        let key = ApiKey::parse("sk-canary-123\n").unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(..)");
        assert!(!format!("{:?} {:?}", key.bearer(), key.bare()).contains("canary"));
        assert_eq!(key.bearer().as_bytes(), b"Bearer sk-canary-123");
        assert_eq!(ApiKey::parse(" \n").unwrap_err(), BadKey::Empty);
        assert_eq!(ApiKey::parse("two\nlines").unwrap_err(), BadKey::NotAHeader);
    }
}
