//! Thoughts that one provider signed, carried through a caller that speaks another dialect, and back.
//!
//! Providers want their own thoughts back, with the signature as they gave it, and refuse those of others. A caller keeps
//! what its dialect has a place for: `Anthropic`'s `thinking` and `redacted_thinking` blocks, `Gemini`'s
//! `thoughtSignature`. So a foreign signature travels there as base64 of `bowsprit-v1:ORIGIN:SIGNATURE`. When the
//! conversation goes on, the one whose it is gets it back bare, another dialect's provider never sees it, and
//! [`super::without_foreign_thoughts`] takes it out where caller and provider speak the same dialect and the body would
//! otherwise pass untouched.
//!
//! In the common model `Anthropic`'s signatures stand bare, all others wrapped.

use std::borrow::Cow;

use crate::json::{Value, json};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Twelve bytes, so that their base64 is the same whatever follows.
const PREFIX: &str = "bowsprit-v1:";
/// The base64 of [`PREFIX`]: what to look for in a body.
pub(super) const WRAPPED: &[u8] = b"Ym93c3ByaXQtdjE6";

/// SDKs that hold signatures as bytes write them again with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whose signature it is, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody's: the thought was not signed.
    Unsigned,
    /// `Gemini`'s, of a text or thought.
    Gemini,
    /// `Gemini`'s, of the tool call that follows.
    GeminiCall,
    /// `Anthropic`'s, of a thought.
    Anthropic,
    /// `Anthropic`'s redacted thought itself.
    Redacted,
}

impl Origin {
    const ALL: [Self; 5] = [
        Self::Unsigned,
        Self::Gemini,
        Self::GeminiCall,
        Self::Anthropic,
        Self::Redacted,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Gemini => "gemini",
            Self::GeminiCall => "gemini-call",
            Self::Anthropic => "anthropic",
            Self::Redacted => "anthropic-redacted",
        }
    }
}

/// The signature as it travels through a caller of another dialect.
pub(super) fn wrap(origin: Origin, signature: &str) -> String {
    BASE64.encode(format!("{PREFIX}{}:{signature}", origin.as_str()))
}

/// Whose a signature is and how it was given; `None` if it is not wrapped.
pub(super) fn unwrap(text: &str) -> Option<(Origin, String)> {
    if !text.as_bytes().starts_with(WRAPPED) {
        return None;
    }
    // Python's SDK for Gemini writes the URL-safe letters.
    let text: Cow<'_, str> = if text.contains(['-', '_']) {
        text.replace('-', "+").replace('_', "/").into()
    } else {
        text.into()
    };
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    let rest = std::str::from_utf8(&bytes).ok()?.strip_prefix(PREFIX)?;
    let (origin, signature) = rest.split_once(':')?;
    let origin = Origin::ALL.into_iter().find(|known| known.as_str() == origin)?;
    Some((origin, signature.to_owned()))
}

/// The signature that `Gemini` gave, of a common thought.
pub(super) fn gemini_signature(signature: Option<&str>) -> Option<String> {
    match unwrap(signature?)? {
        (Origin::Gemini, signature) => Some(signature),
        _ => None,
    }
}

/// The thought signature that a tool call of another dialect brings back.
pub(super) fn signature_of(call: &Value) -> Option<String> {
    call.get("extra_content")?
        .get("google")?
        .get("thought_signature")?
        .as_str()
        .map(str::to_owned)
}

/// Puts a thought signature into a tool call of another dialect, where [`signature_of`] finds it again.
pub(super) fn put_signature(call: &mut Value, signature: Option<&str>) {
    if let (Some(signature), Some(object)) = (signature, call.as_object_mut()) {
        object.insert(
            "extra_content".to_owned(),
            json!({ "google": { "thought_signature": signature } }),
        );
    }
}
