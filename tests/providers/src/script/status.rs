//! Answers that are not meant to be good: an error as the provider says it, or bytes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{After, millis};

/// An error answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Status {
    /// The HTTP status.
    pub code: u16,
    /// The provider's word for it (`insufficient_quota`, `overloaded_error`, `RESOURCE_EXHAUSTED`); left out, the usual
    /// one of the status.
    pub kind: Option<String>,
    /// The message; left out, the provider's usual one.
    pub message: Option<String>,
    /// When to try again, said as this provider says it: `retry-after` (and `-ms`) or Gemini's `RetryInfo`.
    pub retry_after_ms: Option<u64>,
    /// Headers to add or replace.
    pub headers: Vec<(String, String)>,
    /// A body in place of the provider's JSON.
    pub body: Option<String>,
    /// Wait before the head, in milliseconds.
    pub delay_ms: u64,
    /// What becomes of the connection.
    pub after: After,
}

impl Status {
    /// Sets the provider's word for the error.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Sets the message.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Says when to try again, as this provider says it.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after_ms = Some(millis(wait));
        self
    }

    /// Adds a header, or replaces the usual one of that name.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends this body in place of the provider's JSON.
    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets the wait before the head.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_ms = millis(delay);
        self
    }
}

/// Bytes in place of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// The bytes; in JSON a string whose characters U+0000 to U+00FF stand for one byte each.
    #[serde(with = "one_byte_letters")]
    pub bytes: Vec<u8>,
    /// What becomes of the connection: `keep` leaves it open for the next request.
    pub after: After,
}

impl Raw {
    /// These bytes, then a close.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            after: After::CloseSilently,
        }
    }
}

mod one_byte_letters {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        bytes
            .iter()
            .map(|byte| char::from(*byte))
            .collect::<String>()
            .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let byte = |letter: char| {
            u8::try_from(u32::from(letter)).map_err(|_| {
                D::Error::custom(format!(
                    "{letter:?} is not one byte: use characters U+0000 to U+00FF, one for each byte"
                ))
            })
        };
        text.chars().map(byte).collect()
    }
}
