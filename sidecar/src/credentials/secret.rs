//! An API key: a type that cannot be printed, whose bytes only this folder can name.
//!
//! The header values are made once per key and share their bytes with every request; the bytes are wiped when the last
//! user drops them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

/// From this length on, the end of a key alone says which it is: no vendor's key is shorter.
const LONG_KEY: usize = 20;
/// Characters of that end. Random ones stand in no other text.
const ENDING: usize = 8;

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

    /// Whether a text tells the key in any form that servers are known to repeat one in: as it is, its end alone (what
    /// masking leaves), percent-encoded, in base64. Slower than [`Self::is_in`], and for texts of errors only.
    pub fn is_told_in(&self, text: &[u8]) -> bool {
        let key = self.bare.as_bytes();
        if memchr::memmem::find(text, ending(key)).is_some() {
            return true;
        }
        let text_has = |form: Zeroizing<Vec<u8>>| !form.is_empty() && memchr::memmem::find(text, &form).is_some();
        text_has(percent_encoded(key)) || (0..3).any(|before| text_has(in_base64(key, before)))
    }
}

/// Of a long key its last characters, which are enough to know it by; of a short one all.
fn ending(key: &[u8]) -> &[u8] {
    let from = if key.len() >= LONG_KEY { key.len() - ENDING } else { 0 };
    key.get(from..).unwrap_or(key)
}

/// As it stands in a URL or a form. Empty where that is how it is written anyway.
fn percent_encoded(key: &[u8]) -> Zeroizing<Vec<u8>> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |of: u8| HEX.get(usize::from(of)).copied().unwrap_or_default();
    let mut out = Zeroizing::new(Vec::with_capacity(key.len() * 3));
    for byte in key {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            out.push(*byte);
        } else {
            out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    if out.len() == key.len() {
        out.clear();
    }
    out
}

/// What a base64 text has of the key, whatever stands around it, where the bytes before it leave this remainder to a multiple
/// of three. Its first and last characters share bits with the neighbours and are left out.
fn in_base64(key: &[u8], before: usize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(before + key.len()));
    bytes.resize(before, 0);
    bytes.extend_from_slice(key);
    let mut text = Zeroizing::new(STANDARD_NO_PAD.encode(&*bytes).into_bytes());
    let whole = bytes.len() / 3 * 4;
    text.truncate(whole);
    Zeroizing::new(text.get(if before == 0 { 0 } else { 4 }..).unwrap_or_default().to_vec())
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
    fn a_key_is_known_in_every_form_that_a_server_may_repeat() {
        let text = "sk-canary-91c4+e/70bd=26";
        let key = ApiKey::parse(text).unwrap();
        let form = |before: &str| STANDARD_NO_PAD.encode(format!("{before}{text} and more"));
        for told in [
            text.to_owned(),
            "sk-****/70bd=26".to_owned(),
            "key=sk-canary-91c4%2Be%2F70bd%3D26".to_owned(),
            form(""),
            form("x"),
            form("Bearer "),
            form("ab"),
        ] {
            assert!(key.is_told_in(format!("bad key: {told}.").as_bytes()), "{told}");
        }
        for other in ["sk-canary-91c4", "sk-canary-****", "key=", ""] {
            assert!(!key.is_told_in(other.as_bytes()), "{other}");
        }
        let short = ApiKey::parse("key-of-claude").unwrap();
        assert!(!short.is_told_in(b"claude") && short.is_told_in(b"no key-of-claude here"));
    }

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
